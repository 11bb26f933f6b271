//! The client of the DHT that everything else uses: several nodes as one.

use std::{
    net::{Ipv4Addr, SocketAddrV4},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use mainline::{
    MutableItem,
    errors::{ConcurrencyError, PutMutableError, PutQueryError},
};
use thiserror::Error;
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    Evidence, Network, NetworkError,
    bootstrap::{HostResolver, keep_joined},
    node::{Node, Turn, guarded},
    nodes::Nodes,
    search::{Newest, search},
};
use crate::{
    config,
    signed_packet::{PublicKey, SignedPacket},
};

/// A lookup ends within this time of its call, waiting for its turn included.
const LOOKUP_DEADLINE: Duration = Duration::from_secs(4);

/// A lookup that comes before the DHT is joined waits this long for it: the first questions of a new server would
/// fail for nothing otherwise.
const JOIN_PATIENCE: Duration = Duration::from_millis(1500);

/// How the DHT is joined.
#[derive(Debug, Clone)]
pub struct DhtSettings {
    /// Nodes to join through, `HOST:PORT`.
    pub bootstrap: Vec<String>,
    /// How long a node has to answer one request. A search takes little more, as some nodes never answer.
    pub request_timeout: Duration,
    /// Nodes of our own, each a socket and a thread. The keys are divided among them.
    pub nodes: usize,
    /// Address that their sockets are bound to, at any free port.
    pub bind: Ipv4Addr,
    /// Pause after the first failure to join. It doubles with each, up to a minute.
    pub first_retry: Duration,
}

impl Default for DhtSettings {
    fn default() -> Self {
        Self {
            bootstrap: config::Dht::default().bootstrap,
            request_timeout: Duration::from_millis(1500),
            nodes: 4,
            bind: Ipv4Addr::UNSPECIFIED,
            first_retry: Duration::from_secs(1),
        }
    }
}

/// A client of the Mainline DHT. Never serves it. Cheap to clone; leaves when the last clone is dropped.
#[derive(Clone)]
pub struct Dht {
    nodes: Arc<Nodes>,
    request_timeout: Duration,
    _leave: Arc<DropGuard>,
}

/// Why a packet was not stored.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PutError {
    /// A later packet of this key is stored already.
    #[error("a more recent packet is stored already")]
    NotMostRecent,
    /// The packet that is stored is not the one to be replaced.
    #[error("the stored packet is not the one expected")]
    CasFailed,
    /// The nodes refused it with this KRPC error.
    #[error("the DHT nodes refused it: {1} (error {0})")]
    Refused(i32, String),
    /// The network could not be asked.
    #[error(transparent)]
    Network(#[from] NetworkError),
}

/// What the log says about our part in the DHT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DhtInfo {
    /// Where our joined nodes are bound.
    pub local_addresses: Vec<SocketAddrV4>,
    /// Nodes that they know and that answered lately.
    pub table_size: usize,
}

impl Dht {
    /// Starts to join in the background, and goes on trying for ever. Must be called in a Tokio runtime.
    pub fn start(settings: DhtSettings, resolve_host: HostResolver) -> Self {
        let nodes = Arc::new(Nodes::default());
        let leave = CancellationToken::new();
        let request_timeout = settings.request_timeout;
        let joining = keep_joined(settings, resolve_host, nodes.clone());
        tokio::spawn(leave.clone().run_until_cancelled_owned(joining));
        Self { nodes, request_timeout, _leave: Arc::new(leave.drop_guard()) }
    }

    /// Waits until some node has answered.
    pub async fn ready(&self, limit: Duration) -> Result<(), NetworkError> {
        timeout(limit, self.nodes.any()).await.map_err(|_| NetworkError::NotReady)
    }

    /// Stores `packet` and returns how many nodes confirmed that. With `cas`, only nodes that hold the packet of that
    /// timestamp, or none, take it (BEP44).
    pub async fn put(&self, packet: &SignedPacket, cas: Option<u64>) -> Result<u32, PutError> {
        // No node can hold a timestamp that BEP44 cannot express.
        let cas = cas.map(i64::try_from).transpose().map_err(|_| PutError::CasFailed)?;
        let node = self.nodes.of(packet.key())?;
        let turn = node.turn().await?;
        // A search, the store, and both again.
        let limit = self.request_timeout.saturating_mul(4).saturating_add(Duration::from_secs(2));
        let task = guarded(timeout(limit, put(node.clone(), packet.to_item(), cas, turn)));
        match self.nodes.checked(&node, task.await)? {
            Ok(stored) => stored,
            Err(_) => Err(NetworkError::Unreachable.into()),
        }
    }

