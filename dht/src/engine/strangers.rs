//! Nodes that somebody named and that we have not heard from. Pure.

use std::{
    collections::{HashSet, VecDeque},
    net::SocketAddr,
    time::{Duration, Instant},
};

use ahash::RandomState;

use crate::krpc::Id;

/// Nodes that wait to be asked: what is asked in the first two seconds. A node that finds no room is named again.
const MAX_WAITING: usize = 2048;

/// Nodes that are not to be asked again, for one to two such times.
const MEMORY: Duration = Duration::from_secs(60);

/// Most nodes remembered for that, in each of the two times: what is asked in the first ten seconds, and more than is
/// asked in any minute later.
const MAX_RECENT: usize = 1 << 14;

/// A queue in which each has one place.
#[derive(Debug)]
pub(super) struct Strangers {
    waiting: VecDeque<(Id, SocketAddr)>,
    /// Hashes of addresses, the latest first. That two are the same costs a node that others take the place of.
    recent: [HashSet<u64>; 2],
    turned: Instant,
    hasher: RandomState,
}

impl Strangers {
    pub(super) fn new(now: Instant) -> Self {
        Self { waiting: VecDeque::new(), recent: Default::default(), turned: now, hasher: RandomState::new() }
    }

    pub(super) fn is_full(&self) -> bool {
        self.waiting.len() >= MAX_WAITING
    }

    pub(super) fn is_empty(&self) -> bool {
        self.waiting.is_empty()
    }

    /// Takes the node in, unless it was here a moment ago. Whether it was new.
    pub(super) fn meet(&mut self, id: Id, address: SocketAddr, now: Instant) -> bool {
        let [latest, before] = &mut self.recent;
        if now.saturating_duration_since(self.turned) > MEMORY || latest.len() >= MAX_RECENT {
            self.turned = now;
            std::mem::swap(latest, before);
            latest.clear();
        }
        let hash = self.hasher.hash_one(address);
        if latest.contains(&hash) || before.contains(&hash) {
            return false;
        }
        if self.waiting.len() < MAX_WAITING {
            latest.insert(hash);
            self.waiting.push_back((id, address));
        }
        true
    }

    pub(super) fn next(&mut self) -> Option<(Id, SocketAddr)> {
        self.waiting.pop_front()
    }

    /// It could not be asked yet, and is the next again.
    pub(super) fn give_back(&mut self, stranger: (Id, SocketAddr)) {
        self.waiting.push_front(stranger);
    }

    /// That they did not answer says nothing about them.
    pub(super) fn forget(&mut self) {
        self.waiting.clear();
        self.recent.iter_mut().for_each(HashSet::clear);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(number: usize) -> SocketAddr {
        let [.., a, b, c] = number.to_be_bytes();
        SocketAddr::from(([10, a, b, c], 1))
    }

    #[test]
    fn who_was_named_a_moment_ago_is_not_asked_again() {
        let now = Instant::now();
        let mut strangers = Strangers::new(now);
        let id = Id::random();
        assert!(strangers.meet(id, address(1), now));
        assert_eq!(strangers.next(), Some((id, address(1))));
        assert!(!strangers.meet(Id::random(), address(1), now + MEMORY));
        assert!(strangers.is_empty());
        assert!(strangers.meet(id, address(2), now + MEMORY * 2));
        assert!(strangers.meet(id, address(1), now + MEMORY * 4), "a datagram may have been lost");
    }

    #[test]
    fn whoever_names_many_fills_no_memory() {
        let now = Instant::now();
        let mut strangers = Strangers::new(now);
        for number in 0..100_000 {
            strangers.meet(Id::random(), address(number), now);
            if number % 2 == 0 {
                strangers.next();
            }
        }
        assert!(strangers.is_full() && strangers.waiting.len() <= MAX_WAITING);
        assert!(strangers.recent.iter().all(|recent| recent.len() <= MAX_RECENT));
    }
}
