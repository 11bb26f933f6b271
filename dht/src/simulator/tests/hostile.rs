//! Every way to do harm.

use std::{collections::HashSet, time::Duration};

use super::*;
use crate::{krpc::Item, signed_packet::PublicKey, simulator::Hostile};

/// A network where each of the 20 nodes but the first does this harm, with a packet stored at all of them, and one of
/// the hostile nodes.
fn world_of(kind: Hostile) -> (Responder, IpAddr, SignedPacket) {
    let mut network = network(World { hostile: vec![(kind, 1.0)], ..World::default() });
    let packet = packet(&keypair(1), 5);
    network.store(&packet);
    let hostile = addresses(&network, Role::Hostile(kind))[0];
    (network, hostile, packet)
}

/// A `get` of the packet at a hostile node, and whether the value that comes is signed by the key it claims.
fn value_of(network: &mut Responder, asked: IpAddr, packet: &SignedPacket) -> Option<(StoredItem, bool)> {
    let reply = ask(network, asked, get(target_of(packet.key())));
    let Item { key, signature, seq, value } = response(&reply).item?;
    let item = StoredItem { key: *key, signature: *signature, seq, value: value.to_vec() };
    let is_signed = StoredItem::verified(&item.as_item()).is_some();
    Some((item, is_signed))
}

fn named(network: &mut Responder, asked: IpAddr, target: Id) -> Vec<(Id, SocketAddr)> {
    let reply = ask(network, asked, Method::FindNode(target));
    response(&reply).nodes.iter().collect()
}

#[test]
fn garbage_is_no_message() {
    let (mut network, hostile, _) = world_of(Hostile::Garbage);
    for _ in 0..100 {
        let reply = ask(&mut network, hostile, Method::Ping);
        assert!(!reply.is_empty() && Message::decode(&reply).is_none());
    }
}

#[test]
fn a_wrong_transaction_is_of_the_right_length() {
    let (mut network, hostile, _) = world_of(Hostile::WrongTransaction);
    let reply = ask(&mut network, hostile, Method::Ping);
    let transaction = Message::decode(&reply).unwrap().transaction;
    assert!(transaction.len() == 2 && transaction != b"tt");
}

#[test]
fn a_forged_value_claims_to_be_newer() {
    let (mut network, hostile, packet) = world_of(Hostile::ForgedValue);
    let (item, is_signed) = value_of(&mut network, hostile, &packet).unwrap();
    assert!(item.seq > 5 && item.key == packet.key().to_bytes() && !is_signed);
}

#[test]
fn the_value_of_another_key_is_signed() {
    let (mut network, hostile, packet) = world_of(Hostile::OtherKey);
    let (item, is_signed) = value_of(&mut network, hostile, &packet).unwrap();
    assert!(item.key != packet.key().to_bytes() && is_signed);
    assert!(PublicKey::try_from(&item.key).is_ok());
}

#[test]
fn a_stale_value_stays_whatever_is_put() {
    let (mut network, hostile, packet) = world_of(Hostile::StaleForever);
    let newer = StoredItem::signed(&keypair(1), 9, b"newer".to_vec());
    assert_eq!(put(&mut network, hostile, &newer, None), 0);
    assert_eq!(value_of(&mut network, hostile, &packet).unwrap().0.seq, 5);
    let older = StoredItem::signed(&keypair(1), 2, b"older".to_vec());
    assert_eq!(put(&mut network, hostile, &older, None), 0);
    assert_eq!(value_of(&mut network, hostile, &packet).unwrap().0.seq, 2);
}

#[test]
fn a_value_is_denied_by_who_holds_it() {
    let (mut network, hostile, packet) = world_of(Hostile::DeniesValue);
    assert_eq!(network.holders(packet.key()).len(), 20);
    let reply = ask(&mut network, hostile, get(target_of(packet.key())));
    let reply = response(&reply);
    assert!(reply.item.is_none() && reply.seq.is_none() && reply.token.is_some());
}

#[test]
fn fake_neighbours_are_close_and_do_not_answer() {
    let (mut network, hostile, _) = world_of(Hostile::FakeNeighbours);
    let target = Id::from([9; 20]);
    let mut seen = HashSet::new();
    for _ in 0..50 {
        let named = named(&mut network, hostile, target);
        assert_eq!(named.len(), 8);
        for (id, address) in named {
            assert!(id.xor(&target).leading_zeros() >= 20);
            assert!(ask(&mut network, address.ip(), get(target)).is_empty());
            seen.insert(id);
        }
    }
    assert!(seen.len() > 300, "{} of 400 ids", seen.len());
}

