//! The metrics of a whole server: each is served and documented, and moves with what it counts.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail where it stands")]

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use pkdns::{
    config::Config,
    edge::transport::udp,
    program::testnet::{SampleUpstream, sample_keypair, sample_packet},
    server::Server,
};
use pkdns_dht::{
    Evidence, Network, NetworkError,
    signed_packet::{Keypair, PublicKey, SignedPacket},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    sync::mpsc,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// Longest that a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(8);

const NOERROR: u8 = 0;
const FORMERR: u8 = 1;
const NXDOMAIN: u8 = 3;
const REFUSED: u8 = 5;

/// Holds the sample packet, and does not answer for the key of [`slow_keypair`].
struct SampleNetwork;

#[async_trait]
impl Network for SampleNetwork {
    async fn lookup(
        &self,
        key: &PublicKey,
        found: mpsc::UnboundedSender<SignedPacket>,
    ) -> Result<Evidence, NetworkError> {
        let sample = sample_keypair();
        if *key == sample.public_key() {
            let _ = found.send(sample_packet(&sample, 1_700_000_000_000_000).unwrap());
        } else if *key == slow_keypair().public_key() {
            std::future::pending::<()>().await;
        }
        Ok(Evidence { queried: 20, responded: 20, held: 0 })
    }
}

fn slow_keypair() -> Keypair {
    Keypair::from_secret_key(&[9; 32])
}

/// A running server; stops when dropped.
struct Running {
    address: SocketAddr,
    metrics: SocketAddr,
    stop: CancellationToken,
    _upstream: SampleUpstream,
    _packets: TempDir,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Running {
    async fn start(change: impl FnOnce(&mut Config)) -> Self {
        let upstream = SampleUpstream::start().await.unwrap();
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut config = Config {
            listen: vec![any_port],
            fallback_dns: vec![upstream.address().into()],
            ..Config::default()
        };
        config.metrics.listen = vec![any_port];
        let packets = tempfile::tempdir().unwrap();
        config.cache.path = Some(packets.path().into());
        change(&mut config);
        let server = Server::bind_to_network(config, Arc::new(SampleNetwork)).unwrap();
        let (address, metrics) = (server.addresses()[0], server.metrics_addresses()[0]);
        let stop = CancellationToken::new();
        tokio::spawn(server.run(stop.clone()));
        Self { address, metrics, stop, _upstream: upstream, _packets: packets }
    }

    async fn page(&self) -> String {
        let mut stream = TcpStream::connect(self.metrics).await.unwrap();
        stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: pkdns\r\nConnection: close\r\n\r\n").await.unwrap();
        let mut reply = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut reply)).await.unwrap().unwrap();
        let (head, page) = reply.split_once("\r\n\r\n").unwrap();
        assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head}");
        page.to_owned()
    }

    async fn wait_for(&self, series: &str, expected: u64) {
        let reached = async {
            while value(&self.page().await, series) != expected {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE, reached).await.unwrap_or_else(|_| panic!("{series} does not reach {expected}"));
    }

    /// The code of the reply over UDP.
    async fn udp(&self, request: &[u8]) -> Option<u8> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        socket.connect(self.address).await.unwrap();
        socket.send(request).await.unwrap();
        let mut reply = [0; 2048];
        let limit = Duration::from_millis(if request.len() < 12 { 100 } else { 8000 });
        timeout(limit, socket.recv(&mut reply)).await.ok()?.unwrap();
        Some(reply[3] & 0x0f)
    }

    /// The code of the reply over TCP.
    async fn tcp(&self, request: &[u8]) -> u8 {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_u16(request.len() as u16).await.unwrap();
        stream.write_all(request).await.unwrap();
        let size = timeout(PATIENCE, stream.read_u16()).await.unwrap().unwrap();
        let mut reply = vec![0; size.into()];
        stream.read_exact(&mut reply).await.unwrap();
        reply[3] & 0x0f
    }
}

