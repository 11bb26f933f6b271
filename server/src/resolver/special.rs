//! Names that RFCs reserve: answered here, never forwarded.

use std::net::{Ipv4Addr, Ipv6Addr};

use hickory_proto::{
    op::ResponseCode,
    rr::{
        Name, RData, Record, RecordType,
        rdata::{A, AAAA, PTR},
    },
};

use super::negative::soa;
use crate::base::message::Answer;

/// Time to live of everything in this table, in seconds: it only changes with the software.
const TTL: u32 = 3600;

/// RFC 6761, 6762, 7686, 9476 and ICANN's `internal`: top-level names that do not exist in public.
const ABSENT: [&str; 6] = ["test.", "invalid.", "local.", "onion.", "alt.", "internal."];

/// Zones that exist and are empty: RFC 8375, RFC 9462 section 6.4, and the reverse zones of RFC 6303 and 7793 in
/// which nobody outside could answer.
const EMPTY: [&str; 24] = [
    "home.arpa.",
    "resolver.arpa.",
    "0.in-addr.arpa.",
    "127.in-addr.arpa.",
    "10.in-addr.arpa.",
    "168.192.in-addr.arpa.",
    "254.169.in-addr.arpa.",
    "2.0.192.in-addr.arpa.",
    "100.51.198.in-addr.arpa.",
    "113.0.203.in-addr.arpa.",
    "255.255.255.255.in-addr.arpa.",
    "0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa.",
    "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa.",
    "c.f.ip6.arpa.",
    "d.f.ip6.arpa.",
    "8.e.f.ip6.arpa.",
    "9.e.f.ip6.arpa.",
    "a.e.f.ip6.arpa.",
    "b.e.f.ip6.arpa.",
    "c.e.f.ip6.arpa.",
    "d.e.f.ip6.arpa.",
    "e.e.f.ip6.arpa.",
    "f.e.f.ip6.arpa.",
    "8.b.d.0.1.0.0.2.ip6.arpa.",
];

/// The reverse names of 127.0.0.1 and ::1.
const LOOPBACK: [&str; 2] =
    ["1.0.0.127.in-addr.arpa.", "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa."];

