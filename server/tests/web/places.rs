//! Places for connections: strangers take none, and a client at its cap gives up an old one for a new one.

use std::{net::IpAddr, time::Duration};

use hickory_proto::rr::RecordType;
use pkdns::metrics::Reason;
use pkdns_testing::{server::query, support::client::connect_from, tls_client, wait::eventually};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::client::TlsStream;

use super::Site;

/// Longest wait for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

const ALLOWED: [u8; 4] = [127, 0, 0, 200];
const DENIED: [u8; 4] = [127, 0, 0, 3];
const PROXY: [u8; 4] = [127, 0, 0, 100];

const REFUSED: u8 = 5;

/// A server for one client and one proxy.
async fn site() -> Site {
    site_with(None).await
}

/// `proxy_protocol`: over TCP and HTTP.
async fn site_with(proxy_protocol: Option<bool>) -> Site {
    Site::start_with(|config| {
        (config.proxy_protocol, config.doh.proxy_protocol) = (proxy_protocol, proxy_protocol);
        config.access.allow = vec![IpAddr::from(ALLOWED).into()];
        config.doh.trusted_proxies = vec![IpAddr::from(PROXY).into()];
        // Fewer than there are strangers.
        config.doh.max_connections = 16;
    })
    .await
}

pub(crate) async fn connect(port: u16, client: [u8; 4]) -> TcpStream {
    connect_from(client.into(), ([127, 0, 0, 1], port).into()).await.unwrap()
}

/// A handshake, or `None` if the connection is closed before it.
async fn handshake(site: &Site, port: u16, client: [u8; 4], protocol: &str) -> Option<TlsStream<TcpStream>> {
    let pem = std::fs::read_to_string(site.path("ca.pem")).unwrap();
    let config = tls_client::trusting(&pem, &[protocol]);
    tls_client::connect_over(connect(port, client).await, "localhost", config).await.ok()
}

fn framed(count: usize) -> Vec<u8> {
    let question = query("www.example.com", RecordType::A);
    [&(question.len() as u16).to_be_bytes()[..], &question].concat().repeat(count)
}

/// The codes of the replies to `count` queries, up to that many or the end.
async fn ask(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), count: usize) -> Vec<u8> {
    let mut codes = Vec::new();
    if stream.write_all(&framed(count)).await.is_err() {
        return codes;
    }
    let replies = async {
        while codes.len() < count
            && let Ok(size) = stream.read_u16().await
        {
            let mut reply = vec![0; size.into()];
            if stream.read_exact(&mut reply).await.is_err() {
                break;
            }
            codes.push(reply[3] & 0x0f);
        }
    };
    timeout(PATIENCE, replies).await.expect("replies or the end");
    codes
}

fn request(path: &str, headers: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n")
}

/// The head of the response to each request, up to the end or that of the last one.
async fn heads(stream: &mut (impl AsyncRead + AsyncWrite + Unpin), requests: &[String]) -> Vec<String> {
    let mut heads = Vec::new();
    for request in requests {
        if stream.write_all(request.as_bytes()).await.is_err() {
            break;
        }
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            match timeout(PATIENCE, stream.read_u8()).await.expect("a response or the end") {
                Ok(byte) => head.push(byte),
                Err(_) => return heads,
            }
        }
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        let length = head.split("content-length: ").nth(1).and_then(|rest| rest.split("\r\n").next());
        let mut body = vec![0; length.map_or(0, |length| length.parse().unwrap())];
        stream.read_exact(&mut body).await.unwrap();
        heads.push(head);
    }
    heads
}

fn status(head: &str) -> &str {
    head.split(' ').nth(1).unwrap_or_default()
}

