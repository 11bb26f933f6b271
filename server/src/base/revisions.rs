//! Which answers are out of date because their key has a newer packet: answers note the revision that they were made
//! from, and a newer packet counts it up. Nobody has to know which answers there are.

use std::sync::atomic::{AtomicU32, Ordering};

/// Counters, 256 KiB. Keys that share one drop each other's answers when one of them gets a newer packet, which costs
/// another look at the packet in memory.
const COUNTERS: usize = 1 << 16;

/// Counts the packets that took the place of an older one.
#[derive(Debug)]
pub struct Revisions(Box<[AtomicU32]>);

/// The state of one key when something was made of its packet.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Revision {
    counter: u16,
    count: u32,
}

impl Default for Revisions {
    fn default() -> Self {
        Self((0..COUNTERS).map(|_| AtomicU32::new(0)).collect())
    }
}

impl Revisions {
    /// The state of `key` now. To be taken before the packet is, or a newer packet between the two goes unnoticed.
    pub fn current(&self, key: &[u8; 32]) -> Revision {
        let counter = counter_of(key);
        Revision { counter, count: self.counter(counter).map_or(0, |count| count.load(Ordering::Acquire)) }
    }

    /// `key` has a newer packet.
    pub fn advance(&self, key: &[u8; 32]) {
        if let Some(count) = self.counter(counter_of(key)) {
            // After 4 billion newer packets in the life of one answer it would count as current.
            count.fetch_add(1, Ordering::Release);
        }
    }

    /// Whether no newer packet has come since.
    pub fn is_current(&self, revision: Revision) -> bool {
        self.counter(revision.counter).is_some_and(|count| count.load(Ordering::Acquire) == revision.count)
    }

    /// There is one for each value of 16 bits.
    fn counter(&self, counter: u16) -> Option<&AtomicU32> {
        self.0.get(usize::from(counter))
    }
}

fn counter_of(key: &[u8; 32]) -> u16 {
    u16::from_be_bytes([key[0], key[1]])
}

impl Revision {
    /// Size of [`Revision::to_bytes`].
    pub const SIZE: usize = 6;

    /// For keeping it beside an answer.
    pub fn to_bytes(self) -> [u8; Self::SIZE] {
        let ([a, b], [c, d, e, f]) = (self.counter.to_be_bytes(), self.count.to_be_bytes());
        [a, b, c, d, e, f]
    }

    /// Takes what [`Revision::to_bytes`] gave.
    pub fn from_bytes([a, b, c, d, e, f]: [u8; Self::SIZE]) -> Self {
        Self { counter: u16::from_be_bytes([a, b]), count: u32::from_be_bytes([c, d, e, f]) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_newer_packet_makes_what_came_before_it_out_of_date_and_no_other_key() {
        let revisions = Revisions::default();
        let (one, other) = (revisions.current(&[1; 32]), revisions.current(&[2; 32]));
        assert!(revisions.is_current(one));
        revisions.advance(&[1; 32]);
        assert!(!revisions.is_current(one) && revisions.is_current(other));
        assert!(revisions.is_current(revisions.current(&[1; 32])));
        assert_eq!(Revision::from_bytes(one.to_bytes()), one);
    }
}
