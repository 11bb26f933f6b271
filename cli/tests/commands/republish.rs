//! `republish` on a simulated DHT: lists of keys whose owners take no part in it.

use std::{
    io::{BufRead, BufReader, Read},
    iter,
    process::Stdio,
    sync::mpsc::channel,
    thread,
    time::{Duration, Instant},
};

use pkdns_dht::{
    signed_packet::{Keypair, PublicKey, SignedPacket},
    simulator::{Simulator, World},
};
use pkdns_testing::program::{Finished, command, directory, file, run};
use serde_json::Value;
use tempfile::TempDir;

/// How long a test waits for what must come.
const LIMIT: Duration = Duration::from_secs(60);

fn keypair(number: u16) -> Keypair {
    let mut secret = [5; 32];
    secret[..2].copy_from_slice(&number.to_be_bytes());
    Keypair::from_secret_key(&secret)
}

fn packet(number: u16, timestamp: u64) -> SignedPacket {
    let empty = [0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0];
    SignedPacket::sign(&keypair(number), timestamp, &empty).unwrap()
}

/// A list of these keys, which exist.
fn stored(simulator: &Simulator, count: u16) -> (TempDir, Vec<PublicKey>) {
    let keys: Vec<PublicKey> = (0..count).map(|number| keypair(number).public_key()).collect();
    (0..count).for_each(|number| simulator.store(&packet(number, 7)));
    let directory = directory();
    let list: String = keys.iter().map(|key| format!("{key}\n")).collect();
    file(&directory, "keys", &list);
    (directory, keys)
}

fn republish(simulator: &Simulator, directory: &TempDir, arguments: &[&str]) -> Finished {
    let bootstrap = simulator.bootstrap();
    let command = ["--bootstrap", bootstrap[0].as_str(), "republish"];
    run(directory.path(), &[&command, arguments].concat())
}

fn reports(finished: &Finished) -> Vec<Value> {
    finished.out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
}

/// Lines of those that were not stored.
fn failed(finished: &Finished) -> String {
    finished.out.lines().filter(|line| line.contains("error")).collect()
}

const QUICK: [&str; 5] = ["--list", "keys", "--per-minute", "60000", "--json"];

#[test]
fn a_list_is_stored_again_and_each_key_has_a_line_that_says_how_many_nodes_held_it() {
    let simulator = Simulator::start(World { nodes: 300, ..World::default() }).unwrap();
    let (directory, keys) = stored(&simulator, 250);
    simulator.churn(0.4);
    let finished = republish(&simulator, &directory, &QUICK);
    assert_eq!(finished.code, 0, "{}{}", failed(&finished), finished.err);
    assert!(finished.err.contains("stored 250 of 250 keys again"), "{}", finished.err);
    let reports = reports(&finished);
    assert_eq!(reports.len(), keys.len());
    for key in &keys {
        let text = key.to_z32();
        let report = reports.iter().find(|report| report["key"] == text.as_str()).unwrap();
        let (held_by, nodes) = (report["held_by"].as_u64().unwrap(), report["nodes"].as_u64().unwrap());
        // Of 20 that held it, about 12 are left.
        assert!((1..20).contains(&held_by) && nodes >= 15, "{report}");
        assert_eq!((&report["timestamp"], &report["error"]), (&Value::from(7), &Value::Null));
        let holders = simulator.holders(key);
        assert!(holders.len() >= 15 && holders.iter().all(|timestamp| *timestamp == 7), "{holders:?}");
    }
}

#[test]
fn a_key_without_a_packet_stays_without_one_and_fails_the_run_and_not_the_others() {
    let simulator = Simulator::start(World { nodes: 100, ..World::default() }).unwrap();
    let (directory, keys) = stored(&simulator, 3);
    let unknown = keypair(900).public_key();
    let finished = republish(&simulator, &directory, &[&QUICK[..], &[&unknown.to_z32()]].concat());
    assert_eq!(finished.code, 1);
    assert!(finished.err.contains("1 of 4 keys were not stored"), "{}", finished.err);
    let reports = reports(&finished);
    let failed: Vec<&Value> = reports.iter().filter(|report| !report["error"].is_null()).collect();
    let [failed] = failed[..] else { panic!("{reports:?}") };
    assert_eq!(failed["key"], unknown.to_z32().as_str());
    assert!(failed["error"].as_str().unwrap().contains("only its owner can publish it"), "{failed}");
    assert!(failed.get("timestamp").is_none() && simulator.holders(&unknown).is_empty());
    assert_eq!(reports.len(), 4);
    // For people.
    let finished = republish(&simulator, &directory, &[&keys[0].to_z32()]);
    assert_eq!(finished.code, 0);
    assert!(finished.out.contains(": on ") && finished.out.contains("before on "), "{}", finished.out);
}

