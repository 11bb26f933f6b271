use std::str::FromStr;

use hickory_proto::{
    rr::rdata::{A, CNAME, NS},
    serialize::binary::{BinEncodable, BinEncoder},
};
use pkarr::Keypair;
use proptest::prelude::*;

use super::{
    super::name::{CURVE_CHECKS, Route, Suffixes},
    *,
};
use crate::base::message::read_records;

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
    assert!(matches!(zone.lookup(&below("www"), RecordType::A), ZoneAnswer::Records(_)), "{zone:?}");
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
    assert!(matches!(zone.lookup(&below("one"), RecordType::A), ZoneAnswer::Records(_)));
    assert!(matches!(zone.lookup(&below("two"), RecordType::A), ZoneAnswer::NxDomain));
    assert!(matches!(zone.lookup(&below("three"), RecordType::A), ZoneAnswer::Records(_)));
}

#[test]
fn https_with_an_empty_parameter_is_kept() {
    // `no-default-alpn` has no value.
    let mut bytes = message(&[address("")]);
    bytes[7] = 2;
    bytes.extend_from_slice(&[0xc0, 12, 0, 65, 0, 1, 0, 0, 1, 44]);
    let data = [0, 1, 0, 0, 1, 0, 3, 2, b'h', b'2', 0, 2, 0, 0];
    bytes.extend_from_slice(&[0, data.len() as u8]);
    bytes.extend_from_slice(&data);
    let zone = Zone::parse(&packet(&bytes));
    let ZoneAnswer::Records(records) = zone.lookup(zone.apex(), RecordType::HTTPS) else {
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
    assert!(matches!(zone.lookup(&below("www"), RecordType::A), ZoneAnswer::Records(_)));
    for (name, record_type) in [("www", RecordType::AAAA), ("mail", RecordType::A), ("", RecordType::A)] {
        assert!(matches!(zone.lookup(&below(name), record_type), ZoneAnswer::Delegated(_)), "{name}");
    }
    assert_eq!(zone.lookup(&below(""), RecordType::DS), ZoneAnswer::NoData);
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
    assert!(matches!(longest_below("d"), ZoneAnswer::Records(records) if records.len() == 1));
    assert!(matches!(longest_below("a.b"), ZoneAnswer::NxDomain), "the wildcard of another encloser");
    assert!(matches!(longest_below("c"), ZoneAnswer::Delegated(delegation) if delegation.at == below("c")));
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
        if let ZoneAnswer::Records(records) = found {
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

#[test]
fn an_owner_is_told_from_foreign_ones_without_arithmetic_on_the_curve() {
    let other = "csjbhp9jpbomwh3m5eyrj1py41m8sjpkzzqmzpj5madsi7sc4mto.";
    let checks = || CURVE_CHECKS.with(std::cell::Cell::get);
    let before = checks();
    let records: Vec<Record> = (0..30).map(|_| address(other)).chain([address("www")]).collect();
    let zone = zone(&records);
    assert_eq!(zone.records.len(), 1);
    assert!(matches!(zone.lookup(&below("www"), RecordType::A), ZoneAnswer::Records(_)));
    assert_eq!(checks(), before);
}

#[test]
fn labels_that_many_owners_share_are_looked_at_once() {
    // One owner of 31 labels, and sixty records that point into its midst.
    let mut bytes = vec![0, 0, 0x80, 0, 0, 0, 0, 61, 0, 0, 0, 0];
    let deep = std::iter::successors(Some(below("x")), |name| name.prepend_label("x").ok()).nth(29).unwrap();
    let start = bytes.len();
    let mut encoder = BinEncoder::with_offset(&mut bytes, start as u32);
    Record::from_rdata(deep, 300, RData::A(A::new(192, 0, 2, 1))).emit(&mut encoder).unwrap();
    for number in 0..60 {
        let to = start + 2 * (number % 30);
        bytes.extend_from_slice(&[0xc0, to as u8, 0, 99, 0, 1, 0, 0, 0, 0, 0, 0]);
    }
    let zone = Zone::parse(&packet(&bytes));
    assert_eq!(zone.records.len(), 61);
    assert_eq!(zone.owners.len(), 31);
}

#[test]
fn records_that_nobody_can_read_are_not_read_one_after_the_other() {
    // Sixty aliases at one name, the data of each longer than its name.
    let malformed = [0xc0, 12, 0, 5, 0, 1, 0, 0, 0, 0, 0, 3, 0xc0, 12, 0];
    let mut bytes = message(&[]);
    let apex = message(&[address("")])[12..][..54].to_vec();
    bytes.extend_from_slice(&[1, b'a']);
    bytes.extend_from_slice(&apex);
    bytes.extend_from_slice(&malformed[2..]);
    (0..60).for_each(|_| bytes.extend_from_slice(&malformed));
    bytes[7] = 61;
    let zone = Zone::parse(&packet(&bytes));
    let reads = || READS.with(std::cell::Cell::get);
    let before = reads();
    zone.lookup(&below("a"), RecordType::A);
    assert!(reads() - before <= 3 * MAX_TRIES, "{} records were read", reads() - before);
}

/// What a zone says by the book, each of its records read and compared with the name.
fn by_the_book(dns: &[u8], name: &Name, record_type: RecordType) -> (&'static str, usize) {
    let key = keypair().public_key();
    let apex = zone_name(&key);
    let held: Vec<Record> = read_records(dns)
        .into_iter()
        .filter(|record| record.dns_class == DNSClass::IN && !is_about_messages(record.record_type()))
        .filter_map(|mut record| {
            let Route::PublicKey(found) = Suffixes::default().classify(&record.name) else { return None };
            record.name = move_zone(&record.name, &found.apex, &apex).filter(|_| found.key == key)?;
            (record.name.iter().count() <= MAX_DEPTH).then_some(record)
        })
        .collect();
    let exists = |name: &Name| *name == apex || held.iter().any(|record| name.zone_of(&record.name));
    let node = |node: &Name| {
        let here = held.iter().filter(|record| record.name == *node);
        let mut set: Vec<&RData> = Vec::new();
        for record in here.clone().filter(|record| record.record_type() == record_type) {
            if !set.contains(&&record.data) {
                set.push(&record.data);
            }
        }
        if !set.is_empty() {
            return Some(("records", set.len()));
        }
        here.clone().find(|record| record.record_type() == RecordType::CNAME).map(|_| ("alias", 1))
    };
    if let Some(found) = node(name) {
        return found;
    }
    if exists(name) {
        return ("no data", 0);
    }
    let mut encloser = name.base_name();
    while !exists(&encloser) {
        encloser = encloser.base_name();
    }
    let wildcard = encloser.prepend_label(b"*".as_slice()).unwrap();
    node(&wildcard).unwrap_or(if exists(&wildcard) { ("no data", 0) } else { ("no name", 0) })
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn a_zone_says_what_its_records_say_that_are_read_one_by_one(
        owners in prop::collection::vec((prop::collection::vec(0..4_usize, 0..5), 0..4_usize, any::<bool>()), 0..12),
        asked in prop::collection::vec(0..4_usize, 0..6),
        code in 0..4_usize,
    ) {
        const LABELS: [&str; 4] = ["a", "B", "*", "_c"];
        let name = |labels: &[usize]| {
            let labels: Vec<&str> = labels.iter().map(|label| LABELS[*label]).collect();
            if labels.is_empty() { zone_name(&keypair().public_key()) } else { below(&labels.join(".")) }
        };
        let types = [RecordType::A, RecordType::CNAME, RecordType::TXT, RecordType::AAAA];
        let mut bytes = Vec::new();
        let mut encoder = BinEncoder::new(&mut bytes);
        encoder.emit_vec(&[0, 0, 0x80, 0, 0, 0, 0, owners.len() as u8, 0, 0, 0, 0]).unwrap();
        let mut types_at = Vec::new();
        for (labels, which, is_malformed) in &owners {
            let data = match which {
                0 => RData::A(A::new(192, 0, 2, labels.len() as u8)),
                1 => RData::CNAME(CNAME(below("t"))),
                _ => RData::A(A::new(192, 0, 2, 7)),
            };
            Record::from_rdata(name(labels), 300, data).emit(&mut encoder).unwrap();
            // At most as many as are found out.
            if *is_malformed && *which == 0 && types_at.len() < MAX_TRIES {
                types_at.push(encoder.offset() - 13);
            }
        }
        // IPv6 addresses of four bytes.
        types_at.iter().for_each(|at| bytes[*at] = 28);
        let (asked, record_type) = (name(&asked).to_lowercase(), types[code]);
        let zone = unverified_zone(&bytes);
        let said = match zone.lookup(&asked, record_type) {
            ZoneAnswer::Records(records) => ("records", records.len()),
            ZoneAnswer::Alias(..) => ("alias", 1),
            ZoneAnswer::NoData => ("no data", 0),
            ZoneAnswer::NxDomain => ("no name", 0),
            ZoneAnswer::Delegated(_) => ("delegated", 0),
            ZoneAnswer::Renamed(..) => ("renamed", 0),
        };
        prop_assert_eq!(said, by_the_book(&bytes, &asked, record_type), "{} {}", asked, record_type);
    }
}
