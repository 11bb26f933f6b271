use std::str::FromStr;

use hickory_proto::{
    rr::rdata::{A, CNAME, NS},
    serialize::binary::{BinEncodable, BinEncoder},
};
use pkarr::Keypair;
use proptest::prelude::*;

use super::*;

fn keypair() -> Keypair {
    Keypair::from_secret_key(&[7; 32])
}

fn packet(dns: &[u8]) -> SignedPacket {
    SignedPacket::sign(&keypair(), 1_700_000_000_000_000, dns).unwrap()
}

fn message(records: &[Record]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = BinEncoder::new(&mut bytes);
    encoder.emit_vec(&[0, 0, 0x80, 0, 0, 0, 0, records.len() as u8, 0, 0, 0, 0]).unwrap();
    records.iter().for_each(|record| record.emit(&mut encoder).unwrap());
    bytes
}

fn record(owner: &str, data: RData) -> Record {
    let apex = zone_name(&keypair().public_key());
    let owner = match owner {
        "" => apex,
        name if name.ends_with('.') => Name::from_str(name).unwrap(),
        name => Name::from_str(name).unwrap().append_domain(&apex).unwrap(),
    };
    Record::from_rdata(owner, 300, data)
}

fn address(owner: &str) -> Record {
    record(owner, RData::A(A::new(192, 0, 2, 1)))
}

fn zone(records: &[Record]) -> Zone {
    Zone::parse(&packet(&message(records)))
}

fn below(label: &str) -> Name {
    record(label, RData::A(A::new(0, 0, 0, 0))).name
}

#[test]
fn records_of_other_zones_are_not_believed() {
    let zone = zone(&[
        address("www"),
        address("www.example.com."),
        address("com."),
        address("."),
        address("csjbhp9jpbomwh3m5eyrj1py41m8sjpkzzqmzpj5madsi7sc4mto."),
    ]);
    assert_eq!(zone.records().count(), 1);
}

#[test]
fn an_owner_in_another_spelling_of_the_key_is_the_keys_own() {
    let key = keypair().public_key().to_z32();
    let last = key.chars().last().unwrap();
    let spelled = format!("{}{}", &key[..51], if last == 'y' { 'b' } else { 'n' });
    let zone = zone(&[address(&format!("www.{spelled}."))]);
    assert!(matches!(zone.lookup(&below("www"), RecordType::A), Lookup::Records(_)), "{zone:?}");
}

#[test]
fn a_malformed_record_does_not_lose_the_rest() {
    let mut bytes = message(&[address("one"), address("two"), address("three")]);
    // The second record's address becomes three bytes long, with one byte of its own left behind.
    let at = bytes.windows(6).rposition(|part| part == [0, 4, 192, 0, 2, 1]).unwrap();
    let second = bytes[..at].windows(6).rposition(|part| part == [0, 4, 192, 0, 2, 1]).unwrap();
    bytes[second + 1] = 3;
    bytes.remove(second + 2);
    // Pointers of the third record lie before the change, in the first.
    let zone = Zone::parse(&packet(&bytes));
    assert!(matches!(zone.lookup(&below("one"), RecordType::A), Lookup::Records(_)));
    assert!(matches!(zone.lookup(&below("two"), RecordType::A), Lookup::NoName));
    assert!(matches!(zone.lookup(&below("three"), RecordType::A), Lookup::Records(_)));
}

#[test]
fn https_with_an_empty_parameter_is_kept() {
    // Incumbent's mistake 16: `no-default-alpn` has no value.
    let mut bytes = message(&[address("")]);
    bytes[7] = 2;
    bytes.extend_from_slice(&[0xc0, 12, 0, 65, 0, 1, 0, 0, 1, 44]);
    let data = [0, 1, 0, 0, 1, 0, 3, 2, b'h', b'2', 0, 2, 0, 0];
    bytes.extend_from_slice(&[0, data.len() as u8]);
    bytes.extend_from_slice(&data);
    let zone = Zone::parse(&packet(&bytes));
    let Lookup::Records(records) = zone.lookup(zone.apex(), RecordType::HTTPS) else {
        panic!("{zone:?}");
    };
    let mut encoded = Vec::new();
    records[0].data.emit(&mut BinEncoder::new(&mut encoded)).unwrap();
    assert_eq!(encoded, data);
}

