//! Names of which the zones above have signed that they do not exist. A validator behind this server believes no other
//! denial: it takes ours for a forgery, and answers SERVFAIL.
//!
//! Of reserved names the zone itself is asked about, which tells nobody what is in it: what denies `local` denies
//! `printer.local` (RFC 8020). Of names that are kept back nobody is asked for a client that may not validate. One that does
//! asks for their DS records itself, and so these are asked for at once.

use std::{
    net::IpAddr,
    num::NonZeroUsize,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use ahash::RandomState;
use hickory_proto::{
    op::ResponseCode,
    rr::{DNSClass, Name, RData, Record, RecordType},
};
use lru::LruCache;
use tokio::time::{Instant, timeout};

use super::{
    FAILURE_LIFETIME, LONGEST_NEGATIVE_LIFETIME, Resolver, Step, chain::Chain, error::Caveat, negative::soa,
    special::SpecialZone, work::WorkBudget,
};
use crate::{
    base::{
        message::{Message, Query, Question},
        metrics::Source,
    },
    sources::forward::Asker,
};

/// Names that are remembered: reserved zones, and single labels that validators asked about.
const MAX_PROOFS: NonZeroUsize = NonZeroUsize::new(256).unwrap();

/// Clients of which it is remembered that they validate, and in seconds for how long: the keys of zones are good for a day.
const MAX_VALIDATORS: NonZeroUsize = NonZeroUsize::new(256).unwrap();
const VALIDATES_FOR: Duration = Duration::from_secs(86_400);

/// What the zones above say is waited for this long. Our own denial does without.
const LONGEST_WAIT: Duration = Duration::from_secs(1);

/// What the zones above said of names, and which clients want to know.
#[derive(Debug)]
pub(super) struct Proofs {
    proofs: Mutex<LruCache<Name, Proof, RandomState>>,
    validators: Mutex<LruCache<IpAddr, Instant, RandomState>>,
}

#[derive(Debug, Clone)]
struct Proof {
    /// The denial; `None` if the name exists, or nobody said anything.
    denial: Option<Arc<Message>>,
    made: Instant,
    lifetime: Duration,
}

/// What is known of a name.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Known {
    Nothing,
    /// It is not denied.
    Exists,
    Denied(Denial),
}

/// A denial as it goes into an answer.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Denial {
    authorities: Vec<Record>,
    authentic: bool,
}

impl Proofs {
    pub(super) fn new() -> Self {
        Self {
            proofs: Mutex::new(LruCache::with_hasher(MAX_PROOFS, RandomState::new())),
            validators: Mutex::new(LruCache::with_hasher(MAX_VALIDATORS, RandomState::new())),
        }
    }

    /// A client has asked, with DO, for what nobody needs but a validator. Whoever forges that in its name has names of one
    /// label told to the upstreams, and nothing else.
    pub(super) fn validates(&self, client: IpAddr) {
        let mut validators = self.validators.lock().unwrap_or_else(PoisonError::into_inner);
        validators.put(client, Instant::now());
    }

    fn is_validator(&self, client: IpAddr) -> bool {
        let seen = self.validators.lock().unwrap_or_else(PoisonError::into_inner).get(&client).copied();
        seen.is_some_and(|seen| seen.elapsed() < VALIDATES_FOR)
    }

    /// Takes what was said of `name` to a question with DO; `None` where that is nothing.
    pub(super) fn learn(&self, name: &Name, said: Option<&Arc<Message>>) {
        let is_signed = |record: &Record| record.record_type() == RecordType::RRSIG;
        let denial = said.filter(|message| {
            message.code == ResponseCode::NXDomain && message.authorities.iter().any(is_signed)
        });
        let (denial, lifetime) = match (denial, said) {
            (Some(denial), _) => (Some(denial.clone()), lifetime(denial)),
            (None, Some(message)) if message.code == ResponseCode::NoError => (None, lifetime(message)),
            // Also a denial without signatures: who forges one must not gain anything.
            (None, _) => (None, FAILURE_LIFETIME),
        };
        let proof = Proof { denial, made: Instant::now(), lifetime };
        self.proofs.lock().unwrap_or_else(PoisonError::into_inner).put(name.clone(), proof);
    }

    fn get(&self, name: &Name) -> Known {
        let proof = self.proofs.lock().unwrap_or_else(PoisonError::into_inner).get(name).cloned();
        let Some(proof) = proof.filter(|proof| proof.made.elapsed() < proof.lifetime) else {
            return Known::Nothing;
        };
        let Some(denial) = proof.denial else { return Known::Exists };
        let age = u32::try_from(proof.made.elapsed().as_secs()).unwrap_or(u32::MAX);
        let mut authorities = denial.authorities.clone();
        authorities.iter_mut().for_each(|record| record.ttl = record.ttl.saturating_sub(age));
        Known::Denied(Denial { authorities, authentic: denial.authentic_data })
    }
}

/// Until the first of its records ends.
fn lifetime(message: &Message) -> Duration {
    let ttl = |record: &Record| match &record.data {
        RData::SOA(soa) => record.ttl.min(soa.minimum),
        _ => record.ttl,
    };
    let shortest = message.authorities.iter().map(ttl).min();
    let shortest = shortest.map_or(FAILURE_LIFETIME, |ttl| Duration::from_secs(ttl.into()));
    shortest.min(LONGEST_NEGATIVE_LIFETIME)
}

