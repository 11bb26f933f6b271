//! The client of the DHT that everything else uses: a handle to the task that owns the sockets.

use std::{
    io,
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use thiserror::Error;
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::{Instant, timeout},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    Event, Evidence, Network, NetworkError, NoObserver, Observer,
    bootstrap::{self, HostResolver, keep_joined},
    engine::{Command, Step},
    node_id::Sighting,
    observer::LookupEnd,
    put::ENOUGH_REPLICAS,
    table::Contact,
    task::{self, Sockets},
    values::{CONFIRMATIONS, Moment},
};
use crate::signed_packet::{PublicKey, SignedPacket};

/// A lookup that comes before the DHT is joined waits this long for it: the first questions of a new server would
/// fail for nothing otherwise.
const JOIN_PATIENCE: Duration = Duration::from_millis(1500);

/// The engine ends every search before this; it is waited for no longer.
const LOOKUP_DEADLINE: Duration = Duration::from_millis(4500);

/// A search and a store.
const PUT_DEADLINE: Duration = Duration::from_secs(9);

/// The engine answers questions about itself at once, unless thousands of commands are before them.
const ANSWER_DEADLINE: Duration = Duration::from_secs(2);

/// Longest that a stop waits for the disk.
const SAVE_DEADLINE: Duration = Duration::from_secs(1);

/// Commands that wait for the task. Beyond, new ones are turned away.
const MAX_COMMANDS: usize = 4096;

/// Nodes of several operators through which the public DHT is joined, `HOST:PORT`.
pub const BOOTSTRAP: [&str; 4] = [
    "router.bittorrent.com:6881",
    "dht.transmissionbt.com:6881",
    "dht.libtorrent.org:25401",
    "relay.pkarr.org:6881",
];

/// How the DHT is joined. Begin with [`DhtSettings::default`] or [`DhtSettings::on_loopback`] and set what differs.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct DhtSettings {
    /// Nodes to join through, `HOST:PORT`.
    pub bootstrap: Vec<String>,
    /// Address of the IPv4 socket, at any free port. `None`: no IPv4.
    pub bind_v4: Option<Ipv4Addr>,
    /// Address of the IPv6 socket, at any free port. `None`: no IPv6. Where the host has none, it is left out.
    pub bind_v6: Option<Ipv6Addr>,
    /// Where known nodes are kept across restarts.
    pub nodes_path: Option<PathBuf>,
    /// Whether that file is only read, as that of another program.
    pub reads_nodes_only: bool,
    /// Most datagrams sent in a second.
    pub max_datagrams_per_second: u32,
    /// Most nodes that are known, of both families of addresses together, at most 1,048,576. What is known makes every
    /// search shorter; a node takes some 50 bytes.
    pub max_nodes: usize,
    /// Get to know nodes in the whole key space until that many are known, which makes every later search shorter: a
    /// thousand datagrams a second in the first ten seconds and 200 later, or 100 where at most 8192 nodes are known.
    pub explore: bool,
    /// Nodes that hold a key and are heard before its first packet is handed out, if they answer in time: the quickest
    /// may hold an old one. 1 waits for nobody.
    pub confirmations: u32,
    /// Is told what the client does.
    pub observer: Arc<dyn Observer>,
    /// Pause after the first failure to join. It doubles with each, up to a minute.
    pub first_retry: Duration,
}

impl Default for DhtSettings {
    fn default() -> Self {
        Self {
            bootstrap: BOOTSTRAP.map(String::from).into(),
            bind_v4: Some(Ipv4Addr::UNSPECIFIED),
            bind_v6: Some(Ipv6Addr::UNSPECIFIED),
            nodes_path: None,
            reads_nodes_only: false,
            max_datagrams_per_second: 50_000,
            max_nodes: 65_536,
            explore: true,
            confirmations: CONFIRMATIONS,
            observer: Arc::new(NoObserver),
            first_retry: Duration::from_secs(1),
        }
    }
}

impl DhtSettings {
    /// For a network on this machine: nothing is sent anywhere else.
    pub fn on_loopback(bootstrap: Vec<String>) -> Self {
        let bind_v4 = Some(Ipv4Addr::LOCALHOST);
        Self { bootstrap, bind_v4, bind_v6: None, explore: false, ..Self::default() }
    }
}

