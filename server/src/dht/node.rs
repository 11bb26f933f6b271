//! One node of `mainline`, with what it lacks: a limit on searches, a wake-up, and calls that cannot take us down.

use std::{
    fmt, io,
    net::{Ipv4Addr, SocketAddrV4, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
    time::Duration,
};

use futures_util::StreamExt;
use mainline::{
    GetMutableOutcome, MutableItem, PutOutcome, RequestFilter, RequestSpecific, ServerSettings,
    async_dht::AsyncDht, errors::PutMutableError,
};
use thiserror::Error;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    time::{sleep, timeout},
};

use super::{DhtSettings, NetworkError, receive_buffer};

/// Most searches under way at one node. Its thread looks at each of them for every datagram.
const MAX_ACTIVE: usize = 64;

/// Most callers waiting for a search at one node; those beyond are told at once.
const MAX_WAITING: usize = 256;

/// Most searches that begin at one node together, however large its receive buffer: its thread checks a signature for
/// each of their answers, and answers that it comes to after their timeout are lost like any other.
const MAX_BEGINNING: usize = 16;

/// Longest that a caller waits to begin.
const MAX_WAIT: Duration = Duration::from_secs(2);

/// Receive buffer that one beginning search can fill, in bytes as the kernel counts them: twenty answers of up to
/// 1500 bytes and twenty short ones, each with the kernel's own bookkeeping.
const BUFFER_PER_SEARCH: usize = 64 << 10;

/// How long after its beginning a search may fill the buffer. What comes later comes spread over time.
const BURST: Duration = Duration::from_millis(100);

/// The receive buffer when it could not be learned: Linux's default.
const DEFAULT_BUFFER: usize = 208 << 10;

/// A routing table this large is good enough to begin; smaller ones wait for the end of the first search.
const JOINED_TABLE: usize = 8;

/// Longest that any call may take before the node counts as dead, in which no request of its own waits.
const ACTOR_DEADLINE: Duration = Duration::from_secs(5);

/// The node's thread has died or hangs. Only a new node helps.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the DHT node has failed")]
pub(super) struct NodeFailed;

