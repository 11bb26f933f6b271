//! The answers of one authority: shards of a cache that counts bytes, and that one-off names pass through without
//! pushing out what is asked for again (S3-FIFO, as `quick_cache` has it).

use std::{
    cell::Cell,
    fmt,
    hash::{BuildHasher, BuildHasherDefault, Hasher},
    sync::{Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use ahash::RandomState;
use quick_cache::{OptionsBuilder, Weighter, unsync};

use super::NewAnswer;
use crate::base::{
    message::{Age, EncodedBytes},
    revisions::Revision,
    view::View,
};

/// Locks at most; two cores rarely want the same one.
const MAX_SHARDS: u64 = 64;

/// Bytes that an answer takes beside its own: table, list, allocation, and its share of what is remembered of those that
/// left.
const OVERHEAD: u64 = 168;

/// How large the answers of a part are.
#[derive(Debug, Clone, Copy)]
pub(super) struct Sizes {
    /// Bytes of a shard at least: hundreds of answers, or their order of leaving would be an accident.
    least_shard: u64,
    /// Bytes of an answer, as guessed before there is one. Half as many that left are remembered by their hash.
    guess: u64,
}

impl Sizes {
    pub(super) const USUAL: Self = Self { least_shard: 128 * 1024, guess: 256 };

    /// Up to 64 KiB and the places of their records.
    pub(super) const LARGE: Self = Self { least_shard: 4 * 1024 * 1024, guess: 16 * 1024 };
}

/// The answers of one authority.
pub(super) struct Part {
    /// With secret keys: whoever chooses names must not choose collisions.
    hasher: RandomState,
    shards: Box<[Mutex<Shard>]>,
}

/// By the hash of the question. Two questions with one hash take each other's place.
type Shard = unsync::Cache<u64, Kept, ByBytes, BuildHasherDefault<IsHash>>;

/// A question that is looked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Wanted<'a> {
    /// Name in lower case, type and class, in wire form.
    pub(super) question: &'a [u8],
    /// DO, CD and the view.
    pub(super) flags: u8,
    pub(super) view: View,
}

/// An answer and its times in milliseconds. A cell, since whoever looks holds the lock.
pub(super) struct Kept {
    /// In one piece, since there are millions: DO, CD and the view, number of revisions, revisions, answer.
    bytes: Box<[u8]>,
    /// Since the start of the cache.
    made: u64,
    lifetime: u32,
    /// Since it was made. While it is alive, when to ask again; afterwards, until when it is served all the same.
    next: Cell<u32>,
}

/// There is no such time, or it is taken care of.
const NONE: u32 = 0;

impl Part {
    pub(super) fn new(bytes: u64, sizes: Sizes) -> Self {
        let count = (bytes / sizes.least_shard).clamp(1, MAX_SHARDS);
        let shard = |_| {
            let options = OptionsBuilder::new()
                .estimated_items_capacity(usize::try_from(bytes / count / sizes.guess).unwrap_or(usize::MAX))
                .weight_capacity(bytes / count)
                .build()
                .ok()?;
            let lifecycle = unsync::DefaultLifecycle::default();
            Some(Mutex::new(Shard::with_options(options, ByBytes, BuildHasherDefault::default(), lifecycle)))
        };
        // `build` fails only where one of the two is not set.
        Self { shards: (0..count).filter_map(shard).collect(), hasher: RandomState::new() }
    }

    /// Looks at the answer to a question, under the lock.
    pub(super) fn with<T>(&self, wanted: &Wanted<'_>, look: impl FnOnce(&Kept) -> Option<T>) -> Option<T> {
        let hash = self.hash(wanted);
        let shard = self.shard(hash)?;
        shard.get(&hash).filter(|kept| kept.answers(wanted)).and_then(look)
    }

    pub(super) fn insert(&self, wanted: &Wanted<'_>, new: &NewAnswer<'_>, now: Duration) {
        let hash = self.hash(wanted);
        let kept = Kept::new(wanted.flags, new, now);
        if let Some(mut shard) = self.shard(hash) {
            shard.insert(hash, kept);
        }
    }

    pub(super) fn remove(&self, wanted: &Wanted<'_>) {
        let hash = self.hash(wanted);
        if let Some(mut shard) = self.shard(hash) {
            shard.remove_if(&hash, |kept| kept.answers(wanted));
        }
    }

    /// Bytes that the answers take, about.
    pub(super) fn size(&self) -> u64 {
        self.shards.iter().map(|shard| lock(shard).weight()).sum()
    }

    fn hash(&self, wanted: &Wanted<'_>) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        hasher.write(wanted.question);
        hasher.write_u8(wanted.flags);
        hasher.finish()
    }

    fn shard(&self, hash: u64) -> Option<MutexGuard<'_, Shard>> {
        // The table in a shard uses the lowest and the highest bits.
        let number = (hash >> 32) as usize % self.shards.len().max(1);
        self.shards.get(number).map(lock)
    }
}

