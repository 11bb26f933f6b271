//! The network as a whole: who is in it, who knows whom, what gets lost.

use std::{
    collections::{BTreeMap, HashSet},
    time::Duration,
};

use super::*;
use crate::simulator::{Hostile, MAX_NODES};

/// The ids of all nodes, nearest to the target first.
fn nearest(network: &Responder, target: &Id) -> Vec<Id> {
    let mut ids: Vec<_> = network.population.nodes().map(|node| node.id).collect();
    ids.sort_by_key(|id| *id.xor(target).as_bytes());
    ids
}

/// The nodes nearest to a node of those that are sure to be in its table: all in buckets that are not full.
fn neighbours(network: &Responder, own: &Id) -> Vec<Id> {
    let nearest = nearest(network, own);
    let shared = |id: &Id| id.xor(own).leading_zeros();
    let is_full = |bits| nearest.iter().filter(|id| shared(id) == bits).count() > 8;
    nearest.iter().skip(1).take(8).take_while(|id| !is_full(shared(id))).copied().collect()
}

#[test]
fn a_table_holds_at_most_a_bucket_for_each_length_of_prefix_and_all_neighbours() {
    let mut network = network(World { nodes: 2000, ..World::default() });
    let own = network.population.node(network.population.at(LOCALHOST).unwrap()).unwrap().id;
    let mut known = HashSet::new();
    let mut random = Random::of(&[5]);
    // Answers about many targets show the whole table.
    for _ in 0..4000 {
        let reply = ask(&mut network, LOCALHOST, Method::FindNode(random.id()));
        known.extend(response(&reply).nodes.iter().map(|(id, _)| id));
    }
    let reply = ask(&mut network, LOCALHOST, Method::FindNode(own));
    let expected = neighbours(&network, &own);
    let named: Vec<_> = response(&reply).nodes.iter().map(|(id, _)| id).collect();
    assert!(expected.len() >= 4 && named.starts_with(&expected), "{named:?}, not {expected:?}");
    for shared in 0..160 {
        let in_bucket = known.iter().filter(|id| id.xor(&own).leading_zeros() == shared).count();
        assert!(in_bucket <= 8, "{in_bucket} share {shared} bits");
        assert!(shared > 6 || in_bucket == 8, "{in_bucket} share {shared} bits");
    }
}

#[test]
fn following_answers_from_the_first_node_leads_to_the_nearest() {
    let mut network = network(World { nodes: 3000, ..World::default() });
    let first = network.population.node(network.population.at(LOCALHOST).unwrap()).unwrap().id;
    let (mut found, mut asked) = (0, 0);
    for number in 0..20 {
        let target = Random::of(&[99, number]).id();
        // By distance: where the node is, and whether it has been asked.
        let mut seen = BTreeMap::from([(*first.xor(&target).as_bytes(), (LOCALHOST, false))]);
        while let Some((next, is_asked)) = seen.values_mut().take(20).find(|(_, is_asked)| !*is_asked) {
            *is_asked = true;
            asked += 1;
            let reply = ask(&mut network, *next, get(target));
            for (id, address) in response(&reply).nodes.iter() {
                seen.entry(*id.xor(&target).as_bytes()).or_insert((address.ip(), false));
            }
        }
        let nearest = nearest(&network, &target);
        let is_seen = |id: &&Id| seen.contains_key(id.xor(&target).as_bytes());
        assert_eq!(nearest[..8].iter().filter(is_seen).count(), 8);
        found += nearest[..20].iter().filter(is_seen).count();
    }
    // Answers name eight nodes, so that some of the others are missed, as on the real network.
    assert!(found > 300, "{found} of 400");
    assert!(asked < 20 * 40, "{asked} asked");
}

#[test]
fn roles_have_the_shares_that_were_asked_for() {
    let hostile = vec![(Hostile::Garbage, 0.1), (Hostile::BadTokens, 0.05)];
    let world = World { nodes: 1000, dead: 0.2, hostile, ..World::default() };
    let network = network(world);
    for (role, count) in [
        (Role::Dead, 200),
        (Role::Hostile(Hostile::Garbage), 100),
        (Role::Hostile(Hostile::BadTokens), 50),
        (Role::Honest, 650),
    ] {
        assert_eq!(addresses(&network, role).len(), count, "{role:?}");
    }
    assert!(addresses(&network, Role::Honest).contains(&LOCALHOST));
    let all: HashSet<_> = network.population.nodes().map(|node| node.address).collect();
    assert_eq!(all.len(), 1000);
}

#[test]
fn the_seed_decides_the_network() {
    let ids = |seed| -> Vec<_> {
        let network = network(World { seed, dead: 0.5, ..World::default() });
        network.population.nodes().map(|node| (node.id, node.address, node.role)).collect()
    };
    assert_eq!(ids(1), ids(1));
    assert_ne!(ids(1), ids(2));
}

#[test]
fn dead_nodes_are_named_and_hold_packets_but_do_not_answer() {
    let mut network = network(World { dead: 0.5, ..World::default() });
    let packet = packet(&keypair(1), 5);
    network.store(&packet);
    let dead = addresses(&network, Role::Dead);
    let held = dead.iter().filter(|address| {
        let number = network.population.at(**address).unwrap();
        network.population.peek(number, &target_of(packet.key()), Duration::ZERO).is_some()
    });
    assert_eq!((dead.len(), held.count()), (10, 10));
    assert_eq!(network.holders(packet.key()), [5; 10]);
    for address in dead {
        assert!(ask(&mut network, address, Method::Ping).is_empty());
    }
    assert!(ask(&mut network, IpAddr::from([127, 255, 250, 1]), Method::Ping).is_empty());
    assert_eq!(network.statistics.unanswered, 11);
}

