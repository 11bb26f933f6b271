//! The input is the DNS message of a packet: read as a zone, asked about the names in it and near it, and answered
//! behind a suffix.

use std::{collections::BTreeSet, sync::OnceLock};

use hickory_proto::{
    op::ResponseCode,
    rr::{DNSClass, Name, Record, RecordType},
};
use pkdns::{
    message::{Answer, Query, Question},
    resolver::{
        name::move_zone,
        zone::{Zone, ZoneAnswer, present},
    },
};
use pkdns_dht::signed_packet::{Keypair, MAX_DNS_SIZE, SignedPacket};

use super::decode::check_answer;

/// Names asked about; each costs a pass over the zone for each type.
const MAX_NAMES: usize = 8;

/// Types asked for at every name, beside those that stand there.
const TYPES: [RecordType; 4] = [RecordType::A, RecordType::NS, RecordType::DS, RecordType::ANY];

/// Panics where the module does, or where it breaks a promise.
pub fn check(input: &[u8]) {
    static KEYPAIR: OnceLock<Keypair> = OnceLock::new();
    // The key of the packets in the seeds.
    let keypair = KEYPAIR.get_or_init(|| Keypair::from_secret_key(&[0; 32]));
    let packet = SignedPacket::sign(keypair, 1_700_000_000_000_000, input);
    assert_eq!(packet.is_ok(), input.len() <= MAX_DNS_SIZE);
    let Ok(packet) = packet else { return };
    let zone = Zone::parse(&packet);
    for record in zone.records() {
        assert!(zone.apex().zone_of(&record.name), "{} is not this key's", record.name);
        assert_eq!(record.dns_class, DNSClass::IN);
    }
    let suffixed = Name::from_ascii("key.").and_then(|suffix| zone.apex().clone().append_domain(&suffix));
    let Ok(suffixed) = suffixed else { return };
    for name in names(&zone, input) {
        for record_type in types(&zone, &name, input) {
            let lookup = zone.lookup(&name, record_type);
            check_lookup(&zone, &name, record_type, &lookup);
            // Answers that say no are all alike.
            if matches!(lookup, ZoneAnswer::Records(_) | ZoneAnswer::Alias(..) | ZoneAnswer::Renamed(..))
                || record_type == RecordType::A
            {
                check_presented(&zone, &name, record_type, &answer(&zone, lookup), &suffixed);
            }
        }
    }
}

fn check_lookup(zone: &Zone, name: &Name, record_type: RecordType, lookup: &ZoneAnswer) {
    match lookup {
        ZoneAnswer::Records(records) => {
            assert!(!records.is_empty());
            assert!(records.iter().all(|record| record.name == *name && record.record_type() == record_type));
        }
        ZoneAnswer::Alias(record, _) => {
            assert_eq!(record.name, *name);
            assert_eq!(record.record_type(), RecordType::CNAME);
        }
        ZoneAnswer::Renamed(renaming, alias) => {
            assert_eq!(renaming.record_type(), RecordType::DNAME);
            assert!(renaming.name.zone_of(name) && renaming.name != *name);
            assert!(alias.as_ref().is_none_or(|(record, _)| record.name == *name));
            assert!(zone.set(name, record_type).is_empty(), "what stands there comes first");
        }
        ZoneAnswer::Delegated(delegation) => {
            assert!(!delegation.servers.is_empty());
            assert!(delegation.at.zone_of(name) && zone.apex().zone_of(&delegation.at));
            assert!(zone.set(name, record_type).is_empty(), "what is signed comes first");
        }
        ZoneAnswer::NoData => assert!(zone.set(name, record_type).is_empty()),
        ZoneAnswer::NxDomain => assert!(!zone.exists(name)),
    }
}

/// The answer as a client sees it that asked for the zone as `asked`.
fn check_presented(zone: &Zone, name: &Name, record_type: RecordType, answer: &Answer, asked: &Name) {
    let Some(name) = move_zone(name, zone.apex(), asked) else { return };
    let moved = |records: &[Record]| -> Vec<Record> {
        records.iter().map(|record| present(record.clone(), zone.apex(), asked)).collect()
    };
    let answer =
        Answer { answers: moved(&answer.answers), authorities: moved(&answer.authorities), ..answer.clone() };
    for record in &answer.answers {
        let is_above = record.record_type() == RecordType::DNAME && record.name.zone_of(&name);
        assert!(record.name == name || is_above, "an owner that was not asked for");
    }
    let question = Question::new(&name, record_type, DNSClass::IN);
    assert!(question.is_some(), "{name} does not fit a question");
    let Some(question) = question else { return };
    let query = Query {
        id: 1,
        recursion_desired: true,
        authentic_data: false,
        checking_disabled: false,
        question,
        edns: None,
        is_proven: false,
        reply_cookie: None,
        view: pkdns::base::view::View::Resolver,
    };
    // A zone has at most 1000 bytes: whatever it says can be written.
    assert_eq!(check_answer(&query, &answer), answer.code);
}

fn answer(zone: &Zone, lookup: ZoneAnswer) -> Answer {
    let (code, answers) = match lookup {
        ZoneAnswer::Records(records) => (ResponseCode::NoError, records),
        ZoneAnswer::Alias(record, _) => (ResponseCode::NoError, vec![*record]),
        ZoneAnswer::Renamed(renaming, Some((record, _))) => (ResponseCode::NoError, vec![*renaming, *record]),
        ZoneAnswer::Renamed(renaming, None) => (ResponseCode::YXDomain, vec![*renaming]),
        ZoneAnswer::Delegated(_) | ZoneAnswer::NoData => (ResponseCode::NoError, Vec::new()),
        ZoneAnswer::NxDomain => (ResponseCode::NXDomain, Vec::new()),
    };
    let authorities = if answers.is_empty() { vec![zone.soa(60)] } else { Vec::new() };
    Answer { answers, authorities, ..Answer::empty(code) }
}

/// The apex, the owners, their neighbours above and below, and a name from the end of the input.
fn names(zone: &Zone, input: &[u8]) -> BTreeSet<Name> {
    let label = &input[input.len().saturating_sub(9)..];
    let mut names = BTreeSet::from([zone.apex().clone()]);
    names.extend(zone.apex().prepend_label(label));
    for record in zone.records() {
        let above = record.name.base_name();
        names
            .extend([&b"a"[..], label].into_iter().filter_map(|label| record.name.prepend_label(label).ok()));
        names.extend([record.name.clone(), above]);
        if names.len() >= MAX_NAMES {
            break;
        }
    }
    names.into_iter().map(|name| name.to_lowercase()).filter(|name| zone.apex().zone_of(name)).collect()
}

/// Those of the table, those that stand at `name`, and one from the end of the input.
fn types(zone: &Zone, name: &Name, input: &[u8]) -> Vec<RecordType> {
    let held = zone.records().filter(|record| record.name == *name).map(|record| record.record_type());
    let last = input.last_chunk().map(|code| RecordType::from(u16::from_be_bytes(*code)));
    let mut types: Vec<RecordType> = held.chain(last).chain(TYPES).collect();
    types.sort_unstable();
    types.dedup();
    types
}