/// Each change under these locks is complete before anything can panic.
fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Kept {
    fn new(flags: u8, new: &NewAnswer<'_>, now: Duration) -> Self {
        let encoded = new.encoded.bytes().as_slice();
        // A chain of CNAME records is far shorter.
        let revisions = &new.revisions[..new.revisions.len().min(usize::from(u8::MAX))];
        let mut bytes = Vec::with_capacity(2 + revisions.len() * Revision::SIZE + encoded.len());
        bytes.extend_from_slice(&[flags, revisions.len() as u8]);
        revisions.iter().for_each(|revision| bytes.extend_from_slice(&revision.to_bytes()));
        bytes.extend_from_slice(encoded);
        let short = |time: Duration| u32::try_from(milliseconds(time)).unwrap_or(u32::MAX);
        let refresh = new.refresh_in.filter(|time| *time < new.lifetime).map_or(NONE, short);
        Self {
            bytes: bytes.into(),
            made: milliseconds(now),
            lifetime: short(new.lifetime),
            next: Cell::new(refresh),
        }
    }

    fn answers(&self, wanted: &Wanted<'_>) -> bool {
        self.bytes.first() == Some(&wanted.flags) && self.encoded().question() == wanted.question
    }

    /// The packets that it was made from.
    pub(super) fn revisions(&self) -> impl Iterator<Item = Revision> {
        self.parts().0.iter().copied().map(Revision::from_bytes)
    }

    pub(super) fn encoded(&self) -> EncodedBytes<'_> {
        EncodedBytes::from_slice(self.parts().1)
    }

    pub(super) fn is_alive(&self, now: Duration) -> bool {
        self.milliseconds_old(now) < u64::from(self.lifetime)
    }

    /// How old it is; `None` if it may not be given.
    pub(super) fn age(&self, now: Duration) -> Option<Age> {
        let age = self.milliseconds_old(now);
        if self.is_alive(now) {
            return Some(Age::Seconds(u32::try_from(age / 1000).unwrap_or(u32::MAX)));
        }
        // The time of a refresh lies before.
        (age < u64::from(self.next.get())).then_some(Age::Stale)
    }

    /// Whether its time has been over for no longer than `longest`.
    pub(super) fn is_over(&self, now: Duration, longest: Duration) -> bool {
        let since = self.milliseconds_old(now).checked_sub(self.lifetime.into());
        since.is_some_and(|since| since < milliseconds(longest))
    }

    /// Serves it past its time from now on, but not when that has been over for longer than `longest`.
    pub(super) fn serve_stale(&self, now: Duration, for_time: Duration, longest: Duration) {
        let until = self.milliseconds_old(now).saturating_add(milliseconds(for_time));
        let end = u64::from(self.lifetime).saturating_add(milliseconds(longest));
        self.next.set(u32::try_from(until.min(end)).unwrap_or(u32::MAX));
    }

    /// True once, when it is time to ask again.
    pub(super) fn begin_refresh(&self, now: Duration) -> bool {
        let (age, next) = (self.milliseconds_old(now), self.next.get());
        let is_due = next != NONE && u64::from(next) <= age && age < u64::from(self.lifetime);
        if is_due {
            self.next.set(NONE);
        }
        is_due
    }

    /// Has it asked for again after `pause`, if it is alive then and nobody has begun meanwhile.
    pub(super) fn refresh_later(&self, now: Duration, pause: Duration) {
        let next = self.milliseconds_old(now).saturating_add(milliseconds(pause));
        if self.next.get() == NONE && next < u64::from(self.lifetime) {
            self.next.set(u32::try_from(next).unwrap_or(NONE));
        }
    }

    fn milliseconds_old(&self, now: Duration) -> u64 {
        milliseconds(now).saturating_sub(self.made)
    }

    /// Our own bytes: what is missing is empty.
    fn parts(&self) -> (&[[u8; Revision::SIZE]], &[u8]) {
        let count = self.bytes.get(1).copied().map_or(0, usize::from);
        let rest = self.bytes.get(2..).unwrap_or_default();
        let (revisions, encoded) = rest.split_at_checked(count * Revision::SIZE).unwrap_or_default();
        (revisions.as_chunks().0, encoded)
    }
}

fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

#[derive(Debug, Clone)]
struct ByBytes;

impl Weighter<u64, Kept> for ByBytes {
    fn weight(&self, _: &u64, kept: &Kept) -> u64 {
        kept.bytes.len() as u64 + OVERHEAD
    }
}

/// The hasher of what is a hash already.
#[derive(Debug, Default)]
struct IsHash(u64);

impl Hasher for IsHash {
    /// For anything but a `u64`, which is all that comes.
    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.0 = self.0.rotate_left(8) ^ u64::from(*byte));
    }

    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }

    fn finish(&self) -> u64 {
        self.0
    }
}

impl fmt::Debug for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Part").field("shards", &self.shards.len()).finish_non_exhaustive()
    }
}
