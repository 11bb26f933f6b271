//! The client of the DHT.

mod observed;

use prometheus_client::{
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::{Registry, Unit},
};

use super::{Durations, by_label};

/// In seconds. Most answers take 50 to 300 ms, and a lookup ends after 5 s at the latest.
const LATENCIES: [f64; 16] =
    [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.6, 0.8, 1.0, 1.5, 2.5, 5.0];

/// Messages sent. In a network of which all nodes are known a first answer takes 8 and a lookup 30; in one of millions it
/// is some 50 and 90.
const MESSAGES: [f64; 18] = [
    1.0, 2.0, 4.0, 6.0, 8.0, 10.0, 12.0, 16.0, 20.0, 25.0, 30.0, 40.0, 50.0, 60.0, 80.0, 120.0, 160.0, 240.0,
];

/// Nodes that stored a packet, of the 20 that are asked to.
const ACKNOWLEDGEMENTS: [f64; 8] = [0.0, 1.0, 4.0, 8.0, 12.0, 16.0, 18.0, 20.0];

/// What the client of the DHT counts. Clones count together.
#[derive(Debug, Clone)]
pub struct DhtMetrics {
    /// Lookups that ended.
    pub lookups: LookupOutcomes,
    /// From the start of a lookup to its first valid packet, in seconds.
    pub first_answer: Histogram,
    /// From the start of a lookup to its end, its background part included, in seconds.
    pub lookup_duration: Histogram,
    /// Messages sent until the first valid packet came.
    pub messages_before_first_answer: Histogram,
    /// Messages sent by a lookup, its background part included.
    pub messages_per_lookup: Histogram,
    /// Lookups whose first packet was not the newest: a newer one came later.
    pub stale_first_answers: Counter,
    /// Lookups under way.
    pub lookups_in_flight: Gauge,
    /// Lookups that wait for their turn.
    pub lookups_queued: Gauge,
    /// Puts that ended.
    pub puts: PutOutcomes,
    /// Nodes that acknowledged a put.
    pub put_acknowledgements: Histogram,
    /// Nodes in the routing tables.
    pub nodes: NodesByFamily,
    /// Requests that were answered, or not in time.
    pub requests: Requests,
    /// From a request to its reply, in seconds. Replies that come too late are not in it.
    pub round_trip: Durations,
    /// Datagrams that the kernel took.
    pub datagrams_sent: Counter,
    /// Datagrams that the kernel did not take.
    pub datagrams_unsent: Counter,
    /// Messages that the budget of packets did not allow to be sent.
    pub datagrams_withheld: Counter,
    /// Datagrams that arrived, ignored ones included.
    pub datagrams_received: Counter,
    /// Datagrams that arrived and were of no use.
    pub datagrams_ignored: DatagramsIgnored,
    /// Datagrams that arrived and were not taken from the kernel in time.
    pub datagrams_dropped_by_kernel: Counter,
    /// Packets whose signature was checked.
    pub signature_checks: SignatureChecks,
    /// Requests to PKARR relays that ended.
    pub relay_requests: RelayOutcomes,
    /// Packets that were to be stored again for their owners.
    pub keep_alive: KeepAliveOutcomes,
}

by_label! {
    /// What became of a packet that was to be stored again.
    pub struct KeepAliveOutcomes(Counter) by "outcome" {
        /// It was.
        stored = "stored",
        /// There is a newer one.
        outdated = "outdated",
        /// The DHT could not be asked, or refused.
        failed = "failed",
    }
}

by_label! {
    /// How lookups ended.
    pub struct LookupOutcomes(Counter) by "outcome" {
        /// With a packet.
        found = "found",
        /// With enough evidence that there is none.
        absent = "absent",
        /// With too little evidence of anything.
        unreachable = "unreachable",
        /// Without a start: too many were under way or waited.
        busy = "busy",
        /// Without a start: the DHT was not joined.
        not_ready = "not_ready",
    }
}

by_label! {
    /// How puts ended.
    pub struct PutOutcomes(Counter) by "outcome" {
        /// Enough nodes acknowledged it.
        stored = "stored",
        /// Nodes hold a more recent packet.
        not_most_recent = "not_most_recent",
        /// Nodes hold another packet than the one to be replaced.
        cas_failed = "cas_failed",
        /// Nodes refused it for another reason.
        refused = "refused",
        /// The network could not be asked.
        unreachable = "unreachable",
    }
}

/// What became of requests, by what they asked for.
#[derive(Debug, Clone)]
pub struct Requests {
    /// For nodes, also those to join through.
    pub find_node: RequestOutcomes,
    /// For a packet.
    pub get: RequestOutcomes,
    /// To store a packet.
    pub put: RequestOutcomes,
}

by_label! {
    /// How requests to nodes ended.
    pub struct RequestOutcomes(Counter) by "outcome" {
        /// With what was asked for, or with nodes that are nearer.
        answered = "answered",
        /// With error 204, method unknown: the node stores nothing (BEP 44).
        unsupported = "unsupported",
        /// With another error.
        refused = "refused",
        /// Without a reply in time.
        unanswered = "unanswered",
    }
}

impl Default for Requests {
    fn default() -> Self {
        let family = Family::default();
        let asking = |method| RequestOutcomes::new(family.clone(), &[("method", method)]);
        Self { find_node: asking("find_node"), get: asking("get"), put: asking("put") }
    }
}

