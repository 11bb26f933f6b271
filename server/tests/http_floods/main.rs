//! Clients that mean harm over HTTP/2 and HTTP/1.1: each loses its connection or its request, and nobody else notices.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail where it stands")]

mod http2;
mod unread;

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use hickory_proto::rr::RecordType;
use http2::*;
use pkdns::{config::Config, metrics::Metrics, server::Server};
use pkdns_dht::{
    Evidence, Network, NetworkError,
    signed_packet::{PublicKey, SignedPacket},
};
use pkdns_testing::common::{Upstream, keypair, query};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    sync::mpsc,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// Longest wait for what must come. Above every limit of a connection.
const PATIENCE: Duration = Duration::from_secs(40);

#[tokio::test]
async fn requests_that_are_taken_back_at_once_end_the_connection() {
    let server = Running::start().await;
    let mut client = Http2::connect(server.http).await;
    let mut flood = Vec::new();
    for number in 0..20_000 {
        let stream = 2 * number + 1;
        flood.extend(frame(HEADERS, END_STREAM | END_HEADERS, stream, &get("/dns-query")));
        flood.extend(frame(RST_STREAM, 0, stream, &CANCEL));
    }
    client.flood(&flood).await;
    let (answered, end) = client.read_to_end().await;
    assert_eq!(end, Some(ENHANCE_YOUR_CALM));
    assert!(answered < 10_000, "{answered} of 20,000 were answered");
    server.still_answers().await;
}

#[tokio::test]
async fn a_head_that_does_not_end_ends_the_connection() {
    let server = Running::start().await;
    let mut client = Http2::connect(server.http).await;
    client.flood(&frame(HEADERS, END_STREAM, 1, &get("/"))).await;
    // A header that nobody knows, over and over: without END_HEADERS there is always more to come.
    let more = frame(CONTINUATION, 0, 1, &field("x", &"y".repeat(100)));
    let more = more.repeat(100);
    let mut sent = 0;
    while sent < 64 << 20 {
        if client.stream.write_all(&more).await.is_err() {
            break;
        }
        sent += more.len();
    }
    assert!(sent < 32 << 20, "{sent} bytes of one head were taken");
    server.still_answers().await;
}

#[tokio::test]
async fn pings_and_settings_without_end_take_no_memory_and_stop_nobody() {
    let server = Running::start().await;
    for (kind, payload) in [(PING, vec![0; 8]), (SETTINGS, Vec::new())] {
        let mut client = Http2::connect(server.http).await;
        // The acknowledgements are not read, so that at some point no more is taken.
        let flood = frame(kind, 0, 0, &payload).repeat(10_000);
        let mut sent = 0;
        while sent < 64 << 20 {
            match timeout(Duration::from_millis(500), client.stream.write_all(&flood)).await {
                Ok(Ok(())) => sent += flood.len(),
                Ok(Err(_)) | Err(_) => break,
            }
        }
        assert!(sent < 64 << 20, "{sent} bytes were taken and acknowledged into nowhere");
        server.still_answers().await;
    }
}

#[tokio::test]
async fn only_so_many_requests_are_under_way_on_a_connection() {
    let server = Running::start().await;
    let mut client = Http2::connect(server.http).await;
    let mut requests = Vec::new();
    for number in 0..200 {
        // A key that nobody has: the search goes on until its deadline.
        let question = query(&keypair(number as u8 + 1).public_key().to_z32(), RecordType::A);
        let stream = 2 * number + 1;
        requests.extend(frame(HEADERS, END_HEADERS, stream, &post(question.len())));
        requests.extend(frame(DATA, END_STREAM, stream, &question));
    }
    client.flood(&requests).await;
    let mut refused = 0;
    while refused < 200 - 128 {
        let (kind, _, _, payload) = client.read_frame().await.expect("a refusal of each stream too many");
        if kind == RST_STREAM {
            assert_eq!(payload, [0, 0, 0, 7], "REFUSED_STREAM");
            refused += 1;
        }
    }
    server.still_answers().await;
}

#[tokio::test]
async fn a_response_that_is_not_taken_is_given_up() {
    let server = Running::start().await;
    let mut client = TcpStream::connect(server.http).await.unwrap();
    // No byte of any response is let through.
    let settings = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    let request = frame(HEADERS, END_STREAM | END_HEADERS, 1, &get("/pkdns.css"));
    client.write_all(&[&PREFACE[..], &settings, &request].concat()).await.unwrap();
    let mut client = Http2 { stream: client };
    loop {
        let (kind, _, stream, _) = client.read_frame().await.expect("the stream is reset");
        if (kind, stream) == (RST_STREAM, 1) {
            break;
        }
    }
    server.still_answers().await;
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let server = Running::start().await;
    let mut client = TcpStream::connect(server.http).await.unwrap();
    let head = "POST /dns-query HTTP/1.1\r\nHost: x\r\nContent-Type: application/dns-message\r\nContent-Length: 100\r\n\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    let mut reply = Vec::new();
    timeout(PATIENCE, client.read_to_end(&mut reply)).await.expect("the connection ends").unwrap();
    assert!(reply.starts_with(b"HTTP/1.1 408 "), "{}", String::from_utf8_lossy(&reply));
    server.still_answers().await;
}

#[tokio::test]
async fn a_body_that_does_not_come_on_a_stream_is_not_waited_for() {
    let server = Running::start().await;
    let mut client = Http2::connect(server.http).await;
    client.flood(&frame(HEADERS, END_HEADERS, 1, &post(100))).await;
    loop {
        let (kind, _, stream, _) = client.read_frame().await.expect("the stream is reset");
        if (kind, stream) == (RST_STREAM, 1) {
            break;
        }
    }
    server.still_answers().await;
}

