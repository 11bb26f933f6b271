//! The keys of a list, as short as they can be. Pure.

use std::{cmp::Ordering, iter};

use pkdns_dht::signed_packet::PublicKey;
use sha2::{Digest, Sha256};

/// What is kept of a key: half of its SHA-256. Whoever wants another key to be denied with one on a list would have to try
/// 2^128 keys; whoever writes the list can deny it anyway.
pub(super) type Entry = [u8; ENTRY_SIZE];

pub(super) const ENTRY_SIZE: usize = 16;

/// The entry of a key. Lists hash the 52 letters, as lists of other networks hash the name by which a thing is asked for
/// (badbits, IPIP-383): anybody can do that with `sha256sum`.
pub(super) fn entry_of(key: &PublicKey) -> Entry {
    entry_of_hash(&Sha256::digest(key.to_z32()).into())
}

pub(super) fn entry_of_hash(hash: &[u8; 32]) -> Entry {
    let mut entry = [0; ENTRY_SIZE];
    entry.copy_from_slice(&hash[..ENTRY_SIZE]);
    entry
}

/// Entries, in order and without repeats: 16 bytes a key.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct KeySet(Box<[Entry]>);

impl KeySet {
    /// Takes some tenth of a second for a million.
    pub(super) fn new(mut entries: Vec<Entry>) -> Self {
        entries.sort_unstable();
        entries.dedup();
        Self(entries.into())
    }

    /// Takes what [`KeySet::bytes`] gave. `None` where it is anything else.
    pub(super) fn from_bytes(bytes: &[u8]) -> Option<Self> {
        let (entries, rest) = bytes.as_chunks::<ENTRY_SIZE>();
        (rest.is_empty() && entries.is_sorted_by(|one, next| one < next)).then(|| Self(entries.into()))
    }

    pub(super) fn bytes(&self) -> &[u8] {
        self.0.as_flattened()
    }

    pub(super) fn contains(&self, entry: &Entry) -> bool {
        self.0.binary_search(entry).is_ok()
    }

    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    /// What is in one of the two and not in the other.
    pub(super) fn changes<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = &'a Entry> {
        let (mut ours, mut theirs) = (self.0.iter().peekable(), other.0.iter().peekable());
        iter::from_fn(move || {
            loop {
                let order = match (ours.peek(), theirs.peek()) {
                    (Some(our), Some(their)) => our.cmp(their),
                    (Some(_), None) => Ordering::Less,
                    (None, Some(_)) => Ordering::Greater,
                    (None, None) => return None,
                };
                match order {
                    Ordering::Less => return ours.next(),
                    Ordering::Greater => return theirs.next(),
                    Ordering::Equal => (ours.next(), theirs.next()),
                };
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_hash_of_a_key_is_that_of_its_letters() {
        let key = PublicKey::try_from("7fmjpcuuzf54hw18bsgi3zihzyh4awseeuq5tmojefaezjbd64cy").unwrap();
        // printf %s 7fmjpcuuzf54hw18bsgi3zihzyh4awseeuq5tmojefaezjbd64cy | sha256sum | head -c 32
        let hex: String = entry_of(&key).iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(hex, "ea45ff280e3da0b7b6c6045042219a80");
    }

    #[test]
    fn a_million_keys_take_sixteen_bytes_each_and_are_found() {
        // As evenly spread as hashes.
        let entry =
            |number: u128| number.wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).to_be_bytes();
        let set = KeySet::new((0..1_000_000).map(entry).collect());
        assert_eq!(set.bytes().len(), 16_000_000);
        assert!((0..1_000_000).step_by(1000).all(|number| set.contains(&entry(number))));
        assert!((1_000_000..1_001_000).all(|number| !set.contains(&entry(number))));
    }

    proptest! {
        #[test]
        fn a_set_holds_what_was_put_in_and_tells_what_changed(
            ours in prop::collection::vec(0_u8..20, 0..20), theirs in prop::collection::vec(0_u8..20, 0..20)
        ) {
            let set = |numbers: &[u8]| KeySet::new(numbers.iter().map(|number| [*number; ENTRY_SIZE]).collect());
            let (one, other) = (set(&ours), set(&theirs));
            for number in 0..20 {
                prop_assert_eq!(one.contains(&[number; ENTRY_SIZE]), ours.contains(&number));
            }
            prop_assert!(KeySet::from_bytes(one.bytes()).is_some_and(|read| read == one));
            let [ours, theirs]: [BTreeSet<_>; 2] = [ours, theirs].map(|list| list.into_iter().collect());
            let expected: Vec<_> = ours.symmetric_difference(&theirs).copied().collect();
            let changes: Vec<_> = one.changes(&other).map(|entry| entry[0]).collect();
            prop_assert_eq!(changes, expected);
        }

        #[test]
        fn bytes_that_are_no_set_are_none(bytes in prop::collection::vec(0_u8..3, 0..64)) {
            if let Some(set) = KeySet::from_bytes(&bytes) {
                prop_assert_eq!(set.bytes(), &bytes[..]);
                prop_assert!(set.0.is_sorted());
            }
        }
    }
}
