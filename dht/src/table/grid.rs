//! Which places of which buckets are taken, and in which order buckets lie around a target.

use super::Id;

/// Buckets divide the key space evenly, by the first bits of the id.
#[derive(Debug)]
pub(super) struct Grid {
    bits: u32,
    size: usize,
    /// A bit for each place of a bucket that is taken.
    taken: Vec<u32>,
    /// A bit for each bucket that is not empty.
    occupied: Vec<u64>,
}

/// About how many places a bucket has, less than twice as many at most. BEP 5 has 8. Values lie on the 20 nearest nodes.
const BUCKET_SIZE: usize = 16;

impl Grid {
    /// With room for `places` nodes, or a few less.
    pub(super) fn new(places: usize) -> Self {
        let bits = (places / BUCKET_SIZE).max(1).ilog2().min(u16::BITS);
        let buckets = 1 << bits;
        // The places of a bucket are the bits of a number.
        let size = (places / buckets).clamp(1, 31);
        Self { bits, size, taken: vec![0; buckets], occupied: vec![0; buckets.div_ceil(64)] }
    }

    /// Bytes of memory.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.taken.capacity() * size_of::<u32>() + self.occupied.capacity() * size_of::<u64>()
    }

    pub(super) fn buckets(&self) -> usize {
        self.taken.len()
    }

    /// Places in a bucket.
    pub(super) fn size(&self) -> usize {
        self.size
    }

    pub(super) fn capacity(&self) -> usize {
        self.buckets() * self.size
    }

    pub(super) fn bucket_of(&self, id: &Id) -> usize {
        let [a, b, c, d, ..] = *id.as_bytes();
        let head = u64::from(u32::from_be_bytes([a, b, c, d]));
        usize::try_from(head >> (u32::BITS - self.bits)).unwrap_or(0)
    }

    /// Any id of a bucket: the first bits of it, the others from `random`.
    pub(super) fn id_in(&self, bucket: usize, random: &Id) -> Id {
        let mut bytes = *random.as_bytes();
        if let Some(head) = bytes.first_chunk_mut::<4>() {
            let rest = u64::from(u32::from_be_bytes(*head)) & ((1 << (u32::BITS - self.bits)) - 1);
            let prefix = (bucket as u64) << (u32::BITS - self.bits);
            *head = u32::try_from(prefix | rest).unwrap_or(0).to_be_bytes();
        }
        Id::from(bytes)
    }

    /// The bucket at a step of a way that visits all of them, so that those that follow each other are far apart.
    pub(super) fn visit(&self, step: usize) -> usize {
        match self.bits {
            0 => 0,
            bits => (step % self.buckets()).reverse_bits() >> (usize::BITS - bits),
        }
    }

    /// Nodes in a bucket.
    pub(super) fn count(&self, bucket: usize) -> usize {
        self.taken.get(bucket).map_or(0, |taken| taken.count_ones() as usize)
    }

    /// The places of a bucket that are taken.
    pub(super) fn places(&self, bucket: usize) -> impl Iterator<Item = usize> + use<> {
        let taken = self.taken.get(bucket).copied().unwrap_or(0);
        let first = bucket * self.size;
        (0..self.size).filter(move |place| taken >> place & 1 == 1).map(move |place| first + place)
    }

    /// The first place of a bucket that is not taken.
    pub(super) fn free(&self, bucket: usize) -> Option<usize> {
        let place = self.taken.get(bucket)?.trailing_ones() as usize;
        (place < self.size).then_some(bucket * self.size + place)
    }

    pub(super) fn is_taken(&self, place: usize) -> bool {
        self.taken.get(place / self.size).is_some_and(|taken| taken >> (place % self.size) & 1 == 1)
    }

    /// Whether a place is in the second half of its bucket.
    pub(super) fn is_late_place(&self, place: usize) -> bool {
        place % self.size >= self.size / 2
    }

    pub(super) fn set(&mut self, place: usize, is_taken: bool) {
        let bucket = place / self.size;
        let Some(taken) = self.taken.get_mut(bucket) else { return };
        let bit = 1 << (place % self.size);
        *taken = if is_taken { *taken | bit } else { *taken & !bit };
        let is_occupied = *taken != 0;
        if let Some(word) = self.occupied.get_mut(bucket / 64) {
            let bit = 1 << (bucket % 64);
            *word = if is_occupied { *word | bit } else { *word & !bit };
        }
    }

    /// Buckets that are not empty, the one at `nearest` first, then by their distance to it. Of 65,536 buckets it looks
    /// at a thousand words at most.
    pub(super) fn outward(&self, nearest: usize) -> impl Iterator<Item = usize> + '_ {
        let words = (0..self.occupied.len()).filter_map(move |distance| {
            let index = (nearest / 64) ^ distance;
            let word = *self.occupied.get(index)?;
            (word != 0).then_some((index, word))
        });
        words.flat_map(move |(index, word)| {
            let bits = (0..64).map(move |distance| (nearest % 64) ^ distance);
            bits.filter(move |bit| word >> bit & 1 == 1).map(move |bit| index * 64 + bit)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn there_are_about_sixteen_places_for_each_part_of_the_key_space() {
        for (places, buckets, size) in [
            (0, 1, 1),
            (5, 1, 5),
            (16, 1, 16),
            (8192, 512, 16),
            (7168, 256, 28),
            (65_536, 4096, 16),
            (1_000_000, 32_768, 30),
            (1 << 20, 65_536, 16),
            (usize::MAX, 65_536, 31),
        ] {
            let grid = Grid::new(places);
            assert_eq!((grid.buckets(), grid.size()), (buckets, size), "{places}");
            let random = Id::random();
            for step in [0, 1, buckets / 2, buckets - 1, buckets] {
                let bucket = grid.visit(step);
                assert_eq!(grid.bucket_of(&grid.id_in(bucket, &random)), bucket);
            }
        }
    }

    #[test]
    fn every_bucket_is_visited_and_neighbours_are_not_next_to_each_other() {
        let grid = Grid::new(1024);
        let mut visited: Vec<_> = (0..64).map(|step| grid.visit(step)).collect();
        assert!(visited.windows(2).all(|two| two[0].abs_diff(two[1]) >= 16));
        visited.sort_unstable();
        assert_eq!(visited, (0..64).collect::<Vec<_>>());
    }

    #[test]
    fn places_are_taken_and_given_back() {
        let mut grid = Grid::new(64 * 16);
        for place in 3 * 16..4 * 16 {
            assert_eq!(grid.free(3), Some(place));
            grid.set(place, true);
        }
        assert_eq!((grid.free(3), grid.count(3)), (None, 16));
        assert_eq!(grid.outward(63).collect::<Vec<_>>(), [3]);
        grid.set(3 * 16 + 5, false);
        assert_eq!(grid.free(3), Some(3 * 16 + 5));
        assert!(grid.is_taken(3 * 16 + 6) && !grid.is_taken(3 * 16 + 5));
        grid.set(0, true);
        grid.set(40 * 16, true);
        assert_eq!(grid.outward(2).collect::<Vec<_>>(), [3, 0, 40]);
    }
}
