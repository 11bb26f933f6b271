//! Reads a list, however it comes in pieces: in each line a key or the hash of one. Pure.

use pkdns_dht::signed_packet::PublicKey;
use thiserror::Error;

use super::keys::{Entry, KeySet, entry_of, entry_of_hash};

/// Bytes of a list. A million lines with a hash and a short comment have as many.
pub(super) const MAX_LIST_SIZE: u64 = 80 << 20;

/// Keys on one list, which take 16 MB. Lists of whole networks have fewer.
pub(super) const MAX_KEYS: usize = 1_000_000;

/// Bytes of a line that are kept until it ends. What is longer is a comment, or no line of a list.
const MAX_LINE_SIZE: usize = 1024;

/// What is wrong with a list, told line by line.
const MAX_MISTAKES: usize = 8;

const KEY_LENGTH: usize = 52;
const HASH_LENGTH: usize = 64;

/// What a list says.
#[derive(Debug)]
pub(super) struct List {
    pub(super) keys: KeySet,
    /// What was left out of it, to be told to the operator.
    pub(super) mistakes: Vec<String>,
}

/// Why something is no list.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub(super) enum NoList {
    #[error("it is larger than {MAX_LIST_SIZE} bytes: split it")]
    TooLarge,
    #[error("it has more than {MAX_KEYS} keys: split it")]
    TooMany,
    #[error("no line of it is a key or a hash: is it a list at all?")]
    Other,
    #[error("it is empty: write at least a comment into a list that denies no key")]
    Empty,
}

/// Takes a list piece by piece.
#[derive(Debug, Default)]
pub(super) struct Reader {
    entries: Vec<Entry>,
    mistakes: Vec<String>,
    untold: usize,
    /// Of the line that has not ended yet.
    line: Vec<u8>,
    number: usize,
    size: u64,
}

impl Reader {
    /// The next piece.
    pub(super) fn push(&mut self, bytes: &[u8]) -> Result<(), NoList> {
        self.size = self.size.saturating_add(bytes.len() as u64);
        if self.size > MAX_LIST_SIZE {
            return Err(NoList::TooLarge);
        }
        let mut pieces = bytes.split(|byte| *byte == b'\n').peekable();
        while let Some(piece) = pieces.next() {
            let room = MAX_LINE_SIZE.saturating_sub(self.line.len());
            self.line.extend_from_slice(piece.get(..room).unwrap_or(piece));
            if pieces.peek().is_some() {
                self.end_line()?;
            }
        }
        Ok(())
    }

    /// Whether nothing has come: a file that somebody has emptied, or a server that has lost its list.
    pub(super) fn is_empty(&self) -> bool {
        self.size == 0
    }

    /// The whole list. Takes some tenth of a second for a million keys.
    pub(super) fn finish(mut self) -> Result<List, NoList> {
        self.end_line()?;
        if self.entries.is_empty() && !self.mistakes.is_empty() {
            return Err(NoList::Other);
        }
        if self.untold > 0 {
            self.mistakes.push(format!("{} more lines are neither", self.untold));
        }
        Ok(List { keys: KeySet::new(self.entries), mistakes: self.mistakes })
    }

    fn end_line(&mut self) -> Result<(), NoList> {
        self.number += 1;
        let text = self.line.split(|byte| *byte == b'#').next().unwrap_or_default().trim_ascii();
        if !text.is_empty() {
            match read_entry(text) {
                Some(_) if self.entries.len() == MAX_KEYS => return Err(NoList::TooMany),
                Some(entry) => self.entries.push(entry),
                None if self.mistakes.len() < MAX_MISTAKES => {
                    let shown = text.get(..KEY_LENGTH).unwrap_or(text).escape_ascii();
                    self.mistakes
                        .push(format!("line {}: `{shown}` is neither a key nor a hash", self.number));
                }
                None => self.untold += 1,
            }
        }
        self.line.clear();
        Ok(())
    }
}

