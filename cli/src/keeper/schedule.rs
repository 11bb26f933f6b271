//! When a zone is published again. Pure.

use std::{fmt, str::FromStr, time::Duration};

use pkdns::base::backoff::Backoff;
use serde::{Deserialize, Deserializer, de};

/// Nodes forget a packet after some two hours.
const LONGEST: Duration = Duration::from_secs(24 * 3600);
const SHORTEST: Duration = Duration::from_secs(60);

/// This part of an interval is left to chance, so that many zones spread out.
const JITTER: f64 = 0.1;

/// Pauses after failures.
const RETRY: Backoff = Backoff { first: Duration::from_secs(5), longest: Duration::from_secs(600) };

/// How often a zone is published.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Interval(Duration);

impl Interval {
    /// The time to the next publication, a part of which is left to chance.
    pub(crate) fn jittered(self) -> Duration {
        self.next(chance())
    }

    /// The time to the next attempt after so many failures in a row.
    pub(crate) fn after_failures(self, failures: u32) -> Duration {
        retry(failures, self, chance())
    }

    /// The time to the next publication for a `chance` from 0 to 1.
    fn next(self, chance: f64) -> Duration {
        self.0.mul_f64(1.0 - JITTER * chance.clamp(0.0, 1.0))
    }
}

impl Default for Interval {
    fn default() -> Self {
        Self(Duration::from_secs(3600))
    }
}

/// From 0 to 1. Without random numbers all come at once, which is no reason to end.
fn chance() -> f64 {
    f64::from(getrandom::u32().unwrap_or(u32::MAX)) / f64::from(u32::MAX)
}

/// The time to the next attempt after so many failures in a row: up to ten minutes, and never beyond the interval.
fn retry(failures: u32, interval: Interval, chance: f64) -> Duration {
    Interval(RETRY.after(failures).min(interval.0)).next(chance)
}

impl FromStr for Interval {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = "expected a time such as 90s, 30m or 1h";
        let digits = text.trim_end_matches(|last: char| !last.is_ascii_digit());
        let number: u64 = digits.parse().map_err(|_| expected)?;
        let unit = match text.get(digits.len()..) {
            Some("s") => 1,
            Some("m") => 60,
            Some("h") => 3600,
            _ => return Err(expected.to_string()),
        };
        let time = Duration::from_secs(number.saturating_mul(unit));
        if (SHORTEST..=LONGEST).contains(&time) {
            Ok(Self(time))
        } else {
            Err("from 1m to 24h is possible; nodes forget after some two hours".to_string())
        }
    }
}

impl fmt::Display for Interval {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&in_words(self.0))
    }
}

impl<'de> Deserialize<'de> for Interval {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

/// A time for people.
pub(crate) fn in_words(time: Duration) -> String {
    match time.as_secs() {
        seconds @ 0..120 => format!("{seconds} s"),
        seconds => format!("{} min", seconds / 60),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn an_interval_is_read_from_seconds_minutes_or_hours() {
        for (text, seconds) in [("60s", 60), ("30m", 1800), ("1h", 3600), ("24h", 86_400)] {
            assert_eq!(text.parse(), Ok(Interval(Duration::from_secs(seconds))), "{text}");
        }
        for text in ["", "1", "h", "59s", "25h", "1d", "-1h", "1.5h", "99999999999999999999h", "1 h"] {
            assert!(text.parse::<Interval>().is_err(), "{text}");
        }
    }

    #[test]
    fn zones_spread_out_over_a_tenth_of_the_interval_and_never_come_late() {
        let hour = Interval::default();
        assert_eq!(hour.next(0.0), Duration::from_secs(3600));
        assert_eq!(hour.next(1.0), Duration::from_secs(3240));
    }

    #[test]
    fn failures_are_repeated_soon_and_then_less_often() {
        let hour = Interval::default();
        let pauses: Vec<u64> = (1..=9).map(|failures| retry(failures, hour, 0.0).as_secs()).collect();
        assert_eq!(pauses, [5, 10, 20, 40, 80, 160, 320, 600, 600]);
        assert_eq!(retry(u32::MAX, hour, 0.0).as_secs(), 600);
        assert_eq!(retry(9, "1m".parse().unwrap(), 0.0).as_secs(), 60);
    }

    proptest! {
        #[test]
        fn any_text_is_an_interval_or_an_error(text in "\\PC{0,12}") {
            let _ = text.parse::<Interval>();
        }
    }
}
