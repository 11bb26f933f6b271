//! `--testnet`: a DHT, a zone, a site and an upstream of our own, so that everything can be tried without a network.

mod browsers;
mod introduction;
mod ports;
mod programs;
mod scratch;

use std::{
    env,
    error::Error,
    io,
    net::SocketAddr,
    path::PathBuf,
    sync::Arc,
    time::{Duration, SystemTime},
};

use pkdns_dht::{
    Dht, DhtSettings,
    signed_packet::Keypair,
    simulator::{Simulator, World},
};
use tracing::{info, warn};

use browsers::{Browser, Site};
use introduction::Introduction;
use ports::{DHT_PORTS, next_free, next_free_for_dns};
use scratch::Scratch;

use super::{
    arguments::Unsaid,
    server::{Server, StartError},
    testnet::{SampleUpstream, sample_keypair, sample_packet},
};
use crate::{base::config::Config, edge::transport::BindError};

/// Nodes of the DHT: as many as hold a packet in the real one.
const NODES: usize = 20;

/// What `--testnet` keeps running beside the server.
pub(super) struct TestnetMode {
    network: Simulator,
    upstream: Option<SampleUpstream>,
    http: SocketAddr,
    https: SocketAddr,
    /// Certificates, and profiles of browsers. Gone with the process.
    scratch: Scratch,
    home: Option<PathBuf>,
}

impl TestnetMode {
    /// Starts the DHT and, if `sample_upstream`, an upstream, and points `config` at them.
    pub(super) async fn start(
        config: &mut Config,
        unsaid: Unsaid,
        sample_upstream: bool,
        home: Option<PathBuf>,
    ) -> Result<Self, Box<dyn Error>> {
        info!("starting a DHT of {NODES} nodes in this process");
        // Whoever takes any port for questions, as tests do, takes any for all else.
        let any_port = config.listen.iter().all(|address| address.port() == 0);
        let usual = DHT_PORTS.filter(|_| !any_port).find_map(|port| start_network(Some(port)).ok());
        let network = usual.map_or_else(|| start_network(None), Ok)?;
        let upstream = if sample_upstream { Some(SampleUpstream::start().await?) } else { None };
        let [http, https] = [ports::HTTP, ports::HTTPS].map(|usual| match any_port {
            true => SocketAddr::new(usual.ip(), 0),
            false => next_free(usual),
        });
        let testnet_mode = Self { network, upstream, http, https, scratch: Scratch::new()?, home };
        testnet_mode.point_to_itself(config, unsaid);
        Ok(testnet_mode)
    }

    /// Has `config` use what runs here, whatever it says, and serve what its file leaves `unsaid`.
    pub(super) fn point_to_itself(&self, config: &mut Config, unsaid: Unsaid) {
        config.dht.bootstrap = self.network.bootstrap();
        if unsaid.http {
            config.doh.plain_listen = vec![self.http];
        }
        if unsaid.https {
            config.doh.enabled = true;
            config.doh.listen = vec![self.https];
            config.certificate.self_signed = true;
        }
        if unsaid.names {
            let own = ["localhost", "127.0.0.1", "::1"].map(str::to_owned);
            config.certificate.names = own.into_iter().chain(sample_hosts(config)).collect();
        }
        if unsaid.certificates {
            config.certificate.path = Some(self.scratch.path().join("certificates"));
        }
        config.names.example = Some(sample_key());
        config.relay.enabled |= config.doh.enabled || !config.doh.plain_listen.is_empty();
        if let Some(upstream) = &self.upstream {
            config.fallback_dns = vec![upstream.address().into()];
        }
    }

    /// What to do where the server does not start, besides what `error` says.
    pub(super) fn explain(error: StartError) -> Box<dyn Error> {
        let StartError::Bind(BindError::Taken { address, .. }) = &error else { return error.into() };
        let free = next_free_for_dns(*address);
        format!(
            "{error}\nIf it is another testnet, use that one or end it. Or choose another port:\n  {} --testnet --listen {free}",
            programs::shown("pkdns")
        )
        .into()
    }

    /// Publishes the sample zone, and returns on how many nodes.
    pub(super) async fn publish(&self) -> Result<u32, Box<dyn Error>> {
        let settings = DhtSettings::on_loopback(self.network.bootstrap());
        // The nodes are given by address, so that there is nothing to resolve.
        let dht = Dht::start(settings, Arc::new(|_| Box::pin(async { Vec::new() })))?;
        dht.ready(Duration::from_secs(10)).await?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let timestamp = u64::try_from(now.as_micros())?;
        Ok(dht.put(&sample_packet(&sample_keypair(), timestamp)?, None).await?)
    }

    /// What to type next.
    pub(super) fn introduction(&self, server: &Server, config: &Config, stored: u32) -> String {
        let Some(dns) = server.addresses().first().map(ports::reachable) else {
            return String::new();
        };
        let http = server.http_addresses().first().map(ports::reachable);
        let https = server.https_addresses().first().map(ports::reachable);
        let site = https.zip(server.https_certificate()).map(|(address, certificate)| Site {
            address,
            hosts: sample_hosts(config),
            certificate,
        });
        Introduction {
            nodes: NODES,
            stored,
            key: sample_key(),
            browsers: site.map(|site| self.browsers(&site)).unwrap_or_default(),
            dns,
            http,
            is_upstream_ours: self.upstream.is_some(),
            cli: programs::shown("pkdns-cli"),
            bootstrap: self.network.bootstrap().into_iter().next().unwrap_or_default(),
        }
        .to_string()
    }

    /// The command lines that open the site of the sample key.
    fn browsers(&self, site: &Site) -> Vec<String> {
        let path = env::var_os("PATH").unwrap_or_default();
        let found = browsers::find(&path, |path| path.is_file());
        let lines = found.iter().filter_map(|browser: &Browser| {
            let profile = self.scratch.for_program(browser.program(), self.home.as_deref());
            let written = profile.and_then(|profile| browser.prepare(site, &profile));
            written
                .inspect_err(|error| {
                    warn!("cannot make a profile for {}: {error}", browser.program().display());
                })
                .ok()
        });
        lines.collect()
    }
}

/// A DHT on this machine, at this port or at any.
fn start_network(port: Option<u16>) -> io::Result<Simulator> {
    Simulator::start(World { nodes: NODES, port, ..World::default() })
}

fn sample_key() -> String {
    Keypair::public_key(&sample_keypair()).to_z32()
}

/// The names of the site of the sample key: with the first suffix, which programs take best, and without.
fn sample_hosts(config: &Config) -> Vec<String> {
    let key = sample_key();
    let suffix = config.names.suffixes.first().map(|suffix| format!("{key}.{suffix}"));
    let apexes: Vec<_> = suffix.into_iter().chain([key]).collect();
    apexes.iter().cloned().chain(apexes.iter().map(|apex| format!("www.{apex}"))).collect()
}
