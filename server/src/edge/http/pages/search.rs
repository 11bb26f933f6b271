//! The key in whatever somebody pastes: with a scheme, a suffix, names below it, a path. Pure.

use hickory_proto::rr::Name;
use pkdns_dht::signed_packet::PublicKey;

use crate::resolver::name::{Route, Suffixes};

/// Characters of a key in z-base-32.
const KEY_LENGTH: usize = 52;

/// The characters that z-base-32 leaves out, since people take them for others.
const MISSING: &str = "02lv";

/// What some applications put before a key, without anything between.
const PREFIXES: [&str; 2] = ["pubky", "pk"];

/// So many letters and digits in a row are an attempt at a key.
const LIKE_A_KEY: usize = 26;

/// Why there is no key in a text. Says nothing of the text itself, which may be a secret.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum NoKey {
    /// Nothing was written.
    Empty,
    /// Nothing in it resembles a key.
    Nothing,
    /// So many characters where a key has [`KEY_LENGTH`].
    Length(usize),
    /// It has characters that no key has.
    Characters(String),
    /// Nobody can sign for it.
    Impossible,
    /// 64 hexadecimal digits, which is what a seed file holds.
    LikeASeed,
}

impl NoKey {
    /// What to do about it, in HTML.
    pub(super) fn advice(&self) -> String {
        match self {
            Self::Empty => {
                "Write or paste a key, or an address under one: <code>pk:…</code>, <code>https://www.&lt;key&gt;.key/</code> and \
                 the like."
                    .to_owned()
            }
            Self::Nothing => {
                "There is no key in it. A key has 52 letters and digits, alone or as a part of a name.".to_owned()
            }
            Self::Length(length) => format!(
                "A key has 52 letters and digits, and this has {length}. Copy it again: a double click may have taken a part of \
                 it."
            ),
            Self::Characters(found) => format!(
                "Keys have no <code>{found}</code>. Instead of 0, 2, l and v, which are easily mistaken, they are written with \
                 o, z, 1 or i, and u."
            ),
            Self::Impossible => {
                "It has the form of a key, and no such key can sign anything: a character may be wrong.".to_owned()
            }
            Self::LikeASeed => {
                "That is 64 hexadecimal digits, the form of a secret seed. This server has not written it down. If it is your \
                 seed, keep it to yourself: whoever has it can sign in your name. <code>pkdns-cli publickey --seed FILE</code> \
                 prints the key that belongs to it."
                    .to_owned()
            }
        }
    }
}

/// The key in a text, and its names from the last to the first.
pub(super) fn key_in(text: &str) -> Result<PublicKey, NoKey> {
    let text = text.trim();
    if text.is_empty() {
        return Err(NoKey::Empty);
    }
    let labels: Vec<&str> = host(text).split('.').filter(|label| !label.is_empty()).rev().collect();
    let spellings = labels.iter().flat_map(|label| {
        let without = PREFIXES.iter().filter_map(move |prefix| strip_prefix(label, prefix));
        std::iter::once(*label).chain(without)
    });
    let mut is_impossible = false;
    for label in spellings.filter(|label| label.len() == KEY_LENGTH) {
        let Ok(name) = Name::from_labels([label.as_bytes()]) else { continue };
        match Suffixes::default().classify(&name) {
            Route::PublicKey(found) => return Ok(found.key),
            Route::NotACurvePoint { .. } => is_impossible = true,
            Route::Special(_) | Route::Icann => {}
        }
    }
    if is_impossible {
        return Err(NoKey::Impossible);
    }
    Err(fault(&labels))
}

/// What stands where the key should be.
fn fault(labels: &[&str]) -> NoKey {
    let is_word = |label: &&&str| label.bytes().all(|byte| byte.is_ascii_alphanumeric());
    let Some(longest) = labels.iter().filter(is_word).max_by_key(|label| label.len()) else {
        return NoKey::Nothing;
    };
    match longest.len() {
        64 if longest.bytes().all(|byte| byte.is_ascii_hexdigit()) => NoKey::LikeASeed,
        KEY_LENGTH => {
            let mut found: Vec<char> = longest.to_ascii_lowercase().chars().collect();
            found.retain(|character| MISSING.contains(*character));
            found.sort_unstable();
            found.dedup();
            NoKey::Characters(found.into_iter().collect())
        }
        length @ LIKE_A_KEY.. => NoKey::Length(length),
        _ => NoKey::Nothing,
    }
}

