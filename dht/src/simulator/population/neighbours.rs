//! Whom each node knows.

use std::{net::IpAddr, ops::Range};

use mainline::Id;

use super::{BUCKET, Draw, Population, id};
use crate::simulator::{ids::prefix, node::Role, random::Random};

/// Bits that a node that has gone shares with who is named in its place: enough for the same bucket.
const PLACE_BITS: u32 = 32;

/// One in a table: its id and the place of it, or of its successor.
#[derive(Debug, Clone, Copy)]
struct Known {
    prefix: u64,
    number: u32,
    has_gone: bool,
}

impl Population {
    /// The nodes nearest to the target that the node knows, nearest first.
    pub(in crate::simulator) fn known_to(&self, number: u32, target: &Id) -> Vec<(Id, IpAddr)> {
        let (Some(own), target) = (self.ids.get(number), prefix(target)) else { return Vec::new() };
        let mut known: Vec<Known> = Vec::with_capacity(2 * BUCKET);
        let mut add = |buckets: Range<u32>| {
            let before = known.len();
            buckets.for_each(|bit| self.add_bucket(number, own, bit, &mut known));
            if let Some(added) = known.get_mut(before..) {
                added.sort_unstable_by_key(|known| known.prefix ^ target);
            }
            known.len() < BUCKET
        };
        // Those that differ from it where the target does are the nearest, then those that differ later, and then those
        // that do earlier, one bit after the other.
        let differs = (own ^ target).leading_zeros();
        if add(differs..(differs + 1).min(u64::BITS)) && add((differs + 1).min(u64::BITS)..u64::BITS) {
            (0..differs).rev().find(|bit| !add(*bit..*bit + 1));
        }
        known.truncate(BUCKET);
        known.into_iter().filter_map(|known| self.named(known)).collect()
    }

    /// The hostile nodes nearest to the target, without the one that names them.
    pub(in crate::simulator) fn hostile_near(&self, target: &Id, without: u32) -> Vec<(Id, IpAddr)> {
        let is_hostile = |number| number != without && matches!(self.role(number), Role::Hostile(_));
        let nearest = self.ids.nearest(prefix(target), BUCKET, is_hostile);
        nearest.into_iter().filter_map(|number| self.contact(number)).collect()
    }

    fn named(&self, known: Known) -> Option<(Id, IpAddr)> {
        if !known.has_gone {
            return self.contact(known.number);
        }
        let mut random = self.draws(Draw::Gone, known.number);
        let id = id(known.prefix, &mut random);
        Some((id, self.address_of_nobody(&mut random)))
    }

    /// Adds whom the node knows of those whose ids first differ from its own in this bit: as many as fit in a bucket.
    /// Near its own id that is every node.
    fn add_bucket(&self, number: u32, own: u64, bit: u32, known: &mut Vec<Known>) {
        let differing = own ^ (1 << (u64::BITS - 1 - bit));
        let range = self.ids.sharing(differing, bit + 1);
        if range.is_empty() {
            return;
        }
        let seeds = [self.seed, Draw::Bucket as u64, number.into(), self.generation(number), bit.into()];
        let mut random = Random::of(&seeds);
        for number in sample(range, &mut random) {
            let Some(prefix) = self.ids.get(number) else { continue };
            let has_gone = bit < PLACE_BITS && random.happens(self.stale_entries);
            let other = u64::MAX >> PLACE_BITS;
            let prefix =
                if has_gone { prefix ^ (self.draws(Draw::Gone, number).next() & other) } else { prefix };
            known.push(Known { prefix, number, has_gone });
        }
    }
}

/// A bucket's worth of different numbers from the range (Floyd's algorithm), or all there are.
fn sample(range: Range<u32>, random: &mut Random) -> impl Iterator<Item = u32> + use<> {
    let mut drawn = [0; BUCKET];
    let mut count = 0;
    for last in range.end.saturating_sub(BUCKET as u32).max(range.start)..range.end {
        let it = range.start + random.below((last + 1 - range.start) as usize) as u32;
        let is_new = !drawn.iter().take(count).any(|drawn| *drawn == it);
        if let Some(place) = drawn.get_mut(count) {
            *place = if is_new { it } else { last };
        }
        count += 1;
    }
    drawn.into_iter().take(count)
}
