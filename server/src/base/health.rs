//! When a server that fails is left alone, and for how long. Pure.

use std::time::Duration;

use tokio::time::Instant;

use crate::base::backoff::Backoff;

/// A single failure may be the network's, or one key's.
const PATIENCE: u32 = 3;

const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// How a server has done lately.
#[derive(Debug)]
pub struct Health {
    pauses: Backoff,
    /// Failures in a row that begin a pause.
    patience: u32,
    /// In a row.
    failures: u32,
    /// When the pause in force began, or the last one since the server answered, and the how many-th it is.
    pause: Option<(Instant, u32)>,
}

/// A pause that begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Pause {
    /// How long.
    pub length: Duration,
    /// Since the server answered.
    pub is_first: bool,
}

impl Health {
    /// Nothing has failed yet. Pauses begin with a second and double up to `max_pause`.
    pub fn new(max_pause: Duration) -> Self {
        let pauses = Backoff { first: FIRST_PAUSE, longest: max_pause };
        Self { pauses, patience: PATIENCE, failures: 0, pause: None }
    }

    /// For a server whose failures say less: `failures` of them in a row begin a pause, instead of three.
    pub fn with_patience(self, failures: u32) -> Self {
        Self { patience: failures, ..self }
    }

    /// Whether it is to be left alone.
    pub fn is_paused(&self, now: Instant) -> bool {
        self.pause.is_some_and(|(begin, number)| now.duration_since(begin) < self.pauses.after(number))
    }

    /// Whether it was to be left alone, and has not answered since.
    pub fn has_failed(&self) -> bool {
        self.pause.is_some()
    }

    /// The server answered. Says whether it had been paused.
    pub fn succeeded(&mut self) -> bool {
        self.failures = 0;
        self.pause.take().is_some()
    }

    /// A request that began at `started` failed. Says whether a pause begins.
    pub fn failed(&mut self, started: Instant, now: Instant) -> Option<Pause> {
        // Requests that were under way when the pause began fail for the same reason; they do not lengthen it.
        if self.pause.is_some_and(|(begin, _)| started <= begin) {
            return None;
        }
        self.failures = self.failures.saturating_add(1);
        if self.failures < self.patience {
            return None;
        }
        let number = self.pause.map_or(0, |(_, before)| before).saturating_add(1);
        self.pause = Some((now, number));
        Some(Pause { length: self.pauses.after(number), is_first: number == 1 })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    #[test]
    fn the_third_failure_in_a_row_begins_a_pause_that_doubles_up_to_a_minute() {
        let mut health = Health::new(60 * SECOND);
        let mut now = Instant::now();
        assert_eq!(health.failed(now, now), None);
        assert!(!health.succeeded());
        for _ in 0..2 {
            assert_eq!(health.failed(now, now), None);
            assert!(!health.is_paused(now));
        }
        let mut lengths = Vec::new();
        for _ in 0..8 {
            let pause = health.failed(now, now).unwrap();
            assert_eq!(pause.is_first, lengths.is_empty());
            assert!(health.is_paused(now + pause.length - SECOND / 1000));
            now += pause.length;
            assert!(!health.is_paused(now) && health.has_failed());
            lengths.push(pause.length.as_secs());
        }
        assert_eq!(lengths, [1, 2, 4, 8, 16, 32, 60, 60]);
        assert!(health.succeeded());
        assert!(!health.is_paused(now) && !health.has_failed());
        assert_eq!(health.failed(now, now), None);
    }

    #[test]
    fn requests_that_were_under_way_when_the_pause_began_do_not_lengthen_it() {
        let mut health = Health::new(60 * SECOND);
        let (began, now) = (Instant::now(), Instant::now() + SECOND);
        let pauses: Vec<_> = (0..30).filter_map(|_| health.failed(began, now)).collect();
        assert_eq!(pauses, [Pause { length: SECOND, is_first: true }]);
    }
}
