//! Packets on their way to their nodes.

use std::time::{Duration, Instant};

use pkdns_dht::{
    PutError,
    signed_packet::Keypair,
    simulator::{Hostile, Simulator, World},
};
use tokio::sync::watch;

use crate::world::{SIGNED_AT, joined, keypairs, lookup, packet, settings, within, world};

/// Nodes that a packet is stored on.
const REPLICAS: u32 = 20;

fn keypair(seed: u8) -> Keypair {
    keypairs(1, seed).remove(0)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_packet_goes_to_twenty_nodes_and_progress_grows_to_the_result() {
    let simulator = Simulator::start(World { dead: 0.2, loss: 0.02, ..world(300, 41) }).unwrap();
    let dht = joined(settings(&simulator)).await;
    let packet = packet(&keypair(41), 1);
    let progress = watch::Sender::new(0);
    let mut seen = progress.subscribe();
    let watching = tokio::spawn(async move {
        let mut steps = vec![*seen.borrow_and_update()];
        while seen.changed().await.is_ok() {
            steps.push(*seen.borrow_and_update());
        }
        steps
    });
    let stored = within(dht.put_with_progress(&packet, None, progress)).await.unwrap();
    assert!(stored >= REPLICAS, "{stored}");
    assert!(simulator.holders(packet.key()).len() >= 20);
    let steps = within(watching).await.unwrap();
    assert!(steps.len() > 2 && steps.is_sorted(), "{steps:?}");
    assert_eq!(steps.last(), Some(&stored));

    let reader = joined(settings(&simulator)).await;
    assert_eq!(lookup(&reader, packet.key()).await.0, [packet]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_older_packet_and_a_wrong_cas_are_refused_and_change_nothing() {
    let simulator = Simulator::start(world(150, 42)).unwrap();
    let dht = joined(settings(&simulator)).await;
    let keypair = keypair(42);
    let [first, second, third] = [1, 2, 3].map(|version| packet(&keypair, version));
    within(dht.put(&second, None)).await.unwrap();
    assert_eq!(within(dht.put(&first, None)).await, Err(PutError::NotMostRecent));
    assert_eq!(within(dht.put(&third, Some(SIGNED_AT + 1))).await, Err(PutError::CasFailed));
    let held = simulator.holders(second.key());
    assert!(held.iter().all(|&timestamp| timestamp == SIGNED_AT + 2), "{held:?}");
    let stored = within(dht.put(&third, Some(SIGNED_AT + 2))).await.unwrap();
    assert!(stored >= REPLICAS, "{stored}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_put_right_after_a_search_needs_no_second_one() {
    let simulator = Simulator::start(world(150, 43)).unwrap();
    let dht = joined(settings(&simulator)).await;
    let packet = packet(&keypair(43), 1);
    assert_eq!(within(dht.most_recent(packet.key())).await.unwrap().0, None);
    let searched = simulator.statistics().received;
    assert!(searched.get >= 20, "{searched:?}");
    let stored = within(dht.put(&packet, None)).await.unwrap();
    assert!(stored >= REPLICAS, "{stored}");
    let received = simulator.statistics().received;
    assert_eq!(received.get, searched.get);
    assert!(received.put >= 20, "{received:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_that_refuse_their_tokens_or_store_nothing_do_not_keep_a_packet_from_the_others() {
    let hostile = vec![(Hostile::BadTokens, 0.2), (Hostile::AcknowledgesOnly, 0.2)];
    let simulator = Simulator::start(World { hostile, ..world(200, 44) }).unwrap();
    let dht = joined(settings(&simulator)).await;
    for seed in 44..48 {
        let packet = packet(&keypair(seed), 1);
        let stored = within(dht.put(&packet, None)).await.unwrap();
        assert!(stored >= 10, "{stored}");
        assert!(simulator.holders(packet.key()).len() >= 6);
        let reader = joined(settings(&simulator)).await;
        assert_eq!(lookup(&reader, packet.key()).await.0, [packet]);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn in_a_network_of_five_a_packet_is_stored_on_all_and_nobody_waits_for_more() {
    let simulator = Simulator::start(world(5, 45)).unwrap();
    let dht = joined(settings(&simulator)).await;
    let start = Instant::now();
    assert_eq!(within(dht.put(&packet(&keypair(45), 1), None)).await, Ok(5));
    // A search that waited for others would take 4 s, and a store another 4 s.
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
}