/// A question for the address of a name.
fn query(name: &str) -> Vec<u8> {
    let mut bytes = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        bytes.push(label.len() as u8);
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.extend_from_slice(&[0, 0, 1, 0, 1]);
    bytes
}

fn value(page: &str, series: &str) -> u64 {
    let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{series} is not in\n{page}")).parse().unwrap()
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

#[tokio::test]
async fn counts_move_with_the_queries() {
    let server = Running::start(|_| ()).await;
    let key = sample_keypair().to_z32();
    assert_moved(&server.page().await, "pkdns_queries_total", &[]);
    for _ in 0..3 {
        assert_eq!(server.udp(&query(&key)).await, Some(NOERROR));
    }
    assert_eq!(server.tcp(&query(&key)).await, NOERROR);
    assert_eq!(server.tcp(&query(&format!("nothing-here.{key}"))).await, NXDOMAIN);
    // A question without its type, and bytes without a header.
    let broken = &query("example")[..14];
    assert_eq!(server.udp(broken).await, Some(FORMERR));
    assert_eq!(server.udp(b"scrap").await, None);

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
    let strict = Running::start(|config| {
        (config.rate_limit.requests_per_minute, config.rate_limit.burst_size) = (1, 1);
    })
    .await;
    let request = query(&sample_keypair().to_z32());
    assert_eq!(strict.udp(&request).await, Some(NOERROR));
    // There is no reply to this one.
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    socket.send_to(&request, strict.address).await.unwrap();
    // Streams have a quota of their own.
    assert_eq!([strict.tcp(&request).await, strict.tcp(&request).await], [NOERROR, REFUSED]);
    strict.wait_for("pkdns_queries_unanswered_total{protocol=\"udp\",reason=\"quota\"}", 1).await;
    let refused = "pkdns_queries_total{protocol=\"tcp\",rcode=\"REFUSED\"}";
    assert_eq!(value(&strict.page().await, refused), 1);
}

#[tokio::test]
async fn a_server_that_forwards_to_another_comes_back_to_it_with_its_cookie() {
    let far = Running::start(|_| ()).await;
    let near = Running::start(|config| config.fallback_dns = vec![far.address.into()]).await;
    for number in 0..4 {
        assert!(near.udp(&query(&format!("www{number}.example.com"))).await.is_some());
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
    let server = Running::start(|_| ()).await;
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let request = query(&slow_keypair().to_z32());
    for _ in 0..udp::MAX_WAITING_PER_CLIENT + 10 {
        socket.send_to(&request, server.address).await.unwrap();
    }
    server.wait_for("pkdns_queries_unanswered_total{protocol=\"udp\",reason=\"busy\"}", 10).await;
}

#[tokio::test]
async fn every_metric_is_in_the_operators_manual_and_nothing_else_is() {
    let directory = tempfile::tempdir().unwrap();
    // Some are only there with what they tell of.
    let server = Running::start(|config| {
        config.cache.path = Some(directory.path().join("packets"));
        config.cache.redis = Some("redis://127.0.0.1:9".parse().unwrap());
        config.certificate.path = Some(directory.path().join("certificates"));
        config.certificate.self_signed = true;
        config.dot.enabled = true;
        config.dot.listen = vec![(Ipv4Addr::LOCALHOST, 0).into()];
    })
    .await;
    let page = server.page().await;
    let mut served: Vec<String> = page
        .lines()
        .filter_map(|line| {
            let (name, kind) = line.strip_prefix("# TYPE ")?.split_once(' ')?;
            let suffix = match kind {
                "counter" => "_total",
                "info" => "_info",
                _ => "",
            };
            Some(format!("{name}{suffix}"))
        })
        .collect();
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
    let config = Config { listen: vec![(Ipv4Addr::LOCALHOST, 0).into()], ..Config::default() };
    let server = Server::bind_to_network(config, Arc::new(SampleNetwork)).unwrap();
    assert!(server.metrics_addresses().is_empty());
    assert!(server.metrics().encode().unwrap().contains("pkdns_packets_in_memory 0\n"));
}
