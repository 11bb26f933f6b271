use std::collections::HashSet;

use proptest::prelude::*;

use super::*;

const RTT: Duration = Duration::from_millis(50);

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
    let mut table = RoutingTable::default();
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
    let (mut table, now) = (RoutingTable::default(), Instant::now());
    table.answered(id(7, 1), local(1), RTT, now);
    assert_eq!(table.contact(&id(7, 1), local(1)).unwrap().rtt, Some(Rtt::first(RTT)));
    assert_eq!(table.contact(&id(7, 1), local(2)), None);
    table.answered(id(7, 1), local(1), RTT * 9, now);
    assert_eq!(table.contact(&id(7, 1), local(1)).unwrap().rtt.unwrap().smoothed(), RTT * 2);
    assert_eq!(table.len(), 1);
}

#[test]
fn a_node_that_stores_nothing_is_known_as_such_and_stays() {
    let (mut table, now) = (RoutingTable::default(), Instant::now());
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
    let later = now + FRESH * 2;
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
    let (mut table, now) = (RoutingTable::default(), Instant::now());
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
    let (mut table, now) = (RoutingTable::default(), Instant::now());
    for prefix in 0..BUCKETS {
        table.answered(id(prefix, 1), local(1), RTT, now);
    }
    assert_eq!(table.contacts().map(|contact| contact.id).collect::<Vec<_>>(), [id(BUCKETS - 1, 1)]);
}

#[test]
fn the_id_of_a_node_that_answers_cannot_be_taken_over() {
    let (mut table, now) = (RoutingTable::default(), Instant::now());
    table.answered(id(1, 1), local(1), RTT, now);
    table.answered(id(1, 1), local(2), RTT, now);
    assert!(table.contact(&id(1, 1), local(1)).is_some());
    table.failed(&id(1, 1), local(1), now);
    table.answered(id(1, 1), local(2), RTT, now);
    assert!(table.contact(&id(1, 1), local(2)).is_some());
    assert_eq!(table.len(), 1);
}

