//! Orders of numbers that take no memory.

use super::random::Random;

/// Rounds of the network. Four make any pattern in its input vanish.
const ROUNDS: u64 = 4;

/// Puts the numbers below a bound into another order, and back: a small Feistel network. Where that leads beyond the
/// bound, it is followed until it leads back (cycle walking).
#[derive(Debug, Clone)]
pub(super) struct Permutation {
    half: u32,
    keys: [u64; ROUNDS as usize],
    bound: u32,
}

impl Permutation {
    /// Of the numbers below `bound`, one for each list of seeds.
    pub(super) fn of(bound: u32, seeds: &[u64]) -> Self {
        let mut random = Random::of(seeds);
        let bits = u32::BITS - bound.saturating_sub(1).leading_zeros();
        let half = bits.div_ceil(2).max(1);
        Self { half, keys: std::array::from_fn(|_| random.next()), bound }
    }

    /// Where the number goes, which has to be below the bound.
    pub(super) fn apply(&self, number: u32) -> u32 {
        walk(number, |it| self.encipher(it), |it| it < self.bound)
    }

    /// The number that goes there.
    pub(super) fn invert(&self, place: u32) -> u32 {
        walk(place, |it| self.decipher(it), |it| it < self.bound)
    }

    /// As [`Permutation::apply`], among those that `may` be.
    pub(super) fn apply_within(&self, number: u32, may: impl Fn(u32) -> bool) -> u32 {
        walk(number, |it| self.encipher(it), may)
    }

    /// As [`Permutation::invert`], among those that `may` be.
    pub(super) fn invert_within(&self, place: u32, may: impl Fn(u32) -> bool) -> u32 {
        walk(place, |it| self.decipher(it), may)
    }

    fn encipher(&self, number: u32) -> u32 {
        let (mut left, mut right) = self.split(number);
        for key in &self.keys {
            (left, right) = (right, left ^ self.mix(right, *key));
        }
        self.join(left, right)
    }

    fn decipher(&self, number: u32) -> u32 {
        let (mut left, mut right) = self.split(number);
        for key in self.keys.iter().rev() {
            (left, right) = (right ^ self.mix(left, *key), left);
        }
        self.join(left, right)
    }

    fn mix(&self, half: u32, key: u64) -> u32 {
        let mixed = (u64::from(half) ^ key).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = (mixed ^ (mixed >> 32)).wrapping_mul(0xd6e8_feb8_6659_fd93);
        (mixed >> (u64::BITS - self.half)) as u32
    }

    fn split(&self, number: u32) -> (u32, u32) {
        (number >> self.half, number & ((1 << self.half) - 1))
    }

    fn join(&self, left: u32, right: u32) -> u32 {
        (left << self.half) | right
    }
}

/// Ends at the start at the latest, as every step can be undone.
fn walk(start: u32, step: impl Fn(u32) -> u32, may: impl Fn(u32) -> bool) -> u32 {
    let mut number = step(start);
    while !may(number) && number != start {
        number = step(number);
    }
    number
}
