//! What a key is to look like, as bits: a character of z-base-32 is five of them.

use pkdns::resolver::name::{ALPHABET, KEY_LABEL_LENGTH, value_of};
use thiserror::Error;

/// The sign of x among the bits of a key, which decides nothing about y.
const SIGN: u64 = 1 << 63;

/// Why no key looks like that.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PatternError {
    #[error("a pattern has at least one character")]
    Empty,
    #[error("a key has {KEY_LABEL_LENGTH} characters, and this pattern has {0}")]
    TooLong(usize),
    #[error("keys have no \"{0}\": try {1}")]
    Lookalike(char, &'static str),
    #[error("keys have only the characters {}", String::from_utf8_lossy(ALPHABET))]
    Character,
    #[error("keys end with y or o, never with \"{0}\"")]
    LastCharacter(char),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    Beginning,
    End,
}

/// The beginning or the end of a key.
#[derive(Debug, Clone)]
pub struct Pattern {
    text: String,
    place: Place,
    mask: [u64; 4],
    value: [u64; 4],
}

impl Pattern {
    /// Keys that begin with this.
    pub fn beginning(text: &str) -> Result<Self, PatternError> {
        Self::new(text, Place::Beginning)
    }

    /// Keys that end with this.
    pub(crate) fn end(text: &str) -> Result<Self, PatternError> {
        Self::new(text, Place::End)
    }

    fn new(text: &str, place: Place) -> Result<Self, PatternError> {
        let text = text.to_ascii_lowercase();
        let values = text.chars().map(value).collect::<Result<Vec<_>, _>>()?;
        let first = match (values.len(), place) {
            (0, _) => return Err(PatternError::Empty),
            (length, _) if length > KEY_LABEL_LENGTH => return Err(PatternError::TooLong(length)),
            (_, Place::Beginning) => 0,
            (length, Place::End) => KEY_LABEL_LENGTH - length,
        };
        let (mut mask, mut value) = ([0; 32], [0; 32]);
        for (at, character) in (first..).zip(values) {
            for bit in 0..5 {
                let is_set = character >> (4 - bit) & 1;
                let position = 5 * at + bit;
                match (mask.get_mut(position / 8), value.get_mut(position / 8)) {
                    (Some(mask), Some(value)) => {
                        *mask |= 0x80_u8 >> (position % 8);
                        *value |= (is_set << 7) >> (position % 8);
                    }
                    // A key has 256 bits, so that the last character carries one bit and has four that are zero.
                    _ if is_set == 1 => {
                        return Err(PatternError::LastCharacter(text.chars().last().unwrap_or_default()));
                    }
                    _ => {}
                }
            }
        }
        Ok(Self { text, place, mask: words(&mask), value: words(&value) })
    }

    /// The text, with dots for the rest of the key.
    pub(crate) fn shown(&self) -> String {
        match self.place {
            Place::Beginning => format!("{}...", self.text),
            Place::End => format!("...{}", self.text),
        }
    }

    fn matches(&self, key: [u64; 4], ignored: u64) -> bool {
        let differs = |word: usize| (key[word] ^ self.value[word]) & self.mask[word];
        differs(0) | differs(1) | differs(2) | (differs(3) & !ignored) == 0
    }

    /// The share of keys that look like this.
    fn probability(&self) -> f64 {
        let bits: u32 = self.mask.iter().map(|word| word.count_ones()).sum();
        0.5_f64.powf(f64::from(bits))
    }

    /// Whether all keys of `other` are keys of this.
    fn includes(&self, other: &Self) -> bool {
        match (self.place, other.place) {
            (Place::Beginning, Place::Beginning) => other.text.starts_with(&self.text),
            (Place::End, Place::End) => other.text.ends_with(&self.text),
            _ => false,
        }
    }
}

/// Patterns, of which a key has to have one.
#[derive(Debug, Clone)]
pub(crate) struct Patterns(Vec<Pattern>);

impl Patterns {
    /// Leaves out what is included in another one.
    pub(crate) fn new(mut patterns: Vec<Pattern>) -> Self {
        patterns.sort_by_key(|pattern| pattern.text.len());
        let mut kept: Vec<Pattern> = Vec::new();
        for pattern in patterns {
            if !kept.iter().any(|other| other.includes(&pattern)) {
                kept.push(pattern);
            }
        }
        Self(kept)
    }

    /// Whether a key with this y, or its negative, may have one of the patterns.
    #[inline]
    pub(crate) fn may_match(&self, y: [u8; 32]) -> bool {
        let key = words(&y);
        self.0.iter().any(|pattern| pattern.matches(key, SIGN))
    }

    /// The first of the patterns that a key has.
    pub(crate) fn of(&self, key: [u8; 32]) -> Option<&Pattern> {
        self.0.iter().find(|pattern| pattern.matches(words(&key), 0))
    }

    /// The share of keys that have one of the patterns.
    pub(crate) fn probability(&self) -> f64 {
        // Of two beginnings no key has both, since one does not include the other; nor of two ends. A beginning and an
        // end have nothing to do with each other.
        let share = |place| -> f64 {
            self.0.iter().filter(|pattern| pattern.place == place).map(Pattern::probability).sum()
        };
        let (beginning, end) = (share(Place::Beginning), share(Place::End));
        beginning + end - beginning * end
    }

    /// All of them, for people.
    pub(crate) fn shown(&self) -> String {
        self.0.iter().map(Pattern::shown).collect::<Vec<_>>().join(" or ")
    }
}

fn value(character: char) -> Result<u8, PatternError> {
    u8::try_from(character).ok().and_then(value_of).ok_or(match character {
        '0' => PatternError::Lookalike('0', "o"),
        '2' => PatternError::Lookalike('2', "z"),
        'l' => PatternError::Lookalike('l', "1 or i"),
        'v' => PatternError::Lookalike('v', "u or w"),
        _ => PatternError::Character,
    })
}

