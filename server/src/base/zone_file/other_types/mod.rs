//! Types that the `domain` crate knows by name only: how their data are written in a zone file, for both directions.

mod location;

use std::str::FromStr;

use bytes::{BufMut, Bytes, BytesMut};
use domain::{
    base::{
        CharStr, Name, ParsedName, Rtype,
        rdata::{ParseRecordData, RecordData},
        scan::{Scanner, ScannerError},
        wire::ParseError,
    },
    dep::octseq::Parser,
    utils::{base16, base64},
};

use super::{
    escaped_name, seconds,
    service_parameters::{self, escaped},
};

/// A part of the data.
#[derive(Clone, Copy)]
enum Field {
    U8,
    U16,
    U32,
    Name,
    /// A number of seconds, or for example `1h30m`.
    Seconds,
    /// Strings of up to 255 bytes to the end, at least one.
    Strings,
    /// All bytes to the end, as one text.
    Text,
    Hexadecimal,
    Base64,
    /// Bytes in hexadecimal with hyphens.
    Hyphenated(usize),
    CertificateType,
    Location,
}

/// The types, in the order of their numbers.
const TYPES: &[(Rtype, &[Field])] = {
    use Field::*;
    &[
        (Rtype::AFSDB, &[U16, Name]),
        (Rtype::RT, &[U16, Name]),
        (Rtype::PX, &[U16, Name, Name]),
        (Rtype::LOC, &[Location]),
        (Rtype::KX, &[U16, Name]),
        (Rtype::CERT, &[CertificateType, U16, U8, Base64]),
        (Rtype::DHCID, &[Base64]),
        (Rtype::SMIMEA, &[U8, U8, U8, Hexadecimal]),
        (Rtype::SPF, &[Strings]),
        (Rtype::LP, &[U16, Name]),
        (Rtype::EUI48, &[Hyphenated(6)]),
        (Rtype::EUI64, &[Hyphenated(8)]),
        (Rtype::URI, &[U16, U16, Text]),
        (Rtype::RESINFO, &[Strings]),
        (Rtype::WALLET, &[Strings]),
    ]
};

/// Of these the `domain` crate knows the data, but reads no times with units, as BIND has them.
const START_OF_AUTHORITY: &[Field] = {
    use Field::*;
    &[Name, Name, U32, Seconds, Seconds, Seconds, Seconds]
};

/// Kinds of certificates (RFC 4398 section 2.1).
const CERTIFICATE_TYPES: [(&str, u16); 10] = [
    ("PKIX", 1),
    ("SPKI", 2),
    ("PGP", 3),
    ("IPKIX", 4),
    ("ISPKI", 5),
    ("IPGP", 6),
    ("ACPKIX", 7),
    ("IACPKIX", 8),
    ("URI", 253),
    ("OID", 254),
];

/// Reads the data of a type of this table, of SOA, SVCB and HTTPS; `None` for any other.
pub(super) fn scan<S>(record_type: Rtype, scanner: &mut S) -> Option<Result<Bytes, S::Error>>
where
    S: Scanner<Octets = Bytes, Name = Name<Bytes>>,
{
    let is_service = matches!(record_type, Rtype::SVCB | Rtype::HTTPS);
    let fields = match record_type {
        Rtype::SVCB | Rtype::HTTPS => &[],
        Rtype::SOA => START_OF_AUTHORITY,
        other => fields(other)?,
    };
    match scanner.scan_opt_unknown_marker() {
        Ok(false) => {}
        Ok(true) => return Some(scan_bytes(scanner)),
        Err(error) => return Some(Err(error)),
    }
    if is_service {
        return Some(service_parameters::scan(scanner));
    }
    let mut data = BytesMut::new();
    let read = fields.iter().try_for_each(|field| scan_field(*field, scanner, &mut data));
    Some(read.map(|()| data.freeze()))
}

/// Data of one of these types, as text.
#[derive(Debug)]
pub struct Text(Rtype, String);

impl Text {
    /// As it is written in a zone file, in printable ASCII.
    pub fn into_text(self) -> String {
        self.1
    }
}

impl RecordData for Text {
    fn rtype(&self) -> Rtype {
        self.0
    }
}

impl<'a> ParseRecordData<'a, [u8]> for Text {
    fn parse_rdata(record_type: Rtype, parser: &mut Parser<'a, [u8]>) -> Result<Option<Self>, ParseError> {
        let Some(fields) = fields(record_type) else {
            return Ok(None);
        };
        let parts: Result<Vec<_>, _> = fields.iter().map(|field| text(*field, parser)).collect();
        Ok(Some(Self(record_type, parts?.join(" "))))
    }
}

fn fields(record_type: Rtype) -> Option<&'static [Field]> {
    TYPES.iter().find_map(|(known, fields)| (*known == record_type).then_some(*fields))
}

/// Data behind `\#` (RFC 3597 section 5).
fn scan_bytes<S: Scanner<Octets = Bytes>>(scanner: &mut S) -> Result<Bytes, S::Error> {
    let length = number::<S, u16>(scanner)?;
    let data = scanner.convert_entry(base16::SymbolConverter::new())?;
    if data.len() == usize::from(length) {
        Ok(data)
    } else {
        Err(S::Error::custom("generic data has incorrect length"))
    }
}

