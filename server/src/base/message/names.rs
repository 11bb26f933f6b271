//! Names in a message that is being written: what several of them end in is written once (RFC 1035 section 4.1.4).

use std::collections::HashMap;

use ahash::RandomState;
use hickory_proto::{ProtoError, rr::Name, serialize::binary::BinEncoder};

/// What a pointer in a message reaches.
const MAX_POINTER: usize = 0x3fff;

/// No name has more labels, nor one more.
const MAX_LABELS: usize = 128;

/// The names that are written already.
///
/// Each label of a name costs one look, however many names there are. A list that is gone through for each of them makes
/// a message cost its square (CVE-2024-8508), and one that ends after a hundred makes it larger than it was when it came.
pub(super) struct Names {
    /// Where the ends of names lie, by their hashes. With secret keys: whoever chooses names must not choose collisions.
    places: HashMap<u64, u16, RandomState>,
    hasher: RandomState,
    most_labels: u8,
}

impl Names {
    /// Names of more labels than `most_labels` are written out, and nothing points into them.
    pub(super) fn new(most_labels: u8) -> Self {
        Self { places: HashMap::default(), hasher: RandomState::new(), most_labels }
    }

    /// Writes a name. Returns where its labels lie, if a pointer reaches that.
    pub(super) fn emit(
        &mut self,
        name: &Name,
        encoder: &mut BinEncoder<'_>,
    ) -> Result<Option<u16>, ProtoError> {
        let start = place(encoder);
        let is_short = name.num_labels() <= self.most_labels;
        let hashes = if is_short { self.hashes(name) } else { [0; MAX_LABELS] };
        for (index, (label, hash)) in name.iter().zip(hashes).enumerate() {
            if is_short {
                if let Some(known) = self.places.get(&hash).copied()
                    && is_at(known, name.iter().skip(index), encoder)
                {
                    encoder.emit_u16(0xc000 | known)?;
                    return Ok(if index == 0 { Some(known) } else { start });
                }
                if let Some(here) = place(encoder) {
                    self.places.entry(hash).or_insert(here);
                }
            }
            // At most 63 bytes, as in every name.
            encoder.emit(label.len() as u8)?;
            encoder.emit_vec(label)?;
        }
        encoder.emit(0)?;
        Ok(start)
    }

    /// Of each end of the name, from the whole of it on.
    fn hashes(&self, name: &Name) -> [u64; MAX_LABELS] {
        let (mut hashes, mut hash) = ([0; MAX_LABELS], 0);
        let places = hashes.iter_mut().take(name.iter().len()).rev();
        for (place, label) in places.zip(name.iter().rev()) {
            hash = self.hasher.hash_one((hash, label));
            *place = hash;
        }
        hashes
    }
}

/// Names that most records stand at, and where they lie: nobody has to look for them.
pub(super) struct Owners<'a> {
    pub(super) asked: &'a Name,
    /// What the alias before leads to.
    pub(super) alias: Option<(&'a Name, u16)>,
}

impl Owners<'_> {
    /// Where the name is written already; `None` where that is not known.
    pub(super) fn place(&self, name: &Name) -> Option<u16> {
        // The root is shorter than a pointer.
        if name.is_root() {
            return None;
        }
        // Of an alias in capitals nobody gets the spelling as well.
        let alias = self.alias.filter(|(target, _)| target.eq_case(name)).map(|(_, at)| at);
        alias.or_else(|| self.asked.eq_case(name).then_some(super::HEADER_SIZE as u16))
    }
}

/// Where the next byte goes, if a pointer reaches that.
fn place(encoder: &BinEncoder<'_>) -> Option<u16> {
    u16::try_from(encoder.offset()).ok().filter(|place| usize::from(*place) <= MAX_POINTER)
}

/// Whether a name of these labels, in this spelling, has been written at a place.
fn is_at<'a>(place: u16, labels: impl Iterator<Item = &'a [u8]>, encoder: &BinEncoder<'_>) -> bool {
    // The header stands before every name.
    let bytes = encoder.slice_of(0, encoder.offset());
    let mut at = usize::from(place);
    for label in labels {
        at = follow(at, bytes);
        let end = at + 1 + label.len();
        if bytes.get(at).map(|length| usize::from(*length)) != Some(label.len())
            || bytes.get(at + 1..end) != Some(label)
        {
            return false;
        }
        at = end;
    }
    bytes.get(follow(at, bytes)) == Some(&0)
}

/// Where the label lies that is at a place, or that the pointer there leads to. They lead backwards, so that it ends.
fn follow(mut at: usize, bytes: &[u8]) -> usize {
    while let Some(pointer) = super::u16_at(bytes, at).filter(|pointer| *pointer >= 0xc000) {
        let to = usize::from(pointer) & MAX_POINTER;
        if to >= at {
            break;
        }
        at = to;
    }
    at
}

#[cfg(test)]
mod tests {
    use hickory_proto::serialize::binary::{BinDecodable, BinDecoder, BinEncodable};

    use super::*;

    /// Names of a few labels out of a few, so that they have ends in common.
    fn some_names(count: usize) -> Vec<Name> {
        let mut random = 0x9e37_79b9_7f4a_7c15_u64;
        let mut below = |end: u64| {
            random ^= random << 13;
            random ^= random >> 7;
            random ^= random << 17;
            random % end
        };
        (0..count)
            .map(|_| {
                let labels: Vec<String> =
                    (0..below(7)).map(|_| format!("label-{}", below(6) * below(6) * below(100))).collect();
                Name::from_labels(labels.iter().map(String::as_bytes)).unwrap()
            })
            .collect()
    }

    /// The bytes, and where each name begins.
    fn write(names: &[Name], most_labels: u8) -> (Vec<u8>, Vec<usize>) {
        let mut bytes = Vec::new();
        let mut encoder = BinEncoder::new(&mut bytes);
        encoder.emit_vec(&[0; super::super::HEADER_SIZE]).unwrap();
        let mut writer = Names::new(most_labels);
        let starts = names.iter().map(|name| {
            let start = encoder.offset();
            writer.emit(name, &mut encoder).unwrap();
            start
        });
        let starts = starts.collect();
        (bytes, starts)
    }

    #[test]
    fn names_are_read_as_they_were_written_and_take_no_more_than_others_need() {
        let names = some_names(1200);
        let (bytes, starts) = write(&names, 127);
        for (name, start) in names.iter().zip(starts) {
            let mut decoder = BinDecoder::new(&bytes).clone(start as u16);
            assert_eq!(Name::read(&mut decoder).unwrap(), *name);
        }
        let mut by_hickory = Vec::new();
        let mut encoder = BinEncoder::new(&mut by_hickory);
        encoder.emit_vec(&[0; super::super::HEADER_SIZE]).unwrap();
        names.iter().for_each(|name| name.emit(&mut encoder).unwrap());
        assert!(bytes.len() < by_hickory.len(), "{} and {}", bytes.len(), by_hickory.len());
        assert!(write(&names, 0).0.len() > by_hickory.len());
    }

    #[test]
    fn another_spelling_is_another_name() {
        let names = ["www.example.", "WWW.example.", "www.EXAMPLE.", "WWW.example."];
        let names = names.map(|name| Name::from_ascii(name).unwrap());
        let (bytes, starts) = write(&names, 127);
        let read = starts
            .iter()
            .map(|start| Name::read(&mut BinDecoder::new(&bytes).clone(*start as u16)).unwrap().to_ascii());
        assert!(read.eq(names.iter().map(Name::to_ascii)));
        assert_eq!(bytes.len(), super::super::HEADER_SIZE + 13 + 6 + 13 + 2);
    }
}