/// Without a scheme, a user, a port and what stands behind the name.
fn host(text: &str) -> &str {
    let rest = match text.split_once("://") {
        Some((_, rest)) => rest,
        None => match text.split_once(':') {
            // `pk:` and the like, and not a port.
            Some((scheme, rest))
                if scheme.bytes().all(|byte| byte.is_ascii_alphabetic()) && scheme.len() < LIKE_A_KEY =>
            {
                rest
            }
            _ => text,
        },
    };
    let end = rest.find(['/', '?', '#', '\\']).unwrap_or(rest.len());
    let (authority, _) = rest.split_at(end);
    let authority = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    authority.split_once(':').map_or(authority, |(host, _)| host).trim()
}

fn strip_prefix<'a>(label: &'a str, prefix: &str) -> Option<&'a str> {
    let (start, rest) = label.split_at_checked(prefix.len())?;
    start.eq_ignore_ascii_case(prefix).then_some(rest)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: &str = "8qhdp5s8jjmxmqam3bpg9kzeg7x8teztuwrfgxw5ikn9z5bt15uy";

    #[test]
    fn every_spelling_of_a_key_is_found() {
        for text in [
            KEY.to_owned(),
            KEY.to_uppercase(),
            format!("  {KEY}\n"),
            format!("pk:{KEY}"),
            format!("PK:{KEY}"),
            format!("pubky{KEY}"),
            format!("pubky:{KEY}"),
            format!("pubky://{KEY}/pub/profile.json"),
            format!("pk{KEY}"),
            format!("{KEY}."),
            format!("{KEY}.key"),
            format!("www.{KEY}.key."),
            format!("_https._tcp.{KEY}.pk.example.net"),
            format!("http://{KEY}/"),
            format!("https://www.{KEY}.key:8443/a/b?c=d#e"),
            format!("https://user:password@{KEY}.key/"),
            format!("{KEY}:8080/path"),
            format!("{KEY}/path"),
        ] {
            assert_eq!(key_in(&text).map(|key| key.to_z32()), Ok(KEY.to_owned()), "{text}");
        }
        // The last label counts, as in a question.
        let other = "7fmjpcuuzf54hw18bsgi3zihzyh4awseeuq5tmojefaezjbd64cy";
        assert_eq!(key_in(&format!("{other}.{KEY}.key")).map(|key| key.to_z32()), Ok(KEY.to_owned()));
    }

    #[test]
    fn what_is_no_key_is_told_apart() {
        let with_l = KEY.replace('8', "l");
        for (text, expected) in [
            ("", NoKey::Empty),
            (" \t", NoKey::Empty),
            ("example.com", NoKey::Nothing),
            ("https://", NoKey::Nothing),
            (&KEY[1..], NoKey::Length(51)),
            (&format!("pk:{KEY}y"), NoKey::Length(53)),
            (&with_l, NoKey::Characters("l".into())),
            (&"8a".repeat(32), NoKey::LikeASeed),
            // The key of the order 1.
            (&format!("{}y", "y".repeat(51)), NoKey::Impossible),
        ] {
            assert_eq!(key_in(text), Err(expected), "{text}");
        }
    }

    #[test]
    fn advice_does_not_repeat_what_may_be_a_secret() {
        let seed = "0123456789abcdef".repeat(4);
        assert!(!key_in(&seed).unwrap_err().advice().contains("0123"));
    }

    proptest! {
        #[test]
        fn any_text_has_a_key_or_a_reason(text in ".{0,120}") {
            let advice = key_in(&text).map_err(|fault| fault.advice());
            if let Err(advice) = advice {
                prop_assert!(!advice.contains("<script"));
            }
        }
    }
}
