//! Packets in memory, and the memory of what was looked for in vain. Pure: time is an argument.

use std::{
    num::NonZeroUsize,
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use lru::LruCache;
use tokio::time::Instant;

use crate::{dht::NetworkError, message::read_records, signed_packet::SignedPacket};

/// How long the first of several replicas is taken for the newest while the search goes on.
const PROVISIONAL: Duration = Duration::from_secs(5);

/// How long the network is left alone after it could not be asked about a key; doubles with every failure in a row
/// up to the longest (RFC 9520 section 3.2).
const SHORTEST_RETRY: Duration = Duration::from_secs(2);
const LONGEST_RETRY: Duration = Duration::from_secs(60);

/// How long a packet that has had its time is served before the network is asked again (RFC 8767 section 5).
const STALE_RECHECK: Duration = Duration::from_secs(30);

/// When a packet is asked for again.
#[derive(Debug, Clone, Copy)]
pub struct Freshness {
    /// Least age.
    pub least: Duration,
    /// Greatest age.
    pub greatest: Duration,
    /// Age of an absence.
    pub absent: Duration,
    /// How long after its time a packet is still served when nothing newer can be had.
    pub stale: Duration,
}

/// What is held about a key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Held {
    /// A packet, and whether it is time to look for a newer one although this may still be served.
    Packet {
        /// The packet.
        found: Found,
        /// In the last tenth of its time, and nobody has begun to.
        refresh: bool,
    },
    /// The network said that there is none; believed for this much longer.
    Absent(Duration),
    /// The network could not be asked a moment ago, and nothing is held from before.
    Failed(NetworkError),
}

/// A packet to answer from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The packet.
    pub packet: SignedPacket,
    /// Since it came from the network.
    pub age: Duration,
    /// Until it is asked for again.
    pub fresh_for: Duration,
    /// Why nothing newer could be had, where this has had its time.
    pub stale: Option<Staleness>,
}

/// Why a packet is served after its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Staleness {
    /// The network could not be asked.
    Unreachable(NetworkError),
    /// The network no longer holds the key: its owner has stopped publishing.
    Forgotten,
    /// The search is still going on.
    Searching,
}

/// Packets and absences apart, so that a flood of made-up keys cannot push out a single packet.
#[derive(Debug)]
pub struct Memory {
    freshness: Freshness,
    packets: Mutex<LruCache<[u8; 32], Entry>>,
    absences: Mutex<LruCache<[u8; 32], Absence>>,
    /// Timestamps of packets that are no longer held. Nodes hand out older packets for hours, and whoever has kept one
    /// may publish it again: the key would go back in time.
    dropped: Mutex<LruCache<[u8; 32], u64>>,
}

#[derive(Debug)]
struct Entry {
    packet: SignedPacket,
    received: Instant,
    /// When its time is over.
    fresh_until: Instant,
    /// When the network is asked again at the earliest; later than `fresh_until` after a search in vain.
    recheck: Instant,
    vain: Option<Staleness>,
    failures: u32,
    /// Somebody looks for a newer one. Each who asks would start a task otherwise.
    is_refreshing: bool,
}

#[derive(Debug)]
struct Absence {
    recheck: Instant,
    failure: Option<NetworkError>,
    failures: u32,
}

impl Memory {
    /// Holds at most `capacity` packets, as many absences, and as many timestamps of packets that it dropped.
    pub fn new(capacity: usize, freshness: Freshness) -> Self {
        let capacity = NonZeroUsize::new(capacity).unwrap_or(NonZeroUsize::MIN);
        Self {
            freshness,
            packets: Mutex::new(LruCache::new(capacity)),
            absences: Mutex::new(LruCache::new(capacity)),
            dropped: Mutex::new(LruCache::new(capacity)),
        }
    }

    /// What may be answered without asking the network; `None` where it is to be asked.
    pub fn look(&self, key: &[u8; 32], now: Instant) -> Option<Held> {
        if let Some(entry) = lock(&self.packets).get(key) {
            return (now < entry.recheck && now < entry.fresh_until + self.freshness.stale)
                .then(|| Held::Packet { found: entry.found(now), refresh: entry.is_nearly_over(now) });
        }
        let mut absences = lock(&self.absences);
        let absence = absences.get(key).filter(|absence| now < absence.recheck)?;
        Some(match absence.failure {
            Some(failure) => Held::Failed(failure),
            None => Held::Absent(absence.recheck - now),
        })
    }

    /// A search begins although the packet may still be served.
    pub fn begin_refresh(&self, key: &[u8; 32]) {
        if let Some(entry) = lock(&self.packets).get_mut(key) {
            entry.is_refreshing = true;
        }
    }

    /// The search had no turn. The next who asks may begin another one.
    pub fn end_refresh(&self, key: &[u8; 32]) {
        if let Some(entry) = lock(&self.packets).peek_mut(key) {
            entry.is_refreshing = false;
        }
    }

