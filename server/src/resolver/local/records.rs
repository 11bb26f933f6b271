//! The records that this server itself knows, by name: from the configuration and from hosts files. Pure.

use std::{
    collections::{HashMap, HashSet},
    net::IpAddr,
};

use ahash::RandomState;
use hickory_proto::rr::{
    Name, RData, Record, RecordType,
    rdata::{A, AAAA, PTR},
};

use super::hosts_file::Host;
use crate::base::{
    config::LOCAL_TTL,
    message::{absolute_name, address},
};

/// All local records. Replaced as a whole when a file changes.
#[derive(Debug, Default)]
pub(super) struct LocalRecords {
    names: HashMap<Name, Vec<Record>, RandomState>,
    /// Names that others are below: they exist, whoever else denies it (RFC 8020).
    above: HashSet<Name, RandomState>,
    has_wildcards: bool,
}

/// What the records say to a question.
#[derive(Debug, PartialEq)]
pub(super) enum Local {
    /// The RRset.
    Records(Vec<Record>),
    /// A CNAME record, and where it points.
    Alias(Box<Record>, Name),
    /// The name is known here, without such a record. Nobody else is asked: that would tell them of it.
    NoData,
}

impl LocalRecords {
    /// `records` of the configuration, which are sound, and after them what hosts files say. A name that has a CNAME gets
    /// nothing from these. Each address gets a PTR record with the first name that it has, unless there is one.
    pub(super) fn new<'a>(records: &[Record], hosts: impl Iterator<Item = &'a Host> + Clone) -> Self {
        let mut local = Self::default();
        for record in records {
            local.has_wildcards |= record.name.is_wildcard();
            local.add(record.clone());
        }
        for Host { address, names } in hosts.clone() {
            for name in names {
                let has_alias = |records: &Vec<Record>| records.iter().any(is_alias);
                if !local.names.get(name).is_some_and(has_alias) {
                    let data = match *address {
                        IpAddr::V4(address) => RData::A(A(address)),
                        IpAddr::V6(address) => RData::AAAA(AAAA(address)),
                    };
                    local.add(Record::from_rdata(name.clone(), LOCAL_TTL, data));
                }
            }
        }
        let named = records.iter().filter(|record| !record.name.is_wildcard());
        let named = named.filter_map(|record| Some((address(&record.data)?, &record.name, record.ttl)));
        let hosts = hosts.filter_map(|host| Some((host.address, host.names.first()?, LOCAL_TTL)));
        for (address, name, ttl) in named.chain(hosts) {
            local.point_back(address, name, ttl);
        }
        let mut above = HashSet::default();
        for name in local.names.keys() {
            let mut name = name.base_name();
            while !name.is_root() && above.insert(name.clone()) {
                name = name.base_name();
            }
        }
        local.above = above;
        local
    }

    /// What is said of `name`, whatever its case; `None` where nothing is.
    pub(super) fn look_up(&self, name: &Name, record_type: RecordType) -> Option<Local> {
        let records = match self.names.get(name) {
            Some(records) => records,
            None if self.has_wildcards => self.wildcard(name)?,
            None => return None,
        };
        let at_name = |record: &Record| Record::from_rdata(name.clone(), record.ttl, record.data.clone());
        let set = records.iter().filter(|record| record.record_type() == record_type);
        let mut set: Vec<Record> = set.map(at_name).collect();
        // RFC 2181 section 5.2: TTLs that differ within a set count as the lowest.
        if let Some(ttl) = set.iter().map(|record| record.ttl).min() {
            set.iter_mut().for_each(|record| record.ttl = ttl);
            return Some(Local::Records(set));
        }
        let alias = records.iter().find_map(|record| match &record.data {
            RData::CNAME(target) => Some(Local::Alias(Box::new(at_name(record)), target.0.to_lowercase())),
            _ => None,
        });
        Some(alias.unwrap_or(Local::NoData))
    }

    /// Whether there are records of the name itself, without regard to wildcards.
    pub(super) fn has(&self, name: &Name) -> bool {
        self.names.contains_key(name)
    }

    /// Whether there are records of names below.
    pub(super) fn is_above(&self, name: &Name) -> bool {
        self.above.contains(name)
    }

    /// Names of which `other` says something else.
    pub(super) fn changes<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a Name> {
        let names = self.names.keys().chain(other.names.keys());
        let changed = names.filter(|name| self.names.get(*name) != other.names.get(*name));
        changed.chain(self.above.symmetric_difference(&other.above))
    }

    /// RFC 4592 section 3.3.1: the wildcard of the closest encloser, and of no other.
    fn wildcard(&self, name: &Name) -> Option<&Vec<Record>> {
        if self.is_above(name) {
            return None;
        }
        let mut encloser = name.clone();
        while !encloser.is_root() {
            encloser = encloser.base_name();
            if encloser.is_root() || self.is_above(&encloser) || self.has(&encloser) {
                return self.names.get(&encloser.prepend_label("*").ok()?);
            }
        }
        None
    }

    fn add(&mut self, record: Record) {
        let records = self.names.entry(record.name.clone()).or_insert_with(one);
        if !records.iter().any(|other| other.data == record.data) {
            records.push(record);
        }
    }

    fn point_back(&mut self, address: IpAddr, name: &Name, ttl: u32) {
        if address.is_loopback() || address.is_unspecified() {
            return;
        }
        // Of both kinds hickory makes complete names.
        let Some(owner) = absolute_name(&Name::from(address).to_ascii()) else { return };
        let records = self.names.entry(owner.clone()).or_insert_with(one);
        let is_settled =
            |record: &Record| matches!(record.record_type(), RecordType::PTR | RecordType::CNAME);
        if !records.iter().any(is_settled) {
            records.push(Record::from_rdata(owner, ttl, RData::PTR(PTR(name.clone()))));
        }
    }
}

