//! Whom to ask next so that the table stays true and becomes full, without looking at every node: a way through the
//! buckets that goes on where it stopped.

use std::{
    collections::VecDeque,
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::{Contact, Entry, FRESH, Id, RoutingTable, Subnet};

/// Buckets looked into to find one in which there is something to do, and those passed over for that.
const MOST_STEPS: usize = 64;
const MOST_PASSED: usize = 4096;

/// A node that did not answer is asked again after this. A shorter outage of its own, or of the way there, is no reason
/// to lose it.
const SECOND_CHANCE: Duration = Duration::from_secs(15);

/// Buckets in which somebody has looked for something lately.
const MAX_VISITED: usize = 64;

/// How far the ways have come.
#[derive(Debug, Default)]
pub(super) struct Rounds {
    refresh: usize,
    sparse: usize,
    pub(super) visited: VecDeque<usize>,
}

impl RoutingTable {
    /// The node that is next to be asked whether it is there: in the buckets where somebody looked for something lately,
    /// then in all in turn. In each first those that failed, then those that have not answered in this run, then the
    /// one that has been silent longest, if that is over 15 minutes. `None` where some dozens of buckets have none.
    pub fn next_to_refresh(&mut self, now: Instant) -> Option<Contact> {
        if self.is_empty() {
            return None;
        }
        let mut steps = 0;
        for _ in 0..MOST_PASSED.min(self.grid.buckets()) {
            let bucket = self.rounds.visited.pop_front().unwrap_or_else(|| {
                self.rounds.refresh = self.rounds.refresh.wrapping_add(1);
                self.grid.visit(self.rounds.refresh)
            });
            steps += usize::from(self.grid.count(bucket) > 0);
            if steps > MOST_STEPS {
                return None;
            }
            let is_due = |entry: &Entry| {
                let after = if entry.is_failing { SECOND_CHANCE } else { FRESH };
                entry.is_unconfirmed || self.silence(entry, now) > after
            };
            let due = self.entries(bucket).filter(|(_, entry)| is_due(entry));
            // A node that was handed out has had a whole round to answer in when its turn comes again.
            let (asked, due): (Vec<_>, Vec<_>) = due.partition(|(_, entry)| entry.is_asked);
            for (place, entry) in asked {
                self.places.set(place, &Entry { is_asked: false, ..entry });
            }
            let next = due
                .into_iter()
                .min_by_key(|(_, entry)| (!entry.is_failing, !entry.is_unconfirmed, entry.since));
            if let Some((place, entry)) = next {
                self.places.set(place, &Entry { is_asked: true, ..entry });
                return Some(entry.contact);
            }
        }
        None
    }

    /// Somebody looks for something near `target`: the nodes there are worth knowing well.
    pub fn looked_up(&mut self, target: &Id) {
        let bucket = self.grid.bucket_of(target);
        if self.rounds.visited.len() < MAX_VISITED && !self.rounds.visited.contains(&bucket) {
            self.rounds.visited.push_back(bucket);
        }
    }

    /// Any target in a part of the key space where fewer nodes are known than elsewhere, or than there is room for.
    /// `None` where some dozens of buckets have enough.
    pub fn sparse_target(&mut self) -> Option<Id> {
        let enough = self.enough();
        for _ in 0..MOST_STEPS.min(self.grid.buckets()) {
            self.rounds.sparse = self.rounds.sparse.wrapping_add(1);
            let bucket = self.grid.visit(self.rounds.sparse);
            if self.grid.count(bucket) < enough {
                return Some(self.grid.id_in(bucket, &Id::random()));
            }
        }
        None
    }

    /// Whether a node that somebody named would get a place if it answered, so that asking it makes the table fuller.
    pub fn has_room_for(&self, id: &Id, address: SocketAddr) -> bool {
        let bucket = self.grid.bucket_of(id);
        let has_room = || {
            self.grid.count(bucket) < self.enough() || self.entries(bucket).any(|(_, entry)| entry.is_failing)
        };
        let is_crowded = || Subnet::of(address.ip()).is_some_and(|subnet| self.is_crowded(bucket, subnet));
        has_room()
            && self.places.take(address)
            && self.at(address).is_none()
            && self.find(id).is_none_or(|(_, entry)| entry.is_failing)
            && !is_crowded()
    }

    /// Whether so few nodes are known near `id` that any is welcome which knows the way.
    pub fn is_thin_at(&self, id: &Id) -> bool {
        self.grid.count(self.grid.bucket_of(id)) * 4 < self.grid.size()
    }

    /// Whether so few places are free that it is not worth looking for nodes: those that come by will take them.
    pub fn is_full(&self) -> bool {
        self.confirmed() >= self.capacity() - self.capacity() / 20
    }

    /// Nodes that each bucket gets before others get more, so that the table is even before it is full.
    fn enough(&self) -> usize {
        (self.len() / self.grid.buckets() + 2).min(self.grid.size())
    }
}
