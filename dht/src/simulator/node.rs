//! One node: who it is and what it holds.

use std::{net::IpAddr, sync::Arc, time::Duration};

use lru::LruCache;
use mainline::Id;

use super::{Hostile, item::StoredItem};

/// How a node behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    Honest,
    /// Never answers.
    Dead,
    /// Is named by those whom it has asked itself, and answers only them: for all others as good as dead.
    BehindNat,
    /// Has a program without BEP 44.
    StoresNothing,
    Hostile(Hostile),
}

impl Role {
    /// Whether it answers those who have never heard of it.
    pub(super) fn answers(self) -> bool {
        !matches!(self, Self::Dead | Self::BehindNat)
    }

    /// Whether values can be stored on it.
    pub(super) fn stores(self) -> bool {
        self.answers() && self != Self::StoresNothing
    }
}

/// Who a node is. A function of its number, and made when it is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) id: Id,
    pub(super) address: IpAddr,
    pub(super) role: Role,
    /// Without jitter.
    pub(super) round_trip: Duration,
}

/// What a node holds.
#[derive(Debug)]
pub(super) struct Held(LruCache<Id, Given>);

/// A value, and when it was last given to the node.
#[derive(Debug)]
struct Given {
    item: Arc<StoredItem>,
    at: Duration,
}

impl Default for Held {
    fn default() -> Self {
        Self(LruCache::unbounded())
    }
}

impl Held {
    /// What it holds under the target. What was given before `since` is forgotten.
    pub(super) fn item(&mut self, target: &Id, since: Duration) -> Option<&Arc<StoredItem>> {
        self.0.get(target).filter(|given| given.at >= since).map(|given| &given.item)
    }

    /// As [`Held::item`], for who only looks on.
    pub(super) fn peek(&self, target: &Id, since: Duration) -> Option<&Arc<StoredItem>> {
        self.0.peek(target).filter(|given| given.at >= since).map(|given| &given.item)
    }

    /// Stores the value at the time `now` if it is not older than what is there, and forgets another one where there
    /// are more than `capacity`. Hostile nodes may do otherwise.
    pub(super) fn keep(
        &mut self,
        role: Role,
        target: Id,
        item: Arc<StoredItem>,
        capacity: usize,
        (now, since): (Duration, Duration),
    ) {
        let held = self.item(&target, since).map(|held| held.seq);
        let takes = match role {
            Role::Hostile(Hostile::AcknowledgesOnly) => false,
            Role::Hostile(Hostile::StaleForever) => held.is_none_or(|seq| item.seq < seq),
            Role::Honest | Role::Dead | Role::BehindNat | Role::StoresNothing | Role::Hostile(_) => {
                held.is_none_or(|seq| item.seq > seq)
            }
        };
        if takes {
            self.0.put(target, Given { item, at: now });
            if self.0.len() > capacity {
                self.0.pop_lru();
            }
        } else if held == Some(item.seq)
            && let Some(given) = self.0.get_mut(&target)
        {
            given.at = now;
        }
    }
}
