//! What is left out of the records of queries.

use prometheus_client::registry::Registry;

use super::{StripedCounter, by_label};

/// What is left out of the records of queries. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct LogMetrics {
    /// Records that came while too many waited to be written, or that could not be written.
    pub dropped: RecordsDropped,
}

by_label! {
    /// Records of queries that were left out.
    pub struct RecordsDropped(StripedCounter) by "log" {
        /// `[query_log]`
        query_log = "query_log",
        /// `[dnstap]`
        dnstap = "dnstap",
    }
}

impl LogMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let dropped = self.dropped.clone();
        registry.register("log_records_dropped", "Records of queries that were left out", dropped.family);
    }
}
