//! Many who want the same thing at once share one piece of work.

use std::{
    collections::HashMap,
    hash::Hash,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use thiserror::Error;
use tokio::sync::watch;

/// Work under way, by key. Who asks first starts it, who asks while it runs waits for its result.
///
/// The work runs as a task of its own and goes on when those who wait for it leave: a client that asks again finds
/// the result in a cache. It must end by itself.
#[derive(Debug)]
pub struct SingleFlight<K, V> {
    flights: Arc<Flights<K, V>>,
    capacity: usize,
}

/// Why there is no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum FlightError {
    /// As much as may be is under way already.
    #[error("too many lookups are under way")]
    Busy,
    /// The work would have had to be started, and the caller did not want to.
    #[error("nobody else is looking this up, and this client may not start a lookup")]
    Refused,
    /// The work ended without a result: it panicked, or the runtime is shutting down.
    #[error("the lookup ended without a result")]
    Lost,
}

impl<K, V> SingleFlight<K, V>
where
    K: Hash + Eq + Clone + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// At most `capacity` pieces of work are under way at once.
    pub fn new(capacity: usize) -> Self {
        Self { flights: Arc::new(Flights(Mutex::new(HashMap::new()))), capacity }
    }

    /// Waits for the result of the work for `key`. Where none is under way, `start` makes it, or refuses with `None`:
    /// that is the place to spend what only the starter pays. `start` must be quick and must not come back here,
    /// because it runs under the lock.
    pub async fn run<S, W>(&self, key: K, start: S) -> Result<V, FlightError>
    where
        S: FnOnce() -> Option<W>,
        W: Future<Output = V> + Send + 'static,
    {
        let mut result = self.join_or_start(key, start)?;
        // The sender is dropped without a result when the work panics.
        let value = result.wait_for(Option::is_some).await.map_err(|_| FlightError::Lost)?;
        value.clone().ok_or(FlightError::Lost)
    }

    /// Pieces of work under way.
    pub fn under_way(&self) -> usize {
        self.flights.lock().len()
    }

    fn join_or_start<S, W>(&self, key: K, start: S) -> Result<watch::Receiver<Option<V>>, FlightError>
    where
        S: FnOnce() -> Option<W>,
        W: Future<Output = V> + Send + 'static,
    {
        let mut flights = self.flights.lock();
        if let Some(result) = flights.get(&key) {
            return Ok(result.clone());
        }
        if flights.len() >= self.capacity {
            return Err(FlightError::Busy);
        }
        let work = start().ok_or(FlightError::Refused)?;
        let (sender, result) = watch::channel(None);
        flights.insert(key.clone(), result.clone());
        drop(flights);
        let landing = Landing { flights: self.flights.clone(), key };
        tokio::spawn(async move {
            // Moved in here so that it is dropped, and the key free again, before those who wait hear of the result.
            let value = {
                let _landing = landing;
                work.await
            };
            sender.send_replace(Some(value));
        });
        Ok(result)
    }
}

#[derive(Debug)]
struct Flights<K, V>(Mutex<HashMap<K, watch::Receiver<Option<V>>>>);

impl<K, V> Flights<K, V> {
    /// Each change of the map is a single call, so that a panic elsewhere leaves it whole.
    fn lock(&self) -> MutexGuard<'_, HashMap<K, watch::Receiver<Option<V>>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Frees the key however the work ends: with a result, in a panic, or dropped with the runtime.
struct Landing<K: Hash + Eq, V> {
    flights: Arc<Flights<K, V>>,
    key: K,
}

impl<K: Hash + Eq, V> Drop for Landing<K, V> {
    fn drop(&mut self) {
        self.flights.lock().remove(&self.key);
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        time::Duration,
    };

    use futures_util::future::join_all;
    use tokio::{sync::Notify, time::timeout};

    use super::*;

    #[tokio::test]
    async fn a_hundred_callers_start_one_piece_of_work() {
        let flights = SingleFlight::new(10);
        let started = AtomicUsize::new(0);
        let go = Arc::new(Notify::new());
        let callers = (0..100).map(|_| {
            flights.run("key", || {
                started.fetch_add(1, Ordering::Relaxed);
                let go = go.clone();
                Some(async move {
                    go.notified().await;
                    42
                })
            })
        });
        let (results, ()) = tokio::join!(join_all(callers), async { go.notify_one() });
        assert!(results.into_iter().all(|result| result == Ok(42)));
        assert_eq!(started.into_inner(), 1);
    }

