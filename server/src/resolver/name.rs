//! Which world a name belongs to: a key's zone, the table of special names, or the ICANN root. Pure.

use std::collections::HashSet;

use hickory_proto::rr::Name;
use pkdns_dht::signed_packet::{PublicKey, is_weak};

use super::special::SpecialZone;
use crate::base::message::absolute_name;

/// Characters of a key in z-base-32.
pub const KEY_LABEL_LENGTH: usize = 52;

/// The z-base-32 alphabet: no `0`, `2`, `l` or `v`.
pub const ALPHABET: &[u8; 32] = b"ybndrfg8ejkmcpqxot1uwisza345h769";

/// What each byte stands for in it, in either case.
const VALUES: [u8; 256] = {
    let mut values = [NO_VALUE; 256];
    let mut value = 0;
    while value < ALPHABET.len() {
        values[ALPHABET[value] as usize] = value as u8;
        values[ALPHABET[value].to_ascii_uppercase() as usize] = value as u8;
        value += 1;
    }
    values
};

const NO_VALUE: u8 = 0xff;

/// Where a question is answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Route {
    /// From the packet of a key.
    PublicKey(KeyName),
    /// Nowhere: the label reads as a key but no such key can sign. It must not leak to ICANN either.
    NotACurvePoint {
        /// The label with the suffix it came with.
        apex: Name,
    },
    /// From the table of names that RFCs reserve.
    Special(SpecialZone),
    /// By the upstream resolvers.
    Icann,
}

/// A name in the zone of a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyName {
    /// The zone's key.
    pub key: PublicKey,
    /// The zone's name as it was asked for: some spelling of the key, with or without a suffix. Lower case.
    pub apex: Name,
}

/// The suffixes behind which a key may stand.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Suffixes {
    suffixes: HashSet<Name>,
    longest: usize,
}

impl Suffixes {
    /// Takes names such as `key` or `pk.example.net`; what is no name is left out, the configuration has refused it.
    pub fn new<'a>(suffixes: impl IntoIterator<Item = &'a str>) -> Self {
        let suffixes: HashSet<Name> = suffixes
            .into_iter()
            .filter_map(|suffix| absolute_name(suffix.trim_matches('.')))
            .filter(|name| !name.is_root())
            .collect();
        let longest = suffixes.iter().map(|name| name.iter().count()).max().unwrap_or(0);
        Self { suffixes, longest }
    }

    /// Says where `name` is answered. Its case does not matter.
    pub fn classify(&self, name: &Name) -> Route {
        self.classify_with(name, |_| None)
    }

    /// As [`Suffixes::classify`]. Whether bytes are a key takes arithmetic on the curve, unless `known` gives the key.
    pub(super) fn classify_with(
        &self,
        name: &Name,
        known: impl FnOnce(&[u8; 32]) -> Option<PublicKey>,
    ) -> Route {
        let name = name.to_lowercase();
        if let Some((bytes, apex)) = self.find_key(&name) {
            return match known(&bytes).or_else(|| check_key(&bytes)) {
                Some(key) => Route::PublicKey(KeyName { key, apex }),
                None => Route::NotACurvePoint { apex },
            };
        }
        SpecialZone::of(&name).map_or(Route::Icann, Route::Special)
    }

    /// Whether a name reads as one of a key, possible or not. Its case does not matter.
    pub fn reads_as_key(&self, name: &Name) -> bool {
        self.find_key(name).is_some()
    }

    /// How many labels of a name there are up to the one that reads as a key, and with it. Its case does not matter.
    pub(super) fn key_labels(&self, name: &Name) -> Option<usize> {
        let (_, apex) = self.find_key(name)?;
        (name.iter().len() + 1).checked_sub(apex.iter().len())
    }

    /// The bytes in the label that reads as a key, and the name that begins with it.
    fn find_key(&self, name: &Name) -> Option<([u8; 32], Name)> {
        // The last label first: `<key>` as the top-level name needs no suffix, whatever stands before it.
        let last: Vec<&[u8]> = name.iter().rev().take(self.longest + 1).collect();
        last.iter().enumerate().find_map(|(suffix_length, label)| {
            let bytes = decode_key(label)?;
            let last_labels = |count| {
                // A part of a name is never longer than the name.
                Name::from_labels(last.iter().take(count).rev().copied()).unwrap_or_else(|_| Name::root())
            };
            let is_behind_suffix = suffix_length == 0 || self.suffixes.contains(&last_labels(suffix_length));
            is_behind_suffix.then(|| (bytes, last_labels(suffix_length + 1)))
        })
    }
}

