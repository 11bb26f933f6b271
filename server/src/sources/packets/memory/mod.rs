//! Packets in memory, and the memory of what was looked for in vain.

mod entry;
mod recent;
mod settings;

use std::{
    num::NonZeroUsize,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ahash::RandomState;
use arc_swap::ArcSwap;
use entry::{Entry, Time, milliseconds};
use lru::LruCache;
use pkdns_dht::{
    NetworkError, PutError,
    signed_packet::{PublicKey, SignedPacket},
};
use quick_cache::{Lifecycle, UnitWeighter, unsync};
use thiserror::Error;
use tokio::time::Instant;

use super::{PacketAnswer, SearchOutcome};
use crate::base::{
    backoff::Backoff,
    message::{STALE_RECHECK, find_records},
    revisions::Revisions,
};

/// How long the first of several replicas is taken for the newest while the search goes on.
pub(super) const PROVISIONAL: Duration = Duration::from_secs(5);

/// How long the network is left alone after it could not be asked about a key (RFC 9520 section 3.2).
const RETRY: Backoff = Backoff { first: Duration::from_secs(2), longest: Duration::from_secs(60) };

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

/// What is known of a key: its packet, or that it has none, or that the network could not be asked a moment ago.
pub(super) type Known = Result<PacketAnswer, NetworkError>;

/// A packet to answer from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Found {
    /// The packet.
    pub packet: SignedPacket,
    /// Since it came from the network.
    pub age: Duration,
    /// Until it is asked for again.
    pub fresh_for: Duration,
    /// Until a newer one is looked for without anyone waiting for it.
    pub refresh_in: Duration,
    /// Why nothing newer could be had, where this has had its time.
    pub stale: Option<Staleness>,
}

impl Found {
    /// Whether the network is to be asked for a newer one before this is served.
    pub fn is_over(&self) -> bool {
        self.fresh_for.is_zero()
    }

    /// The same, for whoever takes none that is older than `age`.
    pub(super) fn limited_to(self, age: Duration) -> Self {
        let left = age.saturating_sub(self.age);
        Self { fresh_for: self.fresh_for.min(left), refresh_in: self.refresh_in.min(left), ..self }
    }
}

/// Why a packet is served after its time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Staleness {
    /// The network could not be asked.
    #[error("{0}")]
    Unreachable(NetworkError),
    /// The network no longer holds the key: its owner has stopped publishing.
    #[error("the DHT no longer holds the key")]
    Forgotten,
    /// The search is still going on.
    #[error("the search takes long")]
    Searching,
}

/// Packets and absences apart, so that a flood of made-up keys cannot push out a single packet. Keys that are asked for
/// once do not push out those that are asked for again (S3-FIFO, as `quick_cache` has it).
#[derive(Debug)]
pub struct Memory {
    freshness: ArcSwap<Freshness>,
    /// Times are counted from here.
    start: Instant,
    packets: Mutex<PacketCache>,
    absences: Mutex<LruCache<[u8; 32], Absence, RandomState>>,
    /// Timestamps of packets that are no longer held. Nodes hand out older packets for hours, and whoever has kept one
    /// may publish it again: the key would go back in time.
    dropped: Mutex<LruCache<[u8; 32], u64, RandomState>>,
    revisions: Arc<Revisions>,
}

type PacketCache = unsync::Cache<[u8; 32], Entry, UnitWeighter, RandomState, Eviction>;

/// Collects the packets that have to leave.
#[derive(Debug, Clone)]
struct Eviction;

impl Lifecycle<[u8; 32], Entry> for Eviction {
    type RequestState = Vec<([u8; 32], Entry)>;

    fn on_evict(&self, evicted: &mut Self::RequestState, key: [u8; 32], entry: Entry) {
        evicted.push((key, entry));
    }
}

#[derive(Debug)]
struct Absence {
    recheck: Instant,
    failure: Option<NetworkError>,
    failures: u32,
}

impl Memory {
    /// Holds at most `capacity` packets, as many absences, and as many timestamps of packets that it dropped. Each newer
    /// packet is noted in `revisions`.
    pub fn new(capacity: usize, freshness: Freshness, revisions: Arc<Revisions>) -> Self {
        let capacity = NonZeroUsize::new(capacity).unwrap_or(NonZeroUsize::MIN);
        Self {
            freshness: ArcSwap::from_pointee(freshness),
            start: Instant::now(),
            packets: Mutex::new(settings::cache_of(capacity)),
            absences: Mutex::new(LruCache::with_hasher(capacity, RandomState::new())),
            dropped: Mutex::new(LruCache::with_hasher(capacity, RandomState::new())),
            revisions,
        }
    }

