//! Zone files (RFC 1035 section 5, RFC 2308 section 4, RFC 3597 section 5): the text that a key's owner writes, as
//! records. A message about an error never repeats the text: it may be a seed file that was passed by mistake.

mod lexer;
mod scanner;

use bytes::Bytes;
use domain::{
    base::{
        Name, ParsedName, Record, Rtype, Ttl,
        iana::Class,
        name::{Label, NameBuilder},
        rdata::{ComposeRecordData, ParseRecordData},
        scan::{Scanner, ScannerError},
    },
    dep::octseq::Parser,
    rdata::ZoneRecordData,
};
use pkdns::signed_packet::PublicKey;
use thiserror::Error;

use lexer::{Entry, Token};
use scanner::{Tokens, Unexpected};

/// Largest zone file in bytes. Sixteen times what a packet can hold leaves room for comments, and bounds what one
/// record can grow to.
pub(crate) const MAX_SIZE: usize = 16 * 1024;

/// TTL in seconds of records for which the file gives none.
const DEFAULT_TTL: u32 = 3600;

/// Largest TTL in seconds (RFC 2181 section 8).
const MAX_TTL: u32 = i32::MAX.unsigned_abs();

/// A record inside the zone of its key: the owner is in lower case and ends in the key as it is usually spelled.
pub(crate) type ZoneRecord = Record<Name<Bytes>, ZoneRecordData<Bytes, Name<Bytes>>>;

/// What is wrong with a zone file.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum ZoneFileError {
    /// In one place.
    #[error("line {}, column {}: {reason}", .position.line, .position.column)]
    At { position: Position, reason: String },
    #[error(
        "the file is larger than {MAX_SIZE} bytes, and a packet holds no more than 1000 bytes of records"
    )]
    TooLarge,
    #[error("the file holds no records")]
    Empty,
}

/// Where something begins. Lines and columns count from one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Position {
    line: usize,
    column: usize,
}

impl Position {
    fn error(self, reason: impl Into<String>) -> ZoneFileError {
        ZoneFileError::At { position: self, reason: reason.into() }
    }
}

/// Reads a zone file whose origin is `key`. Records are returned in the order of the file, each once.
pub(crate) fn parse(text: &[u8], key: &PublicKey) -> Result<Vec<ZoneRecord>, ZoneFileError> {
    if text.len() > MAX_SIZE {
        return Err(ZoneFileError::TooLarge);
    }
    // Some editors begin UTF-8 with a mark.
    let text = text.strip_prefix(b"\xef\xbb\xbf").unwrap_or(text);
    let apex = apex(key);
    let mut zone =
        Zone { key, origin: apex, owner: None, default_ttl: None, last_ttl: None, records: Vec::new() };
    for entry in lexer::entries(text)? {
        zone.take(&entry)?;
    }
    if zone.records.is_empty() { Err(ZoneFileError::Empty) } else { Ok(zone.records) }
}

/// What the entries so far come to.
struct Zone<'a> {
    key: &'a PublicKey,
    origin: Name<Bytes>,
    /// Of the record before.
    owner: Option<Name<Bytes>>,
    /// `$TTL`.
    default_ttl: Option<u32>,
    /// Of the last record that has one of its own.
    last_ttl: Option<u32>,
    records: Vec<ZoneRecord>,
}

impl Zone<'_> {
    fn take(&mut self, entry: &Entry) -> Result<(), ZoneFileError> {
        let directive = entry.tokens.first().filter(|_| !entry.indented).and_then(Token::word);
        match directive.filter(|word| word.starts_with('$')) {
            Some(word) => self.directive(&word, &entry.tokens),
            None => self.record(entry),
        }
    }

    fn directive(&mut self, word: &str, tokens: &[Token]) -> Result<(), ZoneFileError> {
        let origin = self.origin.clone();
        let mut tokens = Tokens::new(tokens, &origin);
        let mut read = || {
            tokens.next()?;
            match word.to_ascii_uppercase().as_str() {
                "$ORIGIN" => self.origin = tokens.scan_name()?,
                "$TTL" => self.default_ttl = Some(ttl(tokens.next()?).ok_or(Unexpected(EXPECTED_TTL))??),
                "$INCLUDE" => {
                    return Err(Unexpected("$INCLUDE is not supported: put its records into this file"));
                }
                _ => return Err(Unexpected("expected $ORIGIN or $TTL")),
            }
            expect_end(&mut tokens)
        };
        read().map_err(|error| tokens.error(error))
    }

    fn record(&mut self, entry: &Entry) -> Result<(), ZoneFileError> {
        let origin = self.origin.clone();
        let mut tokens = Tokens::new(&entry.tokens, &origin);
        let owner = match &self.owner {
            Some(owner) if entry.indented => owner.clone(),
            None if entry.indented => {
                let reason =
                    "a line that begins with white space continues the owner before it; there is none";
                return Err(tokens.error(Unexpected(reason)));
            }
            _ => {
                let owner = tokens.scan_name().map_err(|error| tokens.error(error))?;
                let position = entry.tokens.first().map_or(START, |token| token.position);
                owner_in_zone(&owner, self.key).map_err(|reason| position.error(reason))?
            }
        };
        self.owner = Some(owner.clone());
        let (ttl, data) = self.ttl_and_data(&mut tokens).map_err(|error| tokens.error(error))?;
        let record = Record::new(owner, Class::IN, Ttl::from_secs(ttl), data);
        if !self.records.contains(&record) {
            self.records.push(record);
        }
        Ok(())
    }

    fn ttl_and_data(
        &mut self,
        tokens: &mut Tokens<'_>,
    ) -> Result<(u32, ZoneRecordData<Bytes, Name<Bytes>>), Unexpected> {
        let (own_ttl, record_type) = ttl_class_and_type(tokens)?;
        self.last_ttl = own_ttl.or(self.last_ttl);
        let ttl = own_ttl.or(self.default_ttl).or(self.last_ttl).unwrap_or(DEFAULT_TTL);
        let data = ZoneRecordData::scan(record_type, tokens)?;
        expect_end(tokens)?;
        if !is_well_formed(record_type, &data) {
            return Err(Unexpected("the data do not follow the format of their type"));
        }
        Ok((ttl, data))
    }
}

