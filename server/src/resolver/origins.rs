//! Names in an origin, which this server answers with authority: for strangers nothing but these.

use std::{collections::HashMap, net::IpAddr, sync::Arc, time::Duration};

use ahash::RandomState;
use hickory_proto::{
    op::ResponseCode,
    rr::{DNSClass, Name, RData, Record, RecordType},
};

use super::{
    Resolved, Resolver, Step,
    chain::{Chain, lent_ttl, ttl},
    error::ResolveError,
    lookup_budget::{LOOKUPS_PER_MINUTE, LookupBudget},
    name::KeyName,
    negative,
    origin::{Origin, OriginAnswer, Origins, Place},
    work::{KeyZone, WorkBudget},
};
use crate::{
    base::{
        config,
        message::{Query, Question, absolute_name},
        metrics::Source,
        view::View,
    },
    sources::packets::Search,
};

/// What stands for the zone files where a key stands for its packet.
pub(super) const ZONE_FILES: [u8; 32] = *b"the zone files of [[origin]] ...";

/// The origins, and what each of them may look up for strangers.
#[derive(Default)]
pub(super) struct ServedOrigins {
    origins: Origins,
    budgets: HashMap<Name, Arc<LookupBudget>, RandomState>,
}

impl ServedOrigins {
    /// Budgets are those of `old` where that has the same.
    pub(super) fn new(origins: Origins, settings: &[config::Origin], old: Option<&Self>) -> Self {
        let per_minute = |apex: &Name| {
            let mut settings = settings.iter();
            let of_this = settings.find(|it| absolute_name(&it.name).is_some_and(|name| name == *apex));
            of_this.and_then(|it| it.lookups_per_minute).unwrap_or(LOOKUPS_PER_MINUTE)
        };
        let budget = |origin: &Origin| {
            let per_minute = per_minute(origin.apex());
            let old = old.and_then(|old| old.budgets.get(origin.apex()).cloned());
            let old = old.filter(|old| old.per_minute() == per_minute);
            (origin.apex().clone(), old.unwrap_or_else(|| Arc::new(LookupBudget::new(per_minute))))
        };
        Self { budgets: origins.iter().map(budget).collect(), origins }
    }

    /// The origin that a name is in.
    pub(super) fn of(&self, name: &Name) -> Option<&Origin> {
        self.origins.of(name)
    }

    /// Whether they say the same.
    pub(super) fn is_as(&self, other: &Self) -> bool {
        self.origins == other.origins
    }

    /// Whether a key may be looked up for a stranger who asks for a name in this zone of it.
    pub(super) fn admits(&self, zone: &Name, search: Search, address: IpAddr, is_proven: bool) -> bool {
        let budget = self.of(zone).and_then(|origin| self.budgets.get(origin.apex()));
        budget.is_some_and(|budget| budget.admits(search, address, is_proven))
    }
}

impl Resolver {
    /// Whether there are names for everybody.
    pub fn has_origins(&self) -> bool {
        !self.0.origins.origins.is_empty()
    }

    /// Whether a question is about a name for everybody.
    pub fn is_in_origin(&self, question: &Question) -> bool {
        question.class() == DNSClass::IN && self.0.origins.of(&question.name()).is_some()
    }

    /// Answers a stranger. An alias is followed for as long as that leads on: whoever asks can do so as well, so that what
    /// fails behind one leaves the answer as it is up to there.
    pub(super) async fn resolve_in_origin(
        &self,
        query: &Query,
        address: IpAddr,
        chain: &mut Chain,
    ) -> Result<Resolved, ResolveError> {
        let mut budget = WorkBudget::new();
        let mut name = query.question.name();
        while chain.visit(&name) {
            let origin = self.0.origins.of(&name).ok_or(ResolveError::Access)?;
            match self.step_origin(query, address, &name, origin, &mut budget, chain).await {
                Ok(Step::Follow(target)) => name = target,
                Ok(Step::Done) => break,
                Err(_) if chain.links > 0 => break,
                Err(error) => return Err(error),
            }
        }
        Ok(self.end(query, chain))
    }

