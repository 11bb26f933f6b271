//! How fast the table fills, and what that costs the network, in moved time.

use super::*;
use crate::{
    simulator::{Offline, OfflineClient, World},
    table::Contact,
};

fn settings(max_nodes: usize) -> DhtSettings {
    DhtSettings { explore: true, max_nodes, ..DhtSettings::on_loopback(Vec::new()) }
}

fn run(client: &mut OfflineClient, network: &mut Offline, seconds: u64) {
    client.run(network, Duration::from_secs(seconds));
}

/// The most that was sent in any of these seconds.
fn most(client: &OfflineClient, seconds: std::ops::Range<usize>) -> u32 {
    client.sent_in_second().iter().copied().skip(seconds.start).take(seconds.len()).max().unwrap_or(0)
}

#[test]
fn thousands_are_known_ten_seconds_after_the_start_and_no_more_is_sent_than_was_promised() {
    for family in [Family::V4, Family::V6] {
        let mut network = Offline::new(World { family, ..World::realistic(1_000_000) }).unwrap();
        let mut client = OfflineClient::join(&mut network, &settings(65_536)).unwrap();
        run(&mut client, &mut network, 10);
        assert!(client.known() >= 5700, "{} of {family:?}", client.known());
        assert!(most(&client, 0..10) <= 1200, "{}", most(&client, 0..10));
        run(&mut client, &mut network, 60);
        assert!(client.known() >= 10_000, "{} of {family:?}", client.known());
        assert!(most(&client, 13..60) <= 200, "{}", most(&client, 13..60));
    }
}

#[test]
fn a_small_table_is_filled_gently_and_a_full_one_costs_little() {
    let mut network = Offline::new(World::realistic(50_000)).unwrap();
    let mut client = OfflineClient::join(&mut network, &settings(1024)).unwrap();
    run(&mut client, &mut network, 60);
    assert!(client.known() >= 960, "{}", client.known());
    // One search for our own neighbourhood goes beside.
    assert!(most(&client, 0..3) <= 130 && most(&client, 3..60) <= 100);
    run(&mut client, &mut network, 5400);
    let sent: u32 = client.sent_in_second()[60..3600].iter().sum();
    assert!(sent < 20 * 3540 && most(&client, 60..3600) < 60, "{sent}");
    // Two lost datagrams in a row cost a node its place, which is then filled at once.
    let sent: u32 = client.sent_in_second().iter().skip(3610).sum();
    assert!(sent < 5 * 1790 && most(&client, 3610..5400) < 20, "{sent}");
    assert!(client.known() >= 960, "{}", client.known());
}

#[test]
fn a_network_of_fewer_nodes_than_there_are_places_is_known_and_then_left_alone() {
    let mut network = Offline::new(World { nodes: 60, ..World::default() }).unwrap();
    let mut client = OfflineClient::join(&mut network, &settings(65_536)).unwrap();
    run(&mut client, &mut network, 20);
    assert_eq!(client.known(), 60);
    run(&mut client, &mut network, 1200);
    let sent: u32 = client.sent_in_second()[20..].iter().sum();
    assert!(sent < 1200, "{sent}");
}

#[test]
fn nodes_that_have_gone_make_room_for_others() {
    let mut network = Offline::new(World { nodes: 3000, ..World::default() }).unwrap();
    let mut client = OfflineClient::join(&mut network, &settings(1024)).unwrap();
    run(&mut client, &mut network, 60);
    network.churn(0.5);
    run(&mut client, &mut network, 3600);
    assert!(client.known() >= 960, "{}", client.known());
    let key = key();
    let failures = |client: &OfflineClient| client.searches()[0].requests;
    client.search(&mut network, &key);
    client.run_until_done(&mut network);
    assert!(client.searches()[0].is_absent() && failures(&client) < 80, "{}", failures(&client));
}

#[test]
fn nodes_of_an_earlier_run_answer_the_first_question() {
    let mut network = Offline::new(World::realistic(100_000)).unwrap();
    let packet = packet(9);
    network.store(&packet);
    let mut client = OfflineClient::new(&network, &settings(65_536));
    let nodes: Vec<_> = network.living(20_000).map(Contact::from).collect();
    client.remember(&mut network, nodes);
    assert!(client.known() > 15_000, "{}", client.known());
    client.search(&mut network, packet.key());
    client.run_until_done(&mut network);
    let search = &client.searches()[0];
    assert_eq!(search.newest.as_ref(), Some(&packet));
    assert!(search.time_to_first().unwrap() < milliseconds(500), "{:?}", search.time_to_first());
}
