//! Nodes come and go.

use std::time::Duration;

use super::{Draw, Newcomer, Population, part_of};
use crate::simulator::{binding::CLASS_BITS, permutation::Permutation};

impl Population {
    /// Replaces a share of the nodes by others that hold nothing. The node at the first address stays.
    pub(in crate::simulator) fn churn(&mut self, share: f64) {
        let order = Permutation::of(self.len(), &[self.random.next()]);
        let first = self.first();
        let leaving = (0..self.len()).map(|turn| order.apply(turn)).filter(|number| *number != first);
        leaving.take(part_of(self.ids.len(), share)).for_each(|number| self.replace(number));
    }

    /// Lets so much time pass for nodes of which each `stays` as long as chance wants, with means of which each is that
    /// of a share of them.
    pub(in crate::simulator) fn age(&mut self, time: Duration, stays: &[(f64, Duration)]) {
        let leaves = |mean: Duration| -(-time.as_secs_f64() / mean.as_secs_f64()).exp_m1();
        let most = stays.iter().map(|(_, mean)| leaves(*mean)).fold(0.0, f64::max);
        let first = self.first();
        // A fraction of a node is left to chance, so that small networks age as well.
        let turns = (self.ids.len() as f64 * most + self.random.share()) as usize;
        for _ in 0..turns {
            let number = self.random.below(self.ids.len()) as u32;
            let mut part = self.draws_for_ever(Draw::Stay, number).share();
            let kind = stays.iter().find(|(share, _)| {
                part -= share;
                part < 0.0
            });
            let leaves = kind.map_or(0.0, |(_, mean)| leaves(*mean));
            if self.random.happens(leaves / most) && number != first {
                self.replace(number);
            }
        }
    }

    /// Another one takes the number and the role, with an id near by and an address of its own.
    fn replace(&mut self, number: u32) {
        let before = self.newcomers.get(&number).copied();
        let Some(address) = self.free_address(number) else { return };
        if let Some(Newcomer { address, .. }) = before {
            self.moved_in.remove(&address);
        }
        let are_bound = self.bound_ids > 0.0;
        if let (false, Some((_, left))) = (are_bound, self.contact(number)) {
            self.moved_out.push_back(left);
        }
        self.moved_in.insert(address, number);
        let generation = before.map_or(0, |before| before.generation).wrapping_add(1);
        self.newcomers.insert(number, Newcomer { generation, address });
        // Where ids are bound, what is bound has to stay, or others at like addresses would have to move.
        let kept = if are_bound { CLASS_BITS } else { 0 };
        self.ids.redraw(number, kept, &mut self.random);
        self.held.remove(&number);
    }
}
