//! The engine without sockets and without waiting.

mod counts;
mod filling;
mod outage;
mod world;

use tokio::sync::{mpsc, oneshot};

use super::*;
use crate::{
    Evidence, PutError,
    krpc::{Item, Nodes, Refusal, Response},
    signed_packet::{Keypair, PublicKey, SignedPacket},
    values::Moment,
};
use world::{World, place};

fn milliseconds(count: u64) -> Duration {
    Duration::from_millis(count)
}

fn packet(timestamp: u64) -> SignedPacket {
    SignedPacket::sign(&Keypair::from_secret_key(&[3; 32]), timestamp, b"").unwrap()
}

fn key() -> PublicKey {
    packet(1).key().clone()
}

fn is_v4(address: SocketAddr) -> bool {
    address.is_ipv4()
}

#[test]
fn a_packet_is_found_and_the_search_ends() {
    let mut world = World::joined(200, 0);
    for index in world.nearest(&key(), true).into_iter().take(20) {
        world.set(index, &packet(9));
    }
    let mut finding = world.find(&key(), false);
    let (evidence, time) = world.wait(&mut finding.done);
    assert_eq!(finding.found.try_recv().unwrap().timestamp(), 9);
    assert!(evidence.unwrap().responded > 0);
    assert!(time < milliseconds(800), "{time:?}");
    assert_eq!(world.engine.tasks.len(), 0);
}

#[test]
fn what_nobody_holds_is_absent_by_the_word_of_several() {
    let mut world = World::joined(200, 0);
    let mut finding = world.find(&key(), false);
    let (evidence, time) = world.wait(&mut finding.done);
    assert!(evidence.unwrap().responded >= 8);
    assert!(finding.found.try_recv().is_err());
    assert!(time < milliseconds(800), "{time:?}");
}

#[test]
fn silence_is_not_absence_and_ends_in_time() {
    let mut world = World::joined(200, 50);
    world.silence(|_| true);
    let mut finding = world.find(&key(), false);
    let (result, time) = world.wait(&mut finding.done);
    assert_eq!(result, Err(NetworkError::Unreachable));
    assert!(time < milliseconds(2500), "{time:?}");
}

#[test]
fn with_nobody_known_a_search_ends_at_once() {
    let mut world = World::new(5, 5, &DhtSettings::on_loopback(Vec::new()));
    let mut finding = world.find(&key(), false);
    assert_eq!(finding.done.try_recv(), Ok(Err(NetworkError::Unreachable)));
    assert_eq!(world.put(&packet(1)).try_recv(), Ok(Err(NetworkError::Unreachable.into())));
}

#[test]
fn a_late_answer_counts_and_others_are_asked_meanwhile() {
    let mut world = World::joined(40, 0);
    let nearest = world.nearest(&key(), true);
    for index in &nearest[..4] {
        world.nodes[*index].delay = Some(milliseconds(100));
        world.set(*index, &packet(9));
    }
    let mut finding = world.find(&key(), false);
    world.pass(milliseconds(90));
    let asked = world.nodes.iter().filter(|node| node.asked > 1).count();
    assert!(asked > 4, "{asked}");
    let (result, _) = world.wait(&mut finding.done);
    assert!(result.is_ok());
    assert_eq!(finding.found.try_recv().map(|packet| packet.timestamp()), Ok(9));
}

#[test]
fn ipv6_is_asked_when_ipv4_has_nothing() {
    let mut world = World::joined(30, 30);
    for index in world.nearest(&key(), false) {
        world.set(index, &packet(9));
    }
    let mut finding = world.find(&key(), false);
    world.pass(milliseconds(590));
    // IPv4 has come to its end by then, so that there was no reason to wait.
    assert_eq!(finding.found.try_recv().map(|packet| packet.timestamp()), Ok(9));
    assert!(world.wait(&mut finding.done).0.is_ok());
}

