//! How long to wait after failures. Pure.

use std::time::Duration;

/// Waits that double from the first to the longest.
#[derive(Debug, Clone, Copy)]
pub struct Backoff {
    /// After one failure.
    pub first: Duration,
    /// Not longer than this.
    pub longest: Duration,
}

impl Backoff {
    /// After so many failures in a row; no time after none.
    pub fn after(self, failures: u32) -> Duration {
        match failures.checked_sub(1) {
            None => Duration::ZERO,
            Some(more) => self.first.saturating_mul(2_u32.saturating_pow(more)).min(self.longest),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn waits_double_up_to_the_longest() {
        let backoff = Backoff { first: Duration::from_secs(1), longest: Duration::from_secs(60) };
        let seconds: Vec<_> = (0..9).map(|failures| backoff.after(failures).as_secs()).collect();
        assert_eq!(seconds, [0, 1, 2, 4, 8, 16, 32, 60, 60]);
        assert_eq!(backoff.after(u32::MAX), backoff.longest);
        let endless = Backoff { longest: Duration::MAX, ..backoff };
        assert!(endless.after(u32::MAX) >= endless.after(33));
    }
}
