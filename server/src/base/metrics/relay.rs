//! What programs ask of us that use this server as their relay.

use prometheus_client::{metrics::counter::Counter, registry::Registry};

use super::by_label;

/// What is counted of relay clients. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct RelayMetrics {
    /// `GET` requests.
    pub reads: RelayReads,
    /// `PUT` requests.
    pub writes: RelayWrites,
}

by_label! {
    /// How a `GET` ended.
    pub struct RelayReads(Counter) by "outcome" {
        /// With the packet.
        found = "found",
        /// The client has it already.
        not_modified = "not_modified",
        /// There is none.
        absent = "absent",
        /// Not for a key.
        invalid = "invalid",
        /// The client's quota is spent.
        quota = "quota",
        /// The DHT could not be asked.
        unavailable = "unavailable",
        /// The key is on a deny list.
        denied = "denied",
    }
}

by_label! {
    /// How a `PUT` ended.
    pub struct RelayWrites(Counter) by "outcome" {
        /// It is on the DHT.
        stored = "stored",
        /// A newer one is.
        not_most_recent = "not_most_recent",
        /// Another one than the client expected is.
        cas_failed = "cas_failed",
        /// It is not a packet of the key.
        invalid = "invalid",
        /// The client's quota is spent.
        quota = "quota",
        /// Too many are on their way to the DHT.
        busy = "busy",
        /// The DHT could not be asked, or refused.
        unavailable = "unavailable",
        /// The key is on a deny list.
        denied = "denied",
    }
}

impl RelayMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let metrics = self.clone();
        registry.register("reads", "Requests of relay clients for a packet", metrics.reads.family);
        registry.register("writes", "Packets from relay clients to be published", metrics.writes.family);
    }
}
