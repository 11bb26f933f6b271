//! Times and shares as people write them.

use std::{fmt, ops::RangeInclusive, str::FromStr, time::Duration};

use pkdns_dht::simulator::MAX_NODES;

/// Longest time that is accepted.
const LONGEST: Duration = Duration::from_secs(60);

/// A share of 0% to 100%.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Percentage(f64);

impl Percentage {
    /// As a part of one.
    pub(super) fn share(self) -> f64 {
        self.0 / 100.0
    }
}

impl FromStr for Percentage {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let number = text.strip_suffix('%').and_then(number);
        let percentage = number.ok_or("expected a number and a percent sign, such as 20%")?;
        if percentage <= 100.0 { Ok(Self(percentage)) } else { Err("at most 100% is possible".into()) }
    }
}

impl fmt::Display for Percentage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}%", self.0)
    }
}

/// Reads a number of nodes.
pub(super) fn nodes(text: &str) -> Result<usize, String> {
    let units = [('k', 1_000.0), ('M', 1_000_000.0)];
    let (digits, unit) = units
        .into_iter()
        .find_map(|(letter, unit)| Some((text.strip_suffix(letter)?, unit)))
        .unwrap_or((text, 1.0));
    let count = number(digits).map(|number| number * unit).filter(|count| count.fract() == 0.0);
    let count = count.ok_or("expected a number such as 5000, 10k or 10M")?;
    if (3.0..=MAX_NODES as f64).contains(&count) {
        Ok(count as usize)
    } else {
        Err(format!("3 to {MAX_NODES} are possible"))
    }
}

/// Reads a time.
pub(super) fn duration(text: &str) -> Result<Duration, String> {
    let in_seconds = match text.strip_suffix("ms") {
        Some(milliseconds) => number(milliseconds).map(|number| number / 1000.0),
        None => text.strip_suffix('s').and_then(number),
    };
    let seconds = in_seconds.ok_or("expected a time such as 80ms or 1.5s")?;
    match Duration::try_from_secs_f64(seconds) {
        Ok(duration) if duration <= LONGEST => Ok(duration),
        Ok(_) | Err(_) => Err(format!("at most {} is possible", in_units(LONGEST))),
    }
}

/// Reads a time or a range of times.
pub(super) fn durations(text: &str) -> Result<RangeInclusive<Duration>, String> {
    let (shortest, longest) = text.split_once('-').unwrap_or((text, text));
    let (shortest, longest) = (duration(shortest)?, duration(longest)?);
    if shortest > longest {
        return Err("the first time of a range is the shorter one".into());
    }
    Ok(shortest..=longest)
}

/// A time as [`duration`] reads it.
pub(super) fn in_units(duration: Duration) -> String {
    if duration >= Duration::from_secs(1) {
        format!("{}s", duration.as_secs_f64())
    } else {
        format!("{}ms", duration.as_micros() as f64 / 1000.0)
    }
}

/// Digits with or without a point: neither signs nor exponents, nor what else is a number to a computer.
fn number(text: &str) -> Option<f64> {
    let is_plain = text.starts_with(|first: char| first.is_ascii_digit())
        && text.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.');
    text.parse().ok().filter(|_| is_plain)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_share_is_a_number_with_a_percent_sign() {
        for (text, share) in [("0%", 0.0), ("2%", 0.02), ("0.5%", 0.005), ("100%", 1.0)] {
            let percentage: Percentage = text.parse().unwrap();
            assert_eq!((percentage.share(), percentage.to_string()), (share, text.to_string()));
        }
        for text in
            ["", "%", "2", "0.2", "-1%", "+1%", "101%", "nan%", "inf%", "1e1%", "1.2.3%", "2 %", "2%%"]
        {
            assert!(text.parse::<Percentage>().is_err(), "{text}");
        }
    }

    #[test]
    fn nodes_are_counted_in_thousands_and_millions() {
        for (text, count) in
            [("3", 3), ("5000", 5000), ("10k", 10_000), ("1.5M", 1_500_000), ("10M", 10_000_000)]
        {
            assert_eq!(nodes(text), Ok(count), "{text}");
        }
        for text in ["", "k", "2", "0", "-5", "1e6", "10m", "10K", "10 M", "1.5", "0.0001k", "17M", "99999M"]
        {
            assert!(nodes(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_time_has_a_unit() {
        for (text, milliseconds) in [("0ms", 0), ("80ms", 80), ("1s", 1000), ("1.5s", 1500), ("60s", 60_000)]
        {
            let time = Duration::from_millis(milliseconds);
            assert_eq!((duration(text), in_units(time)), (Ok(time), text.to_string()));
        }
        assert_eq!(duration("0.5ms"), Ok(Duration::from_micros(500)));
        for text in
            ["", "80", "ms", "s", "-1s", "1e1s", "80 ms", "80us", "1m", "61s", "99999999999999999999s"]
        {
            assert!(duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn a_range_goes_from_short_to_long() {
        let [short, long] = [30, 230].map(Duration::from_millis);
        assert_eq!(durations("30ms-230ms"), Ok(short..=long));
        assert_eq!(durations("30ms"), Ok(short..=short));
        for text in ["230ms-30ms", "30-230ms", "30ms-", "-30ms", "30ms-40ms-50ms", "30"] {
            assert!(durations(text).is_err(), "{text}");
        }
    }
}
