mod properties;

use std::collections::HashSet;

use super::*;

const RTT: Duration = Duration::from_millis(50);

/// Those of a table of 8192 nodes.
const BUCKETS: usize = 512;
const BUCKET_SIZE: usize = 16;

fn table(now: Instant) -> RoutingTable {
    RoutingTable::new(8192, true, now)
}

/// What is silent for longer gives up its place.
fn silent() -> Duration {
    FRESH * 2
}

/// An id whose first 9 bits are `prefix`, and which ends in `number`.
fn id(prefix: usize, number: u16) -> Id {
    let mut bytes = [0; 20];
    bytes[..2].copy_from_slice(&((prefix << 7) as u16).to_be_bytes());
    bytes[18..].copy_from_slice(&number.to_be_bytes());
    Id::from(bytes)
}

/// On loopback, where no limits per subnet apply.
fn local(number: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], 1024 + number))
}

fn public(subnet: u8, host: u8) -> SocketAddr {
    SocketAddr::from(([203, 0, subnet, host], 6881))
}

fn full_bucket(now: Instant) -> RoutingTable {
    let mut table = table(now);
    for number in 0..BUCKET_SIZE as u16 {
        table.answered(id(3, number), local(number), RTT, now);
    }
    assert_eq!(table.len(), BUCKET_SIZE);
    table
}

fn knows(table: &RoutingTable, wanted: &Id) -> bool {
    table.contacts().any(|contact| contact.id == *wanted)
}

#[test]
fn a_node_that_answered_is_known_with_its_rtt() {
    let now = Instant::now();
    let mut table = table(now);
    table.answered(id(7, 1), local(1), RTT, now);
    assert_eq!(table.known(&id(7, 1), local(1)).unwrap().rtt, Some(Rtt::first(RTT)));
    assert_eq!(table.known(&id(7, 1), local(2)), None);
    table.answered(id(7, 1), local(1), RTT * 9, now);
    assert_eq!(table.known(&id(7, 1), local(1)).unwrap().rtt.unwrap().smoothed(), RTT * 2);
    assert_eq!(table.len(), 1);
}

#[test]
fn a_node_that_stores_nothing_is_known_as_such_and_stays() {
    let now = Instant::now();
    let mut table = table(now);
    table.answered(id(7, 1), local(1), RTT, now);
    let stores = |table: &RoutingTable| table.closest(&id(7, 1), 1).first().map(|contact| contact.stores);
    table.stores_nothing(&id(7, 1), local(2));
    assert_eq!(stores(&table), Some(true), "somebody else said so");
    table.stores_nothing(&id(7, 1), local(1));
    table.answered(id(7, 1), local(1), RTT, now);
    assert_eq!(stores(&table), Some(false));
}

#[test]
fn nodes_that_answer_are_not_displaced_by_a_flood() {
    let now = Instant::now();
    let mut table = full_bucket(now);
    let before: Vec<_> = table.contacts().collect();
    for number in 100..5000 {
        table.answered(id(3, number), local(number), RTT, now + Duration::from_secs(60));
    }
    assert_eq!(table.contacts().collect::<Vec<_>>(), before);
}

#[test]
fn a_failing_node_makes_room_before_a_silent_one() {
    let now = Instant::now();
    let mut table = full_bucket(now);
    let later = now + silent();
    table.answered(id(3, 5), local(5), RTT, later);
    table.failed(&id(3, 5), local(5), later);
    table.answered(id(3, 100), local(100), RTT, later);
    assert!(!knows(&table, &id(3, 5)) && knows(&table, &id(3, 100)));
    table.answered(id(3, 101), local(101), RTT, later);
    assert!(!knows(&table, &id(3, 0)) && knows(&table, &id(3, 101)));
    assert_eq!(table.len(), BUCKET_SIZE);
}