#[test]
fn an_eclipse_names_hostile_nodes_only() {
    let hostile = vec![(Hostile::HostileNeighbours, 0.2), (Hostile::Garbage, 0.2)];
    let mut network = network(World { nodes: 100, hostile, ..World::default() });
    let [all, others] =
        [Hostile::HostileNeighbours, Hostile::Garbage].map(|kind| addresses(&network, Role::Hostile(kind)));
    let named = named(&mut network, all[0], Id::from([9; 20]));
    assert_eq!(named.len(), 8);
    for (_, address) in named {
        assert!([&all[1..], &others[..]].concat().contains(&address.ip()));
    }
}

#[test]
fn a_slow_drip_leads_nearer_for_a_long_time() {
    let (mut network, hostile, packet) = world_of(Hostile::SlowDrip);
    let target = target_of(packet.key());
    let (mut next, mut expected, mut distance) = (hostile, None, [0xff; 20]);
    for _ in 0..100 {
        let mut reply = Vec::new();
        let delay = network.answer(&query(get(target)), CLIENT, next, &mut reply).unwrap();
        assert!((Duration::from_secs(1)..Duration::from_secs(3)).contains(&delay));
        let reply = response(&reply);
        assert!(expected.is_none_or(|id| id == reply.id), "it is who it was said to be");
        let [(id, address)] = reply.nodes.iter().collect::<Vec<_>>()[..] else { panic!() };
        let nearer = *id.xor(&target).as_bytes();
        assert!(nearer < distance);
        (next, expected, distance) = (address.ip(), Some(id), nearer);
    }
    // It ends where there is no nearer id.
    assert!(named(&mut network, IpAddr::from([127, 255, 159, 1]), target).is_empty());
}

#[test]
fn bad_tokens_are_refused_by_who_gave_them() {
    let (mut network, hostile, _) = world_of(Hostile::BadTokens);
    let newer = StoredItem::signed(&keypair(1), 9, b"newer".to_vec());
    assert_eq!(put(&mut network, hostile, &newer, None), 203);
}

#[test]
fn who_only_acknowledges_holds_nothing() {
    let (mut network, hostile, packet) = world_of(Hostile::AcknowledgesOnly);
    let newer = StoredItem::signed(&keypair(1), 9, b"newer".to_vec());
    assert_eq!(put(&mut network, hostile, &newer, None), 0);
    assert_eq!(value_of(&mut network, hostile, &packet), None);
    assert_eq!(network.holders(packet.key()), [5]);
}

#[test]
fn malformed_lists_are_enormous_or_end_within_a_node() {
    let (mut network, hostile, _) = world_of(Hostile::MalformedNodes);
    let mut sizes = HashSet::new();
    for _ in 0..20 {
        let reply = ask(&mut network, hostile, Method::FindNode(Id::from([9; 20])));
        assert!(reply.len() < 65_000);
        sizes.insert(response(&reply).nodes.iter().count());
    }
    assert_eq!(sizes, HashSet::from([7, 2000]));
}

#[test]
fn an_oversized_value_is_signed_where_the_key_was_lent() {
    let (mut network, hostile, packet) = world_of(Hostile::OversizedValue);
    let (item, is_signed) = value_of(&mut network, hostile, &packet).unwrap();
    assert!(item.value.len() > 1000 && !is_signed);
    network.lend_key(&keypair(1));
    let (item, is_signed) = value_of(&mut network, hostile, &packet).unwrap();
    assert!(item.value.len() > 1000 && item.key == packet.key().to_bytes() && is_signed);
}

#[test]
fn a_negative_seq_is_signed_where_the_key_was_lent() {
    let (mut network, hostile, packet) = world_of(Hostile::NegativeSeq);
    let (item, is_signed) = value_of(&mut network, hostile, &packet).unwrap();
    assert!(item.seq == -1 && !is_signed);
    network.lend_key(&keypair(1));
    let (item, is_signed) = value_of(&mut network, hostile, &packet).unwrap();
    assert!(item.seq == -1 && item.key == packet.key().to_bytes() && is_signed);
}

#[test]
fn a_mix_has_every_kind() {
    let network = network(World { nodes: 1400, hostile: Hostile::mix(0.2), ..World::default() });
    for kind in Hostile::ALL {
        assert_eq!(addresses(&network, Role::Hostile(kind)).len(), 20, "{kind:?}");
    }
}
