//! A server that is looked at.

use std::{
    net::SocketAddr,
    ops::Deref,
    path::{Path, PathBuf},
};

use hickory_proto::rr::RecordType;
use http::{Method, Version};
use pkdns::{
    config::Config,
    edge::status::{Status, ask},
};
use pkdns_testing::{
    server::{Builder, TestServer, Upstream, any_port, http_request, sample_network},
    wait::eventually,
};
use tokio::task::spawn_blocking;

/// A server that has all that can be told of, and the socket for its status.
pub(crate) struct Seen {
    server: TestServer,
    pub(crate) socket: PathBuf,
}

impl Deref for Seen {
    type Target = TestServer;

    fn deref(&self) -> &TestServer {
        &self.server
    }
}

impl Seen {
    /// With packets from a network that holds one.
    pub(crate) fn start(upstreams: &[&Upstream], change: impl FnOnce(&mut Config)) -> Self {
        Self::build(TestServer::builder().network(sample_network()), upstreams, change)
    }

    /// With a client of the DHT that is reached through `bootstrap`.
    pub(crate) fn start_in_dht(upstreams: &[&Upstream], bootstrap: Vec<String>) -> Self {
        Self::build(TestServer::builder().in_dht(bootstrap), upstreams, |_| ())
    }

    fn build(builder: Builder, upstreams: &[&Upstream], change: impl FnOnce(&mut Config)) -> Self {
        let directory = builder.directory.path().to_owned();
        let socket = directory.join("status.sock");
        let usual = |config: &mut Config| {
            config.fallback_dns = upstreams.iter().map(|upstream| upstream.address.into()).collect();
            config.metrics.listen = vec![any_port()];
            config.status.path = Some(socket.clone());
            config.certificate.path = Some(directory.join("certificates"));
            config.cache.path = Some(directory.join("packets"));
        };
        Self { server: builder.plain_http().change(usual).change(change).start(), socket }
    }

    /// Status and body.
    pub(crate) async fn get(&self, address: SocketAddr, path: &str) -> (u16, String) {
        self.get_as(address, path, "pkdns", "*/*").await
    }

    pub(crate) async fn get_as(
        &self,
        address: SocketAddr,
        path: &str,
        host: &str,
        accept: &str,
    ) -> (u16, String) {
        let headers = [("host", host), ("accept", accept)];
        let reply = http_request(address, Version::HTTP_11, Method::GET, path, &headers, &[]).await;
        (reply.status, reply.text())
    }

    /// Waits until a page says what it should.
    pub(crate) async fn wait_for(&self, address: SocketAddr, path: &str, expected: &str) {
        eventually(expected, async || self.get(address, path).await.1.contains(expected)).await;
    }

    pub(crate) async fn wait_until_ready(&self, address: SocketAddr, path: &str) {
        eventually("it is ready", async || self.get(address, path).await.0 == 200).await;
    }

    /// What `pkdns status` gets to see.
    pub(crate) async fn status(&self) -> Status {
        status(&self.socket).await
    }

    /// Asks for the address of a name over UDP. Returns the code of the answer.
    pub(crate) async fn code(&self, name: &str) -> u8 {
        self.ask(name, RecordType::A).await.metadata.response_code.low()
    }

    pub(crate) async fn stop(self) {
        self.server.stop().await;
    }
}

/// The status that is told at a socket.
pub(crate) async fn status(socket: &Path) -> Status {
    let mut status = None;
    let is_told = async || {
        let socket = socket.to_owned();
        status = spawn_blocking(move || ask(&socket)).await.unwrap().ok();
        status.is_some()
    };
    eventually("a status", is_told).await;
    status.unwrap().1
}

/// One that has all that can be told of: encryption, a disk, a Redis (which is not there) and an upstream.
pub(crate) fn with_everything() -> Seen {
    let upstream = Upstream::denying();
    let builder = TestServer::builder().network(sample_network()).self_signed();
    Seen::build(builder, &[&upstream], |config| {
        config.dot.enabled = true;
        config.dot.listen = vec![any_port()];
        config.certificate.names = vec!["dns.example".into()];
        config.cache.redis = Some("redis://127.0.0.1:9".parse().unwrap());
    })
}
