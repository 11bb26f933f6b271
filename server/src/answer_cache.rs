//! Answers in wire form, kept while their TTLs last: a hit is a copy with the client's id, flags, spelling and the
//! TTLs counted down.

use std::{
    hash::{BuildHasher, RandomState},
    num::NonZeroUsize,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use hickory_proto::op::ResponseCode;
use lru::LruCache;
use tokio::time::Instant;

use crate::message::{EncodedAnswer, MAX_NAME_SIZE, Query};

/// Locks of one part of the cache; two cores rarely want the same one.
const SHARDS: usize = 8;

/// An answer larger than this, in bytes, is not kept: a few of them must not push out thousands (CacheFlush).
const MAX_ANSWER_SIZE: usize = 4 * 1024;

/// Answers that live shorter than this are not asked for ahead of time.
const LEAST_REFRESHED: Duration = Duration::from_secs(10);

/// Whose answer it is. Each has room of its own, so that neither can push out the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authority {
    /// A key, by its packet or its name servers.
    Key,
    /// The upstream resolvers, or a table of reserved names.
    Upstream,
}

/// The answers of the recent past.
#[derive(Debug)]
pub struct AnswerCache {
    keys: Part,
    upstream: Part,
}

/// An answer from the cache.
#[derive(Debug)]
pub struct Hit {
    /// The answer.
    pub answer: Arc<EncodedAnswer>,
    /// Seconds since it was made.
    pub age: u32,
    /// True for the first who asks in the last tenth of its life: time to ask again, so that nobody will have to wait.
    pub refresh: bool,
}

#[derive(Debug)]
struct Part {
    hasher: RandomState,
    shards: [Mutex<LruCache<Box<[u8]>, Entry>>; SHARDS],
}

#[derive(Debug)]
struct Entry {
    answer: Arc<EncodedAnswer>,
    made: Instant,
    lifetime: Duration,
    refreshing: AtomicBool,
}

impl AnswerCache {
    /// Keeps at most `capacity` answers of each authority.
    pub fn new(capacity: usize) -> Self {
        Self { keys: Part::new(capacity), upstream: Part::new(capacity) }
    }

    /// The answer to `query`, if one is alive.
    pub fn get(&self, query: &Query, now: Instant) -> Option<Hit> {
        let mut buffer = [0; KEY_SIZE];
        let key = cache_key(query, &mut buffer);
        self.keys.get(key, now).or_else(|| self.upstream.get(key, now))
    }

    /// Keeps an answer for `lifetime`. A failure never takes the place of an answer that is alive (RFC 9520
    /// section 3.2 asks for failures to be kept, not for them to win).
    pub fn insert(
        &self,
        query: &Query,
        authority: Authority,
        answer: Arc<EncodedAnswer>,
        lifetime: Duration,
        now: Instant,
    ) {
        if lifetime.is_zero() || answer.size() > MAX_ANSWER_SIZE {
            return;
        }
        let mut buffer = [0; KEY_SIZE];
        let key = cache_key(query, &mut buffer);
        let part = match authority {
            Authority::Key => &self.keys,
            Authority::Upstream => &self.upstream,
        };
        part.insert(key, Entry { answer, made: now, lifetime, refreshing: AtomicBool::new(false) }, now);
    }
}

impl Part {
    fn new(capacity: usize) -> Self {
        let each = NonZeroUsize::new(capacity.div_ceil(SHARDS)).unwrap_or(NonZeroUsize::MIN);
        Self { hasher: RandomState::new(), shards: std::array::from_fn(|_| Mutex::new(LruCache::new(each))) }
    }

    fn get(&self, key: &[u8], now: Instant) -> Option<Hit> {
        let mut shard = self.shard(key).lock().unwrap_or_else(PoisonError::into_inner);
        let entry = shard.get(key)?;
        let age = now.saturating_duration_since(entry.made);
        let left = entry.lifetime.checked_sub(age).filter(|left| !left.is_zero());
        let Some(left) = left else {
            shard.pop(key);
            return None;
        };
        let is_late = entry.lifetime >= LEAST_REFRESHED && left <= entry.lifetime / 10;
        Some(Hit {
            answer: entry.answer.clone(),
            age: u32::try_from(age.as_secs()).unwrap_or(u32::MAX),
            refresh: is_late && !entry.refreshing.swap(true, Ordering::Relaxed),
        })
    }