    /// What there is of an answer to a stranger when its time is over.
    pub(super) fn so_far(&self, query: &Query, chain: &mut Chain) -> Option<Resolved> {
        (query.view == View::Origin && chain.links > 0).then(|| self.end(query, chain))
    }

    /// Answers with authority, from the zone file or the packet of a key.
    pub(super) async fn step_origin(
        &self,
        query: &Query,
        address: IpAddr,
        name: &Name,
        origin: &Origin,
        budget: &mut WorkBudget,
        chain: &mut Chain,
    ) -> Result<Step, ResolveError> {
        let asked = query.question.record_type();
        let is_resolving = query.view != View::Origin && query.recursion_desired;
        chain.source = Source::Origin;
        self.note_own(&ZONE_FILES, chain);
        let answer = match origin.place_with(name, |key| Some(budget.zone(key)?.key().clone())) {
            Place::Static => origin.from_file(name, looked_up(asked)),
            Place::NotACurvePoint { .. } => origin.absent(self.0.negative_ttl),
            Place::Key(key) => self.answer_of_key(query, address, name, (origin, key), budget, chain).await?,
        };
        if !answer.is_authoritative && is_resolving {
            if asked == RecordType::ANY {
                // As anywhere else: nobody is asked for everything.
                chain.append(ResponseCode::NoError, negative::any(name.clone()).answers, Vec::new());
                return Ok(Step::Done);
            }
            return self.step_icann(query, address, name, budget, chain).await;
        }
        let is_bare = answer.code == ResponseCode::NoError && answer.answers.is_empty();
        let answer = match asked == RecordType::ANY && answer.is_authoritative && is_bare {
            true => OriginAnswer {
                answers: negative::any(name.clone()).answers,
                authorities: Vec::new(),
                ..answer
            },
            false => answer,
        };
        if chain.links == 0 {
            chain.answer.authoritative = answer.is_authoritative;
        }
        let is_inside = |target: &Name| origin.apex().zone_of(target);
        match answer.follow.filter(|target| asked != RecordType::ANY && (is_resolving || is_inside(target))) {
            Some(target) => {
                for record in answer.answers {
                    match record.data {
                        RData::CNAME(_) => chain.link(record),
                        _ => chain.answer.answers.push(record),
                    }
                }
                Ok(Step::Follow(target))
            }
            None => {
                let ends_here = answer.answers.iter().all(|record| record.record_type() != RecordType::CNAME);
                if query.view != View::Origin && !(answer.is_authoritative && ends_here) {
                    // With RD there is more to be said, to whoever asks next.
                    chain.fresh_for = Duration::ZERO;
                }
                chain.append(answer.code, answer.answers, answer.authorities);
                chain.answer.additionals = answer.additionals;
                Ok(Step::Done)
            }
        }
    }

    async fn answer_of_key(
        &self,
        query: &Query,
        address: IpAddr,
        name: &Name,
        (origin, asked): (&Origin, KeyName),
        budget: &mut WorkBudget,
        chain: &mut Chain,
    ) -> Result<OriginAnswer, ResolveError> {
        chain.by_key = true;
        if budget.zone(asked.key.as_bytes()).is_none() {
            if self.denies(&asked, chain) {
                return Ok(origin.absent(self.0.negative_ttl));
            }
            chain.revisions.push(self.revisions().current(asked.key.as_bytes()));
        }
        let known = match self.zone(query, address, &asked, budget, chain).await? {
            KeyZone::Known(known) => known,
            KeyZone::Absent => return Ok(origin.absent(self.0.negative_ttl)),
        };
        let found = &known.found;
        let record_type = looked_up(query.question.record_type());
        let mut answer = origin.from_packet(&known.zone, &asked, name, record_type, self.0.negative_ttl);
        let age = |records: &mut Vec<Record>, left: fn(u32, &_) -> u32| {
            records.iter_mut().for_each(|record| record.ttl = left(record.ttl, found));
        };
        age(&mut answer.answers, ttl);
        age(&mut answer.authorities, lent_ttl);
        Ok(answer)
    }
}

/// Of everything that there is a client gets one set (RFC 8482 section 4.1). No name has to have one of this type.
fn looked_up(asked: RecordType) -> RecordType {
    if asked == RecordType::ANY { RecordType::HINFO } else { asked }
}
