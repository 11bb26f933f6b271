//! A zone as JSON. Fields may be added, and those that there are stay: docs/dns-over-https.md has them. Pure.

use std::time::{SystemTime, UNIX_EPOCH};

use domain::base::{Message, Rtype};
use hickory_proto::{
    rr::Record,
    serialize::binary::{BinEncodable, BinEncoder},
};
use pkdns_dht::signed_packet::{MAX_DNS_SIZE, PublicKey};
use serde::Serialize;

use super::zone::Outcome;
use crate::{base::metrics::Farthest, edge::http::json, resolver::inspection::Inspected};

/// What is said of a key.
#[derive(Debug, Serialize)]
pub(super) struct ZoneJson {
    key: String,
    /// `found`, `unreadable`, `absent`, `denied`, `over_quota` or `unreachable`.
    state: &'static str,
    /// Why there is no packet, in a sentence.
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    packet: Option<PacketJson>,
    records: Vec<RecordJson>,
    nodes: Option<NodesJson>,
    history: Vec<VersionJson>,
}

#[derive(Debug, Serialize)]
struct PacketJson {
    /// When its owner signed it, in microseconds since 1970.
    timestamp: u64,
    /// In hexadecimal. It has been verified.
    signature: String,
    bytes: usize,
    max_bytes: usize,
    /// `memory`, `disk`, `shared_store` or `dht`.
    source: &'static str,
    /// Since the network was heard of it last.
    age_seconds: u64,
    /// Whether nothing newer could be had although its time is over.
    stale: bool,
}

#[derive(Debug, Serialize)]
struct RecordJson {
    name: String,
    #[serde(rename = "type")]
    record_type: String,
    /// As it is answered now.
    ttl: u32,
    /// As it was signed.
    signed_ttl: u32,
    /// As zone files write it.
    data: String,
    /// Whether it is answered: this server may keep private addresses back.
    answered: bool,
}

#[derive(Debug, Serialize)]
struct NodesJson {
    held: u32,
    responded: u32,
    counted_seconds_ago: u64,
}

#[derive(Debug, Serialize)]
struct VersionJson {
    timestamp: u64,
    seen_seconds_ago: u64,
}

/// A record as zone files write it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct WrittenRecord {
    /// Absolute, with a dot at its end.
    pub(super) name: String,
    pub(super) record_type: String,
    pub(super) data: String,
    pub(super) ttl: u32,
    pub(super) signed_ttl: u32,
    pub(super) is_withheld: bool,
}

/// All records of a packet.
pub(super) fn written(inspected: &Inspected) -> Vec<WrittenRecord> {
    let mut written = Vec::with_capacity(inspected.records.len());
    for shown in &inspected.records {
        // What cannot be written was not answered either.
        let Some((name, record_type, data)) = text_of(&shown.record) else { continue };
        written.push(WrittenRecord {
            name,
            record_type,
            data,
            ttl: shown.record.ttl,
            signed_ttl: shown.signed_ttl,
            is_withheld: shown.is_withheld,
        });
    }
    written
}

/// Name, type and data of a record.
fn text_of(record: &Record) -> Option<(String, String, String)> {
    // A reply with one answer.
    let mut bytes = Vec::new();
    let mut encoder = BinEncoder::new(&mut bytes);
    encoder.emit_vec(&[0, 0, 0x80, 0, 0, 0, 0, 1, 0, 0, 0, 0]).ok()?;
    record.emit(&mut encoder).ok()?;
    let message = Message::from_slice(&bytes).ok()?;
    let parsed = message.answer().ok()?.next()?.ok()?;
    let json::Record { name, record_type, data, .. } = json::record_of(&parsed);
    Some((name, Rtype::from_int(record_type).to_string(), data))
}

/// The word for where a packet came from.
pub(super) fn source(from: Farthest) -> &'static str {
    match from {
        Farthest::Local | Farthest::AnswerCache | Farthest::Memory | Farthest::Stale => "memory",
        Farthest::Disk => "disk",
        Farthest::Shared => "shared_store",
        Farthest::Dht | Farthest::NameServer | Farthest::Upstream => "dht",
    }
}

pub(super) fn seconds_since(time: SystemTime, now: SystemTime) -> u64 {
    now.duration_since(time).unwrap_or_default().as_secs()
}

impl ZoneJson {
    pub(super) fn of(key: &PublicKey, outcome: &Outcome, now: SystemTime) -> Self {
        let error = match outcome {
            Outcome::Packet(inspected) if inspected.is_readable => None,
            Outcome::Packet(_) => Some("the DNS message in the packet cannot be read".to_owned()),
            Outcome::Absent => Some("the key has published nothing, or the DHT has forgotten it".to_owned()),
            Outcome::Denied(reason) => Some((*reason).to_owned()),
            Outcome::Failed(error) => Some(error.to_string()),
        };
        let empty = Self {
            key: key.to_z32(),
            state: outcome.word(),
            error,
            packet: None,
            records: Vec::new(),
            nodes: None,
            history: Vec::new(),
        };
        let Outcome::Packet(inspected) = outcome else { return empty };
        let Inspected { found, from, sighting, .. } = &**inspected;
        let packet = PacketJson {
            timestamp: found.packet.timestamp(),
            signature: found.packet.signature().iter().map(|byte| format!("{byte:02x}")).collect(),
            bytes: found.packet.dns().len(),
            max_bytes: MAX_DNS_SIZE,
            source: source(*from),
            age_seconds: found.age.as_secs(),
            stale: found.stale.is_some(),
        };
        let records = written(inspected).into_iter().map(|record| RecordJson {
            name: record.name,
            record_type: record.record_type,
            ttl: record.ttl,
            signed_ttl: record.signed_ttl,
            data: record.data,
            answered: !record.is_withheld,
        });
        let history = sighting.versions.iter().map(|version| VersionJson {
            timestamp: version.timestamp,
            seen_seconds_ago: seconds_since(version.seen, now),
        });
        Self {
            packet: Some(packet),
            records: records.collect(),
            nodes: sighting.holders.map(|holders| NodesJson {
                held: holders.held,
                responded: holders.responded,
                counted_seconds_ago: seconds_since(holders.counted, now),
            }),
            history: history.collect(),
            ..empty
        }
    }
}

/// A timestamp of a packet as people write it, in UTC. It is its owner's word, and may be any number.
pub(super) fn date(timestamp: u64) -> String {
    let seconds = i64::try_from(timestamp / 1_000_000).unwrap_or(i64::MAX);
    match time::OffsetDateTime::from_unix_timestamp(seconds) {
        Ok(date) => format!(
            "{:04}-{:02}-{:02} {:02}:{:02}:{:02} UTC",
            date.year(),
            u8::from(date.month()),
            date.day(),
            date.hour(),
            date.minute(),
            date.second()
        ),
        Err(_) => format!("{timestamp} µs after 1970"),
    }
}

/// A time by the clock, as [`date`] has it.
pub(super) fn date_of(time: SystemTime) -> String {
    let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
    date(u64::try_from(since.as_micros()).unwrap_or(u64::MAX))
}
