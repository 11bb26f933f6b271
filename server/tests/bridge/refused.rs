//! Clients for whom there is no verified site.

use std::{collections::HashMap, sync::atomic::Ordering};

use pkdns::edge::bridge::Failure;
use tokio::{io::AsyncWriteExt, net::TcpListener};
use tokio_rustls::rustls::{AlertDescription, Error};

use crate::{
    plain::exchange,
    site::{Manner, TlsSite},
    stage::{KEY, Stage, host, rest},
};

const REQUEST: &[u8] = b"POST /login HTTP/1.1\r\nhost: x\r\ncontent-length: 8\r\n\r\npassword";

async fn page(stage: &Stage, host: &str) -> String {
    let mut stream = stage.connect(host, &["h2", "http/1.1"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"http/1.1"[..]));
    stream.write_all(REQUEST).await.unwrap();
    let (page, _) = rest(&mut stream).await;
    String::from_utf8(page).unwrap()
}

#[tokio::test]
async fn a_site_that_shows_another_key_gets_not_one_byte_and_the_client_a_page() {
    let stage = Stage::start().await;
    let (ours, impostor) = (TlsSite::start(Manner::Echo, &[]).await, TlsSite::start(Manner::Echo, &[]).await);
    stage.script.lead(&host(), impostor.address, &ours.certificate);
    let page = page(&stage, &host()).await;
    assert!(page.starts_with("HTTP/1.1 502 "), "{page}");
    for part in [
        "the key of this very test",
        "content-security-policy: default-src 'none'",
        "connection: close",
        &host(),
    ] {
        assert!(page.contains(part), "{part} is not in {page}");
    }
    assert_eq!((impostor.received(), impostor.connections.load(Ordering::SeqCst)), (0, 0));
    assert_eq!((stage.counted("another_key"), stage.counted("bridged")), (1, 0));
}

#[tokio::test]
async fn every_failure_has_a_page_with_its_status() {
    let stage = Stage::start().await;
    let mut counted = HashMap::new();
    for (failure, status, outcome, error) in [
        (Failure::Absent("nobody is there".into()), 404, "absent", "destination_not_found"),
        (Failure::NoTls("nothing says how".into()), 502, "no_tls", "tls_protocol_error"),
        (Failure::NoAddress("there is none".into()), 502, "absent", "destination_ip_unroutable"),
        (Failure::Chain("they lead in a circle".into()), 502, "absent", "dns_error"),
        (Failure::Denied("it is on a list".into()), 403, "denied", "http_request_denied"),
        (Failure::Lookup("the DHT is silent".into()), 504, "lookup_failed", "dns_error"),
        (Failure::Unreachable("no route".into()), 502, "unreachable", "destination_unavailable"),
        (Failure::HandshakeRefused("an alert".into()), 502, "handshake_refused", "tls_protocol_error"),
        (Failure::TimedOut("ten seconds".into()), 504, "timed_out", "connection_timeout"),
    ] {
        stage.script.fail(&host(), failure);
        let page = page(&stage, &host()).await;
        assert!(page.starts_with(&format!("HTTP/1.1 {status} ")), "{page}");
        assert!(
            page.contains(&format!("\r\nproxy-status: pkdns-bridge; error={error}; details=\"")),
            "{page}"
        );
        *counted.entry(outcome).or_insert(0) += 1;
        assert_eq!(stage.counted(outcome), counted[outcome], "{outcome}");
    }
    stage.until(|stage| stage.metrics.connections.open.bridge.get() == 0).await;
}

#[tokio::test]
async fn of_an_address_that_a_client_cannot_reach_it_learns_nothing() {
    let stage = Stage::start().await;
    stage.script.withholds.store(true, Ordering::Relaxed);
    let ours = TlsSite::start(Manner::Echo, &[]).await;
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    stage.script.plain.lock().unwrap().insert(format!("plain.{KEY}.key."), closed);
    stage.script.fail(&format!("plain.{KEY}.key"), Failure::NoTls("nothing says how".into()));
    let request = format!("GET / HTTP/1.1\r\nhost: plain.{KEY}.key\r\n\r\n");
    let mut pages = vec![exchange(stage.plain, &request).await];
    for address in [TlsSite::start(Manner::Echo, &[]).await.address, closed] {
        stage.script.lead(&host(), address, &ours.certificate);
        pages.push(page(&stage, &host()).await);
    }
    let told = |page: &String| {
        let body = page.split_once("\r\n\r\n").unwrap().1.replace("plain.", "www.");
        let field = page.lines().find(|line| line.starts_with("proxy-status: ")).unwrap().to_owned();
        (page[..12].to_owned(), field, body)
    };
    assert!(
        pages[0].contains("This site could not be verified") && !pages[0].contains("127.0.0.1"),
        "{pages:?}"
    );
    assert_eq!(told(&pages[0]), told(&pages[1]));
    assert_eq!(told(&pages[1]), told(&pages[2]));
    // Who runs the server sees more.
    assert_eq!((stage.counted("another_key"), stage.counted("unreachable")), (1, 1));
}

#[tokio::test]
async fn a_client_that_speaks_http_2_alone_reads_the_page_in_it() {
    let stage = Stage::start().await;
    let stream = stage.connect(&host(), &["h2"]).await.unwrap();
    assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
    let (mut client, connection) = h2::client::handshake(stream).await.unwrap();
    tokio::spawn(connection);
    let request = http::Request::get(format!("https://{}/", host())).body(()).unwrap();
    let (response, _) = client.send_request(request, true).unwrap();
    let response = response.await.unwrap();
    assert_eq!(response.status(), 404);
    let mut body = response.into_body();
    let mut page = Vec::new();
    while let Some(piece) = body.data().await {
        page.extend(piece.unwrap());
    }
    assert!(String::from_utf8(page).unwrap().contains("There is no such site"));
}

#[tokio::test]
async fn names_that_are_none_below_a_key_are_refused_by_the_alert_for_it() {
    let stage = Stage::start().await;
    for host in ["example.com", &format!("{KEY}.com"), KEY, "key"] {
        let error = stage.connect(host, &[]).await.unwrap_err();
        let said = error.get_ref().and_then(|error| error.downcast_ref::<Error>());
        assert_eq!(said, Some(&Error::AlertReceived(AlertDescription::UnrecognisedName)), "{host}");
    }
    // An address is no name, so that there is none.
    let error = stage.connect("127.0.0.1", &[]).await.unwrap_err();
    assert!(error.to_string().contains("UnrecognisedName"), "{error}");
    assert_eq!(stage.counted("unknown_name"), 5);
}

#[tokio::test]
async fn a_protocol_that_cannot_be_passed_on_is_refused_before_the_site_is_asked() {
    let stage = Stage::start().await;
    let site = TlsSite::start(Manner::Echo, &["dot"]).await;
    stage.script.lead(&host(), site.address, &site.certificate);
    let error = stage.connect(&host(), &["dot"]).await.unwrap_err();
    assert!(error.to_string().contains("NoApplicationProtocol"), "{error}");
    assert_eq!(site.connections.load(Ordering::SeqCst), 0);
}
