//! Nodes that gather around a key.

use std::collections::{HashSet, VecDeque};

use super::*;
use crate::simulator::{Family, Hostile, addresses::Addresses};

fn named(network: &mut Responder, asked: IpAddr, target: Id) -> Vec<(Id, IpAddr)> {
    let reply = ask(network, asked, get(target));
    response(&reply).nodes.iter().map(|(id, address)| (id, address.ip())).collect()
}

fn distance(id: &Id, target: &Id) -> [u8; 20] {
    *id.xor(target).as_bytes()
}

/// All whom following the answers leads to from these on.
fn all_around(network: &mut Responder, target: Id, seeds: Vec<(Id, IpAddr)>) -> HashSet<(Id, IpAddr)> {
    let (mut seen, mut waiting) = (HashSet::new(), VecDeque::from(seeds));
    while let Some(next) = waiting.pop_front() {
        if seen.insert(next) {
            waiting.extend(named(network, next.1, target));
        }
    }
    seen
}

#[test]
fn attackers_are_forty_in_twenty_subnets_nearer_than_all_others_and_name_only_each_other() {
    for (family, internet) in [(Family::V4, false), (Family::V4, true), (Family::V6, true)] {
        let world = World { family, nodes: 5000, ..World::default() };
        let addresses = if internet { Addresses::of_internet(&world) } else { Addresses::Loopback };
        let mut network = Responder::with_addresses(world, PORT, addresses);
        let packets = (1..=30).map(|number| packet(&keypair(number), 5));
        let packets: Vec<_> = packets.collect();
        let mut everywhere = HashSet::new();
        for packet in &packets {
            network.store(packet);
            network.attack(target_of(packet.key()));
        }
        for packet in &packets {
            let target = target_of(packet.key());
            let nodes: Vec<_> = network.population.nodes().collect();
            let nearest = nodes.iter().map(|node| distance(&node.id, &target)).min().unwrap();
            let answers = nodes.iter().map(|node| named(&mut network, node.address, target));
            let seeds: Vec<_> = answers.flatten().filter(|(id, _)| distance(id, &target) < nearest).collect();
            // Eight are named by each of a fifth of the nodes.
            assert!((5000 * 8 * 18 / 100..5000 * 8 * 22 / 100).contains(&seeds.len()), "{}", seeds.len());
            let attackers = all_around(&mut network, target, seeds);
            let subnets: HashSet<_> = attackers.iter().map(|(_, address)| subnet(*address)).collect();
            assert_eq!((attackers.len(), subnets.len()), (40, 20));
            for (id, address) in attackers {
                let reply = ask(&mut network, address, get(target));
                let reply = response(&reply);
                assert!(reply.id == id && distance(&id, &target) < nearest);
                assert!(reply.item.is_none() && reply.token.is_some() && reply.nodes.iter().count() == 8);
                assert_eq!(response(&ask(&mut network, address, Method::Ping)).id, id);
                assert!(everywhere.insert(address), "one address attacks two keys");
            }
        }
        // The others still give the packet, and those of other keys are left alone.
        assert!(packets.iter().all(|packet| network.holders(packet.key()).len() == 20));
        let other = target_of(&keypair(99).public_key());
        let first = network.population.first_address();
        let real: HashSet<_> = network.population.nodes().map(|node| node.id).collect();
        assert!(named(&mut network, first, other).iter().all(|(id, _)| real.contains(id)));

        network.attacks.end();
        assert!(everywhere.iter().all(|address| ask(&mut network, *address, Method::Ping).is_empty()));
    }
}

#[test]
fn a_dense_node_names_attackers_around_whatever_it_is_asked_about() {
    let mut network = network(World { nodes: 200, hostile: vec![(Hostile::Dense, 0.2)], ..World::default() });
    let packet = packet(&keypair(1), 5);
    network.store(&packet);
    let dense = addresses(&network, Role::Hostile(Hostile::Dense));
    let nodes: Vec<_> = network.population.nodes().collect();
    for target in [target_of(packet.key()), Id::from([9; 20])] {
        let nearest = nodes.iter().map(|node| distance(&node.id, &target)).min().unwrap();
        let seeds = named(&mut network, dense[0], target);
        assert_eq!(seeds.len(), 8);
        let attackers = all_around(&mut network, target, seeds);
        assert_eq!(attackers.len(), 40);
        assert!(attackers.iter().all(|(id, _)| distance(id, &target) < nearest));
    }
    assert!(response(&ask(&mut network, dense[0], get(target_of(packet.key())))).item.is_none());
}