/// A client of the Mainline DHT. Never serves it. Cheap to clone; leaves when the last clone is dropped.
#[derive(Clone)]
pub struct Dht {
    commands: mpsc::Sender<Command>,
    known: watch::Receiver<usize>,
    settings: Arc<DhtSettings>,
    has_joined: Arc<AtomicBool>,
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
    Refused(i64, String),
    /// The network could not be asked.
    #[error(transparent)]
    Network(#[from] NetworkError),
}

/// What is known about our part in the DHT.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct DhtInfo {
    /// Where our sockets are bound.
    pub local_addresses: Vec<SocketAddr>,
    /// Nodes that we know and that have answered us.
    pub table_size: usize,
    /// Where other nodes see us, one for each family of addresses in which any says so.
    pub sightings: Vec<Sighting>,
}

impl Dht {
    /// Binds the sockets and starts to join in the background, and goes on trying for ever. Must be called in a Tokio
    /// runtime.
    ///
    /// # Errors
    ///
    /// No socket could be bound, of neither family.
    pub fn start(settings: DhtSettings, resolve_host: HostResolver) -> io::Result<Self> {
        let sockets = Sockets::bind(settings.bind_v4, settings.bind_v6)?;
        let (commands, receiver) = mpsc::channel(MAX_COMMANDS);
        let (known_sender, known) = watch::channel(0);
        let leave = CancellationToken::new();
        tokio::spawn(task::run(sockets, settings.clone(), receiver, known_sender, leave.clone()));
        let settings = Arc::new(settings);
        let dht = Self {
            commands,
            known,
            settings: settings.clone(),
            has_joined: Arc::default(),
            _leave: Arc::new(leave.clone().drop_guard()),
        };
        // The joining task must not keep the client alive.
        let joining = keep_joined(settings, resolve_host, dht.commands.downgrade(), dht.known.clone());
        tokio::spawn(leave.run_until_cancelled_owned(joining));
        Ok(dht)
    }

