//! A server that notes its queries, and those who ask it.

use std::{fs, ops::Deref, path::Path};

use hickory_proto::rr::RecordType;
use http::StatusCode;
use pkdns::{
    config::Config,
    message::Reply,
    program::testnet::SampleUpstream,
    service::{Client, Respond, Transport},
};
use pkdns_testing::{
    server::{self, TestServer, keypair, sample_network},
    wait::eventually,
};
use tokio::time::Instant;

/// A running server, which can be asked about the sample key and not about that of seed 9.
pub(crate) struct Logging {
    server: TestServer,
    _upstream: SampleUpstream,
}

impl Deref for Logging {
    type Target = TestServer;

    fn deref(&self) -> &TestServer {
        &self.server
    }
}

impl Logging {
    pub(crate) async fn start(change: impl FnOnce(&mut Config)) -> Self {
        let upstream = SampleUpstream::start().await.unwrap();
        let network = sample_network();
        network.cut_off(&keypair(9).public_key());
        let fallback = |config: &mut Config| config.fallback_dns = vec![upstream.address().into()];
        let server = TestServer::builder().plain_http().network(network).change(fallback).change(change);
        Self { server: server.start(), _upstream: upstream }
    }

    /// Asks over HTTP. Returns the status.
    pub(crate) async fn http(&self, request: &[u8]) -> StatusCode {
        StatusCode::from_u16(self.post(request).await.status).unwrap()
    }

    /// Asks as if over TLS.
    pub(crate) fn ask_over_tls(&self, request: &[u8]) {
        let reply = Reply::Stream { idle_timeout: None, is_encrypted: true };
        let address = "fd00:1:2:3:4:5:6:7".parse().unwrap();
        let client = Client { address, transport: Transport::Tls, reply, now: Instant::now() };
        self.service.at_once(request, client, &mut Vec::new());
    }

    /// Records of queries that were left out.
    pub(crate) fn dropped(&self) -> u64 {
        let dropped = &self.metrics.logs.dropped;
        dropped.query_log.get() + dropped.dnstap.get()
    }

    pub(crate) async fn stop(self) {
        self.server.stop().await;
    }
}

/// A question for the address of a name.
pub(crate) fn query(name: &str) -> Vec<u8> {
    server::query(name, RecordType::A)
}

/// The lines of a file, once there are so many.
pub(crate) async fn lines(path: &Path, count: usize) -> Vec<String> {
    let read = || fs::read_to_string(path).unwrap_or_default();
    let are_there = async || read().lines().count() >= count && read().ends_with('\n');
    eventually("lines", are_there).await;
    read().lines().map(String::from).collect()
}
