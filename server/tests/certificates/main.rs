//! Certificates where they are shown: files that change, an authority of our own, a real ACME authority.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail where it stands")]

mod acme;
mod files;
mod openssl;
mod tls;

use pkdns::config::Config;
use pkdns_testing::server::TestServer;

/// A server with HTTPS and DNS over TLS.
pub(crate) fn start(change: impl FnOnce(&mut Config)) -> TestServer {
    let limits = |config: &mut Config| {
        config.connections_per_client = 10_000;
        config.rate_limit.requests_per_minute = 0;
    };
    TestServer::builder().plain_http().encrypted().change(limits).change(change).start()
}
