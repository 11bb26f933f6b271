//! The metrics of a whole server: each is served and documented, and moves with what it counts.

use std::{net::Ipv4Addr, path::Path};

use hickory_proto::rr::RecordType;
use pkdns::{config::Config, edge::transport::udp::MAX_WAITING_PER_CLIENT, program::testnet::sample_keypair};
use pkdns_dht::{signed_packet::Keypair, testing::FakeNetwork};
use pkdns_testing::{
    server::{self, TestServer, any_port, keypair, sample_network},
    wait::eventually,
};
use tokio::net::UdpSocket;

const NOERROR: u8 = 0;
const FORMERR: u8 = 1;
const NXDOMAIN: u8 = 3;
const REFUSED: u8 = 5;

/// Holds the sample packet, and does not answer for the key of [`slow_keypair`].
fn network() -> FakeNetwork {
    let network = sample_network();
    network.hold_key(&slow_keypair().public_key());
    network
}

fn slow_keypair() -> Keypair {
    keypair(9)
}

fn start(change: impl FnOnce(&mut Config)) -> TestServer {
    let builder = TestServer::builder().network(network());
    let packets = builder.directory.path().join("packets");
    let usual = |config: &mut Config| {
        config.metrics.listen = vec![any_port()];
        config.cache.path = Some(packets);
    };
    builder.change(usual).change(change).start()
}

async fn wait_for(server: &TestServer, series: &str, expected: u64) {
    eventually(series, async || value(&server.page().await, series) == expected).await;
}

/// The code of the reply over UDP.
async fn udp(server: &TestServer, request: &[u8]) -> u8 {
    server.send(request).await[3] & 0x0f
}

/// The code of the reply over TCP.
async fn tcp(server: &TestServer, request: &[u8]) -> u8 {
    server.send_tcp(request).await[3] & 0x0f
}

/// A question for the address of a name.
fn query(name: &str) -> Vec<u8> {
    server::query(name, RecordType::A)
}

fn value(page: &str, series: &str) -> u64 {
    let value = server::value(page, series);
    value.unwrap_or_else(|| panic!("{series} is not in\n{page}")) as u64
}

/// Checks the series that have moved; the others, with the same first part of the name, must be at zero.
fn assert_moved(page: &str, family: &str, moved: &[(&str, u64)]) {
    for (labels, expected) in moved {
        assert_eq!(value(page, &format!("{family}{labels}")), *expected, "{family}{labels} in\n{page}");
    }
    let sum: u64 = page
        .lines()
        .filter(|line| line.starts_with(&format!("{family}{{")))
        .map(|line| line.rsplit_once(' ').unwrap().1.parse::<u64>().unwrap())
        .sum();
    assert_eq!(sum, moved.iter().map(|(_, expected)| expected).sum::<u64>(), "{page}");
}

/// The names of all metrics on a page.
pub(crate) fn served(page: &str) -> Vec<String> {
    let name = |line: &str| {
        let (name, kind) = line.strip_prefix("# TYPE ")?.split_once(' ')?;
        let suffix = match kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        Some(format!("{name}{suffix}"))
    };
    page.lines().filter_map(name).collect()
}

#[tokio::test]
async fn counts_move_with_the_queries() {
    let server = start(|_| ());
    let key = sample_keypair().to_z32();
    assert_moved(&server.page().await, "pkdns_queries_total", &[]);
    for _ in 0..3 {
        assert_eq!(udp(&server, &query(&key)).await, NOERROR);
    }
    assert_eq!(tcp(&server, &query(&key)).await, NOERROR);
    assert_eq!(tcp(&server, &query(&format!("nothing-here.{key}"))).await, NXDOMAIN);
    // A question without its type, and bytes without a header.
    let broken = &query("example")[..14];
    assert_eq!(udp(&server, broken).await, FORMERR);
    assert!(!server.replies_to(b"scrap").await);

    let page = server.page().await;
    assert_moved(
        &page,
        "pkdns_queries_total",
        &[
            ("{protocol=\"udp\",rcode=\"NOERROR\"}", 3),
            ("{protocol=\"udp\",rcode=\"FORMERR\"}", 1),
            ("{protocol=\"tcp\",rcode=\"NOERROR\"}", 1),
            ("{protocol=\"tcp\",rcode=\"NXDOMAIN\"}", 1),
        ],
    );
    assert_moved(&page, "pkdns_queries_unanswered_total", &[("{protocol=\"udp\",reason=\"malformed\"}", 1)]);
    assert_moved(
        &page,
        "pkdns_answer_cache_lookups_total",
        &[("{result=\"hit\"}", 3), ("{result=\"miss\"}", 2)],
    );
    assert_eq!(value(&page, "pkdns_packets_in_memory"), 1);
}

