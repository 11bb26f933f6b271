//! Packets that servers share through a real Redis, and what a false one can do.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail where it stands")]

mod cluster;
mod forged;
mod hostile;
mod outages;
mod redis_server;
mod servers;
mod sharing;

use std::{
    path::Path,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use pkdns::{
    metrics::SharedMetrics,
    sources::{
        forward::TlsClient,
        packets::{SharedStore, Stored},
    },
};
use pkdns_dht::signed_packet::{Keypair, PublicKey, SignedPacket};
use redis_server::PATIENCE;
use tokio::time::{Instant, sleep};

/// The greatest age that packets are believed at.
const MAX_AGE: Duration = Duration::from_secs(86_400);

/// A store as a server has it, and what it counts.
pub(crate) struct Store {
    pub(crate) store: SharedStore,
    pub(crate) metrics: SharedMetrics,
}

impl Store {
    pub(crate) fn new(url: &str) -> Self {
        Self::trusting(url, None)
    }

    /// As [`Store::new`], with one more authority.
    pub(crate) fn trusting(url: &str, authority: Option<&Path>) -> Self {
        let metrics = SharedMetrics::default();
        let authorities = TlsClient::new(authority).unwrap().additional_authorities();
        let store = SharedStore::new(&url.parse().unwrap(), authorities, MAX_AGE, metrics.clone());
        Self { store, metrics }
    }

    /// Puts it until the store has taken it: a store that is not connected yet, or busy, drops it.
    pub(crate) async fn put(&self, stored: &Stored) {
        let end = Instant::now() + PATIENCE;
        loop {
            let (taken, lost) = (self.taken(), self.lost());
            self.store.put(stored.clone());
            while (self.taken(), self.lost()) == (taken, lost) {
                assert!(Instant::now() < end, "{:?}", self.metrics);
                sleep(Duration::from_millis(1)).await;
            }
            if self.taken() > taken {
                return;
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// What the store says of `key` when it answers.
    pub(crate) async fn get(&self, key: &PublicKey) -> Option<Stored> {
        let end = Instant::now() + PATIENCE;
        loop {
            let unanswered = self.unanswered();
            let found = self.store.get(key).await;
            if self.unanswered() == unanswered {
                return found;
            }
            assert!(found.is_none());
            assert!(Instant::now() < end, "{:?}", self.metrics);
            sleep(Duration::from_millis(20)).await;
        }
    }

    fn taken(&self) -> u64 {
        self.metrics.puts.stored.get() + self.metrics.puts.outdated.get()
    }

    fn lost(&self) -> u64 {
        self.metrics.puts.failed.get() + self.metrics.puts.dropped.get()
    }

    fn unanswered(&self) -> u64 {
        self.metrics.lookups.failed.get() + self.metrics.lookups.skipped.get()
    }
}

pub(crate) fn keypair(number: u8) -> Keypair {
    Keypair::from_secret_key(&[number; 32])
}

/// The name of a key's record in Redis.
pub(crate) fn name_of(key: &PublicKey) -> String {
    format!("pkdns:packet:{}", key.to_z32())
}

/// Just received, and fresh for an hour.
pub(crate) fn fresh(packet: SignedPacket) -> Stored {
    let now = whole_milliseconds(SystemTime::now());
    Stored { packet, received: now, fresh_until: now + Duration::from_secs(3600) }
}

pub(crate) fn packet(keypair: &Keypair, timestamp: u64, dns: &[u8]) -> SignedPacket {
    SignedPacket::sign(keypair, timestamp, dns).unwrap()
}

/// As records keep it.
fn whole_milliseconds(time: SystemTime) -> SystemTime {
    let since = time.duration_since(UNIX_EPOCH).unwrap();
    UNIX_EPOCH + Duration::from_millis(since.as_millis().try_into().unwrap())
}
