//! The owners in a packet as a tree of labels. Each label of the packet is looked at once, however many records lead
//! through it and however deep, and none is copied.

use super::super::name::decode_key;
use super::MAX_DEPTH;
use crate::base::message::MAX_NAME_SIZE;

/// The owners inside of the zone. The first is the apex; each other one stands behind the one above it.
#[derive(Debug, Clone)]
pub(super) struct Owners(Vec<Label>);

/// An owner, by its place in the tree.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Owner(u16);

/// A label below the apex.
#[derive(Debug, Clone, Copy)]
struct Label {
    /// Where it lies in the packet, from its length byte on.
    start: u16,
    above: Owner,
    /// Labels from here to the apex, which has none.
    depth: u8,
    /// Bytes of the name that begins with this label, in wire form.
    size: u8,
}

/// What owners have in common with one name, counted in labels below the apex.
#[derive(Debug)]
pub(super) struct Common<'a> {
    owners: &'a Owners,
    /// Labels of the name below the apex.
    depth: usize,
    /// For each owner.
    shared: Vec<u8>,
}

const APEX: Owner = Owner(0);

/// Bytes of a key's name: its label and the root's.
const APEX_SIZE: u8 = 54;

/// Reads the owners of a packet, each by where it starts.
pub(super) struct OwnerReader<'a> {
    bytes: &'a [u8],
    key: &'a [u8; 32],
    owners: Owners,
    /// What begins at each place of the packet.
    known: Vec<Known>,
}

#[derive(Debug, Clone, Copy)]
enum Known {
    Nothing,
    Own(Owner),
    Foreign,
}

impl<'a> OwnerReader<'a> {
    pub(super) fn new(bytes: &'a [u8], key: &'a [u8; 32]) -> Self {
        let apex = Label { start: 0, above: APEX, depth: 0, size: APEX_SIZE };
        Self { bytes, key, owners: Owners(vec![apex]), known: vec![Known::Nothing; bytes.len()] }
    }

    pub(super) fn finish(self) -> Owners {
        self.owners
    }

    /// The owner that starts here; `None` for one that belongs to someone else, is deeper than [`MAX_DEPTH`] or broken.
    pub(super) fn read(&mut self, start: usize) -> Option<Owner> {
        let mut path = [0_usize; MAX_DEPTH];
        let mut count = 0;
        let (mut at, mut run) = (start, start);
        let mut above = loop {
            match self.known.get(at)? {
                Known::Own(owner) => break *owner,
                Known::Foreign => return self.note_foreign(path.get(..count)?),
                Known::Nothing => {}
            }
            match *self.bytes.get(at)? {
                0 => {
                    count = count.checked_sub(1)?;
                    let last = *path.get(count)?;
                    // Sixteen spellings are this key: the bytes decide.
                    if decode_key(label(self.bytes, last)?).as_ref() != Some(self.key) {
                        return self.note_foreign(path.get(..=count)?);
                    }
                    self.note(last, Known::Own(APEX));
                    break APEX;
                }
                length @ 1..=63 => {
                    *path.get_mut(count)? = at;
                    count += 1;
                    at += 1 + usize::from(length);
                }
                high @ 0xc0.. => {
                    let to = usize::from(high & 0x3f) << 8 | usize::from(*self.bytes.get(at + 1)?);
                    // Strictly backwards, or it would never end.
                    if to >= run {
                        return None;
                    }
                    (at, run) = (to, to);
                }
                _ => return None,
            }
        };
        for start in path.get(..count)?.iter().rev() {
            let parent = *self.owners.label(above)?;
            let length = label(self.bytes, *start)?.len();
            let size = u8::try_from(usize::from(parent.size) + 1 + length).ok()?;
            let depth = parent.depth + 1;
            // The apex is a label as well.
            if usize::from(depth) >= MAX_DEPTH || usize::from(size) > MAX_NAME_SIZE {
                return None;
            }
            let owner = Owner(u16::try_from(self.owners.0.len()).ok()?);
            self.owners.0.push(Label { start: u16::try_from(*start).ok()?, above, depth, size });
            self.note(*start, Known::Own(owner));
            above = owner;
        }
        Some(above)
    }

    fn note_foreign(&mut self, path: &[usize]) -> Option<Owner> {
        path.iter().for_each(|start| self.note(*start, Known::Foreign));
        None
    }

    fn note(&mut self, start: usize, known: Known) {
        if let Some(place) = self.known.get_mut(start) {
            *place = known;
        }
    }
}

impl Owners {
    /// Compares every owner with the name whose labels below the apex are `name`, those next to the apex first.
    pub(super) fn common(&self, bytes: &[u8], name: &[&[u8]]) -> Common<'_> {
        let mut shared: Vec<u8> = Vec::with_capacity(self.0.len());
        shared.push(0);
        for own in self.0.iter().skip(1) {
            let above = shared.get(usize::from(own.above.0)).copied().unwrap_or(0);
            let is_parent_shared = above + 1 == own.depth;
            let wanted = name.get(usize::from(above)).filter(|_| is_parent_shared);
            let is_shared = wanted.is_some_and(|wanted| {
                label(bytes, own.start.into()).is_some_and(|label| label.eq_ignore_ascii_case(wanted))
            });
            shared.push(above + u8::from(is_shared));
        }
        Common { owners: self, depth: name.len(), shared }
    }

    /// The labels of an owner below the apex, its own first.
    pub(super) fn labels<'a>(&'a self, bytes: &'a [u8], owner: Owner) -> impl Iterator<Item = &'a [u8]> {
        let mut at = owner;
        std::iter::from_fn(move || {
            let own = self.label(at).filter(|_| at != APEX)?;
            at = own.above;
            label(bytes, own.start.into())
        })
    }

    /// How many labels there are, the apex included.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.0.len()
    }

    fn label(&self, owner: Owner) -> Option<&Label> {
        self.0.get(usize::from(owner.0))
    }
}

impl Common<'_> {
    /// Labels below the apex that an owner shares with the name.
    pub(super) fn shared(&self, owner: Owner) -> usize {
        self.shared.get(usize::from(owner.0)).copied().unwrap_or(0).into()
    }

    /// Whether an owner is the name itself.
    pub(super) fn is_same(&self, owner: Owner) -> bool {
        self.shared(owner) == self.depth && self.is_above(owner)
    }

    /// Whether the name is an owner or stands below it.
    pub(super) fn is_above(&self, owner: Owner) -> bool {
        let depth = self.owners.label(owner).map(|label| usize::from(label.depth));
        depth == Some(self.shared(owner))
    }
}

/// The label that starts here, without its length.
fn label(bytes: &[u8], start: usize) -> Option<&[u8]> {
    let length = usize::from(*bytes.get(start)?);
    bytes.get(start + 1..start + 1 + length)
}
