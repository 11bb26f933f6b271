//! With the setting in which loopback counts as the internet. It holds for a whole process, and so this is one.
#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail where it stands")]

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use pkdns_dht::{
    internal::{
        internet_of_tests,
        krpc::{Body, Id, Message},
        node_id,
        table::RoutingTable,
    },
    simulator::{Simulator, World},
};

#[test]
fn few_nodes_of_a_hoster_on_loopback_get_into_the_table_and_any_number_of_others() {
    internet_of_tests::switch_on();
    for (second, kept) in [(1, 200), (223, 200), (224, 16), (254, 16)] {
        let mut table = RoutingTable::new(8192, true, Instant::now());
        for host in 1..=200 {
            // Far from each other, so that only the whole table is a limit.
            let mut id = [7; 20];
            (id[0], id[1]) = (host, host);
            let address = SocketAddr::from(([127, second, 3, host], 6881));
            table.answered(Id::from(id), address, Duration::from_millis(10), Instant::now());
        }
        assert_eq!(table.len(), kept, "127.{second}");
    }
}

#[test]
fn ids_on_loopback_are_bound_to_addresses() {
    internet_of_tests::switch_on();
    let ip: IpAddr = [127, 9, 8, 7].into();
    assert!(node_id::is_valid(&node_id::for_address(ip), ip));
    assert!((0..20).any(|_| !node_id::is_valid(&Id::random(), ip)));
    for (bound_ids, least, most) in [(0.0, 0, 5), (0.7, 300, 400), (1.0, 500, 500)] {
        let world = World { nodes: 20_000, bound_ids, ..World::default() };
        let simulator = Simulator::start(world).unwrap();
        let living: Vec<_> = simulator.living(501);
        // That of the node to join through is what it is.
        let others = living.iter().filter(|node| node.address.ip() != IpAddr::from([127, 0, 0, 1])).take(500);
        let valid = others.clone().filter(|node| node_id::is_valid(&node.id, node.address.ip())).count();
        assert!((least..=most).contains(&valid), "{valid} of 500");
        for node in others.take(20) {
            assert_eq!(ask_who(node.address), node.id);
        }
    }
}

fn ask_who(node: SocketAddr) -> Id {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    socket.send_to(b"d1:ad2:id20:iiiiiiiiiiiiiiiiiiiie1:q4:ping1:t2:tt1:y1:qe", node).unwrap();
    let mut buffer = [0; 1000];
    let (length, from) = socket.recv_from(&mut buffer).unwrap();
    assert_eq!(from, node);
    match Message::decode(&buffer[..length]).map(|message| message.body) {
        Some(Body::Response(response)) => response.id,
        other => panic!("{other:?}"),
    }
}
