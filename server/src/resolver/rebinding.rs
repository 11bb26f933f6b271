//! Optional protection against DNS rebinding: addresses of the own network removed from answers that come from outside.

use std::net::IpAddr;

use hickory_proto::rr::{Name, Record, RecordType};

use crate::{config, message::addresses};

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

/// Whether an address means nothing on the public Internet: of this host, of a private network, or of none.
pub(super) fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_multicast()
                || a == 0
                || a >= 240
                || (a == 100 && (64..128).contains(&b))
                || (a == 192 && b == 0 && c == 0)
                || (a == 198 && (18..20).contains(&b))
        }
        IpAddr::V6(v6) => {
            let [a, b, c, _, _, _, high, low] = v6.segments();
            let embedded = |high: u16, low: u16| {
                let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
                is_private(IpAddr::from([a, b, c, d]))
            };
            match v6.to_ipv4_mapped() {
                Some(v4) => is_private(IpAddr::V4(v4)),
                // NAT64 (RFC 6052) and 6to4 (RFC 3056) carry an IPv4 address.
                None if v6.segments()[..6] == [0x64, 0xff9b, 0, 0, 0, 0] => embedded(high, low),
                None if a == 0x2002 => embedded(b, c),
                None => {
                    v6.is_unspecified()
                        || v6.is_loopback()
                        || v6.is_multicast()
                        || a & 0xfe00 == 0xfc00
                        || a & 0xffc0 == 0xfe80
                        || (a, b, c) == (0x64, 0xff9b, 1)
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::{RData, rdata::A};

    use super::*;

    #[test]
    fn addresses_of_inner_networks_are_private_in_every_disguise() {
        for private in [
            "127.0.0.1",
            "10.1.2.3",
            "172.31.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "198.19.0.1",
            "::",
            "::1",
            "fd00::1",
            "fe80::1",
            "ff02::1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "64:ff9b:1::1",
            "2002:a00:1::1",
        ] {
            assert!(is_private(private.parse().unwrap()), "{private}");
        }
        for public in ["8.8.8.8", "172.32.0.1", "100.128.0.1", "2001:4860::1", "2002:808:808::1"] {
            assert!(!is_private(public.parse().unwrap()), "{public}");
        }
    }

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
