//! The client of the DHT that everything else uses: several nodes as one.

use std::{
    hash::{BuildHasher, RandomState},
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
    sync::{Notify, mpsc, watch},
    time::{Instant, timeout, timeout_at},
};
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::{debug, warn};

use super::{
    Evidence, Network, NetworkError,
    bootstrap::{HostResolver, keep_joined},
    node::{Node, NodeFailed, Turn, guarded},
};
use crate::{
    config,
    signed_packet::{PublicKey, SignedPacket},
};

/// A lookup ends within this time of its call, waiting for its turn included.
const LOOKUP_DEADLINE: Duration = Duration::from_secs(4);

/// Most signatures checked in one lookup. Honest nodes hold one or two different packets.
const MAX_CHECKS: u32 = 64;

/// So many nodes that answered without the key make it absent, however many are known.
const ENOUGH_NODES: usize = 8;

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
        let mut joined = self.nodes.joined.subscribe();
        match timeout(limit, joined.wait_for(|nodes| !nodes.is_empty())).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(NetworkError::NotReady),
        }
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
        let node = self.nodes.of(key)?;
        let turn = node.turn().await?;
        let newest = Newest { key: key.clone(), found, packet: None, checks: 0 };
        let search = search(node.clone(), newest, deadline, self.request_timeout, turn);
        self.nodes.checked(&node, guarded(search).await)?
    }
}

/// Our nodes that have joined.
pub(super) struct Nodes {
    joined: watch::Sender<Arc<[Arc<Node>]>>,
    /// Rung when a node has failed.
    failure: Notify,
    /// Divides the keys in a way that nobody outside can foresee, so that nobody can crowd one node.
    shards: RandomState,
}

impl Default for Nodes {
    fn default() -> Self {
        Self { joined: watch::Sender::new(Arc::new([])), failure: Notify::new(), shards: RandomState::new() }
    }
}

impl Nodes {
    /// Drops the nodes that have failed or know nobody, and returns how many are left.
    pub(super) async fn retain_healthy(&self, patience: u32) -> usize {
        let mut healthy = Vec::new();
        for node in self.all().iter() {
            if node.is_healthy(patience).await {
                healthy.push(node.clone());
            } else {
                warn!(address = %node.address(), "replacing a DHT node that failed or lost the network");
            }
        }
        let count = healthy.len();
        self.joined.send_if_modified(|joined| {
            let modified = joined.len() != count;
            if modified {
                *joined = healthy.into();
            }
            modified
        });
        count
    }

    pub(super) fn add(&self, node: Arc<Node>) {
        self.joined.send_modify(|joined| {
            *joined = joined.iter().cloned().chain([node]).collect();
        });
    }

    /// Waits until a node fails, for `limit` at most.
    pub(super) async fn woken(&self, limit: Duration) {
        let _ = timeout(limit, self.failure.notified()).await;
    }

    fn all(&self) -> Arc<[Arc<Node>]> {
        self.joined.borrow().clone()
    }

    fn of(&self, key: &PublicKey) -> Result<Arc<Node>, NetworkError> {
        let nodes = self.all();
        let shard = self.shards.hash_one(key.as_bytes());
        let index = usize::try_from(shard).unwrap_or(usize::MAX).checked_rem(nodes.len());
        index.and_then(|index| nodes.get(index)).cloned().ok_or(NetworkError::NotReady)
    }

    /// Has `node` replaced if its calls failed.
    fn checked<T>(&self, node: &Node, result: Result<T, NodeFailed>) -> Result<T, NetworkError> {
        result.map_err(|NodeFailed| {
            node.fail();
            self.failure.notify_one();
            NetworkError::Unreachable
        })
    }
}

/// Searches, and once more when too few nodes answered.
async fn search(
    node: Arc<Node>,
    mut newest: Newest,
    deadline: Instant,
    request_timeout: Duration,
    _turn: Turn,
) -> Result<Evidence, NetworkError> {
    let key = newest.key.to_bytes();
    let mut evidence = Evidence { queried: 0, responded: 0 };
    // The second attempt begins with the nodes that answered the first.
    for attempt in 0..2 {
        if attempt > 0 && deadline.duration_since(Instant::now()) < request_timeout {
            break;
        }
        let Ok(outcome) = timeout_at(deadline, node.search(&key, |item| newest.offer(item))).await else {
            break;
        };
        evidence = Evidence { queried: outcome.queried, responded: outcome.responded() };
        if newest.packet.is_some() {
            return Ok(evidence);
        }
        let known = node.table_size().await.unwrap_or(usize::MAX);
        if is_absent(outcome.valid_responses(), known) {
            return Ok(evidence);
        }
        debug!(?evidence, known, "too few DHT nodes answered to call a key absent");
    }
    if newest.packet.is_some() { Ok(evidence) } else { Err(NetworkError::Unreachable) }
}

/// Whether `answers` without the key, from a node that knows `known` others, make it absent. Loss must not: each node
/// near the key would have held it, so that a few answers are enough, but a search that lost most of its answers has
/// not come near. The nodes that were asked are no measure, for many of those that others name are long gone.
fn is_absent(answers: u32, known: usize) -> bool {
    let needed = (known / 2).clamp(1, ENOUGH_NODES);
    usize::try_from(answers).is_ok_and(|answers| answers >= needed)
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

/// The newest packet of a search so far.
struct Newest {
    key: PublicKey,
    found: mpsc::UnboundedSender<SignedPacket>,
    packet: Option<SignedPacket>,
    checks: u32,
}

impl Newest {
    /// Sends `item` on if it is newer than what was sent, and sound: mainline lets through values over 1000 bytes,
    /// negative sequence numbers and weak keys.
    fn offer(&mut self, item: &MutableItem) {
        if !self.may_be_newer(item) || self.checks >= MAX_CHECKS {
            return;
        }
        self.checks += 1;
        match SignedPacket::from_item(item) {
            Ok(packet) if *packet.key() == self.key => {
                // The caller may have gone; what was found is remembered until the search ends.
                let _ = self.found.send(packet.clone());
                self.packet = Some(packet);
            }
            Ok(_) => (),
            Err(error) => debug!(key = %self.key, %error, "a DHT node holds an unsound packet"),
        }
    }

    /// Whether it is worth the price of a signature check.
    fn may_be_newer(&self, item: &MutableItem) -> bool {
        let Ok(timestamp) = u64::try_from(item.seq()) else { return false };
        let newest = self.packet.as_ref();
        newest.is_none_or(|newest| (timestamp, item.value()) > (newest.timestamp(), newest.dns()))
    }
}