/// A key in any spelling, or the SHA-256 of the usual one.
fn read_entry(text: &[u8]) -> Option<Entry> {
    let text = str::from_utf8(text).ok()?;
    match text.len() {
        KEY_LENGTH => PublicKey::try_from(text.to_ascii_lowercase().as_str()).ok().map(|key| entry_of(&key)),
        HASH_LENGTH => {
            let mut hash = [0; HASH_LENGTH / 2];
            for (byte, digits) in hash.iter_mut().zip(text.as_bytes().as_chunks::<2>().0) {
                let [high, low] = digits.map(|digit| char::from(digit).to_digit(16));
                *byte = (high? << 4 | low?) as u8;
            }
            Some(entry_of_hash(&hash))
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use sha2::{Digest, Sha256};

    use super::*;
    use pkdns_dht::signed_packet::Keypair;

    fn key(seed: u8) -> String {
        Keypair::from_secret_key(&[seed; 32]).to_z32()
    }

    fn hash(seed: u8) -> String {
        Sha256::digest(key(seed)).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn read(text: &str) -> Result<List, NoList> {
        let mut reader = Reader::default();
        reader.push(text.as_bytes())?;
        reader.finish()
    }

    fn has(list: &List, seed: u8) -> bool {
        list.keys.contains(&entry_of(&Keypair::from_secret_key(&[seed; 32]).public_key()))
    }

    #[test]
    fn a_line_is_a_key_in_any_spelling_or_its_hash_with_a_comment_or_without() {
        let third = key(3);
        let (other_spelling, last) = third.split_at(51);
        // The last letter holds one bit.
        let twin = if last == "y" { "b" } else { "t" };
        let text = format!(
            "# comment\n\n{}\r\n  {} # phishing\n{other_spelling}{twin}\n{}#x\nnonsense\n{}\n{}",
            key(1),
            key(2).to_uppercase(),
            hash(4),
            hash(5).to_uppercase(),
            hash(1),
        );
        let list = read(&text).unwrap();
        assert!((1..=5).all(|seed| has(&list, seed)) && !has(&list, 6));
        assert_eq!(list.keys.len(), 5);
        assert_eq!(list.mistakes, ["line 7: `nonsense` is neither a key nor a hash"]);
    }

    #[test]
    fn what_is_no_list_takes_the_place_of_none() {
        assert_eq!(read("").unwrap().keys.len(), 0);
        assert_eq!(read("# nothing is denied\n").unwrap().keys.len(), 0);
        assert_eq!(read("<!DOCTYPE html>\n<title>Not found</title>").unwrap_err(), NoList::Other);
        // As long as a key, and as a hash.
        assert_eq!(read(&format!("{}\n{}\n", "0".repeat(52), "g".repeat(64))).unwrap_err(), NoList::Other);
        let bad: String = (0..20).map(|number| format!("bad{number}\n")).collect();
        let list = read(&format!("{}\n{bad}", key(1))).unwrap();
        assert_eq!(list.mistakes.len(), MAX_MISTAKES + 1);
        assert_eq!(list.mistakes[MAX_MISTAKES], "12 more lines are neither");
    }

    #[test]
    fn a_list_has_a_greatest_size_a_greatest_number_of_keys_and_a_longest_line() {
        let mut reader = Reader::default();
        let piece = vec![b'#'; 1 << 20];
        for _ in 0..80 {
            reader.push(&piece).unwrap();
        }
        assert!(reader.line.len() <= MAX_LINE_SIZE);
        assert_eq!(reader.push(b"\n").unwrap_err(), NoList::TooLarge);
        let mut reader = Reader { entries: vec![Entry::default(); MAX_KEYS - 1], ..Reader::default() };
        let line = format!("{}\n", hash(1));
        reader.push(line.as_bytes()).unwrap();
        assert_eq!(reader.push(line.as_bytes()).unwrap_err(), NoList::TooMany);
    }

    proptest! {
        #[test]
        fn pieces_are_read_as_the_whole(text in "([ybndrfg8]{0,3}|#|\\n|[0-9a-f]{64}|\\PC){0,20}", size in 1_usize..9) {
            let mut reader = Reader::default();
            text.as_bytes().chunks(size).for_each(|piece| reader.push(piece).unwrap());
            match (reader.finish(), read(&text)) {
                (Ok(one), Ok(other)) => {
                    prop_assert_eq!(one.keys, other.keys);
                    prop_assert_eq!(one.mistakes, other.mistakes);
                }
                (one, other) => prop_assert_eq!(one.err(), other.err()),
            }
        }
    }
}
