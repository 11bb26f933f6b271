//! Parameters of SVCB and HTTPS records as text (RFC 9460 section 2.1). The `domain` crate writes some of them in a
//! way that no zone-file reader takes back.

mod reading;

use std::net::{Ipv4Addr, Ipv6Addr};

use domain::utils::base64;

pub(super) use reading::scan;

/// Parameters that have names, by their numbers.
const NAMES: [&str; 10] = [
    "mandatory",
    "alpn",
    "no-default-alpn",
    "port",
    "ipv4hint",
    "ech",
    "ipv6hint",
    "dohpath",
    "ohttp",
    "tls-supported-groups",
];

/// The one known parameter that is plain text (RFC 9461).
const DOHPATH: u16 = 7;

/// All parameters, each with a space before it. `parameters` is in wire format: what is malformed ends the list.
pub fn text(mut parameters: &[u8]) -> String {
    let mut text = String::new();
    while let Some((key, rest)) = take_u16(parameters)
        && let Some((length, rest)) = take_u16(rest)
        && let Some((value, rest)) = rest.split_at_checked(length.into())
    {
        text.push(' ');
        text.push_str(&parameter(key, value));
        parameters = rest;
    }
    text
}

fn parameter(key: u16, value: &[u8]) -> String {
    let list = match key {
        0 => chunks(value).map(|keys| keys.into_iter().map(u16::from_be_bytes).map(name).collect()),
        1 => protocols(value),
        3 => chunks(value).filter(|ports| ports.len() == 1).map(|ports| strings(ports, u16::from_be_bytes)),
        4 => chunks::<4>(value).map(|addresses| strings(addresses, Ipv4Addr::from)),
        5 if !value.is_empty() => Some(vec![base64::encode_string(value)]),
        6 => chunks::<16>(value).map(|addresses| strings(addresses, Ipv6Addr::from)),
        _ => None,
    };
    match list {
        Some(values) if !values.is_empty() => format!("{}={}", name(key), values.join(",")),
        _ if value.is_empty() => name(key),
        _ if key == DOHPATH => format!("{}=\"{}\"", name(key), escaped(value)),
        // Bytes as they are, be it that the key is unknown or that they do not follow its format.
        _ => format!("key{key}=\"{}\"", escaped(value)),
    }
}

fn name(key: u16) -> String {
    // Of the last, programs of today know the number only.
    let name = NAMES.get(usize::from(key)).filter(|_| key <= 8);
    name.map_or_else(|| format!("key{key}"), |name| (*name).to_string())
}

fn strings<const N: usize, T: ToString>(values: Vec<[u8; N]>, convert: fn([u8; N]) -> T) -> Vec<String> {
    values.into_iter().map(|value| convert(value).to_string()).collect()
}

fn chunks<const N: usize>(value: &[u8]) -> Option<Vec<[u8; N]>> {
    let (chunks, rest) = value.as_chunks::<N>();
    rest.is_empty().then(|| chunks.to_vec())
}

/// Protocol names that need no escapes, which are all that are in use.
fn protocols(mut value: &[u8]) -> Option<Vec<String>> {
    let mut protocols = Vec::new();
    while let Some((&length, rest)) = value.split_first() {
        let (protocol, rest) = rest.split_at_checked(length.into())?;
        let text = std::str::from_utf8(protocol).ok().filter(|text| !text.is_empty())?;
        if !text.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"./-_+".contains(&byte)) {
            return None;
        }
        protocols.push(text.to_string());
        value = rest;
    }
    Some(protocols)
}

/// Text between quotes.
pub(super) fn escaped(value: &[u8]) -> String {
    let mut text = String::new();
    for &byte in value {
        match byte {
            b'"' | b'\\' => text.extend(['\\', char::from(byte)]),
            b' '..=b'~' => text.push(char::from(byte)),
            _ => text.push_str(&format!("\\{byte:03}")),
        }
    }
    text
}

fn take_u16(bytes: &[u8]) -> Option<(u16, &[u8])> {
    bytes.split_first_chunk().map(|(number, rest)| (u16::from_be_bytes(*number), rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parameter(key: u8, value: &[u8]) -> String {
        let length = u8::try_from(value.len()).unwrap();
        text(&[&[0, key, 0, length], value].concat())
    }

    #[test]
    fn parameters_are_written_as_the_rfc_has_them() {
        for (key, value, expected) in [
            (0, b"\0\x01\0\x03".as_slice(), " mandatory=alpn,port"),
            (1, b"\x02h2\x08http/1.1", " alpn=h2,http/1.1"),
            (2, b"", " no-default-alpn"),
            (3, b"\x20\xfb", " port=8443"),
            (4, &[127, 0, 0, 1, 192, 0, 2, 1], " ipv4hint=127.0.0.1,192.0.2.1"),
            (5, b"\0\x01\xfe", " ech=AAH+"),
            (6, &[0x20, 1, 0x0d, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1], " ipv6hint=2001:db8::1"),
            (7, b"/q{?dns}", " dohpath=\"/q{?dns}\""),
            (8, b"", " ohttp"),
            (200, b"a \"\\\x1b", " key200=\"a \\\"\\\\\\027\""),
        ] {
            assert_eq!(parameter(key, value), expected);
        }
    }

    #[test]
    fn values_that_do_not_follow_their_format_are_written_as_bytes() {
        for (key, value, expected) in [
            (0, b"\0".as_slice(), " key0=\"\\000\""),
            (1, b"\x02h,", " key1=\"\\002h,\""),
            (1, b"\x05h2", " key1=\"\\005h2\""),
            (3, b"\0\0\0\0", " key3=\"\\000\\000\\000\\000\""),
            (4, b"abc", " key4=\"abc\""),
        ] {
            assert_eq!(parameter(key, value), expected);
        }
        assert_eq!(text(&[0, 3, 0, 2, 1]), "");
    }
}
