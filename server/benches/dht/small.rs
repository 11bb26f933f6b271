//! A small DHT, of which the server knows nearly all nodes, so that a search takes one round trip. The figures say
//! little about the public DHT, but must not get worse.

use std::time::{Duration, Instant};

use pkdns_dht::simulator::{Hostile, Simulator, World};
use pkdns_testing::benchmark::{Process, cores, on_core};
use tokio::runtime::{Builder, Runtime};

use crate::{
    Scale, clients,
    load::{Replies, Said, ask},
    row::{percentile, show},
    zones::{NEW, NOBODY, OLD, Zone},
};

/// All of it but how many keys a second one core takes.
pub(crate) fn small(scale: Scale) {
    for table in [cold, absent, stale, hostile, publish] {
        table(scale);
    }
}

/// Keys that the server is asked before anything is measured.
const WARM_UP: u8 = 100;

const PUBLICATIONS: u32 = 20;

fn world(scale: Scale) -> World {
    World {
        nodes: scale.small_nodes,
        round_trip: (Duration::from_millis(30)..=Duration::from_millis(230)).into(),
        loss: 0.02,
        dead: 0.2,
        count_targets: true,
        ..World::default()
    }
}

fn quick(scale: Scale) -> World {
    World { nodes: scale.small_nodes, count_targets: true, ..World::default() }
}

/// A network with its zones, and a server that has answered some questions before.
struct Stage {
    simulator: Simulator,
    server: Process,
    zones: Vec<Zone>,
}

impl Stage {
    fn new(world: World, scale: Scale) -> Self {
        let (server_core, client_core) = cores();
        let simulator = Simulator::start(world).unwrap();
        let zones = Zone::series(1, scale.keys);
        let warm_up = Zone::series(WARM_UP, scale.keys / 2);
        for zone in zones.iter().chain(&warm_up) {
            simulator.store(&zone.packet(OLD));
        }
        let server = on_core(server_core, client_core, || clients::server(&simulator, ""));
        ask(server.address(), &warm_up, scale.at_once / 10, |_| ());
        std::thread::sleep(Duration::from_secs(4));
        simulator.take_messages_per_target();
        Self { simulator, server, zones }
    }

    /// Asks the server for all zones. Also the messages to the DHT before each answer, and in all.
    fn ask(&self, at_once: usize) -> (Replies, Vec<u64>, Vec<u64>) {
        let key = |index: usize| self.zones[index].keypair.public_key();
        let mut before = Vec::new();
        let replies = ask(self.server.address(), &self.zones, at_once, |index| {
            before.push(self.simulator.messages_for(&key(index)));
        });
        std::thread::sleep(Duration::from_secs(4));
        let all = (0..self.zones.len()).map(|index| self.simulator.messages_for(&key(index))).collect();
        (replies, before, all)
    }

    fn print_wrong(&self, replies: &Replies) {
        for (zone, reply) in self.zones.iter().zip(&replies.replies) {
            if reply.said != Said::Address(zone.address(OLD)) {
                println!("  {}: {:?} after {} ms", zone.name, reply.said, reply.latency.as_millis());
            }
        }
    }

    fn right(&self, replies: &Replies) -> usize {
        replies.count(|index, said| said == Said::Address(self.zones[index].address(OLD)))
    }
}

fn cold(scale: Scale) {
    println!(
        "\nsmall, cold: {} nodes, RTT 30-230 ms, 20 % dead, 2 % loss; {} keys, {} at once",
        scale.small_nodes, scale.keys, scale.at_once
    );
    let stage = Stage::new(world(scale), scale);
    let before = stage.server.cpu_time();
    let (replies, first, all) = stage.ask(scale.at_once);
    let cpu = (stage.server.cpu_time() - before).total() / f64::from(scale.keys) * 1e6;
    let right = stage.right(&replies);
    print_header();
    print_row("pkdns, through the server", right, &replies.latencies(), replies.elapsed);
    stage.print_wrong(&replies);
    println!(
        "  messages before the first answer: median {}, p99 {}; in total: median {}, p99 {}; server CPU {cpu:.0} us per key",
        show(percentile(&first, 0.5)),
        show(percentile(&first, 0.99)),
        show(percentile(&all, 0.5)),
        show(percentile(&all, 0.99)),
    );
    let at_once = [1, 64, scale.at_once];
    beside(&stage.simulator, &at_once, &stage.zones);
}

