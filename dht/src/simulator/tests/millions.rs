//! Nodes as functions of their numbers.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use super::*;
use crate::simulator::{
    Family, RoundTrips,
    addresses::Addresses,
    binding::Binding,
    ids::{Prefixes, prefix},
    permutation::Permutation,
};

fn internet(world: World) -> Responder {
    let addresses = Addresses::of_internet(&world);
    Responder::with_addresses(world, PORT, addresses)
}

/// On loopback and on the internet of either family, with and without ids bound to addresses.
fn everywhere(world: &World) -> [Responder; 6] {
    let [free, bound] = [0.0, 0.7].map(|bound_ids| World { bound_ids, ..world.clone() });
    let [free_v6, bound_v6] = [&free, &bound].map(|world| World { family: Family::V6, ..world.clone() });
    let [on_loopback, bound_on_loopback] = [&free, &bound].map(|world| network(world.clone()));
    let on_the_internet = [free, bound, free_v6, bound_v6].map(internet);
    let [one, two, three, four] = on_the_internet;
    [on_loopback, bound_on_loopback, one, two, three, four]
}

fn ids(network: &Responder, number: u32, target: &Id) -> Vec<Id> {
    network.population.known_to(number, target).into_iter().map(|(id, _)| id).collect()
}

#[test]
fn a_permutation_leads_everywhere_once_and_back() {
    for bound in [1, 2, 3, 20, 1000, 1025] {
        let order = Permutation::of(bound, &[u64::from(bound)]);
        let places: HashSet<_> = (0..bound).map(|number| order.apply(number)).collect();
        assert!(places.len() == bound as usize && places.iter().all(|place| *place < bound), "{bound}");
        assert!((0..bound).all(|number| order.invert(order.apply(number)) == number), "{bound}");
    }
}

#[test]
fn prefixes_are_sorted_and_evenly_spread_and_found_by_their_beginning() {
    for count in [1, 2, 63, 1000, 100_000] {
        let prefixes = Prefixes::new(count, &mut Random::of(&[1]));
        let all: Vec<_> = (0..count as u32).map(|place| prefixes.get(place).unwrap()).collect();
        assert!(all.is_sorted_by(|one, other| one < other));
        let in_upper_half = all.iter().filter(|prefix| *prefix >> 63 == 1).count();
        assert!(
            count < 1000 || in_upper_half.abs_diff(count / 2) < 2 * count.isqrt(),
            "{in_upper_half} of {count}"
        );
        for bits in [0, 1, 5, 11, 40, 64] {
            for wanted in [0, u64::MAX, 0x5a5a_5a5a_5a5a_5a5a, all[count / 3]] {
                let shares = |prefix: &u64| bits == 0 || (prefix ^ wanted) >> (64 - bits) == 0;
                let range = prefixes.sharing(wanted, bits);
                assert_eq!(range.len(), all.iter().filter(|it| shares(it)).count());
                assert!(range.into_iter().all(|place| shares(&all[place as usize])));
            }
        }
    }
}

#[test]
fn the_nearest_are_those_that_looking_at_all_of_them_finds() {
    let prefixes = Prefixes::new(3000, &mut Random::of(&[2]));
    for target in (0..20).map(|number| prefix(&Random::of(&[number]).id())) {
        let mut expected: Vec<_> = (0..3000_u32).filter(|place| place % 3 != 0).collect();
        expected.sort_by_key(|place| prefixes.get(*place).unwrap() ^ target);
        assert_eq!(prefixes.nearest(target, 20, |place| place % 3 != 0), expected[..20]);
    }
    assert_eq!(prefixes.nearest(7, 20, |place| place == 2000), [2000]);
}

#[test]
fn redrawn_prefixes_stay_sorted_and_are_found() {
    let mut prefixes = Prefixes::new(5000, &mut Random::of(&[3]));
    let mut random = Random::of(&[4]);
    for _ in 0..20_000 {
        prefixes.redraw(random.below(5000) as u32, 0, &mut random);
    }
    let all: Vec<_> = (0..5000).map(|place| prefixes.get(place).unwrap()).collect();
    assert!(all.is_sorted_by(|one, other| one < other));
    for (place, prefix) in all.iter().enumerate() {
        assert_eq!(prefixes.sharing(*prefix, 64), place as u32..place as u32 + 1);
        let near = prefixes.sharing(*prefix, 7);
        assert_eq!(near.len(), all.iter().filter(|it| (*it ^ prefix) >> 57 == 0).count());
    }
    // None of the halves has become fuller than the other.
    assert!(all.iter().filter(|prefix| *prefix >> 63 == 1).count().abs_diff(2500) < 150);
}

