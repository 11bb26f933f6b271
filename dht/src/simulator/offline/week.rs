//! A week in which a tenth of the nodes leaves every hour and is replaced by empty ones.

use std::time::Duration;

use super::{
    Offline, OfflineClient,
    joined::{find, join, put, rest},
};
use crate::{
    PutError,
    signed_packet::{Keypair, PublicKey, SignedPacket},
    simulator::World,
};

const HOUR: Duration = Duration::from_secs(3600);

/// A larger world where the test is optimised: `cargo test --release -p pkdns --lib week -- --nocapture`.
const NODES: usize = if cfg!(debug_assertions) { 400 } else { 2000 };
const KEYS: u64 = if cfg!(debug_assertions) { 10 } else { 200 };

/// Who stores the packets again.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Keeper {
    /// Their owner, who reads what there is and signs anew.
    Owner,
    /// Somebody who has no seed.
    Other,
    Nobody,
}

/// A key, and when it is stored again.
struct Kept {
    keypair: Keypair,
    due: Duration,
    turns: u32,
}

struct Outcome {
    /// How often a key was looked for, and not found or in an older version than the one stored last.
    checks: usize,
    lost: usize,
    stale: usize,
    failed_stores: usize,
    /// Fewest and most nodes that held a key at a check.
    holders: (usize, usize),
    fewest_turns: u32,
    most_turns: u32,
}

fn simulate(nodes: usize, keys: u64, hours: u32, keeper: Keeper) -> Outcome {
    let world = World {
        nodes,
        round_trip: (Duration::from_millis(30)..=Duration::from_millis(230)).into(),
        jitter: Duration::from_millis(20),
        loss: 0.02,
        dead: 0.15,
        stays: vec![(1.0, HOUR * 10)],
        memory: Some(HOUR * 2),
        ..World::default()
    };
    let mut dht = Offline::on_loopback(world).unwrap();
    let mut publisher = join(&mut dht, true);
    let start = dht.now() + Duration::from_secs(10);
    rest(&mut publisher, &mut dht, start);
    let key = |number: u64| {
        let mut seed = [7; 32];
        seed[..8].copy_from_slice(&number.to_le_bytes());
        // Spread over the first hour.
        let due = start + HOUR.mul_f64(number as f64 / keys as f64);
        Kept { keypair: Keypair::from_secret_key(&seed), due, turns: 0 }
    };
    let mut kept: Vec<Kept> = (0..keys).map(key).collect();
    let mut outcome = Outcome {
        checks: 0,
        lost: 0,
        stale: 0,
        failed_stores: 0,
        holders: (usize::MAX, 0),
        fewest_turns: 0,
        most_turns: 0,
    };
    let end = start + HOUR * hours;
    // From when all have been published, twice an hour.
    let mut next_check = start + HOUR;
    while next_check <= end {
        let next = kept.iter_mut().min_by_key(|kept| kept.due).unwrap();
        if next.due < next_check {
            rest(&mut publisher, &mut dht, next.due);
            let timestamp = u64::from(next.turns) + 1;
            let is_stored = match keeper {
                Keeper::Owner => publish(&mut publisher, &mut dht, &next.keypair, timestamp),
                _ if next.turns == 0 => publish(&mut publisher, &mut dht, &next.keypair, timestamp),
                Keeper::Other => store_again(&mut publisher, &mut dht, &next.keypair.public_key()),
                Keeper::Nobody => true,
            };
            outcome.failed_stores += usize::from(!is_stored);
            next.turns += 1;
            // A tenth of the interval is left to chance.
            let chance = f64::from((next.turns * 7919 + timestamp as u32 * 104_729) % 1000) / 1000.0;
            next.due += HOUR.mul_f64(1.0 - 0.1 * chance);
            continue;
        }
        rest(&mut publisher, &mut dht, next_check);
        // One that has never asked for any of them.
        let mut reader = join(&mut dht, false);
        for kept in &kept {
            let key = kept.keypair.public_key();
            let holders = dht.holders(&key).len();
            outcome.holders = (outcome.holders.0.min(holders), outcome.holders.1.max(holders));
            let found = find(&mut reader, &mut dht, &key, false);
            let newest = if keeper == Keeper::Owner { u64::from(kept.turns) } else { 1 };
            outcome.checks += 1;
            match found {
                Ok((Some(packet), _)) => outcome.stale += usize::from(packet.timestamp() < newest),
                Ok((None, _)) | Err(_) => outcome.lost += 1,
            }
        }
        next_check += HOUR / 2;
    }
    outcome.fewest_turns = kept.iter().map(|kept| kept.turns).min().unwrap();
    outcome.most_turns = kept.iter().map(|kept| kept.turns).max().unwrap();
    let Outcome { checks, lost, stale, failed_stores, holders, fewest_turns, most_turns } = &outcome;
    println!(
        "{nodes} nodes, {keys} keys, {hours} hours: {checks} checks, {lost} lost, {stale} older; {failed_stores} stores \
         failed; {} to {} nodes held a key; each was stored {fewest_turns} to {most_turns} times",
        holders.0, holders.1
    );
    outcome
}

/// Reads what there is and replaces it, as every publication does.
fn publish(client: &mut OfflineClient, dht: &mut Offline, keypair: &Keypair, timestamp: u64) -> bool {
    let packet = SignedPacket::sign(keypair, timestamp, b"").unwrap();
    let Ok((existing, _)) = find(client, dht, packet.key(), true) else { return false };
    let mut stored = put(client, dht, &packet, existing.as_ref().map(SignedPacket::timestamp));
    if stored == Err(PutError::CasFailed) {
        // Nodes that missed the last update hold an older packet than was read.
        let Ok((newest, _)) = find(client, dht, packet.key(), true) else { return false };
        if newest == existing {
            stored = put(client, dht, &packet, None);
        }
    }
    stored.is_ok_and(|nodes| nodes > 0)
}

/// Reads what there is and stores just that.
fn store_again(client: &mut OfflineClient, dht: &mut Offline, key: &PublicKey) -> bool {
    let Ok((Some(packet), _)) = find(client, dht, key, true) else { return false };
    put(client, dht, &packet, None).is_ok_and(|nodes| nodes > 0)
}

#[test]
fn nodes_that_leave_do_not_lose_a_key_that_is_published_every_hour_for_a_week() {
    let outcome = simulate(NODES, KEYS, 168, Keeper::Owner);
    assert_eq!((outcome.lost, outcome.stale, outcome.failed_stores), (0, 0, 0));
    // Twice an hour, from the first on.
    assert_eq!(outcome.checks as u64, KEYS * (167 * 2 + 1));
    assert!(outcome.fewest_turns >= 167 && outcome.most_turns <= 168 * 10 / 9 + 1);
}

#[test]
fn keys_whose_owners_have_gone_survive_a_day_when_others_store_them_again_and_no_hour_otherwise() {
    let kept = simulate(NODES, KEYS, 24, Keeper::Other);
    assert_eq!((kept.lost, kept.failed_stores), (0, 0));
    let left_alone = simulate(NODES, KEYS, 4, Keeper::Nobody);
    assert!(left_alone.lost as u64 >= KEYS, "the DHT forgets nothing, so that the others have shown nothing");
}
