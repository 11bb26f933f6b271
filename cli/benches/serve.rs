//! Many identities in one `serve`, and `republish` for as many keys: time, memory and CPU. Run it with
//! `cargo bench -p pkdns-cli --bench serve`; `docs/performance.md` explains the tables. Numbers after `--` choose how
//! many identities there are. Without `--bench`, as under `cargo test --all-targets`, there are few.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a benchmark fails by panicking")]

use std::{
    env, thread,
    time::{Duration, Instant},
};

use pkdns_dht::simulator::World;
use pkdns_testing::identities::Scene;
use serde_json::Value;

fn main() {
    let in_full = env::args().any(|argument| argument == "--bench");
    let wanted: Vec<u32> = env::args().filter_map(|argument| argument.parse().ok()).collect();
    let (nodes, counts, idle) = match (in_full, wanted.is_empty()) {
        (true, true) => (2000, vec![100, 1000, 5000], Duration::from_secs(60)),
        (true, false) => (2000, wanted, Duration::from_secs(60)),
        (false, _) => (100, vec![20], Duration::from_secs(1)),
    };
    println!("serve: {nodes} nodes, round trips of 30 to 230 ms, 2 % loss, 15 % dead");
    for count in counts {
        let world = World {
            nodes,
            round_trip: (Duration::from_millis(30)..=Duration::from_millis(230)).into(),
            loss: 0.02,
            dead: 0.15,
            ..World::default()
        };
        let scene = Scene::new(world, count);
        serve(&scene, idle);
        republish(&scene);
    }
}

fn serve(scene: &Scene, idle: Duration) {
    let count = scene.keys.len();
    let mut serve = scene.serve();
    let stored = serve.wait_until_stored(count);
    let took = serve.since_start(stored).as_secs_f64();
    let (memory, cpu) = (serve.megabytes("VmRSS"), serve.cpu_time());
    println!("{count} identities: all stored after {took:.1} s, {memory:.1} MB, {cpu:.2} s of CPU");

    thread::sleep(idle);
    let share = (serve.cpu_time() - cpu) / idle.as_secs_f64();
    println!("  at rest: {:.1} % of a core", share * 100.0);

    let (written, cpu) = (Instant::now(), serve.cpu_time());
    scene.write_zones(2);
    let took = (serve.wait_until_stored(count) - written).as_secs_f64();
    let messages = scene.simulator.statistics().received.total();
    println!(
        "  all zone files changed: stored again after {took:.1} s, {:.2} s of CPU",
        serve.cpu_time() - cpu
    );
    println!(
        "  peak {:.1} MB, {} failures, {messages} messages in total; held by {} nodes",
        serve.megabytes("VmHWM"),
        serve.failures,
        holders(scene)
    );
}

fn republish(scene: &Scene) {
    let list: String = scene.keys.iter().map(|key| format!("{key}\n")).collect();
    scene.private_file("keys", &list);
    scene.simulator.churn(0.1);
    let before = holders(scene);
    let begun = Instant::now();
    let output =
        scene.command(&["republish", "--list", "keys", "--per-minute", "60000", "--json"]).output().unwrap();
    let took = begun.elapsed().as_secs_f64();
    let reports: Vec<Value> = String::from_utf8(output.stdout)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str(line).unwrap())
        .collect();
    let stored = reports.iter().filter(|report| report["error"].is_null()).count();
    println!(
        "  republish, after a tenth of the nodes has left: {stored} of {} in {took:.1} s, {:.1} per second; held by {before} \
         nodes before and {} now",
        reports.len(),
        reports.len() as f64 / took,
        holders(scene)
    );
}

/// Fewest, mean and most nodes that hold a key.
fn holders(scene: &Scene) -> String {
    let counts: Vec<usize> = scene.keys.iter().map(|key| scene.simulator.holders(key).len()).collect();
    let mean = counts.iter().sum::<usize>() as f64 / counts.len() as f64;
    format!("{} to {}, on average {mean:.1}", counts.iter().min().unwrap(), counts.iter().max().unwrap())
}
