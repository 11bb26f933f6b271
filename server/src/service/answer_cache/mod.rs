//! Answers in wire form, kept while their TTLs last, and beyond for when nobody can be asked: a hit is a copy with the
//! client's id, flags, spelling and the TTLs counted down. It allocates nothing.

mod part;

use std::{sync::Arc, time::Duration};

use hickory_proto::op::ResponseCode;
use part::{Kept, Part, Sizes, Wanted};
use tokio::time::Instant;

use crate::base::{
    message::{Age, EncodedAnswer, MAX_NAME_SIZE, MAX_UDP_SIZE, Query, Reply, STALE_RECHECK},
    revisions::{Revision, Revisions},
    view::View,
};

/// An answer larger than this, in bytes, is kept apart from the others: a few of them must not push out thousands
/// (CacheFlush).
const MAX_ANSWER_SIZE: usize = 4 * 1024;

/// How long UDP clients are told to ask again over TCP without a look at the answer, if its own time is shorter. Who makes
/// a large answer that nobody may keep would else have each datagram fetch all of it.
const LEAST_CUT_TIME: Duration = Duration::from_secs(5);

/// Bytes of answers for each entry that the cache may have, as the configuration counts. Name servers of keys are asked
/// less than keys and resolvers are.
const BYTES_PER_ENTRY: u64 = 896;
const NAME_SERVER_BYTES_PER_ENTRY: u64 = BYTES_PER_ENTRY / 2;

/// The same for those who are served names in an origin alone. They ask for few names, and whoever makes some up pushes out
/// nothing of anybody else.
const STRANGERS_BYTES_PER_ENTRY: u64 = 256;

/// The same for large answers, of whoever they are.
const LARGE_BYTES_PER_ENTRY: u64 = 256;

/// The same for failures, which are kept for seconds.
const FAILURE_BYTES_PER_ENTRY: u64 = 64;

/// Letters and digits in the label of a key. Only a name with such a label can be answered by a key.
const KEY_LABEL_SIZE: u8 = 52;

/// Whose answer it is. Each has room of its own, so that none can push out the others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Authority {
    /// A key, by its packet.
    Key,
    /// Others whom a key leads to: the name servers of its zone, who could make up names without end, or the upstream
    /// resolvers behind an alias.
    NameServer,
    /// The upstream resolvers, or a table of reserved names.
    Upstream,
}

/// The answers of the recent past. Cheap to clone; clones hold the same answers.
#[derive(Debug, Clone)]
pub struct AnswerCache {
    /// Times are counted from here.
    start: Instant,
    keys: Arc<Part>,
    name_servers: Arc<Part>,
    upstream: Arc<Part>,
    /// Whatever is answered in [`View::Origin`].
    strangers: Arc<Part>,
    /// Large answers that were wanted more than once.
    large: Arc<Part>,
    /// Why there was no answer. Looked at last, so that a failure shadows nothing (RFC 9520 section 3.2 asks for failures
    /// to be kept, not for them to win).
    failures: Arc<Part>,
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
    /// Whether the answer is past its time.
    pub is_stale: bool,
}

impl AnswerCache {
    /// Keeps up to `BYTES_PER_ENTRY` times `entries` bytes of answers of each authority, of name servers half as much,
    /// besides large answers and failures, and serves answers for up to `max_stale` after their time if they have to be.
    /// `start`: now; no answer is older.
    pub fn new(entries: usize, max_stale: Duration, revisions: Arc<Revisions>, start: Instant) -> Self {
        let part = |bytes: u64| Arc::new(Part::new(bytes.saturating_mul(entries as u64), Sizes::USUAL));
        let large = LARGE_BYTES_PER_ENTRY.saturating_mul(entries as u64);
        Self {
            start,
            keys: part(BYTES_PER_ENTRY),
            name_servers: part(NAME_SERVER_BYTES_PER_ENTRY),
            upstream: part(BYTES_PER_ENTRY),
            strangers: part(0),
            large: Arc::new(Part::new(large, Sizes::LARGE)),
            failures: part(FAILURE_BYTES_PER_ENTRY),
            revisions,
            max_stale,
        }
    }

    /// With room for answers to those who are served names in an origin alone.
    #[must_use]
    pub fn with_strangers(self, entries: usize) -> Self {
        let bytes = STRANGERS_BYTES_PER_ENTRY.saturating_mul(entries as u64);
        Self { strangers: Arc::new(Part::new(bytes, Sizes::USUAL)), ..self }
    }

