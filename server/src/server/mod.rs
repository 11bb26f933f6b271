//! Puts the parts together: binds, serves and stops.

mod check;
mod container;
mod control;
mod encrypted;
mod listeners;
mod network;
mod own_networks;
mod places;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use thiserror::Error;
use tokio::time::timeout;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, info, warn};

use crate::{
    access::{AccessList, TrustedProxies},
    certificates::CertificateError,
    config::{self, Config, UpstreamAddress},
    dht::{Dht, Network},
    forward::{Forwarder, TlsClient, TlsError, is_own_address},
    held::{Budget, MachineMemory},
    http::{self, Site},
    metrics::Metrics,
    packets::{DiskError, DiskStore, Packets, SharedStore, Stores},
    resolver::Resolver,
    service::Service,
    transport::{Admission, BindError, Ending, Inherited, tcp, udp},
};
pub use check::{FileFaults, check_files};
pub use container::open_container;
pub use control::Control;
use encrypted::EncryptedListeners;
use listeners::Listeners;
use network::{SwitchedOff, resolve_host, start_dht, start_forwarder};
use places::Places;

/// Questions in flight are answered within this time of the stop; every answer has a deadline below it.
const DRAIN_DEADLINE: Duration = Duration::from_secs(5);

/// At the stop, packets that wait to be written have this long. Without it the last half second of them is lost.
const CLOSE_DEADLINE: Duration = Duration::from_secs(2);

/// A server whose addresses are bound, and which does not answer yet.
pub struct Server {
    listeners: Listeners,
    service: Service,
    resolver: Resolver,
    forwarder: Arc<Forwarder>,
    metrics: Metrics,
    access: AccessList,
    trusted: TrustedProxies,
    /// Whether proxies send headers of that protocol: over TCP, TLS, and HTTP with or without TLS.
    proxy_protocol: [Option<bool>; 3],
    hosts: http::Hosts,
    places: Places,
    about: http::About,
    relay: Option<http::Relay>,
    packets: Packets,
    encryption: EncryptedListeners,
    /// Where there is one: its nodes are saved at the stop.
    dht: Option<Arc<Dht>>,
    /// Where packets survive a restart, if they do.
    disk: Option<DiskStore>,
    state: Arc<control::State>,
}