/// Each sends a byte of a head now and then (slow loris), and comes with others from its address.
#[tokio::test]
async fn two_thousand_who_never_finish_stop_nobody_and_are_sent_away() {
    const LORISES: u32 = 2000;
    const PER_ADDRESS: u32 = 50;
    let server = Running::start().await;
    let mut lorises = Vec::new();
    for number in 0..LORISES {
        let socket = TcpSocket::new_v4().unwrap();
        let address = Ipv4Addr::from_bits(Ipv4Addr::new(127, 1, 0, 1).to_bits() + number / PER_ADDRESS);
        socket.bind((address, 0).into()).unwrap();
        let mut stream = socket.connect(server.http).await.expect("as many open files as there are clients");
        stream.write_all(b"GET / HTTP/1.1\r\nx: ").await.unwrap();
        lorises.push(stream);
    }
    server.still_answers().await;
    let mut looks = 0;
    while !lorises.is_empty() {
        looks += 1;
        assert!(looks < 80, "{} are still there", lorises.len());
        tokio::time::sleep(PATIENCE / 80).await;
        let mut rest = Vec::new();
        for mut stream in lorises {
            // A byte for a closed connection is answered with a reset, and the next fails.
            if stream.write_all(b"x").await.is_ok() {
                rest.push(stream);
            }
        }
        lorises = rest;
        server.still_answers().await;
    }
}

#[tokio::test]
async fn heads_and_bodies_are_bounded() {
    let server = Running::start().await;
    let long = "y".repeat(20_000);
    let ask = async |request: String| {
        let mut client = TcpStream::connect(server.http).await.unwrap();
        // The server may close before it has read it all.
        let _ = client.write_all(request.as_bytes()).await;
        let mut reply = vec![0; 64];
        let size = timeout(PATIENCE, client.read(&mut reply)).await.unwrap().unwrap_or(0);
        String::from_utf8_lossy(&reply[..size]).into_owned()
    };
    for (request, status) in [
        (format!("GET / HTTP/1.1\r\nHost: x\r\nx-long: {long}\r\n\r\n"), " 431 "),
        (format!("GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n"), " 431 "),
        (
            "POST /dns-query HTTP/1.1\r\nHost: x\r\nContent-Type: application/dns-message\r\nContent-Length: 70000\r\n\r\n"
                .to_owned(),
            " 413 ",
        ),
    ] {
        let reply = ask(request).await;
        assert!(reply.contains(status), "{status}: {reply}");
    }
    let mut client = Http2::connect(server.http).await;
    let head =
        [get("/"), field("x-long", &"y".repeat(10_000)), field("x-long", &"y".repeat(10_000))].concat();
    let (start, rest) = head.split_at(16_000);
    let request = [frame(HEADERS, END_STREAM, 1, start), frame(CONTINUATION, END_HEADERS, 1, rest)].concat();
    client.flood(&request).await;
    let refused = loop {
        let (kind, _, stream, payload) = client.read_frame().await.expect("an answer");
        if stream == 1 {
            break (kind, payload);
        }
    };
    // 431 in HPACK: the name `:status` from the static table, the value as it is or in Huffman's code.
    let is_said = [&b"431"[..], &[0x69, 0x90, 0xff]].iter().any(|status| contains(&refused.1, status));
    assert!(refused.0 == RST_STREAM || is_said, "{refused:x?}");
    server.still_answers().await;
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// A server with plain HTTP whose keys are searched for until the deadline.
struct Running {
    dns: SocketAddr,
    tls: Option<SocketAddr>,
    http: SocketAddr,
    metrics: Metrics,
    stop: CancellationToken,
    _upstream: Upstream,
}

struct Endless;

#[async_trait]
impl Network for Endless {
    async fn lookup(
        &self,
        _: &PublicKey,
        _found: mpsc::UnboundedSender<SignedPacket>,
    ) -> Result<Evidence, NetworkError> {
        std::future::pending().await
    }
}

impl Running {
    async fn start() -> Self {
        Self::start_with(|_| ()).await
    }

    async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let upstream = Upstream::plain().await;
        let any = (Ipv4Addr::LOCALHOST, 0).into();
        let mut config =
            Config { listen: vec![any], fallback_dns: vec![upstream.address.into()], ..Config::default() };
        config.doh.plain_listen = vec![any];
        change(&mut config);
        let server = Server::bind_to_network(config, Arc::new(Endless)).unwrap();
        let (http, stop) = (server.http_addresses()[0], CancellationToken::new());
        let (dns, tls) = (server.addresses()[0], server.tls_addresses().first().copied());
        let metrics = server.metrics().clone();
        tokio::spawn(server.run(stop.clone()));
        Self { dns, tls, http, metrics, stop, _upstream: upstream }
    }

    /// Somebody else gets an answer.
    async fn still_answers(&self) {
        let mut client = TcpStream::connect(self.http).await.unwrap();
        let question = query("www.example.com", RecordType::A);
        let head = format!(
            "POST /dns-query HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Type: application/dns-message\r\n\
             Content-Length: {}\r\n\r\n",
            question.len()
        );
        client.write_all(&[head.as_bytes(), &question].concat()).await.unwrap();
        let mut reply = Vec::new();
        timeout(PATIENCE, client.read_to_end(&mut reply)).await.unwrap().unwrap();
        assert!(reply.starts_with(b"HTTP/1.1 200 "), "{}", String::from_utf8_lossy(&reply));
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}
