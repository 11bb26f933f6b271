//! Zone files (RFC 1035 section 5, RFC 3597 section 5): the text that a key's owner writes, as records.
//!
//! The scanner is that of the `domain` crate. This module gives it an origin, holds it to the zone of the key, and
//! puts its errors into words. A message never repeats the text: it may be a seed file that was passed by mistake.

use bytes::Bytes;
use domain::{
    base::{
        Name, Record, ToName, Ttl,
        ParsedName,
        iana::Class,
        name::{Label, NameBuilder},
        rdata::{ComposeRecordData, ParseRecordData, RecordData},
    },
    dep::octseq::Parser,
    rdata::ZoneRecordData,
    zonefile::inplace::{Entry, ScannedRecord, ScannedRecordData, Zonefile},
};
use pkdns::signed_packet::PublicKey;
use thiserror::Error;

/// Largest zone file in bytes. Sixteen times what a packet can hold leaves room for comments, and bounds what one
/// record can grow to.
pub(crate) const MAX_SIZE: usize = 16 * 1024;

/// TTL in seconds of records that have none, where no record before them and no `$TTL` gives one.
pub(crate) const DEFAULT_TTL: u32 = 3600;

/// Largest TTL in seconds (RFC 2181 section 8).
const MAX_TTL: u32 = i32::MAX as u32;

/// A record inside the zone of its key: the owner is in lower case and ends in the key as it is usually spelled.
pub(crate) type ZoneRecord = Record<Name<Bytes>, ScannedRecordData>;

/// What is wrong with a zone file, and where.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum ZoneFileError {
    /// Lines and columns count from one. The column is where reading stopped, just behind what is wrong.
    #[error("line {line}, column {column}: {reason}")]
    Syntax { line: usize, column: usize, reason: String },
    #[error("line {line}: {reason}")]
    Record { line: usize, reason: String },
    #[error("the file is larger than {MAX_SIZE} bytes, and a packet holds no more than 1000 bytes of records")]
    TooLarge,
    #[error("the file holds no records")]
    Empty,
}

/// Reads a zone file whose origin is `key`. Records are returned in the order of the file, each once.
pub(crate) fn parse(text: &[u8], key: &PublicKey) -> Result<Vec<ZoneRecord>, ZoneFileError> {
    if text.len() > MAX_SIZE {
        return Err(ZoneFileError::TooLarge);
    }
    let text = plain(text);
    let mut file = Zonefile::from(text.as_slice());
    file.set_origin(apex(key));
    file.set_default_class(Class::IN);
    let mut records: Vec<ZoneRecord> = Vec::new();
    while let Some(entry) = file.next_entry().map_err(|error| syntax_error(&error.to_string(), &text))? {
        let line = line_at(&text, file.current_offset());
        let record = match entry {
            Entry::Record(record) => {
                in_zone(record, key).map_err(|reason| ZoneFileError::Record { line, reason })?
            }
            Entry::Include { .. } => {
                let reason = "$INCLUDE is not supported: put the records into this file".to_string();
                return Err(ZoneFileError::Record { line, reason });
            }
        };
        if !records.contains(&record) {
            records.push(record);
        }
    }
    if records.is_empty() { Err(ZoneFileError::Empty) } else { Ok(records) }
}

/// The name that the zone of `key` starts at.
pub(crate) fn apex(key: &PublicKey) -> Name<Bytes> {
    let mut builder = NameBuilder::new_bytes();
    // A key is a label of 52 characters, so neither of these can fail.
    let _ = builder.append_label(key.to_z32().as_bytes());
    builder.into_name().unwrap_or_else(|_| Name::root_bytes())
}

/// Prepares the text for the scanner, which takes ASCII only and no last line without an end: text editors write
/// UTF-8, some with a mark in front.
fn plain(text: &[u8]) -> Vec<u8> {
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let mut plain = Vec::with_capacity(text.len() + 1);
    let mut escaped = false;
    for &byte in text {
        if byte.is_ascii() {
            plain.push(byte);
        } else {
            if !escaped {
                plain.push(b'\\');
            }
            plain.extend_from_slice(byte.to_string().as_bytes());
        }
        escaped = byte == b'\\' && !escaped;
    }
    plain.push(b'\n');
    plain
}

fn in_zone(record: ScannedRecord, key: &PublicKey) -> Result<ZoneRecord, String> {
    let owner = owner_in_zone(record.owner(), key)?;
    if record.ttl().as_secs() > MAX_TTL {
        return Err(format!("the TTL is over {MAX_TTL} seconds"));
    }
    if !reads_back(record.data()) {
        return Err("the data hold a name with an empty label: are there two dots in a row?".to_string());
    }
    let ttl = Ttl::from_secs(record.ttl().as_secs());
    Ok(Record::new(owner, record.class(), ttl, record.into_data()))
}

