//! Puts the parts together: binds, serves and stops.

#[cfg(feature = "http")]
mod bridging;
mod check;
mod container;
mod control;
mod derived;
#[cfg(feature = "tls")]
mod encrypted;
mod features;
mod listeners;
#[cfg(not(feature = "tls"))]
mod no_tls;
#[cfg(not(feature = "http"))]
mod no_web;
mod own_networks;
mod parts;
mod places;
mod reload;
mod running;
mod seen;
#[cfg(feature = "http")]
mod web;

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use arc_swap::ArcSwap;
use pkdns_dht::{Dht, Network};
use thiserror::Error;
use tokio::time::{Instant, timeout};
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{info, warn};

use crate::{
    base::{
        config::{Config, UpstreamAddress, is_own_address},
        metrics::Metrics,
    },
    edge::{
        certificates::{CertificateError, Certificates},
        transport::{BindError, Ending, Inherited, Purpose},
    },
    resolver::{Resolver, denied::DeniedKeys},
    service::Service,
    sources::{
        connector::Connector,
        forward::{Forwarder, TlsClient, TlsError},
        packets::{DiskError, Packets, Stores},
    },
};
pub use check::{FileFaults, check_files};
pub use container::open_container;
pub use control::Control;
use encrypted::EncryptedListeners;
pub use features::MissingFeature;
use listeners::Listener;
#[cfg(not(feature = "tls"))]
use no_tls as encrypted;
#[cfg(not(feature = "http"))]
use no_web as web;
use parts::{
    SwitchedOff, connector, open_denied_keys, open_disk, share_packets, start_dht, start_forwarder, unread,
};
use places::Places;
use reload::Reloads;
pub use reload::{ReloadError, ReloadHandle, Reloaded};
use running::Running;
use seen::Shown;
use web::WebParts;

/// Questions in flight are answered within this time of the stop; every answer has a deadline below it.
const DRAIN_DEADLINE: Duration = Duration::from_secs(5);

/// At the stop, packets that wait to be written have this long. Without it the last half second of them is lost.
const CLOSE_DEADLINE: Duration = Duration::from_secs(2);

/// A server whose addresses are bound, and which does not answer yet.
pub struct Server {
    config: Config,
    listeners: Vec<Listener>,
    service: Service,
    forwarder: Arc<Forwarder>,
    metrics: Metrics,
    places: Places,
    packets: Packets,
    /// Keys that are not answered for, and the way to lists of them.
    denied: DeniedKeys,
    connector: Connector,
    encryption: EncryptedListeners,
    web: WebParts,
    reloads: Reloads,
    /// Where there is one: its nodes are saved at the stop.
    dht: Option<Arc<Dht>>,
    /// Where packets survive a restart, and where servers share them, if they do.
    stores: Stores,
    /// The certificates that clients are shown now.
    shown: Shown,
    state: Arc<control::State>,
}

