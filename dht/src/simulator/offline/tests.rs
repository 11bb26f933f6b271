//! Many searches at once in time that is moved by hand.

use std::{ops::Range, time::Duration};

use super::{Offline, OfflineClient};
use crate::{
    DhtSettings, NetworkError,
    signed_packet::{Keypair, SignedPacket},
    simulator::{Family, World},
    table::Contact,
};

const SECOND: Duration = Duration::from_secs(1);

/// IPv6 is searched after this where IPv4 has shown nothing.
const IPV6_DELAY: Duration = Duration::from_millis(600);

fn packet(number: u8) -> SignedPacket {
    SignedPacket::sign(&Keypair::from_secret_key(&[number; 32]), 7, b"records").unwrap()
}

fn joined(world: World) -> (Offline, OfflineClient) {
    joined_to(Offline::new(world).unwrap())
}

fn joined_to(mut network: Offline) -> (Offline, OfflineClient) {
    let mut client = OfflineClient::join(&mut network, &DhtSettings::default()).unwrap();
    client.run(&mut network, SECOND * 10);
    (network, client)
}

#[test]
fn searches_begin_when_they_are_to_and_tell_how_they_went() {
    let (mut network, mut client) = joined(World { dead: 0.0, ..World::realistic(5000) });
    assert_eq!(network.now(), SECOND * 10);
    for number in 1..=40 {
        network.store(&packet(number));
        let at = SECOND * 10 + Duration::from_millis(number.into());
        client.search_at(&mut network, packet(number).key(), at);
    }
    let absent = client.search_at(&mut network, packet(99).key(), SECOND * 12);
    assert!(client.searches().iter().all(|search| search.requests == 0));
    client.run_until_done(&mut network);
    for (search, number) in client.searches().iter().zip(1..=40) {
        assert_eq!(search.started, SECOND * 10 + Duration::from_millis(number.into()));
        assert_eq!(search.newest, Some(packet(number)));
        let first = search.first.as_ref().unwrap();
        assert!(first.at > search.started && Some(first.at) <= search.ended);
        assert!(first.requests > 0 && first.requests <= search.requests);
        assert!(search.time_to_first() <= search.duration() && search.duration() < Some(SECOND * 4));
    }
    let absent = &client.searches()[absent];
    assert!(absent.started == SECOND * 12 && absent.is_absent() && absent.time_to_first().is_none());
    assert!(absent.requests >= 14);
}

#[test]
fn every_datagram_is_counted_in_its_second() {
    let (mut network, mut client) = joined(World::realistic(5000));
    client.search(&mut network, packet(1).key());
    client.run(&mut network, SECOND * 20);
    let sent: u32 = client.sent_in_second().iter().sum();
    assert_eq!(u64::from(sent), network.statistics().received.total());
    assert!(client.sent_in_second().len() <= 20 && client.sent_in_second()[0] > 0);
    assert!(client.known() > 100);
}

#[test]
fn a_publication_tells_when_how_many_nodes_have_confirmed_it() {
    let (mut network, mut client) = joined(World::realistic(5000));
    let place = client.publish_at(&mut network, &packet(1), None, SECOND * 11);
    client.run_until_done(&mut network);
    let publication = &client.publications()[place];
    let stored = publication.result.clone().unwrap().unwrap();
    assert!(stored >= 8 && publication.started == SECOND * 11);
    assert!(publication.acknowledged.is_sorted_by_key(|it| (it.at, it.nodes)));
    assert_eq!(publication.acknowledged.last().unwrap().nodes, stored);
    assert!(publication.time_to(1) < publication.time_to(stored));
    assert!(publication.time_to(stored) <= publication.duration());
    assert!(network.holders(packet(1).key()).len() >= stored as usize);
    assert!(publication.requests > stored);
}

#[test]
fn a_search_in_silence_ends_without_evidence() {
    let (mut network, mut client) = joined(World::realistic(2000));
    network.silence(true);
    let place = client.search(&mut network, packet(1).key());
    client.run_until_done(&mut network);
    let search = &client.searches()[place];
    assert_eq!((search.result, search.is_absent()), (Some(Err(NetworkError::Unreachable)), false));
    let mut late = Offline::new(World::realistic(100)).unwrap();
    late.silence(true);
    assert!(OfflineClient::join(&mut late, &DhtSettings::default()).is_err());
}

#[test]
fn nodes_of_an_earlier_run_take_the_place_of_joining() {
    let mut network = Offline::new(World::realistic(5000)).unwrap();
    let known: Vec<_> = network.living(200).map(Contact::from).collect();
    let mut client = OfflineClient::new(&network, &DhtSettings { explore: false, ..DhtSettings::default() });
    client.remember(&mut network, known);
    client.run(&mut network, SECOND * 20);
    assert!(client.known() > 150, "{}", client.known());
}

/// Looks for the packets of these numbers, one after the other. Returns when each was found, sorted.
fn find_all(network: &mut Offline, client: &mut OfflineClient, numbers: Range<u8>) -> Vec<Duration> {
    let (first, start) = (client.searches().len(), network.now());
    for number in numbers.clone() {
        client.search_at(network, packet(number).key(), start + SECOND / 20 * number.into());
    }
    client.run_until_done(network);
    let searches = &client.searches()[first..];
    for (search, number) in searches.iter().zip(numbers) {
        assert_eq!(search.newest, Some(packet(number)), "{search:?}");
    }
    let mut times: Vec<_> = searches.iter().filter_map(|search| search.time_to_first()).collect();
    times.sort_unstable();
    times
}

