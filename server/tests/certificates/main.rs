//! Certificates where they are shown: files that change, an authority of our own, a real ACME authority.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail where it stands")]

mod acme;
mod files;
mod openssl;
mod tls;

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use pkdns::{config::Config, server::Server};
use pkdns_testing::common::{HeldNetwork, Upstream};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use tokio_util::sync::CancellationToken;

/// A server with HTTPS and DNS over TLS.
pub(crate) struct Running {
    pub(crate) https: SocketAddr,
    pub(crate) dot: SocketAddr,
    pub(crate) http: SocketAddr,
    stop: CancellationToken,
    _upstream: Upstream,
}

impl Running {
    pub(crate) async fn start(change: impl FnOnce(&mut Config)) -> Self {
        let upstream = Upstream::plain().await;
        let any: SocketAddr = (Ipv4Addr::LOCALHOST, 0).into();
        let mut config =
            Config { listen: vec![any], fallback_dns: vec![upstream.address.into()], ..Config::default() };
        config.doh.enabled = true;
        config.doh.listen = vec![any];
        config.doh.plain_listen = vec![any];
        config.connections_per_client = 10_000;
        config.rate_limit.requests_per_minute = 0;
        config.dot.enabled = true;
        config.dot.listen = vec![any];
        change(&mut config);
        let server = Server::bind_to_network(config, Arc::new(HeldNetwork::default())).unwrap();
        let (https, dot, http) =
            (server.https_addresses()[0], server.tls_addresses()[0], server.http_addresses()[0]);
        let stop = CancellationToken::new();
        tokio::spawn(server.run(stop.clone()));
        Self { https, dot, http, stop, _upstream: upstream }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// An authority of the test.
pub(crate) struct Authority {
    pub(crate) pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::default();
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = parameters.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(parameters, key) }
    }

    /// A certificate for loopback and its key, PEM.
    pub(crate) fn issue(&self) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }
}