#[test]
fn ipv6_answers_where_ipv4_has_fallen_silent_and_nothing_spins() {
    for is_put in [false, true] {
        let mut world = World::joined(30, 30);
        // So slow that the search in IPv6 outlasts the one in IPv4.
        world.nodes.iter_mut().filter(|node| node.address.is_ipv6()).for_each(|node| {
            node.delay = Some(milliseconds(400));
        });
        for _ in 0..3 {
            world.remember((0..30).map(|index| place(index, false)));
            world.pass(Duration::from_secs(3));
        }
        world.silence(is_v4);
        world.turns = 0;
        if is_put {
            let mut stored = world.put(&packet(9));
            assert_eq!(world.wait(&mut stored).0.map(|stored| stored >= 8), Ok(true));
        } else {
            let mut finding = world.find(&key(), false);
            assert_eq!(world.wait(&mut finding.done).0, Err(NetworkError::Unreachable));
        }
        // Each millisecond of the test is one.
        assert!(world.turns < 12_000, "{} turns", world.turns);
    }
}

#[test]
fn that_ipv6_lacks_a_packet_says_nothing_about_ipv4() {
    let mut world = World::joined(30, 30);
    world.silence(is_v4);
    let mut finding = world.find(&key(), false);
    let (result, _) = world.wait(&mut finding.done);
    assert_eq!(result, Err(NetworkError::Unreachable));
    let mut alone = World::joined(0, 30);
    let mut finding = alone.find(&key(), false);
    assert!(alone.wait(&mut finding.done).0.is_ok());
}

#[test]
fn a_packet_is_stored_on_the_nearest_in_both_families_with_or_without_a_search_before() {
    for searches_first in [false, true] {
        let mut world = World::joined(60, 60);
        if searches_first {
            let mut finding = world.find(&key(), true);
            world.wait(&mut finding.done).0.unwrap();
        }
        let sent = world.sent;
        let mut stored = world.put(&packet(9));
        let (result, time) = world.wait(&mut stored);
        assert!(result.unwrap() >= 40);
        assert!(time < milliseconds(800), "{time:?}");
        if searches_first {
            assert!(world.sent - sent <= 48, "it searched again");
        }
        for is_ipv4 in [true, false] {
            for index in &world.nearest(&key(), is_ipv4)[..18] {
                assert!(world.nodes[*index].packet.is_some(), "IPv4: {is_ipv4}");
            }
        }
    }
}

#[test]
fn who_answers_too_late_for_the_search_gets_the_packet_all_the_same() {
    for searches_first in [false, true] {
        let mut world = World::joined(60, 0);
        let slow = world.nearest(&key(), true)[..2].to_vec();
        for index in &slow {
            world.nodes[*index].delay = Some(milliseconds(190));
        }
        if searches_first {
            let mut finding = world.find(&key(), true);
            let (_, time) = world.wait(&mut finding.done);
            assert!(time < milliseconds(190), "{time:?}");
        }
        let mut stored = world.put(&packet(9));
        world.wait(&mut stored).0.unwrap();
        world.pass(Duration::from_secs(1));
        assert!(slow.iter().all(|index| world.nodes[*index].packet.is_some()), "{searches_first}");
    }
}

#[test]
fn lost_acknowledgements_are_asked_for_again_and_do_not_hold_up_a_store_for_ever() {
    let mut world = World::joined(22, 0);
    world.nodes.iter_mut().take(10).for_each(|node| node.loses_acknowledgements = true);
    let mut stored = world.put(&packet(9));
    let (result, time) = world.wait(&mut stored);
    assert!((10..=12).contains(&result.unwrap()));
    assert!(time < Duration::from_secs(5), "{time:?}");
    // Asked to join, searched, and three times asked to store.
    let asked = world.nodes.iter().map(|node| node.asked).max();
    assert_eq!(asked, Some(5));
}

#[test]
fn nodes_that_are_busy_for_a_moment_are_stored_on_all_the_same() {
    let mut world = World::joined(12, 0);
    let mut finding = world.find(&key(), true);
    world.wait(&mut finding.done).0.unwrap();
    world.nodes.iter_mut().take(6).for_each(|node| node.delay = Some(milliseconds(800)));
    let mut stored = world.put(&packet(9));
    assert_eq!(world.wait(&mut stored).0, Ok(12));
}

#[test]
fn a_packet_is_stored_where_nodes_refuse_it_for_they_hold_it_already() {
    let mut world = World::joined(20, 0);
    for index in 0..15 {
        world.set(index, &packet(9));
        world.nodes[index].refusal = Some(302);
    }
    let mut stored = world.put(&packet(9));
    assert_eq!(world.wait(&mut stored).0, Ok(20));
    let mut stored = world.put(&packet(8));
    assert_eq!(world.wait(&mut stored).0, Err(PutError::NotMostRecent));
}

