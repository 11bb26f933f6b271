//! Packets that several servers share.

use prometheus_client::{metrics::counter::Counter, registry::Registry};

use super::by_label;

/// What is counted at the shared store. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct SharedMetrics {
    /// Lookups in it.
    pub lookups: SharedLookups,
    /// Packets for it.
    pub puts: SharedPuts,
}

by_label! {
    /// How a lookup ended.
    pub struct SharedLookups(Counter) by "result" {
        /// With a packet.
        found = "found",
        /// Without one.
        absent = "absent",
        /// With something that is not a packet of the key.
        rejected = "rejected",
        /// With an error, or not in time.
        failed = "failed",
        /// The store was not asked: it rests, or there is no connection yet.
        skipped = "skipped",
    }
}

by_label! {
    /// What became of a packet.
    pub struct SharedPuts(Counter) by "outcome" {
        /// It is there.
        stored = "stored",
        /// A newer one is.
        outdated = "outdated",
        /// The store refused it, or did not answer in time.
        failed = "failed",
        /// It was not sent: the store rests, or too many wait.
        dropped = "dropped",
    }
}

impl SharedMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let metrics = self.clone();
        registry.register("lookups", "Lookups in the store that servers share", metrics.lookups.family);
        registry.register("puts", "Packets for the store that servers share", metrics.puts.family);
    }
}