#[test]
fn a_node_leaves_at_the_second_failure_in_a_row() {
    let now = Instant::now();
    let mut table = table(now);
    let (node, address) = (id(1, 1), local(1));
    table.answered(node, address, RTT, now);
    table.failed(&node, address, now);
    assert_eq!((table.len(), table.questionable(now)), (1, 1));
    table.answered(node, address, RTT, now);
    assert_eq!(table.questionable(now), 0);
    table.failed(&node, address, now);
    table.failed(&node, local(2), now);
    assert_eq!(table.len(), 1, "another node failed");
    table.failed(&node, address, now);
    assert_eq!(table.len(), 0);
    assert_eq!(table.closest(&node, 9), []);
}

#[test]
fn an_outage_of_our_own_connection_costs_no_node() {
    let now = Instant::now();
    let mut table = full_bucket(now);
    for second in 1..60 {
        for number in 0..BUCKET_SIZE as u16 {
            table.failed(&id(3, number), local(number), now + Duration::from_secs(second));
        }
    }
    assert_eq!(table.len(), BUCKET_SIZE);
    let back = now + Duration::from_secs(60);
    table.answered(id(3, 0), local(0), RTT, back);
    table.failed(&id(3, 1), local(1), back);
    assert!(!knows(&table, &id(3, 1)), "now that others answer, it counts");
}

#[test]
fn an_address_that_changes_its_id_has_one_place() {
    let now = Instant::now();
    let mut table = table(now);
    for prefix in 0..BUCKETS {
        table.answered(id(prefix, 1), local(1), RTT, now);
    }
    assert_eq!(table.contacts().map(|contact| contact.id).collect::<Vec<_>>(), [id(BUCKETS - 1, 1)]);
}

#[test]
fn the_id_of_a_node_that_answers_cannot_be_taken_over() {
    let now = Instant::now();
    let mut table = table(now);
    table.answered(id(1, 1), local(1), RTT, now);
    table.answered(id(1, 1), local(2), RTT, now);
    assert!(table.known(&id(1, 1), local(1)).is_some());
    table.failed(&id(1, 1), local(1), now);
    table.answered(id(1, 1), local(2), RTT, now);
    assert!(table.known(&id(1, 1), local(2)).is_some());
    assert_eq!(table.len(), 1);
}

#[test]
fn a_subnet_has_two_places_in_a_bucket_and_sixteen_in_the_table() {
    let now = Instant::now();
    let mut table = table(now);
    for host in 0..200 {
        table.answered(id(usize::from(host) / 50, host.into()), public(1, host), RTT, now);
    }
    assert_eq!(table.len(), 8, "two in each of four buckets");
    for host in 0..200 {
        table.answered(id(10 + usize::from(host), 1), public(1, host), RTT, now);
    }
    assert_eq!(table.len(), 16);
    table.answered(id(10, 2), public(2, 1), RTT, now);
    assert_eq!(table.len(), 17, "another subnet is welcome");
}

#[test]
fn a_crowded_subnet_gives_up_a_failing_node_of_its_own() {
    let now = Instant::now();
    let mut table = table(now);
    table.answered(id(1, 9), public(9, 9), RTT, now);
    table.failed(&id(1, 9), public(9, 9), now);
    table.answered(id(1, 1), public(1, 1), RTT, now);
    table.answered(id(1, 2), public(1, 2), RTT, now);
    table.failed(&id(1, 2), public(1, 2), now);
    table.answered(id(1, 3), public(1, 3), RTT, now);
    let known: Vec<_> = table.contacts().map(|contact| contact.id).collect();
    assert_eq!(known, [id(1, 9), id(1, 1), id(1, 3)]);
}

