//! A bounded queue to a thread. What does not fit is left out, counted, and told in the log now and then.

use std::{
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
        mpsc::{Receiver, RecvTimeoutError, SyncSender, TryRecvError, TrySendError, sync_channel},
    },
    time::Duration,
};

use tokio::{
    sync::oneshot,
    time::{Instant, sleep, timeout},
};
use tracing::warn;

use crate::base::metrics::StripedCounter;

/// Losses are said once in this time.
const SAY_EVERY: Duration = Duration::from_secs(60);

/// A full queue is looked at again after this long, at the end.
const CLOSE_RETRY: Duration = Duration::from_millis(10);

/// Where items go in.
pub(super) struct Queue<T> {
    sender: SyncSender<Parcel<T>>,
    waiting: Arc<AtomicUsize>,
    max_bytes: usize,
    losses: Losses,
}

/// Where they come out.
pub(super) struct Inbox<T> {
    receiver: Receiver<Parcel<T>>,
    waiting: Arc<AtomicUsize>,
}

enum Parcel<T> {
    Item(T, usize),
    End(oneshot::Sender<()>),
}

/// What comes out of a queue.
pub(super) enum Next<T> {
    Item(T),
    /// Nothing, in the time that was given.
    Nothing,
    /// The end. Whoever waits for it is told when this is dropped.
    End(#[allow(dead_code, reason = "to be dropped")] Option<oneshot::Sender<()>>),
}

/// A queue of so many items and of so many bytes.
pub(super) fn queue<T>(items: usize, max_bytes: usize, losses: Losses) -> (Queue<T>, Inbox<T>) {
    let (sender, receiver) = sync_channel(items);
    let waiting = Arc::new(AtomicUsize::new(0));
    (Queue { sender, waiting: waiting.clone(), max_bytes, losses }, Inbox { receiver, waiting })
}

impl<T> Queue<T> {
    /// Puts an item of so many bytes into the queue. Never blocks.
    pub(super) fn push(&self, item: T, bytes: usize) {
        self.push_with(|| item, bytes);
    }

    /// As [`Queue::push`], with an item that is made when there is room for its bytes.
    pub(super) fn push_with(&self, item: impl FnOnce() -> T, bytes: usize) {
        let waiting = self.waiting.fetch_add(bytes, Ordering::Relaxed);
        let is_taken = waiting.saturating_add(bytes) <= self.max_bytes
            && self.sender.try_send(Parcel::Item(item(), bytes)).is_ok();
        if !is_taken {
            self.waiting.fetch_sub(bytes, Ordering::Relaxed);
            self.losses.note(1);
        }
    }

    /// Has the thread finish what waits. Returns when it has, or after `deadline`.
    pub(super) async fn close(&self, deadline: Duration) {
        let (ended, end) = oneshot::channel();
        let closing = async {
            let mut parcel = Parcel::End(ended);
            loop {
                match self.sender.try_send(parcel) {
                    Ok(()) => break,
                    Err(TrySendError::Full(back)) => parcel = back,
                    Err(TrySendError::Disconnected(_)) => return,
                }
                sleep(CLOSE_RETRY).await;
            }
            // An error says that the thread has gone.
            let _ = end.await;
        };
        if timeout(deadline, closing).await.is_err() {
            warn!(
                "{}: the last records were not written within {deadline:?} of the stop",
                self.losses.0.name
            );
        }
    }
}

impl<T> Inbox<T> {
    /// Waits for the next item, for as long as `patience`.
    pub(super) fn next(&self, patience: Duration) -> Next<T> {
        match self.receiver.recv_timeout(patience) {
            Ok(parcel) => self.open(parcel),
            Err(RecvTimeoutError::Timeout) => Next::Nothing,
            Err(RecvTimeoutError::Disconnected) => Next::End(None),
        }
    }

    /// The next item, if there is one.
    pub(super) fn next_at_hand(&self) -> Next<T> {
        match self.receiver.try_recv() {
            Ok(parcel) => self.open(parcel),
            Err(TryRecvError::Empty) => Next::Nothing,
            Err(TryRecvError::Disconnected) => Next::End(None),
        }
    }

    /// Whether nobody can put anything in any more.
    pub(super) fn is_abandoned(&self) -> bool {
        Arc::strong_count(&self.waiting) == 1
    }

