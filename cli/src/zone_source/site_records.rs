//! The records of a site beside those of its zone. Pure.

use std::collections::BTreeSet;

use bytes::Bytes;
use domain::{
    base::{Name, Record, iana::Rtype, rdata::ComposeRecordData},
    rdata::ZoneRecordData,
};
use pkdns::edge::bridge::ED25519_PREFIX;
use pkdns_dht::signed_packet::PublicKey;
use sha2::{Digest, Sha256};

use crate::{keeper::Besides, zone_file::ZoneRecord};

/// Where the service is that an HTTPS record without a port tells of, and the number of that parameter.
const HTTPS_PORT: u16 = 443;
const PORT_PARAMETER: u16 = 3;

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

/// Records of the zone by which visitors do not come to the site, or by which bridges refuse it, in sentences.
pub(super) fn contradictions(records: &[ZoneRecord], key: &PublicKey, site: &[ZoneRecord]) -> Vec<String> {
    let apex = key.to_z32();
    let own_key = Sha256::digest([&ED25519_PREFIX[..], key.as_bytes()].concat());
    let mut found = Vec::new();
    for name in names_of_machine(records, &apex) {
        let ours = |rtype| {
            let record = site.iter().find(|record| record.rtype() == rtype);
            record.and_then(|record| moved(record, &apex, &name))
        };
        // Without a TLSA record there is no site.
        let Some(ours_of_key) = ours(Rtype::TLSA) else { continue };
        let (Some(shown), Some(port)) = (tlsa(&ours_of_key), port(&ours_of_key)) else { continue };
        let at = name.strip_suffix(&format!(".{apex}")).unwrap_or("@");
        let services: Vec<_> = records
            .iter()
            .filter(|record| record.rtype() == Rtype::HTTPS && record.owner().to_string() == name)
            .collect();
        let is_led_here = services.iter().any(|service| leads_to(service, port));
        if !services.is_empty() && !is_led_here {
            found.push(format!(
                "the HTTPS record of {at} does not lead to port {port} of that name, where its site is served: take it out, and \
                 https_record = true adds the right one"
            ));
        }
        // A record of HTTPS that leads to the name itself says that the key ends TLS there.
        let is_by_key = is_led_here || services.is_empty() && ours(Rtype::HTTPS).is_some();
        let is_enough = is_by_key && shown == (3, 1, 1, &own_key[..]);
        // Whether one of another form is about this key cannot be told here.
        let may_match = |record @ (usage, selector, matching, _)| {
            record == shown || usage == 3 && (selector, matching) != (1, 1)
        };
        let here = records.iter().filter(|record| record.owner() == ours_of_key.owner());
        let written: Vec<_> = here.filter_map(tlsa).collect();
        if !is_enough && !written.is_empty() && !written.into_iter().any(may_match) {
            found.push(format!(
                "the TLSA record of {} names another key than the one that ends TLS here, so that bridges refuse the site: take it \
                 out, and the right one is added",
                if at == "@" { format!("_{port}._tcp") } else { format!("_{port}._tcp.{at}") }
            ));
        }
    }
    found
}

/// Usage, selector, matching type and data of a TLSA record.
fn tlsa(record: &ZoneRecord) -> Option<(u8, u8, u8, &[u8])> {
    let ZoneRecordData::Tlsa(tlsa) = record.data() else { return None };
    let (usage, selector, matching) = (tlsa.usage(), tlsa.selector(), tlsa.matching_type());
    Some((usage.into(), selector.into(), matching.into(), tlsa.data().as_ref()))
}

/// The port at which a TLSA record stands.
fn port(record: &ZoneRecord) -> Option<u16> {
    record.owner().to_string().strip_prefix('_')?.split('.').next()?.parse().ok()
}

