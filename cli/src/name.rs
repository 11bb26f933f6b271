//! Names whose last label is a public key.

use domain::base::name::Name;
use pkdns::{
    config,
    resolver::name::{KEY_LABEL_LENGTH, value_of},
};
use pkdns_dht::signed_packet::PublicKey;
use thiserror::Error;

use crate::terminal::printable;

/// Characters that a copy may have too many or too few, to be told so.
const NEAR: usize = 4;

/// A key, or a name in its zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PublicName {
    pub(crate) key: PublicKey,
    /// The name in full, without a suffix, as [`crate::records`] writes owners.
    pub(crate) name: String,
    /// Whether it is the key itself.
    pub(crate) is_apex: bool,
}

impl PublicName {
    /// The key itself.
    pub(crate) fn of(key: PublicKey) -> Self {
        let name = format!("{}.", key.to_z32());
        Self { key, name, is_apex: true }
    }
}

/// Why a text is no such name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum NameError {
    #[error(
        "this is not a domain name: write a public key of {KEY_LABEL_LENGTH} characters, with or without names before it"
    )]
    Malformed,
    #[error(
        "the name must end in a public key of {KEY_LABEL_LENGTH} characters, with or without \".key\" after it"
    )]
    NoKey,
    #[error(
        "the last label has {0} characters, and a key has {KEY_LABEL_LENGTH}: some got lost or came along when it was copied"
    )]
    Length(usize),
    #[error(
        "the last label has the form of a public key, but is not a valid one: compare it with the original"
    )]
    InvalidKey,
}

/// Takes `KEY`, `KEY.key`, `sub.KEY` and `pk:KEY`, in any case, and the address of a page as browsers show it.
pub(crate) fn parse(text: &str) -> Result<PublicName, NameError> {
    let text = text.trim().to_ascii_lowercase();
    let text = host(text.strip_prefix("pk:").unwrap_or(&text));
    let name = Name::vec_from_str(text).map_err(|_| NameError::Malformed)?;
    let mut labels: Vec<String> =
        name.iter().filter(|label| !label.is_root()).map(|label| label.to_string()).collect();
    let suffixes = config::Names::default().suffixes;
    if labels.last().is_some_and(|last| suffixes.contains(last)) {
        labels.pop();
    }
    let last = labels.pop().ok_or(NameError::NoKey)?;
    let key = key_of(&last)?;
    let is_apex = labels.is_empty();
    labels.push(key.to_z32());
    Ok(PublicName { key, name: printable(&format!("{}.", labels.join("."))), is_apex })
}

/// Takes a key in these forms, and no name below one.
pub(crate) fn key(text: &str) -> Result<PublicKey, String> {
    match parse(text) {
        Ok(name) if name.is_apex => Ok(name.key),
        Ok(_) => Err("expected a key without a name before it".to_string()),
        Err(error) => Err(error.to_string()),
    }
}

/// The host of an address such as `http://www.KEY.key:8000/page`, or all of a text that is none.
fn host(text: &str) -> &str {
    let Some((_, rest)) = text.split_once("://") else { return text };
    let authority = rest.split(['/', '?', '#']).next().unwrap_or_default();
    let host = authority.rsplit('@').next().unwrap_or_default();
    match host.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => host,
    }
}

/// The length of what is no key, and would be with a few characters more or fewer: a double click takes too little, or
/// too much.
pub(crate) fn length_near_a_key(text: &str) -> Option<usize> {
    let length = text.len();
    let is_near = length.abs_diff(KEY_LABEL_LENGTH) <= NEAR && length != KEY_LABEL_LENGTH;
    (is_near && text.bytes().all(|byte| value_of(byte).is_some())).then_some(length)
}

fn key_of(label: &str) -> Result<PublicKey, NameError> {
    if let Some(length) = length_near_a_key(label) {
        return Err(NameError::Length(length));
    }
    if label.len() != KEY_LABEL_LENGTH || !label.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
        return Err(NameError::NoKey);
    }
    PublicKey::try_from(label).map_err(|_| NameError::InvalidKey)
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "8pinxxgqs41n4aididenw5apqp1urfmzdztr8jt4abrkdn435ewo";

    #[test]
    fn a_name_is_taken_in_every_form_that_people_have_it_in() {
        for (text, name, is_apex) in [
            (KEY.to_string(), format!("{KEY}."), true),
            (format!(" {KEY}.\n"), format!("{KEY}."), true),
            (format!("{KEY}.key"), format!("{KEY}."), true),
            (format!("PK:{}", KEY.to_uppercase()), format!("{KEY}."), true),
            (format!("WWW.{}.KEY.", KEY.to_uppercase()), format!("www.{KEY}."), false),
            (format!("_pubky.a\\.b.{KEY}"), format!("_pubky.a\\.b.{KEY}."), false),
            (format!("*.{KEY}"), format!("*.{KEY}."), false),
            (format!("http://www.{KEY}.key/"), format!("www.{KEY}."), false),
            (format!("HTTPS://{KEY}.:8443/page?x=y#z"), format!("{KEY}."), true),
            // The last character's unused bits do not matter.
            (format!("{}t", &KEY[..51]), format!("{KEY}."), true),
        ] {
            let parsed = parse(&text).unwrap();
            assert_eq!((parsed.key.to_z32(), parsed.name, parsed.is_apex), (KEY.to_string(), name, is_apex));
        }
    }

    #[test]
    fn what_is_no_key_is_refused_with_the_reason() {
        let not_a_point = "c1bkg8tfsyy8wcedtmw4fwhdmm7bbzhgg3z58tf43m5ow8w9mbus";
        for (text, error) in [
            ("", NameError::Malformed),
            (".", NameError::NoKey),
            ("key", NameError::NoKey),
            ("example.com", NameError::NoKey),
            ("a..b", NameError::Malformed),
            (&KEY[1..], NameError::Length(51)),
            (&format!("www.{KEY}y.key"), NameError::Length(53)),
            (&KEY[5..], NameError::NoKey),
            ("http://", NameError::Malformed),
            (&format!("http://{KEY}.example/"), NameError::NoKey),
            (&format!("{KEY}.example.com"), NameError::NoKey),
            (&format!("x{KEY}"), NameError::Length(53)),
            (not_a_point, NameError::InvalidKey),
            (&KEY.replace('8', "l"), NameError::InvalidKey),
        ] {
            assert_eq!(parse(text), Err(error), "{text}");
        }
    }
}
