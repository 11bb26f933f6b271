//! The ids of all nodes, as the little that takes memory: their first 64 bits, in order.

use std::ops::Range;

use mainline::Id;

use super::random::Random;

/// Nodes for each cell of the index, about. Fewer make the index larger than the memory next to a core.
const NODES_PER_CELL: usize = 64;

/// The first 64 bits of each node's id, without two alike, sorted: 8 bytes a node. What a node is called elsewhere, its
/// number, is its place here.
#[derive(Debug)]
pub(super) struct Prefixes {
    sorted: Vec<u64>,
    /// For each beginning of so many bits, the first place that does not come before it; and the end.
    index: Vec<u32>,
    index_bits: u32,
}

impl Prefixes {
    /// Evenly spread. They come into being in order, because gaps between such numbers are distributed exponentially.
    pub(super) fn new(count: usize, random: &mut Random) -> Self {
        let mut sum = 0.0;
        let mut sorted: Vec<u64> = Vec::with_capacity(count);
        sorted.extend((0..count).map(|_| {
            sum += random.exponential();
            sum.to_bits()
        }));
        sum += random.exponential();
        let scale = 2f64.powi(64) / sum;
        let mut last = None;
        for (prefix, left) in sorted.iter_mut().zip((0..count as u64).rev()) {
            // A floating-point number leaves the last 11 bits open.
            let scaled = ((f64::from_bits(*prefix) * scale) as u64) ^ (random.next() >> 53);
            let least = last.map_or(0, |last: u64| last.saturating_add(1));
            *prefix = scaled.clamp(least, u64::MAX - left);
            last = Some(*prefix);
        }
        let index_bits = (count / NODES_PER_CELL).max(1).ilog2();
        let mut index = Vec::with_capacity((1 << index_bits) + 1);
        for (&prefix, place) in sorted.iter().zip(0..) {
            let cell = cell(prefix, index_bits);
            while index.len() <= cell {
                index.push(place);
            }
        }
        index.resize((1 << index_bits) + 1, count as u32);
        Self { sorted, index, index_bits }
    }

    pub(super) fn len(&self) -> usize {
        self.sorted.len()
    }

    pub(super) fn get(&self, place: u32) -> Option<u64> {
        self.sorted.get(place as usize).copied()
    }

    /// The places of those that share their first `bits` bits with `prefix`.
    pub(super) fn sharing(&self, prefix: u64, bits: u32) -> Range<u32> {
        let beyond = u64::MAX.checked_shr(bits).unwrap_or(0);
        let start = self.first_from(prefix & !beyond);
        let end = (prefix | beyond).checked_add(1).map_or(self.len() as u32, |next| self.first_from(next));
        start..end
    }

    /// The places nearest to `target` of those that are `wanted`, nearest first. Looks at few more than it returns, and
    /// at those that are not wanted.
    pub(super) fn nearest(&self, target: u64, count: usize, wanted: impl Fn(u32) -> bool) -> Vec<u32> {
        let mut nearest: Vec<(u64, u32)> = Vec::with_capacity(count);
        let mut inner = self.sharing(target, u64::BITS);
        let take = |ring: Range<u32>, nearest: &mut Vec<(u64, u32)>| {
            let wanted = ring.filter(|place| wanted(*place));
            nearest.extend(wanted.filter_map(|place| Some((self.get(place)? ^ target, place))));
        };
        take(inner.clone(), &mut nearest);
        // All that share fewer bits are farther away than all that share more.
        for bits in (0..u64::BITS).rev() {
            if nearest.len() >= count {
                break;
            }
            let outer = self.sharing(target, bits);
            let before = nearest.len();
            take(outer.start..inner.start.max(outer.start), &mut nearest);
            take(inner.end.min(outer.end)..outer.end, &mut nearest);
            if let Some(ring) = nearest.get_mut(before..) {
                ring.sort_unstable();
            }
            inner = outer;
        }
        nearest.truncate(count);
        nearest.into_iter().map(|(_, place)| place).collect()
    }

    /// Moves one to anywhere between its neighbours, where its first `kept` bits stay the same. Numbers in order that are
    /// drawn anew like this, whichever and however often, stay evenly spread.
    pub(super) fn redraw(&mut self, place: u32, kept: u32, random: &mut Random) {
        let Some(old) = self.get(place) else { return };
        let before = place.checked_sub(1).and_then(|place| self.get(place));
        let free = u64::MAX.checked_shr(kept).unwrap_or(0);
        let least = before.map_or(0, |before| before + 1).max(old & !free);
        let most = self.get(place + 1).map_or(u64::MAX, |after| after - 1).min(old | free);
        let new = least + (random.share() * (most - least) as f64) as u64;
        let new = new.min(most);
        if let Some(prefix) = self.sorted.get_mut(place as usize) {
            *prefix = new;
        }
        let [old, new] = [old, new].map(|prefix| cell(prefix, self.index_bits));
        for first in self.index.get_mut(old + 1..=new).unwrap_or_default() {
            *first = place;
        }
        for first in self.index.get_mut(new + 1..=old).unwrap_or_default() {
            *first = place + 1;
        }
    }

    /// Bytes of memory.
    pub(super) fn size(&self) -> usize {
        self.sorted.capacity() * size_of::<u64>() + self.index.capacity() * size_of::<u32>()
    }

    /// The first place that does not come before `prefix`.
    fn first_from(&self, prefix: u64) -> u32 {
        let cell = cell(prefix, self.index_bits);
        let place = |cell: usize| self.index.get(cell).map_or(self.sorted.len(), |place| *place as usize);
        let (start, end) = (place(cell), place(cell + 1));
        let within = self.sorted.get(start..end).unwrap_or_default();
        (start + within.partition_point(|it| *it < prefix)) as u32
    }
}

fn cell(prefix: u64, index_bits: u32) -> usize {
    prefix.checked_shr(u64::BITS - index_bits).unwrap_or(0) as usize
}

/// The first 64 bits of an id.
pub(super) fn prefix(id: &Id) -> u64 {
    id.as_bytes().first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}
