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
mod stores;

use std::{sync::Arc, time::Duration};

use arc_swap::ArcSwapOption;
use asker::Starter;
pub use asker::{Asker, Search};
#[cfg(feature = "disk")]
pub use disk::{DiskError, DiskStore};
pub use fresh::FRESH_AGE;
use keep_alive::KeepAlive;
use memory::Known;
pub use memory::{Found, Freshness, Memory, Staleness};
#[cfg(not(feature = "disk"))]
pub use no_disk::{DiskError, DiskStore};
#[cfg(not(feature = "redis"))]
pub use no_redis::SharedStore;
use pkdns_dht::{Network, NetworkError, signed_packet::PublicKey};
use publish::{MAX_PUBLICATIONS, Published};
#[cfg(feature = "redis")]
pub use shared::SharedStore;
use sightings::Sightings;
pub use sightings::{Holders, Sighting, Version};
pub use stored::{MAX_STORED_SIZE, Stored};
pub use stores::Stores;
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

/// How a search ended, as those who wait for it hear of it.
#[derive(Debug, Clone, PartialEq, Eq)]
enum SearchOutcome {
    /// With this packet, or with an older one than this.
    Found(Found),
    /// Enough nodes said that they have none.
    Absent {
        /// What was held before, which is served for a while all the same.
        held: Option<Found>,
        /// For how long the absence is believed, where nothing is held.
        believed: Duration,
    },
    /// The network could not be asked.
    Failed {
        /// As above.
        held: Option<Found>,
        error: NetworkError,
    },
}

impl SearchOutcome {
    /// The answer for whoever takes a packet from before rather than none.
    fn answer(self) -> Result<PacketAnswer, FetchError> {
        match self {
            Self::Absent { held: Some(held), .. } | Self::Failed { held: Some(held), .. } => {
                Ok(PacketAnswer::Found(held))
            }
            outcome => outcome.network_answer(),
        }
    }

    /// What the network itself said.
    fn network_answer(self) -> Result<PacketAnswer, FetchError> {
        match self {
            Self::Found(found) => Ok(PacketAnswer::Found(found)),
            Self::Absent { held: Some(_), .. } => Ok(PacketAnswer::Absent(Duration::ZERO)),
            Self::Absent { held: None, believed } => Ok(PacketAnswer::Absent(believed)),
            Self::Failed { error, .. } => Err(FetchError::Network(error)),
        }
    }
}

impl From<FlightError> for FetchError {
    fn from(error: FlightError) -> Self {
        match error {
            FlightError::Refused => Self::Refused,
            FlightError::Busy => Self::Network(NetworkError::Busy),
            FlightError::Lost => Self::Network(NetworkError::Unreachable),
        }
    }
}

/// The packets of all keys. Cheap to clone.
#[derive(Clone)]
pub struct Packets(Arc<Inner>);

struct Inner {
    memory: Memory,
    stores: Stores,
    /// Packets on their way from the stores into memory.
    loads: SingleFlight<[u8; 32], (Farthest, Option<Found>)>,
    network: Arc<dyn Network>,
    /// Searches that end with the first packet or without one, for those who wait.
    first: FairFlight<Starter, [u8; 32], SearchOutcome>,
    /// Searches that end with the newest packet or without one.
    newest: FairFlight<Starter, [u8; 32], SearchOutcome>,
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
            first: FairFlight::new(lookups.clone(), MAX_SEARCHES, LONGEST_QUEUEING),
            newest: FairFlight::new(lookups.clone(), MAX_SEARCHES, LONGEST_QUEUEING),
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
        self.look_here(key, &Stores { shared: None, ..self.0.stores.clone() }).await.1?.ok()
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
        let (farthest, answer) = match self.look_here(key, &self.0.stores).await {
            (_, None) => (Farthest::Dht, self.search_for(key, None, asker, admit).await),
            (_, Some(Ok(PacketAnswer::Found(held)))) if held.is_over() => {
                (Farthest::Dht, self.search_for(key, Some(held), asker, admit).await)
            }
            (place, Some(Ok(PacketAnswer::Found(found)))) => {
                if found.refresh_in.is_zero() {
                    self.refresh_ahead(key, asker, admit);
                }
                (place, Ok(PacketAnswer::Found(found)))
            }
            (place, Some(known)) => (place, known.map_err(FetchError::Network)),
        };
        if let Some(keep_alive) = &*self.0.keep_alive.load()
            && matches!(answer, Ok(PacketAnswer::Found(_)))
        {
            keep_alive.asked_for(key.as_bytes(), Instant::now());
        }
        (farthest, answer)
    }

    /// What memory knows of a key or else what `stores` hold of it, however old, and the farthest of these places that was
    /// looked in.
    async fn look_here(&self, key: &PublicKey, stores: &Stores) -> (Farthest, Option<Known>) {
        let memory = &self.0.memory;
        match memory.look(key, Instant::now()) {
            known @ Some(Ok(_)) => (Farthest::Memory, known),
            // Also where the network has just failed: another server may have found the packet since, and the disk may
            // only have been slow.
            None | Some(Err(_)) => {
                let (place, loaded) = self.load(key, stores).await;
                let loaded = loaded.map(|found| Ok(PacketAnswer::Found(found)));
                // A search may have ended meanwhile.
                (place, loaded.or_else(|| memory.look(key, Instant::now())))
            }
        }
    }

    /// Searches in the network, or waits for the search that goes on, and falls back on what is `held` from before.
    async fn search_for(
        &self,
        key: &PublicKey,
        held: Option<Found>,
        asker: Asker,
        admit: impl FnOnce(Search) -> bool,
    ) -> Result<PacketAnswer, FetchError> {
        let wanted = if held.is_some() { Search::Held } else { Search::Unseen };
        let search = self.search_first(key, asker.starter(wanted), || admit(wanted));
        let Some(held) = held else { return search.await?.answer() };
        // The search goes on when patience ends.
        let outcome = timeout(PATIENCE_WITH_STALE, search).await.ok().and_then(Result::ok);
        let answer = outcome.and_then(|outcome| outcome.answer().ok());
        Ok(answer.unwrap_or(PacketAnswer::Found(held)))
    }

    /// Begins to look for a newer packet than one that may still be served. Nobody waits for it.
    fn refresh_ahead(&self, key: &PublicKey, asker: Asker, admit: impl FnOnce(Search) -> bool) {
        if !self.0.memory.begin_refresh(key) {
            return;
        }
        if !admit(Search::Ahead) {
            self.0.memory.end_refresh(key);
            return;
        }
        let (packets, key, starter) = (self.clone(), key.clone(), asker.starter(Search::Ahead));
        tokio::spawn(async move { packets.search_first(&key, starter, || true).await });
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
        least: Duration::from_secs(settings.ttl_seconds),
        greatest: Duration::from_secs(settings.max_ttl_seconds),
        absent: Duration::from_secs(settings.negative_ttl_seconds),
        stale: Duration::from_secs(settings.max_stale_seconds),
    }
}

#[cfg(test)]
mod tests;
