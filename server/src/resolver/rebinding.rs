//! Optional protection against DNS rebinding: addresses of the own network removed from answers that come from outside.

use hickory_proto::rr::{Name, Record, RecordType};

use crate::{access::is_private, config, message::addresses};

/// Which answers are filtered, and which names never.
#[derive(Debug)]
pub(super) struct RebindProtection {
    icann: bool,
    keys: bool,
    exempt: Vec<Name>,
}

impl RebindProtection {
    pub(super) fn new(settings: &config::RebindProtection) -> Self {
        let names = settings.exempt.iter().filter_map(|name| Name::from_ascii(name).ok());
        let exempt = names.map(|mut name| {
            name.set_fqdn(true);
            name.to_lowercase()
        });
        Self { icann: settings.icann, keys: settings.keys, exempt: exempt.collect() }
    }

    /// `records` without private addresses, unless `name` is exempt.
    pub(super) fn filter_icann(&self, name: &Name, records: Vec<Record>) -> Vec<Record> {
        let is_exempt = self.exempt.iter().any(|exempt| exempt.zone_of(name));
        if self.icann && !is_exempt { without_private(records) } else { records }
    }

    /// `records` of a key without private addresses.
    pub(super) fn filter_key(&self, records: Vec<Record>) -> Vec<Record> {
        if self.keys { without_private(records) } else { records }
    }
}

fn without_private(records: Vec<Record>) -> Vec<Record> {
    let is_inner = |record: &Record| addresses(&record.data).into_iter().any(is_private);
    let (inner, mut outer): (Vec<_>, Vec<_>) = records.into_iter().partition(is_inner);
    // What is left of a set no longer fits its signature.
    let is_broken = |record: &Record| {
        record.record_type() == RecordType::RRSIG && inner.iter().any(|inner| inner.name == record.name)
    };
    outer.retain(|record| !is_broken(record));
    outer
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::{RData, rdata::A};

    use super::*;

    #[test]
    fn private_addresses_are_filtered_where_that_is_asked_for() {
        let settings =
            config::RebindProtection { icann: true, keys: false, exempt: vec!["plex.direct".into()] };
        let filter = RebindProtection::new(&settings);
        let record = |text: &str| {
            let name = Name::from_ascii("a.example.com.").unwrap();
            Record::from_rdata(name, 60, RData::A(A(text.parse().unwrap())))
        };
        let records = vec![record("192.168.1.1"), record("192.0.2.1")];
        let name = |text| Name::from_ascii(text).unwrap();
        assert_eq!(filter.filter_icann(&name("a.example.com."), records.clone()).len(), 1);
        assert_eq!(filter.filter_icann(&name("a.plex.direct."), records.clone()).len(), 2);
        assert_eq!(filter.filter_key(records).len(), 2);
    }
}