const START: Position = Position { line: 1, column: 1 };

const EXPECTED_TTL: &str = "expected a TTL: seconds, or for example 1h30m";

/// The name that the zone of `key` starts at.
fn apex(key: &PublicKey) -> Name<Bytes> {
    let mut name = NameBuilder::new_bytes();
    // A key is one label of 52 characters, so neither of these can fail.
    let _ = name.append_label(key.to_z32().as_bytes());
    name.into_name().unwrap_or_else(|_| Name::root_bytes())
}

/// A TTL and a class may stand before the type, in either order.
fn ttl_class_and_type(tokens: &mut Tokens<'_>) -> Result<(Option<u32>, Rtype), Unexpected> {
    let (mut found_ttl, mut found_class) = (None, false);
    loop {
        let token = tokens.next()?;
        let word = token.word().unwrap_or_default();
        if let Ok(record_type) = word.parse::<Rtype>() {
            return match record_type.to_int() {
                // OPT, and the range of types that only questions have (RFC 6895 section 3.1).
                0 | 41 | 128..=255 => Err(Unexpected("records of this type cannot be stored in a zone")),
                _ => Ok((found_ttl, record_type)),
            };
        }
        match (ttl(token), word.parse()) {
            (Some(ttl), _) if found_ttl.is_none() => found_ttl = Some(ttl?),
            (None, Ok(Class::IN)) if !found_class => found_class = true,
            (None, Ok(Class::IN)) | (Some(_), _) => return Err(Unexpected("expected a record type")),
            (None, Ok(_)) => return Err(Unexpected("expected the class IN")),
            (None, Err(_)) => return Err(Unexpected("expected a TTL, the class IN or a record type")),
        }
    }
}

/// A number of seconds, or numbers with units as other zone-file readers take them. `None` where it is neither.
fn ttl(token: &Token) -> Option<Result<u32, Unexpected>> {
    let word = token.word()?;
    let mut total = Some(0_u32);
    let mut rest = word.as_str();
    while !rest.is_empty() {
        let digits = rest.find(|character: char| !character.is_ascii_digit()).unwrap_or(rest.len());
        let (number, unit) = rest.split_at_checked(digits).filter(|(number, _)| !number.is_empty())?;
        let mut unit = unit.chars();
        let seconds = match unit.next().map(|unit| unit.to_ascii_lowercase()) {
            None if number.len() == word.len() => 1,
            Some('s') => 1,
            Some('m') => 60,
            Some('h') => 3600,
            Some('d') => 86_400,
            Some('w') => 604_800,
            None | Some(_) => return None,
        };
        let value = number.parse::<u32>().ok().and_then(|number| number.checked_mul(seconds));
        total = total.zip(value).and_then(|(total, value)| total.checked_add(value));
        rest = unit.as_str();
    }
    let total = total.filter(|&total| total <= MAX_TTL);
    (!word.is_empty()).then(|| total.ok_or(Unexpected("the TTL is over 2147483647 seconds")))
}

fn expect_end(tokens: &mut Tokens<'_>) -> Result<(), Unexpected> {
    match tokens.next() {
        Ok(_) => Err(Unexpected::trailing_tokens()),
        Err(_) => Ok(()),
    }
}

/// Holds an owner to the zone of `key`, and gives it its usual spelling.
fn owner_in_zone(owner: &Name<Bytes>, key: &PublicKey) -> Result<Name<Bytes>, String> {
    let mut labels: Vec<&Label> = owner.iter().filter(|label| !label.is_root()).collect();
    if !labels.pop().is_some_and(|label| is_key(label, key)) {
        return Err(format!(
            "the name is outside of the zone: it must end in \"{key}.\", or be relative (no dot at the end)"
        ));
    }
    if labels.last().is_some_and(|label| is_key(label, key)) {
        return Err(
            "the name ends in the key twice: written with its key, it needs a dot at the end".to_string()
        );
    }
    let mut name = NameBuilder::new_bytes();
    labels
        .iter()
        .try_for_each(|label| name.append_label(label.to_canonical().as_slice()))
        .and_then(|()| name.append_label(key.to_z32().as_bytes()))
        .and_then(|()| name.into_name())
        .map_err(|_| "the name is longer than 255 bytes".to_string())
}

/// Whether a label is one of the spellings of `key`: any case, and any value of the last character's unused bits.
fn is_key(label: &Label, key: &PublicKey) -> bool {
    let Ok(text) = std::str::from_utf8(label.as_slice()) else {
        return false;
    };
    text.len() == 52 && PublicKey::try_from(text.to_ascii_lowercase()).is_ok_and(|found| found == *key)
}

/// Whether data that may have been given as bytes are what their type says.
fn is_well_formed(record_type: Rtype, data: &ZoneRecordData<Bytes, Name<Bytes>>) -> bool {
    let mut bytes = Vec::new();
    let Ok(()) = data.compose_rdata(&mut bytes);
    let mut parser = Parser::from_ref(bytes.as_slice());
    ZoneRecordData::<&[u8], ParsedName<&[u8]>>::parse_rdata(record_type, &mut parser)
        .is_ok_and(|read| read.is_some() && parser.remaining() == 0)
}

#[cfg(test)]
mod tests;
