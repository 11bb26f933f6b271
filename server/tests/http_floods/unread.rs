//! Clients that ask and do not read, or send bodies without end: each holds its share of what may be held and no more,
//! others are served meanwhile, and afterwards all of it is given back.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use hickory_proto::rr::{RData, Record, rdata::TXT};
use pkdns::metrics::{Metrics, Reason};
use pkdns_testing::{server::Upstream, tls_client::trusting_anyone, wait::eventually};
use tokio::{io::AsyncWrite, time::sleep};

use super::*;

/// What may be held in all, and what one client comes to.
const MEGABYTES: u64 = 4;
const SHARE: usize = (MEGABYTES << 20) as usize / 4;

/// Others ask one question at a time meanwhile, and have leave for the largest form of its answer and for a request.
const OF_OTHERS: usize = 64 << 10;

/// Whoever does not read. Others ask from 127.0.0.1.
const FLOODER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

const CONNECTIONS: usize = 100;

/// What one is for that reads nothing, sends all it likes, and is kept open.
type Idle = Box<dyn AsyncWrite + Send + Unpin>;

/// An upstream whose answers are cut over UDP, and over TCP have texts of 60 kB below `big.example`, and of 3 kB, which
/// are kept, elsewhere.
async fn start_upstream() -> Upstream {
    Upstream::start_over_tcp(|query, response| {
        let name = query.queries[0].name();
        let texts = if name.to_ascii().starts_with("big") { 240 } else { 12 };
        for number in 0..texts {
            // Each byte of it is four characters of JSON and more.
            let text = TXT::from_bytes(vec![format!("{number:0>3}{}", "\u{1}".repeat(237)).as_bytes()]);
            response.add_answer(Record::from_rdata(name.clone(), 300, RData::TXT(text)));
        }
    })
    .await
}

/// A server under watch: the most that was held at any time.
struct Watched {
    server: TestServer,
    most: Arc<AtomicUsize>,
    _directory: tempfile::TempDir,
}

impl Watched {
    async fn start(change: impl FnOnce(&mut Config)) -> Self {
        let upstream = start_upstream().await;
        let directory = tempfile::tempdir().unwrap();
        let server = start_with(|config| {
            config.fallback_dns = vec![upstream.address.into()];
            config.memory.unread_megabytes = Some(MEGABYTES);
            config.rate_limit.requests_per_minute = 0;
            config.dot.enabled = true;
            config.dot.listen = vec![(Ipv4Addr::LOCALHOST, 0).into()];
            config.certificate.self_signed = true;
            config.certificate.path = Some(directory.path().to_owned());
            change(config);
        });
        let (metrics, most) = (server.metrics.clone(), Arc::<AtomicUsize>::default());
        let seen = most.clone();
        tokio::spawn(async move {
            loop {
                seen.fetch_max(held(&metrics), Ordering::Relaxed);
                sleep(Duration::from_millis(2)).await;
            }
        });
        Self { server, most, _directory: directory }
    }

    /// A connection from the flooder to which this was sent, as far as it was taken.
    async fn send(&self, server: SocketAddr, bytes: &[u8]) -> TcpStream {
        let mut stream = connect(server).await;
        let _ = timeout(Duration::from_millis(100), stream.write_all(bytes)).await;
        stream
    }

    /// What was held never went over a client's share, others are served, and in the end nothing is held.
    async fn all_is_given_back(&self, why: &str) {
        still_answers(&self.server).await;
        eventually(&format!("{why}: nothing is held"), async || held(&self.server.metrics) == 0).await;
        let most = self.most.swap(0, Ordering::Relaxed);
        assert!(most <= SHARE + OF_OTHERS, "{why}: {most} bytes were held");
        // An honest client has a reply of a few hundred bytes.
        assert!(most > SHARE / 100, "{why}: only {most} bytes were held, which shows nothing");
        still_answers(&self.server).await;
    }

    /// Connections are closed for being slow, which may be a moment after their replies are given back. Others have lost
    /// theirs before: not even a refusal could be held for them.
    async fn closes_some_in_time(&self) {
        eventually("a connection is closed in time", async || self.refused(Reason::TooSlow) > 0).await;
    }

    fn refused(&self, reason: Reason) -> u64 {
        self.server.metrics.refusals.count(reason)
    }
}

fn held(metrics: &Metrics) -> usize {
    let page = metrics.encode().unwrap();
    let line = page.lines().find_map(|line| line.strip_prefix("pkdns_held_bytes ")).unwrap();
    line.parse().unwrap()
}

