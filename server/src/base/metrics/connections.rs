//! Connections of clients: how many are open, and which TLS handshakes come to nothing.

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};

use super::by_label;

/// What is counted of connections. Clones count together.
#[derive(Debug, Clone, Default)]
pub struct ConnectionMetrics {
    /// Those that are open.
    pub open: OpenConnections,
    /// Handshakes that came to nothing.
    pub handshake_failures: HandshakeFailures,
}

by_label! {
    /// Connections by what is spoken over them.
    pub struct OpenConnections(Gauge) by "kind" {
        /// DNS over TCP.
        tcp = "tcp",
        /// DNS over TLS.
        tls = "tls",
        /// HTTP in the clear, for proxies and for metrics.
        http = "http",
        /// HTTPS.
        https = "https",
        /// HTTPS to sites under keys.
        bridge = "bridge",
        /// HTTP in the clear to sites under keys.
        bridge_http = "bridge-http",
    }
}

by_label! {
    /// Why TLS handshakes came to nothing.
    pub struct HandshakeFailures(Counter) by "reason" {
        /// It was not finished in time, or the connection had to make room for another.
        unfinished = "unfinished",
        /// The client went away.
        closed = "closed",
        /// The client does not trust the certificate, or found something else in it to refuse.
        certificate_refused = "certificate_refused",
        /// The client ended it with another alert.
        alert = "alert",
        /// There was no certificate to show for what the client asked.
        no_certificate = "no_certificate",
        /// Client and server share no version of TLS, no cipher or no protocol.
        nothing_in_common = "nothing_in_common",
        /// What the client sent is not TLS.
        not_tls = "not_tls",
        /// Anything else.
        other = "other",
    }
}

/// A connection that is open until this is dropped.
#[derive(Debug)]
pub struct OpenConnection(Gauge);

impl OpenConnection {
    /// Counts one in `gauge`.
    pub fn new(gauge: &Gauge) -> Self {
        gauge.inc();
        Self(gauge.clone())
    }
}

impl Drop for OpenConnection {
    fn drop(&mut self) {
        self.0.dec();
    }
}

impl ConnectionMetrics {
    pub(super) fn register(&self, registry: &mut Registry) {
        let metrics = self.clone();
        registry.register("connections", "Connections that are open", metrics.open.family);
        registry.register(
            "tls_handshake_failures",
            "TLS handshakes that came to nothing",
            metrics.handshake_failures.family,
        );
    }
}
