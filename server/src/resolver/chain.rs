//! An answer that grows along CNAME records, and how long each part of it is good for. Pure.

use std::{
    collections::{HashMap, HashSet},
    time::Duration,
};

use ahash::RandomState;
use hickory_proto::{
    op::ResponseCode,
    rr::{Name, RData, Record, RecordType},
};

use super::{
    FAILURE_LIFETIME, LONGEST_LIFETIME, LONGEST_NEGATIVE_LIFETIME,
    error::{Caveat, Failure, ResolveError},
};
use crate::{
    base::{
        message::{Answer, MAX_CHAIN, STALE_TTL},
        metrics::{Farthest, Source},
        revisions::Revision,
    },
    sources::packets::Found,
};

/// Answers of others that live shorter than this are not asked for ahead of time: it would double the questions.
const LEAST_REFRESHED: Duration = Duration::from_secs(10);

/// Between two who ask again for one answer.
const LEAST_REFRESH_WAIT: Duration = Duration::from_secs(1);

/// An answer, and where it came from.
#[derive(Debug)]
pub struct Resolved {
    /// The answer.
    pub answer: Answer,
    /// Who had the last word.
    pub source: Source,
    /// The state of the packets and hosts files that it was made from, when it was.
    pub revisions: Vec<Revision>,
    /// When it is time to ask again without anyone waiting for it.
    pub refresh_in: Option<Duration>,
    /// Whether others than keys had a say in it: the name servers of a zone, or the upstreams behind an alias.
    pub by_others: bool,
    /// Whether this is no answer, so that an older one is better: any code but NOERROR and NXDOMAIN (RFC 8767 section 4).
    pub failure: Option<Failure>,
    /// Whether there is no answer because too much was under way.
    pub is_busy: bool,
    /// Whether there is no answer because the client has no lookup left.
    pub is_over_quota: bool,
    /// Whether there is no answer because its origin has none left.
    pub is_over_budget: bool,
    /// The farthest place that had to be asked, whether or not it had the answer.
    pub farthest: Farthest,
}

/// The answer so far, along a chain of CNAME records.
pub(super) struct Chain {
    pub(super) answer: Answer,
    /// What it lacks.
    pub(super) caveat: Option<Caveat>,
    /// Who had the last word.
    pub(super) source: Source,
    /// How long all that was used is good for.
    pub(super) fresh_for: Duration,
    /// When the first of the packets is looked for again.
    pub(super) refresh_in: Duration,
    /// Longest TTL that a record may have, where nobody may keep the answer for longer than it is good for.
    longest_ttl: u32,
    pub(super) links: usize,
    /// Whether a key had a say in it, and whether an upstream had.
    pub(super) by_key: bool,
    pub(super) by_upstream: bool,
    /// Names that were looked up.
    visited: HashSet<Name, RandomState>,
    pub(super) revisions: Vec<Revision>,
    pub(super) by_name_server: bool,
    /// The farthest of all that had to be asked.
    pub(super) farthest: Farthest,
}

impl Resolved {
    /// What is known here, or is no answer at all.
    pub(super) fn own(answer: Answer) -> Self {
        Self {
            answer,
            source: Source::Special,
            revisions: Vec::new(),
            refresh_in: None,
            by_others: false,
            failure: None,
            is_busy: false,
            is_over_quota: false,
            is_over_budget: false,
            farthest: Farthest::Local,
        }
    }
}

impl From<ResolveError> for Resolved {
    fn from(error: ResolveError) -> Self {
        let (is_busy, is_over_quota) = (error.is_busy(), error == ResolveError::LookupQuota);
        let is_over_budget = error == ResolveError::OriginBudget;
        let answer = error.answer();
        let source = if answer.code == ResponseCode::ServFail { Source::Failed } else { Source::Refused };
        let failure = error.failure();
        Self { source, failure, is_busy, is_over_quota, is_over_budget, ..Self::own(answer) }
    }
}

