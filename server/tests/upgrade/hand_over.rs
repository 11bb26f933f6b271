//! Another process takes the place of one that is asked over all transports. Nothing is lost, on whichever side one counts.

use std::{
    net::{Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    sync::{Arc, atomic::Ordering},
    thread,
    time::{Duration, Instant},
};

use http::Version;
use pkdns::packets::{DiskError, DiskStore};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime::Runtime,
    time::sleep,
};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    PATIENCE,
    clients::{Client, ask_over_udp},
    server::{Place, Server, send},
    tls::trusting,
};

/// Answers that each kind of client gets before and after.
const ANSWERS: u64 = 60;

/// Clients over UDP. Each has a port of its own, so that every socket of the server has some.
const UDP_CLIENTS: usize = 8;

/// An upstream that takes its time, as long as the last digit of the name's first label says.
fn upstream() -> SocketAddr {
    let socket = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut message = [0; 4096];
        while let Ok((size, peer)) = socket.recv_from(&mut message) {
            let (mut reply, socket) = (message[..size].to_vec(), socket.clone());
            (reply[2], reply[3]) = (0x81, 0x80);
            thread::spawn(move || {
                thread::sleep(Duration::from_millis(30 * u64::from(reply[1] % 8)));
                let _ = socket.send_to(&reply, peer);
            });
        }
    });
    address
}

fn configuration() -> String {
    format!(
        "listen = '127.0.0.1:0'\nfallback_dns = '{}'\nlocal.records = ['*.load.lan A 192.0.2.1']\n\
         [dht]\nenabled = false\n[rate_limit]\nrequests_per_minute = 0\n\
         [doh]\nenabled = true\nlisten = '127.0.0.1:0'\n[dot]\nenabled = true\nlisten = '127.0.0.1:0'\n\
         [certificate]\nnames = ['localhost']\nself_signed = true\n[metrics]\nlisten = '127.0.0.1:0'\n",
        upstream()
    )
}

/// Replies that a server has counted, by its page of metrics.
async fn replies(metrics: SocketAddr) -> (u64, u64) {
    let mut stream = TcpStream::connect(metrics).await.unwrap();
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {metrics}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).await.unwrap();
    let sum = |name: &str| {
        let values = page.lines().filter(|line| line.starts_with(name));
        values.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    };
    (sum("pkdns_queries_total{"), sum("pkdns_queries_unanswered_total{"))
}

async fn wait_until(what: &str, holds: impl Fn() -> bool) {
    let end = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < end, "{what}");
        sleep(Duration::from_millis(10)).await;
    }
}

#[test]
fn every_query_over_every_transport_is_answered_while_another_process_takes_over() {
    let place = Place::with(&configuration());
    let mut server = Server::start(place.command());
    let address = |kind| server.log.address(kind);
    let (udp, tcp, dot, https) = (address("udp"), address("tcp"), address("tls"), address("https"));
    let metrics = address("metrics");
    let authority = std::fs::read_to_string(place.path().join("certificates/ca.pem")).unwrap();
    let [tls, h1, h2] = ["dot", "http/1.1", "h2"].map(|protocol| Arc::new(trusting(&authority, &[protocol])));
    let runtime = Runtime::new().unwrap();
    let _entered = runtime.enter();
    let (stop, tasks) = (CancellationToken::new(), TaskTracker::new());
    let kinds = ["udp", "tcp", "tcp kept", "dot", "dot kept", "http/1.1", "http/2"];
    let clients = kinds.map(|_| Client::new(&stop));
    let [over_udp, short, long, short_tls, long_tls, http1, http2] = clients.clone();
    let running: Vec<_> = (0..UDP_CLIENTS)
        .map(|_| tasks.spawn(over_udp.clone().over_udp(udp)))
        .chain([
            tasks.spawn(short.over_short_connections(tcp, None)),
            tasks.spawn(long.over_long_connections(tcp, None)),
            tasks.spawn(short_tls.over_short_connections(dot, Some(tls.clone()))),
            tasks.spawn(long_tls.over_long_connections(dot, Some(tls))),
            tasks.spawn(http1.over_https(https, h1, Version::HTTP_11)),
            tasks.spawn(http2.over_https(https, h2, Version::HTTP_2)),
        ])
        .collect();
    let has_failed = || running.iter().any(tokio::task::JoinHandle::is_finished);
    let all_have = |more: [u64; 7]| {
        has_failed() || clients.iter().zip(more).all(|(client, more)| client.tally.answers() >= more)
    };
    runtime.block_on(wait_until("answers before", || all_have([ANSWERS; 7])));
    // As an installation does it: the file that runs has no name any more.
    place.install();
    let successor = server.upgrade();
    assert_ne!(successor, server.id());
    let now = clients.each_ref().map(|client| client.tally.answers() + ANSWERS);
    runtime.block_on(wait_until("answers after", || all_have(now)));
    assert!(server.wait().success(), "{:#?}", server.log.lines());
    stop.cancel();
    for client in running {
        runtime.block_on(client).unwrap_or_else(|error| panic!("{error}: {:#?}", server.log.lines()));
    }
    let mut answered = 0;
    for (kind, client) in kinds.iter().zip(&clients) {
        let tally = &client.tally;
        assert_eq!(tally.asked.load(Ordering::SeqCst), tally.answers(), "{kind}");
        answered += tally.answers();
        if kind.ends_with("kept") || kind.starts_with("http") {
            // So that the old process did not wait for half a minute.
            assert_eq!(tally.moved.load(Ordering::SeqCst), 1, "{kind}");
        }
    }
    let before = server.log.wait_for("queries were answered before");
    let before: u64 = before.split(" queries").next().unwrap().rsplit(' ').next().unwrap().parse().unwrap();
    let (after, unanswered) = runtime.block_on(replies(metrics));
    assert!(before > 0 && after > 0);
    assert_eq!((before + after, unanswered), (answered, 0), "what the servers counted");
    send("TERM", successor);
    server.log.wait_for_end();
}

#[test]
fn a_successor_that_does_not_start_changes_nothing() {
    let place = Place::with(&configuration());
    let server = Server::start(place.command());
    let address = server.log.address("udp");
    let packets = place.path().join("packets");
    let is_held = || matches!(DiskStore::open(&packets, 1_000_000), Err(DiskError::Locked { .. }));
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    for (number, (mistake, reason)) in [
        ("verbos = true".to_owned(), "there is no option `verbos`"),
        (
            configuration().replace("[doh]", "[doh]\ncert_path = '/nope'\nkey_path = '/nope'"),
            "doh.cert_path: /nope",
        ),
        // Found out when the packets have been left to it.
        (
            configuration().replacen("127.0.0.1:0", &taken.local_addr().unwrap().to_string(), 1),
            "holds this port",
        ),
    ]
    .into_iter()
    .enumerate()
    {
        place.configure(&mistake);
        server.send("USR2");
        let goes_on = |line: &&String| line.contains("no other process takes the place of this one");
        let end = Instant::now() + PATIENCE;
        while server.log.lines().iter().filter(goes_on).count() <= number {
            assert!(Instant::now() < end, "{:#?}", server.log.lines());
            thread::sleep(Duration::from_millis(20));
        }
        server.log.wait_for(reason);
        assert!(ask_over_udp(address, &format!("n{number}.load.lan"), PATIENCE), "{:#?}", server.log.lines());
        assert!(is_held(), "the packets are kept on disk again");
    }
    // And once the mistake is mended, it does.
    place.configure(&configuration());
    let successor = server.upgrade();
    assert!(ask_over_udp(address, "after.load.lan", PATIENCE));
    send("TERM", successor);
}