/// Room for as many records as most names have: there may be thousands of names.
fn one() -> Vec<Record> {
    Vec::with_capacity(1)
}

fn is_alias(record: &Record) -> bool {
    record.record_type() == RecordType::CNAME
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::config::read_local_record;

    fn name(text: &str) -> Name {
        absolute_name(text).unwrap()
    }

    fn host(address: &str, names: &[&str]) -> Host {
        Host { address: address.parse().unwrap(), names: names.iter().map(|text| name(text)).collect() }
    }

    fn local(records: &[&str], hosts: &[Host]) -> LocalRecords {
        let records: Vec<_> = records.iter().map(|text| read_local_record(text).unwrap()).collect();
        LocalRecords::new(&records, hosts.iter())
    }

    /// The data of an answer; an alias with an arrow; nothing for NODATA.
    fn ask(local: &LocalRecords, asked: &str, record_type: RecordType) -> Option<Vec<String>> {
        Some(match local.look_up(&name(asked), record_type)? {
            Local::Records(records) => {
                assert!(records.iter().all(|record| record.name == name(asked)));
                records.iter().map(|record| format!("{} {}", record.ttl, record.data)).collect()
            }
            Local::Alias(record, target) => vec![format!("{} -> {target}", record.ttl)],
            Local::NoData => Vec::new(),
        })
    }

    #[test]
    fn addresses_of_both_sources_are_one_set_and_have_a_name_each() {
        let hosts = [
            host("192.168.1.9", &["nas.lan", "nas"]),
            host("192.168.1.9", &["files.lan"]),
            host("fd00::9", &["nas.lan"]),
            host("192.168.1.8", &["alias.lan"]),
            host("0.0.0.0", &["ads.example"]),
        ];
        let records = ["nas.lan 5 A 192.168.1.10", "nas.lan A 192.168.1.9", "alias.lan CNAME nas.lan"];
        let local = local(&records, &hosts);
        let a = RecordType::A;
        assert_eq!(ask(&local, "NAS.lan", a).unwrap(), ["5 192.168.1.10", "5 192.168.1.9"]);
        assert_eq!(ask(&local, "nas.lan", RecordType::AAAA).unwrap(), ["60 fd00::9"]);
        assert_eq!(ask(&local, "nas", a).unwrap(), ["60 192.168.1.9"]);
        assert_eq!(ask(&local, "nas", RecordType::AAAA).unwrap(), [""; 0]);
        assert_eq!(ask(&local, "alias.lan", a).unwrap(), ["60 -> nas.lan."]);
        assert_eq!(ask(&local, "ads.example", a).unwrap(), ["60 0.0.0.0"]);
        assert_eq!(ask(&local, "www.nas.lan", a), None);
        for (address, expected) in [
            ("9.1.168.192.in-addr.arpa", Some("60 nas.lan.")),
            ("10.1.168.192.in-addr.arpa", Some("5 nas.lan.")),
            ("8.1.168.192.in-addr.arpa", Some("60 alias.lan.")),
            ("9.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.d.f.ip6.arpa", Some("60 nas.lan.")),
            ("0.0.0.0.in-addr.arpa", None),
        ] {
            let expected = expected.map(|text| vec![text.to_owned()]);
            assert_eq!(ask(&local, address, RecordType::PTR), expected, "{address}");
        }
        for (above, is_above) in [("lan", true), ("168.192.in-addr.arpa", true), ("nas.lan", false)] {
            assert_eq!(local.is_above(&name(above)), is_above, "{above}");
        }
    }

    #[test]
    fn a_name_of_an_address_that_is_written_counts_more_than_one_that_is_made() {
        let local = local(&["9.1.168.192.in-addr.arpa PTR x.lan", "nas.lan A 192.168.1.9"], &[]);
        assert_eq!(ask(&local, "9.1.168.192.in-addr.arpa", RecordType::PTR).unwrap(), ["60 x.lan."]);
    }

    #[test]
    fn a_wildcard_covers_what_has_no_closer_name() {
        let local = local(
            &["*.lan A 192.168.1.1", "nas.lan A 192.168.1.9", "a.b.lan TXT x", "*.c.lan CNAME nas.lan"],
            &[],
        );
        let a = RecordType::A;
        for (asked, expected) in [
            ("any.lan", Some("60 192.168.1.1")),
            ("x.any.lan", Some("60 192.168.1.1")),
            ("nas.lan", Some("60 192.168.1.9")),
            ("www.nas.lan", None),
            ("b.lan", None),
            ("x.b.lan", None),
            ("lan", None),
            ("x.c.lan", Some("60 -> nas.lan.")),
            ("c.lan", None),
            ("example.com", None),
        ] {
            let expected = expected.map(|text| vec![text.to_owned()]);
            assert_eq!(ask(&local, asked, a), expected, "{asked}");
        }
        assert_eq!(ask(&local, "any.lan", RecordType::MX), Some(Vec::new()));
        assert_eq!(ask(&local, "1.1.168.192.in-addr.arpa", RecordType::PTR), None, "a wildcard is no name");
    }

    #[test]
    fn a_wildcard_of_the_root_covers_everything_but_what_is_known() {
        let local = local(&["* 5 TXT everything", "nas.lan A 192.168.1.9"], &[]);
        assert_eq!(ask(&local, "example.org", RecordType::TXT).unwrap().len(), 1);
        assert_eq!(ask(&local, "desk.lan", RecordType::TXT), None);
        assert_eq!(ask(&local, ".", RecordType::TXT), None);
    }

    #[test]
    fn what_has_changed_is_known() {
        let (before, after) = (
            local(&[], &[host("192.168.1.9", &["nas.lan"]), host("192.168.1.8", &["desk.lan"])]),
            local(&[], &[host("192.168.1.9", &["nas.lan"]), host("192.168.1.7", &["desk.lan", "a.new.lan"])]),
        );
        let mut changed: Vec<_> = before.changes(&after).map(Name::to_ascii).collect();
        changed.sort();
        changed.dedup();
        let expected =
            ["7.1.168.192.in-addr.arpa.", "8.1.168.192.in-addr.arpa.", "a.new.lan.", "desk.lan.", "new.lan."];
        assert_eq!(changed, expected);
        assert_eq!(before.changes(&before).count(), 0);
    }
}