impl Chain {
    /// Nothing yet.
    pub(super) fn new() -> Self {
        Self {
            answer: Answer::empty(ResponseCode::NoError),
            caveat: None,
            source: Source::Special,
            fresh_for: LONGEST_LIFETIME,
            refresh_in: LONGEST_LIFETIME,
            longest_ttl: u32::MAX,
            links: 0,
            by_key: false,
            by_upstream: false,
            visited: HashSet::default(),
            revisions: Vec::new(),
            by_name_server: false,
            farthest: Farthest::Local,
        }
    }

    /// Takes note of where something was asked.
    pub(super) fn went_to(&mut self, place: Farthest) {
        self.farthest = self.farthest.max(place);
    }

    /// Something was used that is good for so long, and is looked for again in so long. `is_strict` says whether all who keep
    /// the answer have to keep to that.
    pub(super) fn is_good_for(&mut self, fresh_for: Duration, refresh_in: Duration, is_strict: bool) {
        self.fresh_for = self.fresh_for.min(fresh_for);
        self.refresh_in = self.refresh_in.min(refresh_in);
        if is_strict {
            self.longest_ttl = self.longest_ttl.min(u32::try_from(fresh_for.as_secs()).unwrap_or(u32::MAX));
        }
    }

    /// A packet was used, which may have had its time.
    pub(super) fn rests_on(&mut self, found: &Found) {
        self.caveat = found.stale.map(Caveat::Stale).or(self.caveat.take());
    }

    /// Goes on to `name`. False where the chain is too long, or has been there before.
    pub(super) fn visit(&mut self, name: &Name) -> bool {
        self.links <= MAX_CHAIN && self.visited.insert(name.clone())
    }

    /// One more CNAME record.
    pub(super) fn link(&mut self, record: Record) {
        self.links += 1;
        if !self.visited.contains(&record.name) {
            self.visited.insert(record.name.clone());
        }
        self.answer.answers.push(record);
    }

    /// The end of the chain: its code counts for the whole (RFC 6604 section 3).
    pub(super) fn append(&mut self, code: ResponseCode, answers: Vec<Record>, authorities: Vec<Record>) {
        self.answer.code = code;
        self.answer.answers.extend(answers);
        self.answer.authorities = authorities;
    }

    /// The end of the chain is NXDOMAIN (`missing`) or NODATA.
    pub(super) fn negative(&mut self, missing: bool, soa: Record) {
        let code = if missing { ResponseCode::NXDomain } else { ResponseCode::NoError };
        self.append(code, Vec::new(), vec![soa]);
    }

    pub(super) fn finish(mut self, asked: RecordType) -> Resolved {
        let Answer { answers, authorities, .. } = &mut self.answer;
        for record in answers.iter_mut().chain(authorities) {
            record.ttl = record.ttl.min(self.longest_ttl);
        }
        self.answer.lifetime = lifetime(&self.answer, asked).min(self.fresh_for);
        let lifetime = self.answer.lifetime;
        let is_failure = is_failure(self.answer.code);
        let is_refreshed = self.by_key || lifetime >= LEAST_REFRESHED;
        // Who is too early finds the packet as it was, and is followed by another one soon.
        let refresh_in = (lifetime * 9 / 10).min(self.refresh_in).max(LEAST_REFRESH_WAIT);
        let is_stale = matches!(self.caveat, Some(Caveat::Stale(_)));
        self.answer.extended_error = self.caveat.map(|caveat| caveat.extended_error(self.answer.code));
        let source = match self.source {
            _ if self.answer.code == ResponseCode::ServFail => Source::Failed,
            Source::Key | Source::Origin if is_stale => Source::Stale,
            source => source,
        };
        Resolved {
            source,
            revisions: self.revisions,
            refresh_in: is_refreshed.then_some(refresh_in),
            by_others: self.by_name_server || self.by_upstream,
            failure: is_failure.then_some(Failure::Shared),
            farthest: self.farthest,
            ..Resolved::own(self.answer)
        }
    }
}

