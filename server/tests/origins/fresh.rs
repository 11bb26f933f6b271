//! Challenges of certificate authorities are answered with what the network says now.

use std::{
    net::Ipv4Addr,
    sync::Arc,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{RData, RecordType, rdata::TXT},
};
use http::{Method, Version};
use pkdns::{message::Reply, service::Transport};
use pkdns_dht::{
    NetworkError,
    signed_packet::{Keypair, SignedPacket},
    testing::FakeNetwork,
};
use pkdns_testing::server::{self, any_port, keypair, parse, query, record, signed, with_edns};
use tokio::time::advance;

use super::{OWN, STRANGER, Served, ask_service, extended_error, name_in_origin, service};

const CHALLENGE: &str = "_acme-challenge.";

/// A packet of the key of seed 1, with one text at the name of challenges and at another one.
fn packet(version: u64, text: Option<&str>) -> SignedPacket {
    let key = keypair(1);
    let text = text.map(|text| RData::TXT(TXT::new(vec![text.into()])));
    let names = ["_acme-challenge", "www"].into_iter().zip(text.into_iter().cycle());
    let records: Vec<_> = names.map(|(name, text)| record(&key, name, 300, text)).collect();
    signed(&key, version, &records)
}

/// The text of an answer, and its TTL.
fn text(message: &Message) -> Option<(String, u32)> {
    message.answers.first().map(|record| (record.data.to_string().trim_matches('"').to_owned(), record.ttl))
}

/// Who asks by which name: strangers and those who are served in the origin, and these for the key itself.
fn ways() -> [(Ipv4Addr, String); 4] {
    let (key, origin) = (keypair(1).to_z32(), name_in_origin("", &keypair(1)));
    [(STRANGER, origin.clone()), (OWN, origin), (OWN, key.clone()), (OWN, format!("{key}.key"))]
}