    fn insert(&self, key: &[u8], entry: Entry, now: Instant) {
        let mut shard = self.shard(key).lock().unwrap_or_else(PoisonError::into_inner);
        let is_failure =
            |entry: &Entry| !matches!(entry.answer.code(), ResponseCode::NoError | ResponseCode::NXDomain);
        if is_failure(&entry)
            && shard.peek(key).is_some_and(|held| !is_failure(held) && now < held.made + held.lifetime)
        {
            return;
        }
        shard.put(key.into(), entry);
    }

    fn shard(&self, key: &[u8]) -> &Mutex<LruCache<Box<[u8]>, Entry>> {
        // The remainder is below the length of the array.
        &self.shards[self.hasher.hash_one(key) as usize % SHARDS]
    }
}

/// Name, type, class and one byte of flags.
const KEY_SIZE: usize = MAX_NAME_SIZE + 5;

/// Answers with and without DO or CD differ (RFC 4035 section 3.2), spellings of the name do not.
fn cache_key<'a>(query: &Query, buffer: &'a mut [u8; KEY_SIZE]) -> &'a [u8] {
    let name = query.question.wire_name();
    let (start, rest) = buffer.split_at_mut(name.len());
    start.copy_from_slice(name);
    // Length bytes are at most 63 and no letters.
    start.make_ascii_lowercase();
    rest[..2].copy_from_slice(&u16::from(query.question.record_type()).to_be_bytes());
    rest[2..4].copy_from_slice(&u16::from(query.question.class()).to_be_bytes());
    rest[4] = u8::from(query.dnssec_ok()) | u8::from(query.checking_disabled) << 1;
    &buffer[..name.len() + 5]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::message::Answer;

    const MINUTE: Duration = Duration::from_secs(60);

    fn query() -> Query {
        Query::decode(&[0, 1, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, b'a', 0, 0, 1, 0, 1]).unwrap()
    }

    fn answer(code: ResponseCode) -> Arc<EncodedAnswer> {
        Arc::new(Answer::empty(code).encode(&query().question))
    }

    fn code(cache: &AnswerCache, now: Instant) -> Option<ResponseCode> {
        cache.get(&query(), now).map(|hit| hit.answer.code())
    }

    #[test]
    fn a_failure_never_takes_the_place_of_an_answer_that_is_alive() {
        let (cache, start) = (AnswerCache::new(10), Instant::now());
        let insert = |code, lifetime, now| {
            cache.insert(&query(), Authority::Upstream, answer(code), lifetime, now);
        };
        insert(ResponseCode::NoError, MINUTE, start);
        insert(ResponseCode::ServFail, MINUTE, start + MINUTE / 2);
        assert_eq!(code(&cache, start + MINUTE / 2), Some(ResponseCode::NoError));
        insert(ResponseCode::ServFail, MINUTE, start + MINUTE);
        assert_eq!(code(&cache, start + MINUTE), Some(ResponseCode::ServFail));
        insert(ResponseCode::NXDomain, MINUTE, start + MINUTE);
        assert_eq!(code(&cache, start + MINUTE), Some(ResponseCode::NXDomain));
        assert_eq!(code(&cache, start + MINUTE * 2), None);
    }

    #[test]
    fn one_client_is_told_to_ask_again_in_the_last_tenth() {
        let (cache, start) = (AnswerCache::new(10), Instant::now());
        let kept = answer(ResponseCode::NoError);
        cache.insert(&query(), Authority::Upstream, kept, MINUTE, start);
        let refresh = |second| cache.get(&query(), start + Duration::from_secs(second)).unwrap().refresh;
        assert_eq!([53, 54, 55].map(refresh), [false, true, false]);
    }
}