/// A connection from the flooder, with a small buffer.
async fn connect(server: SocketAddr) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.bind((FLOODER, 0).into()).unwrap();
    socket.connect(server).await.unwrap()
}

/// Settings with this window for each stream, and so many requests.
fn over_http2(window: u32, requests: u32, request: impl Fn(u32) -> Vec<u8>) -> Vec<u8> {
    let setting = [&[0, 4][..], &window.to_be_bytes()].concat();
    let mut bytes = [&PREFACE[..], &frame(SETTINGS, 0, 0, &setting)].concat();
    for number in 0..requests {
        bytes.extend(request(2 * number + 1));
    }
    bytes
}

fn get_on(stream: u32, path: &str) -> Vec<u8> {
    frame(HEADERS, END_STREAM | END_HEADERS, stream, &get(path))
}

const WIRE: &str = "/resolve?name=big.example&type=TXT&ct=application/dns-message";
const JSON: &str = "/resolve?name=big.example&type=TXT";

#[tokio::test]
async fn streams_that_let_nothing_or_little_through_hold_a_share_and_no_longer_than_they_may() {
    let flood = async |window| {
        let watched = Watched::start(|_| ()).await;
        let mut clients = Vec::new();
        for _ in 0..CONNECTIONS {
            let path = |stream| if stream % 4 == 1 { WIRE } else { JSON };
            let requests = over_http2(window, 4, |stream| get_on(stream, path(stream)));
            clients.push(watched.send(watched.server.http(), &requests).await);
        }
        watched.all_is_given_back(&format!("windows of {window}")).await;
        assert!(watched.refused(Reason::Unread) > 0);
    };
    // Each waits for most of its time.
    tokio::join!(flood(0), flood(1), flood(1000));
}

#[tokio::test]
async fn a_client_that_holds_all_it_may_loses_connections_rather_than_piling_up_refusals() {
    let watched = Watched::start(|_| ()).await;
    let flood = over_http2(0, 127, |stream| get_on(stream, WIRE));
    let mut clients = Vec::new();
    for _ in 0..10 {
        clients.push(watched.send(watched.server.http(), &flood).await);
    }
    let mut last = Http2 { stream: clients.pop().unwrap() };
    let (responses, end) = last.read_to_end().await;
    assert!(end.is_some() && responses < 127, "{responses} responses, {end:?}");
    assert_eq!(watched.refused(Reason::TooSlow), 0, "it is not a matter of time");
}

/// hyper hands them on whole, so that no time limit of a stream holds.
#[tokio::test]
async fn small_responses_that_are_not_taken_end_their_connection() {
    let watched = Watched::start(|_| ()).await;
    let mut clients = Vec::new();
    for number in 0..CONNECTIONS {
        let path = "/resolve?name=small.example&type=TXT&ct=application/dns-message";
        let window = if number % 2 == 0 { 1 } else { 1000 };
        let requests = over_http2(window, 1, |stream| get_on(stream, path));
        clients.push(watched.send(watched.server.http(), &requests).await);
    }
    watched.all_is_given_back("small responses").await;
    for client in clients {
        let mut client = Http2 { stream: client };
        let (_, end) = client.read_to_end().await;
        assert!(end.is_some(), "a GOAWAY");
    }
    // Those that came when the client already held its share have lost their connections before.
    let (too_slow, unread) = (watched.refused(Reason::TooSlow), watched.refused(Reason::Unread));
    assert!(too_slow > 0 && too_slow + unread >= CONNECTIONS as u64 / 2, "{too_slow} and {unread}");
}

#[tokio::test]
async fn http1_tcp_and_tls_connections_that_read_nothing_hold_a_share_and_are_closed() {
    let watched = Watched::start(|_| ()).await;
    let path = "/resolve?name=small.example&type=TXT";
    let pipelined = format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n").repeat(1000);
    let question = query("big.example", RecordType::TXT);
    let questions = [&(question.len() as u16).to_be_bytes()[..], &question].concat().repeat(60);
    let tls = Arc::new(trusting_anyone(tokio_rustls::rustls::DEFAULT_VERSIONS, &["dot"]));
    for protocol in ["http", "tcp", "tls"] {
        let mut clients: Vec<Idle> = Vec::new();
        for _ in 0..CONNECTIONS {
            clients.push(match protocol {
                "http" => Box::new(watched.send(watched.server.http(), pipelined.as_bytes()).await),
                "tcp" => Box::new(watched.send(watched.server.address, &questions).await),
                _ => {
                    let stream = connect(watched.server.tls()).await;
                    let name = "localhost".try_into().unwrap();
                    let connector = tokio_rustls::TlsConnector::from(tls.clone());
                    let mut stream = connector.connect(name, stream).await.unwrap();
                    let _ = timeout(Duration::from_millis(100), stream.write_all(&questions)).await;
                    Box::new(stream)
                }
            });
        }
        watched.all_is_given_back(protocol).await;
        if protocol == "http" {
            watched.closes_some_in_time().await;
        }
    }
}

