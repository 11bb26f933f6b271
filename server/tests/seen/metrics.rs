//! Metrics of the service: they move with what they count.

use pkdns::program::testnet::sample_keypair;
use pkdns_testing::server::{self, Upstream, keypair};
use tokio::{io::AsyncWriteExt, net::TcpStream};

use crate::server::{Seen, with_everything};

fn value(page: &str, series: &str) -> f64 {
    server::value(page, series).unwrap_or_else(|| panic!("{series} is not in\n{page}"))
}

#[tokio::test]
async fn answers_are_timed_by_where_they_come_from() {
    let upstream = Upstream::denying();
    let server = Seen::start(&[&upstream], |_| ());
    let key = sample_keypair().to_z32();
    // Searched for, then in memory under another name, then in the answer cache.
    for name in [&key, &format!("www.{key}"), &key, "localhost", "example.com", "example.com"] {
        server.code(name).await;
    }
    let page = server.get(server.pages(), "/metrics").await.1;
    let count = |source| value(&page, &format!("pkdns_answer_seconds_count{{source=\"{source}\"}}"));
    for (source, expected) in [
        ("dht", 1.0),
        ("memory", 1.0),
        ("answer_cache", 2.0),
        ("local", 1.0),
        ("upstream", 1.0),
        ("disk", 0.0),
        ("stale", 0.0),
    ] {
        assert_eq!(count(source), expected, "{source} in\n{page}");
    }
}

#[tokio::test]
async fn a_packet_that_has_outlived_a_restart_comes_from_the_disk() {
    let directory = tempfile::tempdir().unwrap();
    let upstream = Upstream::denying();
    let key = sample_keypair().to_z32();
    for source in ["dht", "disk"] {
        let server = Seen::start(&[&upstream], |config| config.cache.path = Some(directory.path().into()));
        server.code(&key).await;
        let page = server.get(server.pages(), "/metrics").await.1;
        let series = format!("pkdns_answer_seconds_count{{source=\"{source}\"}}");
        assert_eq!(value(&page, &series), 1.0, "{source} in\n{page}");
        server.stop().await;
    }
}

#[tokio::test]
async fn questions_to_upstreams_are_counted_by_upstream() {
    let (silent, upstream) = (crate::health::silent(), Upstream::denying());
    let server = Seen::start(&[&silent, &upstream], |_| ());
    assert_eq!(server.code("example.com").await, 3);
    let series = |outcome: &str, upstream: &Upstream| {
        let address = upstream.address;
        format!("pkdns_upstream_requests_total{{outcome=\"{outcome}\",upstream=\"{address}\",zone=\".\"}}")
    };
    let page = server.get(server.pages(), "/metrics").await.1;
    assert!(value(&page, &series("answered", &upstream)) >= 1.0, "{page}");
    assert!(value(&page, &series("unanswered", &silent)) >= 1.0, "{page}");
    assert_eq!(value(&page, &series("answered", &silent)), 0.0);
    let of = |name: &str| format!("{name}{{upstream=\"{}\",zone=\".\"}}", upstream.address);
    assert!(value(&page, &of("pkdns_upstream_seconds_count")) >= 1.0, "{page}");
    assert_eq!(value(&page, &of("pkdns_upstream_in_use")), 1.0, "{page}");
    for number in 0..3 {
        server.code(&format!("more{number}.example.com")).await;
    }
    let silent = format!("pkdns_upstream_in_use{{upstream=\"{}\",zone=\".\"}} 0", silent.address);
    server.wait_for(server.pages(), "/metrics", &silent).await;
}

#[tokio::test]
async fn connections_are_counted_while_they_are_open_and_handshakes_that_come_to_nothing() {
    let server = with_everything();
    let open = |kind: &str, count: u8| format!("pkdns_connections{{kind=\"{kind}\"}} {count}\n");
    let failed = |reason: &str, count: u8| {
        format!("pkdns_tls_handshake_failures_total{{reason=\"{reason}\"}} {count}\n")
    };
    let tcp = TcpStream::connect(server.address).await.unwrap();
    let mut tls = TcpStream::connect(server.tls()).await.unwrap();
    server.wait_for(server.pages(), "/metrics", &open("tcp", 1)).await;
    server.wait_for(server.pages(), "/metrics", &open("tls", 1)).await;
    drop(tcp);
    server.wait_for(server.pages(), "/metrics", &open("tcp", 0)).await;
    tls.write_all(b"GET / HTTP/1.0\r\n\r\n").await.unwrap();
    server.wait_for(server.pages(), "/metrics", &failed("not_tls", 1)).await;
    drop(TcpStream::connect(server.tls()).await.unwrap());
    server.wait_for(server.pages(), "/metrics", &failed("closed", 1)).await;
    server.wait_for(server.pages(), "/metrics", &open("tls", 0)).await;
    // This page itself comes over one.
    assert_eq!(
        value(&server.get(server.pages(), "/metrics").await.1, "pkdns_connections{kind=\"http\"}"),
        1.0
    );
}

#[tokio::test]
async fn the_end_of_a_certificate_and_stores_that_fail_are_seen() {
    let server = with_everything();
    let page = server.get(server.pages(), "/metrics").await.1;
    let ends = value(&page, "pkdns_certificate_expires_timestamp_seconds{names=\"dns.example\"}");
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs_f64();
    assert!((ends - now) / 86_400.0 > 80.0, "{ends}");
    assert_eq!(value(&page, "pkdns_disk_failed"), 0.0);
    // A Redis that is not there is asked three times before it is given up.
    for number in 0..20 {
        server.code(&format!("{number}.{}", keypair(number).to_z32())).await;
    }
    server.wait_for(server.pages(), "/metrics", "pkdns_shared_failed 1\n").await;
    assert!(value(&page, "process_resident_memory_bytes") > 1e6, "{page}");
    assert!(value(&page, "process_open_fds") < value(&page, "process_max_fds"), "{page}");
}