    /// Waits for the end of the search and returns the newest packet.
    pub async fn most_recent(
        &self,
        key: &PublicKey,
    ) -> Result<(Option<SignedPacket>, Evidence), NetworkError> {
        let (sender, mut found) = mpsc::unbounded_channel();
        let evidence = self.lookup(key, sender).await?;
        let mut newest = None;
        while let Ok(packet) = found.try_recv() {
            newest = Some(packet);
        }
        Ok((newest, evidence))
    }

    /// Asks our nodes about themselves.
    pub async fn info(&self) -> DhtInfo {
        let mut info = DhtInfo { local_addresses: Vec::new(), table_size: 0 };
        for node in self.nodes.all().iter() {
            info.local_addresses.push(node.address());
            info.table_size += node.table_size().await.unwrap_or(0);
        }
        info
    }
}

#[async_trait]
impl Network for Dht {
    async fn lookup(
        &self,
        key: &PublicKey,
        found: mpsc::UnboundedSender<SignedPacket>,
    ) -> Result<Evidence, NetworkError> {
        let deadline = Instant::now() + LOOKUP_DEADLINE;
        self.ready(JOIN_PATIENCE).await?;
        let node = self.nodes.of(key)?;
        let turn = node.turn().await?;
        let newest = Newest::new(key.clone(), found);
        let search = search(node.clone(), newest, deadline, self.request_timeout, turn);
        self.nodes.checked(&node, guarded(search).await)?
    }
}

async fn put(node: Arc<Node>, item: MutableItem, cas: Option<i64>, _turn: Turn) -> Result<u32, PutError> {
    let mut result = node.put(item.clone(), cas).await;
    if let Err(PutMutableError::Query(PutQueryError::NoClosestNodes | PutQueryError::Timeout)) = result {
        // mainline remembers the nodes of an earlier search; they may be gone. A new search replaces them.
        let _ = node.search(item.key(), |_| ()).await;
        result = node.put(item, cas).await;
    }
    match result {
        Ok(outcome) => Ok(outcome.stored_at),
        Err(PutMutableError::Concurrency(ConcurrencyError::NotMostRecent)) => Err(PutError::NotMostRecent),
        // Another packet of this key is being stored at this moment, by us.
        Err(PutMutableError::Concurrency(ConcurrencyError::ConflictRisk | ConcurrencyError::CasFailed)) => {
            Err(PutError::CasFailed)
        }
        Err(PutMutableError::Query(PutQueryError::ErrorResponse(error))) => {
            Err(PutError::Refused(error.code, error.description))
        }
        Err(PutMutableError::Query(PutQueryError::NoClosestNodes | PutQueryError::Timeout)) => {
            Err(NetworkError::Unreachable.into())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testnet::LocalNetwork;

    #[tokio::test]
    async fn a_node_that_failed_is_replaced() {
        let network = LocalNetwork::start(3).await.unwrap();
        let settings = DhtSettings {
            bootstrap: network.bootstrap(),
            nodes: 1,
            bind: Ipv4Addr::LOCALHOST,
            ..DhtSettings::default()
        };
        let dht = Dht::start(settings, Arc::new(|_| Box::pin(async { Vec::new() })));
        dht.ready(Duration::from_secs(10)).await.unwrap();
        let first = dht.nodes.all()[0].clone();

        // What mainline does when its thread has died.
        let panicked = guarded(async { panic!("actor thread unexpectedly shutdown") }).await;
        assert_eq!(dht.nodes.checked::<()>(&first, panicked), Err(NetworkError::Unreachable));

        let replaced = async {
            while dht.nodes.all().first().is_none_or(|node| node.address() == first.address()) {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        timeout(Duration::from_secs(10), replaced).await.unwrap();
        let key = crate::testnet::sample_keypair().public_key();
        assert_eq!(dht.most_recent(&key).await.unwrap().0, None);
    }
}
