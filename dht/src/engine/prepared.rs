//! The nodes that searches have found, for a store of the same key that follows.

use std::{
    num::NonZeroUsize,
    time::{Duration, Instant},
};

use ahash::RandomState;
use lru::LruCache;

use super::search::Prepared;
use crate::signed_packet::PublicKey;

/// Keys whose nodes are remembered with their tokens, and how long. Nodes take a token for five to ten minutes.
const MAX_PREPARED: NonZeroUsize = NonZeroUsize::MIN.saturating_add(63);
const LIFETIME: Duration = Duration::from_secs(60);

/// By key.
#[derive(Debug)]
pub(super) struct PreparedStores(LruCache<PublicKey, Kept, RandomState>);

#[derive(Debug)]
struct Kept {
    at: Instant,
    search: u64,
    nodes: Prepared,
}

impl PreparedStores {
    pub(super) fn new() -> Self {
        Self(LruCache::with_hasher(MAX_PREPARED, RandomState::new()))
    }

    /// What the search of this number has found.
    pub(super) fn keep(&mut self, key: PublicKey, search: u64, nodes: Prepared, now: Instant) {
        self.0.put(key, Kept { at: now, search, nodes });
    }

    /// The nodes for `key`, and the number of the search that found them: a store goes on under it, so that it hears
    /// nodes that answer late.
    pub(super) fn take(&mut self, key: &PublicKey, now: Instant) -> Option<(u64, Prepared)> {
        let kept = self.0.pop(key)?;
        (now.saturating_duration_since(kept.at) < LIFETIME).then_some((kept.search, kept.nodes))
    }
}
