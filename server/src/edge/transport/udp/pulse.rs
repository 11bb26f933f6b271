//! Whether the threads that answer over UDP still do.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

/// A thread that has not come round for so long is stuck. One that has nothing to do comes round several times a second.
const STUCK_AFTER: Duration = Duration::from_secs(5);

/// What is known of one thread.
#[derive(Debug)]
pub struct Pulse {
    beats: Arc<Beats>,
    seen: u64,
    changed: Instant,
}

/// What the thread says of itself.
#[derive(Debug, Default)]
pub(super) struct Beats {
    rounds: AtomicU64,
    has_ended: AtomicBool,
}

impl Pulse {
    pub(super) fn new(beats: Arc<Beats>, now: Instant) -> Self {
        Self { beats, seen: 0, changed: now }
    }

    /// Of a thread that could not be started.
    pub(super) fn absent() -> Self {
        Self::new(Arc::default(), Instant::now())
    }

    /// False once the thread has been stuck for five seconds, or ended without having been told to.
    pub fn is_there(&mut self, now: Instant) -> bool {
        let rounds = self.beats.rounds.load(Ordering::Relaxed);
        if rounds != self.seen || self.beats.has_ended.load(Ordering::Relaxed) {
            (self.seen, self.changed) = (rounds, now);
        }
        now.saturating_duration_since(self.changed) < STUCK_AFTER
    }
}

impl Beats {
    /// The thread has come round.
    pub(super) fn beat(&self) {
        self.rounds.fetch_add(1, Ordering::Relaxed);
    }

    /// The thread ends because it was told to.
    pub(super) fn end(&self) {
        self.has_ended.store(true, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_is_missed_when_it_is_stuck_and_not_when_it_was_told_to_end() {
        let (beats, start) = (Arc::<Beats>::default(), Instant::now());
        let mut pulse = Pulse::new(beats.clone(), start);
        let mut at = |seconds| pulse.is_there(start + Duration::from_secs(seconds));
        assert!(at(4));
        beats.beat();
        assert!(at(6) && at(10));
        assert!(!at(11));
        beats.beat();
        assert!(at(12));
        beats.end();
        assert!(at(100) && at(200));
    }
}