/// Whether an HTTPS record says that the service is at its own name, and at this port (RFC 9460 section 2.2).
fn leads_to(record: &ZoneRecord, port: u16) -> bool {
    let mut data = Vec::new();
    let Ok(()) = record.data().compose_rdata(&mut data);
    // The priority, which is 0 for an alias, and the root for the name itself.
    let [priority @ .., 0] = data.get(..3).unwrap_or_default() else { return false };
    let (mut named, mut rest) = (HTTPS_PORT, data.get(3..).unwrap_or_default());
    while let [key_high, key_low, high, low, others @ ..] = rest {
        let length = usize::from(u16::from_be_bytes([*high, *low]));
        let Some((value, others)) = others.split_at_checked(length) else { return false };
        if let (PORT_PARAMETER, [high, low]) = (u16::from_be_bytes([*key_high, *key_low]), value) {
            named = u16::from_be_bytes([*high, *low]);
        }
        rest = others;
    }
    *priority != [0, 0] && named == port
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
        packet, records as text_records,
        testing::{key, records},
    };

    const SITE: &str = "_443._tcp 300 TLSA 3 1 1 00\n@ 300 HTTPS 1 . alpn=h2\n";

    /// What is added to a zone, as `owner type`.
    fn added(zone: &str, everywhere: bool) -> Vec<String> {
        let site = records(SITE);
        let added = of(&records(zone), &key(), Besides { site: &site, everywhere, extras: &[] });
        let added = text_records::read(&packet::compose(&added, &key()).unwrap(), &key());
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
    fn records_that_contradict_the_site_are_told() {
        let key = key();
        let own = Sha256::digest([&ED25519_PREFIX[..], key.as_bytes()].concat());
        let own: String = own.iter().map(|byte| format!("{byte:02x}")).collect();
        let (hot, other) = ("11".repeat(32), "22".repeat(32));
        let [by_key, by_hot_key] = [&own, &hot].map(|hash| format!("_443._tcp 300 TLSA 3 1 1 {hash}\n"));
        let with_https = format!("{by_key}@ 300 HTTPS 1 . alpn=h2,http/1.1\n");
        let elsewhere = "_8443._tcp 300 TLSA 3 1 1 ".to_owned() + &own + "\n@ 300 HTTPS 1 . port=8443\n";
        let (tlsa, https) =
            ("the TLSA record of _443._tcp names", "the HTTPS record of @ does not lead to port 443");
        for (site, zone, expected) in [
            (&by_key, "@ A 192.0.2.1".to_owned(), &[][..]),
            (&by_key, format!("_443._tcp TLSA 3 1 1 {other}"), &[tlsa]),
            // One in use, and the next.
            (
                &by_key,
                format!("_443._tcp TLSA 3 1 1 {other}\n_443._tcp TLSA 3 1 1 {}", own.to_uppercase()),
                &[],
            ),
            (&by_key, format!("_443._tcp TLSA 3 0 1 {other}"), &[]),
            (&by_key, format!("_443._tcp TLSA 1 1 1 {own}"), &[tlsa]),
            (&by_key, format!("_8443._tcp TLSA 3 1 1 {other}"), &[]),
            // The name says that the key ends TLS there, by a record of the zone or of ours.
            (&by_key, format!("_443._tcp TLSA 3 1 1 {other}\n@ HTTPS 1 . alpn=h2"), &[]),
            (&with_https, format!("_443._tcp TLSA 3 1 1 {other}"), &[]),
            (&by_hot_key, format!("_443._tcp TLSA 3 1 1 {other}\n@ HTTPS 1 . alpn=h2"), &[tlsa]),
            (&by_key, "@ HTTPS 1 . port=8443".to_owned(), &[https]),
            (&by_key, "@ HTTPS 0 example.com.".to_owned(), &[https]),
            (&elsewhere, "@ HTTPS 1 . port=8443".to_owned(), &[]),
            (&elsewhere, "@ HTTPS 1 .".to_owned(), &["the HTTPS record of @ does not lead to port 8443"]),
            (
                &by_key,
                format!(
                    "@ A 192.0.2.1\nwww A 192.0.2.1\n_443._tcp.www TLSA 3 1 1 {other}\nnas A 192.0.2.2\n_443._tcp.nas TLSA 3 1 1 {other}"
                ),
                &["the TLSA record of _443._tcp.www names"],
            ),
        ] {
            let found = contradictions(&records(&zone), &key, &records(site));
            assert_eq!(found.len(), expected.len(), "{site}{zone}: {found:?}");
            assert!(
                found.iter().zip(expected).all(|(found, part)| found.starts_with(part)),
                "{zone}: {found:?}"
            );
        }
    }

    #[test]
    fn what_the_zone_says_itself_counts() {
        assert_eq!(added("@ A 192.0.2.1\n_443._tcp TLSA 3 0 1 11\n", true), ["@ HTTPS"]);
        assert_eq!(added("@ HTTPS 0 example.com.\n", true), ["_443._tcp TLSA"]);
        assert_eq!(added("@ CNAME example.com.\n_443._tcp CNAME a\n", true), [""; 0]);
    }
}