    /// The packet that may be served if nothing newer can be had, within the bounds of staleness.
    pub fn last_resort(&self, key: &[u8; 32], now: Instant) -> Option<Found> {
        let mut packets = lock(&self.packets);
        let entry = packets.get(key).filter(|entry| now < entry.fresh_until + self.freshness.stale)?;
        let mut found = entry.found(now);
        if now >= entry.fresh_until {
            found.stale = found.stale.or(Some(Staleness::Searching));
        }
        Some(found)
    }

    /// Takes a packet from the network. One that is older than what is held changes nothing but, if the search has
    /// ended, the time at which the held one is asked for again. `complete`: the search has ended. False if nothing is
    /// held and this is older than a packet that once was, so that it is not believed.
    pub fn store(&self, packet: SignedPacket, complete: bool, now: Instant) -> bool {
        let mut packets = lock(&self.packets);
        let key = *packet.key().as_bytes();
        let packet = match packets.pop(&key) {
            Some(held) if !packet.is_newer_than(&held.packet) => held.packet,
            Some(_) => packet,
            None => {
                let mut dropped = lock(&self.dropped);
                if dropped.get(&key).is_some_and(|newest| packet.timestamp() < *newest) {
                    return false;
                }
                dropped.pop(&key);
                packet
            }
        };
        let lifetime = if complete { self.lifetime(&packet) } else { PROVISIONAL };
        let fresh_until = now + lifetime;
        let entry = Entry {
            packet,
            received: now,
            fresh_until,
            recheck: fresh_until,
            vain: None,
            failures: 0,
            is_refreshing: false,
        };
        if let Some((key, pushed_out)) = packets.push(key, entry) {
            self.remember_dropped(key, &pushed_out);
        }
        drop(packets);
        lock(&self.absences).pop(&key);
        true
    }

    /// The search has ended without a packet.
    pub fn store_absence(&self, key: &[u8; 32], now: Instant) {
        if self.keep_stale(key, now, |entry| entry.end_in_vain(Staleness::Forgotten, STALE_RECHECK, now)) {
            return;
        }
        let absence = Absence { recheck: now + self.freshness.absent, failure: None, failures: 0 };
        lock(&self.absences).put(*key, absence);
    }

    /// The network could not be asked.
    pub fn store_failure(&self, key: &[u8; 32], failure: NetworkError, now: Instant) {
        let kept = self.keep_stale(key, now, |entry| {
            entry.failures = entry.failures.saturating_add(1);
            let wait = retry_wait(entry.failures).max(STALE_RECHECK);
            entry.end_in_vain(Staleness::Unreachable(failure), wait, now);
        });
        if kept {
            return;
        }
        let mut absences = lock(&self.absences);
        let failures = absences.get(key).map_or(0, |absence| absence.failures).saturating_add(1);
        let recheck = now + retry_wait(failures);
        absences.put(*key, Absence { recheck, failure: Some(failure), failures });
    }

    /// Packets held.
    pub fn len(&self) -> usize {
        lock(&self.packets).len()
    }

    /// Whether no packet is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Applies `change` to the packet that may still be served; drops one that is too old for that.
    fn keep_stale(&self, key: &[u8; 32], now: Instant, change: impl FnOnce(&mut Entry)) -> bool {
        let mut packets = lock(&self.packets);
        match packets.get_mut(key) {
            Some(entry) if now < entry.fresh_until + self.freshness.stale => {
                change(entry);
                true
            }
            Some(_) => {
                if let Some(entry) = packets.pop(key) {
                    self.remember_dropped(*key, &entry);
                }
                false
            }
            None => false,
        }
    }

    fn remember_dropped(&self, key: [u8; 32], entry: &Entry) {
        lock(&self.dropped).put(key, entry.packet.timestamp());
    }

    /// How long a packet is fresh: its smallest TTL, within the configured bounds.
    fn lifetime(&self, packet: &SignedPacket) -> Duration {
        let smallest = read_records(packet.dns()).iter().map(|record| record.ttl).min().unwrap_or(0);
        let lifetime = Duration::from_secs(smallest.into());
        lifetime.min(self.freshness.greatest).max(self.freshness.least)
    }
}

impl Entry {
    fn found(&self, now: Instant) -> Found {
        let is_stale = now >= self.fresh_until;
        Found {
            packet: self.packet.clone(),
            age: now - self.received,
            fresh_for: self.recheck.max(self.fresh_until).saturating_duration_since(now),
            stale: self.vain.filter(|_| is_stale),
        }
    }

    fn is_nearly_over(&self, now: Instant) -> bool {
        let lifetime = self.fresh_until - self.received;
        !self.is_refreshing
            && self.vain.is_none()
            && self.fresh_until.saturating_duration_since(now) <= lifetime / 10
    }

    /// The packet stays, its time is not renewed; the network is left alone for `wait`.
    fn end_in_vain(&mut self, why: Staleness, wait: Duration, now: Instant) {
        self.vain = Some(why);
        self.recheck = self.recheck.max(now + wait);
    }
}

fn retry_wait(failures: u32) -> Duration {
    let doublings = failures.saturating_sub(1).min(16);
    (SHORTEST_RETRY * 2u32.saturating_pow(doublings)).min(LONGEST_RETRY)
}

/// Each change under these locks is complete before anything can panic. `packets` is taken before `dropped`.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
