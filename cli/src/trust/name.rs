//! What authorities are called in stores, so that those which were put there are found again. Pure.

use std::fmt;

use pkdns::edge::certificates::AuthorityReading;

/// Hexadecimal digits of the fingerprint in a name.
const DIGITS: usize = 8;

/// `pkdns bridge 1a2b3c4d`: what for, and the beginning of the fingerprint.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct StoredName {
    purpose: Purpose,
    digits: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Purpose {
    Bridge,
    Local,
    Other,
}

impl Purpose {
    const ALL: [Self; 3] = [Self::Bridge, Self::Local, Self::Other];

    fn word(self) -> &'static str {
        match self {
            Self::Bridge => "bridge",
            Self::Local => "local",
            Self::Other => "other",
        }
    }
}

impl StoredName {
    pub(super) fn of(authority: &AuthorityReading) -> Self {
        let purpose = match authority.subject.as_str() {
            "pkdns bridge authority" => Purpose::Bridge,
            "pkdns local authority" => Purpose::Local,
            _ => Purpose::Other,
        };
        Self { purpose, digits: hex(&authority.fingerprint)[..DIGITS].to_owned() }
    }

    /// What such a name looks like in a list of names: words with spaces between them, and nothing behind.
    pub(super) fn parse(text: &str) -> Option<Self> {
        Self::parse_with(text, ' ')
    }

    /// The name of a file of the system.
    pub(super) fn file_name(&self) -> String {
        format!("pkdns-{}-{}.crt", self.purpose.word(), self.digits)
    }

    pub(super) fn parse_file_name(text: &str) -> Option<Self> {
        Self::parse_with(text.strip_suffix(".crt")?, '-')
    }

    /// Whether it may be the one that somebody means who writes this much of its fingerprint.
    pub(super) fn is_meant_by(&self, fingerprint: &str) -> bool {
        fingerprint.starts_with(&self.digits)
    }

    fn parse_with(text: &str, separator: char) -> Option<Self> {
        let mut words = text.split(separator);
        let (Some("pkdns"), Some(purpose), Some(digits), None) =
            (words.next(), words.next(), words.next(), words.next())
        else {
            return None;
        };
        let is_digit = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
        let is_ours = digits.len() == DIGITS && digits.bytes().all(is_digit);
        let purpose = Purpose::ALL.into_iter().find(|known| known.word() == purpose)?;
        is_ours.then(|| Self { purpose, digits: digits.to_owned() })
    }
}

impl fmt::Display for StoredName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "pkdns {} {}", self.purpose.word(), self.digits)
    }
}

/// In lower case.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A fingerprint as people write it, with or without colons: at least as much of it as is in a name.
pub(super) fn fingerprint(text: &str) -> Result<String, String> {
    let digits: String = text.chars().filter(|&character| character != ':').collect();
    let is_sound =
        (DIGITS..=64).contains(&digits.len()) && digits.bytes().all(|byte| byte.is_ascii_hexdigit());
    if is_sound {
        Ok(digits.to_ascii_lowercase())
    } else {
        Err("expected 8 to 64 hexadecimal digits, as pkdns-cli trust show prints them".to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_is_read_as_it_was_written_and_those_of_others_are_none() {
        for text in ["pkdns bridge 1a2b3c4d", "pkdns local 00000000", "pkdns other ffffffff"] {
            let name = StoredName::parse(text).unwrap();
            assert_eq!(name.to_string(), text);
            assert_eq!(StoredName::parse_file_name(&name.file_name()), Some(name));
        }
        for text in [
            "",
            "pkdns",
            "pkdns bridge",
            "pkdns bridge 1A2B3C4D",
            "pkdns bridge 1a2b3c4",
            "pkdns bridge 1a2b3c4d5",
            "pkdns bridge 1a2b3c4d x",
            "pkdns site 1a2b3c4d",
            "other bridge 1a2b3c4d",
            "pkdns  bridge 1a2b3c4d",
        ] {
            assert_eq!(StoredName::parse(text), None, "{text}");
        }
        for text in
            ["pkdns-bridge-1a2b3c4d", "pkdns-bridge-1a2b3c4d.pem", "pkdns.crt", "mkcert-bridge-1a2b3c4d.crt"]
        {
            assert_eq!(StoredName::parse_file_name(text), None, "{text}");
        }
    }

    #[test]
    fn a_fingerprint_may_have_colons_and_any_case_and_be_cut() {
        assert_eq!(fingerprint("1A:2B:3C:4D"), Ok("1a2b3c4d".to_owned()));
        let name = StoredName::parse("pkdns bridge 1a2b3c4d").unwrap();
        assert!(
            name.is_meant_by("1a2b3c4d") && name.is_meant_by("1a2b3c4d5e") && !name.is_meant_by("1a2b3c4e")
        );
        for text in ["", "1a2b3c4", "1a2b3c4g", &"0".repeat(65)] {
            assert!(fingerprint(text).is_err(), "{text}");
        }
    }
}
