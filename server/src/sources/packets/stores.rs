//! Packets between memory and where they are kept besides.

use std::time::{Duration, SystemTime};

use pkdns_dht::signed_packet::{PublicKey, SignedPacket};
use tokio::time::Instant;

use super::{DiskStore, Found, Packets, SharedStore, Stored};
use crate::base::metrics::Farthest;

/// Where packets are kept besides memory. Both are asked only for keys that are not in memory.
#[derive(Debug, Clone, Default)]
pub struct Stores {
    /// What survives a restart.
    pub disk: Option<DiskStore>,
    /// What several servers share.
    pub shared: Option<SharedStore>,
}

impl Stores {
    fn are_none(&self) -> bool {
        self.disk.is_none() && self.shared.is_none()
    }
}

impl Packets {
    /// The packet of a key that is not in memory, from the first of `stores` that has it, and the farthest of them that had
    /// one. It is in memory then.
    pub(super) async fn load(&self, key: &PublicKey, stores: &Stores) -> (Farthest, Option<Found>) {
        if stores.are_none() || self.0.memory.holds(key) {
            return (Farthest::Memory, None);
        }
        let (packets, wanted, stores) = (self.clone(), key.clone(), stores.clone());
        let load = async move { packets.load_from(stores, &wanted).await };
        // Where too much is under way, the search that comes next says so.
        self.0.loads.run(*key.as_bytes(), || Some(load)).await.unwrap_or((Farthest::Memory, None))
    }

    async fn load_from(&self, stores: Stores, key: &PublicKey) -> (Farthest, Option<Found>) {
        let Stores { disk, shared } = stores;
        let kept = match &disk {
            Some(disk) => disk.get(key).await,
            None => None,
        };
        let now = SystemTime::now();
        let mended = kept.as_ref().and_then(|kept| kept.mended(now));
        if let (Some(disk), Some(mended)) = (&disk, &mended)
            && !mended.is_from_before_it_was_signed()
        {
            // Or its time would be over only now again after the next start. A clock that is behind mends nothing.
            disk.put(mended.clone());
        }
        let kept = mended.or(kept);
        let place = if kept.is_some() { Farthest::Disk } else { Farthest::Memory };
        let found = kept.as_ref().and_then(|kept| self.restore(kept));
        // The others may have heard of a newer one while this server was down.
        if kept.is_none_or(|kept| now >= kept.fresh_until)
            && let Some(shared) = shared
            && let Some(stored) = shared.get(key).await
            && let Some(found) = self.restore(&stored)
        {
            if let Some(disk) = disk {
                disk.put(stored);
            }
            return (Farthest::Shared, Some(found));
        }
        (place, found)
    }

    fn restore(&self, stored: &Stored) -> Option<Found> {
        let age = SystemTime::now().duration_since(stored.received).unwrap_or_default();
        let lifetime = stored.fresh_until.duration_since(stored.received).unwrap_or_default();
        self.0.memory.restore(&stored.packet, age, lifetime, Instant::now())
    }

    /// Gives a packet that has just come from the network to the stores.
    pub(super) fn give_to_stores(&self, packet: SignedPacket, fresh_for: Duration, is_newest: bool) {
        let Stores { disk, shared } = &self.0.stores;
        if self.0.stores.are_none() {
            return;
        }
        let received = SystemTime::now();
        let stored = Stored { packet, received, fresh_until: received + fresh_for };
        if let Some(shared) = shared.as_ref().filter(|_| is_newest) {
            shared.put(stored.clone());
        }
        if let Some(disk) = disk {
            disk.put(stored);
        }
    }
}