#[test]
fn a_node_that_is_asked_twice_names_the_same_and_each_from_the_right_bucket() {
    for network in everywhere(&World { nodes: 20_000, ..World::default() }) {
        let nodes: Vec<_> = network.population.nodes().collect();
        for asked in [0, 777, 19_999_u32] {
            let own = nodes[asked as usize].id;
            let mut known = HashSet::new();
            for target in (0..300).map(|number| Random::of(&[number]).id()) {
                let named = ids(&network, asked, &target);
                assert_eq!(named, ids(&network, asked, &target));
                assert!(named.is_sorted_by_key(|id| *id.xor(&target).as_bytes()) && named.len() == 8);
                known.extend(named);
            }
            for bit in 0..12 {
                let in_bucket = known.iter().filter(|id| id.xor(&own).leading_zeros() == bit).count();
                assert!(in_bucket <= 8 && (bit > 3 || in_bucket == 8), "{in_bucket} differ in bit {bit}");
            }
            assert!(!known.contains(&own));
            assert!(
                known.iter().all(|id| nodes.binary_search_by_key(&prefix(id), |it| prefix(&it.id)).is_ok())
            );
        }
    }
}

#[test]
fn a_node_is_found_at_its_address_also_after_some_have_left() {
    for mut network in everywhere(&World { nodes: 20_000, ..World::default() }) {
        let mut before = HashSet::new();
        for share in [0.0, 0.3, 0.3] {
            network.population.churn(share);
            let mut addresses = HashSet::new();
            let mut nowhere = 0;
            for (node, number) in network.population.nodes().zip(0..) {
                match network.population.at(node.address) {
                    Some(found) => assert_eq!(found, number),
                    None => nowhere += 1,
                }
                addresses.insert(node.address);
            }
            let left =
                before.difference(&addresses).filter(|address| network.population.at(**address).is_some());
            assert_eq!(left.count(), 0, "found where somebody was");
            before.extend(addresses.iter().copied());
            assert!(addresses.len() + nowhere >= 20_000 && nowhere < 20, "{nowhere} nowhere");
        }
    }
}

#[test]
fn ten_million_nodes_take_eight_bytes_each_and_are_where_they_are() {
    for network in everywhere(&World::realistic(10_000_000)) {
        let (bytes, others) = network.population.size();
        assert!(bytes < 82_000_000 && others == 0, "{bytes} bytes");
        let mut nowhere = 0;
        for number in (0..1000).map(|number| number * 9_999) {
            let address = network.population.node(number).unwrap().address;
            match network.population.at(address) {
                Some(found) => assert_eq!(found, number),
                None => nowhere += 1,
            }
        }
        assert!(nowhere < 15, "{nowhere} of 1000 are nowhere");
    }
}

#[test]
fn the_realistic_world_has_the_shares_that_it_says() {
    let mut network = internet(World::realistic(20_000));
    let count = |role| addresses(&network, role).len();
    assert_eq!([Role::Dead, Role::StoresNothing, Role::Honest].map(count), [5000, 6000, 9000]);
    let mut round_trips: Vec<_> =
        network.population.nodes().map(|node| node.round_trip.as_millis()).collect();
    round_trips.sort_unstable();
    // The median, and a sigma of 0.7 to either side of it.
    for (place, expected) in [(10_000, 120), (3_173, 60), (16_827, 242)] {
        assert!(round_trips[place].abs_diff(expected) * 20 < expected, "{} ms", round_trips[place]);
    }
    assert!(*round_trips.first().unwrap() >= 5 && *round_trips.last().unwrap() <= 3000);

    let packet = packet(&keypair(1), 5);
    network.store(&packet);
    assert_eq!(network.holders(packet.key()), [5; 20]);
}

#[test]
fn nodes_without_bep_44_are_good_for_the_way_only() {
    let mut network = network(World { without_bep_44: 1.0, ..World::default() });
    let asked = addresses(&network, Role::StoresNothing)[0];
    let target = Id::from([9; 20]);
    assert_eq!(code(&ask(&mut network, asked, get(target))), 204);
    let item = StoredItem::signed(&keypair(1), 5, b"a".to_vec());
    assert_eq!(put_with(&mut network, asked, b"tttttttt", &item, None), 204);
    for method in [Method::FindNode(target), Method::GetPeers(target)] {
        let reply = ask(&mut network, asked, method);
        assert_eq!(response(&reply).nodes.iter().count(), 8);
    }
    assert_eq!(code(&ask(&mut network, asked, Method::Ping)), 0);
}

#[test]
fn nodes_behind_nat_are_named_and_silent() {
    let mut network = network(World { behind_nat: 0.5, ..World::default() });
    let hidden = addresses(&network, Role::BehindNat);
    assert_eq!(hidden.len(), 10);
    assert!(hidden.iter().all(|address| ask(&mut network, *address, Method::Ping).is_empty()));
    let named = network.population.known_to(0, &Id::from([9; 20]));
    assert!(named.iter().any(|(_, address)| hidden.contains(address)));
}