fn owner_in_zone(owner: &impl ToName, key: &PublicKey) -> Result<Name<Bytes>, String> {
    let mut labels: Vec<&Label> = owner.iter_labels().collect();
    // The root label, which every name ends in, and no other.
    if labels.pop().is_none_or(|label| !label.is_root()) || labels.iter().any(|label| label.is_root()) {
        return Err("the owner has an empty label: are there two dots in a row?".to_string());
    }
    if !labels.pop().is_some_and(|label| is_key(label, key)) {
        return Err(format!(
            "the owner is outside of the zone: its name must end in \"{key}.\", or be relative (without a dot at \
             the end)"
        ));
    }
    if labels.last().is_some_and(|label| is_key(label, key)) {
        return Err("the owner ends in the key twice: a name that is written with its key needs a dot at the end"
            .to_string());
    }
    let mut name = NameBuilder::new_bytes();
    let key = key.to_z32();
    labels
        .iter()
        .map(|label| label.to_canonical())
        .try_for_each(|label| name.append_label(label.as_slice()))
        .and_then(|()| name.append_label(key.as_bytes()))
        .and_then(|()| name.into_name())
        .map_err(|_| "the owner is longer than 255 bytes".to_string())
}

/// Whether a label is one of the spellings of `key`: any case, and any value of the last character's unused bits.
fn is_key(label: &Label, key: &PublicKey) -> bool {
    let Ok(text) = std::str::from_utf8(label.as_slice()) else {
        return false;
    };
    text.len() == 52 && PublicKey::try_from(text.to_ascii_lowercase()).is_ok_and(|found| found == *key)
}

/// The scanner lets an empty label inside a name pass, which would end that name early in the message. Such data do
/// not survive being written and read.
fn reads_back(data: &ScannedRecordData) -> bool {
    let mut bytes = Vec::new();
    let Ok(()) = data.compose_rdata(&mut bytes);
    let mut parser = Parser::from_ref(bytes.as_slice());
    ZoneRecordData::<&[u8], ParsedName<&[u8]>>::parse_rdata(data.rtype(), &mut parser)
        .is_ok_and(|read| read.is_some() && parser.remaining() == 0)
}

/// The line that lies `offset` bytes into the scanner's buffer, which has one byte before the text.
fn line_at(text: &[u8], offset: usize) -> usize {
    text.iter().take(offset.saturating_sub(1)).filter(|&&byte| byte == b'\n').count() + 1
}

/// Puts the scanner's message, `LINE:COLUMN: TEXT`, into our words.
fn syntax_error(message: &str, text: &[u8]) -> ZoneFileError {
    let mut parts = message.splitn(3, ':');
    let mut number = || parts.next().and_then(|part| part.trim().parse().ok()).unwrap_or(0_usize);
    let (line, column) = (number(), number());
    let reason = parts.next().unwrap_or(message).trim();
    if line > line_at(text, text.len()) {
        let reason = "the file ends inside a record: is a parenthesis or a quote open?".to_string();
        return ZoneFileError::Record { line: line_at(text, text.len()), reason };
    }
    let reason = EXPLANATIONS
        .iter()
        .find_map(|&(start, explanation)| reason.starts_with(start).then_some(explanation))
        .unwrap_or(reason);
    ZoneFileError::Syntax { line, column, reason: reason.to_string() }
}

/// How the scanner's messages begin, and what to say instead. Those that would repeat a part of the text are here.
const EXPLANATIONS: [(&str, &str); 14] = [
    ("expected rtype", "expected a TTL in seconds, the class IN or a record type"),
    ("expected decimal number", "expected a number (a TTL is a number of seconds, without a unit)"),
    ("unexpected end of entry", "expected more before the end of the line"),
    ("trailing tokens", "expected the end of the record, found more"),
    ("unbalanced parens", "a parenthesis is closed that was not opened"),
    ("missing last owner", "a line that begins with a space continues the owner before it, and there is none"),
    ("bad charstr", "expected a character string of at most 255 bytes"),
    ("bad name", "expected a domain name: labels of at most 63 bytes, 255 in all, none empty"),
    ("bad symbol", "expected printable characters; write any other byte as \\DDD"),
    ("bad UTF-8", "expected printable characters; write any other byte as \\DDD"),
    ("different class", "expected the class IN"),
    ("unknown control", "expected $ORIGIN or $TTL after the dollar sign"),
    ("unknown record type with", "the data of this type have no text form: write them as \\# LENGTH HEXADECIMAL"),
    ("generic data has incorrect length", "the data are not as long as the number after \\# says"),
];

#[cfg(test)]
mod tests;
