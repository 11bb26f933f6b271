//! Zone files from records that are written elsewhere.

use std::{fmt, path::Path};

use domain::base::Rtype;
use pkdns_dht::signed_packet::PublicKey;
use serde::Deserialize;

use super::{
    shown, stand_in,
    transfer::{Copy, Origin},
};
use crate::{
    failure::Failure,
    input, packet,
    records::{self, TextRecord},
    seed::FileName,
    terminal,
    zone_file::{self, ExternalAddresses, ZoneRecord},
};

/// Largest JSON in bytes: many times the records of a packet.
const MAX_JSON_SIZE: usize = 256 * 1024;

/// What `resolve --json` and `zone --json` write, as far as it is needed.
#[derive(Deserialize)]
struct Written {
    key: Option<String>,
    records: Vec<WrittenRecord>,
}

#[derive(Deserialize)]
struct WrittenRecord {
    name: String,
    ttl: u32,
    #[serde(rename = "type")]
    record_type: String,
    data: String,
}

/// The zone file for records in JSON. Its key is the one that is written there, or else `key`.
pub(super) fn from_json(path: &Path, key: Option<PublicKey>) -> Result<String, Failure> {
    let file = FileName::of(path);
    let fail = |error: &dyn fmt::Display| Failure::Failed(format!("{file}: {error}"));
    let text = read(path).map_err(|error| fail(&error))?;
    // The cause is not repeated: the file may be another one, with a secret.
    let written: Written = serde_json::from_slice(&text).map_err(|error| {
        fail(&format_args!(
            "line {}, column {}: expected JSON as resolve --json and zone --json write it",
            error.line(),
            error.column()
        ))
    })?;
    let key = match &written.key {
        Some(key) => Some(
            PublicKey::try_from(key.as_str())
                .map_err(|_| fail(&"\"key\" is no public key: correct it, or take it out and add --key"))?,
        ),
        None => key,
    };
    let key = key.ok_or_else(|| fail(&"the key of the zone is not written there: add --key"))?;
    let mut zone = Vec::new();
    for (index, WrittenRecord { name, ttl, record_type, data }) in written.records.iter().enumerate() {
        let number = index + 1;
        // A line of its own would be a record that nobody counts, or a directive for those behind it.
        if [name, record_type, data].iter().any(|text| text.contains(['\n', '\r'])) {
            return Err(fail(&format_args!(
                "record {number}: expected one line; the end of a line is written as \\010"
            )));
        }
        let line = format!("{name} {ttl} IN {record_type} {data}\n");
        let read = zone_file::from_bytes(line.as_bytes())
            .and_then(|line| line.records(&key, &ExternalAddresses::default()))
            .map_err(|error| fail(&format_args!("record {number}: {error}")))?;
        zone.extend(read);
    }
    zone_file(&zone, &key)
}

/// The zone file for a copied zone. What it cannot hold is named on standard error.
pub(super) fn from_transfer(copy: &Copy, origin: &Origin) -> Result<String, Failure> {
    let key = stand_in().public_key();
    let (mut zone, mut own_servers, mut signatures) = (Vec::new(), 0, 0);
    for record in &copy.records {
        match record.record_type.parse() {
            Ok(Rtype::NS) if record.name.eq_ignore_ascii_case(&origin.text) => own_servers += 1,
            Ok(record_type) if is_dnssec(record_type) => signatures += 1,
            _ => zone.extend(moved(record, origin, &key)),
        }
    }
    let left_out = |count: usize, what: &str| {
        if count > 0 {
            terminal::note(&format!("left out: {count} {what}"));
        }
    };
    left_out(copy.authorities, "SOA record: resolvers make one up for a packet");
    left_out(own_servers, "NS records of the zone itself: the DHT takes the place of its name servers");
    left_out(signatures, "DNSSEC records: the packet is signed as a whole");
    let text = zone_file(&zone, &key)?;
    Ok(format!("; {} from {}\n{text}", origin.text, copy.server))
}

/// A record of another zone, in the zone of `key`.
fn moved(record: &TextRecord, origin: &Origin, key: &PublicKey) -> Vec<ZoneRecord> {
    let line = format!("{} {} IN {} {}\n", record.name, record.ttl, record.record_type, record.data);
    let moved = zone_file::from_bytes(line.as_bytes()).and_then(|line| line.moved_records(&origin.name, key));
    moved.unwrap_or_else(|error| {
        terminal::note(&format!("left out: {} {}: {error}", record.name, record.record_type));
        Vec::new()
    })
}

/// Types that sign a zone, or speak of its signatures; BIND keeps the state of its signing in TYPE65534.
fn is_dnssec(record_type: Rtype) -> bool {
    matches!(
        record_type,
        Rtype::DNSKEY
            | Rtype::RRSIG
            | Rtype::NSEC
            | Rtype::NSEC3
            | Rtype::NSEC3PARAM
            | Rtype::CDS
            | Rtype::CDNSKEY
            | Rtype::DS
            | Rtype::ZONEMD
    ) || record_type.to_int() == 65534
}

fn zone_file(zone: &[ZoneRecord], key: &PublicKey) -> Result<String, Failure> {
    if zone.is_empty() {
        return Err(Failure::Failed(
            "there are no records for a zone file: choose a source that holds some".to_string(),
        ));
    }
    // Some are to be taken out by hand, which needs the file.
    if let Err(error) = packet::compose(zone, key) {
        terminal::note(&format!("warning: {error}"));
    }
    Ok(records::zone_file(&shown(zone, key)?, key))
}

fn read(path: &Path) -> Result<Vec<u8>, String> {
    let text = input::read(path, MAX_JSON_SIZE)
        .map_err(|error| format!("cannot read it: {error}; check its name and who may read it"))?;
    text.ok_or_else(|| {
        format!("it is larger than {MAX_JSON_SIZE} bytes, so that it is no zone: name another file")
    })
}
