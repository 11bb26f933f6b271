//! A server that is a relay, in front of a real DHT on loopback.

use std::sync::Arc;

use pkdns_dht::simulator::Simulator;

use super::*;

const NODES: usize = 20;

/// A relay in front of a DHT.
pub(crate) struct World {
    pub(crate) server: TestServer,
    network: Arc<Simulator>,
}

impl World {
    pub(crate) async fn start() -> Self {
        Self::on(Arc::new(Simulator::with_nodes(NODES).unwrap()))
    }

    /// Another server on the same DHT.
    pub(crate) fn beside(&self) -> Self {
        Self::on(self.network.clone())
    }

    fn on(network: Arc<Simulator>) -> Self {
        Self { server: relay().in_dht(network.bootstrap()).start(), network }
    }

    pub(crate) fn url(&self) -> String {
        format!("http://{}", self.server.http())
    }

    /// The data of the first answer, as text.
    pub(crate) async fn resolve(&self, name: &str, record_type: RecordType) -> String {
        let message = self.server.ask(name, record_type).await;
        message.answers.first().map_or_else(|| format!("{message:?}"), |record| record.data.to_string())
    }
}
