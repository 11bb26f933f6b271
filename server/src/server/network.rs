//! Whom the server asks: the DHT, relays and upstream resolvers.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::mpsc;

use super::StartError;
use crate::{
    config::Config,
    dht::{Dht, DhtSettings, Evidence, HostResolver, Network, NetworkError},
    forward::{Forwarder, TlsClient},
    metrics::Metrics,
    relay_client::{DhtAndRelays, Relays},
    signed_packet::{PublicKey, SignedPacket},
};

pub(super) fn start_forwarder(config: &Config, tls: &TlsClient) -> Arc<Forwarder> {
    Arc::new(Forwarder::new(config.fallback_dns.clone(), tls).with_zones(&config.forward, tls))
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

pub(super) fn start_dht(
    config: &Config,
    forwarder: &Arc<Forwarder>,
    tls: &TlsClient,
    metrics: &Metrics,
) -> Result<(Arc<Dht>, Arc<dyn Network>), StartError> {
    let resolve_host = resolve_host(forwarder);
    let settings = DhtSettings {
        bootstrap: config.dht.bootstrap.clone(),
        max_datagrams_per_second: config.dht.max_datagrams_per_second,
        max_nodes: config.dht.max_nodes,
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