#[test]
fn nodes_that_hold_an_older_packet_get_the_newest_and_none_is_given_an_older_one() {
    let round_trip = (Duration::from_millis(20)..=Duration::from_millis(60)).into();
    let world = World { nodes: 200, stale: 0.5, round_trip, ..World::default() };
    let simulator = Simulator::start(world).unwrap();
    let (directory, keys) = stored(&simulator, 0);
    assert!(keys.is_empty());
    let numbers = 0..30;
    let list: String = numbers.clone().map(|number| format!("{}\n", keypair(number).public_key())).collect();
    file(&directory, "keys", &list);
    for number in numbers.clone() {
        simulator.store_stale(&packet(number, 9), &packet(number, 8));
    }
    let finished = republish(&simulator, &directory, &QUICK);
    assert_eq!(finished.code, 0, "{}", finished.err);
    for report in reports(&finished) {
        // Ten of the twenty hold it.
        assert!((5..=10).contains(&report["held_by"].as_u64().unwrap()), "{report}");
        assert_eq!(report["timestamp"], 9);
    }
    for number in numbers {
        let holders = simulator.holders(&keypair(number).public_key());
        let newest = holders.iter().filter(|timestamp| **timestamp == 9).count();
        // Ten held an older one. One of them that is slow to answer may keep it.
        assert!(newest >= 18 && holders.len() - newest <= 4, "{holders:?}");
    }
}

#[test]
fn keys_are_begun_at_the_pace_that_was_asked_for() {
    let simulator = Simulator::start(World { nodes: 50, ..World::default() }).unwrap();
    let (directory, _) = stored(&simulator, 11);
    let begun = Instant::now();
    let finished = republish(&simulator, &directory, &["--list", "keys", "--per-minute", "200"]);
    assert_eq!((finished.code, finished.out.lines().count()), (0, 11), "{}", finished.err);
    // Ten pauses of 0.3 s.
    assert!(begun.elapsed() >= Duration::from_secs(3), "{:?}", begun.elapsed());
}

#[test]
fn a_dht_that_cannot_be_reached_is_said_once_and_soon() {
    let simulator = Simulator::start(World::default()).unwrap();
    let (directory, _) = stored(&simulator, 200);
    simulator.silence(true);
    let begun = Instant::now();
    let finished = republish(&simulator, &directory, &QUICK);
    finished.assert_failed(4, "the DHT could not be joined");
    assert_eq!(finished.err.lines().count(), 1, "{}", finished.err);
    // Not ten seconds for each 32 of them.
    assert!(begun.elapsed() < Duration::from_secs(40), "{:?}", begun.elapsed());
}

#[test]
fn who_stays_tries_again_soon_after_an_outage_and_reads_the_list_again() {
    let simulator = Simulator::start(World::default()).unwrap();
    let (directory, keys) = stored(&simulator, 2);
    simulator.silence(true);
    let bootstrap = simulator.bootstrap();
    let arguments = ["--bootstrap", &bootstrap[0], "republish", "--list", "keys", "--json", "--every", "1h"];
    let mut command = command(directory.path(), &arguments);
    let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let (sender, errors) = channel();
    let output = BufReader::new(child.stderr.take().unwrap());
    let message =
        |line: String| serde_json::from_str::<Value>(&line).unwrap()["message"].as_str().unwrap().to_owned();
    thread::spawn(move || {
        output.lines().map_while(Result::ok).try_for_each(|line| sender.send(message(line)))
    });
    let next = || errors.recv_timeout(LIMIT);
    let told = [next().unwrap(), next().unwrap()];
    assert!(told[0].contains("could not be joined") && told[1].contains("again in"), "{told:?}");
    simulator.store(&packet(2, 7));
    file(&directory, "keys", &format!("{}\n{}\n", keys[1], keypair(2).public_key()));
    simulator.silence(false);
    // It may have tried once more before.
    let told = iter::from_fn(|| next().ok()).find(|line| line.starts_with("stored"));
    let pause = next();
    child.kill().unwrap();
    child.wait().unwrap();
    assert_eq!(told.as_deref(), Some("stored 2 of 2 keys again"));
    let pause = pause.unwrap();
    assert!(pause.starts_with("again in 5") || pause == "again in 60 min", "{pause}");
    let mut out = String::new();
    child.stdout.take().unwrap().read_to_string(&mut out).unwrap();
    assert_eq!(out.lines().count(), 2);
    for key in [&keys[1], &keypair(2).public_key()] {
        assert!(out.contains(&key.to_z32()), "{out}");
    }
}

#[test]
fn keys_whose_owners_have_gone_survive_a_day_in_which_a_tenth_of_the_nodes_leaves_every_hour() {
    let simulator = Simulator::start(World { nodes: 200, loss: 0.01, ..World::default() }).unwrap();
    let (directory, keys) = stored(&simulator, 20);
    for hour in 1..=24 {
        simulator.churn(0.1);
        let finished = republish(&simulator, &directory, &QUICK);
        assert_eq!(finished.code, 0, "after {hour} hours: {}{}", failed(&finished), finished.err);
    }
    // Of 20 nodes that held a key at the beginning, one or two would be left.
    for key in &keys {
        let holders = simulator.holders(key);
        assert!(holders.len() >= 15 && holders.iter().all(|timestamp| *timestamp == 7), "{holders:?}");
    }
}