    #[tokio::test]
    async fn different_keys_do_not_wait_for_each_other() {
        let flights = SingleFlight::new(10);
        let slow = flights.run("slow", || Some(std::future::pending::<u8>()));
        tokio::select! {
            biased;
            _ = slow => panic!("this work never ends"),
            result = flights.run("fast", || Some(async { 1 })) => assert_eq!(result, Ok(1)),
        }
    }

    #[tokio::test]
    async fn work_goes_on_when_its_starter_leaves() {
        let flights = SingleFlight::new(10);
        let (go, done) = (Arc::new(Notify::new()), Arc::new(Notify::new()));
        let (may_go, is_done) = (go.clone(), done.clone());
        let starter = flights.run("key", || {
            Some(async move {
                may_go.notified().await;
                is_done.notify_one();
            })
        });
        assert!(timeout(Duration::from_millis(10), starter).await.is_err());
        go.notify_one();
        timeout(Duration::from_secs(5), done.notified()).await.expect("the work went on alone");
    }

    #[tokio::test]
    async fn a_panic_in_the_work_leaves_nobody_waiting_and_frees_the_key() {
        let flights = SingleFlight::new(10);
        let callers = (0..10).map(|_| {
            flights.run("key", || {
                Some(async {
                    tokio::task::yield_now().await;
                    if true {
                        panic!("a mistake in the work, made on purpose by this test");
                    }
                    0
                })
            })
        });
        let results = timeout(Duration::from_secs(5), join_all(callers)).await.expect("nobody hangs");
        assert!(results.into_iter().all(|result| result == Err(FlightError::Lost)));
        assert_eq!(flights.run("key", || Some(async { 7 })).await, Ok(7));
        assert_eq!(flights.under_way(), 0);
    }

    #[tokio::test]
    async fn a_panic_in_the_start_leaves_the_rest_usable() {
        let flights = Arc::new(SingleFlight::new(10));
        let broken = flights.clone();
        let caller = tokio::spawn(async move {
            broken.run("key", || -> Option<std::future::Ready<u8>> { panic!("on purpose") }).await
        });
        assert!(caller.await.is_err());
        assert_eq!(flights.run("key", || Some(async { 7 })).await, Ok(7));
    }

    #[tokio::test]
    async fn more_work_than_the_capacity_is_refused_and_joining_is_not() {
        let flights = SingleFlight::new(1);
        let go = Arc::new(Notify::new());
        let wait = go.clone();
        let first = flights.run(1, || {
            Some(async move {
                wait.notified().await;
                1
            })
        });
        let others = async {
            assert_eq!(flights.run(2, || Some(async { 2 })).await, Err(FlightError::Busy));
            go.notify_one();
            flights.run(1, || Some(async { 3 })).await
        };
        let (first, joined) = tokio::join!(first, others);
        assert_eq!((first, joined), (Ok(1), Ok(1)));
        assert_eq!(flights.run(2, || Some(async { 2 })).await, Ok(2), "there is room again");
    }

    #[tokio::test]
    async fn only_the_starter_pays_and_who_may_not_start_may_still_join() {
        let flights = SingleFlight::new(10);
        let refuse = || None::<std::future::Ready<u8>>;
        assert_eq!(flights.run("key", refuse).await, Err(FlightError::Refused));
        assert_eq!(flights.under_way(), 0);
        let starter = flights.run("key", || {
            Some(async {
                tokio::task::yield_now().await;
                5
            })
        });
        let (started, joined) = tokio::join!(starter, flights.run("key", refuse));
        assert_eq!((started, joined), (Ok(5), Ok(5)));
    }

    #[tokio::test]
    async fn a_result_is_not_kept_after_it_was_handed_out() {
        let flights = SingleFlight::new(10);
        assert_eq!(flights.run("key", || Some(async { 1 })).await, Ok(1));
        assert_eq!(flights.under_way(), 0);
        assert_eq!(flights.run("key", || Some(async { 2 })).await, Ok(2));
    }
}