    /// What is known of a key. A packet whose time [is over](Found::is_over) is for when nothing newer can be had.
    pub fn look(&self, key: &PublicKey, now: Instant) -> Option<Known> {
        let at = self.time(now);
        if let Some(entry) = lock(&self.packets).get(key.as_bytes()) {
            return self.is_servable(entry, at).then(|| Ok(PacketAnswer::Found(entry.found(key, at))));
        }
        let mut absences = lock(&self.absences);
        let absence = absences.get(key.as_bytes()).filter(|absence| now < absence.recheck)?;
        Some(absence.failure.map_or(Ok(PacketAnswer::Absent(absence.recheck - now)), Err))
    }

    /// Whether a packet of `key` is held, however old.
    pub fn holds(&self, key: &PublicKey) -> bool {
        lock(&self.packets).contains_key(key.as_bytes())
    }

    /// A search is to begin although the packet may still be served. False if one has begun.
    pub fn begin_refresh(&self, key: &PublicKey) -> bool {
        !self.set_refreshing(key, true)
    }

    /// The search had no turn. The next who asks may begin another one.
    pub fn end_refresh(&self, key: &PublicKey) {
        self.set_refreshing(key, false);
    }

    /// Returns what was set before.
    fn set_refreshing(&self, key: &PublicKey, is_refreshing: bool) -> bool {
        let mut packets = lock(&self.packets);
        let entry = packets.peek_mut(key.as_bytes());
        entry.is_some_and(|mut entry| std::mem::replace(&mut entry.is_refreshing, is_refreshing))
    }

    /// Takes a packet from the network while the search goes on. One that is older than what is held changes nothing
    /// but the time at which the held one is asked for again. Returns what is held then; `None` if nothing was and this is
    /// older than a packet that once was, so that it is not believed.
    pub fn store(&self, packet: &SignedPacket, now: Instant) -> Option<Found> {
        let now = self.time(now);
        let new = Entry::new(packet, now, now + milliseconds(PROVISIONAL));
        self.put(packet, new, now, |held, mut new| {
            std::mem::swap(&mut held.packet, &mut new.packet);
            *held = new;
        })
    }

    /// Whether `packet` may take the place of what is known of its key, with `cas` as in BEP 44. Another packet of the same
    /// time may not: some nodes would take it, and others not.
    pub fn admits(&self, packet: &SignedPacket, cas: Option<u64>) -> Result<(), PutError> {
        let key = packet.key().as_bytes();
        if let Some(entry) = lock(&self.packets).get(key) {
            let held = &entry.packet;
            if cas.is_some_and(|cas| cas != held.timestamp()) {
                return Err(PutError::CasFailed);
            }
            let is_same = !held.is_older_than(packet) && !held.is_newer_than(packet);
            return match held.timestamp() < packet.timestamp() || is_same {
                true => Ok(()),
                false => Err(PutError::NotMostRecent),
            };
        }
        match lock(&self.dropped).get(key) {
            Some(dropped) if packet.timestamp() < *dropped => Err(PutError::NotMostRecent),
            _ => Ok(()),
        }
    }

    /// The search has ended: `packet`, or what is held and newer, is the newest that there is. Otherwise as for
    /// [`Memory::store`].
    pub fn confirm(&self, packet: &SignedPacket, now: Instant) -> Option<Found> {
        let now = self.time(now);
        let confirmed = |packet: &SignedPacket| {
            let mut entry = Entry::new(packet, now, now + milliseconds(self.lifetime(packet)));
            entry.is_confirmed = true;
            entry
        };
        self.put(packet, confirmed(packet), now, |held, new| {
            *held = match held.packet.is_newer_than(packet) {
                true => confirmed(&held.packet.unpack(packet.key())),
                false => new,
            };
        })
    }

    /// Takes a packet that was kept elsewhere, received `age` ago and fresh until `fresh_for` after that. Otherwise as
    /// for [`Memory::store`], and `None` too for one that is of no use any more.
    pub fn restore(
        &self,
        packet: &SignedPacket,
        age: Duration,
        fresh_for: Duration,
        now: Instant,
    ) -> Option<Found> {
        let now = self.time(now);
        let received = now.saturating_sub(milliseconds(age));
        let fresh_until =
            received.saturating_add(milliseconds(fresh_for.min(self.freshness.load().greatest)));
        let entry = Entry::new(packet, received, fresh_until);
        if !self.is_servable(&entry, now) {
            // It is of no use but for its timestamp.
            let mut dropped = lock(&self.dropped);
            let newest = dropped.get(packet.key().as_bytes()).copied().unwrap_or(0).max(packet.timestamp());
            dropped.put(*packet.key().as_bytes(), newest);
            return None;
        }
        self.put(packet, entry, now, |held, new| {
            if !held.packet.is_newer_than(packet) && held.fresh_until() < new.fresh_until() {
                *held = new;
            }
        })
    }

