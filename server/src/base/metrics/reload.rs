//! How the configuration was taken anew.

use std::{
    sync::atomic::AtomicU64,
    time::{Duration, SystemTime},
};

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::{Registry, Unit},
};

use super::by_label;

/// Reloads of the configuration. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct ReloadMetrics {
    /// How they ended.
    pub ended: Reloads,
    /// Seconds since 1970 of the last one; zero before the first.
    last: Gauge<u64, AtomicU64>,
    /// 1 if it succeeded.
    last_succeeded: Gauge<u64, AtomicU64>,
}

by_label! {
    /// How reloads ended.
    pub struct Reloads(Counter) by "result" {
        /// The new configuration is in effect, but for options that need a restart.
        ok = "ok",
        /// The one before stays.
        failed = "failed",
    }
}

impl ReloadMetrics {
    /// One has ended at `now`.
    pub fn note(&self, has_succeeded: bool, now: SystemTime) {
        match has_succeeded {
            true => self.ended.ok.inc(),
            false => self.ended.failed.inc(),
        };
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
        self.last.set(since.as_secs());
        self.last_succeeded.set(u64::from(has_succeeded));
    }

    /// When the last one ended and whether it succeeded; `None` before the first.
    pub fn last(&self) -> Option<(SystemTime, bool)> {
        let seconds = self.last.get();
        let at = SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        (seconds > 0).then(|| (at, self.last_succeeded.get() == 1))
    }

    pub(super) fn register(&self, registry: &mut Registry) {
        let metrics = self.clone();
        registry.register("reloads", "Reloads of the configuration", metrics.ended.family);
        registry.register_with_unit(
            "last_reload_timestamp",
            "When the configuration was last taken anew, or tried to be; zero before the first time",
            Unit::Seconds,
            metrics.last,
        );
        registry.register(
            "last_reload_succeeded",
            "Whether the last reload put a new configuration in effect",
            metrics.last_succeeded,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_last_reload_is_known_and_all_are_counted() {
        let metrics = ReloadMetrics::default();
        assert_eq!(metrics.last(), None);
        let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
        metrics.note(true, at(7));
        assert_eq!(metrics.last(), Some((at(7), true)));
        metrics.note(false, at(8));
        assert_eq!(metrics.last(), Some((at(8), false)));
        assert_eq!((metrics.ended.ok.get(), metrics.ended.failed.get()), (1, 1));
    }
}
