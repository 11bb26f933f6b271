//! Verified packets: memory first, then disk, then the store that servers share, then the network, with one search per
//! key at a time. A packet that is to be stored goes to the network first, and then to all of them.

mod asker;
#[cfg(feature = "disk")]
mod disk;
mod fresh;
mod keep_alive;
mod memory;
#[cfg(not(feature = "disk"))]
mod no_disk;
#[cfg(not(feature = "redis"))]
mod no_redis;
mod publish;
mod search;
#[cfg(feature = "redis")]
mod shared;
mod sightings;
mod stored;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use arc_swap::ArcSwapOption;
use asker::Starter;
pub use asker::{Asker, Search};
#[cfg(feature = "disk")]
pub use disk::{DiskError, DiskStore};
pub use fresh::FRESH_AGE;
use keep_alive::KeepAlive;
pub use memory::{Found, Freshness, Held, Memory, Staleness};
#[cfg(not(feature = "disk"))]
pub use no_disk::{DiskError, DiskStore};
#[cfg(not(feature = "redis"))]
pub use no_redis::SharedStore;
use pkdns_dht::{
    Network, NetworkError,
    signed_packet::{PublicKey, SignedPacket},
};
use publish::{MAX_PUBLICATIONS, Published};
#[cfg(feature = "redis")]
pub use shared::SharedStore;
use sightings::Sightings;
pub use sightings::{Holders, Sighting, Version};
pub use stored::{MAX_STORED_SIZE, Stored};
use tokio::time::{Instant, timeout};

use crate::base::{
    client::Line,
    config,
    fair_flight::FairFlight,
    fair_queue::{FairQueue, Limits},
    metrics::Farthest,
    revisions::Revisions,
    single_flight::{FlightError, SingleFlight},
};

/// Lookups in flight at most, with what they do in the background after the first packet. Each takes about 10 kB, so
/// that all take 25 MB. One client may have four fifths of them: a thousand questions at once, whose lookups go on for
/// as long again behind them, do not wait.
const MAX_IN_FLIGHT: usize = 2560;

/// Searches that wait for one of those in flight to end, in all and for one client. A client that has taken all that it
/// may have in flight leaves half of the places to wait in to others.
const MAX_QUEUED: usize = 2048;
const MAX_QUEUED_PER_CLIENT: usize = 1024;

/// Searches that have not found a packet yet, at most, in flight and waiting; beyond, new keys are turned away. More
/// than there can be, so that the queue decides who that is, by who has the longest line.
const MAX_SEARCHES: usize = 8192;

/// A search that has waited this long is given up. What is left of the 4.5 s of a query is enough for a lookup.
const LONGEST_QUEUEING: Duration = Duration::from_millis(2500);

/// A client waits this long for news before it gets what is held from before (RFC 8767 section 5).
pub const PATIENCE_WITH_STALE: Duration = Duration::from_millis(1800);

/// Whoever waited for a search finds its result in memory, so that it has to stay there for a moment.
const LEAST_MEMORY: Duration = Duration::from_secs(1);

/// What the packets say about a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum PacketAnswer {
    /// Its packet.
    Found(Found),
    /// It has none; believed for this much longer.
    Absent(Duration),
}

/// Why the packets say nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FetchError {
    /// The network could not be asked.
    Network(NetworkError),
    /// A search would have had to be started, and the client may not start one now.
    Refused,
}

/// Nothing near has the packet.
struct Far;

/// What near has of a key.
struct Near {
    farthest: Farthest,
    answer: Result<PacketAnswer, FetchError>,
    /// It is time to look for a newer packet.
    is_nearly_over: bool,
}

/// Where packets are kept besides memory. Both are asked only for keys that are not in memory.
#[derive(Debug, Clone, Default)]
pub struct Stores {
    /// What survives a restart.
    pub disk: Option<DiskStore>,
    /// What several servers share.
    pub shared: Option<SharedStore>,
}

/// The packets of all keys. Cheap to clone.
#[derive(Clone)]
pub struct Packets(Arc<Inner>);

struct Inner {
    memory: Memory,
    stores: Stores,
    /// Packets on their way from the stores into memory.
    loads: SingleFlight<[u8; 32], Farthest>,
    network: Arc<dyn Network>,
    /// A search ends with the first packet or without one.
    searches: FairFlight<Starter, [u8; 32], ()>,
    /// Searches whose end somebody waits for.
    updates: FairFlight<Starter, [u8; 32], Result<PacketAnswer, FetchError>>,
    /// Packets on their way to the network.
    publications: SingleFlight<[u8; 32], Published>,
    /// Those that clients ask for, if they are to be stored again.
    keep_alive: ArcSwapOption<KeepAlive>,
    lookups: FairQueue<Starter>,
    revisions: Arc<Revisions>,
    sightings: Sightings,
}

impl Packets {
    /// Packets that are fetched from `network` and kept in memory.
    pub fn new(settings: &config::Cache, network: Arc<dyn Network>) -> Self {
        Self::with_stores(settings, network, Stores::default(), 0)
    }

