//! Packets on disk, so that a restart forgets nothing. The disk may be slow, full, read-only or damaged: callers wait
//! for it at most [`READ_DEADLINE`] and are never told.
//!
//! Threads of their own read and write, not those of the runtime, so that a disk that hangs holds up neither questions
//! nor the end of the process.

mod checked_file;
mod directory;
mod file;
mod queue;

use std::{
    fmt,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicUsize, Ordering},
        mpsc::{self, Receiver, SyncSender},
    },
    thread,
    time::{Duration, Instant, SystemTime},
};

use pkdns_dht::signed_packet::PublicKey;
use tokio::{sync::oneshot, task::spawn_blocking, time::timeout};
use tracing::warn;

pub use self::directory::DiskError;
use self::{
    directory::Directory,
    file::{Failure, PacketFile},
    queue::{Batch, Queue},
};
use super::Stored;

/// A read that takes longer counts as a packet that is not there. A healthy disk takes milliseconds, a flash card that
/// is being written to some hundred.
const READ_DEADLINE: Duration = Duration::from_secs(1);

/// Reads that wait for a thread, at most; beyond, a packet counts as not there. As many as there may be searches.
const MAX_READS: usize = 4096;

/// Threads that read. They check signatures too.
const READERS: usize = 2;

/// Records in one transaction. The pages that it replaces are free only after it, so that larger ones take more room.
const MAX_TRANSACTION: usize = 1024;

/// Packets that wait at most. More than a server can fetch in a second; up to 80 MB.
const MAX_WAITING: usize = 65_536;

/// The same while the disk cannot be written to, which may be for ever.
const MAX_WAITING_FOR_DISK: usize = 4096;

/// The last handle waits this long for what is being written.
const CLOSE_DEADLINE: Duration = Duration::from_secs(2);

/// How often what goes on happening is logged.
const WARN_EVERY: Duration = Duration::from_secs(60);

/// The packets in a file. Cheap to clone. The last clone closes it.
#[derive(Clone)]
pub struct DiskStore(Arc<Handle>);

struct Handle {
    shared: Arc<Shared>,
    reads: SyncSender<Read>,
}

struct Shared {
    /// Locked for writing to open and close the file only: reads go on during a transaction.
    directory: RwLock<Directory>,
    queue: Queue,
    /// Records in the file after the last transaction.
    count: AtomicUsize,
    /// When a read that took too long was logged.
    late_read: Mutex<Option<Instant>>,
}

struct Read {
    key: PublicKey,
    answer: oneshot::Sender<Option<Stored>>,
}

impl DiskStore {
    /// Opens or makes the store in the directory `path`, which takes about `max_bytes` at most. Blocks on the disk.
    ///
    /// A directory that cannot be used is logged and tried again later; until then nothing is kept.
    ///
    /// # Errors
    ///
    /// When another process, or another store in this one, has the directory.
    pub fn open(path: &Path, max_bytes: u64) -> Result<Self, DiskError> {
        let directory = Directory::open(path, max_bytes)?;
        let shared = Arc::new(Shared {
            count: AtomicUsize::new(directory.file().map_or(0, |(file, _)| file.count())),
            directory: RwLock::new(directory),
            queue: Queue::new(MAX_WAITING, MAX_WAITING_FOR_DISK),
            late_read: Mutex::new(None),
        });
        let (reads, requests) = mpsc::sync_channel(MAX_READS);
        let requests = Arc::new(Mutex::new(requests));
        for _ in 0..READERS {
            let (shared, requests) = (shared.clone(), requests.clone());
            start("packets-reader", move || shared.serve_reads(&requests));
        }
        start("packets-writer", {
            let shared = shared.clone();
            move || shared.write_what_comes()
        });
        Ok(Self(Arc::new(Handle { shared, reads })))
    }

    /// The newest packet of `key` that was put, verified. `None` too when the disk takes too long.
    pub async fn get(&self, key: &PublicKey) -> Option<Stored> {
        let shared = &self.0.shared;
        // First, or what is written between the two looks would be seen by neither.
        let waiting = shared.queue.get(key.as_bytes());
        let (answer, read) = oneshot::channel();
        let read = match self.0.reads.try_send(Read { key: key.clone(), answer }) {
            Ok(()) => timeout(READ_DEADLINE, read).await,
            // More wait already than a disk that works lets wait.
            Err(_) => Ok(Ok(None)),
        };
        if read.is_err() {
            shared.report_late_read();
        }
        let on_disk = read.ok().and_then(Result::ok).flatten();
        match (waiting, on_disk) {
            (Some(waiting), Some(on_disk)) if on_disk.replaces(&waiting, SystemTime::now()) => Some(on_disk),
            (waiting, on_disk) => waiting.or(on_disk),
        }
    }

    /// Keeps a packet, unless a newer one is there. Returns at once; it is on disk within a second. While the disk
    /// cannot be written to, a bounded number waits, and what comes beyond is lost.
    pub fn put(&self, stored: Stored) {
        self.0.shared.queue.put(stored);
    }

