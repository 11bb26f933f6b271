//! The records of a site beside those of its zone. Pure.

use std::collections::BTreeSet;

use bytes::Bytes;
use domain::base::{Name, Record, iana::Rtype};
use pkdns::signed_packet::PublicKey;

use crate::{keeper::Besides, zone_file::ZoneRecord};

/// What a zone of `key` has to hold besides its `records`, so that the site is found. The names of the same machine are the site's as
/// well: those that have the same addresses as the key itself.
///
/// A zone stays as its owner has written it: where it has a record of that name and type, or an alias of that name, this counts.
pub(super) fn of(records: &[ZoneRecord], key: &PublicKey, besides: Besides<'_>) -> Vec<ZoneRecord> {
    let apex = key.to_z32();
    let names = if besides.everywhere { names_of_machine(records, &apex) } else { vec![apex.clone()] };
    let mut added = Vec::new();
    for name in names {
        for record in besides.site {
            let Some(record) = moved(record, &apex, &name) else { continue };
            let is_there = records.iter().any(|other| {
                other.owner() == record.owner() && [record.rtype(), Rtype::CNAME].contains(&other.rtype())
            });
            if !is_there {
                added.push(record);
            }
        }
    }
    added
}

/// The key itself first.
fn names_of_machine(records: &[ZoneRecord], apex: &str) -> Vec<String> {
    let addresses = |name: &str| -> BTreeSet<String> {
        let here = records.iter().filter(|record| is_address(record) && record.owner().to_string() == name);
        here.map(|record| record.data().to_string()).collect()
    };
    let own = addresses(apex);
    let mut names = vec![apex.to_string()];
    for record in records.iter().filter(|record| is_address(record)) {
        let name = record.owner().to_string();
        // Below a wildcard there is no name that a record could stand at.
        if !name.starts_with("*.") && !names.contains(&name) && addresses(&name) == own {
            names.push(name);
        }
    }
    names
}

fn is_address(record: &ZoneRecord) -> bool {
    matches!(record.rtype(), Rtype::A | Rtype::AAAA)
}

/// A record at or below `apex`, at or below `name` instead. `None` where that is too long for a name.
fn moved(record: &ZoneRecord, apex: &str, name: &str) -> Option<ZoneRecord> {
    let owner = record.owner().to_string();
    let owner: Name<Bytes> = format!("{}{name}", owner.strip_suffix(apex)?).parse().ok()?;
    Some(Record::new(owner, record.class(), record.ttl(), record.data().clone()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        packet, records,
        secret_key::SecretKey,
        zone_file::{self, ExternalAddresses},
    };

    const SITE: &str = "_443._tcp 300 TLSA 3 1 1 00\n@ 300 HTTPS 1 . alpn=h2\n";

    /// What is added to a zone, as `owner type`.
    fn added(zone: &str, everywhere: bool) -> Vec<String> {
        let key = SecretKey::from_seed(&[0; 32]).public_key();
        let records = |text: &str| {
            let file = zone_file::from_bytes(text.as_bytes()).unwrap();
            file.records(&key, &ExternalAddresses::default()).unwrap()
        };
        let site = records(SITE);
        let added = of(&records(zone), &key, Besides { site: &site, everywhere, extras: &[] });
        let dns = packet::compose(&added, &key).unwrap();
        let added = records::read(&dns, &key);
        added.iter().map(|record| format!("{} {}", record.owner, record.record_type)).collect()
    }

    #[test]
    fn the_names_of_the_same_machine_are_found_as_well() {
        let zone = "@ A 192.0.2.1\n@ AAAA 2001:db8::1\nwww A 192.0.2.1\nwww AAAA 2001:db8::1\nnas A 192.0.2.1\n\
                    ssh A 192.0.2.2\n* A 192.0.2.1\n* AAAA 2001:db8::1\na.b CNAME @\n";
        let expected = ["_443._tcp TLSA", "@ HTTPS", "_443._tcp.www TLSA", "www HTTPS"];
        assert_eq!(added(zone, true), expected);
        assert_eq!(added(zone, false), expected[..2]);
        assert_eq!(added("@ TXT none\nwww A 192.0.2.1\n", true), expected[..2]);
    }

    #[test]
    fn what_the_zone_says_itself_counts() {
        assert_eq!(added("@ A 192.0.2.1\n_443._tcp TLSA 3 0 1 11\n", true), ["@ HTTPS"]);
        assert_eq!(added("@ HTTPS 0 example.com.\n", true), ["_443._tcp TLSA"]);
        assert_eq!(added("@ CNAME example.com.\n_443._tcp CNAME a\n", true), [""; 0]);
    }
}
