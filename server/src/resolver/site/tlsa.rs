//! TLSA records (RFC 6698): where they stand, and which of them can be used. Pure.

use hickory_proto::rr::{
    Name, RData, Record,
    rdata::tlsa::{self, CertUsage},
};

use super::{Matching, Selector, Tlsa};

/// Records of one name that count. More than two sets of keys, the one in use and the next, have no purpose.
const MAX_RECORDS: usize = 8;

/// Where the records of a service over TCP stand (RFC 6698 section 3). `None` where that is too long for a name.
pub(super) fn owner(name: &Name, port: u16) -> Option<Name> {
    let port = format!("_{port}");
    Name::from_labels([port.as_bytes(), b"_tcp"].into_iter().chain(name.iter())).ok()
}

/// Those of which we know what they mean: usage 3, DANE-EE, with data as long as it has to be.
pub(super) fn usable(set: &[Record]) -> Vec<Tlsa> {
    set.iter().filter_map(|record| read(&record.data)).take(MAX_RECORDS).collect()
}

fn read(data: &RData) -> Option<Tlsa> {
    let RData::TLSA(tlsa) = data else { return None };
    if tlsa.cert_usage != CertUsage::DaneEe {
        return None;
    }
    let selector = match tlsa.selector {
        tlsa::Selector::Full => Selector::Certificate,
        tlsa::Selector::Spki => Selector::PublicKey,
        _ => return None,
    };
    let size = tlsa.cert_data.len();
    let (matching, is_sound) = match tlsa.matching {
        tlsa::Matching::Raw => (Matching::Exact, size > 0),
        tlsa::Matching::Sha256 => (Matching::Sha256, size == 32),
        tlsa::Matching::Sha512 => (Matching::Sha512, size == 64),
        _ => return None,
    };
    is_sound.then(|| Tlsa { selector, matching, data: tlsa.cert_data.clone() })
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::rdata::TLSA;

    use super::*;

    fn record(usage: u8, selector: u8, matching: u8, size: usize) -> Record {
        let data = TLSA::new(usage.into(), selector.into(), matching.into(), vec![7; size]);
        Record::from_rdata(Name::root(), 60, RData::TLSA(data))
    }

    #[test]
    fn only_what_is_about_the_certificate_of_the_site_itself_counts() {
        for (usage, selector, matching, size, expected) in [
            (3, 1, 1, 32, Some((Selector::PublicKey, Matching::Sha256))),
            (3, 0, 1, 32, Some((Selector::Certificate, Matching::Sha256))),
            (3, 1, 2, 64, Some((Selector::PublicKey, Matching::Sha512))),
            (3, 0, 0, 300, Some((Selector::Certificate, Matching::Exact))),
            (3, 1, 1, 31, None),
            (3, 1, 2, 32, None),
            (3, 1, 0, 0, None),
            (3, 2, 1, 32, None),
            (3, 1, 3, 32, None),
            (0, 1, 1, 32, None),
            (1, 1, 1, 32, None),
            (2, 1, 1, 32, None),
            (255, 1, 1, 32, None),
        ] {
            let found = usable(&[record(usage, selector, matching, size)]);
            let found = found.first().map(|tlsa| (tlsa.selector, tlsa.matching));
            assert_eq!(found, expected, "{usage} {selector} {matching}");
        }
        let many: Vec<Record> = (0..20).map(|_| record(3, 1, 1, 32)).collect();
        assert_eq!(usable(&many).len(), 8);
    }

    #[test]
    fn records_stand_below_port_and_protocol_if_there_is_room() {
        let name = Name::from_ascii("www.example.").unwrap();
        assert_eq!(owner(&name, 8443), Some(Name::from_ascii("_8443._tcp.www.example.").unwrap()));
        let long = Name::from_ascii(format!("{0}.{0}.{0}.{1}.", "a".repeat(63), "b".repeat(55))).unwrap();
        assert_eq!(owner(&long, 443), None);
    }
}
