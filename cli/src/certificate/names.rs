//! The names of a site in an origin, and where a challenge for each of them stands. Pure.

use bytes::Bytes;
use domain::{
    base::{Name, Record, Ttl, iana::Class},
    rdata::{Txt, ZoneRecordData},
};
use hickory_proto::rr;
use pkdns_dht::signed_packet::PublicKey;

use crate::{dns, zone_file::ZoneRecord};

/// Names of one certificate. Authorities allow a hundred.
const MAX_NAMES: usize = 100;

/// What a challenge stands below (RFC 8555 section 8.4).
pub(super) const CHALLENGE_LABEL: &str = "_acme-challenge.";

/// Bytes of a name, without the dot at its end (RFC 1035 section 3.1), before which `_acme-challenge.` still fits.
const MAX_LENGTH: usize = 253 - CHALLENGE_LABEL.len();

/// Seconds that a challenge may be kept by others. It is there for a minute or two.
const CHALLENGE_TTL: u32 = 30;

/// What a certificate is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct SiteNames {
    key: PublicKey,
    /// In lower case, without a dot at its end.
    origin: String,
    names: Vec<String>,
}

impl SiteNames {
    /// The key in `origin`, each of `below` below it, and with `wildcard` every label below it.
    ///
    /// # Errors
    ///
    /// What is no name, and what to write.
    pub(crate) fn new(
        key: &PublicKey,
        origin: &str,
        below: &[String],
        wildcard: bool,
    ) -> Result<Self, String> {
        let origin = self::origin(origin)?;
        let apex = format!("{}.{origin}", key.to_z32());
        let mut names = vec![apex.clone()];
        names.extend(wildcard.then(|| format!("*.{apex}")));
        for name in below {
            let below = host(name).filter(|below| !below.is_empty());
            let below = below.ok_or_else(|| {
                format!(
                    "\"{}\" is no name below the key: write one or more labels, such as www",
                    name.escape_default()
                )
            })?;
            // Authorities refuse what the wildcard stands for already.
            let is_covered = wildcard && !below.contains('.');
            let name = format!("{below}.{apex}");
            if !is_covered && !names.contains(&name) {
                names.push(name);
            }
        }
        match names.iter().find(|name| name.len() > MAX_LENGTH) {
            Some(long) => Err(format!("{long} is longer than a name may be")),
            None if names.len() > MAX_NAMES => {
                Err(format!("a certificate has at most {MAX_NAMES} names: take --wildcard for them"))
            }
            None => Ok(Self { key: key.clone(), origin, names }),
        }
    }

    /// All of them, the key itself first.
    pub(crate) fn all(&self) -> &[String] {
        &self.names
    }

    /// The key in the origin.
    pub(crate) fn apex(&self) -> String {
        format!("{}.{}", self.key.to_z32(), self.origin)
    }

    /// The same for questions.
    pub(crate) fn apex_name(&self) -> rr::Name {
        dns::complete(&self.apex())
    }

    /// The zone that the names are in.
    pub(crate) fn zone(&self) -> rr::Name {
        dns::complete(&self.origin)
    }

    /// The record by which the packet of the key shows `value` for `name`, and the name that the origin shows it at.
    pub(crate) fn challenge(&self, name: &str, value: &str) -> Option<(ZoneRecord, rr::Name)> {
        let inside = name.strip_suffix(&self.origin)?.strip_suffix('.')?;
        let record = challenge(&self.key, inside, value)?;
        Some((record, dns::complete(&format!("{CHALLENGE_LABEL}{name}"))))
    }
}