#[tokio::test(start_paused = true)]
async fn a_challenge_is_never_older_than_ten_seconds_and_nobody_keeps_it_for_longer() {
    for (client, zone) in ways() {
        let network = Arc::new(FakeNetwork::holding([packet(1, Some("old"))]));
        let service = service(&network);
        let ask = async |labels: &str| {
            let request = with_edns(query(&format!("{labels}{zone}"), RecordType::TXT), false);
            text(&ask_service(&service, client, &request).await).unwrap()
        };
        assert_eq!(ask("www.").await.0, "old");
        let (first, ttl) = ask(CHALLENGE).await;
        assert!(first == "old" && ttl <= 10, "{ttl}");
        network.publish(packet(2, Some("new")));
        advance(Duration::from_millis(10_100)).await;
        assert_eq!(ask("www.").await.0, "old", "other names have their time");
        let (second, ttl) = ask("_ACME-challenge.").await;
        assert!(second == "new" && ttl <= 10, "{zone}: {second} {ttl}");
        assert_eq!(ask("www.").await.0, "new", "what was found is for all");
        // A packet that stays the same is asked for every ten seconds, however many ask.
        let before = network.lookups();
        for _ in 0..60 {
            advance(Duration::from_secs(1)).await;
            let (_, ttl) = ask(CHALLENGE).await;
            assert!(ttl <= 10);
        }
        let lookups = network.lookups() - before;
        assert!((5..=7).contains(&lookups), "{zone}: {lookups}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_absence_of_a_challenge_or_of_its_key_is_not_older_either() {
    for (client, zone) in ways() {
        for before in [Some(packet(1, None)), None] {
            let network = Arc::new(FakeNetwork::holding(before));
            let service = service(&network);
            let request = query(&format!("{CHALLENGE}{zone}"), RecordType::TXT);
            let reply = ask_service(&service, client, &request).await;
            assert_eq!(reply.metadata.response_code, ResponseCode::NXDomain);
            assert!(reply.authorities[0].ttl <= 10, "{}", reply.authorities[0].ttl);
            network.publish(packet(2, Some("new")));
            advance(Duration::from_millis(10_100)).await;
            let reply = ask_service(&service, client, &request).await;
            assert_eq!(text(&reply).map(|(text, _)| text), Some("new".into()), "{zone}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn where_the_network_does_not_say_the_packet_that_is_held_is_better_than_nothing() {
    for (client, zone) in ways() {
        let network = Arc::new(FakeNetwork::holding([packet(1, Some("old"))]));
        let service = service(&network);
        let request = with_edns(query(&format!("{CHALLENGE}{zone}"), RecordType::TXT), false);
        assert_eq!(extended_error(&ask_service(&service, client, &request).await), None);
        for is_forgotten in [false, true] {
            network.fail(NetworkError::Unreachable);
            if is_forgotten {
                network.recover();
                network.forget(&keypair(1).public_key());
            }
            for _ in 0..3 {
                advance(Duration::from_secs(11)).await;
                let reply = ask_service(&service, client, &request).await;
                let (text, ttl) = text(&reply).unwrap();
                assert_eq!((text.as_str(), extended_error(&reply)), ("old", Some(3)), "{zone}");
                assert!(ttl <= 10, "{ttl}");
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn datagrams_of_nobody_make_no_challenge_old_but_cut_it_and_whoever_comes_again_gets_it() {
    let keys: Vec<_> = (1..=100).map(keypair).collect();
    let network = Arc::<FakeNetwork>::default();
    let service = service(&network);
    let ask = async |key: &Keypair, transport: Transport, reply: Reply| {
        let request = query(&name_in_origin(CHALLENGE, key), RecordType::TXT);
        parse(&server::ask_service(&service, STRANGER.into(), transport, reply, &request).await)
    };
    let stream = Reply::Stream { idle_timeout: None, is_encrypted: false };
    let mut are_cut = 0;
    for version in 1..=3 {
        are_cut = 0;
        for key in &keys {
            let text = RData::TXT(TXT::new(vec![version.to_string()]));
            network.publish(signed(key, version, &[record(key, "_acme-challenge", 300, text)]));
        }
        for key in &keys {
            let reply = ask(key, Transport::Udp, Reply::Datagram).await;
            match reply.metadata.truncation {
                true => are_cut += 1,
                false => assert_eq!(text(&reply).map(|it| it.0), Some(version.to_string())),
            }
        }
        let last = ask(keys.last().unwrap(), Transport::Tcp, stream).await;
        assert_eq!(text(&last).map(|it| it.0), Some(version.to_string()));
        advance(Duration::from_millis(10_100)).await;
    }
    // The budget comes back with the time of the machine, which is not paused.
    assert!(are_cut >= 40, "{are_cut}");
}

/// Puts a packet through the relay.
async fn put(served: &Served, packet: &SignedPacket) {
    let path = format!("/{}", packet.key().to_z32());
    let reply = served.request(Version::HTTP_11, Method::PUT, &path, &[], &packet.to_payload()).await;
    assert_eq!(reply.status, 204, "{}", reply.text());
}

#[tokio::test]
async fn what_is_put_through_the_relay_shows_at_once_in_both_views() {
    let served = Served::start_with(|config| {
        config.doh.plain_listen = vec![any_port()];
        // Whoever publishes comes from there.
        config.access.allow.push("127.0.0.1/32".parse().unwrap());
        config.relay.enabled = true;
    });
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64;
    for version in 0..4 {
        let expected = (version > 0).then(|| format!("version {version}"));
        if let Some(expected) = &expected {
            put(&served, &packet(started + version, Some(expected))).await;
        }
        for (client, zone) in ways() {
            for labels in [CHALLENGE, "www."] {
                let request = query(&format!("{labels}{zone}"), RecordType::TXT);
                let found = text(&served.ask(client, &request).await).map(|(text, _)| text);
                assert_eq!(found, expected, "{labels}{zone}");
            }
        }
    }
    assert_eq!(served.network.lookups(), 1, "no more than for the absent key");
}
