//! Publishing and resolving with relays besides the DHT, and instead of one that is out of reach.

use std::sync::{Arc, Mutex};

use pkdns_dht::signed_packet::{Keypair, SignedPacket};
use pkdns_testing::{
    program::{self, Finished, HEX, KEY, World, now, secret},
    relay::{Received, Reply, ScriptedRelay},
};

/// Nothing listens there.
const NOBODY: &str = "127.0.0.1:9";

/// A relay without a DHT: holds the newest body of a packet that it was given.
async fn memory(held: Option<&SignedPacket>) -> ScriptedRelay {
    let held = Arc::new(Mutex::new(held.map(body)));
    let time = |body: &[u8]| body[64..72].to_vec();
    let script = move |received: &Received| {
        let mut held = held.lock().unwrap();
        match (received.line.starts_with("PUT"), held.as_ref()) {
            (false, Some(body)) => Reply::answer(200, &[], body),
            (false, None) => Reply::status(404),
            (true, Some(body)) if time(body) > time(&received.body) => Reply::status(409),
            (true, _) => {
                *held = Some(received.body.clone());
                Reply::answer(204, &["pkarr-dht-stored-nodes: 7"], b"")
            }
        }
    };
    ScriptedRelay::start(script).await
}

async fn broken() -> ScriptedRelay {
    ScriptedRelay::start(|_| Reply::status(503)).await
}

fn body(packet: &SignedPacket) -> Vec<u8> {
    [packet.signature().as_slice(), &packet.timestamp().to_be_bytes(), packet.dns()].concat()
}

/// An empty zone of the key.
fn packet(timestamp: u64) -> SignedPacket {
    let empty = [0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    SignedPacket::sign(&Keypair::from_secret_key(&secret()), timestamp, &empty).unwrap()
}

async fn world() -> World {
    let world = World::new().await;
    world.file("seed", HEX);
    world.file("zone", "@ A 192.0.2.1\n");
    world
}

/// Runs the program where the DHT is out of reach.
fn run_alone(world: &World, arguments: &[&str]) -> Finished {
    program::run(world.path(), &[&["--bootstrap", NOBODY], arguments].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_packet_is_stored_on_the_dht_and_at_each_relay() {
    let (world, relay) = (world().await, memory(None).await);
    let published = world.run(&["publish", "seed", "zone", "--json", "--relay", &relay.url()]).json();
    assert!(published["nodes"].as_u64().unwrap() > 0, "{published}");
    assert_eq!(published["relays"][0]["relay"], relay.url());
    assert_eq!(published["relays"][0]["nodes"], 7);

    let again = world.run(&["--relay", &relay.url(), "publish", "seed", "zone"]);
    assert_eq!(again.code, 0, "{}", again.err);
    assert!(again.out.contains(&format!("DHT nodes and by {}\n", relay.url())), "{}", again.out);
    assert!(again.out.contains(&format!("--relay {} resolve {KEY}", relay.url())), "{}", again.out);
    let resolved = world.run(&["--relay", &relay.url(), "resolve", KEY]);
    assert!(resolved.out.contains(&format!("{} has this packet\n", relay.url())), "{}", resolved.out);
    // Without a relay nothing is said about any.
    assert_eq!(world.run(&["resolve", KEY, "--json"]).json().get("relays"), None);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_is_enough_where_the_dht_is_out_of_reach() {
    let (world, relay) = (world().await, memory(None).await);
    let published = run_alone(&world, &["publish", "seed", "zone", "--relay", &relay.url()]);
    assert_eq!(published.code, 0, "{}", published.err);
    assert!(published.out.contains(&format!("bytes, stored by {}\n", relay.url())), "{}", published.out);
    assert!(published.err.contains("warning: the DHT could not be joined through 127.0.0.1:9"));

    let resolved = run_alone(&world, &["resolve", KEY, "--relay", &relay.url()]);
    assert_eq!(resolved.code, 0, "{}", resolved.err);
    assert!(resolved.out.contains("192.0.2.1"), "{}", resolved.out);
    assert!(resolved.out.contains("bytes, the DHT could not be asked\n"), "{}", resolved.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_newest_packet_wins_wherever_it_is() {
    let (world, time) = (world().await, now());
    world.publish_elsewhere(&Keypair::from_secret_key(&secret()), time).await;
    let (older, newer) = (memory(Some(&packet(time - 5))).await, memory(Some(&packet(time + 5))).await);
    let resolve = |relays: &[&ScriptedRelay]| {
        let urls: Vec<String> = relays.iter().map(|relay| relay.url()).collect();
        let options = urls.iter().flat_map(|url| ["--relay", url.as_str()]);
        world.run(&["resolve", KEY, "--json"].into_iter().chain(options).collect::<Vec<_>>()).json()
    };
    assert_eq!(resolve(&[&older])["timestamp"], time);
    let both = resolve(&[&older, &newer]);
    assert_eq!(both["timestamp"], time + 5);
    assert_eq!(both["relays"][0]["timestamp"], time - 5);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_newer_packet_at_a_relay_is_not_replaced_silently() {
    let world = world().await;
    let ahead = now() + 3_600_000_000;
    let relay = memory(Some(&packet(ahead))).await;
    let publish = ["publish", "seed", "zone", "--json", "--relay", &relay.url()];
    world
        .run(&publish)
        .assert_failed(3, "there is a newer packet of this key, signed 59 minutes in the future");
    let forced = world.run(&[publish.as_slice(), &["--force"]].concat()).json();
    assert_eq!(forced["timestamp"], ahead + 1);
    assert_eq!(forced["relays"][0]["nodes"], 7);

    // One that could not be read, and that knows better.
    let blind = |received: &Received| Reply::status(if received.line.starts_with("PUT") { 409 } else { 404 });
    let blind = ScriptedRelay::start(blind).await;
    run_alone(&world, &["publish", "seed", "zone", "--relay", &blind.url()])
        .assert_failed(3, "somebody else has just published a newer packet");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_relay_that_fails_is_a_warning_as_long_as_the_dht_works() {
    let (world, relay) = (world().await, broken().await);
    let published = world.run(&["publish", "seed", "zone", "--relay", &relay.url()]);
    assert_eq!(published.code, 0, "{}", published.err);
    let warning = format!("warning: relay {}: it is unavailable (HTTP status 503)\n", relay.url());
    assert!(published.err.contains(&warning), "{}", published.err);
    assert!(!published.out.contains(" and by "), "{}", published.out);
    let resolved = world.run(&["resolve", KEY, "--relay", &relay.url()]);
    assert_eq!(resolved.code, 0, "{}", resolved.err);
    assert!(resolved.out.contains(&format!("{} could not be asked\n", relay.url())), "{}", resolved.out);
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_dht_nothing_is_said_to_be_absent() {
    let (world, empty, broken) = (world().await, memory(None).await, broken().await);
    for (relay, message) in [(&empty, "no relay holds a packet"), (&broken, "the DHT could not be joined")] {
        run_alone(&world, &["resolve", KEY, "--relay", &relay.url()])
            .assert_failed(4, &format!("error: {message}"));
    }
    run_alone(&world, &["publish", "seed", "zone", "--relay", &broken.url()])
        .assert_failed(4, "error: the DHT could not be joined through 127.0.0.1:9");
    assert!(broken.received().iter().all(|received| received.line.starts_with("GET")));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_not_a_relay_is_a_mistake_on_the_command_line() {
    let world = world().await;
    for wrong in ["relay.example", "ftp://relay.example", "https://relay.example/?a"] {
        world.run(&["resolve", KEY, "--relay", wrong]).assert_failed(2, wrong);
    }
}