#[test]
fn a_node_keeps_its_round_trip_and_jitter_is_added() {
    let range = Duration::from_millis(30)..=Duration::from_millis(230);
    let world = |jitter| World { nodes: 200, round_trip: range.clone().into(), jitter, ..World::default() };
    let delays = |mut network: Responder| -> Vec<Duration> {
        let addresses = addresses(&network, Role::Honest);
        let mut ask =
            |address| network.answer(&query(Method::Ping), CLIENT, address, &mut Vec::new()).unwrap();
        addresses.into_iter().flat_map(|address| [ask(address), ask(address)]).collect()
    };
    let steady = delays(network(world(Duration::ZERO)));
    assert!(steady.iter().all(|delay| range.contains(delay)));
    assert!(steady.chunks(2).all(|pair| pair[0] == pair[1]));
    let (shortest, longest) = (steady.iter().min().unwrap(), steady.iter().max().unwrap());
    assert!(*shortest < Duration::from_millis(40) && *longest > Duration::from_millis(220));

    let jitter = Duration::from_millis(50);
    let unsteady = delays(network(world(jitter)));
    assert!(
        unsteady.iter().zip(&steady).all(|(with, without)| with >= without && *with <= *without + jitter)
    );
    assert!(unsteady.chunks(2).all(|pair| pair[0] != pair[1]));
}

#[test]
fn loss_takes_queries_and_answers() {
    let mut network = network(World { loss: 0.5, ..World::default() });
    let answered = (0..4000).filter(|_| !ask(&mut network, LOCALHOST, Method::Ping).is_empty());
    let answered = answered.count();
    assert!((800..1200).contains(&answered), "{answered} of 4000");
    assert_eq!(network.statistics.lost as usize, 4000 - answered);
}

#[test]
fn the_stale_share_of_the_nearest_gets_the_older_packet() {
    let mut network = network(World { nodes: 200, stale: 0.3, ..World::default() });
    let [older, newer] = [1, 2].map(|timestamp| packet(&keypair(1), timestamp));
    network.store_stale(&newer, &older);
    let mut held = network.holders(newer.key());
    held.sort_unstable();
    assert_eq!(held, [vec![1; 6], vec![2; 14]].concat());
    let target = target_of(newer.key());
    for id in nearest(&network, &target).into_iter().take(20) {
        let number = network.population.nodes().position(|node| node.id == id).unwrap();
        assert!(network.population.peek(number as u32, &target, Duration::ZERO).is_some());
    }
}

#[test]
fn churn_replaces_nodes_but_the_first() {
    let mut network = network(World { nodes: 200, dead: 0.1, ..World::default() });
    let packet = packet(&keypair(1), 1);
    network.store(&packet);
    let all = |network: &Responder| -> HashSet<_> {
        network.population.nodes().map(|node| (node.id, node.address)).collect()
    };
    let before = all(&network);
    let first = network.population.node(network.population.at(LOCALHOST).unwrap()).unwrap().id;
    // So that every node has a table.
    for (_, address) in &before {
        ask(&mut network, *address, Method::FindNode(first));
    }
    network.population.churn(0.25);
    assert_eq!(before.intersection(&all(&network)).count(), 150);
    network.population.churn(1.0);
    let survivors: Vec<_> = before.intersection(&all(&network)).map(|(_, address)| *address).collect();
    assert_eq!(survivors, [LOCALHOST]);
    assert!(network.holders(packet.key()).len() <= 1);
    assert_eq!((all(&network).len(), addresses(&network, Role::Dead).len()), (200, 20));
    // Who stayed knows the newcomers.
    let reply = ask(&mut network, LOCALHOST, Method::FindNode(first));
    let expected = neighbours(&network, &first);
    let named: Vec<_> = response(&reply).nodes.iter().map(|(id, _)| id).collect();
    assert!(expected.len() >= 4 && named.starts_with(&expected), "{named:?}, not {expected:?}");
}

#[test]
fn a_world_that_cannot_be_is_refused() {
    let second = Duration::from_secs(1);
    for world in [
        World { nodes: 0, ..World::default() },
        World { nodes: 16_500_001, ..World::default() },
        World { round_trip: (second * 2..=second).into(), ..World::default() },
        World { round_trip: (second..=second * 61).into(), ..World::default() },
        World { jitter: second * 61, ..World::default() },
        World { loss: 1.1, ..World::default() },
        World { dead: -0.1, ..World::default() },
        World { stale: f64::NAN, ..World::default() },
        World { dead: 0.6, hostile: Hostile::mix(0.6), ..World::default() },
        World { hostile: vec![(Hostile::Garbage, 2.0)], ..World::default() },
        World { items_per_node: 0, ..World::default() },
    ] {
        assert!(world.check(MAX_NODES).is_err(), "{world:?}");
    }
    for world in [
        World::default(),
        World { nodes: 1, dead: 1.0, loss: 1.0, stale: 1.0, ..World::default() },
        World { dead: 0.8, hostile: Hostile::mix(0.2), ..World::default() },
    ] {
        assert!(world.check(MAX_NODES).is_ok(), "{world:?}");
        assert_eq!(network(world.clone()).population.nodes().count(), world.nodes);
    }
}