/// Why the server does not start.
#[derive(Debug, Error)]
#[non_exhaustive]
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
    #[error("cannot use the certificate: {0}")]
    Certificate(#[from] CertificateError),
    /// Another process keeps its packets where this one would.
    #[error(transparent)]
    Disk(#[from] DiskError),
    /// A zone file cannot be read, or says what cannot be.
    #[error("{0}")]
    Origin(String),
    /// What is configured has been left out when this was built.
    #[error(transparent)]
    MissingFeature(#[from] MissingFeature),
}

impl Server {
    /// Binds every address in `config.listen` and begins to join the DHT. Neither the DHT nor an upstream has to be
    /// within reach. Must be called in a Tokio runtime. Whether `config` makes sense, [`Config::faults`] says.
    ///
    /// # Errors
    ///
    /// What keeps the server from starting: an address that cannot be listened on, a file that cannot be used, a feature that this
    /// was built without.
    pub fn bind(config: Config) -> Result<Self, StartError> {
        Self::bind_with_inherited(config, Inherited::default())
    }

    /// As [`Server::bind`], with the sockets that another process has bound where they fit the configuration.
    ///
    /// # Errors
    ///
    /// As [`Server::bind`].
    pub fn bind_with_inherited(config: Config, inherited: Inherited) -> Result<Self, StartError> {
        features::check(&config)?;
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
    ///
    /// # Errors
    ///
    /// As [`Server::bind`].
    pub fn bind_to_network(config: Config, network: Arc<dyn Network>) -> Result<Self, StartError> {
        features::check(&config)?;
        let tls = TlsClient::new(config.fallback_ca_path.as_deref())?;
        let forwarder = start_forwarder(&config, &tls);
        Self::bind_with(config, forwarder, &tls, network, Metrics::default(), Inherited::default())
    }

    fn bind_with(
        config: Config,
        forwarder: Arc<Forwarder>,
        tls: &TlsClient,
        network: Arc<dyn Network>,
        metrics: Metrics,
        mut inherited: Inherited,
    ) -> Result<Self, StartError> {
        let encryption = EncryptedListeners::new(&config, &forwarder)?;
        let web = WebParts::open(&config)?;
        let wanted = listeners::wanted(&config, |purpose| inherited.assigned(purpose));
        let listeners = listeners::bind(&wanted, false, &mut inherited)?;
        inherited.close();
        let addresses: Vec<_> = listeners.iter().map(|one| (one.wanted.purpose, one.address)).collect();
        refuse_own_address(&config, &addresses)?;
        let origins = derived::origins(&config, &addresses)?;
        own_networks::look();
        let unread = unread(&config, &metrics);
        let speaks = |purpose| addresses.iter().any(|(spoken, _)| *spoken == purpose);
        let places = Places::new(&config, speaks).with_unread(&unread);
        let disk = open_disk(&config.cache, &metrics)?;
        let stores = Stores { disk, shared: share_packets(&config, tls, &metrics) };
        let packets =
            Packets::with_stores(&config.cache, network, stores.clone(), config.dht.keep_alive_per_hour);
        metrics.add_gauge("packets_in_memory", "Packets in memory", {
            let packets = packets.clone();
            move || packets.len()
        });
        metrics.add_upstreams({
            let forwarder = forwarder.clone();
            move || forwarder.snapshot(Instant::now())
        });
        let shown = Shown::new(ArcSwap::from_pointee(encryption.shown.clone()));
        metrics.add_certificates({
            let shown = shown.clone();
            move || shown.load().iter().filter_map(Certificates::reading).collect()
        });
        let denied = open_denied_keys(&config, &packets, &metrics);
        let bound = derived::with_ports(&config, &addresses);
        let resolver =
            Resolver::with_origins(&bound, packets.clone(), forwarder.clone(), origins, denied.clone());
        let service = Service::new(&config, resolver, forwarder.clone(), &metrics);
        let connector = connector(&forwarder, tls);
        Ok(Self {
            config,
            listeners,
            service,
            forwarder,
            metrics,
            places,
            packets,
            denied,
            connector,
            encryption,
            web,
            reloads: Reloads::new(),
            dht: None,
            stores,
            shown,
            state: Arc::default(),
        })
    }

    /// The addresses that are bound, with the real ports, each for UDP and TCP.
    pub fn addresses(&self) -> Vec<SocketAddr> {
        self.addresses_of(Purpose::Dns)
    }

    /// The addresses of DNS over TLS, with the real ports.
    pub fn tls_addresses(&self) -> Vec<SocketAddr> {
        self.addresses_of(Purpose::Tls)
    }

    /// The addresses of HTTPS, with the real ports.
    pub fn https_addresses(&self) -> Vec<SocketAddr> {
        self.addresses_of(Purpose::Https)
    }

    /// The addresses of plain HTTP, with the real ports.
    pub fn http_addresses(&self) -> Vec<SocketAddr> {
        self.addresses_of(Purpose::Http)
    }

    /// The certificate that HTTPS shows now, DER, if it is served.
    pub fn https_certificate(&self) -> Option<Vec<u8>> {
        self.encryption.https_certificate()
    }

    /// The addresses of `/metrics`, with the real ports.
    pub fn metrics_addresses(&self) -> Vec<SocketAddr> {
        self.addresses_of(Purpose::Metrics)
    }

    /// The addresses of the bridge to sites under keys, with the real ports. Those that it shares with HTTPS are among them.
    pub fn bridge_addresses(&self) -> Vec<SocketAddr> {
        let shared = self.listeners.iter().filter(|one| listeners::is_shared(&self.config, &one.wanted));
        let shared = shared.map(|one| one.address);
        self.addresses_of(Purpose::Bridge).into_iter().chain(shared).collect()
    }

    /// The addresses of the bridge in the clear, with the real ports.
    pub fn plain_bridge_addresses(&self) -> Vec<SocketAddr> {
        self.addresses_of(Purpose::BridgePlain)
    }

    fn addresses_of(&self, purpose: Purpose) -> Vec<SocketAddr> {
        listeners::addresses_of(purpose, self.listeners.iter().map(|one| (one.wanted.purpose, one.address)))
    }

    /// By which the server takes another configuration while it runs.
    pub fn reload_handle(&self) -> ReloadHandle {
        self.reloads.handle(&self.metrics)
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
        Control { state: self.state.clone(), disk: self.stores.disk.clone(), dht: self.dht.clone() }
    }

    /// Answers until `stop` is cancelled or [`Control::leave`] is called, then answers what is in flight.
    pub async fn run(self, stop: CancellationToken) {
        let (tasks, dht, disk) = (TaskTracker::new(), self.dht.clone(), self.stores.disk.clone());
        let (service, state, counted) =
            (self.service.clone(), self.state.clone(), self.metrics.service.clone());
        let ending = Ending::new(stop.child_token());
        let (running, mut reloads) = Running::start(self, &ending, &tasks);
        let probing = running.watch_for_loops();
        state.start();
        let leaving = ending.leaving().clone();
        // Whoever leaves takes no other configuration: what it would listen on is its successor's.
        let serving = leaving.run_until_cancelled_owned(async move { reloads.serve(running).await });
        let (_, has_left) = tokio::join!(serving, state.until_the_end(&ending, &tasks));
        tasks.close();
        if timeout(DRAIN_DEADLINE, tasks.wait()).await.is_err() {
            warn!("{} questions were not answered in time before the stop", tasks.len());
        }
        if has_left {
            info!("{} queries were answered before another process took over", counted.replies());
        }
        // Who serves in our place has the files.
        if let Some(dht) = dht.filter(|_| !has_left) {
            dht.save_nodes().await;
        }
        if let Some(disk) = disk
            && timeout(CLOSE_DEADLINE, disk.close()).await.is_err()
        {
            warn!("the disk took over {CLOSE_DEADLINE:?} to write the last packets before the stop");
        }
        service.query_log().close().await;
        probing.abort();
    }
}

/// Encrypted upstreams have ports of their own; if one of them is this server, the forwarder finds the loop.
fn refuse_own_address(config: &Config, addresses: &[(Purpose, SocketAddr)]) -> Result<(), StartError> {
    let own = listeners::addresses_of(Purpose::Dns, addresses.iter().copied());
    let mut plain = config.fallback_dns.iter().filter_map(UpstreamAddress::plain);
    match plain.find(|upstream| is_own_address(*upstream, &own)) {
        Some(upstream) => Err(StartError::ForwardsToItself(upstream)),
        None => Ok(()),
    }
}
