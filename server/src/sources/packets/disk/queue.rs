//! Packets that wait to be written, one for each key.

use std::{
    collections::{BTreeMap, btree_map::Entry},
    mem,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant, SystemTime},
};

use tokio::sync::watch;

use super::{Stored, directory::RETRY_AFTER};

/// The first packet to come waits this long for others to be written with: each transaction costs two syncs.
const INTERVAL: Duration = Duration::from_millis(500);

/// The number of the round after the last.
const ENDED: u64 = u64::MAX;

/// The bytes of a public key.
pub(super) type Key = [u8; 32];

/// What is written together, by key: neighbours share a page.
pub(super) type Batch = BTreeMap<Key, Stored>;

/// Many put and look, one writer takes.
#[derive(Debug)]
pub(super) struct Queue {
    state: Mutex<State>,
    /// Something waits, or the writer has to hurry.
    changed: Condvar,
    /// Batches that were taken and are over.
    rounds: watch::Sender<u64>,
}

#[derive(Debug, Default)]
struct State {
    /// Packets that wait at most.
    most: usize,
    /// The same while the disk cannot be written to.
    most_while_failing: usize,
    waiting: Batch,
    /// Taken and not known to be on disk yet.
    writing: Arc<Batch>,
    /// When `waiting` is to be taken, if there is something in it.
    due: Option<Instant>,
    is_failing: bool,
    is_urgent: bool,
    is_closed: bool,
    dropped: usize,
}

impl Queue {
    /// An empty queue that takes `most` packets, and `most_while_failing` while the disk cannot be written to.
    pub(super) fn new(most: usize, most_while_failing: usize) -> Self {
        let state = State { most, most_while_failing, ..State::default() };
        Self { state: Mutex::new(state), changed: Condvar::new(), rounds: watch::Sender::new(0) }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a packet in the place of an older one of its key. Too many are dropped.
    pub(super) fn put(&self, stored: Stored) {
        let mut state = self.lock();
        if !state.is_closed {
            state.put(stored);
            self.expect_writer(&mut state);
        }
    }

    /// The packet of `key` that is not known to be on disk yet.
    pub(super) fn get(&self, key: &Key) -> Option<Stored> {
        let state = self.lock();
        let (waiting, writing) = (state.waiting.get(key), state.writing.get(key));
        match (waiting, writing) {
            (Some(waiting), Some(writing)) if writing.replaces(waiting, SystemTime::now()) => {
                Some(writing.clone())
            }
            _ => waiting.or(writing).cloned(),
        }
    }

    fn expect_writer(&self, state: &mut State) {
        if state.due.is_none() {
            state.due = Some(Instant::now() + INTERVAL);
            self.changed.notify_all();
        }
    }

    /// What has waited long enough, as soon as there is something. `None` when the queue is closed and empty. To be
    /// followed by [`Queue::finish`].
    pub(super) fn take(&self) -> Option<Arc<Batch>> {
        let mut state = self.lock();
        loop {
            if state.waiting.is_empty() && state.is_closed {
                return None;
            }
            let now = Instant::now();
            let left = state.due.map(|due| due.saturating_duration_since(now));
            state = match left {
                None if !state.is_urgent => self.changed.wait(state).unwrap_or_else(PoisonError::into_inner),
                Some(left) if !left.is_zero() && !state.is_urgent && !state.is_closed => {
                    self.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0
                }
                _ => break,
            };
        }
        (state.due, state.is_urgent) = (None, false);
        state.writing = Arc::new(mem::take(&mut state.waiting));
        Some(state.writing.clone())
    }

    /// Whether the batch is on disk. If not, it waits again, but after the end it is lost. Says how many packets have
    /// been dropped.
    pub(super) fn finish(&self, is_written: bool) -> usize {
        let mut state = self.lock();
        let batch = mem::take(&mut state.writing);
        state.is_failing = !is_written;
        if !is_written && state.is_closed {
            state.dropped += batch.len();
        } else if !is_written {
            for stored in batch.values() {
                state.put(stored.clone());
            }
            state.due = (!state.waiting.is_empty()).then(|| Instant::now() + RETRY_AFTER);
        }
        self.rounds.send_modify(|rounds| *rounds += 1);
        mem::take(&mut state.dropped)
    }

    /// Returns when what waits now has been written, or could not be.
    pub(super) async fn flush(&self) {
        let (mut rounds, target) = {
            let mut state = self.lock();
            let pending = [!state.waiting.is_empty(), !state.writing.is_empty()];
            state.is_urgent |= !state.waiting.is_empty();
            self.changed.notify_all();
            let rounds = self.rounds.subscribe();
            let target = *rounds.borrow() + pending.map(u64::from).iter().sum::<u64>();
            (rounds, target)
        };
        // An error would mean that the sender is gone, which is borrowed.
        let _ = rounds.wait_for(|rounds| *rounds >= target).await;
    }

    /// What waits is written at once, and nothing more is put.
    pub(super) fn close(&self) {
        self.lock().is_closed = true;
        self.changed.notify_all();
    }

    /// The writer has ended.
    pub(super) fn end(&self) {
        self.rounds.send_replace(ENDED);
        // Under the lock, or it would be missed between a look and the wait.
        let _state = self.lock();
        self.changed.notify_all();
    }

    /// Returns when the writer has ended.
    pub(super) async fn ended(&self) {
        let _ = self.rounds.subscribe().wait_for(|rounds| *rounds == ENDED).await;
    }

    /// Whether the writer has ended or does so in time. Blocks.
    pub(super) fn has_ended_within(&self, deadline: Duration) -> bool {
        let runs = |_: &mut State| *self.rounds.borrow() != ENDED;
        let waited = self.changed.wait_timeout_while(self.lock(), deadline, runs);
        !waited.unwrap_or_else(PoisonError::into_inner).1.timed_out()
    }
}

impl State {
    fn is_full(&self) -> bool {
        self.waiting.len() >= if self.is_failing { self.most_while_failing } else { self.most }
    }

