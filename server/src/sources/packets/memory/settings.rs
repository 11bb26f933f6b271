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

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::*;
    use crate::base::revisions::Revisions;
    use pkdns_dht::signed_packet::{Keypair, SignedPacket};

    fn packet(owner: u8, timestamp: u64) -> SignedPacket {
        let keypair = Keypair::from_secret_key(&[owner; 32]);
        SignedPacket::sign(&keypair, timestamp, &[0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0]).unwrap()
    }

    #[test]
    fn less_room_drops_packets_and_none_that_is_older_is_believed_after_it() {
        let minute = Duration::from_secs(60);
        let freshness = Freshness { least: minute, greatest: minute, absent: minute, stale: minute };
        let (memory, now) = (Memory::new(10, freshness, Arc::new(Revisions::default())), Instant::now());
        assert!((1..=5).all(|owner| memory.store(&packet(owner, 7), now).is_some()));
        memory.set_capacity(20);
        assert_eq!(memory.len(), 5);
        memory.set_capacity(4);
        let dropped = (1..=5).find(|owner| !memory.holds(packet(*owner, 7).key()));
        assert_eq!(memory.store(&packet(dropped.unwrap(), 6), now), None, "older");
        assert!(memory.store(&packet(dropped.unwrap(), 7), now).is_some());
    }
}
