//! Requests in the clear.

use std::net::SocketAddr;

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    time::timeout,
};

use pkdns::edge::bridge::Failure;

use crate::{
    site::{Manner, TlsSite},
    stage::{KEY, PATIENCE, Settings, Stage, host},
};

pub(crate) async fn exchange(address: SocketAddr, request: &str) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut response = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut response)).await.unwrap().unwrap();
    response
}

#[tokio::test]
async fn a_site_with_tls_is_where_requests_in_the_clear_are_sent() {
    let stage = Stage::start_with(Settings { https_port: 8443, ..Settings::default() }).await;
    let site = TlsSite::start(Manner::Echo, &[]).await;
    stage.script.lead(&host(), site.address, &site.certificate);
    for (line, port, expected) in [
        (
            "GET /a?b=c HTTP/1.1",
            "",
            format!("HTTP/1.1 308 Permanent Redirect\r\nlocation: https://{}/a?b=c\r\n", host()),
        ),
        (
            "POST / HTTP/1.0",
            ":80",
            format!("HTTP/1.1 301 Moved Permanently\r\nlocation: https://{}/\r\n", host()),
        ),
        (
            "GET / HTTP/1.1",
            ":8080",
            format!("HTTP/1.1 308 Permanent Redirect\r\nlocation: https://{}:8443/\r\n", host()),
        ),
    ] {
        let upper = host().to_uppercase();
        let response = exchange(stage.plain, &format!("{line}\r\nHost: {upper}{port}\r\n\r\n")).await;
        let lines: Vec<_> = response.lines().collect();
        let (status, location) = expected.trim_end().split_once("\r\n").unwrap();
        assert_eq!(lines[0], status, "{response}");
        assert!(lines.contains(&location), "{response}");
    }
    assert_eq!(site.received(), 0);
}

#[tokio::test]
async fn a_site_without_tls_gets_the_request_as_it_stands_but_for_a_via() {
    let stage = Stage::start().await;
    stage.script.fail(&host(), Failure::NoTls("nothing says how".into()));
    let site = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = site.local_addr().unwrap();
    stage.script.plain.lock().unwrap().insert(format!("{}.", host()), address);
    let request =
        format!("POST /x HTTP/1.1\r\nhost: {}\r\nX-Odd:  spaces \r\ncontent-length: 4\r\n\r\nbody", host());
    let mut client = TcpStream::connect(stage.plain).await.unwrap();
    client.write_all(request.as_bytes()).await.unwrap();
    let (mut stream, _) = timeout(PATIENCE, site.accept()).await.unwrap().unwrap();
    let via = "Via: 1.1 pkdns-bridge-0123456789abcdef\r\n";
    let mut received = vec![0; request.len() + via.len()];
    timeout(PATIENCE, stream.read_exact(&mut received)).await.unwrap().unwrap();
    let received = String::from_utf8(received).unwrap();
    let (before, after) = received.split_once("Via: 1.1 pkdns-bridge-").unwrap();
    assert_eq!(format!("{before}{}", after.split_once("\r\n").unwrap().1), request);
    // What follows goes both ways, and either side may end first.
    stream.write_all(b"HTTP/1.1 200 OK\r\n\r\nhello").await.unwrap();
    stream.shutdown().await.unwrap();
    let mut response = String::new();
    timeout(PATIENCE, client.read_to_string(&mut response)).await.unwrap().unwrap();
    assert_eq!(response, "HTTP/1.1 200 OK\r\n\r\nhello");
    client.write_all(b"more").await.unwrap();
    client.shutdown().await.unwrap();
    let mut more = String::new();
    timeout(PATIENCE, stream.read_to_string(&mut more)).await.unwrap().unwrap();
    assert_eq!(more, "more");
    assert_eq!(stage.metrics.bridge.plain.passed_on.get(), 1);
}

#[tokio::test]
async fn names_that_lead_to_one_site_share_its_places_in_the_clear_and_over_tls() {
    let settings = Settings { connections_per_client: 200, ..Settings::default() };
    let stage = Stage::start_with(settings).await;
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        let mut open = Vec::new();
        while let Ok(accepted) = listener.accept().await {
            open.push(accepted);
        }
    });
    let keys = [1_u8, 2].map(|seed| pkdns_testing::server::keypair(seed).to_z32());
    for key in &keys {
        let host = format!("{key}.key");
        stage.script.fail(&host, Failure::NoTls("nothing says how".into()));
        stage.script.plain.lock().unwrap().insert(format!("{host}."), address);
    }
    let mut held = Vec::new();
    while stage.metrics.bridge.plain.failed.get() == 0 {
        let mut stream = TcpStream::connect(stage.plain).await.unwrap();
        let request = format!("GET / HTTP/1.1\r\nhost: {}.key\r\n\r\n", keys[held.len() % 2]);
        stream.write_all(request.as_bytes()).await.unwrap();
        held.push(stream);
        assert!(held.len() <= 65, "one client by two keys");
        let plain = &stage.metrics.bridge.plain;
        let sent = held.len() as u64;
        stage.until(|_| plain.passed_on.get() + plain.failed.get() == sent).await;
    }
    let mut page = String::new();
    timeout(PATIENCE, held.pop().unwrap().read_to_string(&mut page)).await.unwrap().unwrap();
    assert!(page.starts_with("HTTP/1.1 503 "), "{page}");
    assert_eq!(held.len(), 64);
    // What is at that address is one site, whatever is spoken there.
    let other = TlsSite::start(Manner::Silent, &[]).await;
    stage.script.lead(&host(), address, &other.certificate);
    stage.connect(&host(), &[]).await.unwrap();
    assert_eq!((stage.counted("site_full"), stage.counted("bridged")), (1, 0));
}

/// A router whose public address is in the site's records leads back to the bridge behind it.
#[tokio::test]
async fn a_site_whose_address_leads_back_to_the_bridge_makes_it_connect_to_itself_once() {
    let stage = Stage::start().await;
    stage.script.fail(&host(), Failure::NoTls("nothing says how".into()));
    stage.script.plain.lock().unwrap().insert(format!("{}.", host()), stage.plain);
    let response = exchange(stage.plain, &format!("GET / HTTP/1.1\r\nhost: {}\r\n\r\n", host())).await;
    assert!(response.starts_with("HTTP/1.1 508 "), "{response}");
    assert!(response.contains("leads back to this server"), "{response}");
    let outcomes = &stage.metrics.bridge.plain;
    assert_eq!((outcomes.passed_on.get(), outcomes.failed.get()), (1, 1));
}

#[tokio::test]
async fn other_hosts_and_what_is_no_request_are_told_so() {
    let stage = Stage::start().await;
    for (request, status) in [
        ("GET / HTTP/1.1\r\nhost: example.com\r\n\r\n".to_owned(), "421"),
        (format!("GET / HTTP/1.1\r\nhost: {KEY}\r\n\r\n"), "421"),
        (format!("GET http://example.com/ HTTP/1.1\r\nhost: {}\r\n\r\n", host()), "421"),
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), "400"),
        ("nonsense\r\n\r\n".to_owned(), "400"),
        (format!("GET /{} HTTP/1.1\r\n", "a".repeat(9000)), "400"),
        (format!("GET / HTTP/1.1\r\nhost: {}\r\n\r\n", host()), "404"),
    ] {
        let response = exchange(stage.plain, &request).await;
        assert!(response.starts_with(&format!("HTTP/1.1 {status} ")), "{request}\n{response}");
    }
}