#[test]
fn who_is_next_to_be_asked_is_found_without_looking_at_all_of_them() {
    let now = Instant::now();
    let mut table = table(now);
    for number in 0..3u16 {
        table.answered(id(9, number), local(number), RTT, now + RTT * (30 - number * 10).into());
    }
    let next = |table: &mut RoutingTable, now| {
        table.next_to_refresh(now).map(|contact| contact.address).into_iter().collect::<Vec<_>>()
    };
    assert_eq!(next(&mut table, now + FRESH), []);
    let later = now + silent();
    assert_eq!(next(&mut table, later), [local(2)], "the one that is silent longest");
    assert_eq!(next(&mut table, later), [local(1)]);
    table.answered(id(9, 1), local(1), RTT, later);
    table.failed(&id(9, 2), local(2), later);
    assert_eq!(next(&mut table, later), [local(0)]);
    assert_eq!(next(&mut table, later + Duration::from_secs(16)), [local(2)], "one that fails comes first");
    table.remember(Contact { id: id(9, 7), address: local(7), rtt: None, stores: true }, later);
    assert_eq!(next(&mut table, later), [local(7)]);
}

#[test]
fn nodes_where_somebody_looks_for_something_are_asked_first() {
    let now = Instant::now();
    let mut table = table(now);
    for bucket in 0..BUCKETS {
        table.answered(id(bucket, 1), local(bucket as u16), RTT, now);
    }
    let later = now + silent();
    for bucket in [0x1ff, 0x155, 0x155] {
        table.looked_up(&id(bucket, 9));
    }
    let first: Vec<_> =
        std::iter::from_fn(|| table.next_to_refresh(later)).take(2).map(|contact| contact.id).collect();
    assert_eq!(first, [id(0x1ff, 1), id(0x155, 1)]);
    let rest = std::iter::from_fn(|| table.next_to_refresh(later)).take(BUCKETS - 2);
    let all: HashSet<_> = rest.map(|contact| contact.id).chain(first).collect();
    assert_eq!(all.len(), BUCKETS, "and each of the others once");
    (0..999).for_each(|bucket| table.looked_up(&id(bucket % BUCKETS, 1)));
    assert!(table.rounds.visited.len() <= 64);
}

#[test]
fn an_even_network_fills_the_table_evenly_until_it_is_full() {
    let now = Instant::now();
    let mut table = table(now);
    let mut port = 0;
    while let Some(target) = table.sparse_target() {
        port += 1;
        table.answered(target, local(port), RTT, now);
        let counts = || (0..BUCKETS).map(|bucket| table.grid.count(bucket));
        assert!(counts().max().unwrap() - counts().min().unwrap() <= 2);
        assert!(!table.is_full() || port > 7000);
    }
    assert!(table.is_full());
    assert_eq!(table.len(), BUCKETS * BUCKET_SIZE);
}

#[test]
fn only_who_would_get_a_place_is_worth_asking() {
    let now = Instant::now();
    let mut table = table(now);
    for number in 0..3 {
        table.answered(id(3, number), local(number), RTT, now);
    }
    assert!(!table.has_room_for(&id(3, 9), local(9)), "others have fewer");
    assert!(table.has_room_for(&id(4, 9), local(9)));
    assert!(!table.has_room_for(&id(4, 9), local(1)), "an address has one place");
    table.failed(&id(3, 0), local(0), now);
    assert!(table.has_room_for(&id(3, 9), local(9)), "one will go");
    assert!(table.has_room_for(&id(3, 0), local(9)), "it may have moved");
    assert!(!table.has_room_for(&id(3, 1), local(9)));
    assert!(!table.has_room_for(&id(4, 9), "[2001:db8::1]:1".parse().unwrap()));
    for host in 1..3 {
        table.answered(id(5, host), public(1, host as u8), RTT, now);
    }
    assert!(!table.has_room_for(&id(5, 9), public(1, 9)));
}