    /// Appends the reply to `query` to `out`, if there is one that may be given without asking anyone: an answer that is
    /// alive, or is being served past its time; else, where asking has just failed, an answer past its time, and the
    /// failure only where there is none.
    pub fn get(&self, query: &Query, reply: Reply, now: Instant, out: &mut Vec<u8>) -> Option<Hit> {
        let mut buffer = [0; QUESTION_SIZE];
        let wanted = wanted(query, &mut buffer);
        let now = self.since_start(now);
        if let Some(hit) = self.get_answer(&wanted, query, reply, now, out) {
            return Some(hit);
        }
        let age = self.failures.with(&wanted, |kept| {
            let is_usable =
                self.is_current(kept) && (reply == Reply::Datagram || !kept.encoded().is_for_datagrams());
            kept.age(now).filter(|_| is_usable)
        })?;
        if let Some(hit) = self.give_stale(&wanted, query, reply, now, None, out) {
            return Some(hit);
        }
        self.failures.with(&wanted, |kept| {
            kept.encoded().write(query, reply, age, out);
            Some(Hit { code: kept.encoded().code(), refresh: false, is_stale: false })
        })
    }

    /// The refresh that [`AnswerCache::get`] asked for did not come to anything: the first who asks after `pause` is told
    /// again.
    pub fn refresh_later(&self, query: &Query, now: Instant, pause: Duration) {
        let mut buffer = [0; QUESTION_SIZE];
        let wanted = wanted(query, &mut buffer);
        let now = self.since_start(now);
        for part in self.parts_for(&wanted).into_iter().flatten() {
            part.with(&wanted, |kept| {
                kept.refresh_later(now, pause);
                Some(())
            });
        }
    }

    /// Whether there is an answer past its time that [`AnswerCache::last_resort`] would give.
    pub fn has_last_resort(&self, query: &Query, now: Instant) -> bool {
        let mut buffer = [0; QUESTION_SIZE];
        let wanted = wanted(query, &mut buffer);
        self.with_stale(&wanted, self.since_start(now), |_| ()).is_some()
    }

    /// Appends the best answer that is held to `out`, because there is no new one: one that is alive, or one past its time.
    /// If asking would fail for others as well, `is_shared`, they get the latter for a while without waiting (RFC 8767
    /// section 5).
    pub fn last_resort(
        &self,
        query: &Query,
        reply: Reply,
        now: Instant,
        is_shared: bool,
        out: &mut Vec<u8>,
    ) -> Option<Hit> {
        let mut buffer = [0; QUESTION_SIZE];
        let wanted = wanted(query, &mut buffer);
        let since_start = self.since_start(now);
        // Somebody else may have got one meanwhile.
        if let Some(hit) = self.get_answer(&wanted, query, reply, since_start, out) {
            if hit.refresh {
                self.refresh_later(query, now, Duration::ZERO);
            }
            return Some(Hit { refresh: false, ..hit });
        }
        self.give_stale(&wanted, query, reply, since_start, is_shared.then_some(STALE_RECHECK), out)
    }

    /// Keeps an answer, or what there is of it for clients over UDP: theirs is small, however large the whole is. The whole
    /// of a large one is kept the second time that it comes.
    ///
    /// Nothing gets worse by that. A failure takes the place of failures alone. A denial replaces a positive answer once
    /// that one's time is over: a mistaken one, which came with a refresh, may be gone by then.
    pub fn insert(&self, query: &Query, new: &NewAnswer<'_>, now: Instant) {
        let mut buffer = [0; QUESTION_SIZE];
        let wanted = wanted(query, &mut buffer);
        let now = self.since_start(now);
        if !is_failure(new.encoded.code()) {
            // Whatever failed before is over, also where nobody may keep what came.
            self.failures.remove(&wanted);
        }
        let size = new.encoded.bytes().as_slice().len();
        let is_large = size > MAX_ANSWER_SIZE;
        if !is_large && !new.lifetime.is_zero() {
            return self.keep(&wanted, new, None, now);
        }
        if size <= MAX_UDP_SIZE {
            return;
        }
        let encoded = &new.encoded.bytes().for_datagrams();
        let least = if encoded.bytes().is_cut() { LEAST_CUT_TIME } else { Duration::ZERO };
        let lifetime = new.lifetime.max(least);
        if !lifetime.is_zero() {
            // Nobody has to fetch all of it ahead of time for that.
            let cut = NewAnswer { encoded, lifetime, refresh_in: None, ..*new };
            let whole = (is_large && !new.lifetime.is_zero()).then_some(new);
            self.keep(&wanted, &cut, whole, now);
        }
    }