impl Resolver {
    /// Answers for a reserved name from the table, or denies it as the zones above do to whoever wants signatures.
    pub(super) async fn step_special(
        &self,
        special: SpecialZone,
        query: &Query,
        address: IpAddr,
        name: &Name,
        budget: &mut WorkBudget,
        chain: &mut Chain,
    ) -> Step {
        let answer = special.answer(name, query.question.record_type());
        if query.dnssec_ok() && query.recursion_desired && special.may_be_denied(name, &answer) {
            let zone = special.apex();
            if !self.is_above_local(&zone)
                && let Known::Denied(denial) = self.ask_above(&zone, query, address, budget).await
            {
                self.deny(denial, chain);
                return Step::Done;
            }
        }
        chain.source = Source::Special;
        chain.append(answer.code, answer.answers, answer.authorities);
        Step::Done
    }

    /// Answers for a name of one label that is not sent to public resolvers; `None` if it turns out to be a public one.
    pub(super) async fn step_kept_back(
        &self,
        name: &Name,
        query: &Query,
        address: IpAddr,
        budget: &mut WorkBudget,
        chain: &mut Chain,
    ) -> Option<Step> {
        if query.dnssec_ok() {
            let is_validator = query.recursion_desired && self.0.proofs.is_validator(address);
            let known = match self.0.proofs.get(name) {
                Known::Nothing if is_validator => self.ask_above(name, query, address, budget).await,
                known => known,
            };
            match known {
                Known::Denied(denial) => {
                    self.deny(denial, chain);
                    return Some(Step::Done);
                }
                Known::Exists => return None,
                // One that has just been started comes back when it has asked whether the name is signed.
                Known::Nothing => chain.fresh_for = Duration::ZERO,
            }
        }
        chain.source = Source::Special;
        // NODATA, because a denial of `com` would deny all below.
        chain.negative(false, soa(&Name::root(), 1, self.0.negative_ttl));
        chain.caveat = Some(Caveat::KeptBack);
        Some(Step::Done)
    }

    fn deny(&self, denial: Denial, chain: &mut Chain) {
        chain.by_upstream = true;
        chain.source = Source::Upstream;
        chain.append(ResponseCode::NXDomain, Vec::new(), denial.authorities);
        chain.answer.authentic = chain.links == 0 && denial.authentic;
    }

    /// What the zones above say of a name, which they are asked when it is not known.
    async fn ask_above(&self, zone: &Name, query: &Query, address: IpAddr, budget: &mut WorkBudget) -> Known {
        let known = self.0.proofs.get(zone);
        if known != Known::Nothing || budget.spend().is_err() {
            return known;
        }
        let Some(question) = Question::new(zone, RecordType::DS, DNSClass::IN) else { return known };
        let asker = Asker::Client { address, is_proven: query.is_proven };
        let asked = timeout(LONGEST_WAIT, self.0.forwarder.ask(asker, &question, true, false)).await;
        self.0.proofs.learn(zone, asked.ok().and_then(Result::ok).as_ref());
        self.0.proofs.get(zone)
    }
}

#[cfg(test)]
mod tests {
    use hickory_proto::rr::rdata::NULL;

    use super::*;

    fn said(code: ResponseCode, ttl: u32, is_signed: bool) -> Arc<Message> {
        let signature = RData::Unknown { code: RecordType::RRSIG, rdata: NULL::with(vec![0; 20]) };
        let signature = is_signed.then(|| Record::from_rdata(Name::root(), 3600, signature));
        Arc::new(Message {
            id: 0,
            truncated: false,
            authentic_data: true,
            code,
            answers: Vec::new(),
            authorities: [soa(&Name::root(), 1, ttl)].into_iter().chain(signature).collect(),
            additionals: Vec::new(),
            extended_error: None,
        })
    }

    #[tokio::test(start_paused = true)]
    async fn what_was_said_holds_for_as_long_as_its_shortest_record() {
        let (proofs, name) = (Proofs::new(), Name::from_ascii("local.").unwrap());
        assert_eq!(proofs.get(&name), Known::Nothing);
        let (denial, forged) =
            (said(ResponseCode::NXDomain, 60, true), said(ResponseCode::NXDomain, 60, false));
        for (said, expected, seconds) in [
            (Some(&denial), None, 60),
            (Some(&said(ResponseCode::NoError, 60, true)), Some(Known::Exists), 60),
            (Some(&said(ResponseCode::NoError, 100_000, true)), Some(Known::Exists), 3600),
            (Some(&forged), Some(Known::Exists), 5),
            (Some(&said(ResponseCode::ServFail, 60, true)), Some(Known::Exists), 5),
            (None, Some(Known::Exists), 5),
        ] {
            proofs.learn(&name, said);
            tokio::time::advance(Duration::from_secs(seconds - 1)).await;
            match expected {
                Some(expected) => assert_eq!(proofs.get(&name), expected),
                None => {
                    let Known::Denied(denial) = proofs.get(&name) else { panic!("it is not denied") };
                    assert!(denial.authentic);
                    assert_eq!(denial.authorities.iter().map(|record| record.ttl).min(), Some(1));
                }
            }
            tokio::time::advance(Duration::from_secs(1)).await;
            assert_eq!(proofs.get(&name), Known::Nothing);
        }
    }

    #[test]
    fn no_more_names_are_remembered_than_so_many() {
        let (proofs, denial) = (Proofs::new(), said(ResponseCode::NXDomain, 60, true));
        for number in 0..1000 {
            proofs.learn(&Name::from_ascii(format!("n{number}.")).unwrap(), Some(&denial));
        }
        assert_eq!(proofs.proofs.lock().unwrap().len(), MAX_PROOFS.get());
    }
}