/// Keys a second on one core, where no round trip takes any time.
pub(crate) fn speed(scale: Scale) {
    println!("\nspeed: {} nodes, RTT 0; {} keys", scale.small_nodes, scale.keys);
    print_header();
    for at_once in [scale.at_once, 1] {
        let stage = Stage::new(quick(scale), scale);
        let before = stage.server.cpu_time();
        let (replies, _, all) = stage.ask(at_once);
        let cpu = (stage.server.cpu_time() - before).total() / f64::from(scale.keys) * 1e6;
        let title = format!("pkdns, through the server, {at_once} at once");
        print_row(&title, stage.right(&replies), &replies.latencies(), replies.elapsed);
        println!(
            "  messages in total: median {}; server CPU {cpu:.0} us per key",
            show(percentile(&all, 0.5))
        );
        if at_once == 1 {
            beside(&stage.simulator, &[1, 64, scale.at_once], &stage.zones);
        }
    }
}

/// The `mainline` client on the same work; one at a time only for a part of it.
fn beside(simulator: &Simulator, at_once: &[usize], zones: &[Zone]) {
    for &at_once in at_once {
        let zones = if at_once == 1 { &zones[..zones.len() / 20] } else { zones };
        let found = runtime().block_on(async {
            let dht = clients::mainline(simulator).await;
            clients::find_with_mainline(&dht, zones, at_once).await
        });
        let right = found.first.iter().filter(|(timestamp, _)| timestamp.is_some()).count();
        let latencies: Vec<_> = found.first.iter().map(|(_, latency)| *latency).collect();
        print_row(&format!("mainline 8, {at_once} at once"), right, &latencies, found.elapsed);
    }
}

fn absent(scale: Scale) {
    println!("\nsmall, absent: {} nodes, RTT 30-230 ms, 20 % dead, 2 % loss; absent keys", scale.small_nodes);
    let mut stage = Stage::new(world(scale), scale);
    stage.zones = Zone::series(NOBODY, scale.keys / 4);
    print_header();
    let (replies, _, all) = stage.ask(scale.at_once / 10);
    let denied = replies.count(|_, said| said == Said::NoSuchName);
    print_row("pkdns: NXDOMAIN", denied, &replies.latencies(), replies.elapsed);
    println!("  messages in total: median {}", show(percentile(&all, 0.5)));
    stage.simulator.silence(true);
    stage.zones = Zone::series(NOBODY - 1, scale.keys / 20);
    let (replies, ..) = stage.ask(scale.at_once / 10);
    let failed = replies.count(|_, said| said == Said::Failure(Some(22)));
    print_row("pkdns, silent DHT: SERVFAIL 22", failed, &replies.latencies(), replies.elapsed);
}

fn stale(scale: Scale) {
    println!(
        "\nsmall, stale: the same network; 3 in 10 nodes that hold a key hold an older packet; 100 at once"
    );
    let simulator = Simulator::start(World { stale: 0.3, ..world(scale) }).unwrap();
    let (zones, warm_up) = (Zone::series(1, scale.keys), Zone::series(WARM_UP, scale.keys / 2));
    for zone in zones.iter().chain(&warm_up) {
        simulator.store_stale(&zone.packet(NEW), &zone.packet(OLD));
    }
    println!("{:36}{:>8}{:>10}{:>10}{:>10}{:>10}", "", "found", "outdated", "%", "p50 ms", "p99 ms");
    for (title, confirmations) in [("without waiting", 1), ("pkdns", 3)] {
        runtime().block_on(async {
            let dht = clients::client(&simulator, confirmations).await;
            clients::find(&dht, &warm_up, scale.at_once / 10).await;
            tokio::time::sleep(Duration::from_secs(4)).await;
            let found = clients::find(&dht, &zones, scale.at_once / 10).await;
            let newest = zones[0].packet(NEW).timestamp();
            let right = found.first.iter().filter(|(timestamp, _)| timestamp.is_some()).count();
            let old =
                found.first.iter().filter(|(timestamp, _)| timestamp.is_some_and(|t| t != newest)).count();
            let latencies: Vec<_> = found.first.iter().map(|(_, latency)| *latency).collect();
            println!(
                "{title:36}{right:>8}{old:>10}{:>10.2}{:>10}{:>10}",
                old as f64 * 100.0 / zones.len() as f64,
                milliseconds(percentile(&latencies, 0.5)),
                milliseconds(percentile(&latencies, 0.99)),
            );
        });
    }
}