    /// Packets that are fetched from `network` and kept in `stores` as well. [`Packets::keep_alive`] stores
    /// `keep_alive_per_hour` of them again.
    pub fn with_stores(
        settings: &config::Cache,
        network: Arc<dyn Network>,
        stores: Stores,
        keep_alive_per_hour: u32,
    ) -> Self {
        let limits =
            Limits { in_flight: MAX_IN_FLIGHT, queued: MAX_QUEUED, queued_per_client: MAX_QUEUED_PER_CLIENT };
        let lookups = FairQueue::new(limits);
        let revisions = Arc::new(Revisions::default());
        Self(Arc::new(Inner {
            memory: Memory::new(settings.max_entries, freshness(settings), revisions.clone()),
            stores,
            loads: SingleFlight::new(MAX_SEARCHES),
            network,
            searches: FairFlight::new(lookups.clone(), MAX_SEARCHES, LONGEST_QUEUEING),
            updates: FairFlight::new(lookups.clone(), MAX_SEARCHES, LONGEST_QUEUEING),
            publications: SingleFlight::new(MAX_PUBLICATIONS),
            keep_alive: ArcSwapOption::from_pointee(KeepAlive::new(keep_alive_per_hour)),
            lookups,
            revisions,
            sightings: Sightings::new(settings.max_entries),
        }))
    }

    /// Goes by these settings from now on, but for those about which stores there are. What is held stays, if there is room for
    /// it.
    pub fn reload(&self, old: &config::Cache, settings: &config::Cache) {
        self.0.memory.set_freshness(freshness(settings));
        if let Some(shared) = &self.0.stores.shared {
            shared.set_max_age(Duration::from_secs(settings.max_ttl_seconds));
        }
        if settings.max_entries != old.max_entries {
            self.0.memory.set_capacity(settings.max_entries);
        }
    }

    /// Another number of packets to be stored again. [`Packets::keep_alive`] has to be called anew.
    pub fn set_keep_alive(&self, per_hour: u32) {
        let old = self.0.keep_alive.load_full();
        self.0.keep_alive.store(KeepAlive::renewed(old.as_deref(), per_hour).map(Arc::new));
    }

    /// Counts the packets that took the place of older ones.
    pub fn revisions(&self) -> &Arc<Revisions> {
        &self.0.revisions
    }

    /// What is held, in memory or on disk, without asking anyone.
    pub async fn held(&self, key: &PublicKey) -> Option<PacketAnswer> {
        if !self.0.memory.holds(key) {
            self.load(key, Stores { shared: None, ..self.0.stores.clone() }).await;
        }
        let now = Instant::now();
        let found = match self.0.memory.look(key, now) {
            Some(Held::Packet { found, .. }) => Some(found),
            Some(Held::Absent(left)) => return Some(PacketAnswer::Absent(left)),
            Some(Held::Failed(_)) | None => self.0.memory.last_resort(key, now),
        };
        found.map(PacketAnswer::Found)
    }

    /// The packet of `key`. `admit` is asked at most once, and only if this call has to start a search that somebody waits
    /// for, which has its turn among those of `client` and of others.
    pub async fn get(
        &self,
        key: &PublicKey,
        client: impl Into<Line>,
        admit: impl FnOnce() -> bool,
    ) -> Result<PacketAnswer, FetchError> {
        // Nobody waits for what is looked for ahead of time, so that nobody is charged for it.
        self.find(key, client.into(), |search| search == Search::Ahead || admit()).await.1
    }

    /// As [`Packets::get`], with the farthest place that it was looked for in. `admit` is asked about every search.
    pub async fn find(
        &self,
        key: &PublicKey,
        asker: impl Into<Asker>,
        admit: impl FnOnce(Search) -> bool,
    ) -> (Farthest, Result<PacketAnswer, FetchError>) {
        let asker = asker.into();
        let (farthest, answer) = match self.find_near(key).await {
            Ok(near) => {
                if near.is_nearly_over && admit(Search::Ahead) {
                    self.look_ahead(key, asker);
                }
                (near.farthest, near.answer)
            }
            Err(Far) => (Farthest::Dht, self.find_far(key, asker, admit).await),
        };
        if let Some(keep_alive) = &*self.0.keep_alive.load()
            && matches!(answer, Ok(PacketAnswer::Found(_)))
        {
            keep_alive.note(key.as_bytes(), Instant::now());
        }
        (farthest, answer)
    }

    /// In memory and in the stores.
    async fn find_near(&self, key: &PublicKey) -> Result<Near, Far> {
        if let Some(near @ Near { answer: Ok(_), .. }) = self.at_hand(key) {
            return Ok(near);
        }
        if self.0.memory.holds(key) {
            return Err(Far);
        }
        // Also where the network has just failed: another server may have found the packet since, and the disk may
        // only have been slow.
        let farthest = self.load(key, self.0.stores.clone()).await;
        self.at_hand(key).map(|near| Near { farthest, ..near }).ok_or(Far)
    }