    /// Puts `new` in place of anything older. Where something else is held, `update` decides. Returns what is held then.
    fn put(
        &self,
        packet: &SignedPacket,
        new: Entry,
        now: Time,
        update: impl FnOnce(&mut Entry, Entry),
    ) -> Option<Found> {
        let key = packet.key().as_bytes();
        let mut packets = lock(&self.packets);
        let found = if let Some(mut held) = packets.get_mut(key) {
            if held.packet.is_older_than(packet) {
                *held = new;
                self.revisions.advance(key);
            } else {
                update(&mut held, new);
            }
            held.found(packet.key(), now)
        } else {
            let newest = lock(&self.dropped).get(key).copied();
            if newest.is_some_and(|newest| packet.timestamp() < newest) {
                return None;
            }
            lock(&self.dropped).pop(key);
            if newest.is_some_and(|newest| packet.timestamp() > newest) {
                self.revisions.advance(key);
            }
            let found = new.found(packet.key(), now);
            let mut evicted = Vec::new();
            packets.insert_with_lifecycle(*key, new, &mut evicted);
            evicted.iter().for_each(|(key, entry)| self.remember_dropped(*key, entry));
            found
        };
        drop(packets);
        if lock(&self.absences).pop(key).is_some() {
            // Answers were made of its absence.
            self.revisions.advance(key);
        }
        Some(found)
    }

    /// The search has ended without a packet.
    pub(super) fn store_absence(&self, key: &PublicKey, now: Instant) -> SearchOutcome {
        let (at, believed) = (self.time(now), self.freshness.load().absent);
        let held = self.update(key, at, |entry| entry.end_in_vain(Staleness::Forgotten, STALE_RECHECK, at));
        if held.is_none() {
            let absence = Absence { recheck: now + believed, failure: None, failures: 0 };
            lock(&self.absences).put(*key.as_bytes(), absence);
        }
        SearchOutcome::Absent { held, believed }
    }

    /// The network could not be asked.
    pub(super) fn store_failure(&self, key: &PublicKey, error: NetworkError, now: Instant) -> SearchOutcome {
        let at = self.time(now);
        let held = self.update(key, at, |entry| {
            entry.failures = entry.failures.saturating_add(1);
            let wait = RETRY.after(entry.failures.into()).max(STALE_RECHECK);
            entry.end_in_vain(Staleness::Unreachable(error), wait, at);
        });
        if held.is_none() {
            let mut absences = lock(&self.absences);
            let before = absences.get(key.as_bytes());
            // Whoever wanted to know more of an absence that is believed has not learnt that it is over.
            if before.is_none_or(|before| before.failure.is_some() || before.recheck <= now) {
                let failures = before.map_or(0, |before| before.failures).saturating_add(1);
                let recheck = now + RETRY.after(failures);
                absences.put(*key.as_bytes(), Absence { recheck, failure: Some(error), failures });
            }
        }
        SearchOutcome::Failed { held, error }
    }

    /// Packets held.
    pub fn len(&self) -> usize {
        lock(&self.packets).len()
    }

    /// Whether no packet is held.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Applies `change` to the packet that may still be served, and returns it; drops one that is too old for that.
    fn update(&self, key: &PublicKey, now: Time, change: impl FnOnce(&mut Entry)) -> Option<Found> {
        let mut packets = lock(&self.packets);
        let mut entry = packets.get_mut(key.as_bytes())?;
        if self.is_servable(&entry, now) {
            change(&mut entry);
            return Some(entry.found(key, now));
        }
        drop(entry);
        if let Some((key, entry)) = packets.remove(key.as_bytes()) {
            self.remember_dropped(key, &entry);
        }
        None
    }

    fn remember_dropped(&self, key: [u8; 32], entry: &Entry) {
        lock(&self.dropped).put(key, entry.packet.timestamp());
    }

    fn is_servable(&self, entry: &Entry, now: Time) -> bool {
        now < entry.fresh_until().saturating_add(milliseconds(self.freshness.load().stale))
    }

    /// How long a packet is fresh: its smallest TTL, within the configured bounds.
    fn lifetime(&self, packet: &SignedPacket) -> Duration {
        let smallest = find_records(packet.dns()).map(|record| record.ttl).min().unwrap_or(0);
        let lifetime = Duration::from_secs(smallest.into());
        let freshness = self.freshness.load();
        lifetime.min(freshness.greatest).max(freshness.least)
    }

    fn time(&self, now: Instant) -> Time {
        milliseconds(now.saturating_duration_since(self.start))
    }
}

/// Each change under these locks is complete before anything can panic. `packets` is taken before `dropped`.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