#[test]
fn half_of_a_bucket_goes_to_the_quick_and_the_other_half_to_nobody() {
    let now = Instant::now();
    let mut table = full_bucket(now);
    for number in 100..1000 {
        table.answered(id(3, number), local(number), RTT * 2 / 5, now);
    }
    let stayed = |table: &RoutingTable| {
        table.contacts().filter(|contact| contact.rtt == Some(Rtt::first(RTT))).count()
    };
    assert_eq!(stayed(&table), BUCKET_SIZE / 2);
    // Nobody is twice as quick as these, and nobody has no BEP 44.
    for number in 1000..2000 {
        table.answered(id(3, number), local(number), RTT / 5, now);
    }
    assert!((100..1000).any(|number| knows(&table, &id(3, number))));
    let newest = table.contacts().find(|contact| contact.rtt == Some(Rtt::first(RTT * 2 / 5))).unwrap();
    table.stores_nothing(&newest.id, newest.address);
    table.answered(id(3, 3000), local(3000), RTT, now);
    assert!(!knows(&table, &newest.id) && knows(&table, &id(3, 3000)));
}

#[test]
fn a_node_of_an_earlier_run_serves_until_it_fails_or_another_answers() {
    let now = Instant::now();
    let mut table = table(now);
    let rtt = Some(Rtt::new(RTT, RTT / 10));
    let contact =
        |number| Contact { id: id(3, number), address: local(number), rtt, stores: number % 2 == 0 };
    for number in 0..20 {
        table.remember(contact(number), now);
    }
    assert_eq!((table.len(), table.confirmed()), (BUCKET_SIZE, 0));
    assert_eq!(table.closest(&id(3, 5), 1), [contact(5)]);
    table.failed(&id(3, 5), local(5), now);
    assert!(knows(&table, &id(3, 5)), "nobody has answered yet: it may be our own line");
    table.answered(id(3, 4), local(4), RTT, now);
    assert_eq!((table.len(), table.confirmed()), (BUCKET_SIZE, 1));
    table.failed(&id(3, 5), local(5), now);
    assert!(!knows(&table, &id(3, 5)));
    for number in 100..115 {
        table.answered(id(3, number), local(number), RTT, now);
    }
    assert_eq!((table.len(), table.confirmed()), (BUCKET_SIZE, BUCKET_SIZE));
    table.remember(contact(6), now);
    assert!(!knows(&table, &id(3, 6)));
}

#[test]
fn all_nodes_are_handed_over_in_pieces_each_from_the_whole_key_space() {
    let now = Instant::now();
    let mut table = table(now);
    for bucket in 0..BUCKETS {
        for number in 0..3 {
            table.answered(id(bucket, number), local(bucket as u16 * 3 + number), RTT, now);
        }
    }
    table.failed(&id(7, 1), local(22), now);
    let (mut all, mut from) = (Vec::new(), Some(0));
    while let Some(step) = from {
        let (piece, next) = table.piece(step, 100);
        assert!(piece.len() <= 100);
        if all.is_empty() {
            let parts: HashSet<_> = piece.iter().map(|contact| contact.id.as_bytes()[0] >> 4).collect();
            assert_eq!(parts.len(), 16);
        }
        all.extend(piece);
        from = next;
    }
    let different: HashSet<_> = all.iter().map(|contact| contact.id).collect();
    assert_eq!((all.len(), different.len()), (BUCKETS * 3 - 1, BUCKETS * 3 - 1));
}

#[test]
fn a_table_of_a_million_takes_no_more_than_sixty_megabytes() {
    let now = Instant::now();
    for (is_ipv4, nodes, most) in
        [(true, MAX_NODES, 47_000_000), (false, 1_000_000, 56_100_000), (false, MAX_NODES, 60_000_000)]
    {
        let table = RoutingTable::new(nodes, is_ipv4, now);
        let memory = table.memory();
        assert!(memory < most, "{memory} bytes for {nodes} nodes, IPv4: {is_ipv4}");
        // That filling it takes no more is a test of its index; nothing else grows.
        assert!(table.capacity() > nodes - nodes / 50 && table.is_empty());
    }
}
