//! Files that somebody else renews.

use std::{fs, sync::Arc, time::Duration};

use bytes::Bytes;
use hickory_proto::rr::RecordType;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo};
use pkdns_testing::{
    authority::Authority,
    server::query,
    support::client::ask_on,
    tls_client::{connect, shown, shown_after, trusting},
};
use tokio_util::sync::CancellationToken;

use super::start;

/// Queries until the stop; each has to be answered. Half of them on one connection, half on a connection each.
async fn load_https(server: std::net::SocketAddr, authority: String, stop: CancellationToken) -> usize {
    let config = Arc::new(trusting(&authority, &["h2"]));
    let open = async || {
        let stream = connect(server, "localhost", config.clone()).await.expect("a handshake");
        let (sender, connection) =
            http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        sender
    };
    let mut kept = open().await;
    let mut answered = 0;
    while !stop.is_cancelled() {
        for sender in [&mut kept, &mut open().await] {
            let request = Request::post("https://localhost/dns-query")
                .header("content-type", "application/dns-message")
                .body(Full::new(Bytes::from(query("www.example.com", RecordType::A))))
                .unwrap();
            let response = sender.send_request(request).await.expect("a response");
            assert_eq!(response.status(), 200);
            assert!(response.into_body().collect().await.unwrap().to_bytes().len() > 12);
            answered += 1;
        }
    }
    answered
}

async fn load_tls(server: std::net::SocketAddr, authority: String, stop: CancellationToken) -> usize {
    let config = Arc::new(trusting(&authority, &["dot"]));
    let open = async || connect(server, "localhost", config.clone()).await.expect("a handshake");
    let mut kept = open().await;
    let mut answered = 0;
    while !stop.is_cancelled() {
        // A connection carries ten thousand queries and no more.
        tokio::time::sleep(Duration::from_millis(5)).await;
        for stream in [&mut kept, &mut open().await] {
            let message = query("www.example.com", RecordType::A);
            ask_on(stream, &message).await.expect("a reply");
            answered += 1;
        }
    }
    answered
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn new_files_are_shown_to_the_next_handshake_and_no_query_fails() {
    let directory = tempfile::tempdir().unwrap();
    let (certificate_path, key_path) = (directory.path().join("cert.pem"), directory.path().join("key.pem"));
    let authority = Authority::new();
    let write = |(certificate, key): &(String, String)| {
        fs::write(&certificate_path, certificate).unwrap();
        fs::write(&key_path, key).unwrap();
    };
    write(&authority.issue());
    let server = start(|config| {
        config.doh.cert_path = Some(certificate_path.clone());
        config.doh.key_path = Some(key_path.clone());
    });
    let before = shown(server.https()).await.unwrap();
    let stop = CancellationToken::new();
    let https = tokio::spawn(load_https(server.https(), authority.pem.clone(), stop.clone()));
    let tls = tokio::spawn(load_tls(server.tls(), authority.pem.clone(), stop.clone()));
    // Half of a new pair is no pair.
    let next = authority.issue();
    fs::write(&certificate_path, &next.0).unwrap();
    // Files are looked at every five seconds. Whoever looks later finds the old pair all the same.
    tokio::time::sleep(Duration::from_secs(6)).await;
    assert_eq!(shown(server.https()).await.unwrap(), before);
    fs::write(&key_path, &next.1).unwrap();
    let after = shown_after(server.https(), Some(&before)).await;
    assert_eq!(shown(server.tls()).await.unwrap(), after);
    stop.cancel();
    let (https, tls) = (https.await.unwrap(), tls.await.unwrap());
    assert!(https > 10 && tls > 10, "{https} and {tls} queries");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_link_that_points_elsewhere_is_a_new_file() {
    let directory = tempfile::tempdir().unwrap();
    let authority = Authority::new();
    for version in ["one", "two"] {
        let (certificate, key) = authority.issue();
        fs::create_dir(directory.path().join(version)).unwrap();
        fs::write(directory.path().join(version).join("cert.pem"), certificate).unwrap();
        fs::write(directory.path().join(version).join("key.pem"), key).unwrap();
    }
    let live = directory.path().join("live");
    std::os::unix::fs::symlink(directory.path().join("one"), &live).unwrap();
    let server = start(|config| {
        config.doh.cert_path = Some(live.join("cert.pem"));
        config.doh.key_path = Some(live.join("key.pem"));
    });
    let before = shown(server.https()).await.unwrap();
    let new_link = directory.path().join("new");
    std::os::unix::fs::symlink(directory.path().join("two"), &new_link).unwrap();
    fs::rename(&new_link, &live).unwrap();
    shown_after(server.https(), Some(&before)).await;
}