#[test]
fn a_few_who_refuse_in_one_family_do_not_undo_what_the_other_has_stored() {
    for refusal in [203, 302] {
        let mut world = World::joined(30, 3);
        world.nodes.iter_mut().filter(|node| node.address.is_ipv6()).for_each(|node| {
            node.refusal = Some(refusal);
        });
        let mut stored = world.put(&packet(9));
        assert!(world.wait(&mut stored).0.unwrap() >= 20);
        world.nodes.iter_mut().for_each(|node| node.refusal = Some(302));
        let mut stored = world.put(&packet(10));
        assert_eq!(world.wait(&mut stored).0, Err(PutError::NotMostRecent));
    }
}

#[test]
fn a_store_searches_again_where_the_search_before_it_reached_nobody() {
    let mut world = World::joined(30, 0);
    world.silence(|_| true);
    let mut finding = world.find(&key(), true);
    world.wait(&mut finding.done).0.unwrap_err();
    world.nodes.iter_mut().for_each(|node| node.delay = Some(milliseconds(50)));
    let mut stored = world.put(&packet(9));
    assert!(world.wait(&mut stored).0.unwrap() >= 10);
}

#[test]
fn no_more_is_sent_than_the_budget_allows_and_what_waits_goes_on() {
    let settings = DhtSettings { max_datagrams_per_second: 100, ..DhtSettings::on_loopback(Vec::new()) };
    let mut world = World::new(30, 0, &settings);
    world.remember((0..30).map(|index| place(index, true)));
    world.pass(Duration::from_secs(3));
    assert_eq!(*world.known.borrow(), 30, "a node that waits for the budget is not forgotten");
    let before = world.sent;
    let mut findings: Vec<_> = (0..20).map(|_| world.find(&key(), false)).collect();
    world.pass(Duration::from_secs(1));
    assert!((100..=151).contains(&(world.sent - before)), "{}", world.sent - before);
    for finding in &mut findings {
        let _ = world.wait(&mut finding.done);
    }
}

#[test]
fn beyond_the_bound_searches_and_stores_are_turned_away() {
    let mut world = World::joined(30, 0);
    let findings: Vec<_> = (0..MAX_TASKS).map(|_| world.find(&key(), false)).collect();
    let mut one_more = world.find(&key(), false);
    assert_eq!(one_more.done.try_recv(), Ok(Err(NetworkError::Busy)));
    assert_eq!(world.put(&packet(1)).try_recv(), Ok(Err(NetworkError::Busy.into())));
    world.pass(Duration::from_secs(4));
    assert!(findings.into_iter().all(|mut finding| finding.done.try_recv().is_ok()));
    assert_eq!(world.engine.tasks.len(), 0);
}

#[test]
fn one_node_to_join_through_leads_to_others() {
    let mut world = World::new(40, 0, &DhtSettings::on_loopback(Vec::new()));
    world.command(Command::Join(vec![place(5, true).1]));
    world.pass(Duration::from_secs(2));
    // It names eight, of which it may be one itself.
    assert!(*world.known.borrow() >= 8, "{}", *world.known.borrow());
    let asked = world.nodes[5].asked;
    world.command(Command::Join(vec![place(5, true).1]));
    assert_eq!(world.nodes[5].asked, asked, "those who are in disturb nobody");
}

#[test]
fn no_more_nodes_are_known_than_was_said_of_both_families_together() {
    let settings = DhtSettings { max_nodes: 1024, ..DhtSettings::on_loopback(Vec::new()) };
    let mut world = World::new(0, 0, &settings);
    for is_ipv4 in [true, false] {
        world.remember((0..60_000).map(|index| place(index, is_ipv4)));
    }
    let known = |family| world.engine.families.get(family).unwrap().table.len();
    assert_eq!((known(Family::V4), known(Family::V6)), (960, 64));
}

