//! Words to write down (BIP-39), from which a seed is made in the way of Pubky Ring: the first half of what BIP-39 makes
//! of English words without a passphrase.

use bip39::{Language, Mnemonic};
use thiserror::Error;
use zeroize::Zeroizing;

use super::SeedError;
use crate::secret_key::SecretKey;

/// Phrases of Pubky Ring, and the longest ones.
const LENGTHS: [usize; 2] = [12, 24];

/// Random bytes behind 12 words.
const ENTROPY_SIZE: usize = 16;

/// Whether it is as many words as a phrase has, whatever words they are.
pub(super) fn are_words(text: &[u8]) -> bool {
    let mut words = text.split(u8::is_ascii_whitespace).filter(|word| !word.is_empty());
    LENGTHS.contains(&words.clone().count()) && words.all(|word| word.iter().all(u8::is_ascii_alphabetic))
}

/// Why words are no phrase. Their places are told and not the words, which are a secret.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(crate) enum NoPhrase {
    #[error("{} not in the list of BIP-39: compare the spelling with what was written down", places(.0))]
    Unknown(Vec<usize>),
    #[error(
        "all words are in the list of BIP-39, but they do not belong together: compare each of them, and their order, with \
         what was written down"
    )]
    Checksum,
}

/// The places, from 1.
fn places(places: &[usize]) -> String {
    let told: Vec<String> = places.iter().map(ToString::to_string).collect();
    match told.as_slice() {
        [one] => format!("word {one} is"),
        [others @ .., last] => format!("words {} and {last} are", others.join(", ")),
        [] => "they are".to_owned(),
    }
}

/// The key of a phrase, in either case, with any white space between its words.
///
/// # Errors
///
/// When a word is not of the list, or the last one, which checks the others, is wrong.
pub(super) fn decode(text: &[u8]) -> Result<SecretKey, NoPhrase> {
    let lower_case = Zeroizing::new(text.to_ascii_lowercase());
    let text = std::str::from_utf8(&lower_case).map_err(|_| NoPhrase::Checksum)?;
    let phrase = Mnemonic::parse_in_normalized(Language::English, text);
    phrase.map(|phrase| secret_key(&phrase)).map_err(|_| {
        let words = text.split_ascii_whitespace().zip(1..);
        let unknown = words.filter(|(word, _)| Language::English.find_word(word).is_none());
        let unknown: Vec<usize> = unknown.map(|(_, place)| place).collect();
        if unknown.is_empty() { NoPhrase::Checksum } else { NoPhrase::Unknown(unknown) }
    })
}

/// Makes a new key and its 12 words, in one line.
pub(super) fn random() -> Result<(SecretKey, Zeroizing<String>), SeedError> {
    let fail = |error: &dyn std::fmt::Display| SeedError::Random(error.to_string());
    let mut entropy = Zeroizing::new([0; ENTROPY_SIZE]);
    getrandom::fill(entropy.as_mut()).map_err(|error| fail(&error))?;
    let phrase =
        Mnemonic::from_entropy_in(Language::English, entropy.as_ref()).map_err(|error| fail(&error))?;
    // Long enough from the start: a text that grows leaves copies behind.
    let mut line = Zeroizing::new(String::with_capacity(LENGTHS[0] * 9));
    for word in phrase.words() {
        line.push_str(word);
        line.push(' ');
    }
    line.pop();
    line.push('\n');
    Ok((secret_key(&phrase), line))
}

fn secret_key(phrase: &Mnemonic) -> SecretKey {
    let bytes = Zeroizing::new(phrase.to_seed_normalized(""));
    let seed: Zeroizing<[u8; 32]> =
        Zeroizing::new(std::array::from_fn(|at| bytes.get(at).copied().unwrap_or(0)));
    SecretKey::from_seed(&seed)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABANDON: &str =
        "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about";

    /// The first half of BIP-39's seeds without a passphrase, reckoned with another implementation (hashlib of Python).
    const SEEDS: [(&str, &str); 3] = [
        (ABANDON, "5eb00bbddcf069084889a8ab9155568165f5c453ccb85e70811aaed6f6da5fc1"),
        (
            "legal winner thank year wave sausage worth useful legal winner thank yellow",
            "878386efb78845b3355bd15ea4d39ef97d179cb712b77d5c12b6be415fffeffe",
        ),
        (
            "void come effort suffer camp survey warrior heavy shoot primary clutch crush open amazing screen patrol \
             group space point ten exist slush involve unfold",
            "b873212f885ccffbf4692afcb84bc2e55886de2dfa07d90f5c3c239abc31c0a6",
        ),
    ];

    #[test]
    fn words_give_the_seed_that_pubky_ring_makes_of_them() {
        for (words, seed) in SEEDS {
            let expected = super::super::text::decode(seed.as_bytes()).unwrap();
            let spread = format!("\n {}\r\n", words.to_uppercase().replace(' ', " \n\t"));
            for text in [words, &spread] {
                assert!(are_words(text.as_bytes()));
                assert_eq!(decode(text.as_bytes()).unwrap().secret(), expected.secret(), "{words}");
            }
        }
    }

    #[test]
    fn a_phrase_with_a_mistake_is_none_and_the_places_of_unknown_words_are_told() {
        for (wrong, places) in [
            (ABANDON.replace("about", "abandon"), None),
            (ABANDON.replace("about", "aboot"), Some(vec![12])),
            (ABANDON.to_uppercase().replacen("ABANDON", "ABANDONED", 2), Some(vec![1, 2])),
            (ABANDON[8..].to_string(), None),
            (format!("{ABANDON} {ABANDON}"), None),
        ] {
            let expected = places.map_or(NoPhrase::Checksum, NoPhrase::Unknown);
            assert_eq!(decode(wrong.as_bytes()).err(), Some(expected), "{wrong}");
        }
        let told = |places: &[usize]| NoPhrase::Unknown(places.to_vec()).to_string();
        assert!(told(&[7]).starts_with("word 7 is not in the list of BIP-39: compare the spelling"));
        assert!(told(&[1, 2, 12]).starts_with("words 1, 2 and 12 are not in the list of BIP-39: "));
    }

    #[test]
    fn new_words_give_their_key_and_are_never_the_same() {
        let ((key, words), (_, others)) = (random().unwrap(), random().unwrap());
        assert_ne!(words, others);
        assert_eq!(words.split_whitespace().count(), 12);
        assert_eq!(decode(words.as_bytes()).unwrap().secret(), key.secret());
    }
}
