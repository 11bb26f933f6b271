//! Clients that mean harm over HTTP/2 and HTTP/1.1: each loses its connection or its request, and nobody else notices.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail where it stands")]

mod http2;
mod unread;

use std::{net::Ipv4Addr, time::Duration};

use hickory_proto::rr::RecordType;
use http2::*;
use pkdns::config::Config;
use pkdns_dht::testing::FakeNetwork;
use pkdns_testing::server::{TestServer, keypair, query};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::timeout,
};

/// Longest wait for what must come. Above every limit of a connection.
const PATIENCE: Duration = Duration::from_secs(40);

#[tokio::test]
async fn requests_that_are_taken_back_at_once_end_the_connection() {
    let server = start();
    let mut client = Http2::connect(server.http()).await;
    let mut flood = Vec::new();
    for number in 0..20_000 {
        let stream = 2 * number + 1;
        flood.extend(frame(HEADERS, END_STREAM | END_HEADERS, stream, &get("/dns-query")));
        flood.extend(frame(RST_STREAM, 0, stream, &CANCEL));
    }
    client.flood(&flood).await;
    let (answered, end) = client.read_to_end().await;
    assert_eq!(end, Some(ENHANCE_YOUR_CALM));
    assert!(answered < 1000, "{answered} of 20,000 were answered");
    still_answers(&server).await;
}

#[tokio::test]
async fn a_head_that_does_not_end_ends_the_connection() {
    let server = start();
    let mut client = Http2::connect(server.http()).await;
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
    // What the buffers of both ends take comes to this, and not what the server has read.
    assert!(sent < 2 << 20, "{sent} bytes of one head were taken");
    still_answers(&server).await;
}

#[tokio::test]
async fn pings_and_settings_without_end_take_no_memory_and_stop_nobody() {
    let server = start();
    for (kind, payload) in [(PING, vec![0; 8]), (SETTINGS, Vec::new())] {
        let mut client = Http2::connect(server.http()).await;
        // The acknowledgements are not read, so that at some point no more is taken.
        let flood = frame(kind, 0, 0, &payload).repeat(10_000);
        let mut sent = 0;
        while sent < 64 << 20 {
            match timeout(Duration::from_millis(500), client.stream.write_all(&flood)).await {
                Ok(Ok(())) => sent += flood.len(),
                Ok(Err(_)) | Err(_) => break,
            }
        }
        assert!(sent < 24 << 20, "{sent} bytes were taken and acknowledged into nowhere");
        still_answers(&server).await;
    }
}

#[tokio::test]
async fn only_so_many_requests_are_under_way_on_a_connection() {
    let server = start();
    let mut client = Http2::connect(server.http()).await;
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
    still_answers(&server).await;
}

#[tokio::test]
async fn a_response_that_is_not_taken_is_given_up() {
    let server = start();
    let mut client = TcpStream::connect(server.http()).await.unwrap();
    // No byte of any response is let through.
    let settings = frame(SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]);
    let request = frame(HEADERS, END_STREAM | END_HEADERS, 1, &get("/pkdns.css"));
    client.write_all(&[&PREFACE[..], &settings, &request].concat()).await.unwrap();
    let mut client = Http2 { stream: client };
    client.read_reset(1).await;
    still_answers(&server).await;
}

#[tokio::test]
async fn a_body_that_does_not_come_is_not_waited_for() {
    let server = start();
    let mut client = TcpStream::connect(server.http()).await.unwrap();
    let head = "POST /dns-query HTTP/1.1\r\nHost: x\r\nContent-Type: application/dns-message\r\nContent-Length: 100\r\n\r\n";
    client.write_all(head.as_bytes()).await.unwrap();
    let mut reply = Vec::new();
    timeout(PATIENCE, client.read_to_end(&mut reply)).await.expect("the connection ends").unwrap();
    assert!(reply.starts_with(b"HTTP/1.1 408 "), "{}", String::from_utf8_lossy(&reply));
    still_answers(&server).await;
}

#[tokio::test]
async fn a_body_that_does_not_come_on_a_stream_is_not_waited_for() {
    let server = start();
    let mut client = Http2::connect(server.http()).await;
    client.flood(&frame(HEADERS, END_HEADERS, 1, &post(100))).await;
    client.read_reset(1).await;
    still_answers(&server).await;
}

/// Each sends a byte of a head now and then (slow loris), and comes with others from its address.
#[tokio::test]
async fn two_thousand_who_never_finish_stop_nobody_and_are_sent_away() {
    const LORISES: u32 = 2000;
    const PER_ADDRESS: u32 = 50;
    let server = start();
    let mut lorises = Vec::new();
    for number in 0..LORISES {
        let socket = TcpSocket::new_v4().unwrap();
        let address = Ipv4Addr::from_bits(Ipv4Addr::new(127, 1, 0, 1).to_bits() + number / PER_ADDRESS);
        socket.bind((address, 0).into()).unwrap();
        let mut stream =
            socket.connect(server.http()).await.expect("as many open files as there are clients");
        stream.write_all(b"GET / HTTP/1.1\r\nx: ").await.unwrap();
        lorises.push(stream);
    }
    still_answers(&server).await;
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
        still_answers(&server).await;
    }
}

#[tokio::test]
async fn heads_and_bodies_are_bounded() {
    let server = start();
    let long = "y".repeat(20_000);
    let ask = async |request: String| {
        let mut client = TcpStream::connect(server.http()).await.unwrap();
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
    let mut client = Http2::connect(server.http()).await;
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
    still_answers(&server).await;
}

fn contains(bytes: &[u8], part: &[u8]) -> bool {
    bytes.windows(part.len()).any(|window| window == part)
}

/// A server with plain HTTP whose keys are searched for until the deadline.
fn start() -> TestServer {
    start_with(|_| ())
}

fn start_with(change: impl FnOnce(&mut Config)) -> TestServer {
    let network = FakeNetwork::default();
    network.hold();
    TestServer::builder().plain_http().network(network).change(change).start()
}

/// Somebody else gets an answer.
async fn still_answers(server: &TestServer) {
    let reply = server.post(&query("www.example.com", RecordType::A)).await;
    assert_eq!(reply.status, 200, "{}", reply.text());
}
