//! A server whose configuration names relays, on a machine that the DHT cannot be reached from.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::net::Ipv4Addr;

use hickory_proto::{
    op::ResponseCode,
    rr::{Name, RecordType},
};
use pkdns::{config::Config, server::Server};
use pkdns_dht::signed_packet::SignedPacket;
use pkdns_testing::{
    relay::{Reply, ScriptedRelay},
    support::{
        client::{Question, Reply as Answer, Transport},
        keypair,
        name_server::NameServer,
        records::{packet, record},
    },
};
use tokio_util::sync::CancellationToken;

/// Nothing listens there.
const NOBODY: &str = "127.0.0.1:9";

/// What the upstream knows, and no other resolver does.
const ICANN: &str = "relay.test. 300 A 127.0.0.1";

/// The packet of a key with one address.
fn published() -> SignedPacket {
    let alice = keypair("alice");
    let origin = Name::from_ascii(alice.to_z32() + ".").unwrap();
    packet(&alice, &[record("@ 300 A 192.0.2.1", &origin).unwrap()])
}

/// Asks a server with these relays for the key's address. Returns the names that its upstream was asked for as well.
async fn ask(relays: &[String]) -> (Answer, Vec<String>) {
    let upstream =
        NameServer::with((Ipv4Addr::LOCALHOST, 0), vec![record(ICANN, &Name::root()).unwrap()]).await;
    let mut config = Config {
        listen: vec![(Ipv4Addr::LOCALHOST, 0).into()],
        fallback_dns: vec![upstream.address.into()],
        ..Config::default()
    };
    config.dht.bootstrap = vec![NOBODY.to_owned()];
    config.dht.relays = relays.iter().map(|url| url.parse().unwrap()).collect();
    let server = Server::bind(config).unwrap();
    let address = server.addresses()[0];
    let stop = CancellationToken::new();
    let _stop = stop.clone().drop_guard();
    tokio::spawn(server.run(stop));
    let name = Name::from_ascii(published().key().to_z32() + ".").unwrap();
    let answer = Question::new(name, RecordType::A).ask(address, Transport::Udp).await.unwrap();
    (answer, upstream.asked().iter().map(|(name, _)| name.to_string()).collect())
}

#[tokio::test]
async fn a_relay_answers_where_the_dht_is_out_of_reach_and_is_found_through_the_upstream() {
    let packet = published();
    let body = [packet.signature().as_slice(), &packet.timestamp().to_be_bytes(), packet.dns()].concat();
    let relay = ScriptedRelay::start(move |_| Reply::answer(200, &[], &body)).await;
    let url = format!("http://relay.test:{}/pkarr", relay.address.port());
    let (answer, asked) = ask(&[url]).await;
    assert_eq!(answer.code, ResponseCode::NoError);
    assert_eq!(answer.answers.len(), 1, "{answer:?}");
    assert_eq!(asked, ["relay.test.", "relay.test."]);
    assert_eq!(relay.received().len(), 1);
    assert_eq!(relay.received()[0].line, format!("GET /pkarr/{}", packet.key().to_z32()));
}

#[tokio::test]
async fn a_relay_that_knows_no_packet_does_not_make_a_key_absent() {
    let relay = ScriptedRelay::start(|_| Reply::status(404)).await;
    let (answer, _) = ask(&[relay.url()]).await;
    assert_eq!((answer.code, answer.extended_error), (ResponseCode::ServFail, Some(22)));
    assert_eq!(relay.received().len(), 1);
}

#[tokio::test]
async fn without_a_relay_in_the_configuration_nobody_is_asked() {
    // Relays used to be on by default: each key that was looked up went to a third party.
    assert!(Config::default().dht.relays.is_empty());
    let (answer, asked) = ask(&[]).await;
    assert_eq!((answer.code, answer.extended_error), (ResponseCode::ServFail, Some(22)));
    assert_eq!(asked, Vec::<String>::new());
}
