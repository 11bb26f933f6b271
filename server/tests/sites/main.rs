//! Sites of the web servers that people have: none of them knows raw public keys, and each shows a certificate of the key, or one that a
//! TLSA record names.
//!
//! Needs `openssl`, nginx, Caddy and HAProxy. Without one of them its tests say so and pass, unless `CI=true`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod server;

use pkdns::{
    edge::bridge::{ConnectError, SiteConnector},
    resolver::site::{Matching, Proof, Selector, Site, Tlsa},
};
use pkdns_dht::signed_packet::{Keypair, PublicKey};
use sha2::{Digest, Sha256};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use server::{Certificate, Kind, Server};

/// The seed of the key that has the sites, and of another one.
const OURS: u8 = 1;
const THEIRS: u8 = 2;

fn key(seed: u8) -> PublicKey {
    Keypair::from_secret_key(&[seed; 32]).public_key()
}

fn of_key() -> Proof {
    Proof { key: Some(key(OURS)), certificates: Vec::new() }
}

fn of_record(selector: Selector, of: &[u8]) -> Proof {
    let data = Sha256::digest(of).to_vec();
    Proof { key: None, certificates: vec![Tlsa { selector, matching: Matching::Sha256, data }] }
}

/// What the site says to a request, over a connection that was verified.
async fn page(server: &Server, proof: Proof) -> Result<String, ConnectError> {
    let end_point = format!("{}.", key(OURS).to_z32()).parse().unwrap();
    let site = Site { end_point, addresses: vec![server.address], proof };
    let connector = SiteConnector::new().unwrap();
    let mut connected = connector.connect(&site, &[b"http/1.1".to_vec()]).await?;
    connected.stream.write_all(b"GET / HTTP/1.0\r\nHost: site\r\n\r\n").await.unwrap();
    let mut page = Vec::new();
    // Some end without saying so in TLS.
    let _ = connected.stream.read_to_end(&mut page).await;
    Ok(String::from_utf8_lossy(&page).into_owned())
}

async fn is_reached(kind: Kind) {
    let Some(openssl) = server::openssl() else { return };
    let directory = tempfile::tempdir().unwrap();
    let ed25519 = Certificate::ed25519(&openssl, directory.path(), OURS);
    let Some(server) = Server::start(kind, &ed25519, "") else { return };
    let pages = page(&server, of_key()).await;
    assert!(pages.as_ref().is_ok_and(|page| page.contains(" 200 ")), "{kind:?}: {pages:?}\n{}", server.log());
    // The record comes first where there is one, and names the same key here.
    let proof = Proof { key: Some(key(OURS)), ..of_record(Selector::PublicKey, &ed25519.public_key()) };
    assert!(page(&server, proof).await.unwrap().contains(" 200 "), "{kind:?}");

    for (certificate, versions) in [
        (Certificate::rsa(&openssl, directory.path()), ""),
        (Certificate::p256(&openssl, directory.path()), ""),
        (Certificate::rsa(&openssl, directory.path()), "1.2"),
    ] {
        let server = Server::start(kind, &certificate, versions).unwrap();
        for proof in [
            of_record(Selector::PublicKey, &certificate.public_key()),
            of_record(Selector::Certificate, &certificate.der()),
        ] {
            let page = page(&server, proof).await;
            assert!(page.as_ref().is_ok_and(|page| page.contains(" 200 ")), "{kind:?} {versions}: {page:?}");
        }
        let error = page(&server, of_record(Selector::PublicKey, b"another")).await.unwrap_err();
        assert!(matches!(error, ConnectError::AnotherKey { .. }), "{kind:?} {versions}: {error}");
    }

    let foreign = Certificate::ed25519(&openssl, directory.path(), THEIRS);
    let server = Server::start(kind, &foreign, "").unwrap();
    let error = page(&server, of_key()).await.unwrap_err();
    let theirs = format!("shows a certificate with the key {}", key(THEIRS).to_z32());
    assert!(error.to_string().contains(&theirs), "{kind:?}: {error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_of_openssl_is_reached_and_no_other() {
    is_reached(Kind::OpenSsl).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_of_nginx_is_reached_and_no_other() {
    is_reached(Kind::Nginx).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_of_caddy_is_reached_and_no_other() {
    is_reached(Kind::Caddy).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_of_haproxy_is_reached_and_no_other() {
    is_reached(Kind::HaProxy).await;
}
