//! The relay as its clients see it: every status and header, over HTTP/1.1 and HTTP/2, at both paths; and that what is
//! published is what the server answers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail where it stands")]

mod asked;
mod browser;
mod client;
mod clients;
mod dht;
mod dht_and_relays;
mod limits;
mod table;
mod world;

use std::time::Duration;

use hickory_proto::{
    op::ResponseCode,
    rr::{RData, RecordType},
};
use http::{Method, Version};
use pkdns::config::Config;
use pkdns_dht::{
    NetworkError,
    signed_packet::{Keypair, SignedPacket},
};
use pkdns_testing::{
    http_client::Reply,
    server::{Builder, TestServer, address, keypair, record, signed},
};
use tokio::time::{sleep, timeout};

pub(crate) const VERSIONS: [Version; 2] = [Version::HTTP_11, Version::HTTP_2];

/// The two ways to ask, and the media type that each gives.
pub(crate) const PATHS: [(&str, &str); 2] =
    [("/", "application/pkarr.org/relays#payload"), ("/pkarr/", "application/x-pkarr-signed-packet")];

/// When most packets of these tests were signed: 14 November 2023, 22:13:20 and half a second, in microseconds.
pub(crate) const SIGNED: u64 = 1_700_000_000_500_000;

/// A whole server that is a relay.
pub(crate) fn start() -> TestServer {
    start_with(|_| ())
}

pub(crate) fn start_with(change: impl FnOnce(&mut Config)) -> TestServer {
    relay().change(change).start()
}

fn relay() -> Builder {
    TestServer::builder().plain_http().change(|config| config.relay.enabled = true)
}

pub(crate) async fn put(server: &TestServer, packet: &SignedPacket) -> Reply {
    let path = format!("/{}", packet.key().to_z32());
    server.request(Version::HTTP_11, Method::PUT, &path, &[], &packet.to_payload()).await
}

pub(crate) async fn get(server: &TestServer, path: &str) -> Reply {
    server.request(Version::HTTP_11, Method::GET, path, &[], &[]).await
}

/// The last octet of the address of `keypair(seed)`.
pub(crate) async fn octet_of(server: &TestServer, seed: u8) -> Option<u8> {
    let answer = server.ask(&keypair(seed).to_z32(), RecordType::A).await;
    match &answer.answers.first()?.data {
        RData::A(address) => Some(address.octets()[3]),
        other => panic!("{other}"),
    }
}

/// A packet of `keypair(seed)` with one address, 192.0.2.`octet`.
pub(crate) fn packet(seed: u8, timestamp: u64, octet: u8) -> SignedPacket {
    with_ttl(&keypair(seed), timestamp, octet, 600)
}

pub(crate) fn with_ttl(owner: &Keypair, timestamp: u64, octet: u8, ttl: u32) -> SignedPacket {
    signed(owner, timestamp, &[record(owner, "", ttl, address(octet))])
}

pub(crate) fn path_of(seed: u8) -> String {
    format!("/{}", keypair(seed).to_z32())
}

#[tokio::test]
async fn what_is_published_is_what_the_server_answers_at_once() {
    let server = start();
    // "Absent" is what is known before, and "192.0.2.1" then.
    assert_eq!(
        server.ask(&keypair(1).to_z32(), RecordType::A).await.metadata.response_code,
        ResponseCode::NXDomain
    );
    for octet in [1, 2] {
        assert_eq!(put(&server, &packet(1, SIGNED + u64::from(octet), octet)).await.status, 204);
        for _ in 0..2 {
            assert_eq!(octet_of(&server, 1).await, Some(octet));
        }
        assert_eq!(
            get(&server, &path_of(1)).await.body,
            packet(1, SIGNED + u64::from(octet), octet).to_payload()
        );
    }
    assert_eq!(server.network.len(), 1);
}

#[tokio::test]
async fn what_the_network_did_not_get_is_not_answered() {
    let server = start();
    server.network.fail(NetworkError::Unreachable);
    assert_eq!(put(&server, &packet(1, SIGNED, 1)).await.status, 500);
    server.network.recover();
    assert_eq!(octet_of(&server, 1).await, None);
}

#[tokio::test]
async fn what_is_published_survives_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let on_disk = |config: &mut Config| config.cache.path = Some(directory.path().into());
    let server = start_with(on_disk);
    assert_eq!(put(&server, &packet(1, SIGNED, 1)).await.status, 204);
    server.stop().await;
    let server = relay().change(on_disk).start();
    let reply = get(&server, &format!("{}?policy=CacheOnly", path_of(1))).await;
    assert_eq!((reply.status, &reply.body[..]), (200, &packet(1, SIGNED, 1).to_payload()[..]));
    assert_eq!(put(&server, &packet(1, SIGNED - 1, 2)).await.status, 409, "older than what was kept");
}

#[tokio::test]
async fn without_the_option_there_is_no_relay() {
    let server = start_with(|config| config.relay.enabled = false);
    for (path, _) in PATHS {
        let path = format!("{path}{}", keypair(1).to_z32());
        for method in [Method::GET, Method::PUT, Method::OPTIONS] {
            assert_eq!(server.request(Version::HTTP_2, method, &path, &[], b"").await.status, 404);
        }
    }
}

#[tokio::test]
async fn the_pages_and_dns_stay_where_they_are() {
    let server = start();
    for (path, text) in [
        ("/", "Names that nobody"),
        ("/favicon.ico", "<svg"),
        ("/robots.txt", "Disallow"),
        ("/pkdns.css", "{"),
        ("/resolve?name=example.com", "192.0.2.53"),
    ] {
        let reply = get(&server, path).await;
        assert_eq!(reply.status, 200, "{path}");
        assert!(reply.text().contains(text), "{path}");
    }
    let missing = get(&server, "/no/such/page").await;
    for path in ["/metrics", "/nothing"] {
        let reply = get(&server, path).await;
        assert_eq!((reply.status, reply.text()), (404, missing.text()), "{path}");
        assert_eq!(reply.header("content-security-policy"), missing.header("content-security-policy"));
    }
}

#[tokio::test]
async fn every_outcome_is_counted() {
    let server = start_with(|config| {
        config.relay.reads_per_minute = 1;
        config.relay.read_burst_size = 6;
        config.relay.writes_per_minute = 1;
        config.relay.write_burst_size = 5;
    });
    let (path, since) = (path_of(1), [("if-modified-since", "Wed, 15 Nov 2023 00:00:00 GMT")]);
    get(&server, &path).await;
    for packet in [packet(1, SIGNED, 1), packet(1, SIGNED - 1, 1)] {
        put(&server, &packet).await;
    }
    server
        .request(
            Version::HTTP_2,
            Method::PUT,
            &path,
            &[("if-match", "1")],
            &packet(1, SIGNED + 1, 1).to_payload(),
        )
        .await;
    server.request(Version::HTTP_2, Method::PUT, &path, &[], b"nothing").await;
    get(&server, &path).await;
    server.request(Version::HTTP_2, Method::GET, &path, &since, b"").await;
    get(&server, &path[..path.len() - 1]).await;
    server.network.fail(NetworkError::Unreachable);
    get(&server, &path_of(2)).await;
    get(&server, &format!("{path}?policy=CacheOnly")).await;
    get(&server, &path).await;
    put(&server, &packet(2, SIGNED, 1)).await;
    put(&server, &packet(2, SIGNED, 1)).await;
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