/// Whether a code says that those who know could not answer, or would not.
fn is_failure(code: ResponseCode) -> bool {
    !matches!(code, ResponseCode::NoError | ResponseCode::NXDomain)
}

/// How long an answer may be kept: its smallest TTL; for absence what the SOA says (RFC 2308 section 5).
fn lifetime(answer: &Answer, asked: RecordType) -> Duration {
    if is_failure(answer.code) {
        return FAILURE_LIFETIME;
    }
    let smallest = |records: &[Record]| records.iter().map(|record| record.ttl).min();
    // Aliases and their signatures lead to an absence as well as to data.
    let is_data = |record: &Record| record.record_type() == asked;
    let is_positive = answer.code == ResponseCode::NoError && answer.answers.iter().any(is_data);
    let positive = smallest(&answer.answers).map(|ttl| Duration::from_secs(ttl.into()));
    if is_positive {
        return positive.unwrap_or(LONGEST_LIFETIME);
    }
    let soa = answer.authorities.iter().find_map(|record| match &record.data {
        RData::SOA(soa) => Some(record.ttl.min(soa.minimum)),
        _ => None,
    });
    // Without a SOA nobody said how long the absence may be believed: hardly at all.
    let negative = soa.map_or(FAILURE_LIFETIME, |ttl| Duration::from_secs(ttl.into()));
    negative.min(LONGEST_NEGATIVE_LIFETIME).min(positive.unwrap_or(LONGEST_LIFETIME))
}

/// Walks the CNAME records in `answers` from `name` on. Returns the links up to the first target that `stop` wants.
/// Answers of strangers may have thousands of them: each is looked at once.
pub(super) fn follow_aliases(
    answers: &[Record],
    name: &Name,
    stop: impl Fn(&Name) -> bool,
) -> (Vec<Record>, Option<Name>) {
    let mut aliases: HashMap<&Name, (&Record, &Name), RandomState> = HashMap::default();
    for record in answers {
        if let RData::CNAME(target) = &record.data {
            aliases.entry(&record.name).or_insert((record, &target.0));
        }
    }
    let mut links = Vec::new();
    let mut at = name;
    while links.len() <= MAX_CHAIN
        && let Some((record, target)) = aliases.get(at)
    {
        links.push((*record).clone());
        if stop(target) {
            return (links, Some(target.to_lowercase()));
        }
        at = target;
    }
    (links, None)
}

/// What is left of a record's TTL. A record that lives shorter than its packet is as good as new each time, since
/// the packet is the zone; but nobody shall keep it longer than the packet is believed here.
pub(super) fn ttl(ttl: u32, found: &Found) -> u32 {
    let age = u32::try_from(found.age.as_secs()).unwrap_or(u32::MAX);
    match found.stale {
        None if ttl > age => ttl - age,
        _ => lent_ttl(ttl, found),
    }
}

/// The TTL of what a packet's name servers said: nothing outlives the packet that gave them their say.
pub(super) fn lent_ttl(ttl: u32, found: &Found) -> u32 {
    let left = u32::try_from(found.fresh_for.as_secs()).unwrap_or(u32::MAX).max(1);
    ttl.min(if found.stale.is_some() { STALE_TTL } else { left })
}

/// What is for a client of `records`: who does not set DO gets no DNSSEC records, unless they are what was asked for (RFC
/// 3225 section 3).
pub(super) fn wanted(mut records: Vec<Record>, dnssec_ok: bool, asked: RecordType) -> Vec<Record> {
    let is_of_dnssec = |code| matches!(code, RecordType::RRSIG | RecordType::NSEC | RecordType::NSEC3);
    records.retain(|record| {
        let code = record.record_type();
        dnssec_ok || code == asked || !is_of_dnssec(code)
    });
    records
}
