//! Answers in wire form, kept while their TTLs last, and beyond for when nobody can be asked: a hit is a copy with the
//! client's id, flags, spelling and the TTLs counted down. It allocates nothing.

mod part;

use std::{sync::Arc, time::Duration};

use hickory_proto::op::ResponseCode;
use part::{Kept, Part, Wanted};
use tokio::time::Instant;

use crate::{
    message::{Age, EncodedAnswer, MAX_NAME_SIZE, MAX_UDP_SIZE, Query, Reply},
    revisions::{Revision, Revisions},
};

/// An answer larger than this, in bytes, is not kept as a whole: a few of them must not push out thousands (CacheFlush).
const MAX_ANSWER_SIZE: usize = 4 * 1024;

/// How long UDP clients are told to ask again over TCP without a look at the answer, if its own time is shorter. Who makes
/// a large answer that nobody may keep would else have each datagram fetch all of it.
const LEAST_CUT_TIME: Duration = Duration::from_secs(5);

/// Bytes of answers for each entry that the cache may have, as the configuration counts. Name servers of keys are asked
/// less than keys and resolvers are.
const BYTES_PER_ENTRY: u64 = 1024;
const NAME_SERVER_BYTES_PER_ENTRY: u64 = BYTES_PER_ENTRY / 2;

/// How long an answer past its time is served before anyone is asked again (RFC 8767 section 5).
const STALE_RECHECK: Duration = Duration::from_secs(30);

/// Letters and digits in the label of a key. Only a name with such a label can be answered by a key.
const KEY_LABEL_SIZE: u8 = 52;

/// Whose answer it is. Each has room of its own, so that none can push out the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authority {
    /// A key, by its packet.
    Key,
    /// The name servers that a key names for its zone, who could make up names without end.
    NameServer,
    /// The upstream resolvers, or a table of reserved names.
    Upstream,
}

/// The answers of the recent past.
#[derive(Debug)]
pub struct AnswerCache {
    /// Times are counted from here.
    start: Instant,
    keys: Part,
    name_servers: Part,
    upstream: Part,
    revisions: Arc<Revisions>,
    max_stale: Duration,
}

/// An answer to be kept.
#[derive(Debug)]
pub struct NewAnswer<'a> {
    /// Its wire form.
    pub encoded: &'a EncodedAnswer,
    /// Whose it is.
    pub authority: Authority,
    /// How long it may be given to others.
    pub lifetime: Duration,
    /// When the first who asks is told to ask again, if that is before its end.
    pub refresh_in: Option<Duration>,
    /// The packets that it was made from. When one of them is out of date, so is this.
    pub revisions: &'a [Revision],
}

/// What was given from the cache.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Hit {
    /// The answer's code.
    pub code: ResponseCode,
    /// Time to ask again, so that nobody will have to wait. Only one is told.
    pub refresh: bool,
}

impl AnswerCache {
    /// Keeps up to `entries` KiB of answers of each authority, of name servers half as much, and serves them for up to `max_stale` after their time
    /// if they have to be.
    pub fn new(entries: usize, max_stale: Duration, revisions: Arc<Revisions>) -> Self {
        let part = |bytes: u64| Part::new(bytes.saturating_mul(entries as u64));
        Self {
            start: Instant::now(),
            keys: part(BYTES_PER_ENTRY),
            name_servers: part(NAME_SERVER_BYTES_PER_ENTRY),
            upstream: part(BYTES_PER_ENTRY),
            revisions,
            max_stale,
        }
    }

    /// Appends the reply to `query` to `out`, if there is an answer that may be given without asking anyone.
    pub fn get(&self, query: &Query, reply: Reply, now: Instant, out: &mut Vec<u8>) -> Option<Hit> {
        let mut buffer = [0; QUESTION_SIZE];
        let wanted = wanted(query, &mut buffer);
        let now = self.since_start(now);
        self.parts_for(query).into_iter().flatten().find_map(|part| {
            part.with(&wanted, |kept| {
                let age = kept.age(now)?;
                if !self.is_current(kept) {
                    return None;
                }
                let encoded = kept.encoded();
                if encoded.is_for_datagrams() && reply != Reply::Datagram {
                    return None;
                }
                encoded.write(query, reply, age, out);
                Some(Hit { code: encoded.code(), refresh: kept.begin_refresh(now) })
            })
        })
    }

    /// The refresh that [`AnswerCache::get`] asked for did not come to anything: the first who asks after `pause` is told
    /// again.
    pub fn refresh_later(&self, query: &Query, now: Instant, pause: Duration) {
        let mut buffer = [0; QUESTION_SIZE];
        let wanted = wanted(query, &mut buffer);
        let now = self.since_start(now);
        for part in self.parts_for(query).into_iter().flatten() {
            part.with(&wanted, |kept| {
                kept.refresh_later(now, pause);
                Some(())
            });
        }
    }

    /// Whether there is an answer past its time that [`AnswerCache::last_resort`] would give.
    pub fn has_last_resort(&self, query: &Query, now: Instant) -> bool {
        self.with_last_resort(query, now, |_, _| ()).is_some()
    }

