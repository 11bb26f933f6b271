//! One piece of work for each key, whoever asks for it, begun in the turn of one of its clients.

use std::{hash::Hash, sync::Arc, time::Duration};

use futures_util::FutureExt;
use tokio::time::timeout;

use crate::base::{
    fair_queue::{FairQueue, Permit},
    single_flight::{FlightError, SingleFlight},
};

/// Work that begins when a client gets a permit, and is shared by all who ask for the same meanwhile.
///
/// Nobody waits in the line of another: who asks for what another client waits for stands in its own line, and whoever
/// gets a turn first begins.
#[derive(Debug)]
pub struct FairFlight<C: Copy + Eq + Hash, K, V>(Arc<Inner<C, K, V>>);

#[derive(Debug)]
struct Inner<C: Copy + Eq + Hash, K, V> {
    turns: FairQueue<C>,
    longest_wait: Duration,
    /// Work that has begun.
    under_way: SingleFlight<K, V>,
    /// For each client, what it waits for.
    in_line: SingleFlight<(C, K), Result<V, FlightError>>,
}

impl<C, K, V> FairFlight<C, K, V>
where
    C: Copy + Eq + Hash + Send + 'static,
    K: Eq + Hash + Clone + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// Work for which there are permits in `turns`, and of which so many pieces are under way or wait, each for
    /// `longest_wait` at most. The bounds of `turns` come first where they are lower.
    pub fn new(turns: FairQueue<C>, capacity: usize, longest_wait: Duration) -> Self {
        let (under_way, in_line) = (SingleFlight::new(capacity), SingleFlight::new(capacity));
        Self(Arc::new(Inner { turns, longest_wait, under_way, in_line }))
    }

    /// Waits for the result of the work for `key`. Where none is under way, `start` makes it when it is the turn of
    /// `client`, or refuses with `None`; it keeps the permit for as long as the work goes on. `admit` is asked before,
    /// at most once: that is the place to spend what only the starter pays. Both must be quick and must not come back
    /// here, because they run under a lock.
    ///
    /// # Errors
    ///
    /// [`FlightError::Busy`] also when the client has no room in its line, or gets no turn in time.
    pub async fn run<S, W>(
        &self,
        client: C,
        key: K,
        admit: impl FnOnce() -> bool,
        start: S,
    ) -> Result<V, FlightError>
    where
        S: FnOnce(Permit<C>) -> Option<W> + Send + 'static,
        W: Future<Output = V> + Send + 'static,
    {
        let inner = &self.0;
        let (mut admit, mut start) = (Some(admit), Some(start));
        let at_once = || {
            let permit = inner.turns.acquire(client).now_or_never()?.ok()?;
            let is_admitted = admit.take().is_some_and(|admit| admit());
            if is_admitted { start.take()?(permit) } else { None }
        };
        let result = inner.under_way.run(key.clone(), at_once).await;
        let (Err(FlightError::Refused), Some(admit), Some(start)) = (&result, admit, start) else {
            return result;
        };
        let wait = || {
            let (inner, key) = (inner.clone(), key.clone());
            admit().then_some(async move {
                let Ok(Ok(permit)) = timeout(inner.longest_wait, inner.turns.acquire(client)).await else {
                    return Err(FlightError::Busy);
                };
                // Another client may have begun the same; then the permit goes back at once.
                inner.under_way.run(key, || start(permit)).await
            })
        };
        inner.in_line.run((client, key.clone()), wait).await.unwrap_or_else(Err)
    }

    /// Pieces of work that wait for a permit of the same queue, these and others.
    pub fn queued(&self) -> usize {
        self.0.turns.queued()
    }
}

impl<C: Copy + Eq + Hash, K, V> Clone for FairFlight<C, K, V> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use futures_util::future::join_all;
    use tokio::{
        task::JoinHandle,
        time::{advance, sleep},
    };

    use super::*;
    use crate::base::fair_queue::Limits;

    const LONGEST: Duration = Duration::from_secs(3);

    struct Stage {
        flights: FairFlight<char, u32, u32>,
        /// Who began what.
        begun: Arc<Mutex<Vec<(char, u32)>>>,
    }

    impl Stage {
        fn set() -> Self {
            let turns = FairQueue::new(Limits { in_flight: 2, queued: 100, queued_per_client: 50 });
            Self { flights: FairFlight::new(turns, 200, LONGEST), begun: Arc::default() }
        }

        /// Work takes a second.
        fn ask(&self, client: char, key: u32, is_admitted: bool) -> JoinHandle<Result<u32, FlightError>> {
            let (flights, begun) = (self.flights.clone(), self.begun.clone());
            tokio::spawn(async move {
                let start = move |permit| {
                    begun.lock().unwrap().push((client, key));
                    Some(async move {
                        let _permit = permit;
                        sleep(Duration::from_secs(1)).await;
                        key
                    })
                };
                flights.run(client, key, || is_admitted, start).await
            })
        }

        fn begun(&self) -> Vec<(char, u32)> {
            self.begun.lock().unwrap().clone()
        }
    }

    async fn settle() {
        for _ in 0..1000 {
            tokio::task::yield_now().await;
        }
    }

    #[tokio::test(start_paused = true)]
    async fn work_is_shared_whoever_asks_and_only_its_starter_pays() {
        let stage = Stage::set();
        let mut asking = vec![stage.ask('a', 7, true)];
        asking.extend(['a', 'b', 'c'].map(|client| stage.ask(client, 7, false)));
        for asked in join_all(asking).await {
            assert_eq!(asked.unwrap(), Ok(7));
        }
        assert_eq!(stage.begun(), [('a', 7)]);
        assert_eq!(stage.ask('a', 8, false).await.unwrap(), Err(FlightError::Refused));
    }

    #[tokio::test(start_paused = true)]
    async fn who_asks_for_what_another_waits_for_does_not_wait_in_its_line() {
        let stage = Stage::set();
        let flood: Vec<_> = (0..20).map(|key| stage.ask('a', key, true)).collect();
        settle().await;
        let modest = stage.ask('b', 19, true);
        settle().await;
        assert!(!stage.begun().contains(&('b', 19)));
        advance(Duration::from_secs(1)).await;
        settle().await;
        assert!(stage.begun().contains(&('b', 19)), "{:?}", stage.begun());
        assert_eq!(modest.await.unwrap(), Ok(19));
        drop(flood);
    }

    #[tokio::test(start_paused = true)]
    async fn equal_work_of_one_client_stands_in_line_once() {
        let stage = Stage::set();
        let held = [stage.ask('z', 1, true), stage.ask('z', 2, true)];
        settle().await;
        let asking: Vec<_> = (0..200).map(|_| stage.ask('a', 7, true)).collect();
        settle().await;
        assert_eq!(stage.flights.queued(), 1);
        assert!(join_all(asking).await.into_iter().all(|asked| asked.unwrap() == Ok(7)));
        assert_eq!(stage.begun().len(), 3);
        drop(held);
    }

    #[tokio::test(start_paused = true)]
    async fn who_gets_no_turn_in_time_hears_of_it_and_all_places_come_back() {
        let stage = Stage::set();
        let asking: Vec<_> = (0..40).map(|key| stage.ask('a', key, true)).collect();
        let done = join_all(asking).await;
        let busy = done.into_iter().filter(|asked| matches!(asked, Ok(Err(FlightError::Busy)))).count();
        assert!(busy > 20, "{busy}");
        assert_eq!((stage.flights.queued(), stage.flights.0.turns.in_flight()), (0, 0));
        assert_eq!(stage.flights.0.in_line.under_way() + stage.flights.0.under_way.under_way(), 0);
    }
}