#[test]
fn nodes_that_have_gone_leave_the_table_and_their_requests_the_memory() {
    let mut world = World::joined(40, 0);
    assert_eq!(world.transactions(), 0);
    let gone = world.nodes.split_off(20);
    world.pass(Duration::from_secs(70 * 60));
    assert_eq!(*world.known.borrow(), 20);
    assert_eq!(world.engine.info().table_size + gone.len(), 40);
    world.silence(|_| true);
    let _finding = world.find(&key(), false);
    assert!(world.transactions() > 0);
    world.pass(Duration::from_secs(20));
    // Calls for anybody who hears us.
    assert!(world.transactions() <= 32, "{}", world.transactions());
    assert_eq!(world.engine.info().table_size, 20, "an outage of our own costs no node");
}

#[test]
fn forgers_are_no_witnesses_of_absence_and_name_nobody() {
    // Of the nearest twenty all but the four farthest forge; who holds the packet is farther.
    let mut world = World::joined(200, 0);
    let nearest = world.nearest(&key(), true);
    for index in &nearest[..16] {
        world.nodes[*index].forgery = Some(packet(10));
    }
    for index in &nearest[16..20] {
        world.set(*index, &packet(9));
    }
    let mut finding = world.find(&key(), false);
    assert!(world.wait(&mut finding.done).0.is_ok());
    assert_eq!(finding.found.try_recv().map(|packet| packet.timestamp()), Ok(9));
}

#[test]
fn a_search_that_sees_too_many_forgeries_ends_as_an_error_and_not_as_absence() {
    let mut world = World::joined(200, 0);
    // One in five has nothing: enough witnesses, if forgeries said nothing.
    let nearest = world.nearest(&key(), true).into_iter().take(60).enumerate();
    nearest.filter(|(place, _)| place % 5 != 0).for_each(|(_, index)| {
        world.nodes[index].forgery = Some(packet(10));
    });
    let sent = world.sent;
    let mut finding = world.find(&key(), false);
    assert_eq!(world.wait(&mut finding.done).0, Err(NetworkError::Unreachable));
    // The 33rd forger ends it.
    assert!(world.sent - sent < 80, "{}", world.sent - sent);
    assert!(finding.found.try_recv().is_err());
}

#[test]
fn a_bootstrap_node_in_the_world_leads_to_no_inner_addresses() {
    let mut world = World::new(0, 0, &DhtSettings::on_loopback(Vec::new()));
    let from: SocketAddr = "8.8.8.8:6881".parse().unwrap();
    world.engine.command(Command::Join(vec![from]), world.now);
    let asked: Vec<_> =
        world.engine.outbox(Family::V4).unwrap().datagrams().map(|(it, _)| it.to_vec()).collect();
    let transaction = Message::decode(&asked[0]).unwrap().transaction;
    let mut nodes = Vec::new();
    for (number, named) in [(1, "100.64.0.1:6881"), (2, "9.9.9.9:161"), (3, "9.9.9.9:6881")] {
        Nodes::push(&mut nodes, place(number, true).0, named.parse().unwrap());
    }
    let body = Body::Response(Response { nodes: Nodes::new(&nodes, &[]), ..Response::of(place(0, true).0) });
    let mut answer = Vec::new();
    Message { read_only: false, observed: None, transaction, body }.encode(&mut answer);
    world.engine.receive(&answer, from, world.now);
    let strangers = &mut world.engine.families.get_mut(Family::V4).unwrap().strangers;
    let strangers: Vec<_> = std::iter::from_fn(|| strangers.next()).collect();
    assert_eq!(strangers, [(place(3, true).0, "9.9.9.9:6881".parse().unwrap())]);
}

#[test]
fn whoever_waits_for_a_store_is_told_when_enough_nodes_have_it_and_the_rest_goes_on() {
    let mut world = World::joined(100, 0);
    let nearest = world.nearest(&key(), true);
    for index in &nearest[10..20] {
        world.nodes[*index].delay = Some(milliseconds(190));
    }
    let (done, mut stored) = oneshot::channel();
    let progress = watch::Sender::new(0);
    let watching = progress.subscribe();
    world.command(Command::Put { packet: packet(9), cas: None, progress, enough: 12, done });
    let (result, _) = world.wait(&mut stored);
    assert_eq!(result, Ok(12));
    world.pass(Duration::from_secs(2));
    assert!(*watching.borrow() >= 20, "{}", *watching.borrow());
    assert_eq!(world.engine.tasks.len(), 0);
}
