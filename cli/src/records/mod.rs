//! Records as people and programs read them: the way they are written in a zone file.

use std::fmt;

use domain::{
    base::{
        Message, ParsedName, ParsedRecord, Record, Rtype, UnknownRecordData,
        rdata::ComposeRecordData,
        zonefile_fmt::{DisplayKind, ZonefileFmt},
    },
    rdata::ZoneRecordData,
};
use pkdns::zone_file::{self, service_parameters_text};
pub(crate) use pkdns::zone_file::{escaped_labels, escaped_name};
use pkdns_dht::signed_packet::PublicKey;
use serde::Serialize;

use crate::terminal::printable;

/// A record as text. Printable ASCII throughout, whatever the packet holds, so that it can go to a terminal.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct TextRecord {
    /// The owner, relative to the key where it is inside the zone; `@` for the key itself.
    #[serde(skip)]
    pub owner: String,
    /// The owner in full, in lower case, with a dot at the end.
    pub name: String,
    /// Seconds.
    pub ttl: u32,
    #[serde(rename = "type")]
    pub record_type: String,
    pub data: String,
}

/// Reads the answers of the message in a packet of `key`. Data that do not follow their type's format are shown as
/// bytes; a record whose frame is broken ends the reading.
pub fn read(dns: &[u8], key: &PublicKey) -> Vec<TextRecord> {
    let Ok(Ok(answers)) = Message::from_slice(dns).map(|message| message.answer()) else {
        return Vec::new();
    };
    answers.map_while(Result::ok).map(|record| text_record(&record, key)).collect()
}

/// Lays records out in columns, under a heading.
pub(crate) fn table(records: &[TextRecord]) -> String {
    let rows = records.iter().map(|record| {
        [record.owner.clone(), record.ttl.to_string(), record.record_type.clone(), record.data.clone()]
    });
    columns(["NAME", "TTL", "TYPE", "DATA"], rows.collect())
}

/// Lays rows out in columns, under a heading.
pub(crate) fn columns<const N: usize>(heading: [&str; N], mut rows: Vec<[String; N]>) -> String {
    rows.insert(0, heading.map(String::from));
    let mut widths = [0; N];
    for row in &rows {
        widths.iter_mut().zip(row).for_each(|(width, cell)| *width = cell.len().max(*width));
    }
    let mut text = String::new();
    for row in rows {
        let cells = row.iter().zip(widths).map(|(cell, width)| format!("{cell:width$}"));
        text.push_str(cells.collect::<Vec<_>>().join("  ").trim_end());
        text.push('\n');
    }
    text
}

/// Records as a zone file that can be published under any key: names in the zone of `key` are relative.
pub fn zone_file(records: &[TextRecord], key: &PublicKey) -> String {
    let lines = records.iter().map(|record| {
        format!(
            "{} {} IN {} {}\n",
            record.owner,
            record.ttl,
            record.record_type,
            relative_data(&record.data, key)
        )
    });
    lines.collect()
}

/// Data with relative names.
pub(crate) fn relative_data(data: &str, key: &PublicKey) -> String {
    // What is neither quoted nor a parameter and ends in the key is a name.
    let (mut words, mut is_quoted, mut is_escaped) = (vec![String::new()], false, false);
    for character in data.chars() {
        match character {
            ' ' if !is_quoted && !is_escaped => words.push(String::new()),
            _ => words.last_mut().into_iter().for_each(|word| word.push(character)),
        }
        is_quoted ^= character == '"' && !is_escaped;
        is_escaped = character == '\\' && !is_escaped;
    }
    let is_name = |word: &String| !word.contains(['"', '=']);
    let words = words.into_iter().map(|word| if is_name(&word) { relative(&word, key) } else { word });
    words.collect::<Vec<_>>().join(" ")
}

impl fmt::Display for TextRecord {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} {} {}", self.owner, self.ttl, self.record_type, self.data)
    }
}

fn text_record(record: &ParsedRecord<'_, [u8]>, key: &PublicKey) -> TextRecord {
    let name = escaped_name(&record.owner()).to_ascii_lowercase();
    TextRecord {
        owner: relative(&name, key),
        name,
        ttl: record.ttl().as_secs(),
        record_type: printable(&record.rtype().to_string()),
        data: printable(&data(record)),
    }
}

fn data(record: &ParsedRecord<'_, [u8]>) -> String {
    if let Ok(Some(record)) = record.to_record::<zone_file::Text>() {
        return record.into_data().into_text();
    }
    match record
        .to_record::<ZoneRecordData<&[u8], ParsedName<&[u8]>>>()
        .map(|record| record.map(Record::into_data))
    {
        Ok(Some(data)) => {
            let text = match &data {
                ZoneRecordData::Svcb(data) => {
                    service(data.priority(), data.target(), data.params().as_slice())
                }
                ZoneRecordData::Https(data) => {
                    service(data.priority(), data.target(), data.params().as_slice())
                }
                _ => data.display_zonefile(DisplayKind::Simple).to_string(),
            };
            let mut bytes = Vec::new();
            let Ok(()) = data.compose_rdata(&mut bytes);
            // The `domain` crate writes some data in a way that cannot be read back: names with quotes, for example.
            if zone_file::data(record.rtype(), &text).is_some_and(|read| read == bytes) {
                text
            } else {
                unknown(record.rtype(), &bytes)
            }
        }
        Ok(None) | Err(_) => match record.to_record::<UnknownRecordData<&[u8]>>() {
            Ok(Some(record)) => unknown(record.rtype(), record.data().data()),
            Ok(None) | Err(_) => String::new(),
        },
    }
}

fn service(priority: u16, target: &ParsedName<&[u8]>, parameters: &[u8]) -> String {
    format!("{priority} {}{}", escaped_name(target), service_parameters_text(parameters))
}

/// Data without any format (RFC 3597 section 5).
fn unknown(record_type: Rtype, data: &[u8]) -> String {
    UnknownRecordData::from_octets(record_type, data)
        .map_or_else(|_| String::new(), |data| data.display_zonefile(DisplayKind::Simple).to_string())
}

fn relative(name: &str, key: &PublicKey) -> String {
    let inside = name.strip_suffix('.').and_then(|name| name.strip_suffix(&key.to_z32()));
    match inside {
        Some("") => "@".to_string(),
        // An escaped dot belongs to the label before it.
        Some(below) if !below.ends_with("\\.") || below.ends_with("\\\\.") => {
            below.strip_suffix('.').unwrap_or(name).to_string()
        }
        _ => name.to_string(),
    }
}

#[cfg(test)]
mod tests;
