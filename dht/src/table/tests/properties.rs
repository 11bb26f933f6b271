//! What holds of the table whatever happens.

use std::collections::{HashMap, HashSet};

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone)]
enum Event {
    Answered(Id, SocketAddr),
    Failed(usize),
    Remember(Id, SocketAddr),
    NoBep44(usize),
    Refresh,
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
        3 => (any::<u16>(), 0..200u16).prop_map(|(prefix, number)| {
            Event::Remember(id(usize::from(prefix) % BUCKETS, number), local(number))
        }),
        1 => any::<usize>().prop_map(Event::NoBep44),
        1 => Just(Event::Refresh),
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
    let mut in_subnets = 0;
    let mut occupied: Vec<_> = table.grid.outward(0).collect();
    occupied.sort_unstable();
    for bucket in 0..table.grid.buckets() {
        let entries: Vec<_> = table.entries(bucket).collect();
        assert!(entries.len() <= table.grid.size());
        assert_eq!(occupied.binary_search(&bucket).is_ok(), !entries.is_empty());
        let mut in_bucket: HashMap<_, usize> = HashMap::new();
        for (place, entry) in entries {
            let Contact { id, address, .. } = entry.contact;
            assert_eq!(table.grid.bucket_of(&id), bucket);
            assert_eq!(table.at(address), Some(place));
            if let Some(subnet) = Subnet::of(address.ip()) {
                in_subnets += 1;
                *in_bucket.entry(subnet).or_default() += 1;
            }
        }
        assert!(in_bucket.values().all(|nodes| *nodes <= 2));
    }
    let (counted, most, allowed) = table.subnets.summary();
    assert_eq!(counted, in_subnets);
    assert!(most <= allowed);
    let unconfirmed = (0..table.grid.buckets()).flat_map(|bucket| table.entries(bucket));
    let unconfirmed = unconfirmed.filter(|(_, entry)| entry.is_unconfirmed).count();
    assert_eq!(table.confirmed() + unconfirmed, table.len());
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn bounds_and_indexes_hold_whatever_happens(events in events(), is_ipv4: bool) {
        let mut now = Instant::now();
        let mut table = RoutingTable::new(8192, is_ipv4, now);
        for event in events {
            match event {
                Event::Answered(id, address) => {
                    table.answered(id, address, RTT, now);
                    let known = table.at(address).and_then(|place| table.places.id(place));
                    let elsewhere = known.is_some_and(|known| known != id.as_bytes());
                    prop_assert!(!elsewhere);
                }
                Event::Failed(number) => {
                    let contact = table.contacts().nth(number % table.len().max(1));
                    if let Some(Contact { id, address, .. }) = contact {
                        table.failed(&id, address, now);
                    }
                }
                Event::Remember(id, address) => {
                    table.remember(Contact { id, address, rtt: None, stores: true }, now);
                }
                Event::NoBep44(number) => {
                    let contact = table.contacts().nth(number % table.len().max(1));
                    if let Some(Contact { id, address, .. }) = contact {
                        table.stores_nothing(&id, address);
                    }
                }
                Event::Refresh => {
                    let contact = table.next_to_refresh(now);
                    prop_assert!(contact.is_none_or(|it| table.known(&it.id, it.address).is_some()));
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
        let now = Instant::now();
        let mut table = table(now);
        for (number, mut bytes) in (0..).zip(nodes) {
            bytes[..shared].copy_from_slice(&target[..shared]);
            table.answered(bytes.into(), local(number), RTT, now);
        }
        let target = Id::from(target);
        let mut expected: Vec<_> = table.contacts().collect();
        expected.sort_by_key(|contact| *contact.id.xor(&target).as_bytes());
        expected.truncate(count);
        prop_assert_eq!(table.closest(&target, count), expected);
    }
}
