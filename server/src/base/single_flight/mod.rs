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
        Self { flights: Arc::new(Flights::new()), capacity }
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

    /// As [`SingleFlight::run`], but whoever starts the work has waited for its turn: `turn` ends with the right to
    /// start, or with `None` where there is none to be had, which is [`FlightError::Busy`]. Of those who wait for their
    /// turns with the same key, the first that gets one starts the work, and the others leave their lines: nobody waits
    /// longer than for a turn of its own. What `turn` gave is passed to `start`, and dropped if others were quicker.
    pub async fn run_in_turn<T, S, W>(
        &self,
        key: K,
        turn: impl Future<Output = Option<T>>,
        start: S,
    ) -> Result<V, FlightError>
    where
        S: FnOnce(T) -> W,
        W: Future<Output = V> + Send + 'static,
    {
        let mut result = match self.join_or_await(&key) {
            Ok(result) => result,
            Err(mut awaited) => tokio::select! {
                biased;
                begun = awaited.begun() => begun?,
                turn = turn => {
                    let turn = turn.ok_or(FlightError::Busy)?;
                    self.join_or_start(key, || Some(start(turn)))?
                }
            },
        };
        let value = result.wait_for(Option::is_some).await.map_err(|_| FlightError::Lost)?;
        value.clone().ok_or(FlightError::Lost)
    }

    /// Pieces of work under way.
    pub fn under_way(&self) -> usize {
        self.flights.lock().under_way.len()
    }

    /// The result of work that is under way, or else word of when it begins.
    fn join_or_await(&self, key: &K) -> Result<watch::Receiver<Option<V>>, Awaited<K, V>> {
        let mut flights = self.flights.lock();
        if let Some(result) = flights.under_way.get(key) {
            return Ok(result.clone());
        }
        let word = flights.awaited.entry(key.clone()).or_insert_with(|| watch::channel(None).0).subscribe();
        Err(Awaited { flights: self.flights.clone(), key: key.clone(), word: Some(word) })
    }

    fn join_or_start<S, W>(&self, key: K, start: S) -> Result<watch::Receiver<Option<V>>, FlightError>
    where
        S: FnOnce() -> Option<W>,
        W: Future<Output = V> + Send + 'static,
    {
        let mut flights = self.flights.lock();
        if let Some(result) = flights.under_way.get(&key) {
            return Ok(result.clone());
        }
        if flights.under_way.len() >= self.capacity {
            return Err(FlightError::Busy);
        }
        let work = start().ok_or(FlightError::Refused)?;
        let (sender, result) = watch::channel(None);
        flights.under_way.insert(key.clone(), result.clone());
        let awaited = flights.awaited.remove(&key);
        drop(flights);
        if let Some(awaited) = awaited {
            awaited.send_replace(Some(result.clone()));
        }
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
struct Flights<K, V>(Mutex<Table<K, V>>);

#[derive(Debug)]
struct Table<K, V> {
    under_way: HashMap<K, watch::Receiver<Option<V>>>,
    /// Work that some wait for their turns to start. They are told when one of them does.
    awaited: HashMap<K, watch::Sender<Option<watch::Receiver<Option<V>>>>>,
}

impl<K, V> Flights<K, V> {
    fn new() -> Self {
        Self(Mutex::new(Table { under_way: HashMap::new(), awaited: HashMap::new() }))
    }

    /// Each change of a map is a single call, so that a panic elsewhere leaves it whole.
    fn lock(&self) -> MutexGuard<'_, Table<K, V>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One that waits for its turn to start some work.
struct Awaited<K: Hash + Eq, V> {
    flights: Arc<Flights<K, V>>,
    key: K,
    /// Always there, but in the end.
    word: Option<watch::Receiver<Option<watch::Receiver<Option<V>>>>>,
}

impl<K: Hash + Eq, V> Awaited<K, V> {
    /// Waits until somebody else has started the work.
    async fn begun(&mut self) -> Result<watch::Receiver<Option<V>>, FlightError> {
        let word = self.word.as_mut().ok_or(FlightError::Lost)?;
        let begun = word.wait_for(Option::is_some).await.map_err(|_| FlightError::Lost)?;
        begun.clone().ok_or(FlightError::Lost)
    }
}

impl<K: Hash + Eq, V> Drop for Awaited<K, V> {
    fn drop(&mut self) {
        let mut flights = self.flights.lock();
        self.word = None;
        // The last to leave takes the entry along.
        if flights.awaited.get(&self.key).is_some_and(|word| word.receiver_count() == 0) {
            flights.awaited.remove(&self.key);
        }
    }
}

/// Frees the key however the work ends: with a result, in a panic, or dropped with the runtime.
struct Landing<K: Hash + Eq, V> {
    flights: Arc<Flights<K, V>>,
    key: K,
}

impl<K: Hash + Eq, V> Drop for Landing<K, V> {
    fn drop(&mut self) {
        self.flights.lock().under_way.remove(&self.key);
    }
}

#[cfg(test)]
mod tests;
