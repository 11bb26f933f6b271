//! The search: threads that try keys until one looks as wanted. It remembers nothing, so that a search that begins again
//! is as likely to end soon as the one before.

mod field;
mod pattern;
mod walk;

use std::{
    io,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, JoinHandle},
};

use curve25519_dalek::edwards::EdwardsPoint;
use ed25519_dalek::hazmat::ExpandedSecretKey;
use tokio::sync::mpsc::{self, Receiver, Sender};
use zeroize::Zeroizing;

pub use pattern::Pattern;
use pattern::Patterns;
use walk::{STEPS, Steps, Walk};

/// Seeds that are tried before threads look whether to stop. Their keys share one inversion.
const SEEDS: usize = 64;

/// Keys that wait to be taken. A thread that finds more waits as well.
const WAITING: usize = 4;

/// How keys are tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method {
    /// By adding points, which gives a key without a seed.
    Walk,
    /// A seed per try.
    Seeds,
}

/// The secret of a key that was found.
pub enum Secret {
    Seed(Zeroizing<[u8; 32]>),
    /// Scalar and prefix (RFC 8032, section 5.1.5).
    Expanded(Zeroizing<[u8; 64]>),
}

/// A key that looks as wanted.
pub struct Found {
    pub key: [u8; 32],
    pub secret: Secret,
}

/// The operating system gives no random bytes.
#[derive(Debug)]
pub struct NoRandomness(pub(crate) getrandom::Error);

/// What all threads share.
pub struct Task {
    patterns: Patterns,
    /// The table of a walk.
    steps: Option<Steps>,
    tries: AtomicU64,
    stopped: AtomicBool,
}

impl Task {
    /// Looks for a key that has one of these patterns.
    pub fn new(patterns: Vec<Pattern>, method: Method) -> Self {
        Self::with_steps(patterns, method, STEPS)
    }

    /// With walks of so many steps to a side.
    fn with_steps(patterns: Vec<Pattern>, method: Method, steps: usize) -> Self {
        let steps = (method == Method::Walk).then(|| Steps::new(steps));
        let (tries, stopped) = (AtomicU64::new(0), AtomicBool::new(false));
        Self { patterns: Patterns::new(patterns), steps, tries, stopped }
    }

    /// Tries keys until stopped, or until `take` wants no more of them.
    pub fn run(&self, take: impl FnMut(Found) -> bool) -> Result<(), NoRandomness> {
        match &self.steps {
            Some(steps) => self.walk(steps, take),
            None => self.try_seeds(take),
        }
    }

    /// Keys tried so far.
    pub fn tries(&self) -> u64 {
        self.tries.load(Ordering::Relaxed)
    }

    pub(crate) fn patterns(&self) -> &Patterns {
        &self.patterns
    }

    /// Makes all threads end soon.
    pub fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::Relaxed)
    }

    fn count(&self, tries: u64) {
        self.tries.fetch_add(tries, Ordering::Relaxed);
    }

    /// Each walk has a scalar of its own and gives one key at most: of two keys from one walk, whoever knows the secret
    /// of the first would soon find that of the second, a few steps away.
    fn walk(&self, steps: &Steps, mut take: impl FnMut(Found) -> bool) -> Result<(), NoRandomness> {
        while !self.is_stopped() {
            let mut start = random::<32>()?;
            start[0] &= 0b1111_1000;
            start[31] = start[31] & 0b0011_1111 | 0b0100_0000;
            let Some(mut walk) = Walk::new(steps, start) else { continue };
            let mut found = None;
            while found.is_none() && !self.is_stopped() {
                let mut places = Vec::new();
                walk.batch(|place, y| {
                    if self.patterns.may_match(y) {
                        places.push(place);
                    }
                });
                self.count(steps.batch());
                for place in places {
                    let scalar = walk.scalar(place);
                    let key = EdwardsPoint::mul_base_clamped(*scalar).compress().to_bytes();
                    if self.patterns.of(key).is_some() {
                        let mut secret = Zeroizing::new([0; 64]);
                        let (first, prefix) = secret.split_at_mut(32);
                        first.copy_from_slice(scalar.as_slice());
                        prefix.copy_from_slice(random::<32>()?.as_slice());
                        found = Some(Found { key, secret: Secret::Expanded(secret) });
                        break;
                    }
                }
            }
            if let Some(found) = found
                && !take(found)
            {
                break;
            }
        }
        Ok(())
    }

    fn try_seeds(&self, mut take: impl FnMut(Found) -> bool) -> Result<(), NoRandomness> {
        let mut seeds = Zeroizing::new([[0; 32]; SEEDS]);
        while !self.is_stopped() {
            getrandom::fill(seeds.as_flattened_mut()).map_err(NoRandomness)?;
            let points =
                seeds.each_ref().map(|seed| EdwardsPoint::mul_base(&ExpandedSecretKey::from(seed).scalar));
            let keys = EdwardsPoint::compress_batch(&points);
            self.count(SEEDS as u64);
            for (seed, key) in seeds.iter().zip(keys) {
                let key = key.to_bytes();
                if self.patterns.of(key).is_some()
                    && !take(Found { key, secret: Secret::Seed(Zeroizing::new(*seed)) })
                {
                    return Ok(());
                }
            }
        }
        Ok(())
    }
}

fn random<const LENGTH: usize>() -> Result<Zeroizing<[u8; LENGTH]>, NoRandomness> {
    let mut bytes = Zeroizing::new([0; LENGTH]);
    getrandom::fill(bytes.as_mut_slice()).map_err(NoRandomness)?;
    Ok(bytes)
}