    /// Appends an answer past its time to `out`, because nobody who knows could be asked. For a while others get it as
    /// well, without waiting.
    pub fn last_resort(
        &self,
        query: &Query,
        reply: Reply,
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Option<ResponseCode> {
        self.with_last_resort(query, now, |kept, now| {
            kept.serve_stale(now, STALE_RECHECK);
            let encoded = kept.encoded();
            encoded.write(query, reply, Age::Stale, out);
            encoded.code()
        })
    }

    /// Keeps an answer, or what there is of it for clients over UDP: theirs is small, however large the whole is. A failure
    /// never takes the place of an answer that is alive (RFC 9520 section 3.2 asks for
    /// failures to be kept, not for them to win).
    pub fn insert(&self, query: &Query, new: &NewAnswer<'_>, now: Instant) {
        let size = new.encoded.bytes().as_slice().len();
        if size <= MAX_ANSWER_SIZE && !new.lifetime.is_zero() {
            return self.keep(query, new, now);
        }
        if size <= MAX_UDP_SIZE {
            return;
        }
        let encoded = &new.encoded.bytes().for_datagrams();
        let least = if encoded.bytes().is_cut() { LEAST_CUT_TIME } else { Duration::ZERO };
        let lifetime = new.lifetime.max(least);
        if !lifetime.is_zero() {
            // Nobody has to fetch all of it ahead of time for that.
            self.keep(query, &NewAnswer { encoded, lifetime, refresh_in: None, ..*new }, now);
        }
    }

    fn keep(&self, query: &Query, new: &NewAnswer<'_>, now: Instant) {
        let encoded = new.encoded.bytes();
        let mut buffer = [0; QUESTION_SIZE];
        let wanted = wanted(query, &mut buffer);
        let now = self.since_start(now);
        let part = match new.authority {
            Authority::Key => &self.keys,
            Authority::NameServer => &self.name_servers,
            Authority::Upstream => &self.upstream,
        };
        let is_alive = || {
            part.with(&wanted, |kept| {
                let is_answer = !is_failure(kept.encoded().code()) && self.is_current(kept);
                (is_answer && kept.age(now).is_some()).then_some(())
            })
        };
        if !is_failure(encoded.code()) || is_alive().is_none() {
            part.insert(&wanted, new, now);
        }
    }

    /// Bytes that the answers take.
    pub fn size(&self) -> u64 {
        [&self.keys, &self.name_servers, &self.upstream].map(Part::size).iter().sum()
    }

    /// What keys say is not served here past its time: their packets are, and know better why.
    fn with_last_resort<T>(
        &self,
        query: &Query,
        now: Instant,
        mut give: impl FnMut(&Kept, Duration) -> T,
    ) -> Option<T> {
        let mut buffer = [0; QUESTION_SIZE];
        let wanted = wanted(query, &mut buffer);
        let now = self.since_start(now);
        [&self.name_servers, &self.upstream].into_iter().find_map(|part| {
            part.with(&wanted, |kept| {
                let is_usable = kept.is_over(now, self.max_stale)
                    && !is_failure(kept.encoded().code())
                    && !kept.encoded().is_for_datagrams()
                    && self.is_current(kept);
                is_usable.then(|| give(kept, now))
            })
        })
    }

    /// Where an answer to `query` can be. Looking in vain costs about as much as a hit.
    fn parts_for(&self, query: &Query) -> [Option<&Part>; 3] {
        match may_name_a_key(query.question.wire_name()) {
            true => [Some(&self.keys), Some(&self.name_servers), Some(&self.upstream)],
            false => [Some(&self.upstream), None, None],
        }
    }

    /// Whether no newer packet has come since this was made.
    fn is_current(&self, kept: &Kept) -> bool {
        kept.revisions().all(|revision| self.revisions.is_current(revision))
    }

    fn since_start(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.start)
    }
}

fn is_failure(code: ResponseCode) -> bool {
    !matches!(code, ResponseCode::NoError | ResponseCode::NXDomain)
}

fn may_name_a_key(mut name: &[u8]) -> bool {
    while let Some((length @ 1.., rest)) = name.split_first() {
        if *length == KEY_LABEL_SIZE {
            return true;
        }
        name = rest.get(usize::from(*length)..).unwrap_or_default();
    }
    false
}

/// Name, type and class.
const QUESTION_SIZE: usize = MAX_NAME_SIZE + 4;

/// Answers with and without DO or CD differ (RFC 4035 section 3.2), spellings of the name do not.
fn wanted<'a>(query: &Query, buffer: &'a mut [u8; QUESTION_SIZE]) -> Wanted<'a> {
    let name = query.question.wire_name();
    let (start, rest) = buffer.split_at_mut(name.len());
    start.copy_from_slice(name);
    // Length bytes are at most 63 and no letters.
    start.make_ascii_lowercase();
    rest[..2].copy_from_slice(&u16::from(query.question.record_type()).to_be_bytes());
    rest[2..4].copy_from_slice(&u16::from(query.question.class()).to_be_bytes());
    Wanted {
        question: &buffer[..name.len() + 4],
        flags: u8::from(query.dnssec_ok()) | u8::from(query.checking_disabled) << 1,
    }
}

#[cfg(test)]
mod tests;