/// Looks for as many that are not there. Returns when each was denied, sorted.
fn deny_all(network: &mut Offline, client: &mut OfflineClient, numbers: Range<u8>) -> Vec<Duration> {
    let (first, start) = (client.searches().len(), network.now());
    for number in numbers {
        client.search_at(network, packet(number).key(), start + SECOND / 20 * number.into());
    }
    client.run_until_done(network);
    let searches = &client.searches()[first..];
    assert!(searches.iter().all(|search| search.is_absent()));
    let mut times: Vec<_> = searches.iter().filter_map(|search| search.duration()).collect();
    times.sort_unstable();
    times
}

#[test]
fn what_is_stored_in_a_network_of_ipv6_is_found_as_soon_as_in_one_of_ipv4_and_what_is_not_is_denied() {
    let [(known, times), (known_v6, times_v6)] = [Family::V4, Family::V6].map(|family| {
        let world = World { family, bound_ids: 0.8, ..World::realistic(5000) };
        // What one client knows depends on which nodes it happens to ask first.
        let known: usize = (0..4).map(|_| joined(world.clone()).1.known()).sum();
        let (mut network, mut client) = joined(world);
        (1..100).for_each(|number| network.store(&packet(number)));
        let times = find_all(&mut network, &mut client, 1..100);
        deny_all(&mut network, &mut client, 100..150);
        (known, times)
    });
    assert!(known_v6 > 2000 && known_v6 * 10 > known * 9, "{known_v6} known, of IPv4 {known}");
    for place in [times.len() / 2, times.len() * 9 / 10] {
        let [of_v4, of_v6] = [&times, &times_v6].map(|times| times[place]);
        assert!(of_v6 < of_v4.mul_f64(1.4), "{of_v6:?} instead of {of_v4:?}");
    }
}

#[test]
fn a_packet_in_one_family_of_addresses_alone_is_found_whichever_that_is() {
    let ipv6 = World { seed: 2, ..World::realistic(3000) };
    let (mut network, mut client) =
        joined_to(Offline::of_both_families(World::realistic(5000), ipv6).unwrap());
    (1..50).for_each(|number| network.store_in(Family::V4, &packet(number)));
    (50..100).for_each(|number| network.store_in(Family::V6, &packet(number)));
    let of_v4 = find_all(&mut network, &mut client, 1..50);
    let of_v6 = find_all(&mut network, &mut client, 50..100);
    assert!(of_v4[of_v4.len() / 2] < IPV6_DELAY, "{of_v4:?}");
    // IPv4 has been asked in vain before.
    assert!(of_v6[of_v6.len() / 2] < IPV6_DELAY * 2 && of_v6[of_v6.len() - 1] < SECOND * 3, "{of_v6:?}");
    deny_all(&mut network, &mut client, 100..150);

    let place = client.publish(&mut network, &packet(200), None);
    client.run_until_done(&mut network);
    assert!(client.publications()[place].result.clone().unwrap().unwrap() >= 20);
    for family in &network.networks {
        assert!(family.holders(packet(200).key()).len() >= 12, "{:?}", family.world.family);
    }
}

#[test]
fn ipv6_is_searched_as_soon_as_ipv4_will_probably_show_nothing() {
    let world = || World::realistic(300_000);
    let [alone, both] = [Offline::new(world()), Offline::of_both_families(world(), world())];
    let [alone, both] = [alone, both].map(|network| {
        let mut network = network.unwrap();
        let mut client = OfflineClient::new(&network, &DhtSettings::default());
        let known = network.living(8192).map(Contact::from).collect();
        client.remember(&mut network, known);
        client.run(&mut network, SECOND * 10);
        (1..100).for_each(|number| network.store_in(Family::V6, &packet(number)));
        let denied = deny_all(&mut network, &mut client, 100..200);
        let is_alone = network.networks.len() == 1;
        let found = if is_alone { Vec::new() } else { find_all(&mut network, &mut client, 1..100) };
        (denied, found)
    });
    let denied_alone = alone.0[alone.0.len() / 2];
    let (denied, found) = (both.0[both.0.len() / 2], both.1[both.1.len() / 2]);
    // One after the other it would be half as long again, and twice as long.
    assert!(found < denied_alone.mul_f64(1.1), "found after {found:?}, denied after {denied_alone:?}");
    assert!(denied < denied_alone.mul_f64(1.8), "denied after {denied:?}, in IPv4 after {denied_alone:?}");
}

#[test]
fn where_nobody_of_ipv4_answers_ipv6_is_searched_at_once() {
    let [silent, ipv6] = [1.0, 0.02].map(|loss| World { loss, ..World::realistic(3000) });
    let (mut network, mut client) = joined_to(Offline::of_both_families(silent, ipv6).unwrap());
    (1..40).for_each(|number| network.store_in(Family::V6, &packet(number)));
    let times = find_all(&mut network, &mut client, 1..40);
    assert!(times[times.len() / 2] < IPV6_DELAY, "{times:?}");
    deny_all(&mut network, &mut client, 100..120);
}
