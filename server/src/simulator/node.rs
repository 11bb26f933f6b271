//! One node: who it is and what it holds.

use std::{net::Ipv4Addr, sync::Arc, time::Duration};

use lru::LruCache;
use mainline::Id;

use super::{Hostile, item::StoredItem};

/// How a node behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Honest,
    /// Never answers.
    Dead,
    Hostile(Hostile),
}

#[derive(Debug)]
pub(super) struct Node {
    pub(super) id: Id,
    pub(super) address: Ipv4Addr,
    pub(super) role: Role,
    /// Without jitter.
    pub(super) round_trip: Duration,
    items: LruCache<Id, Arc<StoredItem>>,
}

impl Node {
    pub(super) fn new(id: Id, address: Ipv4Addr, role: Role, round_trip: Duration) -> Self {
        Self { id, address, role, round_trip, items: LruCache::unbounded() }
    }

    /// What it holds under the target.
    pub(super) fn item(&mut self, target: &Id) -> Option<&Arc<StoredItem>> {
        self.items.get(target)
    }

    /// As [`Node::item`], for who only looks on.
    pub(super) fn peek(&self, target: &Id) -> Option<&Arc<StoredItem>> {
        self.items.peek(target)
    }

    #[cfg(test)]
    pub(super) fn forget(&mut self, target: &Id) {
        self.items.pop(target);
    }

    /// Stores the value if it is newer than what is there, and forgets another one where there are more than
    /// `capacity`. Hostile nodes may do otherwise.
    pub(super) fn keep(&mut self, target: Id, item: Arc<StoredItem>, capacity: usize) {
        let held = self.items.get(&target).map(|held| held.seq);
        let takes = match self.role {
            Role::Hostile(Hostile::AcknowledgesOnly) => false,
            Role::Hostile(Hostile::StaleForever) => held.is_none_or(|seq| item.seq < seq),
            Role::Honest | Role::Dead | Role::Hostile(_) => held.is_none_or(|seq| item.seq > seq),
        };
        if takes {
            self.items.put(target, item);
            if self.items.len() > capacity {
                self.items.pop_lru();
            }
        }
    }
}