/// Why there is no new node.
#[derive(Debug, Error)]
pub(super) enum JoinError {
    #[error("cannot open a UDP socket: {0}")]
    Socket(#[from] io::Error),
    #[error("no bootstrap node answered")]
    NoAnswer,
    #[error(transparent)]
    Failed(#[from] NodeFailed),
}

/// A client of the DHT: one UDP socket, one thread.
pub(super) struct Node {
    dht: AsyncDht,
    address: SocketAddrV4,
    receive_buffer: usize,
    /// Wakes the node's thread.
    doorbell: UdpSocket,
    waiting: Semaphore,
    active: Arc<Semaphore>,
    beginning: Arc<Semaphore>,
    failed: AtomicBool,
    empty_checks: AtomicU32,
}

/// Leave to run one search. Held until the search has ended.
pub(super) struct Turn {
    _active: OwnedSemaphorePermit,
}

impl Node {
    /// Starts a node and waits until it has joined through one of `bootstrap`.
    pub(super) async fn join(
        settings: &DhtSettings,
        bootstrap: &[SocketAddrV4],
    ) -> Result<Arc<Self>, JoinError> {
        let node = Arc::new(Self::start(settings, bootstrap).await?);
        let joined = {
            let node = node.clone();
            // Every request of the first search has its own timeout, and a search takes a few rounds.
            let limit = settings.request_timeout.saturating_mul(3).saturating_add(Duration::from_millis(500));
            guarded(async move { timeout(limit, node.first_search()).await.is_ok() }).await?
        };
        if joined && node.table_size().await? > 0 { Ok(node) } else { Err(JoinError::NoAnswer) }
    }

    async fn start(settings: &DhtSettings, bootstrap: &[SocketAddrV4]) -> Result<Self, JoinError> {
        let mut builder = mainline::Dht::builder();
        builder
            // Socket addresses only: a name would be resolved by the system, which may be asking us.
            .bootstrap(bootstrap)
            .bind_address(settings.bind)
            // Not mainline's default, 6881, which belongs to whoever runs a BitTorrent client here.
            .port(0)
            .request_timeout(settings.request_timeout)
            // mainline turns into a server by itself when it can be reached from outside. This keeps it silent.
            .server_settings(ServerSettings { filter: Box::new(RefuseAll), ..Default::default() });
        // `build` waits for the node's thread.
        let built = tokio::task::spawn_blocking(move || builder.build()).await;
        let dht = built.map_err(|_| NodeFailed)??.as_async();

        let address = guarded({
            let dht = dht.clone();
            async move { dht.info().await.local_addr() }
        })
        .await?;
        let receive_buffer = receive_buffer::enlarge(address).unwrap_or(DEFAULT_BUFFER);
        let beginning = (receive_buffer / BUFFER_PER_SEARCH).clamp(1, MAX_BEGINNING);
        let doorbell = UdpSocket::bind((settings.bind, 0))?;
        doorbell.set_nonblocking(true)?;

        Ok(Self {
            dht,
            address,
            receive_buffer,
            doorbell,
            waiting: Semaphore::new(MAX_WAITING),
            active: Arc::new(Semaphore::new(MAX_ACTIVE)),
            beginning: Arc::new(Semaphore::new(beginning)),
            failed: AtomicBool::new(false),
            empty_checks: AtomicU32::new(0),
        })
    }

    /// Ends when the table is of some size, or when the search for our own place has ended.
    async fn first_search(&self) {
        let grown = async {
            while self.dht.to_bootstrap().await.len() < JOINED_TABLE {
                sleep(Duration::from_millis(50)).await;
            }
        };
        tokio::select! {
            _ = self.dht.bootstrapped() => (),
            () = grown => (),
        }
    }

    /// Where the node's socket is bound.
    pub(super) fn address(&self) -> SocketAddrV4 {
        self.address
    }

    /// Size of the socket's receive buffer in bytes, as the kernel counts.
    pub(super) fn receive_buffer(&self) -> usize {
        self.receive_buffer
    }

    /// Waits for leave to search, as few searches may begin at once as the receive buffer has room for.
    pub(super) async fn turn(&self) -> Result<Turn, NetworkError> {
        let _waiting = self.waiting.try_acquire().map_err(|_| NetworkError::Busy)?;
        let permits = timeout(MAX_WAIT, async {
            let active = self.active.clone().acquire_owned().await;
            (active, self.beginning.clone().acquire_owned().await)
        });
        // The semaphores are never closed.
        let Ok((Ok(active), Ok(beginning))) = permits.await else { return Err(NetworkError::Busy) };
        tokio::spawn(async move {
            sleep(BURST).await;
            drop(beginning);
        });
        Ok(Turn { _active: active })
    }

    /// Searches once. Passes each item, as it arrives, to `offer`.
    ///
    /// Never bounded by `seq`: mainline lets a search join any other for the same key, whatever its bound.
    pub(super) async fn search(
        &self,
        key: &[u8; 32],
        mut offer: impl FnMut(&MutableItem),
    ) -> GetMutableOutcome {
        let mut answers = self.dht.get_mutable_detailed(key, None, None);
        self.wake();
        while let Some(item) = answers.items.next().await {
            offer(&item);
        }
        answers.outcome.recv().await
    }

    /// Stores `item` at the nodes nearest to its key.
    pub(super) async fn put(
        &self,
        item: MutableItem,
        cas: Option<i64>,
    ) -> Result<PutOutcome, PutMutableError> {
        let put = self.dht.put_mutable(item, cas);
        // The request is handed over when `put` is polled first.
        let (outcome, ()) = tokio::join!(put, async { self.wake() });
        outcome
    }

    /// How many nodes answered lately.
    pub(super) async fn table_size(self: &Arc<Self>) -> Result<usize, NodeFailed> {
        let node = self.clone();
        let nodes = guarded(async move {
            let nodes = async { tokio::join!(node.dht.to_bootstrap(), async { node.wake() }).0 };
            timeout(ACTOR_DEADLINE, nodes).await
        });
        let nodes = nodes.await.and_then(|nodes| nodes.map_err(|_| NodeFailed));
        if nodes.is_err() {
            self.fail();
        }
        nodes.map(|nodes| nodes.len())
    }

    /// Marks the node as dead.
    pub(super) fn fail(&self) {
        self.failed.store(true, Ordering::Relaxed);
    }

    /// Whether the node works and has known anyone in the last `patience` checks.
    pub(super) async fn is_healthy(self: &Arc<Self>, patience: u32) -> bool {
        if self.failed.load(Ordering::Relaxed) {
            return false;
        }
        match self.table_size().await {
            Ok(0) => self.empty_checks.fetch_add(1, Ordering::Relaxed) < patience,
            Ok(_) => {
                self.empty_checks.store(0, Ordering::Relaxed);
                true
            }
            Err(NodeFailed) => false,
        }
    }

    /// The node's thread sleeps up to 50 ms in its socket before it sees a request; any datagram ends that (measured:
    /// first answer after 1 ms, not 45). This one is no KRPC message and is ignored. Should it be lost, so are 50 ms.
    fn wake(&self) {
        let ip = if self.address.ip().is_unspecified() { Ipv4Addr::LOCALHOST } else { *self.address.ip() };
        let _ = self.doorbell.send_to(&[0], (ip, self.address.port()));
    }
}

impl fmt::Debug for Node {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Node").field("address", &self.address).finish_non_exhaustive()
    }
}

/// Runs calls to mainline, which panic when its thread has died, where a panic is an error. Runs to the end even if
/// the caller goes away.
pub(super) async fn guarded<T: Send + 'static>(
    calls: impl Future<Output = T> + Send + 'static,
) -> Result<T, NodeFailed> {
    tokio::spawn(calls).await.map_err(|_| NodeFailed)
}

#[derive(Debug, Clone)]
struct RefuseAll;

impl RequestFilter for RefuseAll {
    fn allow_request(&self, _request: &RequestSpecific, _from: SocketAddrV4) -> bool {
        false
    }
}
