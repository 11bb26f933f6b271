//! Ends without a warning.

use std::{
    fs,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use pkdns_dht::{
    Dht, DhtSettings,
    signed_packet::PublicKey,
    simulator::{self, Simulator},
};
use pkdns_testing::{
    process::Process,
    program,
    programs::{self, tell},
    wait,
};
use serde_json::Value;

use super::{
    KEY, LIMIT, World,
    dyndns::{answer, serve_zone},
    records_when, world,
};

/// How often it is killed, each time a little later in its cycle.
const KILLS: u32 = 20;

const CONFIG: &str = "state = 'state'\n[[identity]]\nseed = 'seed'\nzone_file = 'zone'\n";

/// The time that the state directory holds, which must be whole.
fn signed(world: &World) -> Option<u64> {
    let state = fs::read(world.path().join(format!("state/{KEY}.published.json"))).ok()?;
    let state: Value = serde_json::from_slice(&state).expect("the state is whole");
    Some(state["timestamp"].as_u64().expect("the state has a time"))
}

#[derive(Debug, Default)]
struct Seen {
    signed: u64,
    stored: u64,
    /// Kills after something was signed and before anybody had it.
    between: u32,
}

impl Seen {
    /// Looks at the state and at the network, after a kill. Neither may have gone back.
    async fn look(&mut self, world: &World, dht: &Dht) {
        let signed = signed(world).unwrap_or_default();
        assert!(signed >= self.signed, "the state went back: {signed} after {self:?}");
        let (packet, _) = dht.most_recent(&PublicKey::try_from(KEY).unwrap()).await.unwrap();
        let stored = packet.map_or(0, |packet| packet.timestamp());
        assert!(stored >= self.stored, "the DHT went back: {stored} after {self:?}");
        assert!(stored <= signed, "{stored} was stored before {signed} was written down");
        self.between += u32::from(stored < signed);
        (self.signed, self.stored) = (signed, stored);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kill_at_any_moment_leaves_nothing_half_written_and_time_never_goes_back() {
    let world = world().await;
    // Slow enough that a packet is on its way for a while.
    let slow = simulator::World {
        nodes: 30,
        round_trip: (Duration::from_millis(40)..=Duration::from_millis(80)).into(),
        ..simulator::World::default()
    };
    let network = Simulator::start(slow).unwrap();
    let bootstrap = network.bootstrap();
    let serve = || {
        let arguments = ["--bootstrap", bootstrap[0].as_str(), "serve"];
        Process::start(program::command(world.path(), &arguments))
    };
    let dht =
        Dht::start(DhtSettings::on_loopback(bootstrap.clone()), Arc::new(|_| Box::pin(async { Vec::new() })));
    let dht = dht.unwrap();
    dht.ready(LIMIT).await.unwrap();
    world.file("publisher.toml", CONFIG);
    world.file("zone", "@ 300 A 192.0.2.250\n");
    let began = Instant::now();
    let mut publisher = serve();
    publisher.wait_for("stored on");
    let cycle = began.elapsed();
    drop(publisher);
    let mut seen = Seen::default();
    seen.look(&world, &dht).await;
    assert!(seen.stored > 0 && seen.stored == seen.signed, "{seen:?}");

    // From before the first question until after the last confirmation.
    for number in 0..KILLS {
        world.file("zone", &format!("@ 300 A 192.0.2.{number}\n"));
        let publisher = serve();
        thread::sleep(cycle * (number + 1) / (KILLS - 4));
        drop(publisher);
        seen.look(&world, &dht).await;
    }
    // The moment when it has written down what it is about to store.
    for number in 100..112 {
        world.file("zone", &format!("@ 300 A 192.0.2.{number}\n"));
        let before = signed(&world);
        let publisher = serve();
        // The gap is a few milliseconds long, too short for `wait::until`.
        let began = Instant::now();
        while signed(&world) == before {
            assert!(began.elapsed() < LIMIT, "nothing is signed");
            thread::sleep(Duration::from_millis(1));
        }
        drop(publisher);
        seen.look(&world, &dht).await;
    }
    tell(&format!(
        "{KILLS} kills over {cycle:?} and 12 between writing and storing: {} hit that gap",
        seen.between
    ));
    assert!(seen.between > 0, "no kill came between writing and storing: {seen:?}");

    world.file("zone", "@ 300 A 192.0.2.200\n");
    let mut publisher = serve();
    publisher.wait_for("stored on");
    let before = seen.signed;
    seen.look(&world, &dht).await;
    assert!(seen.signed > before && seen.stored == seen.signed, "{seen:?}");
    let (packet, _) = dht.most_recent(&PublicKey::try_from(KEY).unwrap()).await.unwrap();
    let packet = packet.unwrap();
    assert!(packet.dns().windows(4).any(|part| part == [192, 0, 2, 200]), "the last zone");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_address_that_was_confirmed_is_there_after_a_kill_in_the_same_instant() {
    let Some(_) = programs::find("curl", |_| true, "curl") else { return };
    let world = world().await;
    let zone = "@ 300 A {external_ipv4}\n";
    for number in 1..6 {
        let (publisher, url) = serve_zone(&world, zone);
        let told = answer(&url, &format!("hostname={KEY}&myip=198.51.100.{number}"));
        drop(publisher);
        assert_eq!(told, format!("good 198.51.100.{number}"));
        let addresses = fs::read(world.path().join(format!("state/{KEY}.addresses.json"))).unwrap();
        let addresses: Value = serde_json::from_slice(&addresses).expect("whole");
        assert_eq!(addresses["ipv4"], format!("198.51.100.{number}"));
    }
    let (_publisher, _) = serve_zone(&world, zone);
    records_when(&world, KEY, |records| records == ["A 198.51.100.5"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stop_is_heard_while_seeds_are_read() {
    let world = world().await;
    // Nobody writes to it, so that reading has no end; passphrases of many seeds take as long as people wait.
    let made = std::process::Command::new("mkfifo").arg(world.path().join("pipe")).status().unwrap();
    assert!(made.success());
    world.file("zone", "@ A 192.0.2.1\n");
    world.file("publisher.toml", &CONFIG.replace("'seed'", "'pipe'"));
    let publisher = world.start(&["serve"]);
    // From here on it hears signals.
    wait::until("it does not start", || world.path().join("state/lock").exists());
    assert_eq!(publisher.stop(), Some(0));
}
