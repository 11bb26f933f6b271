//! Counters that all cores count at once: each on a cache line of its own, so that none waits for another.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use prometheus_client::metrics::counter::{Atomic, Counter};

/// A counter for what happens with each query.
pub type StripedCounter = Counter<u64, Striped>;

/// Threads that count without touching each other's memory. More share.
const STRIPES: usize = 16;

/// A number in parts, the sum of which counts.
#[derive(Debug, Default)]
pub struct Striped([Stripe; STRIPES]);

/// As far apart as processors fetch memory: two lines of 64 bytes.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Stripe(AtomicU64);

static THREADS: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static STRIPE: usize = THREADS.fetch_add(1, Ordering::Relaxed) % STRIPES;
}

impl Atomic<u64> for Striped {
    fn inc(&self) -> u64 {
        self.inc_by(1)
    }

    /// Returns what this thread's part was before, since nobody asks for the sum.
    fn inc_by(&self, count: u64) -> u64 {
        // A thread that is ending has no number any more.
        let stripe = STRIPE.try_with(|stripe| *stripe).unwrap_or(0);
        self.0.get(stripe).map_or(0, |stripe| stripe.0.fetch_add(count, Ordering::Relaxed))
    }

    fn get(&self) -> u64 {
        self.0.iter().fold(0, |sum, stripe| sum.wrapping_add(stripe.0.load(Ordering::Relaxed)))
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn what_many_threads_count_adds_up() {
        let counter = StripedCounter::default();
        thread::scope(|scope| {
            for _ in 0..2 * STRIPES {
                scope.spawn(|| {
                    for _ in 0..1000 {
                        counter.inc();
                    }
                });
            }
        });
        counter.inc_by(5);
        assert_eq!(counter.get(), 2 * STRIPES as u64 * 1000 + 5);
    }
}