#[tokio::test]
async fn requests_are_not_taken_without_end_where_no_response_is_read() {
    let server = start();
    // Heads alone: nothing of their responses counts as held.
    let flood = "HEAD /resolve?name=www.example.com HTTP/1.1\r\nHost: x\r\n\r\n".repeat(10_000);
    let mut client = connect(server.http()).await;
    let mut sent = 0;
    while sent < 64 << 20 {
        match timeout(Duration::from_secs(2), client.write_all(flood.as_bytes())).await {
            Ok(Ok(())) => sent += flood.len(),
            Ok(Err(_)) | Err(_) => break,
        }
    }
    assert!(sent < 64 << 20, "{sent} bytes were taken and answered into nowhere");
    still_answers(&server).await;
    let closed = async { while client.write_all(b"x").await.is_ok() {} };
    timeout(PATIENCE, closed).await.expect("the connection ends");
    let answered = server.metrics.service.http.answered.no_error.get();
    assert!(answered < 100_000, "{answered} were answered");
}

/// The head of a request whose body has no length, and the start of it.
fn endless_body(stream: u32, path: &str) -> Vec<u8> {
    let head = [
        field(":method", "POST"),
        field(":scheme", "http"),
        field(":path", path),
        field(":authority", "x"),
        field("content-type", "application/dns-message"),
    ];
    [frame(HEADERS, END_HEADERS, stream, &head.concat()), frame(DATA, 0, stream, &[0; 4000])].concat()
}

#[tokio::test]
async fn bodies_without_end_hold_a_share_and_those_too_many_are_not_read() {
    let watched = Watched::start(|_| ()).await;
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        // As much as the window of the connection lets through.
        let requests = over_http2(1 << 16, 15, |stream| endless_body(stream, "/dns-query"));
        clients.push(watched.send(watched.server.http(), &requests).await);
    }
    watched.all_is_given_back("bodies").await;
    assert!(watched.refused(Reason::Bodies) > 0);
}

/// Floods with bodies that go on, and counts the responses that come in spite of that.
async fn responses_to_endless_bodies(watched: &Watched, streams: u32) -> u64 {
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS {
        let mut client = Http2 { stream: connect(watched.server.http()).await };
        client.flood(&over_http2(1 << 16, streams, |stream| endless_body(stream, "/dns-query"))).await;
        clients.push(client);
    }
    let mut responses = 0;
    for client in &mut clients {
        let mut left = streams;
        while left > 0
            && let Some((kind, _, _, _)) = client.read_frame().await
        {
            left -= u32::from(kind == HEADERS);
        }
        responses += u64::from(streams - left);
    }
    assert_eq!((watched.refused(Reason::Bodies), watched.refused(Reason::TooSlow)), (0, 0));
    still_answers(&watched.server).await;
    responses
}

#[tokio::test]
async fn whoever_is_not_served_is_told_so_before_its_body_is_read() {
    let watched = Watched::start(|config| config.access.allow = vec!["127.0.0.1/32".parse().unwrap()]).await;
    // It is told once, and strangers have few places.
    let responses = responses_to_endless_bodies(&watched, 1).await;
    assert!(responses > 0 && watched.refused(Reason::Access) >= responses);
    assert!(watched.most.load(Ordering::Relaxed) < SHARE, "its bodies were read");
}

#[tokio::test]
async fn whoever_is_over_its_quota_is_told_so_before_its_body_is_read() {
    let watched = Watched::start(|config| {
        config.rate_limit.requests_per_minute = 1;
        config.rate_limit.burst_size = 1;
    })
    .await;
    // Spends the only token.
    let spent =
        watched.send(watched.server.http(), &over_http2(1 << 16, 1, |stream| get_on(stream, WIRE))).await;
    assert_eq!(responses_to_endless_bodies(&watched, 2).await, 2 * CONNECTIONS as u64);
    assert!(watched.refused(Reason::QueryQuota) >= 2 * CONNECTIONS as u64);
    drop(spent);
}
