//! Many searches at once in time that is moved by hand.

use std::time::Duration;

use super::{Offline, OfflineClient};
use crate::{
    dht::{DhtSettings, NetworkError, table::Contact},
    signed_packet::{Keypair, SignedPacket},
    simulator::World,
};

const SECOND: Duration = Duration::from_secs(1);

fn packet(number: u8) -> SignedPacket {
    SignedPacket::sign(&Keypair::from_secret_key(&[number; 32]), 7, b"records").unwrap()
}

fn joined(world: World) -> (Offline, OfflineClient) {
    let mut network = Offline::new(world).unwrap();
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
