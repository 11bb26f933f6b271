//! The input is a name, in wire form as far as it goes: each length byte is taken modulo 64.

use hickory_proto::rr::{DNSClass, Name, RecordType};
use pkdns::{
    message::{Query, Question},
    resolver::{
        name::{KeyName, Route, Suffixes, move_zone, zone_name},
        special::SpecialZone,
    },
};

use super::decode::check_answer;

const SUFFIXES: [&str; 2] = ["key", "pk.example.net"];

const TYPES: [RecordType; 5] =
    [RecordType::A, RecordType::AAAA, RecordType::PTR, RecordType::SOA, RecordType::HTTPS];

/// Panics where the module does, or where it breaks a promise.
pub fn check(input: &[u8]) {
    let Some(name) = read_name(input) else { return };
    let suffixes = Suffixes::new(SUFFIXES);
    let route = suffixes.classify(&name);
    for spelling in [name.to_lowercase(), upper_case(&name)] {
        assert_eq!(suffixes.classify(&spelling), route, "{spelling} and {name} differ");
    }
    let name = name.to_lowercase();
    let holds_key = reads_as_key(&name);
    match &route {
        Route::PublicKey(found) => {
            assert!(holds_key);
            check_key(&suffixes, &name, found);
        }
        Route::NotACurvePoint { apex } => {
            assert!(holds_key);
            assert!(apex.zone_of(&name));
        }
        Route::Special(zone) => {
            assert!(!holds_key, "{name} reads as a key");
            check_special(&name, *zone);
        }
        Route::Icann => {
            assert!(!holds_key, "{name} reads as a key and would leak to ICANN");
            assert_eq!(SpecialZone::of(&name), None);
        }
    }
}

/// What was asked moves into the zone of the packet and back, wherever it fits.
fn check_key(suffixes: &Suffixes, name: &Name, found: &KeyName) {
    assert!(found.apex.zone_of(name), "{name} is not in {}", found.apex);
    let own_zone = zone_name(&found.key);
    let own_key = KeyName { key: found.key.clone(), apex: own_zone.clone() };
    assert_eq!(suffixes.classify(&own_zone), Route::PublicKey(own_key));
    let own = move_zone(name, &found.apex, &own_zone);
    assert!(own.is_some(), "a name does not fit without its suffix");
    let Some(own) = own else { return };
    assert!(own_zone.zone_of(&own));
    assert_eq!(move_zone(&own, &own_zone, &found.apex).as_ref(), Some(name));
    let long = Name::from_labels([&[b'a'; 63][..]; 3]).and_then(|long| own_zone.clone().append_domain(&long));
    if let Some(moved) = long.ok().and_then(|long| move_zone(&own, &own_zone, &long)) {
        assert!(Question::new(&moved, RecordType::A, DNSClass::IN).is_some(), "{moved} is too long");
    }
}

fn check_special(name: &Name, zone: SpecialZone) {
    for record_type in TYPES {
        let question = Question::new(name, record_type, DNSClass::IN);
        assert!(question.is_some(), "{name} does not fit a question");
        let Some(question) = question else { return };
        let answer = zone.answer(name, record_type);
        assert_eq!(answer.answers.is_empty(), !answer.authorities.is_empty());
        let query = Query {
            id: 1,
            recursion_desired: true,
            authentic_data: true,
            checking_disabled: false,
            question,
            edns: None,
            is_proven: false,
            reply_cookie: None,
            view: pkdns::base::view::View::Resolver,
        };
        assert_eq!(check_answer(&query, &answer), answer.code);
    }
}

fn read_name(input: &[u8]) -> Option<Name> {
    let mut labels = Vec::new();
    let mut rest = input;
    while let Some((length, after)) = rest.split_first() {
        let (label, after) = after.split_at(usize::from(length % 64).min(after.len()));
        if label.is_empty() {
            break;
        }
        labels.push(label);
        rest = after;
    }
    Name::from_labels(labels).ok()
}

fn upper_case(name: &Name) -> Name {
    let labels = name.iter().map(<[u8]>::to_ascii_uppercase);
    Name::from_labels(labels.collect::<Vec<_>>().iter().map(Vec::as_slice)).unwrap_or_else(|_| name.clone())
}

/// Whether a key stands where a key counts: told from the text alone, in another way than the module does.
fn reads_as_key(name: &Name) -> bool {
    let labels: Vec<&[u8]> = name.iter().collect();
    let above = [&[][..], &[&b"key"[..]], &[b"pk", b"example", b"net"]];
    above.into_iter().any(|suffix| {
        let key = labels.strip_suffix(suffix).and_then(|labels| labels.last());
        key.is_some_and(|key| {
            key.len() == 52 && key.iter().all(|byte| b"ybndrfg8ejkmcpqxot1uwisza345h769".contains(byte))
        })
    })
}
