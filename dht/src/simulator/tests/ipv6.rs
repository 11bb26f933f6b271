//! Nodes that have addresses of IPv6.

use std::{
    collections::{HashMap, HashSet},
    net::Ipv6Addr,
};

use super::*;
use crate::{
    address::is_private,
    node_id,
    simulator::{Family, Hostile, Offline, Simulator, addresses::Addresses},
};

/// Like the realistic one.
fn network(world: World) -> Responder {
    let world = World { family: Family::V6, ..world };
    let addresses = Addresses::of_internet(&world);
    Responder::with_addresses(world, PORT, addresses)
}

fn client(network: &Responder) -> SocketAddr {
    SocketAddr::new(network.population.addresses().of_client(), 4000)
}

fn ask_for(network: &mut Responder, asked: IpAddr, method: Method<'_>, want: Want) -> Vec<u8> {
    let (from, mut reply, mut bytes) = (client(network), Vec::new(), Vec::new());
    let body = Body::Query(Query { id: Id::from([7; 20]), want, method });
    Message { transaction: b"tt", read_only: true, observed: None, body }.encode(&mut bytes);
    network.answer(&bytes, from, asked, &mut reply);
    reply
}

#[test]
fn answers_name_nodes_of_ipv6_in_thirty_eight_bytes_each_and_none_of_the_other_family() {
    let mut network = network(World { nodes: 2000, ..World::default() });
    let packet = packet(&keypair(1), 5);
    network.store(&packet);
    let (target, first) = (target_of(packet.key()), network.population.first_address());
    let n6 = Want { v4: false, v6: true };
    let holder = network.population.replicas(&target)[0];
    let holder = network.population.node(holder).unwrap().address;
    for asked in [first, holder] {
        for (want, named) in [(n6, 8), (Want::default(), 8), (Want { v4: true, v6: false }, 0)] {
            let reply = ask_for(&mut network, asked, get(target), want);
            let count = |needle: &[u8]| reply.windows(needle.len()).filter(|it| *it == needle).count();
            assert_eq!((count(b"6:nodes6304:"), count(b"5:nodes")), (named / 8, 0), "{want:?}");
            let reply = Message::decode(&reply).unwrap();
            assert_eq!(reply.observed, Some(client(&network)));
            let Body::Response(reply) = reply.body else { panic!() };
            assert_eq!(reply.nodes.iter().count(), named);
            assert!(reply.nodes.iter().all(|(_, address)| address.is_ipv6() && address.port() == PORT));
            assert_eq!((reply.item.is_some(), reply.token.is_some()), (asked == holder, true));
        }
    }
}

#[test]
fn a_token_is_good_for_one_address_of_ipv6() {
    let mut network = network(World::default());
    let (asked, item) = (network.population.first_address(), StoredItem::signed(&keypair(1), 5, vec![1]));
    let target = target_of(&keypair(1).public_key());
    let us = client(&network);
    let other = SocketAddr::new("2a10:1::2".parse().unwrap(), 4000);
    for (from, expected) in [(other, 203), (us, 0)] {
        let reply = ask_from(&mut network, us, asked, get(target));
        let token = response(&reply).token.unwrap().to_vec();
        let put = Method::Put(Put { target: None, token: &token, item: item.as_item(), cas: None });
        assert_eq!(code(&ask_from(&mut network, from, asked, put)), expected);
    }
    assert_eq!(network.holders(&keypair(1).public_key()), [5]);
}

#[test]
fn nodes_have_addresses_that_the_internet_knows_and_share_sites_as_homes_and_hosters_do() {
    for bound_ids in [0.0, 1.0] {
        let network = network(World { bound_ids, nodes: 200_000, ..World::default() });
        let (mut sites, mut addresses) = (HashMap::new(), HashSet::new());
        for node in network.population.nodes() {
            assert!(!is_private(node.address), "{}", node.address);
            assert!(addresses.insert(node.address));
            *sites.entry(subnet(node.address)).or_insert(0) += 1;
        }
        let nodes_at = |sizes: std::ops::Range<usize>| -> usize {
            sites.values().filter(|nodes| sizes.contains(nodes)).sum()
        };
        // Ten of sixteen alone, besides homes whose neighbours have none; five in homes, one at a hoster.
        let shares = [nodes_at(1..2), nodes_at(2..20), nodes_at(50..2000)].map(|nodes| nodes * 16 / 2000);
        let expected = [1000 + 9, 500 - 9, 100];
        for (share, expected) in shares.into_iter().zip(expected) {
            assert!(share.abs_diff(expected) < 30, "{shares:?}, bound: {bound_ids}");
        }
        for node in network.population.nodes().step_by(999) {
            let IpAddr::V6(address) = node.address else { panic!() };
            assert!(network.population.at(node.address).is_some());
            // The same number in another network, or at another host there.
            for bit in [40, 70, 100] {
                let other = Ipv6Addr::from_bits(address.to_bits() ^ (1 << bit));
                assert!(network.population.at(other.into()).is_none(), "{other}");
            }
        }
        let bound = network.population.nodes().filter(|node| node_id::is_valid(&node.id, node.address));
        assert!(bound.count() >= if bound_ids > 0.0 { 199_999 } else { 0 });
    }
}

#[test]
fn those_who_are_no_nodes_are_at_addresses_of_their_own() {
    let network = network(World::default());
    let addresses = network.population.addresses();
    let mut subnets = HashSet::new();
    for number in 0..=239 {
        let attacker = addresses.of_attacker(number, 7);
        assert_eq!((addresses.attacker(attacker), addresses.invented(attacker)), (Some((number, 7)), None));
        let invented = addresses.of_invented(number, 9);
        assert_eq!((addresses.invented(invented), addresses.attacker(invented)), (Some((number, 9)), None));
        for address in [attacker, invented] {
            assert!(!is_private(address) && network.population.at(address).is_none());
            assert!(subnets.insert(subnet(address)));
        }
    }
    let client = client(&network).ip();
    assert!(!is_private(client) && addresses.attacker(client).is_none());
}

#[test]
fn hostile_nodes_of_ipv6_do_their_worst() {
    let mut network = network(World { nodes: 300, hostile: Hostile::mix(1.0), ..World::default() });
    let from = client(&network);
    let all: Vec<_> = network.population.nodes().collect();
    let mut named = 0;
    for node in all {
        let mut reply = Vec::new();
        network.answer(&query(get(Id::from([9; 20]))), from, node.address, &mut reply).unwrap();
        assert!(reply.len() < 65_000, "{:?}", node.role);
        if let Some(Message { body: Body::Response(reply), .. }) = Message::decode(&reply) {
            named += reply.nodes.iter().filter(|(_, address)| address.is_ipv6()).count();
            assert!(reply.nodes.iter().all(|(_, address)| address.is_ipv6()));
        }
    }
    assert!(named > 2000, "{named}");
}

#[test]
fn there_is_no_network_of_ipv6_on_this_machine() {
    let world = || World { family: Family::V6, ..World::default() };
    let refused = [Simulator::start(world()).map(|_| ()), Offline::on_loopback(world()).map(|_| ())];
    for error in refused.map(Result::unwrap_err) {
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
        assert!(error.to_string().contains("IPv6 has one"), "{error}");
    }
    assert!(Offline::new(world()).is_ok());
}