fn scan_field<S>(field: Field, scanner: &mut S, data: &mut BytesMut) -> Result<(), S::Error>
where
    S: Scanner<Octets = Bytes, Name = Name<Bytes>>,
{
    match field {
        Field::U8 => data.put_u8(number::<S, u8>(scanner)?),
        Field::U16 => data.put_u16(number::<S, u16>(scanner)?),
        Field::U32 => data.put_u32(number::<S, u32>(scanner)?),
        Field::Seconds => data.put_u32(scanner.scan_ascii_str(|text| match seconds(text) {
            Some(Some(seconds)) => Ok(seconds),
            Some(None) => Err(S::Error::custom("decimal number overflow")),
            None => Err(S::Error::custom("expected a number of seconds, or for example 1h30m")),
        })?),
        Field::Name => data.put_slice(scanner.scan_name()?.as_slice()),
        Field::Strings => data.put_slice(&scanner.scan_charstr_entry()?),
        Field::Text => match scanner.scan_octets()? {
            text if text.is_empty() => return Err(S::Error::custom("expected a text that is not empty")),
            text => data.put_slice(&text),
        },
        Field::Hexadecimal => data.put_slice(&scanner.convert_entry(base16::SymbolConverter::new())?),
        Field::Base64 => data.put_slice(&scanner.convert_entry(base64::SymbolConverter::new())?),
        Field::Hyphenated(count) => {
            let bytes = scanner.scan_ascii_str(|text| {
                hyphenated(text, count)
                    .ok_or_else(|| S::Error::custom("expected bytes such as 00-00-5e-00-53-2a"))
            })?;
            data.put_slice(&bytes);
        }
        Field::CertificateType => data.put_u16(scanner.scan_ascii_str(|text| {
            let named = CERTIFICATE_TYPES.iter().find(|(name, _)| name.eq_ignore_ascii_case(text));
            named
                .map(|(_, number)| *number)
                .or_else(|| text.parse().ok())
                .ok_or_else(|| S::Error::custom("expected a certificate type: PKIX, PGP, URI or a number"))
        })?),
        Field::Location => {
            let mut words = Vec::new();
            while scanner.continues() {
                words.push(scanner.scan_ascii_str(|word| Ok(word.to_string()))?);
            }
            let words: Vec<&str> = words.iter().map(String::as_str).collect();
            data.put_slice(&location::parse(&words).ok_or_else(|| {
                S::Error::custom(
                    "expected a location such as 52 22 23.000 N 4 53 32.000 E -2.00m 1m 10000m 10m",
                )
            })?);
        }
    }
    Ok(())
}

pub(super) fn number<S: Scanner, T: FromStr>(scanner: &mut S) -> Result<T, S::Error> {
    scanner.scan_ascii_str(|text| match text.parse() {
        Ok(number) if text.bytes().all(|byte| byte.is_ascii_digit()) => Ok(number),
        _ if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) => {
            Err(S::Error::custom("decimal number overflow"))
        }
        _ => Err(S::Error::custom("expected decimal number")),
    })
}

fn hyphenated(text: &str, count: usize) -> Option<Vec<u8>> {
    let bytes: Option<Vec<u8>> = text
        .split('-')
        .map(|byte| u8::from_str_radix(byte, 16).ok().filter(|_| byte.len() == 2 && !byte.starts_with('+')))
        .collect();
    bytes.filter(|bytes| bytes.len() == count)
}

fn text(field: Field, parser: &mut Parser<'_, [u8]>) -> Result<String, ParseError> {
    let malformed = |text: &'static str| ParseError::form_error(text);
    let rest = |parser: &mut Parser<'_, [u8]>| -> Result<Vec<u8>, ParseError> {
        let length = parser.remaining();
        match parser.parse_octets(length)? {
            // What is empty could not be read back.
            [] => Err(malformed("no data")),
            bytes => Ok(bytes.to_vec()),
        }
    };
    Ok(match field {
        Field::U8 => parser.parse_u8()?.to_string(),
        Field::U16 => parser.parse_u16_be()?.to_string(),
        Field::U32 | Field::Seconds => parser.parse_u32_be()?.to_string(),
        Field::CertificateType => {
            let number = parser.parse_u16_be()?;
            let named = CERTIFICATE_TYPES.iter().find(|(_, known)| *known == number);
            named.map_or_else(|| number.to_string(), |(name, _)| (*name).to_string())
        }
        Field::Name => escaped_name(&ParsedName::parse(parser)?),
        Field::Strings => {
            let mut strings = Vec::new();
            while parser.remaining() > 0 {
                strings.push(format!("\"{}\"", escaped(CharStr::parse(parser)?.as_slice())));
            }
            if strings.is_empty() {
                return Err(malformed("no strings"));
            }
            strings.join(" ")
        }
        Field::Text => format!("\"{}\"", escaped(&rest(parser)?)),
        Field::Hexadecimal => base16::encode_string(&rest(parser)?),
        Field::Base64 => base64::encode_string(&rest(parser)?),
        Field::Hyphenated(count) => {
            let bytes = parser.parse_octets(count)?;
            bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().join("-")
        }
        Field::Location => {
            let bytes = parser.parse_octets(location::SIZE)?;
            bytes
                .first_chunk()
                .and_then(location::text)
                .ok_or_else(|| malformed("no location that can be written"))?
        }
    })
}
