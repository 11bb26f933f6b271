//! Keys that are not answered for.

use prometheus_client::{metrics::counter::Counter, registry::Registry};

use super::by_label;

by_label! {
    /// Lookups of keys on a deny list, by the reason that was given. Clones count together.
    pub struct DeniedLookups(Counter) by "reason" {
        /// By the operator's own decision.
        blocked = "blocked",
        /// Because somebody else demands it.
        censored = "censored",
        /// Because the clients asked for it.
        filtered = "filtered",
    }
}

impl DeniedLookups {
    pub(super) fn register(&self, registry: &mut Registry) {
        let help = "Lookups of keys on a deny list; answers from the cache of answers are not among them";
        registry.register("denied_lookups", help, self.family.clone());
    }
}