/// Whether the client that is served gets answers over TCP, TLS, HTTP and HTTPS, each on a connection of its own.
async fn is_served(site: &Site) -> [bool; 4] {
    let resolve = [request("/resolve?name=www.example.com", "")];
    let tcp = ask(&mut connect(site.address.port(), ALLOWED).await, 1).await == [0];
    let mut tls = handshake(site, site.tls().port(), ALLOWED, "dot").await.expect("a handshake");
    let tls = ask(&mut tls, 1).await == [0];
    let http = heads(&mut connect(site.http().port(), ALLOWED).await, &resolve).await;
    let mut https = handshake(site, site.https().port(), ALLOWED, "http/1.1").await.expect("a handshake");
    let https = heads(&mut https, &resolve).await;
    let is_200 = |heads: &[String]| heads.len() == 1 && status(&heads[0]) == "200";
    [tcp, tls, is_200(&http), is_200(&https)]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn twenty_strangers_that_ask_again_and_again_take_nothing_from_who_is_served() {
    let site = site().await;
    let page = [request("/", "")];
    let mut held = Vec::new();
    for round in 0..3 {
        for host in 1..=20 {
            let stranger = [127, 0, 1, host];
            for _ in 0..3 {
                let mut stream = connect(site.address.port(), stranger).await;
                assert!(ask(&mut stream, 2).await.len() <= 1, "one refusal, or none");
                let mut http = connect(site.http().port(), stranger).await;
                assert!(heads(&mut http, &[&page[..], &page[..]].concat()).await.len() <= 1);
                // And some that say nothing.
                held.push((stream, http, connect(site.address.port(), stranger).await));
                held.push((
                    connect(site.tls().port(), stranger).await,
                    connect(site.https().port(), stranger).await,
                    connect(site.http().port(), stranger).await,
                ));
            }
        }
        assert_eq!(is_served(&site).await, [true; 4], "round {round}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_reads_why_and_that_is_the_end() {
    let site = site().await;
    // Whatever it has sent.
    assert_eq!(ask(&mut connect(site.address.port(), DENIED).await, 1000).await, [REFUSED]);
    let mut tls = handshake(&site, site.tls().port(), DENIED, "dot").await.expect("a handshake");
    assert_eq!(ask(&mut tls, 1000).await, [REFUSED]);
    for (path, expected) in [("/", "403"), ("/resolve?name=www.example.com", "200")] {
        let requests = [request(path, ""), request(path, "")];
        let mut https = handshake(&site, site.https().port(), DENIED, "http/1.1").await.expect("a handshake");
        let of_https = heads(&mut https, &requests).await;
        let of_http = heads(&mut connect(site.http().port(), DENIED).await, &requests).await;
        for heads in [of_https, of_http] {
            assert_eq!(heads.len(), 1, "{heads:?}");
            assert_eq!(status(&heads[0]), expected);
            assert!(heads[0].contains("connection: close"), "{heads:?}");
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_over_http_2_gets_one_response_and_goaway() {
    const HEADERS: u8 = 1;
    const SETTINGS: u8 = 4;
    const GOAWAY: u8 = 7;
    const END_STREAM_AND_HEADERS: u8 = 5;
    let site = site().await;
    let mut stream = connect(site.http().port(), DENIED).await;
    let frame = |kind: u8, flags: u8, stream: u8, payload: &[u8]| {
        [&[0, 0, payload.len() as u8, kind, flags, 0, 0, 0, stream], payload].concat()
    };
    // GET, http and / from the table of HPACK, and the authority "x".
    let request = [0x82, 0x86, 0x84, 0x41, 1, b'x'];
    let requests = [1, 3, 5].map(|stream| frame(HEADERS, END_STREAM_AND_HEADERS, stream, &request)).concat();
    let start = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", &frame(SETTINGS, 0, 0, &[])[..], &requests].concat();
    stream.write_all(&start).await.unwrap();
    let mut replies = Vec::new();
    timeout(PATIENCE, stream.read_to_end(&mut replies)).await.expect("the end").expect("no reset");
    let (mut kinds, mut rest) = (Vec::new(), &replies[..]);
    while let Some((head, after)) = rest.split_first_chunk::<9>() {
        kinds.push(head[3]);
        rest = &after[usize::from(u16::from_be_bytes([head[1], head[2]]))..];
    }
    let count = |wanted| kinds.iter().filter(|kind| **kind == wanted).count();
    assert_eq!(count(HEADERS), 1, "{kinds:?}");
    assert!(count(GOAWAY) >= 1, "{kinds:?}");
}

/// As HAProxy says that it passes a connection on for `client`.
fn proxy_header(client: [u8; 4]) -> Vec<u8> {
    let start = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c";
    [&start[..], &client, &[127, 0, 0, 1, 0, 1, 0, 1]].concat()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stranger_whom_a_proxy_names_is_one_and_the_proxy_is_not() {
    let site = site().await;
    let mut behind = connect(site.address.port(), PROXY).await;
    behind.write_all(&proxy_header(DENIED)).await.unwrap();
    assert_eq!(ask(&mut behind, 1000).await, [REFUSED]);
    let mut behind = connect(site.address.port(), PROXY).await;
    behind.write_all(&proxy_header(ALLOWED)).await.unwrap();
    assert_eq!(ask(&mut behind, 3).await, [0, 0, 0]);
    let page = |client: &str| request("/", &format!("X-Forwarded-For: {client}\r\n"));
    let mut behind = connect(site.http().port(), PROXY).await;
    behind.write_all(&proxy_header(DENIED)).await.unwrap();
    let heads_of_named = heads(&mut behind, &[request("/", ""), request("/", "")]).await;
    assert_eq!(heads_of_named.iter().map(|head| status(head)).collect::<Vec<_>>(), ["403"]);
    // One connection of the proxy carries the requests of many: only those of the stranger are refused.
    let requests = [page("127.0.0.3"), page("127.0.0.200"), page("127.0.0.3"), page("127.0.0.200")];
    let all = heads(&mut connect(site.http().port(), PROXY).await, &requests).await;
    assert_eq!(all.iter().map(|head| status(head)).collect::<Vec<_>>(), ["403", "200", "403", "200"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn handshakes_of_strangers_come_out_of_a_small_rate() {
    let site = site().await;
    let mut begun = 0;
    for _ in 0..60 {
        begun += usize::from(handshake(&site, site.tls().port(), DENIED, "dot").await.is_some());
    }
    // With what comes back in the meantime.
    assert!((1..50).contains(&begun), "{begun} handshakes");
    assert!(site.metrics.refusals.count(Reason::StrangersHandshakes) > 0);
    assert_eq!(is_served(&site).await, [true; 4]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_handshake_costs_a_token_and_who_has_none_is_closed_before_it() {
    let site = Site::start_with(|config| {
        (config.rate_limit.requests_per_minute, config.rate_limit.burst_size) = (1, 4);
    })
    .await;
    for (port, protocol, client) in
        [(site.tls().port(), "dot", [127, 0, 0, 4]), (site.https().port(), "h2", [127, 0, 0, 5])]
    {
        for _ in 0..4 {
            assert!(handshake(&site, port, client, protocol).await.is_some());
        }
        assert!(handshake(&site, port, client, protocol).await.is_none());
    }
    assert!(site.metrics.refusals.count(Reason::HandshakeQuota) == 2);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_hundred_and_one_phones_behind_one_address_are_all_served() {
    let site = Site::start().await;
    let phone = [127, 0, 0, 7];
    let mut phones = Vec::new();
    for number in 0..101 {
        let mut phone = handshake(&site, site.tls().port(), phone, "dot").await.expect("a handshake");
        assert_eq!(ask(&mut phone, 1).await, [0], "phone {number}");
        phones.push(phone);
    }
    assert_eq!(site.metrics.refusals.count(Reason::ConnectionDisplaced), 1);
    // The first had been silent for longest.
    assert!(ask(&mut phones[0], 1).await.is_empty());
    for phone in &mut phones[1..] {
        assert_eq!(ask(phone, 1).await, [0]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn connections_per_client_can_be_set_for_each_transport() {
    let site = Site::start_with(|config| {
        config.connections_per_client = 2;
        config.dot.connections_per_client = Some(3);
        config.doh.connections_per_client = Some(4);
    })
    .await;
    let (client, mut held) = ([127, 0, 0, 8], Vec::new());
    for (port, cap) in [(site.address.port(), 2), (site.tls().port(), 3), (site.http().port(), 4)] {
        let before = site.metrics.refusals.count(Reason::ConnectionDisplaced);
        for count in 1..=cap + 1 {
            held.push(connect(port, client).await);
            // They are counted in the order in which they come.
            let displaced = || site.metrics.refusals.count(Reason::ConnectionDisplaced) - before;
            eventually("one is displaced", async || displaced() >= u64::from(count > cap)).await;
        }
        // No other is.
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(site.metrics.refusals.count(Reason::ConnectionDisplaced) - before, 1, "{port}");
    }
}

/// The PROXY protocol forbids to guess: behind a proxy that writes no header, a client writes its own.
#[tokio::test]
async fn a_listener_takes_proxy_headers_as_it_is_told() {
    let line = format!("PROXY TCP4 {} 127.0.0.1 12345 53\r\n", IpAddr::from(ALLOWED)).into_bytes();
    let starts = [line, proxy_header(ALLOWED), Vec::new()];
    for (proxy_protocol, outcomes) in [
        (None, [&[0][..], &[0], &[REFUSED]]),
        (Some(true), [&[0], &[0], &[]]),
        // It is the length of a message that never comes.
        (Some(false), [&[], &[], &[REFUSED]]),
    ] {
        let site = site_with(proxy_protocol).await;
        for (start, outcome) in starts.iter().zip(outcomes) {
            let mut behind = connect(site.address.port(), PROXY).await;
            behind.write_all(start).await.unwrap();
            assert_eq!(ask(&mut behind, 1).await, outcome, "{proxy_protocol:?}, {start:02x?}");
        }
        let requests = [request("/", "")];
        let mut behind = connect(site.http().port(), PROXY).await;
        let statuses = heads(&mut behind, &requests).await;
        let expected: &[&str] = if proxy_protocol == Some(true) { &[] } else { &["403"] };
        assert_eq!(statuses.iter().map(|head| status(head)).collect::<Vec<_>>(), expected);
        let mut stranger = connect(site.address.port(), DENIED).await;
        stranger.write_all(&starts[0]).await.unwrap();
        assert_ne!(ask(&mut stranger, 1).await, [0], "nobody else is believed");
    }
}