/// Why the server does not start.
#[derive(Debug, Error)]
pub enum StartError {
    /// An address cannot be listened on.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// `fallback_dns` names this server.
    #[error(
        "fallback_dns {0} is an address of this server, so that it would ask itself for ever; \
         name another resolver in fallback_dns or with --forward"
    )]
    ForwardsToItself(SocketAddr),
    /// The DHT needs a socket.
    #[error("cannot open a UDP socket for the DHT: {0}")]
    Dht(io::Error),
    /// Encrypted upstreams could not be authenticated.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// There is no certificate for HTTPS or DNS over TLS.
    #[error("no certificate: {0}")]
    Certificate(#[from] CertificateError),
    /// Another process keeps its packets where this one would.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl Server {
    /// Binds every address in `config.listen` and begins to join the DHT. Neither the DHT nor an upstream has to be
    /// within reach. Must be called in a Tokio runtime.
    pub fn bind(config: Config) -> Result<Self, StartError> {
        Self::bind_with_inherited(config, Inherited::default())
    }

    /// As [`Server::bind`], with the sockets that another process has bound where they fit the configuration.
    pub fn bind_with_inherited(config: Config, inherited: Inherited) -> Result<Self, StartError> {
        let tls = TlsClient::new(config.fallback_ca_path.as_deref())?;
        let forwarder = start_forwarder(&config, &tls);
        let metrics = Metrics::default();
        if !config.dht.enabled {
            return Self::bind_with(config, forwarder, &tls, Arc::new(SwitchedOff), metrics, inherited);
        }
        let (dht, network) = start_dht(&config, &forwarder, &tls, &metrics)?;
        let server = Self::bind_with(config, forwarder, &tls, network, metrics, inherited)?;
        Ok(Self { dht: Some(dht), ..server })
    }

    /// As [`Server::bind`], with packets from `network` instead of the DHT.
    pub fn bind_to_network(config: Config, network: Arc<dyn Network>) -> Result<Self, StartError> {
        let tls = TlsClient::new(config.fallback_ca_path.as_deref())?;
        let forwarder = start_forwarder(&config, &tls);
        Self::bind_with(config, forwarder, &tls, network, Metrics::default(), Inherited::default())
    }

    fn bind_with(
        mut config: Config,
        forwarder: Arc<Forwarder>,
        tls: &TlsClient,
        network: Arc<dyn Network>,
        metrics: Metrics,
        inherited: Inherited,
    ) -> Result<Self, StartError> {
        let encryption = EncryptedListeners::new(&config, &forwarder)?;
        let listeners = Listeners::bind(&config, inherited)?;
        let addresses = listeners.dns_addresses();
        // What clients are told are the ports that there are.
        config.doh.listen = listeners.https.addresses();
        config.dot.listen = listeners.tls.addresses();
        // Encrypted upstreams have ports of their own; if one of them is this server, the forwarder finds the loop.
        let mut plain = config.fallback_dns.iter().filter_map(UpstreamAddress::plain);
        if let Some(own) = plain.find(|upstream| is_own_address(*upstream, &addresses)) {
            return Err(StartError::ForwardsToItself(own));
        }
        own_networks::look();
        let access = AccessList::new(config.access.allow.clone(), config.access.deny.clone());
        let header = config.doh.client_address_header.as_ref().and_then(|name| name.parse().ok());
        let trusted = TrustedProxies::new(config.doh.trusted_proxies.clone()).with_header(header);
        let proxy_protocol = [config.proxy_protocol, config.dot.proxy_protocol, config.doh.proxy_protocol];
        let unread = unread(&config, &metrics);
        let places = Places::new(&config, &listeners).with_unread(&unread);
        let disk = open_disk(&config.cache, &metrics)?;
        let stores = Stores { disk: disk.clone(), shared: share_packets(&config, tls, &metrics) };
        let packets = Packets::with_stores(&config.cache, network, stores, config.dht.keep_alive_per_hour);
        metrics.add_gauge("packets_in_memory", "Packets in memory", {
            let packets = packets.clone();
            move || packets.len()
        });
        let relay = &config.relay;
        let relay = relay
            .enabled
            .then(|| http::Relay::new(relay, &places.tcp.forwarders, packets.clone(), metrics.relay.clone()));
        let resolver = Resolver::new(&config, packets.clone(), forwarder.clone());
        let (shown, authority) = (encryption.dot_certificates.clone(), encryption.authority.clone());
        let about = http::About::new(&config, resolver.own_zone().clone(), shown, authority);
        let service = Service::new(&config, resolver.clone(), forwarder.clone(), &metrics);
        let dht = None;
        Ok(Self {
            listeners,
            service,
            resolver,
            forwarder,
            metrics,
            access,
            trusted,
            proxy_protocol,
            hosts: http::Hosts::new(&config),
            places,
            about,
            relay,
            packets,
            encryption,
            dht,
            disk,
            state: Arc::default(),
        })
    }

    /// The addresses that are bound, with the real ports, each for UDP and TCP.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.dns_addresses()
    }

    /// The addresses of DNS over TLS, with the real ports.
    pub fn tls_addresses(&self) -> Vec<SocketAddr> {
        self.listeners.tls.addresses()
    }

    /// The addresses of HTTPS, with the real ports.
    pub fn https_addresses(&self) -> Vec<SocketAddr> {
        self.listeners.https.addresses()
    }

    /// The addresses of plain HTTP, with the real ports.
    pub fn http_addresses(&self) -> Vec<SocketAddr> {
        self.listeners.http.addresses()
    }

    /// The addresses of `/metrics`, with the real ports.
    pub fn metrics_addresses(&self) -> Vec<SocketAddr> {
        self.listeners.metrics.addresses()
    }

    /// What is counted, whether or not it is served.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The service behind every transport, to put behind one more.
    pub fn service(&self) -> &Service {
        &self.service
    }

    /// What can be done with the server besides stopping it.
    pub fn control(&self) -> Control {
        Control { state: self.state.clone(), disk: self.disk.clone(), dht: self.dht.clone() }
    }

    /// Answers until `stop` is cancelled or [`Control::leave`] is called, then answers what is in flight.
    pub async fn run(self, stop: CancellationToken) {
        let tasks = TaskTracker::new();
        let stop = stop.child_token();
        let ending = Ending::new(stop.clone());
        let leaving = ending.leaving().clone();
        let (heirlooms, mut pulses) = (self.listeners.heirlooms(), Vec::new());
        let counted = self.metrics.service.clone();
        let responder = Arc::new(self.service);
        self.listeners.log();
        let Listeners { dns, tls, https, http, metrics, .. } = self.listeners;
        let waiting = udp::Waiting::new(self.places.tcp.forwarders.clone());
        let [over_tcp, over_tls, over_http] = self.proxy_protocol;
        let admission = |proxy_protocol| Admission {
            access: self.access.clone(),
            trusted: self.trusted.clone().with_proxy_protocol(proxy_protocol),
            refusals: self.metrics.refusals.clone(),
        };
        let connections = tcp::Connections::new(self.places.tcp, admission(over_tcp));
        for listener in dns {
            let waiting = waiting.clone();
            pulses.extend(udp::serve(listener.udp, responder.clone(), waiting, leaving.clone(), &tasks));
            tcp::serve(listener.tcp, responder.clone(), connections.clone(), ending.clone(), &tasks);
        }
        let connections = tcp::Connections::new(self.places.tls, admission(over_tls));
        for listener in tls.into_listeners() {
            let Some(acceptor) = self.encryption.dot.clone() else { break };
            let (responder, connections) = (responder.clone(), connections.clone());
            tcp::serve_tls(listener, acceptor, responder, connections, ending.clone(), &tasks);
        }
        let mut pages = http::pages(self.about);
        if let Some(relay) = self.relay {
            pages = pages.merge(relay.routes());
        }
        let refusals = self.metrics.refusals.clone();
        let challenges = self.encryption.challenges.clone().unwrap_or_default();
        let trusted = self.trusted.clone().with_proxy_protocol(over_http);
        let site = Site::new(pages, self.access.clone(), trusted, self.places.web);
        let site = site.with_hosts(self.hosts.clone()).with_refusals(refusals.clone());
        let site = site.with_dns(responder, &tasks);
        let site = Arc::new(site.with_challenges(challenges));
        for listener in https.into_listeners() {
            let Some(acceptor) = self.encryption.https.clone() else { break };
            http::serve(listener, Some(acceptor), site.clone(), ending.clone(), &tasks);
        }
        for listener in http.into_listeners() {
            http::serve(listener, None, site.clone(), ending.clone(), &tasks);
        }
        tasks.spawn(leaving.clone().run_until_cancelled_owned(own_networks::watch()));
        tasks.spawn(leaving.clone().run_until_cancelled_owned(self.resolver.watch_hosts_files()));
        let keeping_alive = self.packets.keep_alive(self.metrics.dht.keep_alive.clone());
        tasks.spawn(leaving.clone().run_until_cancelled_owned(keeping_alive));
        let routes = http::metrics_routes(self.metrics);
        let site = Site::<Service>::new(routes, self.access, self.trusted, self.places.metrics);
        let site = Arc::new(site.with_hosts(self.hosts).with_refusals(refusals));
        for listener in metrics.into_listeners() {
            http::serve(listener, None, site.clone(), ending.clone(), &tasks);
        }
        self.encryption.watch(&leaving, &tasks);
        let forwarder = self.forwarder;
        let probing = tokio::spawn({
            let stop = stop.clone();
            async move { forwarder.watch_for_loops(stop).await }
        });
        self.state.start(heirlooms, pulses);
        let has_left = self.state.until_the_end(&ending, &tasks).await;
        tasks.close();
        if timeout(DRAIN_DEADLINE, tasks.wait()).await.is_err() {
            warn!("{} questions were not answered in time before the stop", tasks.len());
        }
        if has_left {
            info!("{} queries were answered before another process took over", counted.replies());
        }
        // Who serves in our place has the files.
        if let Some(dht) = self.dht.filter(|_| !has_left) {
            dht.save_nodes().await;
        }
        if let Some(disk) = self.disk
            && timeout(CLOSE_DEADLINE, disk.close()).await.is_err()
        {
            warn!("the disk took over {CLOSE_DEADLINE:?} to write the last packets before the stop");
        }
        probing.abort();
    }
}