    fn open(&self, parcel: Parcel<T>) -> Next<T> {
        match parcel {
            Parcel::Item(item, bytes) => {
                self.waiting.fetch_sub(bytes, Ordering::Relaxed);
                Next::Item(item)
            }
            Parcel::End(ended) => Next::End(Some(ended)),
        }
    }
}

/// Counts what is left out, and says so. Clones count together.
#[derive(Clone)]
pub(super) struct Losses(Arc<LossesInner>);

struct LossesInner {
    /// The section of the configuration.
    name: &'static str,
    counter: StripedCounter,
    start: Instant,
    /// When it may be said again, in seconds after the start.
    quiet_until: AtomicU64,
}

impl Losses {
    pub(super) fn new(name: &'static str, counter: StripedCounter) -> Self {
        Self(Arc::new(LossesInner { name, counter, start: Instant::now(), quiet_until: AtomicU64::new(0) }))
    }

    /// Takes note of `count` lost records.
    pub(super) fn note(&self, count: u64) {
        let LossesInner { name, counter, start, quiet_until } = &*self.0;
        counter.inc_by(count);
        let now = start.elapsed().as_secs();
        let until = quiet_until.load(Ordering::Relaxed);
        let next = now + SAY_EVERY.as_secs();
        // Of many at once only one says it.
        if now >= until
            && quiet_until.compare_exchange(until, next, Ordering::Relaxed, Ordering::Relaxed).is_ok()
        {
            let so_far = counter.get();
            warn!(
                "{name}: {so_far} records of queries were left out so far: they came faster than they could be written"
            );
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn losses() -> (Losses, StripedCounter) {
        let counter = StripedCounter::default();
        (Losses::new("query_log", counter.clone()), counter)
    }

    #[test]
    fn what_does_not_fit_is_left_out_and_counted_and_nobody_waits() {
        let (losses, lost) = losses();
        // Nobody takes anything out, as with a disk that hangs.
        let (queue, inbox) = queue(3, 100, losses);
        for item in 0..10 {
            queue.push(item, 1);
        }
        assert_eq!(lost.get(), 7);
        let taken = std::iter::from_fn(|| match inbox.next_at_hand() {
            Next::Item(item) => Some(item),
            Next::Nothing | Next::End(_) => None,
        });
        assert_eq!(taken.collect::<Vec<_>>(), [0, 1, 2]);
        queue.push(10, 1);
        assert_eq!(lost.get(), 7);
    }

    #[test]
    fn bytes_are_bounded_as_well_and_what_has_no_room_is_not_made() {
        let (losses, lost) = losses();
        let (queue, inbox) = queue(100, 10, losses);
        queue.push(1, 6);
        queue.push_with(|| panic!("made"), 5);
        queue.push(2, 4);
        assert_eq!(lost.get(), 1);
        assert!(matches!(inbox.next_at_hand(), Next::Item(1)));
        queue.push(3, 6);
        assert_eq!(lost.get(), 1);
        // An item that was refused by the queue itself gives its bytes back.
        assert!(
            matches!(inbox.next_at_hand(), Next::Item(2)) && matches!(inbox.next_at_hand(), Next::Item(3))
        );
        queue.push(4, 10);
        assert_eq!(lost.get(), 1);
    }

    #[tokio::test]
    async fn the_end_comes_behind_what_waits_and_is_waited_for_only_so_long() {
        let (queue, inbox) = queue(1, 100, losses().0);
        queue.push(1, 1);
        let thread = std::thread::spawn(move || {
            let mut items = Vec::new();
            loop {
                match inbox.next(Duration::from_secs(20)) {
                    Next::Item(item) => items.push(item),
                    Next::Nothing => {}
                    Next::End(_) => return items,
                }
            }
        });
        queue.close(Duration::from_secs(20)).await;
        assert_eq!(thread.join().unwrap(), [1]);
        let (stuck, _inbox) = super::queue(1, 100, losses().0);
        stuck.push(1, 1);
        stuck.close(Duration::from_millis(20)).await;
    }

    #[test]
    fn who_is_left_alone_knows_it() {
        let (queue, inbox) = queue::<u8>(1, 1, losses().0);
        assert!(!inbox.is_abandoned());
        drop(queue);
        assert!(inbox.is_abandoned() && matches!(inbox.next_at_hand(), Next::End(None)));
    }
}
