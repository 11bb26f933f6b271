//! The simulated network as the `mainline` client meets it.

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use mainline::async_dht::AsyncDht;
use pkdns::program::testnet::sample_packet;
use pkdns_dht::{
    internal::krpc::Message,
    signed_packet::{Keypair, SignedPacket},
    simulator::{Hostile, Simulator, World},
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
    assert!(holders.len() >= 5 && holders.iter().all(|&timestamp| timestamp == 7), "{holders:?}");
    assert_eq!(find(&client(&simulator), &packet).await, Some(packet));
}

#[tokio::test]
async fn what_is_stored_without_asking_is_found_in_a_world_with_faults() {
    let world = World {
        nodes: 300,
        round_trip: (Duration::from_millis(5)..=Duration::from_millis(20)).into(),
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
fn a_node_answers_from_its_own_address_and_not_before_its_round_trip() {
    let round_trip = Duration::from_millis(60);
    let world = World { round_trip: (round_trip..=round_trip).into(), ..World::default() };
    let simulator = Simulator::start(world).unwrap();
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    for node in simulator.bootstrap() {
        let node: SocketAddr = node.parse().unwrap();
        let start = Instant::now();
        socket.send_to(b"d1:ad2:id20:iiiiiiiiiiiiiiiiiiiie1:q4:ping1:t2:tt1:y1:qe", node).unwrap();
        let mut buffer = [0; 1000];
        let (length, from) = socket.recv_from(&mut buffer).unwrap();
        assert!(start.elapsed() >= round_trip);
        assert_eq!(from, node);
        let reply = Message::decode(&buffer[..length]).unwrap();
        assert_eq!(reply.observed, Some(socket.local_addr().unwrap()));
    }
    assert_eq!(simulator.statistics().sent.ping, 8);
}

#[tokio::test]
async fn a_packet_is_found_among_hostile_nodes() {
    let hostile = Hostile::mix(0.2);
    let simulator = Simulator::start(World { nodes: 300, hostile, ..World::default() }).unwrap();
    let packet = sample_packet(&Keypair::random(), 7).unwrap();
    simulator.store(&packet);
    assert_eq!(find(&client(&simulator), &packet).await, Some(packet));
}

#[tokio::test]
async fn a_network_serves_after_churn_and_counts_messages_for_each_key() {
    let world = World { nodes: 100, count_targets: true, ..World::default() };
    let simulator = Simulator::start(world).unwrap();
    let packet = sample_packet(&Keypair::random(), 7).unwrap();
    simulator.store(&packet);
    simulator.churn(1.0);
    assert!(simulator.holders(packet.key()).len() <= 1);
    simulator.store(&packet);
    assert_eq!(find(&client(&simulator), &packet).await, Some(packet.clone()));
    let messages = simulator.messages_for(packet.key());
    assert!((8..200).contains(&messages), "{messages}");
    assert!(simulator.take_messages_per_target().len() >= 2);
    assert_eq!(simulator.messages_for(packet.key()), 0);
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
