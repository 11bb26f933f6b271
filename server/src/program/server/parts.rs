//! What a server is made of and keeps for as long as it runs.

use std::{sync::Arc, time::Duration};

use async_trait::async_trait;
use pkdns_dht::{
    Dht, DhtSettings, Evidence, HostResolver, Network, NetworkError,
    signed_packet::{PublicKey, SignedPacket},
};
use tokio::sync::mpsc;
use tracing::debug;

use super::StartError;
use crate::{
    base::{
        config::{self, Config},
        metrics::Metrics,
    },
    edge::held::{Budget, MachineMemory},
    resolver::denied::DeniedKeys,
    sources::{
        connector::Connector,
        forward::{Forwarder, TlsClient},
        packets::{DiskError, DiskStore, Packets, SharedStore},
    },
};

/// What may be held for clients, as configured or as suits the machine.
pub(super) fn unread(config: &Config, metrics: &Metrics) -> Budget {
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

pub(super) fn open_disk(settings: &config::Cache, metrics: &Metrics) -> Result<Option<DiskStore>, DiskError> {
    let Some(directory) = settings.directory() else { return Ok(None) };
    let disk = DiskStore::open(directory, settings.disk_megabytes.saturating_mul(1_000_000))?;
    metrics.add_gauge("disk_failed", "Whether packets cannot be kept on disk", {
        let disk = disk.clone();
        move || disk.has_failed().into()
    });
    metrics.add_gauge("packets_on_disk", "Packets on disk", {
        let disk = disk.clone();
        move || disk.len()
    });
    Ok(Some(disk))
}

pub(super) fn start_forwarder(config: &Config, tls: &TlsClient) -> Arc<Forwarder> {
    Arc::new(Forwarder::new(config.fallback_dns.clone(), tls).with_zones(&config.forward, tls))
}

pub(super) fn share_packets(config: &Config, tls: &TlsClient, metrics: &Metrics) -> Option<SharedStore> {
    let max_age = Duration::from_secs(config.cache.max_ttl_seconds);
    let url = config.cache.redis.as_ref()?;
    let shared = SharedStore::new(url, tls.additional_authorities(), max_age, metrics.shared.clone());
    metrics.add_gauge("shared_failed", "Whether the store that servers share cannot be used", {
        let shared = shared.clone();
        move || shared.has_failed().into()
    });
    Some(shared)
}

/// Names of servers that we need ourselves are resolved through our own upstreams: the system's resolver may well be
/// this server.
pub(super) fn resolve_host(forwarder: &Arc<Forwarder>) -> HostResolver {
    let forwarder = forwarder.clone();
    Arc::new(move |host| {
        let forwarder = forwarder.clone();
        Box::pin(async move { forwarder.lookup_host(&host).await })
    })
}

/// Connections to the servers of deny lists, whose certificates are checked like those of encrypted upstreams.
pub(super) fn connector(forwarder: &Arc<Forwarder>, tls: &TlsClient) -> Connector {
    Connector::new((*tls.for_tls()).clone(), resolve_host(forwarder))
}

pub(super) fn open_denied_keys(config: &Config, packets: &Packets, metrics: &Metrics) -> DeniedKeys {
    let denied = DeniedKeys::open(config, packets.revisions(), &metrics.denied);
    metrics.add_gauge("denied_keys", "Keys on deny lists", {
        let denied = denied.clone();
        move || denied.len()
    });
    metrics.add_gauge("denied_lists_failed", "Deny lists that could not be read or fetched the last time", {
        let denied = denied.clone();
        move || denied.readings().iter().filter(|list| list.fault.is_some()).count()
    });
    denied
}

#[cfg_attr(not(feature = "tls"), expect(unused_variables, reason = "relays are what needs it"))]
pub(super) fn start_dht(
    config: &Config,
    forwarder: &Arc<Forwarder>,
    tls: &TlsClient,
    metrics: &Metrics,
) -> Result<(Arc<Dht>, Arc<dyn Network>), StartError> {
    let resolve_host = resolve_host(forwarder);
    let mut settings = DhtSettings::default();
    settings.bootstrap.clone_from(&config.dht.bootstrap);
    settings.max_datagrams_per_second = config.dht.max_datagrams_per_second;
    settings.max_nodes = config.dht.max_nodes;
    settings.nodes_path.clone_from(&config.dht.nodes_path);
    settings.observer = Arc::new(metrics.dht.clone());
    let dht = Arc::new(Dht::start(settings, resolve_host.clone()).map_err(StartError::Dht)?);
    #[cfg(feature = "tls")]
    if !config.dht.relays.is_empty() {
        use crate::sources::relay_client::{DhtAndRelays, Relays};
        let outcomes = &metrics.dht.relay_requests;
        let relays = Relays::new(&config.dht.relays, &tls.for_tls(), resolve_host, outcomes);
        return Ok((dht.clone(), Arc::new(DhtAndRelays::new(dht, relays))));
    }
    Ok((dht.clone(), dht))
}

/// The network of a server whose configuration says `dht.enabled = false`.
pub(super) struct SwitchedOff;

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