/// A reserved name or zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SpecialZone {
    /// `localhost` and all below (RFC 6761 section 6.3).
    Localhost,
    /// A name that does not exist, nor anything below.
    Absent(&'static str),
    /// A zone that exists and holds nothing but, in part, the name of the loopback address.
    Empty(&'static str),
    /// `16.172.in-addr.arpa` to `31.…`, `64.100.in-addr.arpa` to `127.…`: as `Empty`, with a number before it.
    EmptyNumbered(u8, &'static str),
}

impl SpecialZone {
    /// The zone that `name`, in lower case, is in.
    pub fn of(name: &Name) -> Option<Self> {
        let labels: Vec<&[u8]> = name.iter().collect();
        let ends_in = |zone: &str| {
            let zone = zone.trim_end_matches('.').split('.').rev();
            let mut labels = labels.iter().rev();
            zone.map(str::as_bytes).all(|label| labels.next() == Some(&label))
        };
        if ends_in("localhost") {
            return Some(Self::Localhost);
        }
        if let Some(zone) = ABSENT.into_iter().find(|zone| ends_in(zone)) {
            return Some(Self::Absent(zone));
        }
        if let Some(zone) = EMPTY.into_iter().find(|zone| ends_in(zone)) {
            return Some(Self::Empty(zone));
        }
        [("172.in-addr.arpa.", 16..=31), ("100.in-addr.arpa.", 64..=127)].into_iter().find_map(
            |(zone, numbers)| {
                let number = labels.iter().rev().nth(3)?;
                let number: u8 = std::str::from_utf8(number).ok()?.parse().ok()?;
                let numbered = ends_in(zone) && numbers.contains(&number);
                numbered.then_some(Self::EmptyNumbered(number, zone))
            },
        )
    }

    /// Whether the question is one about a zone of these that the parent of the zone answers.
    pub fn is_for_parent(name: &Name, record_type: RecordType) -> bool {
        let leaves = |special: Self| special.leaves_to_parent(name, record_type);
        record_type == RecordType::DS && Self::of(name).is_some_and(leaves)
    }

    /// Whether a question for `name` is one that the parent of this zone answers.
    pub fn leaves_to_parent(self, name: &Name, record_type: RecordType) -> bool {
        let is_delegated = matches!(self, Self::Empty(_) | Self::EmptyNumbered(..));
        is_delegated && record_type == RecordType::DS && *name == self.apex()
    }

    /// Whether a denial of the whole zone by those above it may stand for `answer`, which is what we say of `name`: it holds
    /// no records, and takes no name from the loopback address.
    pub fn may_be_denied(self, name: &Name, answer: &Answer) -> bool {
        self != Self::Localhost && answer.answers.is_empty() && !leads_to_loopback(name)
    }

    /// The answer for `name`, which is in this zone.
    pub fn answer(self, name: &Name, record_type: RecordType) -> Answer {
        let apex = self.apex();
        let is_apex = *name == apex;
        let data: Vec<RData> = match (self, record_type) {
            (Self::Localhost, RecordType::A) => vec![RData::A(A(Ipv4Addr::LOCALHOST))],
            (Self::Localhost, RecordType::AAAA) => vec![RData::AAAA(AAAA(Ipv6Addr::LOCALHOST))],
            (Self::Empty(_), RecordType::PTR) if names_loopback(name) => {
                Name::from_ascii("localhost.").map(|host| RData::PTR(PTR(host))).into_iter().collect()
            }
            (Self::Empty(_) | Self::EmptyNumbered(..), RecordType::SOA) if is_apex => {
                vec![soa(&apex, 1, TTL).data]
            }
            _ => Vec::new(),
        };
        let exists = match self {
            Self::Localhost => true,
            Self::Absent(_) => false,
            Self::Empty(_) | Self::EmptyNumbered(..) => is_apex || leads_to_loopback(name),
        };
        let mut answer = Answer::empty(if exists { ResponseCode::NoError } else { ResponseCode::NXDomain });
        answer.answers = data.into_iter().map(|data| Record::from_rdata(name.clone(), TTL, data)).collect();
        if answer.answers.is_empty() {
            answer.authorities = vec![soa(&apex, 1, TTL)];
        }
        answer
    }

    /// Its name.
    pub fn apex(self) -> Name {
        let text = match self {
            Self::Localhost => "localhost.".to_string(),
            Self::Absent(zone) | Self::Empty(zone) => zone.to_string(),
            Self::EmptyNumbered(number, zone) => format!("{number}.{zone}"),
        };
        // Every text above is a name, as the tests show.
        Name::from_ascii(text).unwrap_or_else(|_| Name::root())
    }
}

/// Whether this is the reverse name of 127.0.0.1 or ::1.
fn names_loopback(name: &Name) -> bool {
    LOOPBACK.contains(&name.to_ascii().as_str())
}

/// Whether the name of a loopback address is this or below it: then it exists, with or without records (RFC 8020).
fn leads_to_loopback(name: &Name) -> bool {
    LOOPBACK.into_iter().filter_map(|text| Name::from_ascii(text).ok()).any(|host| name.zone_of(&host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ask(name: &str, record_type: RecordType) -> Option<Answer> {
        let name = Name::from_ascii(name).unwrap();
        Some(SpecialZone::of(&name)?.answer(&name, record_type))
    }

    #[test]
    fn reserved_names_are_answered_and_others_are_not() {
        for (name, code, answers) in [
            ("localhost.", ResponseCode::NoError, 1),
            ("www.localhost.", ResponseCode::NoError, 1),
            ("test.", ResponseCode::NXDomain, 0),
            ("www.test.", ResponseCode::NXDomain, 0),
            ("printer.local.", ResponseCode::NXDomain, 0),
            ("hidden.onion.", ResponseCode::NXDomain, 0),
            ("home.arpa.", ResponseCode::NoError, 0),
            ("nas.home.arpa.", ResponseCode::NXDomain, 0),
            ("_dns.resolver.arpa.", ResponseCode::NXDomain, 0),
            ("1.1.168.192.in-addr.arpa.", ResponseCode::NXDomain, 0),
            ("16.172.in-addr.arpa.", ResponseCode::NoError, 0),
            ("9.9.31.172.in-addr.arpa.", ResponseCode::NXDomain, 0),
            ("9.9.64.100.in-addr.arpa.", ResponseCode::NXDomain, 0),
        ] {
            let answer = ask(name, RecordType::A).unwrap_or_else(|| panic!("{name} is forwarded"));
            assert_eq!((answer.code, answer.answers.len()), (code, answers), "{name}");
            let negative = answer.answers.is_empty();
            assert_eq!(answer.authorities.len(), usize::from(negative), "{name}");
        }
        for name in [
            "example.com.",
            "nottest.",
            "test.example.",
            "1.15.172.in-addr.arpa.",
            "1.32.172.in-addr.arpa.",
            "1.128.100.in-addr.arpa.",
            "8.8.8.8.in-addr.arpa.",
            // By which a host behind NAT64 learns its prefix, from the resolver that makes it (RFC 8880 section 7.1).
            "ipv4only.arpa.",
            "arpa.",
            ".",
        ] {
            assert!(ask(name, RecordType::A).is_none(), "{name}");
        }
    }

    #[test]
    fn the_loopback_address_has_a_name() {
        let answer = ask("1.0.0.127.in-addr.arpa.", RecordType::PTR).unwrap();
        assert_eq!(answer.answers.len(), 1);
        for (name, code) in [
            ("1.0.0.127.in-addr.arpa.", ResponseCode::NoError),
            ("0.0.127.in-addr.arpa.", ResponseCode::NoError),
            ("0.127.in-addr.arpa.", ResponseCode::NoError),
            ("1.127.in-addr.arpa.", ResponseCode::NXDomain),
            ("1.1.0.0.127.in-addr.arpa.", ResponseCode::NXDomain),
        ] {
            let answer = ask(name, RecordType::A).unwrap();
            assert_eq!((answer.code, answer.authorities.len()), (code, 1), "{name}");
        }
    }

    #[test]
    fn every_zone_of_the_table_is_a_name() {
        for zone in ABSENT.map(SpecialZone::Absent).into_iter().chain(EMPTY.map(SpecialZone::Empty)) {
            assert!(!zone.apex().is_root(), "{zone:?}");
            assert_eq!(SpecialZone::of(&zone.apex()), Some(zone));
        }
    }
}