    fn put(&mut self, stored: Stored) {
        let is_full = self.is_full();
        match self.waiting.entry(*stored.packet.key().as_bytes()) {
            Entry::Occupied(mut waiting) if stored.replaces(waiting.get(), SystemTime::now()) => {
                waiting.insert(stored);
            }
            Entry::Vacant(place) if !is_full => {
                place.insert(stored);
            }
            Entry::Vacant(_) => self.dropped += 1,
            Entry::Occupied(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use super::*;
    use pkdns_dht::signed_packet::{Keypair, SignedPacket};

    fn stored(number: u8, timestamp: u64) -> Stored {
        let packet = SignedPacket::sign(&Keypair::from_secret_key(&[number; 32]), timestamp, b"dns").unwrap();
        Stored { packet, received: UNIX_EPOCH, fresh_until: SystemTime::UNIX_EPOCH }
    }

    fn key(number: u8) -> Key {
        *stored(number, 1).packet.key().as_bytes()
    }

    #[test]
    fn of_one_key_the_newest_waits_and_a_full_queue_drops_others() {
        let queue = Queue::new(2, 1);
        for (number, timestamp) in [(1, 1), (2, 2), (3, 1), (2, 1), (1, 2)] {
            queue.put(stored(number, timestamp));
        }
        let batch = queue.take().unwrap();
        let taken: Vec<_> = batch.values().map(|stored| stored.packet.timestamp()).collect();
        assert_eq!((batch.len(), taken), (2, vec![2, 2]));
        assert_eq!(queue.get(&key(1)), Some(stored(1, 2)));
        assert_eq!(queue.finish(true), 1);
        assert_eq!(queue.get(&key(1)), None);
    }

    #[test]
    fn what_could_not_be_written_waits_again_unless_something_newer_does() {
        let queue = Queue::new(9, 2);
        queue.put(stored(1, 1));
        queue.put(stored(2, 3));
        queue.take().unwrap();
        queue.put(stored(1, 2));
        queue.put(stored(2, 2));
        assert_eq!((queue.get(&key(1)), queue.get(&key(2))), (Some(stored(1, 2)), Some(stored(2, 3))));
        assert_eq!(queue.finish(false), 0);
        assert_eq!((queue.get(&key(1)), queue.get(&key(2))), (Some(stored(1, 2)), Some(stored(2, 3))));
        // Fewer may wait while nothing can be written.
        queue.put(stored(3, 1));
        assert_eq!(queue.get(&key(3)), None);
        queue.take().unwrap();
        assert_eq!(queue.finish(true), 1);
    }

    #[test]
    fn a_closed_queue_gives_what_waits_and_then_nothing() {
        let queue = Queue::new(9, 9);
        queue.put(stored(1, 1));
        queue.close();
        queue.put(stored(2, 1));
        assert_eq!(queue.take().unwrap().len(), 1);
        assert_eq!(queue.finish(false), 1);
        assert!(queue.take().is_none());
        assert!(!queue.has_ended_within(Duration::ZERO));
        queue.end();
        assert!(queue.has_ended_within(Duration::ZERO));
    }

    #[tokio::test]
    async fn a_flush_waits_for_what_is_being_written_and_for_what_waits() {
        let queue = Queue::new(9, 9);
        queue.flush().await;
        queue.put(stored(1, 1));
        queue.take().unwrap();
        queue.put(stored(2, 1));
        let flush = queue.flush();
        tokio::pin!(flush);
        for _ in 0..2 {
            let is_over = futures_util::poll!(&mut flush).is_ready();
            assert!(!is_over);
            queue.finish(true);
            if !queue.lock().waiting.is_empty() {
                queue.take().unwrap();
            }
        }
        flush.await;
    }
}
