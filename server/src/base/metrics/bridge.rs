//! Connections to sites under keys.

use prometheus_client::{metrics::counter::Counter, registry::Registry};

use super::by_label;

/// What is counted at the bridge. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct BridgeMetrics {
    /// Connections over HTTPS, when it is known what becomes of them.
    pub connections: BridgeConnections,
    /// Requests over HTTP in the clear.
    pub plain: BridgePlain,
    /// Handshakes that were completed.
    pub handshakes: BridgeHandshakes,
    /// Bytes inside of TLS, or in the clear, that were passed on.
    pub bytes: BridgeBytes,
}

by_label! {
    /// What became of connections over HTTPS.
    pub struct BridgeConnections(Counter) by "outcome" {
        /// The site showed that it is the key's, and the client speaks with it.
        bridged = "bridged",
        /// No hello of TLS came in time, or it was too long or none.
        no_hello = "no_hello",
        /// The client named nothing below a key and a suffix.
        unknown_name = "unknown_name",
        /// There is no such name, or it leads nowhere.
        absent = "absent",
        /// The name has records, and none that say how TLS is verified.
        no_tls = "no_tls",
        /// The key is on a deny list, or exempt.
        denied = "denied",
        /// What the name leads to could not be found out.
        lookup_failed = "lookup_failed",
        /// The site could not be connected to.
        unreachable = "unreachable",
        /// The site showed another key.
        another_key = "another_key",
        /// The site ended the handshake, or speaks no TLS.
        handshake_refused = "handshake_refused",
        /// The site did not answer in time.
        timed_out = "timed_out",
        /// There are as many connections to this site as there may be.
        site_full = "site_full",
        /// The handshake with the client came to nothing.
        client_handshake = "client_handshake",
        /// `[access]` does not serve the client.
        access = "access",
    }
}

by_label! {
    /// What became of requests in the clear.
    pub struct BridgePlain(Counter) by "outcome" {
        /// Sent to HTTPS.
        redirected = "redirected",
        /// Passed on to a site without TLS.
        passed_on = "passed_on",
        /// For no name below a key and a suffix.
        foreign_host = "foreign_host",
        /// No request that can be read came in time.
        malformed = "malformed",
        /// The site is not there, or could not be connected to.
        failed = "failed",
        /// `[access]` does not serve the client.
        access = "access",
    }
}

by_label! {
    /// Handshakes by with whom.
    pub struct BridgeHandshakes(Counter) by "side" {
        /// With a client.
        client = "client",
        /// With a site, which was verified.
        site = "site",
    }
}

by_label! {
    /// Bytes by where to.
    pub struct BridgeBytes(Counter) by "direction" {
        /// From a client to a site.
        to_site = "to_site",
        /// From a site to a client.
        to_client = "to_client",
    }
}

impl BridgeMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let metrics = self.clone();
        registry.register(
            "connections",
            "Connections over HTTPS to sites under keys",
            metrics.connections.family,
        );
        registry.register(
            "plain_requests",
            "Requests in the clear for sites under keys",
            metrics.plain.family,
        );
        registry.register("handshakes", "TLS handshakes that were completed", metrics.handshakes.family);
        registry.register("bytes", "Bytes that were passed on", metrics.bytes.family);
    }
}