    /// Waits until some node has answered.
    ///
    /// # Errors
    ///
    /// [`NetworkError::NotReady`] if none has after `limit`.
    pub async fn ready(&self, limit: Duration) -> Result<(), NetworkError> {
        let mut known = self.known.clone();
        match timeout(limit, known.wait_for(|&known| known > 0)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(_)) | Err(_) => Err(NetworkError::NotReady),
        }
    }

    /// Stores `packet` and returns how many nodes confirmed that. With `cas`, only nodes that hold the packet of that
    /// timestamp, or none, take it (BEP 44).
    ///
    /// # Errors
    ///
    /// No node stored it, or more of them hold a newer packet or another than that of `cas`: see [`PutError`].
    pub async fn put(&self, packet: &SignedPacket, cas: Option<u64>) -> Result<u32, PutError> {
        self.put_with_progress(packet, cas, watch::Sender::new(0)).await
    }

    /// As [`Dht::put`]. `progress` shows how many nodes have confirmed so far.
    ///
    /// # Errors
    ///
    /// As of [`Dht::put`].
    pub async fn put_with_progress(
        &self,
        packet: &SignedPacket,
        cas: Option<u64>,
        progress: watch::Sender<u32>,
    ) -> Result<u32, PutError> {
        self.put_until(packet, cas, progress, u32::MAX).await
    }

    /// As [`Dht::put_with_progress`], and returns as soon as `enough` nodes have confirmed, while the store goes on.
    async fn put_until(
        &self,
        packet: &SignedPacket,
        cas: Option<u64>,
        progress: watch::Sender<u32>,
        enough: u32,
    ) -> Result<u32, PutError> {
        // No node can hold a timestamp that BEP 44 cannot express.
        let cas = cas.map(i64::try_from).transpose().map_err(|_| PutError::CasFailed)?;
        self.ready_again().await?;
        let (done, stored) = oneshot::channel();
        self.send(Command::Put { packet: packet.clone(), cas, progress, enough, done })?;
        match timeout(PUT_DEADLINE, stored).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) | Err(_) => Err(NetworkError::Unreachable.into()),
        }
    }

    /// Waits for the end of the search and returns the newest packet. What is stored right after goes to the nodes
    /// that this search has found.
    ///
    /// # Errors
    ///
    /// Nothing was found, and too few nodes answered to say that there is nothing; or the search could not begin.
    pub async fn most_recent(
        &self,
        key: &PublicKey,
    ) -> Result<(Option<SignedPacket>, Evidence), NetworkError> {
        let (sender, mut found) = mpsc::unbounded_channel();
        let evidence = self.find(key, sender, true).await?;
        let mut newest = None;
        while let Ok(packet) = found.try_recv() {
            newest = Some(packet);
        }
        Ok((newest, evidence))
    }

    /// Where we are bound and how many nodes are known.
    pub async fn info(&self) -> DhtInfo {
        let nobody = DhtInfo { local_addresses: Vec::new(), table_size: 0, sightings: Vec::new() };
        self.ask(Command::Stats).await.unwrap_or(nobody)
    }

    /// The nodes that are known.
    pub async fn nodes(&self) -> Vec<Contact> {
        let mut nodes = Vec::new();
        let mut next = Some(Step::default());
        while let Some(step) = next {
            let piece;
            (piece, next) = self.ask(|reply| Command::ListNodes(step, reply)).await.unwrap_or_default();
            nodes.extend(piece);
        }
        nodes
    }

    /// Keeps the known nodes for the next start, before a stop. Takes at most a second.
    pub async fn save_nodes(&self) {
        // Too slow a disk costs no more than a start through the bootstrap nodes.
        let _ = timeout(SAVE_DEADLINE, bootstrap::save(&self.settings, &self.commands.downgrade())).await;
    }

    /// As [`Dht::ready`], for callers who cannot wait for long. A client that had joined before is cut off.
    async fn ready_again(&self) -> Result<(), NetworkError> {
        let ready = self.ready(JOIN_PATIENCE).await;
        let has_joined = self.has_joined.fetch_or(ready.is_ok(), Ordering::Relaxed);
        ready.map_err(|error| if has_joined { NetworkError::Unreachable } else { error })
    }

    async fn find(
        &self,
        key: &PublicKey,
        found: mpsc::UnboundedSender<SignedPacket>,
        for_publication: bool,
    ) -> Result<Evidence, NetworkError> {
        let deadline = Instant::now() + LOOKUP_DEADLINE;
        self.ready_again().await.inspect_err(|_| self.lookup_not_begun(NetworkError::NotReady))?;
        let (done, end) = oneshot::channel();
        let moment = Moment::at(SystemTime::now());
        let command = Command::Find { key: key.clone(), found, done, for_publication, moment };
        self.send(command).inspect_err(|_| self.lookup_not_begun(NetworkError::Busy))?;
        match tokio::time::timeout_at(deadline, end).await {
            Ok(Ok(result)) => result,
            Ok(Err(_)) | Err(_) => Err(NetworkError::Unreachable),
        }
    }

    fn lookup_not_begun(&self, why: NetworkError) {
        self.settings.observer.observe(Event::Lookup(LookupEnd::not_begun(why)));
    }

    async fn ask<T>(&self, question: impl FnOnce(oneshot::Sender<T>) -> Command) -> Option<T> {
        let (reply, answer) = oneshot::channel();
        self.send(question(reply)).ok()?;
        timeout(ANSWER_DEADLINE, answer).await.ok()?.ok()
    }

    fn send(&self, command: Command) -> Result<(), NetworkError> {
        self.commands.try_send(command).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => NetworkError::Busy,
            mpsc::error::TrySendError::Closed(_) => NetworkError::Unreachable,
        })
    }
}

#[async_trait]
impl Network for Dht {
    async fn lookup(
        &self,
        key: &PublicKey,
        found: mpsc::UnboundedSender<SignedPacket>,
    ) -> Result<Evidence, NetworkError> {
        self.find(key, found, false).await
    }

    async fn store(&self, packet: &SignedPacket, cas: Option<u64>) -> Result<u32, PutError> {
        self.put_until(packet, cas, watch::Sender::new(0), ENOUGH_REPLICAS).await
    }
}