/// The name of a key's zone inside of its packet: the canonical spelling alone.
pub fn zone_name(key: &PublicKey) -> Name {
    // A z-base-32 key is 52 letters and digits, which is always a label.
    Name::from_labels([key.to_z32().as_bytes()]).unwrap_or_else(|_| Name::root())
}

/// `name` with the zone `from` at its end replaced by `to`. `None` where `name` is not in `from` or grows too long.
pub fn move_zone(name: &Name, from: &Name, to: &Name) -> Option<Name> {
    if !from.zone_of(name) {
        return None;
    }
    if from == to {
        return Some(name.clone());
    }
    let kept = name.iter().count().checked_sub(from.iter().count())?;
    Name::from_labels(name.iter().take(kept).chain(to.iter())).ok()
}

/// `name` with the suffix of `apex`, which is some key with or without one, where `name` ends in a key alone. `None` where it
/// does not, where there is no suffix, or where the name grows too long.
pub(super) fn with_suffix_of(name: &Name, apex: &Name) -> Option<Name> {
    let mut suffix = apex.iter().skip(1).peekable();
    suffix.peek()?;
    name.iter().next_back().and_then(decode_key)?;
    Name::from_labels(name.iter().chain(suffix)).ok()
}

/// What a character of the alphabet stands for, in either case.
pub fn value_of(character: u8) -> Option<u8> {
    Some(VALUES[usize::from(character)]).filter(|value| *value != NO_VALUE)
}

/// The bytes that a label in the form of a key says, whether they are a key or not. The last character holds one bit of
/// them and four that say nothing, so that sixteen spellings mean one key.
pub(super) fn decode_key(label: &[u8]) -> Option<[u8; 32]> {
    let label: &[u8; KEY_LABEL_LENGTH] = label.try_into().ok()?;
    let mut bytes = [0; 32];
    let (mut bits, mut count, mut filled) = (0_u32, 0, bytes.iter_mut());
    for character in label {
        (bits, count) = (bits << 5 | u32::from(value_of(*character)?), count + 5);
        if count >= 8 {
            count -= 8;
            // 52 characters are 260 bits, which is 32 bytes.
            *filled.next()? = (bits >> count) as u8;
        }
    }
    Some(bytes)
}

/// No point of the curve, or one for which anyone could sign, is no key.
pub(super) fn check_key(bytes: &[u8; 32]) -> Option<PublicKey> {
    #[cfg(test)]
    CURVE_CHECKS.with(|count| count.set(count.get() + 1));
    PublicKey::try_from(bytes).ok().filter(|key| !is_weak(key))
}