by_label! {
    /// Nodes by the family of their address.
    pub struct NodesByFamily(Gauge) by "family" {
        /// IPv4.
        ipv4 = "ipv4",
        /// IPv6.
        ipv6 = "ipv6",
    }
}

by_label! {
    /// Why datagrams were ignored.
    pub struct DatagramsIgnored(Counter) by "reason" {
        /// Not a KRPC message.
        garbage = "garbage",
        /// A response that nothing was asked for, or that came too late.
        unknown_transaction = "unknown_transaction",
        /// A response from elsewhere than where the question went.
        wrong_address = "wrong_address",
        /// A query, or a value that no signature can make right: too long, of another key, with a negative seq.
        refused = "refused",
    }
}

by_label! {
    /// What checks of signatures said.
    pub struct SignatureChecks(Counter) by "result" {
        /// By the key, over this packet.
        valid = "valid",
        /// Not that.
        invalid = "invalid",
    }
}

by_label! {
    /// How requests to relays ended.
    pub struct RelayOutcomes(Counter) by "outcome" {
        /// With a packet.
        found = "found",
        /// With the word that there is none.
        absent = "absent",
        /// With a packet stored.
        stored = "stored",
        /// With a refusal, or an answer that no relay gives.
        refused = "refused",
        /// Without an answer.
        failed = "failed",
        /// Not sent: the relay has failed before, or has enough to do.
        skipped = "skipped",
    }
}

impl Default for DhtMetrics {
    fn default() -> Self {
        Self {
            lookups: LookupOutcomes::default(),
            first_answer: Histogram::new(LATENCIES),
            lookup_duration: Histogram::new(LATENCIES),
            messages_before_first_answer: Histogram::new(MESSAGES),
            messages_per_lookup: Histogram::new(MESSAGES),
            stale_first_answers: Counter::default(),
            lookups_in_flight: Gauge::default(),
            lookups_queued: Gauge::default(),
            puts: PutOutcomes::default(),
            put_acknowledgements: Histogram::new(ACKNOWLEDGEMENTS),
            nodes: NodesByFamily::default(),
            requests: Requests::default(),
            round_trip: Durations::new(&LATENCIES),
            datagrams_sent: Counter::default(),
            datagrams_unsent: Counter::default(),
            datagrams_withheld: Counter::default(),
            datagrams_received: Counter::default(),
            datagrams_ignored: DatagramsIgnored::default(),
            datagrams_dropped_by_kernel: Counter::default(),
            signature_checks: SignatureChecks::default(),
            relay_requests: RelayOutcomes::default(),
            keep_alive: KeepAliveOutcomes::default(),
        }
    }
}

impl DhtMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let metrics = self.clone();
        registry.register("lookups", "Lookups that ended", metrics.lookups.family);
        registry.register_with_unit(
            "first_answer",
            "From the start of a lookup to its first valid packet",
            Unit::Seconds,
            metrics.first_answer,
        );
        registry.register_with_unit(
            "lookup_duration",
            "From the start of a lookup to its end, its background part included",
            Unit::Seconds,
            metrics.lookup_duration,
        );
        registry.register(
            "messages_before_first_answer",
            "Messages sent until the first valid packet came",
            metrics.messages_before_first_answer,
        );
        registry.register(
            "messages_per_lookup",
            "Messages sent by a lookup, its background part included",
            metrics.messages_per_lookup,
        );
        registry.register(
            "stale_first_answers",
            "Lookups whose first packet was not the newest",
            metrics.stale_first_answers,
        );
        registry.register("lookups_in_flight", "Lookups under way", metrics.lookups_in_flight);
        registry.register("lookups_queued", "Lookups that wait for their turn", metrics.lookups_queued);
        registry.register("puts", "Puts that ended", metrics.puts.family);
        registry.register(
            "put_acknowledgements",
            "Nodes that acknowledged a put",
            metrics.put_acknowledgements,
        );
        registry.register(
            "keep_alive",
            "Packets that were to be stored again for their owners",
            metrics.keep_alive.family,
        );
        registry.register("nodes", "Nodes in the routing tables", metrics.nodes.family);
        registry.register("requests", "Requests to nodes that ended", metrics.requests.get.family);
        registry.register_with_unit(
            "round_trip",
            "From a request to its reply",
            Unit::Seconds,
            metrics.round_trip,
        );
        registry.register("datagrams_sent", "Datagrams that the kernel took", metrics.datagrams_sent);
        registry.register(
            "datagrams_unsent",
            "Datagrams that the kernel did not take",
            metrics.datagrams_unsent,
        );
        registry.register(
            "datagrams_withheld",
            "Messages not sent because the budget of packets was spent",
            metrics.datagrams_withheld,
        );
        registry.register("datagrams_received", "Datagrams that arrived", metrics.datagrams_received);
        registry.register(
            "datagrams_ignored",
            "Datagrams that arrived and were of no use",
            metrics.datagrams_ignored.family,
        );
        registry.register(
            "datagrams_dropped_by_kernel",
            "Datagrams that were not taken from the kernel in time",
            metrics.datagrams_dropped_by_kernel,
        );
        registry.register(
            "signature_checks",
            "Packets whose signature was checked",
            metrics.signature_checks.family,
        );
        registry.register(
            "relay_requests",
            "Requests to PKARR relays that ended",
            metrics.relay_requests.family,
        );
    }
}
