//! The relay as its clients see it: every status and header, over HTTP/1.1 and HTTP/2, at both paths; and that what is
//! published is what the server answers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail where it stands")]

mod browser;
mod clients;
mod dht;
mod limits;
mod table;
mod world;

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{RData, RecordType, rdata::A},
};
use http::{Method, Request, Version};
use pkdns::{
    config::Config,
    server::{Server, StartError},
};
use pkdns_dht::{
    NetworkError,
    signed_packet::{Keypair, SignedPacket},
};
use pkdns_testing::{
    common::{HeldNetwork, Upstream, keypair, packet_message, query, record},
    http_client::{Reply, ask},
};
use tokio::{
    net::UdpSocket,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

pub(crate) const VERSIONS: [Version; 2] = [Version::HTTP_11, Version::HTTP_2];

/// The two ways to ask, and the media type that each gives.
pub(crate) const PATHS: [(&str, &str); 2] =
    [("/", "application/pkarr.org/relays#payload"), ("/pkarr/", "application/x-pkarr-signed-packet")];

/// When most packets of these tests were signed: 14 November 2023, 22:13:20 and half a second, in microseconds.
pub(crate) const SIGNED: u64 = 1_700_000_000_500_000;

/// A whole server that is a relay. Stops when dropped.
pub(crate) struct Running {
    pub(crate) http: SocketAddr,
    pub(crate) dns: SocketAddr,
    pub(crate) network: Arc<HeldNetwork>,
    pub(crate) metrics: pkdns::metrics::Metrics,
    stop: CancellationToken,
    _upstream: Upstream,
}

impl Running {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| ()).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        Self::try_start_with(change).await.unwrap()
    }

    async fn try_start_with(change: impl FnOnce(&mut Config)) -> Result<Self, StartError> {
        let upstream = Upstream::plain().await;
        let any = (Ipv4Addr::LOCALHOST, 0).into();
        let mut config =
            Config { listen: vec![any], fallback_dns: vec![upstream.address.into()], ..Config::default() };
        config.doh.plain_listen = vec![any];
        config.relay.enabled = true;
        change(&mut config);
        let network = Arc::new(HeldNetwork::default());
        let server = Server::bind_to_network(config, network.clone())?;
        let (http, dns) = (server.http_addresses()[0], server.addresses()[0]);
        let (metrics, stop) = (server.metrics().clone(), CancellationToken::new());
        tokio::spawn(server.run(stop.clone()));
        Ok(Self { http, dns, network, metrics, stop, _upstream: upstream })
    }

    pub(crate) async fn send(
        &self,
        version: Version,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Reply {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        ask(self.http, version, request.body(Bytes::copy_from_slice(body)).unwrap()).await
    }

    pub(crate) async fn put(&self, packet: &SignedPacket) -> Reply {
        let path = format!("/{}", packet.key().to_z32());
        self.send(Version::HTTP_11, Method::PUT, &path, &[], &payload(packet)).await
    }

    pub(crate) async fn get(&self, path: &str) -> Reply {
        self.send(Version::HTTP_11, Method::GET, path, &[], &[]).await
    }

    /// What the server answers over UDP for the address of a key.
    pub(crate) async fn resolve(&self, name: &str, record_type: RecordType) -> Message {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        socket.send_to(&query(name, record_type), self.dns).await.unwrap();
        let mut reply = [0; 2048];
        let size = socket.recv(&mut reply).await.unwrap();
        Message::from_vec(&reply[..size]).unwrap()
    }

    /// The last octet of the address of `keypair(seed)`.
    pub(crate) async fn address(&self, seed: u8) -> Option<u8> {
        let answer = self.resolve(&keypair(seed).to_z32(), RecordType::A).await;
        match &answer.answers.first()?.data {
            RData::A(address) => Some(address.octets()[3]),
            other => panic!("{other}"),
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// A packet of `keypair(seed)` with one address, 192.0.2.`octet`.
pub(crate) fn packet(seed: u8, timestamp: u64, octet: u8) -> SignedPacket {
    with_ttl(&keypair(seed), timestamp, octet, 600)
}

pub(crate) fn with_ttl(owner: &Keypair, timestamp: u64, octet: u8, ttl: u32) -> SignedPacket {
    let dns = packet_message(&[record(owner, "", ttl, RData::A(A::new(192, 0, 2, octet)))]);
    SignedPacket::sign(owner, timestamp, &dns).unwrap()
}

/// A packet as it travels.
pub(crate) fn payload(packet: &SignedPacket) -> Vec<u8> {
    [packet.signature().as_slice(), &packet.timestamp().to_be_bytes(), packet.dns()].concat()
}

pub(crate) fn path_of(seed: u8) -> String {
    format!("/{}", keypair(seed).to_z32())
}

#[tokio::test]
async fn what_is_published_is_what_the_server_answers_at_once() {
    let server = Running::start().await;
    // "Absent" is what is known before, and "192.0.2.1" then.
    assert_eq!(
        server.resolve(&keypair(1).to_z32(), RecordType::A).await.metadata.response_code,
        ResponseCode::NXDomain
    );
    for octet in [1, 2] {
        assert_eq!(server.put(&packet(1, SIGNED + u64::from(octet), octet)).await.status, 204);
        for _ in 0..2 {
            assert_eq!(server.address(1).await, Some(octet));
        }
        assert_eq!(server.get(&path_of(1)).await.body, payload(&packet(1, SIGNED + u64::from(octet), octet)));
    }
    assert_eq!(server.network.packets.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn what_the_network_did_not_get_is_not_answered() {
    let server = Running::start().await;
    *server.network.failure.lock().unwrap() = Some(NetworkError::Unreachable);
    assert_eq!(server.put(&packet(1, SIGNED, 1)).await.status, 500);
    *server.network.failure.lock().unwrap() = None;
    assert_eq!(server.address(1).await, None);
}

#[tokio::test]
async fn what_is_published_survives_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let on_disk = |config: &mut Config| config.cache.path = Some(directory.path().into());
    let server = Running::start_with(on_disk).await;
    assert_eq!(server.put(&packet(1, SIGNED, 1)).await.status, 204);
    drop(server);
    // The directory is free when the first server has ended.
    let again = async {
        loop {
            match Running::try_start_with(on_disk).await {
                Ok(server) => return server,
                Err(_) => sleep(Duration::from_millis(20)).await,
            }
        }
    };
    let server = timeout(Duration::from_secs(20), again).await.expect("it starts again");
    let reply = server.get(&format!("{}?policy=CacheOnly", path_of(1))).await;
    assert_eq!((reply.status, &reply.body[..]), (200, &payload(&packet(1, SIGNED, 1))[..]));
    assert_eq!(server.put(&packet(1, SIGNED - 1, 2)).await.status, 409, "older than what was kept");
}

#[tokio::test]
async fn without_the_option_there_is_no_relay() {
    let server = Running::start_with(|config| config.relay.enabled = false).await;
    for (path, _) in PATHS {
        let path = format!("{path}{}", keypair(1).to_z32());
        for method in [Method::GET, Method::PUT, Method::OPTIONS] {
            assert_eq!(server.send(Version::HTTP_2, method, &path, &[], b"").await.status, 404);
        }
    }
}

#[tokio::test]
async fn the_pages_and_dns_stay_where_they_are() {
    let server = Running::start().await;
    for (path, text) in [
        ("/", "Names that nobody"),
        ("/favicon.ico", "<svg"),
        ("/robots.txt", "Disallow"),
        ("/pkdns.css", "{"),
        ("/resolve?name=example.com", "192.0.2.53"),
    ] {
        let reply = server.get(path).await;
        assert_eq!(reply.status, 200, "{path}");
        assert!(reply.text().contains(text), "{path}");
    }
    let missing = server.get("/no/such/page").await;
    for path in ["/metrics", "/nothing"] {
        let reply = server.get(path).await;
        assert_eq!((reply.status, reply.text()), (404, missing.text()), "{path}");
        assert_eq!(reply.header("content-security-policy"), missing.header("content-security-policy"));
    }
}

#[tokio::test]
async fn every_outcome_is_counted() {
    let server = Running::start_with(|config| {
        config.relay.reads_per_minute = 1;
        config.relay.read_burst_size = 6;
        config.relay.writes_per_minute = 1;
        config.relay.write_burst_size = 5;
    })
    .await;
    let (path, since) = (path_of(1), [("if-modified-since", "Wed, 15 Nov 2023 00:00:00 GMT")]);
    server.get(&path).await;
    for packet in [packet(1, SIGNED, 1), packet(1, SIGNED - 1, 1)] {
        server.put(&packet).await;
    }
    server
        .send(Version::HTTP_2, Method::PUT, &path, &[("if-match", "1")], &payload(&packet(1, SIGNED + 1, 1)))
        .await;
    server.send(Version::HTTP_2, Method::PUT, &path, &[], b"nothing").await;
    server.get(&path).await;
    server.send(Version::HTTP_2, Method::GET, &path, &since, b"").await;
    server.get(&path[..path.len() - 1]).await;
    *server.network.failure.lock().unwrap() = Some(NetworkError::Unreachable);
    server.get(&path_of(2)).await;
    server.get(&format!("{path}?policy=CacheOnly")).await;
    server.get(&path).await;
    server.put(&packet(2, SIGNED, 1)).await;
    server.put(&packet(2, SIGNED, 1)).await;
    let page = server.metrics.encode().unwrap();
    for (kind, outcome, count) in [
        ("reads", "found", 2),
        ("reads", "not_modified", 1),
        ("reads", "absent", 1),
        ("reads", "invalid", 1),
        ("reads", "unavailable", 1),
        ("reads", "quota", 1),
        ("writes", "stored", 1),
        ("writes", "not_most_recent", 1),
        ("writes", "cas_failed", 1),
        ("writes", "invalid", 1),
        ("writes", "unavailable", 1),
        ("writes", "quota", 1),
        ("writes", "busy", 0),
    ] {
        let series = format!("pkdns_relay_{kind}_total{{outcome=\"{outcome}\"}} {count}\n");
        assert!(page.contains(&series), "{series} is not in\n{page}");
    }
}