#[cfg(test)]
thread_local! {
    /// How often this thread has done arithmetic on the curve for a name.
    pub(super) static CURVE_CHECKS: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const KEY: &str = "8qhdp5s8jjmxmqam3bpg9kzeg7x8teztuwrfgxw5ikn9z5bt15uy";

    fn name(text: &str) -> Name {
        let mut name = Name::from_ascii(text).unwrap();
        name.set_fqdn(true);
        name
    }

    fn classify(text: &str) -> Route {
        Suffixes::new(["key", "pk.example.net"]).classify(&name(text))
    }

    fn apex(text: &str) -> Option<String> {
        match classify(text) {
            Route::PublicKey(found) => {
                assert_eq!(found.key.to_z32(), KEY);
                Some(found.apex.to_ascii())
            }
            _ => None,
        }
    }

    #[test]
    fn a_key_is_recognised_bare_with_suffix_and_below() {
        for (asked, zone) in [
            (KEY.to_string(), format!("{KEY}.")),
            (format!("www.{KEY}"), format!("{KEY}.")),
            (format!("{KEY}.key"), format!("{KEY}.key.")),
            (format!("a.b.{KEY}.key"), format!("{KEY}.key.")),
            (format!("_pubky.{KEY}.pk.example.net"), format!("{KEY}.pk.example.net.")),
        ] {
            assert_eq!(apex(&asked), Some(zone), "{asked}");
        }
    }

    #[test]
    fn upper_and_mixed_case_never_reach_icann() {
        assert_eq!(apex(&KEY.to_uppercase()), Some(format!("{KEY}.")));
        assert_eq!(apex(&format!("wWw.{}.KeY", KEY.to_uppercase())), Some(format!("{KEY}.key.")));
    }

    #[test]
    fn every_spelling_of_the_last_character_is_the_same_key() {
        let stem = &KEY[..51];
        let spellings =
            ALPHABET.iter().filter(|last| apex(&format!("{stem}{}", **last as char)).is_some()).count();
        assert_eq!(spellings, 16);
        for last in ALPHABET {
            let spelled = format!("{stem}{}", *last as char);
            assert_ne!(classify(&spelled), Route::Icann, "{spelled}");
        }
    }

    #[test]
    fn a_label_that_is_no_curve_point_is_not_forwarded() {
        for impossible in [
            "c1bkg8tfsyy8wcedtmw4fwhdmm7bbzhgg3z58tf43m5ow8w9mbus",
            "yyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyyy",
        ] {
            assert!(matches!(classify(impossible), Route::NotACurvePoint { .. }), "{impossible}");
            let below = format!("www.{}.KEY", impossible.to_uppercase());
            assert!(matches!(classify(&below), Route::NotACurvePoint { .. }), "{below}");
        }
    }

    #[test]
    fn other_names_are_icann() {
        for other in [
            "example.com".to_string(),
            format!("{KEY}.com"),
            format!("{KEY}.example.net"),
            KEY[..51].to_string(),
            format!("{KEY}y"),
            KEY.replace('8', "l"),
            "key".to_string(),
            "www.key".to_string(),
            ".".to_string(),
        ] {
            assert_eq!(classify(&other), Route::Icann, "{other}");
        }
    }

    #[test]
    fn the_last_key_in_a_name_is_the_zone() {
        let other = "csjbhp9jpbomwh3m5eyrj1py41m8sjpkzzqmzpj5madsi7sc4mto";
        assert_eq!(apex(&format!("{other}.{KEY}")), Some(format!("{KEY}.")));
    }

    #[test]
    fn a_name_moves_from_zone_to_zone() {
        let (from, to) = (name(KEY), name(&format!("{KEY}.key")));
        assert_eq!(
            move_zone(&name(&format!("www.{KEY}")), &from, &to),
            Some(name(&format!("www.{KEY}.key")))
        );
        assert_eq!(move_zone(&name("example.com"), &from, &to), None);
        let long = format!("{0}.{0}.{0}.{KEY}", "a".repeat(63));
        assert_eq!(move_zone(&name(&long), &from, &name(&format!("{KEY}.pk.example.net"))), None);
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(100_000))]

        /// `*`, leading `-`, too long names with a suffix and the like stopped the server.
        #[test]
        fn any_labels_are_classified_and_a_key_is_never_icann(
            labels in prop::collection::vec(prop::collection::vec(any::<u8>(), 1..20), 0..6),
            at in 0..4usize,
            upper in any::<bool>(),
        ) {
            let suffixes = Suffixes::new(["key", "pk.example.net"]);
            let key = if upper { KEY.to_uppercase() } else { KEY.to_string() };
            let tail: &[&str] = [&[][..], &["key"], &["KEY"], &["pk", "example", "net"]][at];
            let labels = labels.iter().map(Vec::as_slice);
            let Ok(plain) = Name::from_labels(labels.clone()) else { return Ok(()) };
            suffixes.classify(&plain);
            let keyed = labels.chain([key.as_bytes()]).chain(tail.iter().map(|label| label.as_bytes()));
            if let Ok(keyed) = Name::from_labels(keyed) {
                let route = suffixes.classify(&keyed);
                prop_assert!(matches!(route, Route::PublicKey(_)), "{:?}", route);
            }
        }
    }
}