/// A search that goes on. It ends when it is dropped.
pub(crate) struct Search {
    task: Arc<Task>,
    found: Receiver<Result<Found, NoRandomness>>,
    threads: Vec<JoinHandle<()>>,
}

/// Starts so many threads.
pub(crate) fn search(patterns: Vec<Pattern>, method: Method, threads: usize) -> io::Result<Search> {
    Search::start(Task::new(patterns, method), threads)
}

impl Search {
    fn start(task: Task, threads: usize) -> io::Result<Self> {
        let (sender, found) = mpsc::channel(WAITING);
        let mut search = Self { task: Arc::new(task), found, threads: Vec::new() };
        for number in 0..threads {
            let (task, sender) = (search.task.clone(), sender.clone());
            let thread = thread::Builder::new().name(format!("search {number}"));
            search.threads.push(thread.spawn(move || run(&task, &sender))?);
        }
        Ok(search)
    }

    pub(crate) fn task(&self) -> &Task {
        &self.task
    }

    /// The next key. Waits as long as it takes; what waits for it may give up without losing one.
    pub(crate) async fn next(&mut self) -> Option<Result<Found, NoRandomness>> {
        self.found.recv().await
    }
}

fn run(task: &Task, sender: &Sender<Result<Found, NoRandomness>>) {
    if let Err(error) = task.run(|found| sender.blocking_send(Ok(found)).is_ok()) {
        // With nobody to hear it, the search is over.
        let _ = sender.blocking_send(Err(error));
    }
}

impl Drop for Search {
    fn drop(&mut self) {
        self.task.stop();
        // Wakes threads that wait to hand over a key.
        self.found.close();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        collections::HashSet,
        sync::mpsc::{RecvTimeoutError, channel},
        time::{Duration, Instant},
    };

    use ed25519_dalek::VerifyingKey;
    use tokio::time::timeout;

    use super::*;

    /// Few, as nothing here is optimised.
    const STEPS: usize = 50;

    /// After which a search has failed: none here takes more than some seconds.
    const LIMIT: Duration = Duration::from_secs(60);

    fn start(method: Method, threads: usize) -> Search {
        let patterns = vec![Pattern::beginning("y").unwrap(), Pattern::end("boo").unwrap()];
        Search::start(Task::with_steps(patterns, method, STEPS), threads).unwrap()
    }

    async fn next(search: &mut Search) -> Found {
        timeout(LIMIT, search.next()).await.unwrap().unwrap().unwrap()
    }

    /// Runs what works on the task until it ends by itself, or is stopped.
    fn in_time(task: &Task, work: impl FnOnce()) {
        let (working, end) = channel::<()>();
        thread::scope(|scope| {
            scope.spawn(move || {
                if end.recv_timeout(LIMIT) == Err(RecvTimeoutError::Timeout) {
                    task.stop();
                }
            });
            work();
            drop(working);
        });
        assert!(!task.is_stopped(), "it did not end by itself");
    }

    fn key(secret: &Secret) -> [u8; 32] {
        let expanded = match secret {
            Secret::Seed(seed) => ExpandedSecretKey::from(&**seed),
            Secret::Expanded(bytes) => ExpandedSecretKey::from_bytes(bytes),
        };
        VerifyingKey::from(&expanded).to_bytes()
    }

    #[tokio::test]
    async fn keys_that_are_found_look_as_wanted_and_belong_to_their_secrets() {
        for method in [Method::Walk, Method::Seeds] {
            let mut search = start(method, 2);
            let mut keys = HashSet::new();
            for _ in 0..20 {
                let found = next(&mut search).await;
                assert_eq!(key(&found.secret), found.key);
                assert!(search.task().patterns().of(found.key).is_some());
                assert!(keys.insert(found.key), "no key twice");
            }
            assert!(search.task().tries() >= 20);
        }
    }

    #[tokio::test]
    async fn keys_of_one_search_are_no_neighbours() {
        let mut search = start(Method::Walk, 1);
        let mut upper_halves = HashSet::new();
        for _ in 0..20 {
            let Secret::Expanded(bytes) = next(&mut search).await.secret else { panic!() };
            assert!(upper_halves.insert(bytes[16..32].to_vec()), "scalars are far from each other");
        }
    }

    #[test]
    fn a_search_takes_as_long_as_its_chance_says() {
        const KEYS: f64 = 200.0;
        let patterns = vec![Pattern::beginning("yb").unwrap(), Pattern::end("oboy").unwrap()];
        let task = Task::with_steps(patterns, Method::Walk, STEPS);
        let batch = task.steps.as_ref().unwrap().batch() as f64;
        let mut found = 0.0;
        in_time(&task, || {
            let take = |_| {
                found += 1.0;
                found < KEYS
            };
            task.run(take).unwrap();
        });
        // A walk gives one key at most, so that what has a chance is a batch.
        let chance = 1.0 - (1.0 - task.patterns().probability()).powf(batch);
        let batches = task.tries() as f64 / batch;
        let expected = KEYS / chance;
        // Five standard deviations.
        let allowed = 5.0 * expected / KEYS.sqrt();
        assert!((batches - expected).abs() < allowed, "{batches} batches, {expected} +- {allowed} expected");
    }

    #[test]
    fn a_search_that_nobody_waits_for_ends() {
        // More keys than may wait: the threads wait for a reader.
        let search = start(Method::Walk, 2);
        let end = Instant::now() + LIMIT;
        while search.found.len() < WAITING {
            assert!(Instant::now() < end);
            thread::sleep(Duration::from_millis(1));
        }
        drop(search);
    }
}
