//! A thousand identities in one `serve`, on a simulated DHT. `cargo bench -p pkdns-cli --bench serve` measures it.
//!
//! A target of its own, for it needs both cores for most of a minute and holds the program to a time.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::time::{Duration, Instant};

use pkdns_dht::simulator::World;
use pkdns_testing::identities::Scene;

const COUNT: u32 = 1000;

/// Within a minute where nothing else runs.
const SOON: Duration = Duration::from_secs(180);

#[test]
fn a_thousand_identities_are_published_soon_by_one_small_process_and_again_when_they_change() {
    let world = World {
        nodes: 1000,
        round_trip: (Duration::from_millis(20)..=Duration::from_millis(150)).into(),
        loss: 0.01,
        dead: 0.1,
        ..World::default()
    };
    let scene = Scene::new(world, COUNT);
    let mut serve = scene.serve();
    let stored = serve.wait_until_stored(COUNT as usize);
    let took = serve.since_start(stored);
    println!("all stored after {took:?}, peak {} MB", serve.megabytes("VmHWM"));
    assert!(took < SOON, "{took:?}");
    let first: Vec<Vec<u64>> = scene.keys.iter().map(|key| scene.simulator.holders(key)).collect();
    // The first of them are stored while few nodes are known, and so on fewer than the others, until their next turn.
    let holders = || first.iter().map(Vec::len);
    assert!(holders().all(|nodes| nodes >= 5), "on {:?} nodes", holders().min());
    let few = holders().filter(|nodes| *nodes < 10).count();
    assert!(few <= 10, "{few} keys on fewer than 10 nodes");

    let written = Instant::now();
    scene.write_zones(2);
    let took = serve.wait_until_stored(COUNT as usize) - written;
    assert!(took < SOON, "{took:?}");
    for (key, first) in scene.keys.iter().zip(first) {
        assert!(scene.simulator.holders(key).iter().max() > first.iter().max());
    }
    let peak = serve.megabytes("VmHWM");
    println!("all stored again after {took:?}, peak {peak} MB");
    assert!(peak < 60.0, "{peak} MB");
}
