//! Names whose last label is a public key.

use domain::base::name::Name;
use pkdns::{config, signed_packet::PublicKey};
use thiserror::Error;

use crate::terminal::printable;

/// Length of a key in z-base-32.
const KEY_LENGTH: usize = 52;

/// A key, or a name in its zone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct PublicName {
    pub(crate) key: PublicKey,
    /// The name in full, without a suffix, as [`crate::records`] writes owners.
    pub(crate) name: String,
    /// Whether it is the key itself.
    pub(crate) is_apex: bool,
}

/// Why a text is no such name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum NameError {
    #[error(
        "this is not a domain name: write a public key of {KEY_LENGTH} characters, with or without names before it"
    )]
    Malformed,
    #[error(
        "the name must end in a public key of {KEY_LENGTH} characters, with or without \".key\" after it"
    )]
    NoKey,
    #[error(
        "the last label has the form of a public key, but is not a valid one: compare it with the original"
    )]
    InvalidKey,
}

/// Takes `KEY`, `KEY.key`, `sub.KEY` and `pk:KEY`, in any case.
pub(crate) fn parse(text: &str) -> Result<PublicName, NameError> {
    let text = text.trim().to_ascii_lowercase();
    let text = text.strip_prefix("pk:").unwrap_or(&text);
    let name = Name::vec_from_str(text).map_err(|_| NameError::Malformed)?;
    let mut labels: Vec<String> =
        name.iter().filter(|label| !label.is_root()).map(|label| label.to_string()).collect();
    let suffixes = config::Names::default().suffixes;
    if labels.last().is_some_and(|last| suffixes.contains(last)) {
        labels.pop();
    }
    let last = labels.pop().ok_or(NameError::NoKey)?;
    let key = key(&last)?;
    let is_apex = labels.is_empty();
    labels.push(key.to_z32());
    Ok(PublicName { key, name: printable(&format!("{}.", labels.join("."))), is_apex })
}

fn key(label: &str) -> Result<PublicKey, NameError> {
    if label.len() != KEY_LENGTH || !label.bytes().all(|byte| byte.is_ascii_alphanumeric()) {
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
            (&KEY[1..], NameError::NoKey),
            (&format!("{KEY}.example.com"), NameError::NoKey),
            (&format!("x{KEY}"), NameError::NoKey),
            (not_a_point, NameError::InvalidKey),
            (&KEY.replace('8', "l"), NameError::InvalidKey),
        ] {
            assert_eq!(parse(text), Err(error), "{text}");
        }
    }
}
