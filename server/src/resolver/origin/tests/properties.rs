//! What holds for every packet, zone file and name.

use std::sync::LazyLock;

use hickory_proto::{
    rr::rdata::{
        A, AAAA, CNAME, HTTPS, MX, NS, NULL, SOA, SRV, SVCB, TXT,
        svcb::{IpHint, SvcParamKey, SvcParamValue},
    },
    serialize::binary::{BinEncodable, BinEncoder},
};
use proptest::prelude::*;

use super::*;
use crate::{
    base::{access::is_private, message::addresses},
    resolver::{
        name::{Suffixes, zone_name},
        origin::static_zone::StaticZone,
        zone::{ZoneAnswer, try_each_target},
    },
};

const APEX: &str = "pk.example.net";

fn alice() -> Keypair {
    keypair("alice")
}

/// Some labels below a key, below the origin, or anywhere.
fn some_name() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let label = prop_oneof![
        5 => prop::sample::select(vec!["a", "b", "*", "_tcp", "WWW"]).prop_map(|label| label.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 1..8),
        1 => Just(vec![b'x'; 63]),
    ];
    prop::collection::vec(label, 0..5)
}

/// The end of a name: of this key, of another, with a suffix or another spelling, of the origin, of others.
fn some_end() -> impl Strategy<Value = String> {
    let (own, other) = (alice().public_key().to_z32(), keypair("bob").public_key().to_z32());
    let spelled = own[..51].to_string() + if own.ends_with('y') { "b" } else { "t" };
    let no_key = "y".repeat(52);
    prop::sample::select(vec![
        own.clone(),
        own.to_uppercase(),
        format!("{own}.key"),
        spelled,
        other.clone(),
        format!("{other}.KEY"),
        format!("{other}.{APEX}"),
        format!("{no_key}.key"),
        APEX.to_owned(),
        "example.com".to_owned(),
        "key".to_owned(),
    ])
}

fn join(labels: &[Vec<u8>], end: &str) -> Option<Name> {
    let end = name(end);
    Name::from_labels(labels.iter().map(Vec::as_slice).chain(end.iter())).ok()
}

fn some_target() -> impl Strategy<Value = Name> {
    (some_name(), some_end()).prop_filter_map("too long", |(labels, end)| join(&labels, &end))
}

fn some_data() -> impl Strategy<Value = RData> {
    let address = prop::sample::select(vec![[192, 0, 2, 1], [10, 0, 0, 1], [127, 0, 0, 1], [100, 64, 0, 1]]);
    (some_target(), address, 0..11_u8).prop_map(|(target, ip, kind)| match kind {
        0 => RData::A(A(ip.into())),
        1 => RData::AAAA(AAAA(std::net::Ipv4Addr::from(ip).to_ipv6_mapped())),
        2 => RData::CNAME(CNAME(target)),
        3 => RData::MX(MX::new(1, target)),
        4 => RData::SRV(SRV::new(1, 1, 1, target)),
        5 => {
            let hint = SvcParamValue::Ipv4Hint(IpHint(vec![A(ip.into()), A::new(192, 0, 2, 9)]));
            RData::HTTPS(HTTPS(SVCB::new(1, target, vec![(SvcParamKey::Ipv4Hint, hint)])))
        }
        6 => RData::NS(NS(target)),
        7 => RData::SOA(SOA::new(target.clone(), target, 1, 2, 3, 4, 5)),
        8 => RData::Unknown { code: RecordType::DNAME, rdata: NULL::with(target.to_bytes().unwrap()) },
        9 => RData::Unknown { code: RecordType::DS, rdata: NULL::with(vec![0; 8]) },
        _ => RData::TXT(TXT::new(vec!["x".into()])),
    })
}

/// Owners below an apex, and what is there.
fn some_records() -> impl Strategy<Value = Vec<(Vec<Vec<u8>>, u32, RData)>> {
    prop::collection::vec((some_name(), 0..1000_u32, some_data()), 0..8)
}

fn packet(records: &[(Vec<Vec<u8>>, u32, RData)]) -> Option<Zone> {
    let apex = zone_name(&alice().public_key());
    let mut bytes = Vec::new();
    let mut encoder = BinEncoder::new(&mut bytes);
    encoder.emit_vec(&[0, 0, 0x80, 0, 0, 0, 0, records.len() as u8, 0, 0, 0, 0]).unwrap();
    for (labels, ttl, data) in records {
        let owner = Name::from_labels(labels.iter().map(Vec::as_slice).chain(apex.iter())).ok()?;
        Record::from_rdata(owner, *ttl, data.clone()).emit(&mut encoder).ok()?;
    }
    SignedPacket::sign(&alice(), 1, &bytes).ok().map(|packet| Zone::parse(&packet))
}

/// An origin without a zone file, in which private addresses are left out, and one in which they are not.
static ORIGINS: LazyLock<[Origin; 2]> = LazyLock::new(|| {
    [false, true].map(|allow_private| {
        let config = format!(
            "[[origin]]\nname = '{APEX}'\nname_servers = 'ns.example.org'\nallow_private = {allow_private}"
        );
        origins(&config, "").unwrap().iter().next().unwrap().clone()
    })
});

