//! Clients and sites that mean harm, or do nothing.

use std::{net::SocketAddr, time::Duration};

use pkdns::base::access::{AccessList, TrustedProxies};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    time::{Instant, timeout},
};

use crate::{
    site::{Manner, TlsSite},
    stage::{OTHER_CLIENT, PATIENCE, Settings, Stage, host},
};

/// What comes back over TCP until the end, and how it ended.
async fn all(stream: &mut TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    let _ = timeout(PATIENCE, stream.read_to_end(&mut all)).await.expect("an end");
    all
}

#[tokio::test]
async fn a_hello_that_does_not_come_to_an_end_is_given_up() {
    let stage = Stage::start().await;
    let mut stream = TcpStream::connect(stage.address).await.unwrap();
    stream.write_all(&[22, 3, 1, 2, 0, 1]).await.unwrap();
    let start = Instant::now();
    assert!(all(&mut stream).await.is_empty());
    assert!(start.elapsed() >= Duration::from_secs(4), "{:?}", start.elapsed());
    assert_eq!(stage.counted("no_hello"), 1);
}

#[tokio::test]
async fn what_is_no_tls_is_closed_at_once() {
    let stage = Stage::start().await;
    let mut stream = TcpStream::connect(stage.address).await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    all(&mut stream).await;
    stage.until(|stage| stage.counted("no_hello") == 1).await;
}

#[tokio::test]
async fn there_are_so_many_connections_and_a_client_has_a_share() {
    let settings = Settings { connections: 4, connections_per_client: 4, ..Settings::default() };
    let stage = Stage::start_with(settings).await;
    let site = TlsSite::start(Manner::Silent, &[]).await;
    stage.script.lead(&host(), site.address, &site.certificate);
    let mut held = Vec::new();
    for _ in 0..4 {
        if let Ok(stream) = stage.connect(&host(), &[]).await {
            held.push(stream);
        }
    }
    let open = stage.metrics.connections.open.bridge.get();
    assert!((1..=4).contains(&open), "{open}");
    // Another client finds a place, or makes the server refuse it; never are there more than four.
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::from((OTHER_CLIENT, 0))).unwrap();
    let _other = socket.connect(stage.address).await.unwrap();
    for _ in 0..8 {
        let _ = stage.connect(&host(), &[]).await;
        assert!(stage.metrics.connections.open.bridge.get() <= 5, "with one that leaves");
    }
    drop(held);
    stage.until(|stage| stage.metrics.connections.open.bridge.get() == 0).await;
}

#[tokio::test]
async fn one_client_has_so_many_connections_to_a_site_and_a_page_says_so() {
    let settings = Settings { connections_per_client: 200, ..Settings::default() };
    let stage = Stage::start_with(settings).await;
    let site = TlsSite::start(Manner::Silent, &[]).await;
    stage.script.lead(&host(), site.address, &site.certificate);
    let mut held = Vec::new();
    while stage.counted("site_full") == 0 {
        held.push(stage.connect(&host(), &[]).await.unwrap());
        assert!(held.len() <= 65);
    }
    let mut last = held.pop().unwrap();
    last.write_all(b"GET / HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut page = String::new();
    let _ = timeout(PATIENCE, last.read_to_string(&mut page)).await.unwrap();
    assert!(page.starts_with("HTTP/1.1 503 "), "{page}");
    assert_eq!(stage.counted("bridged"), held.len() as u64);
}

#[tokio::test]
async fn whom_access_does_not_serve_is_closed_without_a_word() {
    let access = AccessList::new(vec!["192.0.2.0/24".parse().unwrap()], Vec::new());
    let stage = Stage::start_with(Settings { access, ..Settings::default() }).await;
    for address in [stage.address, stage.plain] {
        let mut stream = TcpStream::connect(address).await.unwrap();
        assert!(all(&mut stream).await.is_empty());
    }
    assert_eq!(stage.counted("access"), 1);
}

#[tokio::test]
async fn whom_a_trusted_proxy_names_is_who_has_come() {
    let settings = Settings {
        access: AccessList::new(vec!["203.0.113.0/24".parse().unwrap()], Vec::new()),
        trusted: TrustedProxies::new(vec!["127.0.0.0/8".parse().unwrap()]),
        ..Settings::default()
    };
    let stage = Stage::start_with(settings).await;
    let site = TlsSite::start(Manner::Silent, &[]).await;
    stage.script.lead(&host(), site.address, &site.certificate);
    for (client, is_served) in [("203.0.113.9", true), ("192.0.2.9", false)] {
        let mut stream = TcpStream::connect(stage.address).await.unwrap();
        let header = format!("PROXY TCP4 {client} 192.0.2.1 1234 443\r\n");
        stream.write_all(header.as_bytes()).await.unwrap();
        assert_eq!(stage.shake_hands(stream, &host(), &[]).await.is_ok(), is_served, "{client}");
    }
    assert_eq!((stage.counted("bridged"), stage.counted("access")), (1, 1));
}

#[tokio::test]
async fn what_a_client_does_not_take_is_bounded_and_counts_for_it() {
    let stage = Stage::start().await;
    let site = TlsSite::start(Manner::Endless, &[]).await;
    stage.script.lead(&host(), site.address, &site.certificate);
    let mut held = Vec::new();
    for _ in 0..10 {
        held.push(stage.connect(&host(), &[]).await.unwrap());
    }
    // What the sockets take is not ours.
    stage.until(|stage| stage.held() > 0).await;
    for _ in 0..100 {
        tokio::time::sleep(Duration::from_millis(10)).await;
        // Two records that were read at once, and one that had begun before.
        assert!(stage.held() <= held.len() * (48 << 10), "{}", stage.held());
    }
    drop(held);
    stage.until(|stage| stage.held() == 0).await;
}

#[tokio::test]
async fn who_would_hold_more_than_its_share_is_closed() {
    let settings = Settings { held_bytes: 64 << 10, ..Settings::default() };
    let stage = Stage::start_with(settings).await;
    let site = TlsSite::start(Manner::Endless, &[]).await;
    stage.script.lead(&host(), site.address, &site.certificate);
    let _held = stage.connect(&host(), &[]).await.unwrap();
    stage.until(|stage| stage.metrics.connections.open.bridge.get() == 0).await;
    assert!(stage.metrics.refusals.readings().contains(&("unread", 1)));
}
