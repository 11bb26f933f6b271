//! How many datagrams we may send. Pure.

use std::time::Instant;

/// A bucket of datagrams that fills steadily. Whatever the clients ask, the DHT and our line see no more than this.
#[derive(Debug)]
pub(super) struct Budget {
    per_second: f64,
    left: f64,
    filled: Instant,
}

/// What a datagram is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Urgency {
    /// Somebody waits for the answer.
    Awaited,
    /// Nobody does. Not while the bucket is less than half full.
    Background,
}

impl Budget {
    /// Full, with the datagrams of half a second.
    pub(super) fn new(per_second: u32, now: Instant) -> Self {
        let per_second = f64::from(per_second.max(1));
        Self { per_second, left: (per_second / 2.0).max(1.0), filled: now }
    }

    /// Whether one more may be sent now. It then counts.
    pub(super) fn take(&mut self, urgency: Urgency, now: Instant) -> bool {
        let capacity = (self.per_second / 2.0).max(1.0);
        let passed = now.saturating_duration_since(self.filled).as_secs_f64();
        self.left = (self.left + passed * self.per_second).min(capacity);
        self.filled = now;
        let reserve = match urgency {
            Urgency::Awaited => 0.0,
            Urgency::Background => capacity / 2.0,
        };
        let may = self.left >= reserve + 1.0 || (capacity < 2.0 && self.left >= 1.0);
        if may {
            self.left -= 1.0;
        }
        may
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn no_more_than_the_budget_is_sent_and_the_background_gives_way() {
        let start = Instant::now();
        let mut budget = Budget::new(1000, start);
        let background = (0..1000).filter(|_| budget.take(Urgency::Background, start)).count();
        let awaited = (0..1000).filter(|_| budget.take(Urgency::Awaited, start)).count();
        assert_eq!((background, awaited), (250, 250));
        let mut sent = 0;
        for millisecond in 1..=1000 {
            let now = start + Duration::from_millis(millisecond);
            sent += (0..10).filter(|_| budget.take(Urgency::Awaited, now)).count();
            assert!(!budget.take(Urgency::Background, now));
        }
        assert!((990..=1000).contains(&sent), "{sent}");
    }

    #[test]
    fn the_smallest_budget_still_sends() {
        let start = Instant::now();
        let mut budget = Budget::new(0, start);
        assert!(budget.take(Urgency::Background, start));
        assert!(!budget.take(Urgency::Awaited, start));
        assert!(budget.take(Urgency::Background, start + Duration::from_secs(1)));
    }
}
