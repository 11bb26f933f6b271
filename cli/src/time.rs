//! Timestamps of packets: microseconds since 1970.

use std::time::{SystemTime, UNIX_EPOCH};

/// The present, by this machine's clock.
pub(crate) fn now() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_micros()).unwrap_or(u64::MAX).max(1)
}

/// How far `timestamp` lies from `now`, for people.
pub(crate) fn age(timestamp: u64, now: u64) -> String {
    let seconds = now.abs_diff(timestamp) / 1_000_000;
    let (number, unit) = match seconds {
        0..60 => (seconds, "second"),
        60..3600 => (seconds / 60, "minute"),
        3600..86_400 => (seconds / 3600, "hour"),
        86_400..31_536_000 => (seconds / 86_400, "day"),
        _ => (seconds / 31_536_000, "year"),
    };
    let plural = if number == 1 { "" } else { "s" };
    let direction = if timestamp > now { "in the future" } else { "ago" };
    format!("{number} {unit}{plural} {direction}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_told_in_its_largest_unit() {
        let second = 1_000_000;
        for (past, expected) in [
            (0, "0 seconds ago"),
            (second, "1 second ago"),
            (59 * second, "59 seconds ago"),
            (60 * second, "1 minute ago"),
            (7_200 * second, "2 hours ago"),
            (86_400 * second, "1 day ago"),
            (31_536_000 * second, "1 year ago"),
        ] {
            let now = 100 * 31_536_000 * second;
            assert_eq!(age(now - past, now), expected);
        }
    }

    #[test]
    fn a_date_after_the_year_9999_is_told_too() {
        // Such a packet has brought a relay down.
        assert_eq!(age(300_000_000_000_000_000, 0), "9512 years in the future");
        assert_eq!(age(u64::MAX, 0), "584942 years in the future");
        assert_eq!(age(0, u64::MAX), "584942 years ago");
    }
}