#[test]
fn stale_entries_name_who_has_gone_and_is_nowhere() {
    let network = internet(World { nodes: 20_000, stale_entries: 0.2, ..World::default() });
    let (mut gone, mut all) = (0, 0);
    for target in (0..500).map(|number| Random::of(&[number]).id()) {
        for (id, address) in network.population.known_to(target.as_bytes()[0].into(), &target) {
            all += 1;
            match network.population.at(address) {
                Some(number) => assert_eq!(network.population.node(number).unwrap().id, id),
                None => gone += 1,
            }
        }
    }
    assert!((all / 6..all / 4).contains(&gone), "{gone} of {all}");
}

#[test]
fn nodes_leave_as_those_of_the_public_network_do() {
    let world = World { nodes: 20_000, stays: World::public_stays(), ..World::default() };
    let mut network = network(world);
    let before: Vec<_> = network.population.nodes().map(|node| node.address).collect();
    for (hours, percent) in [(1, 85.9), (24, 38.9), (48, 24.5)] {
        network.pass(Duration::from_secs(hours * 3600));
        let now = network.population.nodes().map(|node| node.address);
        let stayed = now.zip(&before).filter(|(now, before)| now == *before).count();
        let share = stayed as f64 / 200.0;
        assert!((share - percent).abs() < 2.0, "{share} % after {hours} hours");
    }
}

#[test]
fn what_was_given_long_ago_is_forgotten_unless_it_is_given_again() {
    let hour = Duration::from_secs(3600);
    let mut network = network(World { memory: Some(hour * 2), ..World::default() });
    let packet = packet(&keypair(1), 5);
    network.store(&packet);
    network.pass(hour);
    let item = StoredItem::signed(&keypair(1), 5, b"records".to_vec());
    assert_eq!(put(&mut network, LOCALHOST, &item, None), 0);
    network.pass(hour * 3 / 2);
    assert_eq!(network.holders(packet.key()).len(), 20);
    network.pass(hour * 5 / 2);
    assert_eq!(network.holders(packet.key()).len(), 1);
    let reply = ask(&mut network, LOCALHOST, get(target_of(packet.key())));
    assert!(response(&reply).item.is_some());
    network.pass(hour * 4);
    assert!(network.holders(packet.key()).is_empty());
}

#[test]
fn some_answers_are_late() {
    let mut network = network(World { late: (0.25, Duration::from_secs(1)), ..World::default() });
    let mut delay = || network.answer(&query(Method::Ping), CLIENT, LOCALHOST, &mut Vec::new()).unwrap();
    let late = (0..1000).filter(|_| !delay().is_zero()).count();
    assert!((200..300).contains(&late), "{late} of 1000");
}

#[test]
fn ids_are_bound_to_addresses_in_the_share_that_was_asked_for() {
    for family in [Family::V4, Family::V6] {
        let network = internet(World { family, nodes: 20_000, bound_ids: 0.7, ..World::default() });
        let is_bound = |id: &Id, address: IpAddr| crate::node_id::is_valid(id, address);
        let bound = network.population.nodes().filter(|node| is_bound(&node.id, node.address)).count();
        assert!((13_700..14_300).contains(&bound), "{bound} of 20000 in {family:?}");
    }
}

#[test]
fn a_round_trip_stays_within_its_bounds() {
    let within = Duration::from_millis(100)..=Duration::from_millis(200);
    let round_trips =
        RoundTrips::LogNormal { median: Duration::from_millis(120), sigma: 3.0, within: within.clone() };
    let mut random = Random::of(&[1]);
    assert!((0..1000).all(|_| within.contains(&round_trips.draw(&mut random))));
}

#[test]
fn each_group_of_addresses_is_the_place_of_two_beginnings_of_ids() {
    let binding = Binding::new();
    for group in (0..1 << 20).step_by(997) {
        let classes: Vec<_> = binding.classes(group).collect();
        assert_eq!(classes.len(), 2, "{group}");
        assert!(classes.iter().all(|class| binding.place(*class).group == group));
    }
}

#[test]
fn most_nodes_of_the_internet_have_a_subnet_of_their_own_and_some_hosters_have_many() {
    let network = internet(World::realistic(1_000_000));
    let mut subnets = HashMap::new();
    for number in (0..1_000_000).step_by(10) {
        let (_, address) = network.population.contact(number).unwrap();
        *subnets.entry(subnet(address)).or_insert(0) += 1;
    }
    let alone: usize = subnets.values().filter(|nodes| **nodes <= 2).sum();
    let crowded: usize = subnets.values().filter(|nodes| **nodes > 8).sum();
    assert!((90_000..95_000).contains(&alone) && (6_000..6_500).contains(&crowded), "{alone} and {crowded}");
}
