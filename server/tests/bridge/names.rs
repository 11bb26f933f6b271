//! Who is led to the bridge, and what is the same for everybody. What is answered is in the scenarios.

use std::time::Duration;

use hickory_proto::rr::{RData, RecordType};
use http::{Method, Version};
use pkdns::config::{Config, Origin};
use pkdns_dht::NetworkError;
use pkdns_testing::server::{
    TestServer, extended_error, keypair, parse, pass, query, record, signed, with_edns,
};

const BRIDGE: &str = "192.0.2.99";
const SIGNED: &str = "203.0.113.1";

/// A whole server; the first key is a site, and the second leads to it.
struct Stage(TestServer);

fn data(record_type: RecordType, text: &str) -> RData {
    RData::try_from_str(record_type, text).unwrap()
}

fn z32(seed: u8) -> String {
    keypair(seed).to_z32()
}

impl Stage {
    fn set(clients_of: &str, change: impl FnOnce(&mut Config)) -> Self {
        let config: Config = toml::from_str(&format!(
            "listen = '127.0.0.1:0'\nfallback_dns = '127.0.0.1:1'\nrelay.enabled = true\n\
             doh.plain_listen = '127.0.0.1:0'\n\
             [bridge]\nlisten = '127.0.0.1:0'\naddresses = '{BRIDGE}'\nclients_of = {clients_of}"
        ))
        .unwrap();
        let server = TestServer::builder().config(config).change(change).start();
        let records = |seed, service: &str, address| {
            let data = [data(RecordType::HTTPS, service), data(RecordType::A, address)];
            data.map(|data| record(&keypair(seed), "", 300, data))
        };
        server.publish(&keypair(1), 1, &records(1, "1 . port=6287", SIGNED));
        server.publish(&keypair(2), 1, &records(2, &format!("0 {}.", z32(1)), "203.0.113.2"));
        Self(server)
    }

    /// The address that is answered over UDP.
    async fn over_udp(&self, name: &str) -> String {
        address(&self.0.send(&query(name, RecordType::A)).await)
    }

    /// The address that is answered over HTTP.
    async fn over_http(&self, name: &str) -> String {
        address(&self.0.post(&query(name, RecordType::A)).await.body)
    }
}

fn address(reply: &[u8]) -> String {
    let reply = parse(reply);
    let addresses: Vec<String> = reply.answers.iter().map(|record| record.data.to_string()).collect();
    match addresses.is_empty() {
        true => reply.metadata.response_code.to_string(),
        false => addresses.join(" "),
    }
}

/// Each of them more than once, so that what was kept for one is not given to the other.
#[tokio::test]
async fn two_clients_are_answered_as_their_listeners_are_meant_at_the_same_time() {
    let name = z32(1) + ".key";
    for (clients_of, over_udp, over_http) in [
        ("['dns']", BRIDGE, SIGNED),
        ("['http']", SIGNED, BRIDGE),
        ("['dns', 'http']", BRIDGE, BRIDGE),
        // Nobody here speaks TLS.
        ("['https', 'tls']", SIGNED, SIGNED),
    ] {
        let stage = Stage::set(clients_of, |_| ());
        for _ in 0..3 {
            assert_eq!(stage.over_udp(&name).await, over_udp, "{clients_of}");
            assert_eq!(stage.over_http(&name).await, over_http, "{clients_of}");
        }
        assert_eq!(stage.over_udp(&z32(1)).await, SIGNED, "a bare key");
    }
}

#[tokio::test]
async fn the_relay_gives_the_packet_as_it_was_signed() {
    let stage = Stage::set("['dns', 'http']", |_| ());
    let signed = stage.0.network.packet(&keypair(1).public_key()).unwrap().to_payload();
    assert_eq!(stage.over_http(&(z32(1) + ".key")).await, BRIDGE);
    let reply = stage.0.request(Version::HTTP_11, Method::GET, &format!("/{}", z32(1)), &[], b"").await;
    assert_eq!((reply.status, &reply.body[..]), (200, &signed[..]));
}

/// For those whom `[access]` serves, and for strangers.
#[tokio::test]
async fn a_name_in_an_origin_is_as_signed_for_everybody() {
    for allow in ["127.0.0.0/8", "198.51.100.0/24"] {
        let stage = Stage::set("['dns', 'http']", |config| {
            config.access.allow = vec![allow.parse().unwrap()];
            let (name, name_servers) = ("pk.example.net".into(), vec!["ns1.example.com".into()]);
            config.origin = vec![Origin { name, name_servers, ..Origin::default() }];
        });
        for _ in 0..2 {
            assert_eq!(stage.over_udp(&(z32(1) + ".pk.example.net")).await, SIGNED, "{allow}");
        }
    }
}

/// The answer for the cold key was made from both packets.
#[tokio::test]
async fn a_newer_packet_of_any_key_on_the_way_takes_the_answer_with_it() {
    let stage = Stage::set("['dns']", |_| ());
    let (cold, hot) = (z32(2) + ".key", z32(1) + ".key");
    for _ in 0..2 {
        assert_eq!(stage.over_udp(&cold).await, BRIDGE);
        assert_eq!(stage.over_udp(&hot).await, BRIDGE);
    }
    let put = async |timestamp: u64, record_type: RecordType, text: &str| {
        let records = [
            record(&keypair(1), "", 300, data(record_type, text)),
            record(&keypair(1), "", 300, data(RecordType::A, "203.0.113.9")),
        ];
        let packet = signed(&keypair(1), timestamp, &records);
        let reply = stage
            .0
            .request(Version::HTTP_11, Method::PUT, &format!("/{}", z32(1)), &[], &packet.to_payload())
            .await;
        assert_eq!(reply.status, 204, "{}", reply.text());
    };
    put(2, RecordType::TXT, "gone").await;
    for _ in 0..2 {
        assert_eq!(stage.over_udp(&hot).await, "203.0.113.9");
        assert_eq!(stage.over_udp(&cold).await, "203.0.113.2");
    }
    // And that there was no site is no more true than a site was.
    put(3, RecordType::HTTPS, "1 .").await;
    for _ in 0..2 {
        assert_eq!(stage.over_udp(&hot).await, BRIDGE);
        assert_eq!(stage.over_udp(&cold).await, BRIDGE);
    }
}

#[tokio::test]
async fn a_site_of_a_packet_past_its_time_is_told_as_such() {
    let stage = Stage::set("['dns']", |config| config.cache.ttl_seconds = 1);
    let site = [("", RecordType::HTTPS, "1 ."), ("", RecordType::A, SIGNED)];
    let site = site.map(|(name, record_type, text)| record(&keypair(3), name, 1, data(record_type, text)));
    stage.0.publish(&keypair(3), 1, &site);
    let request = with_edns(query(&(z32(3) + ".key"), RecordType::A), false);
    assert_eq!(address(&stage.0.send(&request).await), BRIDGE);
    stage.0.network.fail(NetworkError::Unreachable);
    // The time of the packet is over then.
    pass(Duration::from_millis(2500)).await;
    let reply = stage.0.send(&request).await;
    assert_eq!(address(&reply), BRIDGE);
    assert_eq!(extended_error(&reply), Some(3));
}
