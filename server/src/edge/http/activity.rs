//! What is under way on a connection, and whether its client takes what it asked for.

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering},
};

/// How often something is looked at that may last for a time. It lasts up to one part longer.
pub(super) const LOOKS: u32 = 4;

/// Bodies are counted by the look that they came after. After so many, one is as old as it may be.
const TURNS: usize = LOOKS as usize + 1;

/// Requests and responses of a connection. They only set flags and count: reading the clock would cost each of them as
/// much as looking up its answer.
#[derive(Debug, Default)]
pub(super) struct Activity {
    used: AtomicBool,
    /// Whether bytes have come since the last request that are not a request yet, and how often that has begun.
    head: AtomicBool,
    heads: AtomicU32,
    under_way: AtomicU32,
    /// Whether its client holds so much that not even a refusal can be held for it.
    spent: AtomicBool,
    turn: AtomicUsize,
    /// Bodies of responses of which a part is still here.
    untaken: [AtomicU32; TURNS],
}

/// A request that is being answered.
pub(super) struct UnderWay(Arc<Activity>);

/// A body of a response, until the last part of it is dropped.
pub(super) struct Untaken {
    activity: Arc<Activity>,
    turn: usize,
}

impl Activity {
    /// Since the last look, or now.
    pub(super) fn was_used(&self) -> bool {
        self.used.swap(false, Ordering::Relaxed) || self.under_way.load(Ordering::Relaxed) > 0
    }

    pub(super) fn spend(&self) {
        self.spent.store(true, Ordering::Relaxed);
    }

    /// Whether the connection is to end.
    pub(super) fn is_spent(&self) -> bool {
        self.spent.load(Ordering::Relaxed)
    }

    /// Bytes have come. Those of a body come while its request is under way.
    pub(super) fn has_read(&self) {
        if self.under_way.load(Ordering::Relaxed) == 0 && !self.head.swap(true, Ordering::Relaxed) {
            self.heads.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// The number of the head that has begun and not ended, if there is one.
    pub(super) fn head(&self) -> Option<u32> {
        self.head.load(Ordering::Relaxed).then(|| self.heads.load(Ordering::Relaxed))
    }

    pub(super) fn under_way(self: &Arc<Self>) -> UnderWay {
        self.head.store(false, Ordering::Relaxed);
        self.under_way.fetch_add(1, Ordering::Relaxed);
        UnderWay(self.clone())
    }

    pub(super) fn untaken(self: &Arc<Self>) -> Untaken {
        let turn = self.turn.load(Ordering::Relaxed);
        if let Some(bodies) = self.untaken.get(turn) {
            bodies.fetch_add(1, Ordering::Relaxed);
        }
        Untaken { activity: self.clone(), turn }
    }

    /// Whether a part of any body is still here.
    pub(super) fn has_untaken(&self) -> bool {
        self.untaken.iter().any(|bodies| bodies.load(Ordering::Relaxed) > 0)
    }

    /// One look. Whether there is a body that was there [`LOOKS`] looks ago.
    pub(super) fn is_overdue(&self) -> bool {
        let turn = (self.turn.load(Ordering::Relaxed) + 1) % TURNS;
        self.turn.store(turn, Ordering::Relaxed);
        self.untaken.get(turn).is_some_and(|bodies| bodies.load(Ordering::Relaxed) > 0)
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.used.store(true, Ordering::Relaxed);
        self.0.under_way.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Drop for Untaken {
    fn drop(&mut self) {
        if let Some(bodies) = self.activity.untaken.get(self.turn) {
            bodies.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_body_is_overdue_after_four_whole_looks_and_not_before() {
        let activity = Arc::new(Activity::default());
        assert!(!activity.has_untaken());
        for _ in 0..7 {
            let body = activity.untaken();
            for look in 0..LOOKS {
                assert!(!activity.is_overdue(), "{look}");
                // Others come and go.
                drop(activity.untaken());
            }
            assert!(activity.has_untaken() && activity.is_overdue());
            drop(body);
            assert!(!activity.has_untaken() && !activity.is_overdue());
        }
    }
}