#[test]
fn a_subnet_has_two_places_in_a_bucket_and_sixteen_in_the_table() {
    let (mut table, now) = (RoutingTable::default(), Instant::now());
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
    let (mut table, now) = (RoutingTable::default(), Instant::now());
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
fn the_node_that_is_silent_longest_is_refreshed_once() {
    let (mut table, now) = (RoutingTable::default(), Instant::now());
    for number in 0..3u16 {
        table.answered(id(number.into(), 0), local(number), RTT, now + RTT * (3 - number).into());
    }
    assert_eq!(table.next_to_refresh(now + FRESH), None);
    let later = now + FRESH * 2;
    let order: Vec<_> = std::iter::from_fn(|| table.next_to_refresh(later)).take(9).collect();
    assert_eq!(order.iter().map(|contact| contact.address).collect::<Vec<_>>(), [2, 1, 0].map(local));
    table.answered(id(1, 0), local(1), RTT, later);
    let again = table.next_to_refresh(later + REFRESH_PAUSE * 2).map(|contact| contact.address);
    assert_eq!(again, Some(local(2)));
}

/// Every minute for a day, in a network of so many nodes per bucket, all of which a lookup finds.
fn lookups_of_a_day(nodes: impl Fn(usize) -> u16) -> (RoutingTable, usize) {
    let (mut table, now) = (RoutingTable::default(), Instant::now());
    table.answered(id(0, 0), local(0), RTT, now);
    let mut lookups = 0;
    for minute in 0..24 * 60 {
        let now = now + Duration::from_secs(60 * minute);
        for _ in 0..BUCKETS {
            let Some(target) = table.sparse_prefix(now) else { break };
            lookups += 1;
            let bucket = bucket_of(&target);
            for number in 0..nodes(bucket) {
                table.answered(id(bucket, number), local(bucket as u16 * 20 + number), RTT, now);
            }
        }
    }
    (table, lookups)
}

#[test]
fn a_large_network_fills_the_table() {
    let (table, lookups) = lookups_of_a_day(|_| 20);
    assert_eq!((table.len(), lookups), (BUCKETS * BUCKET_SIZE, BUCKETS));
}

#[test]
fn a_small_network_is_not_searched_over_and_over() {
    let (_, lookups) = lookups_of_a_day(|bucket| (bucket % 8 == 0).into());
    let probes = PROBES * 4 * 24;
    assert!((1..=probes).contains(&lookups), "{lookups}");
}

#[test]
fn a_prefix_to_look_up_is_in_the_emptiest_part() {
    let (mut table, now) = (RoutingTable::default(), Instant::now());
    assert_eq!(table.sparse_prefix(now), None, "there is nobody to ask");
    for bucket in (0..BUCKETS).filter(|bucket| *bucket != 0x155) {
        for number in 0..8 {
            table.answered(id(bucket, number), local(bucket as u16 * 8 + number), RTT, now);
        }
    }
    assert_eq!(table.sparse_prefix(now).map(|target| bucket_of(&target)), Some(0x155));
    assert_eq!(table.sparse_prefix(now + FRESH / 2), None);
    table.looked_up(&id(0x155, 0), now + FRESH / 2);
    assert_eq!(table.sparse_prefix(now + FRESH), None, "an ordinary lookup was there");
    assert!(table.sparse_prefix(now + FRESH * 2).is_some());
}

#[derive(Debug, Clone)]
enum Event {
    Answered(Id, SocketAddr),
    Failed(usize),
    Wait(Duration),
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    // Few prefixes, so that buckets fill; few addresses, so that they meet again.
    let prefix = prop::sample::select(vec![0usize, 1, 2, 0xff, 0x100, 0x1ff]);
    let address = prop_oneof![
        (0..200u16).prop_map(local),
        (0..6u8, 0..40u8).prop_map(|(subnet, host)| public(subnet, host)),
        (0..3u16, 0..3u16, 1..20u16).prop_map(|(site, network, host)| {
            SocketAddr::from(([0x2001, 0xdb8, site, network, 0, 0, 0, host], 6881))
        }),
    ];
    let event = prop_oneof![
        12 => (prefix, 0..60u16, address)
            .prop_map(|(prefix, number, address)| Event::Answered(id(prefix, number), address)),
        3 => any::<usize>().prop_map(Event::Failed),
        1 => (0..1200u64).prop_map(|seconds| Event::Wait(Duration::from_secs(seconds))),
    ];
    prop::collection::vec(event, 0..400)
}

fn check_invariants(table: &RoutingTable) {
    let contacts: Vec<_> = table.contacts().collect();
    assert_eq!(contacts.len(), table.len());
    let different = |keys: usize| assert_eq!(keys, contacts.len());
    different(contacts.iter().map(|contact| contact.id).collect::<HashSet<_>>().len());
    different(contacts.iter().map(|contact| contact.address).collect::<HashSet<_>>().len());
    let mut subnets: HashMap<_, usize> = HashMap::new();
    for (index, bucket) in table.buckets.iter().enumerate() {
        assert!(bucket.entries.len() <= BUCKET_SIZE);
        assert_eq!((table.occupied[index / 64] >> (index % 64)) & 1 == 1, !bucket.entries.is_empty());
        let mut in_bucket: HashMap<_, usize> = HashMap::new();
        for entry in &bucket.entries {
            assert_eq!(bucket_of(&entry.contact.id), index);
            if let Some(subnet) = entry.subnet {
                *subnets.entry(subnet).or_default() += 1;
                *in_bucket.entry(subnet).or_default() += 1;
            }
        }
        assert!(in_bucket.values().all(|nodes| *nodes <= 2));
    }
    assert_eq!(subnets, table.subnets);
    assert!(subnets.values().all(|nodes| *nodes <= SUBNET_NODES));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(1000))]

    #[test]
    fn bounds_and_indexes_hold_whatever_happens(events in events()) {
        let (mut table, mut now) = (RoutingTable::default(), Instant::now());
        for event in events {
            match event {
                Event::Answered(id, address) => {
                    table.answered(id, address, RTT, now);
                    let elsewhere = table.ids.get(&address).is_some_and(|known| *known != id);
                    prop_assert!(!elsewhere);
                }
                Event::Failed(number) => {
                    let contact = table.contacts().nth(number % table.len().max(1));
                    if let Some(Contact { id, address, .. }) = contact {
                        table.failed(&id, address, now);
                    }
                }
                Event::Wait(time) => now += time,
            }
        }
        check_invariants(&table);
    }

    #[test]
    fn the_closest_are_the_closest_of_all(
        nodes in prop::collection::vec(any::<[u8; 20]>(), 0..600),
        shared in 0..3usize,
        target: [u8; 20],
        count in 0..50usize,
    ) {
        let (mut table, now) = (RoutingTable::default(), Instant::now());
        for (number, mut bytes) in (0..).zip(nodes) {
            bytes[..shared].copy_from_slice(&target[..shared]);
            table.answered(bytes.into(), local(number), RTT, now);
        }
        let target = Id::from(target);
        let mut expected: Vec<_> = table.contacts().collect();
        expected.sort_by_key(|contact| distance(&contact.id, &target));
        expected.truncate(count);
        prop_assert_eq!(table.closest(&target, count), expected);
    }
}