    /// Keeps `new`, and `whole` if it is what fits a datagram of a larger answer.
    fn keep(&self, wanted: &Wanted<'_>, new: &NewAnswer<'_>, whole: Option<&NewAnswer<'_>>, now: Duration) {
        let encoded = new.encoded.bytes();
        if is_failure(encoded.code()) {
            return self.failures.insert(wanted, new, now);
        }
        if !encoded.is_positive() && self.has_positive(wanted, now) {
            return;
        }
        let part = match (wanted.view, new.authority) {
            (View::Origin, _) => &self.strangers,
            (_, Authority::Key) => &self.keys,
            (_, Authority::NameServer) => &self.name_servers,
            (_, Authority::Upstream) => &self.upstream,
        };
        match whole {
            Some(whole) => {
                // What is left of the first time shows that this is the second.
                let is_second = |kept: &Kept| kept.encoded().is_for_datagrams().then_some(());
                if part.with(wanted, is_second).is_some() {
                    self.large.insert(wanted, whole, now);
                }
            }
            // An older one would come up again when this has had its time.
            None => self.large.remove(wanted),
        }
        part.insert(wanted, new, now);
    }

    /// Whether a positive answer is alive.
    fn has_positive(&self, wanted: &Wanted<'_>, now: Duration) -> bool {
        self.parts_for(wanted).into_iter().flatten().any(|part| {
            let is_positive =
                |kept: &Kept| kept.is_alive(now) && kept.encoded().is_positive() && self.is_current(kept);
            part.with(wanted, |kept| is_positive(kept).then_some(())).is_some()
        })
    }

    /// Gives an answer that is alive, or is being served past its time.
    fn get_answer(
        &self,
        wanted: &Wanted<'_>,
        query: &Query,
        reply: Reply,
        now: Duration,
        out: &mut Vec<u8>,
    ) -> Option<Hit> {
        self.parts_for(wanted).into_iter().flatten().find_map(|part| {
            part.with(wanted, |kept| {
                let age = kept.age(now)?;
                if !self.is_current(kept) {
                    return None;
                }
                let encoded = kept.encoded();
                if encoded.is_for_datagrams() && reply != Reply::Datagram {
                    return None;
                }
                encoded.write(query, reply, age, out);
                let is_stale = matches!(age, Age::Stale);
                Some(Hit { code: encoded.code(), refresh: kept.begin_refresh(now), is_stale })
            })
        })
    }

    /// Gives an answer past its time, and goes on to do so for as long as `recheck` says.
    fn give_stale(
        &self,
        wanted: &Wanted<'_>,
        query: &Query,
        reply: Reply,
        now: Duration,
        recheck: Option<Duration>,
        out: &mut Vec<u8>,
    ) -> Option<Hit> {
        self.with_stale(wanted, now, |kept| {
            if let Some(recheck) = recheck {
                kept.serve_stale(now, recheck, self.max_stale);
            }
            let encoded = kept.encoded();
            encoded.write(query, reply, Age::Stale, out);
            Hit { code: encoded.code(), refresh: false, is_stale: true }
        })
    }

    /// Bytes that the answers take.
    pub fn size(&self) -> u64 {
        let Self { keys, name_servers, upstream, strangers, large, failures, .. } = self;
        [keys, name_servers, upstream, strangers, large, failures].map(|part| part.size()).iter().sum()
    }

    /// What keys say is not served here past its time: their packets are, and know better why.
    fn with_stale<T>(
        &self,
        wanted: &Wanted<'_>,
        now: Duration,
        mut give: impl FnMut(&Kept) -> T,
    ) -> Option<T> {
        [&self.name_servers, &self.upstream, &self.large].into_iter().find_map(|part| {
            part.with(wanted, |kept| {
                let is_usable = kept.is_over(now, self.max_stale)
                    && !kept.encoded().is_for_datagrams()
                    && self.is_current(kept);
                is_usable.then(|| give(kept))
            })
        })
    }

    /// Where an answer can be, if it is none of the failures. Looking in vain costs about as much as a hit.
    fn parts_for(&self, wanted: &Wanted<'_>) -> [Option<&Part>; 4] {
        if wanted.view == View::Origin {
            return [Some(&self.strangers), Some(&self.large), None, None];
        }
        match may_name_a_key(wanted.question) {
            true => [Some(&self.keys), Some(&self.name_servers), Some(&self.upstream), Some(&self.large)],
            false => [Some(&self.upstream), Some(&self.large), None, None],
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

/// Answers with and without DO or CD differ (RFC 4035 section 3.2), and so do those of each view; spellings of the name do
/// not.
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
        flags: u8::from(query.dnssec_ok())
            | u8::from(query.checking_disabled) << 1
            | u8::from(query.view == View::Origin) << 2
            | u8::from(query.view == View::Bridged) << 3,
        view: query.view,
    }
}

#[cfg(test)]
mod tests;
