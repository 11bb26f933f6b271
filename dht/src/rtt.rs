//! How long a node takes to answer, as RFC 6298 estimates it. Pure.

use std::time::Duration;

/// Least time between what is expected and what is late (G in RFC 6298): timers fire up to a millisecond late on either
/// side, so an answer that always took the same time is not late at once.
const GRANULARITY: Duration = Duration::from_millis(4);

/// Round trips are kept, in tables and files, in sixteenths of a millisecond: four seconds fit into two bytes, twice
/// what an answer may take.
const TICK: Duration = Duration::from_nanos(62_500);

/// Smoothed round-trip time and its deviation.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rtt {
    smoothed: Duration,
    deviation: Duration,
}

impl Rtt {
    /// From the first sample (RFC 6298 section 2.2).
    pub fn first(sample: Duration) -> Self {
        Self { smoothed: sample, deviation: sample / 2 }
    }

    /// From many samples at once.
    pub fn new(smoothed: Duration, deviation: Duration) -> Self {
        Self { smoothed, deviation }
    }

    /// In four bytes, to the nearest 62.5 µs. The first number is never `u16::MAX`.
    pub fn pack(self) -> [u16; 2] {
        // To the nearest, so that many small steps in one direction are not lost.
        let ticks = |time: Duration| time.saturating_add(TICK / 2).as_nanos() / TICK.as_nanos();
        [self.smoothed, self.deviation]
            .map(|time| u16::try_from(ticks(time)).unwrap_or(u16::MAX).min(u16::MAX - 1))
    }

    /// What [`Rtt::pack`] made.
    pub fn unpack([smoothed, deviation]: [u16; 2]) -> Self {
        Self { smoothed: TICK * u32::from(smoothed), deviation: TICK * u32::from(deviation) }
    }

    /// Takes a sample into account (RFC 6298 section 2.3).
    pub fn observe(&mut self, sample: Duration) {
        let error = self.smoothed.abs_diff(sample);
        self.deviation = self.deviation.saturating_mul(3).saturating_add(error) / 4;
        self.smoothed = self.smoothed.saturating_mul(7).saturating_add(sample) / 8;
    }

    /// What is to be expected.
    pub fn smoothed(&self) -> Duration {
        self.smoothed
    }

    /// After this long it is worth while to ask somebody else as well.
    pub fn late_soon(&self) -> Duration {
        self.smoothed.saturating_add(self.deviation.mul_f64(0.7).max(GRANULARITY))
    }

    /// After this long an answer has become unlikely.
    pub fn late_after(&self) -> Duration {
        self.late_by(4)
    }

    /// Later than expected by so many deviations.
    pub fn late_by(&self, deviations: u32) -> Duration {
        self.smoothed.saturating_add(self.deviation.saturating_mul(deviations).max(GRANULARITY))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn steady_answers_are_late_sooner_than_unsteady_ones() {
        let [mut steady, mut unsteady] = [100, 100].map(|ms| Rtt::first(Duration::from_millis(ms)));
        for round in 0..50u64 {
            steady.observe(Duration::from_millis(100));
            unsteady.observe(Duration::from_millis(50 + round % 2 * 100));
        }
        assert_eq!(steady.smoothed().as_millis(), 100);
        assert!(steady.late_after() < Duration::from_millis(105), "{steady:?}");
        assert!(unsteady.late_after() > Duration::from_millis(200), "{unsteady:?}");
    }

    #[test]
    fn an_answer_that_is_as_fast_as_ever_is_not_late() {
        let mut rtt = Rtt::first(Duration::ZERO);
        for _ in 0..50 {
            rtt.observe(Duration::ZERO);
        }
        assert_eq!(rtt.late_after(), GRANULARITY);
    }

    #[test]
    fn no_round_trip_is_too_long_or_too_short_to_be_kept() {
        for (given, kept) in [
            (Duration::ZERO, Duration::ZERO),
            (Duration::from_micros(50), TICK),
            (Duration::from_secs(2), Duration::from_secs(2)),
            (Duration::MAX, TICK * u32::from(u16::MAX - 1)),
        ] {
            assert_eq!(Rtt::unpack(Rtt::new(given, given).pack()), Rtt::new(kept, kept));
        }
    }

    #[test]
    fn no_sample_is_too_long_to_be_counted() {
        let mut rtt = Rtt::first(Duration::MAX);
        rtt.observe(Duration::MAX);
        assert_eq!(rtt.late_after(), Duration::MAX);
        for _ in 0..400 {
            rtt.observe(Duration::from_millis(80));
        }
        assert!(rtt.late_after() < Duration::from_millis(90), "{rtt:?}");
    }
}
