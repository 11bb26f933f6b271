//! What to expect of a search, in words. Each try has the same chance, whatever came before.

use std::time::Duration;

/// Chances to tell the time of.
const CHANCES: [f64; 4] = [0.5, 0.9, 0.99, 0.999];

const YEAR: f64 = 365.25 * 86_400.0;

/// The chance of a key in each try.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Chance(pub(crate) f64);

impl Chance {
    /// Tries that `keys` keys take on average.
    pub(crate) fn tries(self, keys: u32) -> f64 {
        f64::from(keys) / self.0
    }

    /// The chance that one key was found after so many tries.
    pub(crate) fn after(self, tries: f64) -> f64 {
        // 1 - (1 - p)^n, for a p that may be too small to show beside 1.
        -(tries * (-self.0).ln_1p()).exp_m1()
    }

    /// Tries after which one key has been found with this chance.
    pub(crate) fn tries_for(self, chance: f64) -> f64 {
        (-chance).ln_1p() / (-self.0).ln_1p()
    }
}

/// How a search goes on.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Progress {
    pub(crate) chance: Chance,
    pub(crate) keys: u32,
    pub(crate) found: u32,
    /// In all.
    pub(crate) tries: u64,
    /// Since the last key.
    pub(crate) in_vain: u64,
    pub(crate) elapsed: Duration,
}

impl Progress {
    /// Tries per second.
    pub(crate) fn rate(&self) -> f64 {
        self.tries as f64 / self.elapsed.as_secs_f64().max(1e-3)
    }

    /// What to expect at this rate.
    pub(crate) fn forecast(&self) -> String {
        let rate = self.rate();
        let expected = self.chance.tries(self.keys) / rate;
        let advice = if expected > 30.0 * 86_400.0 { "; each character less divides that by 32" } else { "" };
        let half = match self.keys {
            1 => format!(", a chance of 50 % in {}", span(self.chance.tries_for(0.5) / rate)),
            _ => String::new(),
        };
        format!("{} tries a second: {} expected{half}{advice}", count(rate), span(expected))
    }

    /// One line for a terminal, which is short enough not to be broken.
    pub(crate) fn line(&self) -> String {
        let rate = self.rate();
        let line = format!("{} tries, {}/s", count(self.tries as f64), count(rate));
        if self.keys > 1 {
            let rest = span(self.chance.tries(self.keys.saturating_sub(self.found)) / rate);
            return format!("{line}; {} of {} keys, {rest} for the rest", self.found, self.keys);
        }
        let in_vain = self.in_vain as f64;
        let line = format!("{line}; chance so far {:.1} %", 100.0 * self.chance.after(in_vain));
        let ahead = CHANCES.into_iter().find_map(|chance| {
            let missing = self.chance.tries_for(chance) - in_vain;
            (missing > 0.0).then(|| format!("{line}, {} % in {}", 100.0 * chance, span(missing / rate)))
        });
        ahead.unwrap_or(line)
    }
}

/// A number of things, in few digits.
pub(crate) fn count(number: f64) -> String {
    let (size, unit) = match number {
        ..1e4 => return format!("{number:.0}"),
        ..1e6 => (1e3, "thousand"),
        ..1e9 => (1e6, "million"),
        ..1e12 => (1e9, "billion"),
        ..1e15 => (1e12, "trillion"),
        _ => return format!("10^{:.0}", number.log10()),
    };
    format!("{} {unit}", digits(number / size))
}

/// A time in its largest unit.
pub(crate) fn span(seconds: f64) -> String {
    let (size, unit) = match seconds {
        ..1.0 => return "less than a second".to_string(),
        ..60.0 => (1.0, "s"),
        ..3600.0 => (60.0, "min"),
        ..172_800.0 => (3600.0, "h"),
        ..YEAR => (86_400.0, "days"),
        _ => return format!("{} years", count(seconds / YEAR)),
    };
    format!("{} {unit}", digits(seconds / size))
}

fn digits(number: f64) -> String {
    if number < 99.95 { format!("{number:.1}") } else { format!("{number:.0}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_times_are_told_in_few_digits() {
        for (number, expected) in [
            (0.0, "0"),
            (2.0, "2"),
            (1024.0, "1024"),
            (32_768.0, "32.8 thousand"),
            (33_554_432.0, "33.6 million"),
            (999_000_000.0, "999 million"),
            (32_f64.powi(6), "1.1 billion"),
            (32_f64.powi(8), "1.1 trillion"),
            (32_f64.powi(52), "10^78"),
            (f64::INFINITY, "10^inf"),
        ] {
            assert_eq!(count(number), expected);
        }
        for (seconds, expected) in [
            (0.3, "less than a second"),
            (1.0, "1.0 s"),
            (42.0, "42.0 s"),
            (90.0, "1.5 min"),
            (3600.0 * 30.0, "30.0 h"),
            (86_400.0 * 3.5, "3.5 days"),
            (YEAR * 2.0, "2 years"),
            (YEAR * 3.4e6, "3.4 million years"),
        ] {
            assert_eq!(span(seconds), expected);
        }
    }

    #[test]
    fn chances_and_tries_are_those_of_independent_tries() {
        let chance = Chance(1.0 / 1024.0);
        assert_eq!((chance.tries(1), chance.tries(3)), (1024.0, 3072.0));
        assert!((chance.after(1.0) - 1.0 / 1024.0).abs() < 1e-9);
        assert!((chance.after(1024.0) - 0.632_3).abs() < 1e-3, "1 - 1/e");
        for wanted in CHANCES {
            assert!((chance.after(chance.tries_for(wanted)) - wanted).abs() < 1e-9);
        }
        // So small that one minus it is one.
        let chance = Chance(0.5_f64.powi(256));
        assert!((chance.after(chance.tries(1)) - 0.632_3).abs() < 1e-3);
    }

    #[test]
    fn progress_tells_of_chances_that_are_still_ahead() {
        let progress = Progress {
            chance: Chance(1e-6),
            keys: 1,
            found: 0,
            tries: 1_000_000,
            in_vain: 1_000_000,
            elapsed: Duration::from_secs(10),
        };
        assert_eq!(
            progress.line(),
            "1.0 million tries, 100 thousand/s; chance so far 63.2 %, 90 % in 13.0 s"
        );
        assert_eq!(
            progress.forecast(),
            "100 thousand tries a second: 10.0 s expected, a chance of 50 % in 6.9 s"
        );
        let several = Progress { keys: 5, found: 2, in_vain: 10, ..progress };
        assert_eq!(several.line(), "1.0 million tries, 100 thousand/s; 2 of 5 keys, 30.0 s for the rest");
        let hopeless = Progress { chance: Chance(32_f64.powi(-12)), ..progress };
        assert_eq!(
            hopeless.forecast(),
            "100 thousand tries a second: 365 thousand years expected, a chance of 50 % in 253 thousand years; \
             each character less divides that by 32"
        );
        let not_begun = Progress { tries: 0, in_vain: 0, elapsed: Duration::ZERO, ..progress };
        assert!(!not_begun.line().contains("NaN") && !not_begun.forecast().contains("NaN"));
    }
}
