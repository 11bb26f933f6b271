//! Other times and another size, while packets are held.

use std::{num::NonZeroUsize, sync::Arc};

use ahash::RandomState;
use quick_cache::UnitWeighter;

use super::{Eviction, Freshness, Memory, PacketCache, lock};

/// Holds `capacity` packets.
pub(super) fn cache_of(capacity: NonZeroUsize) -> PacketCache {
    PacketCache::with(capacity.get(), capacity.get() as u64, UnitWeighter, RandomState::new(), Eviction)
}

impl Memory {
    /// Goes by other times from now on: what is held keeps the time that it was given, but for how long it may be served
    /// after that.
    pub fn set_freshness(&self, freshness: Freshness) {
        self.freshness.store(Arc::new(freshness));
    }

    /// Holds at most `capacity` of each kind from now on. Packets for which there is no room leave their timestamps.
    pub fn set_capacity(&self, capacity: usize) {
        let capacity = NonZeroUsize::new(capacity).unwrap_or(NonZeroUsize::MIN);
        let mut packets = lock(&self.packets);
        let mut old = std::mem::replace(&mut *packets, cache_of(capacity));
        lock(&self.dropped).resize(capacity);
        let mut evicted = Vec::new();
        for (key, entry) in old.drain() {
            packets.insert_with_lifecycle(key, entry, &mut evicted);
        }
        evicted.iter().for_each(|(key, entry)| self.remember_dropped(*key, entry));
        lock(&self.absences).resize(capacity);
    }
}