#[test]
fn what_is_signed_comes_before_what_is_delegated() {
    let server = RData::NS(NS(Name::from_str("ns.example.com.").unwrap()));
    let zone = zone(&[record("", server), address("www")]);
    assert!(matches!(zone.lookup(&below("www"), RecordType::A), Lookup::Records(_)));
    for (name, record_type) in [("www", RecordType::AAAA), ("mail", RecordType::A), ("", RecordType::A)] {
        assert!(matches!(zone.lookup(&below(name), record_type), Lookup::Delegated(_)), "{name}");
    }
    assert_eq!(zone.lookup(&below(""), RecordType::DS), Lookup::NoData);
}

#[test]
fn what_covers_a_name_covers_the_longest_one_too() {
    let server = RData::NS(NS(Name::from_str("ns.example.com.").unwrap()));
    let zone = zone(&[address("*"), address("a.b"), record("c", server)]);
    let longest_below = |label: &str| {
        let name =
            std::iter::successors(Some(below(label)), |name| name.prepend_label("x").ok()).last().unwrap();
        assert!(name.iter().count() > 2 * MAX_DEPTH);
        zone.lookup(&name, RecordType::A)
    };
    assert!(matches!(longest_below("d"), Lookup::Records(records) if records.len() == 1));
    assert!(matches!(longest_below("a.b"), Lookup::NoName), "the wildcard of another encloser");
    assert!(matches!(longest_below("c"), Lookup::Delegated(delegation) if delegation.at == below("c")));
}

#[test]
fn names_move_with_the_suffix_that_was_asked_for() {
    let apex = zone_name(&keypair().public_key());
    let asked = apex.clone().append_domain(&Name::from_str("key.").unwrap()).unwrap();
    let alias = record("a", RData::CNAME(CNAME(below("b"))));
    let moved = present(alias, &apex, &asked);
    assert!(asked.zone_of(&moved.name));
    assert!(matches!(&moved.data, RData::CNAME(target) if asked.zone_of(&target.0)));
    let outside = record("a", RData::CNAME(CNAME(Name::from_str("example.com.").unwrap())));
    let moved = present(outside, &apex, &asked);
    assert!(matches!(&moved.data, RData::CNAME(target) if target.0.to_ascii() == "example.com."));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(100_000))]

    #[test]
    fn any_packet_gives_a_zone_that_answers(
        dns in prop::collection::vec(any::<u8>(), 0..200),
        label in prop::collection::vec(any::<u8>(), 1..20),
        code in any::<u16>(),
        real in any::<bool>(),
        at in any::<prop::sample::Index>(),
        byte in any::<u8>(),
    ) {
        // Half of the cases are a real packet with one byte changed.
        let dns = if real {
            let mut dns = message(&[address(""), address("*.a"), address("b.c")]);
            let at = at.index(dns.len());
            dns[at] = byte;
            dns
        } else {
            dns
        };
        let zone = unverified_zone(&dns);
        let name = zone.apex().prepend_label(label.as_slice()).unwrap_or(zone.apex().clone());
        let found = zone.lookup(&name, RecordType::from(code));
        if let Lookup::Records(records) = found {
            prop_assert!(records.iter().all(|record| record.name == name));
        }
        for record in zone.records() {
            prop_assert!(zone.apex().zone_of(&record.name));
        }
    }
}

/// Signing costs more than everything else here, so one signature serves all cases of a thread.
fn unverified_zone(dns: &[u8]) -> Zone {
    Zone::parse(&packet(dns))
}