    /// Returns when what waits is on disk, or could not be written. Waits as long as a disk that hangs.
    pub async fn flush(&self) {
        self.0.shared.queue.flush().await;
    }

    /// Writes what waits and leaves the directory to others. From then on nothing is kept or found. Waits as long as a
    /// disk that hangs.
    pub async fn close(&self) {
        self.0.shared.queue.close();
        self.0.shared.queue.ended().await;
    }

    /// Whether nothing can be kept or found just now. Does not wait for the disk.
    pub fn has_failed(&self) -> bool {
        self.0.shared.directory.try_read().is_ok_and(|directory| directory.file().is_none())
    }

    /// Writes what waits and leaves the directory to another process. Until [`DiskStore::take_back`] nothing is found on
    /// disk, and a bounded number of packets waits. Waits as long as a disk that hangs.
    pub async fn lend(&self) {
        self.flush().await;
        self.on_directory(Directory::lend).await;
    }

    /// Opens the directory again, which the other process must have left. Waits as long as a disk that hangs.
    pub async fn take_back(&self) {
        self.on_directory(|directory| directory.take_back(Instant::now())).await;
    }

    async fn on_directory(&self, work: impl FnOnce(&mut Directory) + Send + 'static) {
        let shared = self.0.shared.clone();
        // Ends early only with the runtime.
        let _ = spawn_blocking(move || work(&mut shared.directory_mut())).await;
    }

    /// Packets on disk.
    pub fn len(&self) -> usize {
        self.0.shared.count.load(Ordering::Relaxed)
    }

    /// Whether no packet is on disk.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl fmt::Debug for DiskStore {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DiskStore").field("len", &self.len()).finish_non_exhaustive()
    }
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.queue.close();
        if !self.shared.queue.has_ended_within(CLOSE_DEADLINE) {
            warn!("the disk takes over {CLOSE_DEADLINE:?} to write the last packets");
        }
    }
}

/// Without the thread nothing is kept, but all else works.
fn start(name: &str, work: impl FnOnce() + Send + 'static) {
    if let Err(error) = thread::Builder::new().name(name.to_owned()).spawn(work) {
        warn!("cannot start a thread for packets on disk, which are not kept: {error}; allow more threads");
    }
}

impl Shared {
    fn directory(&self) -> RwLockReadGuard<'_, Directory> {
        self.directory.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn directory_mut(&self) -> RwLockWriteGuard<'_, Directory> {
        self.directory.write().unwrap_or_else(PoisonError::into_inner)
    }

    fn report_late_read(&self) {
        let mut logged = self.late_read.lock().unwrap_or_else(PoisonError::into_inner);
        if logged.is_none_or(|logged| logged.elapsed() >= WARN_EVERY) {
            *logged = Some(Instant::now());
            warn!(
                "the disk takes over {READ_DEADLINE:?} to read a packet, which is looked up in the DHT instead"
            );
        }
    }

    /// Ends with the last handle.
    fn serve_reads(&self, requests: &Mutex<Receiver<Read>>) {
        loop {
            let request = requests.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(Read { key, answer }) = request else { return };
            // Whoever asked may have given up, and may do so until the answer is there.
            if !answer.is_closed() {
                let _ = answer.send(self.read(&key));
            }
        }
    }

    fn read(&self, key: &PublicKey) -> Option<Stored> {
        // What is of another version, or not a packet, is there until a packet replaces it.
        Stored::from_bytes(key, &self.with_file(|file| file.get(key.as_bytes()))??)
    }

    /// Ends when the queue is closed and what waited is written.
    fn write_what_comes(&self) {
        let (mut lost, mut logged) = (0, None);
        while let Some(batch) = self.queue.take() {
            let is_written = self.write(&batch).is_some();
            lost += self.queue.finish(is_written);
            let is_due = logged.is_none_or(|logged: Instant| logged.elapsed() >= WARN_EVERY);
            // What another process has is its own to complain of.
            if lost > 0 && is_due && !self.directory().is_lent() {
                warn!("{lost} packets were not written to disk, which is too slow or takes none");
                (lost, logged) = (0, Some(Instant::now()));
            }
        }
        self.directory_mut().close();
        self.queue.end();
    }

    /// `None` if not all of the batch is on disk.
    fn write(&self, batch: &Batch) -> Option<()> {
        if self.directory().file().is_none() {
            self.directory_mut().open_if_due(Instant::now());
        }
        let packets: Vec<_> = batch.iter().collect();
        for part in packets.chunks(MAX_TRANSACTION) {
            let count = self.with_file(|file| file.write(part))?;
            self.count.store(count, Ordering::Relaxed);
        }
        Some(())
    }

    /// `None` if there is no file or it fails, after which there is another one or none.
    fn with_file<T>(&self, work: impl FnOnce(&PacketFile) -> Result<T, Failure>) -> Option<T> {
        let (outcome, opening) = {
            let directory = self.directory();
            let (file, opening) = directory.file()?;
            (work(file), opening)
        };
        outcome.map_err(|failure| self.directory_mut().failed(opening, failure, Instant::now())).ok()
    }
}
