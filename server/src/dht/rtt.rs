//! How long a node takes to answer, as RFC 6298 estimates it. Pure.

use std::time::Duration;

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

    /// Takes a sample into account (RFC 6298 section 2.3).
    pub fn observe(&mut self, sample: Duration) {
        let error = self.smoothed.abs_diff(sample);
        self.deviation = (self.deviation * 3 + error) / 4;
        self.smoothed = (self.smoothed * 7 + sample) / 8;
    }

    /// What is to be expected.
    pub fn smoothed(&self) -> Duration {
        self.smoothed
    }

    /// After this long an answer has become unlikely.
    pub fn late_after(&self) -> Duration {
        self.smoothed + self.deviation * 4
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
}