#[tokio::test]
async fn what_quota_and_access_keep_away_is_counted() {
    let strict = start(|config| {
        (config.rate_limit.requests_per_minute, config.rate_limit.burst_size) = (1, 1);
    });
    let request = query(&sample_keypair().to_z32());
    assert_eq!(udp(&strict, &request).await, NOERROR);
    // There is no reply to this one.
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    socket.send_to(&request, strict.address).await.unwrap();
    // Streams have a quota of their own.
    assert_eq!([tcp(&strict, &request).await, tcp(&strict, &request).await], [NOERROR, REFUSED]);
    wait_for(&strict, "pkdns_queries_unanswered_total{protocol=\"udp\",reason=\"quota\"}", 1).await;
    let refused = "pkdns_queries_total{protocol=\"tcp\",rcode=\"REFUSED\"}";
    assert_eq!(value(&strict.page().await, refused), 1);
}

#[tokio::test]
async fn a_server_that_forwards_to_another_comes_back_to_it_with_its_cookie() {
    let far = start(|_| ());
    let near = start(|config| config.fallback_dns = vec![far.address.into()]);
    for number in 0..4 {
        udp(&near, &query(&format!("www{number}.example.com"))).await;
    }
    let page = far.page().await;
    let cookies = |kind| value(&page, &format!("pkdns_udp_cookies_total{{cookie=\"{kind}\"}}"));
    // The question by which loops are looked for may come before the first of these, or beside it.
    assert!(cookies("new") >= 1 && cookies("valid") >= 3, "{page}");
    assert_eq!((cookies("none"), cookies("invalid")), (0, 0), "{page}");
    // Nothing had to be settled over TCP.
    assert_moved(&page, "pkdns_queries_total{protocol=\"tcp\"", &[]);
}

#[tokio::test]
async fn queries_beyond_what_one_client_may_wait_for_are_counted() {
    let server = start(|_| ());
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let request = query(&slow_keypair().to_z32());
    for _ in 0..MAX_WAITING_PER_CLIENT + 10 {
        socket.send_to(&request, server.address).await.unwrap();
    }
    wait_for(&server, "pkdns_queries_unanswered_total{protocol=\"udp\",reason=\"busy\"}", 10).await;
}

#[tokio::test]
async fn every_metric_is_in_the_operators_manual_and_nothing_else_is() {
    let directory = tempfile::tempdir().unwrap();
    // Some are only there with what they tell of.
    let server = start(|config| {
        config.cache.path = Some(directory.path().join("packets"));
        config.cache.redis = Some("redis://127.0.0.1:9".parse().unwrap());
        config.certificate.path = Some(directory.path().join("certificates"));
        config.certificate.self_signed = true;
        config.dot.enabled = true;
        config.dot.listen = vec![any_port()];
    });
    let page = server.page().await;
    let mut served = served(&page);
    let manual =
        std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operating.md")).unwrap();
    let (_, section) = manual.split_once("\n## Metrics\n").unwrap();
    let section = section.split_once("\n## ").unwrap().0;
    let mut documented: Vec<String> = section
        .lines()
        .filter_map(|line| Some(line.strip_prefix("| `")?.split_once(['`', '{'])?.0))
        .filter(|name| name.starts_with("pkdns_") || name.starts_with("process_"))
        .map(String::from)
        .collect();
    served.sort();
    documented.sort();
    assert!(served.len() > 20, "{served:?}");
    assert_eq!(served, documented);
    for line in section.lines().filter(|line| line.starts_with("| `pkdns_")) {
        for label in line.split('`').filter(|text| text.contains('=')) {
            assert!(page.contains(label), "{label} is not in\n{page}");
        }
    }
}

#[tokio::test]
async fn metrics_are_counted_but_not_served_unless_configured() {
    let server = TestServer::start();
    assert!(server.listening.iter().all(|(protocol, _)| *protocol != "metrics"));
    assert!(server.metrics.encode().unwrap().contains("pkdns_packets_in_memory 0\n"));
}
