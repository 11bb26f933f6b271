//! What searches have said of keys of late, for whoever looks at one: which packets there were, and how many nodes held the
//! newest.

use std::{
    num::NonZeroUsize,
    sync::{Mutex, MutexGuard, PoisonError},
    time::SystemTime,
};

use ahash::RandomState;
use lru::LruCache;
use pkdns_dht::{Evidence, signed_packet::PublicKey};

use super::Packets;

/// Keys of which something is remembered, those of the last searches: 2 MB with all their versions.
const MAX_SEEN_KEYS: usize = 8192;

/// Packets of one key whose times are remembered.
const MAX_VERSIONS: usize = 8;

/// What was seen of a key since the server started.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Sighting {
    /// Its packets, the newest first, as far as they are remembered.
    pub versions: Vec<Version>,
    /// How many nodes held the newest.
    pub holders: Option<Holders>,
}

/// A packet that was once the newest.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Version {
    /// When it was signed, in microseconds since 1970.
    pub timestamp: u64,
    /// When a search brought it here first.
    pub seen: SystemTime,
}

/// What the nodes of the DHT said when they were last asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Holders {
    /// Nodes that had the newest packet.
    pub held: u32,
    /// Nodes that answered.
    pub responded: u32,
    /// When the search ended.
    pub counted: SystemTime,
}

/// The sightings of many keys.
#[derive(Debug)]
pub(super) struct Sightings(Mutex<LruCache<[u8; 32], Sighting, RandomState>>);

impl Sightings {
    /// Of an eighth as many keys as there may be packets, so that a small cache stays small; [`MAX_SEEN_KEYS`] at most.
    pub(super) fn new(max_packets: usize) -> Self {
        let capacity = NonZeroUsize::new((max_packets / 8).min(MAX_SEEN_KEYS)).unwrap_or(NonZeroUsize::MIN);
        Self(Mutex::new(LruCache::with_hasher(capacity, RandomState::new())))
    }

    /// The newest packet of a key was this one.
    pub(super) fn saw_version(&self, key: &PublicKey, timestamp: u64, seen: SystemTime) {
        let mut sightings = self.lock();
        let versions = &mut sightings.get_or_insert_mut(*key.as_bytes(), Sighting::default).versions;
        if versions.first().is_none_or(|newest| newest.timestamp < timestamp) {
            versions.truncate(MAX_VERSIONS - 1);
            versions.insert(0, Version { timestamp, seen });
        }
    }

    /// The nodes of the DHT said this. A search in which none was asked says nothing.
    pub(super) fn saw_holders(&self, key: &PublicKey, evidence: Evidence, counted: SystemTime) {
        let Evidence { queried, responded, held } = evidence;
        if queried > 0 {
            let holders = Some(Holders { held, responded, counted });
            self.lock().get_or_insert_mut(*key.as_bytes(), Sighting::default).holders = holders;
        }
    }

    fn of(&self, key: &PublicKey) -> Sighting {
        self.lock().peek(key.as_bytes()).cloned().unwrap_or_default()
    }

    fn lock(&self) -> MutexGuard<'_, LruCache<[u8; 32], Sighting, RandomState>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Packets {
    /// What was seen of a key since the start, as far as it is remembered. Asks nobody.
    pub fn sighting(&self, key: &PublicKey) -> Sighting {
        self.0.sightings.of(key)
    }
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, UNIX_EPOCH};

    use super::*;
    use pkdns_dht::signed_packet::Keypair;

    fn key(number: u8) -> PublicKey {
        Keypair::from_secret_key(&[number; 32]).public_key()
    }

    fn at(seconds: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn the_last_versions_of_a_key_are_remembered_with_when_they_came_first() {
        let sightings = Sightings::new(usize::MAX);
        for timestamp in [5, 3, 5, 7] {
            sightings.saw_version(&key(1), timestamp, at(100 + timestamp));
        }
        let seen = sightings.of(&key(1)).versions;
        assert_eq!(
            seen,
            [Version { timestamp: 7, seen: at(107) }, Version { timestamp: 5, seen: at(105) }],
            "an older packet is none that was the newest"
        );
        for timestamp in 8..100 {
            sightings.saw_version(&key(1), timestamp, at(200));
        }
        let seen = sightings.of(&key(1)).versions;
        assert_eq!((seen.len(), seen[0].timestamp, seen[7].timestamp), (MAX_VERSIONS, 99, 92));
        assert_eq!(sightings.of(&key(2)), Sighting::default());
    }

    #[test]
    fn the_last_count_is_remembered_and_a_search_that_asked_no_node_is_none() {
        let sightings = Sightings::new(usize::MAX);
        let evidence = |queried, held| Evidence { queried, responded: 20, held };
        sightings.saw_holders(&key(1), evidence(25, 18), at(1));
        sightings.saw_holders(&key(1), evidence(0, 0), at(2));
        let holders = Holders { held: 18, responded: 20, counted: at(1) };
        assert_eq!(sightings.of(&key(1)).holders, Some(holders));
    }

    #[test]
    fn no_more_keys_are_remembered_than_there_is_room_for() {
        let sightings = Sightings::new(usize::MAX);
        for number in 0..=u8::MAX {
            sightings.saw_version(&key(number), 1, at(1));
        }
        assert_eq!(sightings.lock().cap().get(), MAX_SEEN_KEYS);
        assert_eq!(sightings.lock().len(), 256);
    }
}