/// The record that shows `value` for `inside`, which is `key` or below it.
pub(super) fn challenge(key: &PublicKey, inside: &str, value: &str) -> Option<ZoneRecord> {
    let below = inside.strip_suffix(&key.to_z32())?;
    if !below.is_empty() && !below.ends_with('.') {
        return None;
    }
    let owner: Name<Bytes> = format!("{CHALLENGE_LABEL}{inside}").parse().ok()?;
    let data = Txt::build_from_slice(value.as_bytes()).ok()?;
    Some(Record::new(owner, Class::IN, Ttl::from_secs(CHALLENGE_TTL), ZoneRecordData::Txt(data)))
}

/// The name of an origin in lower case, without a dot at its end.
pub(crate) fn origin(text: &str) -> Result<String, String> {
    let origin = host(text).filter(|origin| !origin.is_empty());
    origin.ok_or_else(|| "expected the name of a zone, such as pk.example.net".to_string())
}

/// A name of letters, digits and hyphens in lower case, without a dot at its end. Below a key also of underscores, which
/// authorities refuse themselves.
fn host(text: &str) -> Option<String> {
    let text = text.trim().to_ascii_lowercase();
    let text = text.strip_suffix('.').unwrap_or(&text);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    (text.len() <= MAX_LENGTH && text.split('.').all(is_label)).then(|| text.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::key;

    fn names(origin: &str, below: &[&str], wildcard: bool) -> Result<Vec<String>, String> {
        let key = key();
        let below: Vec<String> = below.iter().map(ToString::to_string).collect();
        let names = SiteNames::new(&key, origin, &below, wildcard)?;
        Ok(names.all().iter().map(|name| name.replace(&key.to_z32(), "KEY")).collect())
    }

    #[test]
    fn a_site_has_the_name_of_its_key_and_those_below_it() {
        for (origin, below, wildcard, expected) in [
            ("pk.example.net", &[][..], false, &["KEY.pk.example.net"][..]),
            ("PK.Example.NET.", &["WWW"], false, &["KEY.pk.example.net", "www.KEY.pk.example.net"]),
            ("test", &["a", "a", "b.a"], false, &["KEY.test", "a.KEY.test", "b.a.KEY.test"]),
            ("test", &["a", "b.a"], true, &["KEY.test", "*.KEY.test", "b.a.KEY.test"]),
        ] {
            assert_eq!(names(origin, below, wildcard).unwrap(), expected);
        }
        for (origin, below) in
            [("", "www"), (".", "www"), ("a..b", "www"), ("a_b", "www"), ("https://a", "w")]
        {
            assert!(names(origin, &[below], false).unwrap_err().contains("pk.example.net"), "{origin}");
        }
        for below in ["", ".", "*", "*.www", "a..b", "-a", "a b", "\u{1b}[31m"] {
            let message = names("test", &[below], false).unwrap_err();
            assert!(message.contains("such as www") && !message.contains('\u{1b}'), "{message}");
        }
        let long = "x".repeat(60);
        let longest = [long.as_str(); 4].join(".");
        assert!(names("test", &[&longest], false).unwrap_err().contains("such as www"));
        assert!(names(&[long.as_str(); 3].join("."), &["www"], false).unwrap_err().contains("longer"));
    }

    #[test]
    fn the_challenge_of_a_name_stands_below_the_key_in_the_packet_and_below_the_origin_outside() {
        let key = key();
        let names = SiteNames::new(&key, "pk.example.net", &["a.b".to_string()], true).unwrap();
        for (name, owner) in [("", "_acme-challenge"), ("a.b.", "_acme-challenge.a.b")] {
            let name = format!("{name}{}", names.apex());
            let (record, shown) = names.challenge(&name, "value").unwrap();
            assert_eq!(record.owner().to_string(), format!("{owner}.{}", key.to_z32()));
            assert_eq!(dns::shown(&shown), format!("_acme-challenge.{name}"));
        }
        for other in ["elsewhere.example".to_string(), "pk.example.net".into(), format!("x{}", names.apex())]
        {
            assert!(names.challenge(&other, "value").is_none(), "{other}");
        }
        assert!(names.challenge("other.pk.example.net", "value").is_none());
    }
}
