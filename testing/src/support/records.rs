//! Records in zone-file notation, one a line, and packets made of them.

use std::str::FromStr;

use hickory_proto::{
    rr::{
        DNSClass, Name, RData, Record, RecordType,
        rdata::{CNAME, NS, NULL},
    },
    serialize::binary::{BinEncodable, BinEncoder},
};
use pkdns_dht::signed_packet::{Keypair, SignedPacket};

/// When every packet was signed, in seconds since 1970.
pub const SIGNED_AT: u64 = 1_700_000_000;

/// Reads `OWNER TTL [CLASS] TYPE DATA`. An owner without a final dot is below `origin`, `@` is `origin`; names in the
/// data are complete. Data may be raw bytes, `\# LENGTH HEX`, for any type.
pub fn record(line: &str, origin: &Name) -> Result<Record, String> {
    let (owner, rest) = word(line);
    let (ttl, rest) = word(rest);
    let (class, rest) = class(rest);
    let (record_type, data) = word(rest);
    let record_type = self::record_type(record_type)?;
    let ttl = ttl.parse().map_err(|_| format!("`{ttl}` is no TTL"))?;
    let mut record = Record::from_rdata(name(owner, origin)?, ttl, self::data(record_type, data)?);
    record.dns_class = class;
    Ok(record)
}

/// The packet of `keypair` with `records`, compressed as publishers do.
pub fn packet(keypair: &Keypair, records: &[Record]) -> SignedPacket {
    let mut dns = Vec::new();
    let mut encoder = BinEncoder::new(&mut dns);
    let count = u8::try_from(records.len()).expect("so many do not fit a packet");
    encoder.emit_vec(&[0, 0, 0x80, 0, 0, 0, 0, count, 0, 0, 0, 0]).expect("it fits");
    records.iter().for_each(|record| record.emit(&mut encoder).expect("it fits"));
    sign(keypair, &dns)
}

/// The packet of `keypair` with these bytes as its DNS message, whatever they are.
pub fn sign(keypair: &Keypair, dns: &[u8]) -> SignedPacket {
    SignedPacket::sign(keypair, SIGNED_AT * 1_000_000, dns).expect("a packet of at most 1000 bytes")
}

/// Reads a name with the escapes of zone files: `\.` and `\032`.
pub fn name(text: &str, origin: &Name) -> Result<Name, String> {
    match text {
        "@" => return Ok(origin.clone()),
        "." => return Ok(Name::root()),
        _ => {}
    }
    let mut labels = vec![Vec::new()];
    let mut characters = text.bytes();
    while let Some(byte) = characters.next() {
        match byte {
            b'.' => labels.push(Vec::new()),
            b'\\' => {
                let escaped = characters.next().ok_or("nothing after \\")?;
                let rest = escaped.is_ascii_digit().then(|| [characters.next(), characters.next()]);
                let byte = match rest {
                    None => escaped,
                    Some([Some(second), Some(third)]) => {
                        let digits = [escaped, second, third];
                        let digits = std::str::from_utf8(&digits).map_err(|error| error.to_string())?;
                        digits.parse().map_err(|_| format!("`{digits}` is no byte"))?
                    }
                    Some(_) => return Err("three digits are to follow \\".into()),
                };
                last(&mut labels).push(byte);
            }
            byte => last(&mut labels).push(byte),
        }
    }
    let is_complete = labels.last().is_some_and(Vec::is_empty);
    labels.retain(|label| !label.is_empty());
    let below = if is_complete { &Name::root() } else { origin };
    let labels = labels.iter().map(Vec::as_slice).chain(below.iter());
    Name::from_labels(labels).map_err(|error| format!("`{text}`: {error}"))
}

/// Reads `AAAA`, `TYPE65280` and the like.
pub fn record_type(text: &str) -> Result<RecordType, String> {
    let number = text.strip_prefix("TYPE").and_then(|number| number.parse::<u16>().ok());
    match number {
        Some(number) => Ok(RecordType::from(number)),
        None => RecordType::from_str(text).map_err(|_| format!("`{text}` is no type of record")),
    }
}

/// Takes a class off the front of `text`; IN where there is none.
pub fn class(text: &str) -> (DNSClass, &str) {
    match word(text) {
        (class @ ("IN" | "CH" | "HS"), rest) => (DNSClass::from_str(class).unwrap_or(DNSClass::IN), rest),
        _ => (DNSClass::IN, text),
    }
}

/// Reads the data of a record.
pub fn data(record_type: RecordType, text: &str) -> Result<RData, String> {
    // The parser of hickory-proto takes names to lower case.
    match record_type {
        RecordType::CNAME => return Ok(RData::CNAME(CNAME(name(text, &Name::root())?))),
        RecordType::NS => return Ok(RData::NS(NS(name(text, &Name::root())?))),
        // Nor does it know this one.
        RecordType::DNAME if !text.starts_with('\\') => {
            let bytes = name(text, &Name::root())?.to_bytes().map_err(|error| error.to_string())?;
            return Ok(RData::Unknown { code: record_type, rdata: NULL::with(bytes) });
        }
        _ => {}
    }
    let Some(raw) = text.strip_prefix("\\#") else {
        return RData::try_from_str(record_type, text).map_err(|error| format!("`{text}`: {error}"));
    };
    let (length, hex) = word(raw);
    let bytes = self::hex(hex)?;
    if length.parse() != Ok(bytes.len()) {
        return Err(format!("the data has {} bytes, not {length}", bytes.len()));
    }
    // `NULL::with` asserts that there is data.
    let rdata = if bytes.is_empty() { NULL::new() } else { NULL::with(bytes) };
    Ok(RData::Unknown { code: record_type, rdata })
}

/// Reads hexadecimal digits; spaces do not matter.
pub fn hex(text: &str) -> Result<Vec<u8>, String> {
    let digits: Vec<u8> = text.bytes().filter(|byte| !byte.is_ascii_whitespace()).collect();
    let pairs = digits.chunks(2).map(|pair| {
        let pair = std::str::from_utf8(pair).ok().filter(|pair| pair.len() == 2)?;
        u8::from_str_radix(pair, 16).ok()
    });
    pairs.collect::<Option<_>>().ok_or_else(|| format!("`{text}` is not hexadecimal"))
}

/// Splits off the first word.
pub fn word(text: &str) -> (&str, &str) {
    let text = text.trim_start();
    let (word, rest) = text.split_once(char::is_whitespace).unwrap_or((text, ""));
    (word, rest.trim())
}

fn last(labels: &mut [Vec<u8>]) -> &mut Vec<u8> {
    labels.last_mut().expect("there is always one")
}
