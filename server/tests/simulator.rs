//! The simulated network as the `mainline` client meets it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the helpers of tests may fail them"
)]

use std::{
    net::Ipv4Addr,
    time::{Duration, Instant},
};

use mainline::async_dht::AsyncDht;
use pkdns::{
    signed_packet::{Keypair, SignedPacket},
    simulator::{Simulator, World},
    testnet::sample_packet,
};

const TIMEOUT: Duration = Duration::from_millis(500);

fn client(simulator: &Simulator) -> AsyncDht {
    let mut builder = mainline::Dht::builder();
    builder.bootstrap(&simulator.bootstrap()).bind_address(Ipv4Addr::LOCALHOST).request_timeout(TIMEOUT);
    builder.build().unwrap().as_async()
}

async fn find(client: &AsyncDht, packet: &SignedPacket) -> Option<SignedPacket> {
    let item = client.get_mutable_most_recent(packet.key().as_bytes(), None).await?;
    SignedPacket::from_item(&item).ok()
}

#[tokio::test]
async fn a_client_stores_a_packet_and_another_finds_it() {
    let simulator = Simulator::start(World { nodes: 100, ..World::default() }).unwrap();
    let packet = sample_packet(&Keypair::random(), 7).unwrap();
    client(&simulator).put_mutable(packet.to_item(), None).await.unwrap();
    let holders = simulator.holders(packet.key());
    assert!(holders.len() >= 15 && holders.iter().all(|&timestamp| timestamp == 7), "{holders:?}");
    assert_eq!(find(&client(&simulator), &packet).await, Some(packet));
}

#[tokio::test]
async fn what_is_stored_without_asking_is_found_in_a_world_with_faults() {
    let world = World {
        nodes: 300,
        round_trip: Duration::from_millis(5)..=Duration::from_millis(20),
        dead: 0.2,
        loss: 0.02,
        ..World::default()
    };
    let simulator = Simulator::start(world).unwrap();
    let packet = sample_packet(&Keypair::random(), 7).unwrap();
    simulator.store(&packet);
    assert_eq!(find(&client(&simulator), &packet).await, Some(packet));
}

#[tokio::test]
async fn nobody_answers_in_silence() {
    let simulator = Simulator::start(World::default()).unwrap();
    let packet = sample_packet(&Keypair::random(), 7).unwrap();
    simulator.store(&packet);
    let client = client(&simulator);
    assert!(client.bootstrapped().await);
    simulator.silence(true);
    assert_eq!(find(&client, &packet).await, None);
    simulator.silence(false);
    assert_eq!(find(&client, &packet).await, Some(packet));
}

#[test]
fn a_network_that_is_dropped_is_gone() {
    let simulator = Simulator::start(World::default()).unwrap();
    let port = simulator.bootstrap()[0].strip_prefix("127.0.0.1:").unwrap().parse().unwrap();
    let start = Instant::now();
    drop(simulator);
    assert!(start.elapsed() < Duration::from_secs(5));
    let again = Simulator::start(World { port: Some(port), ..World::default() });
    assert_eq!(again.unwrap().bootstrap()[0], format!("127.0.0.1:{port}"));
}
