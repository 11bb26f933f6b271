//! What round trips are usual among all nodes. Pure.

use std::time::Duration;

use crate::rtt::Rtt;

/// Answers that say what is usual, the latest.
const SAMPLES: usize = 64;

/// After so many more it is worked out again.
const RENEWAL: usize = 8;

/// The latest round trips. Their median and its deviation say what is usual: a mean would let one node in five that
/// answers as late as it can delay all searches, as every silent node would be waited for as long.
#[derive(Debug, Default)]
pub(super) struct RoundTrips {
    samples: Vec<Duration>,
    next: usize,
}

impl RoundTrips {
    /// Takes a round trip into account and keeps `typical` up to date.
    pub(super) fn observe(&mut self, sample: Duration, typical: &mut Rtt) {
        let place = self.next % SAMPLES;
        match self.samples.get_mut(place) {
            Some(oldest) => *oldest = sample,
            None => self.samples.push(sample),
        }
        self.next = self.next.wrapping_add(1);
        // The first ones count at once. A handful would say too much about those few.
        if self.samples.len() < RENEWAL {
            typical.observe(sample);
        } else if self.next.is_multiple_of(RENEWAL) {
            let usual = median(self.samples.clone());
            let deviation = median(self.samples.iter().map(|sample| sample.abs_diff(usual)).collect());
            *typical = Rtt::new(usual, deviation);
        }
    }
}

fn median(mut samples: Vec<Duration>) -> Duration {
    let middle = samples.len() / 2;
    samples.sort_unstable();
    samples.get(middle).copied().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn typical(samples: impl IntoIterator<Item = u64>) -> Rtt {
        let mut typical = Rtt::first(Duration::from_millis(150));
        let mut round_trips = RoundTrips::default();
        for sample in samples {
            round_trips.observe(Duration::from_millis(sample), &mut typical);
        }
        assert!(round_trips.samples.len() <= SAMPLES);
        typical
    }

    /// From 30 to 230 ms.
    fn honest(number: u64) -> u64 {
        30 + number * 61 % 201
    }

    #[test]
    fn one_node_in_five_that_answers_late_on_purpose_delays_the_others_little() {
        let alone = typical((0..300).map(honest));
        let disturbed = typical((0..300).map(|number| if number % 5 == 0 { 1900 } else { honest(number) }));
        assert!(alone.late_after() < Duration::from_millis(400), "{alone:?}");
        assert!(disturbed.late_after() < Duration::from_millis(550), "{disturbed:?}");
        assert!(disturbed.smoothed() < Duration::from_millis(200), "{disturbed:?}");
    }

    #[test]
    fn a_line_that_becomes_slow_is_noticed() {
        let slow = typical((0..300).map(honest).chain((0..60).map(|number| honest(number) + 700)));
        assert!(slow.smoothed() > Duration::from_millis(700), "{slow:?}");
    }
}
