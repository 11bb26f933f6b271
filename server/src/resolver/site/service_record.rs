//! HTTPS records (RFC 9460): which of them can be used, and in which order. Pure.

use std::net::IpAddr;

use hickory_proto::rr::{
    Name, RData, Record,
    rdata::{
        SVCB,
        svcb::{SvcParamKey, SvcParamValue},
    },
};

use crate::base::message::addresses;

/// Records of one name that are tried. One at home and one elsewhere are two; a packet has room for thirty.
const MAX_RECORDS: usize = 8;

/// What the site has to speak behind TLS, as the bridge passes on nothing else.
const PROTOCOLS: [&str; 2] = ["h2", "http/1.1"];

/// Ports of other protocols, to which browsers open no connection either (the Fetch standard, section "port blocking"): whoever
/// has a key could otherwise make this server talk to a mail server in their name.
const FOREIGN_PORTS: [u16; 83] = [
    0, 1, 7, 9, 11, 13, 15, 17, 19, 20, 21, 22, 23, 25, 37, 42, 43, 53, 69, 77, 79, 87, 95, 101, 102, 103,
    104, 109, 110, 111, 113, 115, 117, 119, 123, 135, 137, 139, 143, 161, 179, 389, 427, 465, 512, 513, 514,
    515, 526, 530, 531, 532, 540, 548, 554, 556, 563, 587, 601, 636, 989, 990, 993, 995, 1719, 1720, 1723,
    2049, 3659, 4045, 4190, 5060, 5061, 6000, 6566, 6665, 6666, 6667, 6668, 6669, 6679, 6697, 10080,
];

/// What one record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ServiceRecord {
    priority: u16,
    /// Where the service is; `None` is the name at which the record stands.
    pub(super) target: Option<Name>,
    /// The port, where it names one.
    pub(super) port: Option<u16>,
    /// Its addresses, for where the target has none.
    pub(super) hints: Vec<IpAddr>,
}

impl ServiceRecord {
    /// Whether it leads to the records of its target, instead of saying where the service is (RFC 9460 section 2.4.2).
    pub(super) fn is_alias(&self) -> bool {
        self.priority == 0
    }
}

/// The records of a set that can be used, in the order in which to try them. With an alias among them, the aliases alone
/// count (RFC 9460 section 2.4.1).
pub(super) fn usable(set: &[Record]) -> Vec<ServiceRecord> {
    let of_record = |record: &Record| match &record.data {
        RData::HTTPS(https) => read(&https.0, addresses(&record.data)),
        _ => None,
    };
    let is_alias =
        |record: &&Record| matches!(&record.data, RData::HTTPS(https) if https.0.svc_priority == 0);
    let mut records: Vec<_> = match set.iter().any(|record| is_alias(&record)) {
        true => set.iter().filter(is_alias).filter_map(of_record).collect(),
        false => set.iter().filter_map(of_record).collect(),
    };
    records.sort_by_key(|record| record.priority);
    records.truncate(MAX_RECORDS);
    records
}

/// `None` for a record that asks for something unknown here.
fn read(record: &SVCB, hints: Vec<IpAddr>) -> Option<ServiceRecord> {
    let target = (!record.target_name.is_root()).then(|| record.target_name.to_lowercase());
    let priority = record.svc_priority;
    if priority == 0 {
        // There is no service where the target is the root (RFC 9460 section 2.5.1). Parameters mean nothing here.
        return target.map(|target| ServiceRecord {
            priority,
            target: Some(target),
            port: None,
            hints: Vec::new(),
        });
    }
    let (mut port, mut has_default, mut speaks) = (None, true, false);
    for (_, value) in &record.svc_params {
        match value {
            SvcParamValue::Mandatory(keys) if !keys.0.iter().all(is_known) => return None,
            SvcParamValue::Port(number) if FOREIGN_PORTS.contains(number) => return None,
            SvcParamValue::Port(number) => port = Some(*number),
            SvcParamValue::NoDefaultAlpn => has_default = false,
            SvcParamValue::Alpn(alpn) => speaks = alpn.0.iter().any(|it| PROTOCOLS.contains(&it.as_str())),
            _ => {}
        }
    }
    (has_default || speaks).then_some(ServiceRecord { priority, target, port, hints })
}

/// Whether we go by a parameter. A record that demands another one is not for us (RFC 9460 section 8).
fn is_known(key: &SvcParamKey) -> bool {
    matches!(
        key,
        SvcParamKey::Mandatory
            | SvcParamKey::Alpn
            | SvcParamKey::NoDefaultAlpn
            | SvcParamKey::Port
            | SvcParamKey::Ipv4Hint
            | SvcParamKey::Ipv6Hint
    )
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::RecordType;

    use super::*;

    fn tried(set: &[&str]) -> Vec<(u16, String, Option<u16>)> {
        let record = |text: &&str| {
            Record::from_rdata(Name::root(), 60, RData::try_from_str(RecordType::HTTPS, text).unwrap())
        };
        let set: Vec<Record> = set.iter().map(record).collect();
        let show = |it: ServiceRecord| {
            (it.priority, it.target.map(|name| name.to_ascii()).unwrap_or_default(), it.port)
        };
        usable(&set).into_iter().map(show).collect()
    }

    #[test]
    fn records_are_tried_by_priority_and_aliases_count_alone() {
        let (here, there) = (String::new(), "there.".to_string());
        assert_eq!(
            tried(&["10 there.", "1 . port=6287"]),
            [(1, here.clone(), Some(6287)), (10, there.clone(), None)]
        );
        assert_eq!(tried(&["1 .", "0 THERE."]), [(0, there, None)]);
        assert_eq!(tried(&["1 .", "0 ."]), []);
        let many: Vec<String> = (1..=30).rev().map(|priority| format!("{priority} .")).collect();
        let many: Vec<&str> = many.iter().map(String::as_str).collect();
        assert_eq!(tried(&many).iter().map(|it| it.0).collect::<Vec<_>>(), [1, 2, 3, 4, 5, 6, 7, 8]);
    }

    #[test]
    fn a_record_that_asks_for_what_is_unknown_here_is_left_out() {
        for (record, is_usable) in [
            ("1 . mandatory=alpn,port alpn=h2 port=8443", true),
            ("1 . mandatory=key65280 key65280=a", false),
            ("1 . key65280=a", true),
            ("1 . mandatory=ech ech=AAAA", false),
            ("1 . port=0", false),
            ("1 . port=25", false),
            ("1 . port=8443", true),
            ("1 . alpn=h3", true),
            ("1 . alpn=h3 no-default-alpn", false),
            ("1 . alpn=h3,h2 no-default-alpn", true),
        ] {
            assert_eq!(tried(&[record]).len(), usize::from(is_usable), "{record}");
        }
    }
}
