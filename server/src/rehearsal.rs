//! `--testnet`: a DHT, a zone and an upstream of our own, so that everything can be tried without a network.

use std::{error::Error, net::SocketAddr, time::Duration};

use pkdns::{
    config::Config,
    dht::{Dht, DhtSettings},
    signed_packet::Keypair,
    testnet::{LocalNetwork, SampleUpstream, sample_keypair, sample_packet},
};
use std::time::SystemTime;
use tracing::info;

/// Nodes of the DHT: as many as hold a packet in the real one.
const NODES: usize = 20;

/// What `--testnet` keeps running beside the server.
pub(crate) struct Rehearsal {
    network: LocalNetwork,
    upstream: Option<SampleUpstream>,
}

impl Rehearsal {
    /// Starts the DHT and, if `sample_upstream`, an upstream, and points `config` at them.
    pub(crate) async fn start(config: &mut Config, sample_upstream: bool) -> Result<Self, Box<dyn Error>> {
        info!("starting a DHT of {NODES} nodes in this process");
        let network = LocalNetwork::start(NODES).await?;
        let upstream = if sample_upstream { Some(SampleUpstream::start().await?) } else { None };
        let rehearsal = Self { network, upstream };
        rehearsal.point_to_itself(config);
        Ok(rehearsal)
    }

    /// Has `config` use what runs here, whatever it says.
    pub(crate) fn point_to_itself(&self, config: &mut Config) {
        config.dht.bootstrap = self.network.bootstrap();
        config.names.example = Some(sample_keypair().public_key().to_z32());
        // Where HTTP is served, which it is on loopback unless the file says otherwise.
        config.relay.enabled |= config.doh.enabled || !config.doh.plain_listen.is_empty();
        if let Some(upstream) = &self.upstream {
            config.fallback_dns = vec![upstream.address().into()];
        }
    }

    /// Publishes the sample zone, and returns on how many nodes.
    pub(crate) async fn publish(&self) -> Result<u32, Box<dyn Error>> {
        let settings = DhtSettings::on_loopback(self.network.bootstrap());
        // The nodes are given by address, so that there is nothing to resolve.
        let dht = Dht::start(settings, std::sync::Arc::new(|_| Box::pin(async { Vec::new() })))?;
        dht.ready(Duration::from_secs(10)).await?;
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let timestamp = u64::try_from(now.as_micros())?;
        Ok(dht.put(&sample_packet(&sample_keypair(), timestamp)?, None).await?)
    }

    /// What to type next.
    pub(crate) fn introduction(&self, server: &[SocketAddr], http: &[SocketAddr], stored: u32) -> String {
        let Some(server) = server.first() else {
            return String::new();
        };
        let key = Keypair::public_key(&sample_keypair()).to_z32();
        let dig = format!("dig @{} -p {}", reachable(server).ip(), server.port());
        let bootstrap = self.network.bootstrap().into_iter().next().unwrap_or_default();
        let icann = match self.upstream {
            Some(_) => "answered by a stand-in in this process; for the real one add -f 8.8.8.8",
            None => "answered by the resolver that -f names",
        };
        let web = http.first().map(reachable).map_or_else(String::new, |http| {
            format!(
                "Over HTTP, where http://{http}/ shows how to set up a browser:\n\
                 \n  dig +http-plain @{} -p {} www.{key}.key\
                 \n  curl 'http://{http}/resolve?name={key}'\n\
                 \n\
                 To PKARR clients, http://{http} is a relay.\n\n",
                http.ip(),
                http.port()
            )
        });
        format!(
            "\n\
             A DHT of {NODES} nodes runs in this process. {stored} of them hold a sample zone. In another terminal:\n\
             \n  {dig} {key}\
             \n  {dig} www.{key}.key\
             \n  {dig} +tcp _pubky.{key} HTTPS\
             \n  {dig} example.com                # {icann}\n\
             \n\
             {web}\
             To publish a zone of your own into this DHT:\n\
             \n  pkdns-cli generate --out my.seed\
             \n  echo '@ 300 A 127.0.0.1' > my.zone\
             \n  pkdns-cli --bootstrap {bootstrap} publish my.seed my.zone\n\
             \n\
             Ctrl-C ends it all.\n\n"
        )
    }
}

/// An address to ask, for one that means "all of them".
fn reachable(address: &SocketAddr) -> SocketAddr {
    let mut address = *address;
    if address.ip().is_unspecified() {
        let loopback = if address.is_ipv6() { "::1" } else { "127.0.0.1" };
        if let Ok(loopback) = loopback.parse() {
            address.set_ip(loopback);
        }
    }
    address
}
