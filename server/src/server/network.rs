//! Where packets come from: the DHT, with relays beside it, or nowhere.

use std::sync::Arc;

use async_trait::async_trait;
use tokio::sync::mpsc;

use super::{StartError, resolve_host};
use crate::{
    config::Config,
    dht::{Dht, DhtSettings, Evidence, Network, NetworkError},
    forward::{Forwarder, TlsClient},
    metrics::Metrics,
    relay_client::{DhtAndRelays, Relays},
    signed_packet::{PublicKey, SignedPacket},
};

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
