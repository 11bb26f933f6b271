//! What connections over HTTP may take.

use std::time::Duration;

use crate::{base::access::Forwarders, edge::held::Budget};

/// What connections may take.
#[derive(Debug, Clone)]
pub struct Limits {
    /// Connections in all of clients that are served. One more is closed at once.
    pub connections: usize,
    /// Connections per client. With one more its longest silent one is closed.
    pub connections_per_client: usize,
    /// How long what comes before the first request may take: the word of a proxy, the handshake of TLS, the first
    /// bytes of HTTP.
    pub opening: Duration,
    /// How long the head of an HTTP/1.1 request may take from its first byte.
    pub head: Duration,
    /// How long an HTTP/1.1 connection is kept without a request: longer than the 60 s for which proxies keep their
    /// connections to us, or a request crosses our end of it.
    pub keep_alive: Duration,
    /// How long a connection is kept without a request, whatever it speaks.
    pub idle: Duration,
    /// The same while over three quarters of the connections are taken.
    pub idle_when_crowded: Duration,
    /// How long a request may take from its head to the last byte of its response. Above what an answer takes
    /// ([`crate::resolver::DEADLINE`]) by what a slow client takes.
    pub request: Duration,
    /// Requests at once on an HTTP/2 connection.
    pub streams: u32,
    /// Lookups that may run at once over all connections.
    pub lookups: usize,
    /// Lookups that may run at once for one client.
    pub lookups_per_client: usize,
    /// What responses that wait to be read and bodies of requests may take.
    pub unread: Budget,
    /// Who counts as many clients.
    pub forwarders: Forwarders,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            connections: 20_000,
            connections_per_client: 100,
            opening: Duration::from_secs(5),
            head: Duration::from_secs(10),
            keep_alive: Duration::from_secs(75),
            idle: Duration::from_secs(120),
            idle_when_crowded: Duration::from_secs(10),
            request: Duration::from_secs(15),
            streams: 128,
            lookups: 4096,
            lookups_per_client: 2048,
            unread: Budget::default(),
            forwarders: Forwarders::default(),
        }
    }
}

impl Limits {
    /// For pages that few people look at, and seldom.
    pub fn for_metrics() -> Self {
        Self {
            connections: 64,
            connections_per_client: 16,
            keep_alive: Duration::from_secs(10),
            idle: Duration::from_secs(10),
            streams: 16,
            ..Self::default()
        }
    }
}
