//! Puts the parts together: binds, serves and stops.

use std::{io, net::SocketAddr, sync::Arc, thread::available_parallelism, time::Duration};

use async_trait::async_trait;
use thiserror::Error;
use tokio::{net::TcpListener, sync::mpsc, time::timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use crate::{
    access::AccessList,
    config::{self, Config, UpstreamAddress},
    dht::{Dht, DhtSettings, Evidence, HostResolver, Network, NetworkError},
    forward::{Forwarder, TlsClient, TlsError, is_own_address},
    http,
    metrics::Metrics,
    packets::{DiskError, DiskStore, Packets, SharedStore, Stores},
    relay_client::{DhtAndRelays, Relays},
    resolver::Resolver,
    service::Service,
    signed_packet::{PublicKey, SignedPacket},
    transport::{self, BindError, Slots, UdpSockets, tcp, udp},
};

/// Questions in flight are answered within this time of the stop; every answer has a deadline below it.
const DRAIN_DEADLINE: Duration = Duration::from_secs(5);

/// At the stop, packets that wait to be written have this long. Without it the last half second of them is lost.
const CLOSE_DEADLINE: Duration = Duration::from_secs(2);

/// A server whose addresses are bound, and which does not answer yet.
pub struct Server {
    listeners: Vec<Listener>,
    service: Service,
    forwarder: Arc<Forwarder>,
    metrics: Metrics,
    metrics_listeners: Vec<(SocketAddr, TcpListener)>,
    metrics_access: AccessList,
    /// Where there is one: its nodes are saved at the stop.
    dht: Option<Arc<Dht>>,
    /// Where packets survive a restart, if they do.
    disk: Option<DiskStore>,
}

struct Listener {
    address: SocketAddr,
    udp: UdpSockets,
    tcp: TcpListener,
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
    /// Another process keeps its packets where this one would.
    #[error(transparent)]
    Disk(#[from] DiskError),
}

impl Server {
    /// Binds every address in `config.listen` and begins to join the DHT. Neither the DHT nor an upstream has to be
    /// within reach. Must be called in a Tokio runtime.
    pub fn bind(config: Config) -> Result<Self, StartError> {
        let tls = TlsClient::new(config.fallback_ca_path.as_deref())?;
        let forwarder = start_forwarder(&config, &tls);
        let metrics = Metrics::default();
        if !config.dht.enabled {
            return Self::bind_with(config, forwarder, &tls, Arc::new(SwitchedOff), metrics);
        }
        let (dht, network) = start_dht(&config, &forwarder, &tls, &metrics)?;
        let server = Self::bind_with(config, forwarder, &tls, network, metrics)?;
        Ok(Self { dht: Some(dht), ..server })
    }

    /// As [`Server::bind`], with packets from `network` instead of the DHT.
    pub fn bind_to_network(config: Config, network: Arc<dyn Network>) -> Result<Self, StartError> {
        let tls = TlsClient::new(config.fallback_ca_path.as_deref())?;
        let forwarder = start_forwarder(&config, &tls);
        Self::bind_with(config, forwarder, &tls, network, Metrics::default())
    }

    fn bind_with(
        config: Config,
        forwarder: Arc<Forwarder>,
        tls: &TlsClient,
        network: Arc<dyn Network>,
        metrics: Metrics,
    ) -> Result<Self, StartError> {
        let listeners = listen(&config.listen)?;
        let addresses: Vec<SocketAddr> = listeners.iter().map(|listener| listener.address).collect();
        // Encrypted upstreams have ports of their own; if one of them is this server, the forwarder finds the loop.
        let mut plain = config.fallback_dns.iter().filter_map(UpstreamAddress::plain);
        if let Some(own) = plain.find(|upstream| is_own_address(*upstream, &addresses)) {
            return Err(StartError::ForwardsToItself(own));
        }
        let metrics_listeners = listen_for_metrics(&config.metrics.listen)?;
        let metrics_access = AccessList::new(config.access.allow.clone(), config.access.deny.clone());
        let disk = open_disk(&config.cache, &metrics)?;
        let stores = Stores { disk: disk.clone(), shared: share_packets(&config, tls, &metrics) };
        let packets = Packets::with_stores(&config.cache, network, stores);
        metrics.add_gauge("packets_in_memory", "Packets in memory", {
            let packets = packets.clone();
            move || packets.len()
        });
        let resolver = Resolver::new(&config, packets, forwarder.clone());
        let service = Service::new(&config, resolver, forwarder.clone(), metrics.service.clone());
        let dht = None;
        Ok(Self { listeners, service, forwarder, metrics, metrics_listeners, metrics_access, dht, disk })
    }

    /// The addresses that are bound, with the real ports, each for UDP and TCP.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.listeners.iter().map(|listener| listener.address).collect()
    }

    /// The addresses of `/metrics`, with the real ports.
    pub fn metrics_addresses(&self) -> Vec<SocketAddr> {
        self.metrics_listeners.iter().map(|(address, _)| *address).collect()
    }

    /// What is counted, whether or not it is served.
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The service behind every transport, to put behind one more.
    pub fn service(&self) -> &Service {
        &self.service
    }

    /// Answers until `stop` is cancelled, then answers what is in flight.
    pub async fn run(self, stop: CancellationToken) {
        let tasks = TaskTracker::new();
        let responder = Arc::new(self.service);
        let waiting = Slots::new(udp::MAX_WAITING, udp::MAX_WAITING_PER_CLIENT);
        let connections = tcp::Connections::new(tcp::Limits::default());
        for listener in self.listeners {
            for protocol in ["udp", "tcp"] {
                info!("listening {protocol} {}", listener.address);
            }
            udp::serve(listener.udp, responder.clone(), waiting.clone(), stop.clone(), &tasks);
            tcp::serve(listener.tcp, responder.clone(), connections.clone(), stop.clone(), &tasks);
        }
        for (address, _) in &self.metrics_listeners {
            info!("listening metrics {address}");
        }
        http::serve(
            self.metrics_listeners.into_iter().map(|(_, listener)| listener).collect(),
            http::metrics_routes(self.metrics),
            self.metrics_access,
            http::Limits::default(),
            &stop,
            &tasks,
        );
        let forwarder = self.forwarder;
        let probing = tokio::spawn({
            let stop = stop.clone();
            async move { forwarder.watch_for_loops(stop).await }
        });
        stop.cancelled().await;
        tasks.close();
        if timeout(DRAIN_DEADLINE, tasks.wait()).await.is_err() {
            warn!("{} questions were not answered in time before the stop", tasks.len());
        }
        if let Some(dht) = self.dht {
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

/// As for questions: a family that the machine lacks is no reason not to start.
fn listen_for_metrics(addresses: &[SocketAddr]) -> Result<Vec<(SocketAddr, TcpListener)>, BindError> {
    let mut listeners = Vec::new();
    for address in addresses {
        match transport::bind_tcp(*address) {
            Ok(listener) => listeners.push((listener.local_addr().unwrap_or(*address), listener)),
            Err(error @ BindError::FamilyUnavailable { .. }) => warn!("{error}"),
            Err(error) => return Err(error),
        }
    }
    Ok(listeners)
}

/// Binds all addresses. Where the machine lacks IPv6 (or IPv4), the addresses of the other family are enough.
fn listen(addresses: &[SocketAddr]) -> Result<Vec<Listener>, StartError> {
    let sockets = available_parallelism().map_or(1, usize::from);
    let mut listeners = Vec::new();
    let mut missing = None;
    for address in addresses {
        match transport::bind(*address, sockets) {
            Ok((udp, tcp)) => listeners.push(Listener { address: udp.local_address(), udp, tcp }),
            Err(error @ BindError::FamilyUnavailable { .. }) => {
                warn!("{error}");
                missing = Some(error);
            }
            Err(error) => return Err(error.into()),
        }
    }
    match missing {
        Some(error) if listeners.is_empty() => Err(error.into()),
        _ => Ok(listeners),
    }
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

fn start_forwarder(config: &Config, tls: &TlsClient) -> Arc<Forwarder> {
    Arc::new(Forwarder::new(config.fallback_dns.clone(), tls))
}

/// The certificate of a Redis is checked like those of encrypted upstreams.
fn share_packets(config: &Config, tls: &TlsClient, metrics: &Metrics) -> Option<SharedStore> {
    let max_age = Duration::from_secs(config.cache.max_ttl_seconds);
    let url = config.cache.redis.as_ref()?;
    Some(SharedStore::new(url, tls.for_tls(), max_age, metrics.shared.clone()))
}

/// Names of bootstrap nodes and relays are resolved through our own upstreams: the system's resolver may well be this
/// server.
fn start_dht(
    config: &Config,
    forwarder: &Arc<Forwarder>,
    tls: &TlsClient,
    metrics: &Metrics,
) -> Result<(Arc<Dht>, Arc<dyn Network>), StartError> {
    let forwarder = forwarder.clone();
    let resolve_host: HostResolver = Arc::new(move |host| {
        let forwarder = forwarder.clone();
        Box::pin(async move { forwarder.lookup_host(&host).await })
    });
    let settings = DhtSettings {
        bootstrap: config.dht.bootstrap.clone(),
        max_datagrams_per_second: config.dht.max_datagrams_per_second,
        nodes_path: config.dht.nodes_path.clone(),
        metrics: metrics.dht.clone(),
        ..DhtSettings::default()
    };
    let dht = Arc::new(Dht::start(settings, resolve_host.clone()).map_err(StartError::Dht)?);
    if config.dht.relays.is_empty() {
        return Ok((dht.clone(), dht));
    }
    let relays = Relays::new(&config.dht.relays, &tls.for_tls(), resolve_host, &metrics.dht.relay_requests);
    Ok((dht.clone(), Arc::new(DhtAndRelays::new(dht, relays))))
}

/// The network of a server whose configuration says `dht.enabled = false`.
struct SwitchedOff;

#[async_trait]
impl Network for SwitchedOff {
    async fn lookup(
        &self,
        _: &PublicKey,
        _: mpsc::UnboundedSender<SignedPacket>,
    ) -> Result<Evidence, NetworkError> {
        Err(NetworkError::Disabled)
    }
}
