//! Verified packets: memory first, then the network, with one search per key at a time.

mod memory;

use std::{sync::Arc, time::Duration};

pub use memory::{Found, Freshness, Held, Memory, Staleness};
use tokio::{
    sync::mpsc,
    time::{Instant, timeout},
};

use crate::{
    config,
    dht::{Evidence, Network, NetworkError},
    signed_packet::{PublicKey, SignedPacket},
    single_flight::{FlightError, SingleFlight},
};

/// Searches under way at most; beyond, new keys are turned away. Each costs about 30 datagrams.
const MAX_SEARCHES: usize = 4096;

/// A client waits this long for news before it gets what is held from before (RFC 8767 section 5).
const PATIENCE_WITH_STALE: Duration = Duration::from_millis(1800);

/// Whoever waited for a search finds its result in memory, so that it has to stay there for a moment.
const LEAST_MEMORY: Duration = Duration::from_secs(1);

/// A search is given up after this, whatever the network does.
const SEARCH_DEADLINE: Duration = Duration::from_secs(10);

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

/// The packets of all keys. Cheap to clone.
#[derive(Clone)]
pub struct Packets(Arc<Inner>);

struct Inner {
    memory: Memory,
    network: Arc<dyn Network>,
    searches: SingleFlight<[u8; 32], ()>,
}

impl Packets {
    /// Packets that are fetched from `network`.
    pub fn new(settings: &config::Cache, network: Arc<dyn Network>) -> Self {
        let freshness = Freshness {
            least: Duration::from_secs(settings.ttl_seconds).max(LEAST_MEMORY),
            greatest: Duration::from_secs(settings.max_ttl_seconds),
            absent: Duration::from_secs(settings.negative_ttl_seconds).max(LEAST_MEMORY),
            stale: Duration::from_secs(settings.max_stale_seconds),
        };
        let memory = Memory::new(settings.max_entries, freshness);
        Self(Arc::new(Inner { memory, network, searches: SingleFlight::new(MAX_SEARCHES) }))
    }

    /// What is held, without asking the network.
    pub fn held(&self, key: &PublicKey) -> Option<PacketAnswer> {
        let now = Instant::now();
        let found = match self.0.memory.look(key.as_bytes(), now) {
            Some(Held::Packet { found, .. }) => Some(found),
            Some(Held::Absent(left)) => return Some(PacketAnswer::Absent(left)),
            Some(Held::Failed(_)) | None => self.0.memory.last_resort(key.as_bytes(), now),
        };
        found.map(PacketAnswer::Found)
    }

    /// The packet of `key`. `admit` is asked once, and only if this call has to start a search.
    pub async fn get(
        &self,
        key: &PublicKey,
        admit: impl FnOnce() -> bool,
    ) -> Result<PacketAnswer, FetchError> {
        let bytes = key.as_bytes();
        match self.0.memory.look(bytes, Instant::now()) {
            Some(Held::Packet { found, refresh }) => {
                if refresh {
                    self.0.memory.begin_refresh(bytes);
                    // Nobody waits for this one, so that nobody is charged for it.
                    let (packets, key) = (self.clone(), key.clone());
                    tokio::spawn(async move { packets.search(&key, || true).await });
                }
                return Ok(PacketAnswer::Found(found));
            }
            Some(Held::Absent(left)) => return Ok(PacketAnswer::Absent(left)),
            Some(Held::Failed(failure)) => return Err(FetchError::Network(failure)),
            None => {}
        }
        let searched = match self.0.memory.last_resort(bytes, Instant::now()) {
            // The search goes on when patience ends.
            Some(_) => timeout(PATIENCE_WITH_STALE, self.search(key, admit)).await.unwrap_or(Ok(())),
            None => self.search(key, admit).await,
        };
        let now = Instant::now();
        match self.0.memory.look(bytes, now) {
            Some(Held::Packet { found, .. }) => Ok(PacketAnswer::Found(found)),
            Some(Held::Absent(left)) => Ok(PacketAnswer::Absent(left)),
            Some(Held::Failed(failure)) => Err(FetchError::Network(failure)),
            None => match (self.0.memory.last_resort(bytes, now), searched) {
                (Some(found), _) => Ok(PacketAnswer::Found(found)),
                (None, Err(FlightError::Refused)) => Err(FetchError::Refused),
                (None, _) => Err(FetchError::Network(NetworkError::Busy)),
            },
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

    /// Returns when the memory knows more: at the first packet, or at the end of the search.
    async fn search(&self, key: &PublicKey, admit: impl FnOnce() -> bool) -> Result<(), FlightError> {
        let start = || {
            let (packets, key) = (self.clone(), key.clone());
            admit().then_some(packets.search_until_first(key))
        };
        self.0.searches.run(*key.as_bytes(), start).await
    }

    async fn search_until_first(self, key: PublicKey) {
        let (sender, mut found) = mpsc::unbounded_channel();
        let network = self.0.network.clone();
        let lookup = {
            let key = key.clone();
            async move { network.lookup(&key, sender).await }
        };
        // A task of its own, so that it outlives this one; if it panics, that reads as a network that said nothing.
        let end = tokio::spawn(timeout(SEARCH_DEADLINE, lookup));
        match found.recv().await {
            Some(first) => {
                self.0.memory.store(first, false, Instant::now());
                tokio::spawn(async move { self.complete(key, found).await });
            }
            None => {
                let outcome = match end.await {
                    Ok(Ok(outcome)) => outcome,
                    Ok(Err(_)) | Err(_) => Err(NetworkError::Unreachable),
                };
                let now = Instant::now();
                match outcome {
                    Ok(Evidence { responded: 0, .. }) => {
                        self.0.memory.store_failure(key.as_bytes(), NetworkError::Unreachable, now);
                    }
                    Ok(_) => self.0.memory.store_absence(key.as_bytes(), now),
                    Err(failure) => self.0.memory.store_failure(key.as_bytes(), failure, now),
                }
            }
        }
    }

    /// Takes what comes after the first packet. The channel closes when the search ends.
    async fn complete(&self, key: PublicKey, mut found: mpsc::UnboundedReceiver<SignedPacket>) {
        while let Some(newer) = found.recv().await {
            self.0.memory.store(newer, false, Instant::now());
        }
        let now = Instant::now();
        if let Some(Found { packet, .. }) = self.0.memory.last_resort(key.as_bytes(), now) {
            self.0.memory.store(packet, true, now);
        }
    }
}

#[cfg(test)]
mod tests;