fn hostile(scale: Scale) {
    println!(
        "\nsmall, hostile: the same network; 2 in 10 nodes hostile, of one kind; {} at once",
        scale.at_once / 10
    );
    print_header();
    for kind in Hostile::ALL {
        let world = World { hostile: vec![(kind, 0.2)], ..world(scale) };
        let stage = Stage::new(world, Scale { keys: scale.keys / 4, ..scale });
        let (replies, _, all) = stage.ask(scale.at_once / 10);
        print_row(&format!("pkdns: {kind:?}"), stage.right(&replies), &replies.latencies(), replies.elapsed);
        stage.print_wrong(&replies);
        println!(
            "  messages in total: median {}, p99 {}",
            show(percentile(&all, 0.5)),
            show(percentile(&all, 0.99))
        );
    }
}

fn publish(scale: Scale) {
    println!("\nsmall, publish: the same network; {PUBLICATIONS} packets, one after the other");
    println!("{:36}{:>14}{:>14}{:>10}{:>10}", "", "fewest nodes", "median", "p50 ms", "max ms");
    let simulator = Simulator::start(world(scale)).unwrap();
    let mut results = Vec::new();
    runtime().block_on(async {
        let dht = clients::client(&simulator, 3).await;
        for zone in Zone::series(1, PUBLICATIONS) {
            let start = Instant::now();
            let stored = dht.put(&zone.packet(OLD), None).await.unwrap_or(0);
            results.push((stored, start.elapsed()));
        }
        print_publications("pkdns", &results);
        results.clear();
        let dht = clients::mainline(&simulator).await;
        for zone in Zone::series(2, PUBLICATIONS) {
            let start = Instant::now();
            let outcome = dht.put_mutable(zone.packet(OLD).to_item(), None).await;
            results.push((outcome.map_or(0, |outcome| outcome.stored_at), start.elapsed()));
        }
        print_publications("mainline 8", &results);
    });
}

fn print_publications(title: &str, results: &[(u32, Duration)]) {
    let (stored, times): (Vec<_>, Vec<_>) = results.iter().copied().unzip();
    println!(
        "{title:36}{:>14}{:>14}{:>10}{:>10}",
        show(stored.iter().copied().min()),
        show(percentile(&stored, 0.5)),
        milliseconds(percentile(&times, 0.5)),
        milliseconds(percentile(&times, 1.0)),
    );
}

fn print_header() {
    println!(
        "{:36}{:>8}{:>8}{:>10}{:>10}{:>10}{:>10}",
        "", "asked", "right", "keys/s", "p50 ms", "p99 ms", "max ms"
    );
}

fn print_row(title: &str, right: usize, latencies: &[Duration], elapsed: Duration) {
    println!(
        "{title:36}{:>8}{right:>8}{:>10.0}{:>10}{:>10}{:>10}",
        latencies.len(),
        latencies.len() as f64 / elapsed.as_secs_f64(),
        milliseconds(percentile(latencies, 0.5)),
        milliseconds(percentile(latencies, 0.99)),
        milliseconds(percentile(latencies, 1.0)),
    );
}

fn milliseconds(time: Option<Duration>) -> String {
    time.map_or("-".into(), |time| format!("{:.1}", time.as_secs_f64() * 1e3))
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().unwrap()
}
