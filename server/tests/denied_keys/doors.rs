//! What there is over HTTP.

use std::fs;

use http::Method;
use pkdns::config::Config;
use pkdns_dht::signed_packet::Keypair;
use pkdns_testing::server::{address, keypair, record, signed};

use super::{Stage, deny, z32};

fn packet(keypair: &Keypair, timestamp: u64) -> Vec<u8> {
    signed(keypair, timestamp, &[record(keypair, "", 300, address(9))]).to_payload()
}

#[tokio::test]
async fn the_relay_neither_gives_nor_takes_a_denied_key() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("list");
    fs::write(&path, z32(1)).unwrap();
    let stage = Stage::set(|config| deny(config, "blocked", &[path.to_str().unwrap()]));
    for path in
        [format!("/{}", z32(1)), format!("/pkarr/{}", z32(1)), format!("/{}?policy=NetworkOnly", z32(1))]
    {
        let reply = stage.http(Method::GET, &path, &[], b"").await;
        assert_eq!((reply.status, reply.header("access-control-allow-origin")), (451, "*"), "{path}");
        assert_eq!(reply.text(), "Denied: the operator of this server denies this key.\n");
    }
    let put = stage.http(Method::PUT, &format!("/{}", z32(1)), &[], &packet(&keypair(1), 2)).await;
    assert_eq!(put.status, 451);
    assert_eq!(stage.lookups(), 0);
    let held = stage.0.network.packet(&keypair(1).public_key()).unwrap().timestamp();
    assert_eq!(held, 1, "it was published");
    assert!(stage.counts("pkdns_relay_reads_total{outcome=\"denied\"} 3"));
    assert!(stage.counts("pkdns_relay_writes_total{outcome=\"denied\"} 1"));
    let path = format!("/{}", z32(3));
    assert_eq!(stage.http(Method::PUT, &path, &[], &packet(&keypair(3), 2)).await.status, 204);
    assert_eq!(stage.http(Method::GET, &path, &[], b"").await.status, 200);
}

/// Whoever reports a key is not whom a server serves.
#[tokio::test]
async fn everybody_may_read_where_to_report_a_key() {
    let contact = |config: &mut Config| config.operator.contact = vec!["mailto:abuse@example.net".into()];
    let strangers = |config: &mut Config| {
        config.access.allow = vec!["192.0.2.0/24".parse().unwrap()];
        contact(config);
    };
    let foreign = [("host", "pk.example.net")];
    for (number, stage) in [Stage::set(strangers), Stage::set(contact)].iter().enumerate() {
        for (path, part) in
            [("/abuse", "mailto:abuse@example.net"), ("/.well-known/security.txt", "Contact: mailto:abuse")]
        {
            let reply = stage.http(Method::GET, path, &foreign, b"").await;
            assert_eq!(reply.status, 200, "{path}");
            assert!(reply.text().contains(part), "{}", reply.text());
            assert!(reply.header("content-security-policy").starts_with("default-src 'none'"), "{path}");
        }
        let other = stage.http(Method::GET, "/", &[], b"").await.status;
        assert_eq!(other, if number == 0 { 403 } else { 200 });
        // No more than the two texts is there for strangers, nor for pages of others.
        assert_ne!(stage.http(Method::GET, "/abuse/", &foreign, b"").await.status, 200);
    }
    let stage = Stage::set(|_| ());
    for path in ["/abuse", "/.well-known/security.txt"] {
        assert_eq!(stage.http(Method::GET, path, &[], b"").await.status, 404);
    }
}