#[inline]
fn words(bytes: &[u8; 32]) -> [u64; 4] {
    let mut words = [0; 4];
    for (word, bytes) in words.iter_mut().zip(bytes.as_chunks().0) {
        *word = u64::from_le_bytes(*bytes);
    }
    words
}

#[cfg(test)]
mod tests {
    use pkdns_dht::signed_packet::{Keypair, PublicKey};
    use proptest::prelude::*;

    use super::*;

    /// Bytes of which nobody asks whether they are a point.
    fn text(key: [u8; 32]) -> String {
        let bit = |position: usize| {
            u8::from(key.get(position / 8).is_some_and(|byte| byte << (position % 8) & 0x80 != 0))
        };
        (0..52)
            .map(|at| (0..5).fold(0, |value, next| value << 1 | bit(5 * at + next)))
            .map(|value| char::from(ALPHABET[usize::from(value)]))
            .collect()
    }

    proptest! {
        #[test]
        fn a_pattern_matches_as_text_does(seed: [u8; 32], other: [u8; 32], length in 1..=52_usize, flipped in 0..512_usize) {
            let key = Keypair::from_secret_key(&seed).public_key();
            let (bytes, key) = (*key.as_bytes(), key.to_z32());
            prop_assert_eq!(&text(bytes), &key);
            for source in [bytes, other] {
                // Half of the sources differ from the key in one bit.
                let mut source = source;
                if let Some(byte) = source.get_mut(flipped / 8) {
                    *byte ^= 1 << (flipped % 8);
                }
                let source = text(source);
                let (beginning, end) = (&source[..length], &source[52 - length..]);
                let patterns = [Pattern::beginning(beginning).unwrap(), Pattern::end(&end.to_uppercase()).unwrap()];
                let expected = [key.starts_with(beginning), key.ends_with(end)];
                for (pattern, expected) in patterns.into_iter().zip(expected) {
                    let patterns = Patterns::new(vec![pattern]);
                    prop_assert_eq!(patterns.of(bytes).is_some(), expected);
                    let mut negative = bytes;
                    negative[31] ^= 0x80;
                    let either = expected || patterns.of(negative).is_some();
                    prop_assert_eq!(patterns.may_match(bytes), either);
                    prop_assert_eq!(patterns.may_match(negative), either);
                }
            }
        }
    }

    #[test]
    fn what_no_key_looks_like_is_refused_with_the_reason() {
        for (text, error) in [
            ("", PatternError::Empty),
            (&"y".repeat(53), PatternError::TooLong(53)),
            ("pkdns0", PatternError::Lookalike('0', "o")),
            ("2", PatternError::Lookalike('2', "z")),
            ("HELLO", PatternError::Lookalike('l', "1 or i")),
            ("v", PatternError::Lookalike('v', "u or w")),
            ("a-b", PatternError::Character),
            ("ä", PatternError::Character),
            ("a b", PatternError::Character),
        ] {
            assert_eq!(Pattern::beginning(text).unwrap_err(), error, "{text}");
            assert_eq!(Pattern::end(text).unwrap_err(), error, "{text}");
        }
        assert_eq!(Pattern::end("pkd").unwrap_err(), PatternError::LastCharacter('d'));
        assert!(
            Pattern::beginning("pkd").is_ok() && Pattern::end("pko").is_ok() && Pattern::end("pky").is_ok()
        );
        let key = Keypair::from_secret_key(&[1; 32]).public_key().to_z32();
        assert!(PublicKey::try_from(key.as_str()).is_ok() && Pattern::beginning(&key).is_ok());
        // A whole key has all its bits.
        assert_eq!(Patterns::new(vec![Pattern::end(&key).unwrap()]).probability(), 0.5_f64.powi(256));
    }

    #[test]
    fn chances_add_up() {
        let probability = |beginnings: &[&str], ends: &[&str]| {
            let beginnings = beginnings.iter().map(|text| Pattern::beginning(text).unwrap());
            let ends = ends.iter().map(|text| Pattern::end(text).unwrap());
            Patterns::new(beginnings.chain(ends).collect()).probability()
        };
        assert_eq!(probability(&["a"], &[]), 1.0 / 32.0);
        assert_eq!(probability(&["pkdns"], &[]), 32.0_f64.powi(-5));
        assert_eq!(probability(&["a", "b"], &[]), 2.0 / 32.0);
        assert_eq!(probability(&["ab", "a", "A"], &[]), 1.0 / 32.0, "one includes the other");
        assert_eq!(probability(&[], &["y"]), 1.0 / 2.0, "the last character has one bit");
        assert_eq!(probability(&[], &["ay"]), 1.0 / 64.0);
        assert_eq!(probability(&["y"], &["y"]), 1.0 / 32.0 + 1.0 / 2.0 - 1.0 / 64.0);
    }

    #[test]
    fn the_chance_is_the_share_of_keys() {
        let patterns = Patterns::new(vec![Pattern::beginning("y").unwrap(), Pattern::end("oo").unwrap()]);
        let keys = 4000;
        let found = (0..keys)
            .filter(|number: &u16| {
                let mut seed = [7; 32];
                seed[..2].copy_from_slice(&number.to_le_bytes());
                patterns.of(*Keypair::from_secret_key(&seed).public_key().as_bytes()).is_some()
            })
            .count();
        let expected = patterns.probability() * f64::from(keys);
        // Five standard deviations; the keys are the same each time.
        assert!((found as f64 - expected).abs() < 5.0 * expected.sqrt(), "{found} of {expected}");
    }
}