/// What holds for each answer: names lie where they may, and it says one thing.
fn check(answer: &OriginAnswer, origin: &Origin, asked: &Name) -> Result<(), TestCaseError> {
    let suffixes = Suffixes::new(["key"]);
    let sections = || answer.answers.iter().chain(&answer.authorities).chain(&answer.additionals);
    for record in sections() {
        prop_assert!(origin.apex().zone_of(&record.name), "{record} is of another zone");
        let mut data = record.data.clone();
        let mut is_of_keys = false;
        try_each_target(&mut data, |target| {
            is_of_keys |= suffixes.key_labels(target).is_some();
            true
        });
        prop_assert!(!is_of_keys, "{record} leads to where only this resolver finds anything");
        prop_assert!(
            origin.allow_private || !addresses(&record.data).into_iter().any(is_private),
            "{record} is of a network of its own"
        );
    }
    let is_owner = |record: &Record| record.name.eq_case(asked) || record.record_type() == RecordType::DNAME;
    prop_assert!(answer.answers.iter().all(is_owner), "{answer:?}");
    let is_negative = answer.answers.is_empty() && answer.is_authoritative;
    let soas = answer.authorities.iter().filter(|record| record.record_type() == RecordType::SOA).count();
    prop_assert_eq!(soas, usize::from(is_negative), "{:?}", answer);
    prop_assert!(answer.authorities.iter().all(|record| !is_negative || record.name == *origin.apex()));
    prop_assert!(answer.code != ResponseCode::NXDomain || answer.answers.is_empty());
    let alias = answer.answers.last().and_then(|record| match &record.data {
        RData::CNAME(target) => Some(target.0.to_lowercase()),
        _ => None,
    });
    prop_assert!(answer.follow.is_none() || answer.follow == alias, "{:?}", answer);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn whatever_a_packet_says_the_answer_is_of_the_origin_and_says_one_thing(
        records in some_records(),
        labels in some_name(),
        spelling in 0..3_u8,
        record_type in prop::sample::select(vec![1_u16, 2, 5, 6, 15, 16, 28, 33, 39, 43, 48, 65, 65280]),
        allow_private in any::<bool>(),
    ) {
        let Some(zone) = packet(&records) else { return Ok(()) };
        let origin = &ORIGINS[usize::from(allow_private)];
        let z32 = alice().public_key().to_z32();
        let key = match spelling {
            0 => z32,
            1 => z32.to_uppercase(),
            _ => z32[..51].to_string() + if z32.ends_with('y') { "b" } else { "t" },
        };
        let Some(asked) = join(&labels, &format!("{key}.{APEX}")) else { return Ok(()) };
        let Place::Key(of_key) = origin.place(&asked) else {
            return Err(TestCaseError::fail(format!("{asked} is a key's")));
        };
        let record_type = RecordType::from(record_type);
        let answer = origin.from_packet(&zone, &of_key, &asked, record_type, NEGATIVE_TTL);
        check(&answer, origin, &asked)?;
        prop_assert!(answer.is_authoritative);
        let own = move_to_key(&asked, &of_key.apex);
        if own.as_ref().is_some_and(|own| zone.exists(own)) {
            prop_assert_ne!(answer.code, ResponseCode::NXDomain, "{} is there", asked);
        }
        let types = answer.answers.iter().map(Record::record_type);
        prop_assert!(!types.into_iter().any(|it| matches!(it, RecordType::SOA | RecordType::NS | RecordType::DS)));
    }

    /// The zone file and a packet with the same records say the same, but for what is left to name servers.
    #[test]
    fn a_zone_file_is_looked_up_as_a_packet_is(
        records in some_records(),
        labels in some_name(),
        record_type in prop::sample::select(vec![1_u16, 5, 15, 16, 28, 33, 39, 65, 65280]),
    ) {
        let is_kept = |(labels, _, data): &(Vec<Vec<u8>>, u32, RData)| {
            let is_of_apex = labels.is_empty() && matches!(data.record_type(), RecordType::DNAME | RecordType::CNAME);
            !is_of_apex && !matches!(data.record_type(), RecordType::NS | RecordType::SOA)
        };
        let records: Vec<_> = records.into_iter().filter(is_kept).collect();
        let mut origin = ORIGINS[1].clone();
        let mut zone = StaticZone::default();
        for (labels, ttl, data) in &records {
            let Some(owner) = join(labels, APEX) else { return Ok(()) };
            zone.add(Record::from_rdata(owner, *ttl, data.clone()));
        }
        zone.add(origin.soa.clone());
        origin.zone = zone;
        let (Some(packet), Some(asked)) = (packet(&records), join(&labels, APEX)) else { return Ok(()) };
        let record_type = RecordType::from(record_type);
        let answer = origin.from_file(&asked, record_type);
        prop_assert!(answer.is_authoritative);
        let own = join(&labels, &alice().public_key().to_z32()).map(|name| name.to_lowercase());
        // The longer name of the key may not fit.
        let Some(own) = own else { return Ok(()) };
        let kind = |records: &[Record]| records.iter().map(|record| record.data.clone()).collect::<Vec<_>>();
        match packet.lookup(&own, record_type) {
            ZoneAnswer::Records(records) => prop_assert_eq!(kind(&answer.answers), kind(&records)),
            ZoneAnswer::Alias(record, target) => {
                prop_assert_eq!(kind(&answer.answers), kind(&[*record]));
                prop_assert_eq!(answer.follow, Some(target));
            }
            ZoneAnswer::Renamed(record, alias) => {
                prop_assert_eq!(&answer.answers[0].data, &record.data);
                prop_assert_eq!(answer.follow, alias.map(|(_, target)| target));
            }
            ZoneAnswer::NoData | ZoneAnswer::Delegated(_) => {
                prop_assert!(answer.answers.is_empty() && answer.code == ResponseCode::NoError, "{answer:?}");
            }
            ZoneAnswer::NxDomain => prop_assert_eq!(answer.code, ResponseCode::NXDomain),
        }
    }
}

/// The name in the zone of the key itself.
fn move_to_key(name: &Name, apex: &Name) -> Option<Name> {
    crate::resolver::name::move_zone(&name.to_lowercase(), apex, &zone_name(&alice().public_key()))
}
