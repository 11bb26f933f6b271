//! Nodes that missed the last update hold an older packet.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use pkdns_dht::{
    signed_packet::Keypair,
    simulator::{Simulator, World},
};
use pkdns_testing::wait::eventually;
use tokio::time::sleep;

use crate::world::{Running, address, address_in, joined, keypairs, lookup, packet, settings, world};

const FOUND: &str = "pkdns_dht_lookups_total{outcome=\"found\"}";

/// Three in ten of the nodes that hold a key have an older packet.
fn outdated_world(keypairs: &[Keypair], seed: u64) -> Simulator {
    let simulator = Simulator::start(World { stale: 0.3, items_per_node: 10, ..world(300, seed) }).unwrap();
    for keypair in keypairs {
        simulator.store_stale(&packet(keypair, 2), &packet(keypair, 1));
    }
    simulator
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_lookup_ends_with_the_newest_packet_and_goes_from_older_to_newer_only() {
    let keypairs = keypairs(60, 31);
    let simulator = outdated_world(&keypairs, 31);
    let dht = joined(settings(&simulator)).await;
    let lookups = keypairs.iter().map(|keypair| async {
        let (found, end) = lookup(&dht, &keypair.public_key()).await;
        assert_eq!(found.last(), Some(&packet(keypair, 2)), "{end:?}");
        assert!(found.is_sorted_by_key(|packet| packet.timestamp()));
        found.len()
    });
    let first_answers_that_are_old = join_all(lookups).await.iter().filter(|&&sent| sent > 1).count();
    // Without waiting for others it would be eighteen.
    assert!(first_answers_that_are_old <= 8, "{first_answers_that_are_old} of 60");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_soon_has_the_newest_packet_and_never_goes_back() {
    let keypairs = keypairs(20, 32);
    let simulator = outdated_world(&keypairs, 32);
    // Packets are asked for again after a second.
    let server = Running::start(&simulator, |config| {
        (config.cache.ttl_seconds, config.cache.max_ttl_seconds) = (1, 1);
    })
    .await;
    let keys: Vec<_> = keypairs.iter().map(Keypair::public_key).collect();
    let start = Instant::now();
    join_all(keys.iter().map(|key| server.ask(key))).await;
    let searches = keys.len() as f64;
    eventually("all searches end", async || server.metric(FOUND) >= searches).await;
    assert!(start.elapsed() < Duration::from_secs(4), "{:?}", start.elapsed());
    // What a search has found is in memory when its task has run.
    sleep(Duration::from_millis(500)).await;
    // An answer in memory may be some seconds older than the packet in memory, so this is another question.
    let are_all = async |version| {
        let replies = join_all(keys.iter().map(|key| server.ask_for_dnssec(key))).await;
        keys.iter().zip(replies).all(|(key, reply)| address_in(&reply) == Some(address(key, version)))
    };
    assert!(are_all(2).await, "the newest packet of each key is in memory");

    // Nobody holds it any more. Only what is searched for after this says something.
    eventually("no search is under way", async || {
        simulator.take_messages_per_target();
        sleep(Duration::from_millis(300)).await;
        keys.iter().all(|key| simulator.messages_for(key) == 0)
    })
    .await;
    for other in crate::world::keypairs(2000, 33) {
        simulator.store(&packet(&other, 1));
    }
    assert!(keys.iter().all(|key| simulator.holders(key).is_empty()), "pushed out by others");
    keypairs.iter().for_each(|keypair| simulator.store(&packet(keypair, 1)));
    eventually("all are searched for again", async || {
        assert!(are_all(2).await, "an older packet has replaced a newer one");
        keys.iter().all(|key| simulator.messages_for(key) > 0)
    })
    .await;
    assert!(are_all(2).await, "an older packet has replaced a newer one");

    keypairs.iter().for_each(|keypair| simulator.store(&packet(keypair, 3)));
    eventually("a newer packet replaces an older one", async || are_all(3).await).await;
}
