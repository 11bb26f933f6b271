//! Who was turned away, for the log: often by strangers, who must not fill it.

use std::{
    sync::{Mutex, PoisonError},
    time::{Duration, Instant},
};

use crate::terminal;

/// Each reason is said once in this time, with how often it was one meanwhile.
const SAY_EVERY: Duration = Duration::from_secs(3600);

/// One reason to turn requests away.
#[derive(Default)]
pub(super) struct Reason(Mutex<Counted>);

#[derive(Default)]
struct Counted {
    unsaid: u64,
    said: Option<Instant>,
}

impl Reason {
    /// Counts one, and says `text` if that is due. No address of a client belongs in it.
    pub(super) fn note(&self, text: &str) {
        if let Some(count) = self.count(Instant::now()) {
            terminal::note(&format!("{text}; {count} so far, said once an hour"));
        }
    }

    /// How many there were since it was said last, if it is to be said again.
    fn count(&self, now: Instant) -> Option<u64> {
        let mut counted = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counted.unsaid = counted.unsaid.saturating_add(1);
        let is_due = counted.said.is_none_or(|said| now.saturating_duration_since(said) >= SAY_EVERY);
        is_due.then(|| {
            counted.said = Some(now);
            std::mem::take(&mut counted.unsaid)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_cannot_fill_the_log() {
        let (reason, start) = (Reason::default(), Instant::now());
        assert_eq!(reason.count(start), Some(1));
        assert!((0..1000).all(|second| reason.count(start + Duration::from_secs(second)).is_none()));
        assert_eq!(reason.count(start + SAY_EVERY), Some(1001));
    }
}