/// What may be held for clients, as configured or as suits the machine.
fn unread(config: &Config, metrics: &Metrics) -> Budget {
    let machine = MachineMemory::read();
    let bytes = match config.memory.unread_megabytes {
        Some(megabytes) => usize::try_from(megabytes << 20).unwrap_or(usize::MAX),
        None => machine.budget(),
    };
    debug!(?machine, "up to {bytes} bytes are held for clients that are slow");
    let budget = Budget::new(bytes, metrics.refusals.clone());
    metrics.add_gauge("held_bytes", "Bytes of replies and bodies of requests that are held for clients", {
        let budget = budget.clone();
        move || budget.held()
    });
    budget
}

fn open_disk(settings: &config::Cache, metrics: &Metrics) -> Result<Option<DiskStore>, DiskError> {
    let Some(directory) = settings.directory() else { return Ok(None) };
    let disk = DiskStore::open(directory, settings.disk_megabytes.saturating_mul(1_000_000))?;
    metrics.add_gauge("packets_on_disk", "Packets on disk", {
        let disk = disk.clone();
        move || disk.len()
    });
    Ok(Some(disk))
}

/// The certificate of a Redis is checked like those of encrypted upstreams.
fn share_packets(config: &Config, tls: &TlsClient, metrics: &Metrics) -> Option<SharedStore> {
    let max_age = Duration::from_secs(config.cache.max_ttl_seconds);
    let url = config.cache.redis.as_ref()?;
    Some(SharedStore::new(url, tls.for_tls(), max_age, metrics.shared.clone()))
}
