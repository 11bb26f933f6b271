//! Data of SVCB and HTTPS records from text (RFC 9460 section 2.1 and appendix A). The `domain` crate knows no escapes in
//! lists of protocols, and refuses keys with a 9 or a z.

use std::{
    collections::BTreeMap,
    net::{Ipv4Addr, Ipv6Addr},
    str::FromStr,
};

use bytes::{BufMut, Bytes, BytesMut};
use domain::{
    base::{
        Name,
        scan::{Scanner, ScannerError},
    },
    utils::base64,
};

use super::NAMES;
use crate::base::zone_file::other_types;

const MANDATORY: u16 = 0;

const EXPECTED_PARAMETER: &str =
    "expected a parameter such as port=443, or key123=text for one without a name";
const EXPECTED_ADDRESSES: &str =
    "expected addresses with commas between them, of the family of this parameter";
const EXPECTED_NUMBER: &str = "expected a number up to 65535 as the value of this parameter";
const EXPECTED_LIST: &str =
    "expected values with commas between them; a comma in a value is written as \\\\,";

/// Reads priority, target and parameters. Parameters may come in any order, and stand in that of their numbers.
pub(in crate::base::zone_file) fn scan<S>(scanner: &mut S) -> Result<Bytes, S::Error>
where
    S: Scanner<Octets = Bytes, Name = Name<Bytes>>,
{
    let mut data = BytesMut::new();
    data.put_u16(other_types::number::<S, u16>(scanner)?);
    data.put_slice(scanner.scan_name()?.as_slice());
    let mut parameters = BTreeMap::new();
    while scanner.continues() {
        let token = scanner.scan_svcb_octets()?;
        let (key, value) = parameter(&token).map_err(S::Error::custom)?;
        if parameters.insert(key, value).is_some() {
            return Err(S::Error::custom("this parameter is given twice: write it once"));
        }
    }
    let mandatory = parameters.get(&MANDATORY).map(|keys| keys.as_chunks::<2>().0).unwrap_or_default();
    if !mandatory.iter().all(|key| parameters.contains_key(&u16::from_be_bytes(*key))) {
        return Err(S::Error::custom(
            "a parameter that mandatory lists is missing: add it, or take it off the list",
        ));
    }
    for (key, value) in &parameters {
        data.put_u16(*key);
        data.put_u16(u16::try_from(value.len()).map_err(|_| S::Error::short_buf())?);
        data.put_slice(value);
    }
    Ok(data.freeze())
}

fn parameter(token: &[u8]) -> Result<(u16, Vec<u8>), &'static str> {
    let end = token.iter().position(|byte| *byte == b'=');
    let (name, text) = match end.and_then(|end| token.split_at_checked(end)) {
        Some((name, text)) => (name, text.get(1..).unwrap_or_default()),
        None => (token, [].as_slice()),
    };
    let name = std::str::from_utf8(name).map_err(|_| EXPECTED_PARAMETER)?;
    if let Some(key) = NAMES.iter().position(|known| *known == name).and_then(|key| u16::try_from(key).ok()) {
        return Ok((key, value(key, text)?));
    }
    // Bytes as they are, of a known key as well (section 7.1.1). Without zeros in front, so that each has one spelling.
    let number = name.strip_prefix("key").and_then(|number| Some((number, number.parse::<u16>().ok()?)));
    match number {
        Some((digits, key)) if key.to_string() == digits => Ok((key, text.to_vec())),
        _ => Err(EXPECTED_PARAMETER),
    }
}

/// The value of a parameter that has a name.
fn value(key: u16, text: &[u8]) -> Result<Vec<u8>, &'static str> {
    let is_flag = matches!(key, 2 | 8);
    match text {
        [] if is_flag => return Ok(Vec::new()),
        [] => return Err("this parameter needs a value, as in port=443"),
        _ if is_flag => return Err("this parameter takes no value: write its name alone"),
        _ => {}
    }
    match key {
        MANDATORY => mandatory(text),
        1 => {
            let mut value = Vec::new();
            for protocol in values(text)? {
                value.push(u8::try_from(protocol.len()).map_err(|_| "a protocol has at most 255 bytes")?);
                value.extend(protocol);
            }
            Ok(value)
        }
        3 => Ok(number(text)?.to_vec()),
        4 => Ok(addresses::<Ipv4Addr>(text)?.iter().flat_map(Ipv4Addr::octets).collect()),
        5 => std::str::from_utf8(text)
            .ok()
            .and_then(|text| base64::decode(text).ok())
            .ok_or("expected base64 as the value of ech"),
        6 => Ok(addresses::<Ipv6Addr>(text)?.iter().flat_map(Ipv6Addr::octets).collect()),
        7 if std::str::from_utf8(text).is_err() => Err("expected UTF-8 as the value of dohpath"),
        9 => {
            let groups = text.split(|byte| *byte == b',').map(number).collect::<Result<Vec<_>, _>>()?;
            Ok(groups.concat())
        }
        _ => Ok(text.to_vec()),
    }
}

/// Keys in the order of their numbers (section 8).
fn mandatory(text: &[u8]) -> Result<Vec<u8>, &'static str> {
    let mut keys = Vec::new();
    for name in text.split(|byte| *byte == b',') {
        let key = std::str::from_utf8(name).ok().and_then(|name| {
            let known = NAMES.iter().position(|known| *known == name).and_then(|key| u16::try_from(key).ok());
            let number = || name.strip_prefix("key")?.parse::<u16>().ok();
            known.or_else(number)
        });
        match key.ok_or(EXPECTED_LIST)? {
            MANDATORY => return Err("mandatory cannot be in its own list"),
            key if keys.contains(&key) => return Err("mandatory lists a parameter twice: once is enough"),
            key => keys.push(key),
        }
    }
    keys.sort_unstable();
    Ok(keys.into_iter().flat_map(u16::to_be_bytes).collect())
}

/// The values of a list (appendix A.1): a backslash takes the meaning from a comma and from another backslash.
fn values(text: &[u8]) -> Result<Vec<Vec<u8>>, &'static str> {
    let mut values = vec![Vec::new()];
    let mut bytes = text.iter();
    while let Some(&byte) = bytes.next() {
        let last = values.last_mut().ok_or(EXPECTED_LIST)?;
        match byte {
            b',' => values.push(Vec::new()),
            b'\\' => match bytes.next() {
                Some(&escaped @ (b',' | b'\\')) => last.push(escaped),
                _ => return Err(EXPECTED_LIST),
            },
            byte => last.push(byte),
        }
    }
    if values.iter().any(Vec::is_empty) { Err(EXPECTED_LIST) } else { Ok(values) }
}

fn addresses<T: FromStr>(text: &[u8]) -> Result<Vec<T>, &'static str> {
    let text = std::str::from_utf8(text).map_err(|_| EXPECTED_ADDRESSES)?;
    text.split(',').map(|address| address.parse().map_err(|_| EXPECTED_ADDRESSES)).collect()
}

fn number(text: &[u8]) -> Result<[u8; 2], &'static str> {
    let digits = std::str::from_utf8(text).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()));
    let number = digits.and_then(|digits| digits.parse::<u16>().ok()).ok_or(EXPECTED_NUMBER)?;
    Ok(number.to_be_bytes())
}