    async fn find_far(
        &self,
        key: &PublicKey,
        asker: Asker,
        admit: impl FnOnce(Search) -> bool,
    ) -> Result<PacketAnswer, FetchError> {
        let is_held = self.0.memory.last_resort(key, Instant::now()).is_some();
        let wanted = if is_held { Search::Held } else { Search::Unseen };
        let search = self.search(key, asker.starter(wanted), || admit(wanted));
        let searched = match is_held {
            // The search goes on when patience ends.
            true => timeout(PATIENCE_WITH_STALE, search).await.unwrap_or(Ok(())),
            false => search.await,
        };
        let now = Instant::now();
        match self.0.memory.look(key, now) {
            Some(Held::Packet { found, .. }) => Ok(PacketAnswer::Found(found)),
            Some(Held::Absent(left)) => Ok(PacketAnswer::Absent(left)),
            Some(Held::Failed(failure)) => Err(FetchError::Network(failure)),
            None => match (self.0.memory.last_resort(key, now), searched) {
                (Some(found), _) => Ok(PacketAnswer::Found(found)),
                (None, Err(FlightError::Refused)) => Err(FetchError::Refused),
                (None, _) => Err(FetchError::Network(NetworkError::Busy)),
            },
        }
    }

    /// The answer from memory.
    fn at_hand(&self, key: &PublicKey) -> Option<Near> {
        let (answer, is_nearly_over) = match self.0.memory.look(key, Instant::now())? {
            Held::Packet { found, refresh } => (Ok(PacketAnswer::Found(found)), refresh),
            Held::Absent(left) => (Ok(PacketAnswer::Absent(left)), false),
            Held::Failed(failure) => (Err(FetchError::Network(failure)), false),
        };
        Some(Near { farthest: Farthest::Memory, answer, is_nearly_over })
    }

    /// Begins to look for a newer packet than one that may still be served.
    fn look_ahead(&self, key: &PublicKey, asker: Asker) {
        self.0.memory.begin_refresh(key);
        let (packets, key, starter) = (self.clone(), key.clone(), asker.starter(Search::Ahead));
        tokio::spawn(async move { packets.search(&key, starter, || true).await });
    }

    /// Brings the packet of a key that is not in memory there from the stores, if one of them has it. Returns which.
    async fn load(&self, key: &PublicKey, stores: Stores) -> Farthest {
        if stores.disk.is_none() && stores.shared.is_none() {
            return Farthest::Memory;
        }
        let (packets, wanted) = (self.clone(), key.clone());
        let load = async move {
            let Stores { disk, shared } = stores;
            let kept = match &disk {
                Some(disk) => disk.get(&wanted).await,
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
            let is_fresh = kept.as_ref().is_some_and(|kept| now < kept.fresh_until);
            let mut farthest = Farthest::Memory;
            if let Some(kept) = kept {
                packets.restore(&kept);
                farthest = Farthest::Disk;
            }
            // The others may have heard of a newer one while this server was down.
            if !is_fresh
                && let Some(shared) = shared
                && let Some(shared) = shared.get(&wanted).await
                && packets.restore(&shared)
            {
                farthest = Farthest::Shared;
                if let Some(disk) = disk {
                    disk.put(shared);
                }
            }
            farthest
        };
        // Where too much is under way, the search that comes next says so.
        self.0.loads.run(*key.as_bytes(), || Some(load)).await.unwrap_or(Farthest::Memory)
    }

    fn restore(&self, kept: &Stored) -> bool {
        let age = SystemTime::now().duration_since(kept.received).unwrap_or_default();
        let lifetime = kept.fresh_until.duration_since(kept.received).unwrap_or_default();
        self.0.memory.restore(&kept.packet, age, lifetime, Instant::now())
    }

    /// Keeps a packet that has just come from the network beyond memory.
    fn keep(&self, packet: SignedPacket, fresh_for: Duration, is_newest: bool) {
        let Stores { disk, shared } = &self.0.stores;
        if disk.is_none() && shared.is_none() {
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

    /// Packets in memory.
    pub fn len(&self) -> usize {
        self.0.memory.len()
    }

    /// Whether no packet is in memory.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Lookups in flight.
    pub fn in_flight(&self) -> usize {
        self.0.lookups.in_flight()
    }

    /// Searches that wait for their turn.
    pub fn queued(&self) -> usize {
        self.0.lookups.queued()
    }
}

fn freshness(settings: &config::Cache) -> Freshness {
    Freshness {
        least: Duration::from_secs(settings.ttl_seconds).max(LEAST_MEMORY),
        greatest: Duration::from_secs(settings.max_ttl_seconds),
        absent: Duration::from_secs(settings.negative_ttl_seconds).max(LEAST_MEMORY),
        stale: Duration::from_secs(settings.max_stale_seconds),
    }
}

#[cfg(test)]
mod tests;
