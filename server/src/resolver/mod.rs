//! Finds the answer to any question: classify, then ask the packets, the forwarder or the table of special names.
//! A CNAME or a delegation leads back to where it started, within one work budget per client query.

mod bridged;
mod browser_check;
mod chain;
mod challenge;
mod chaos;
mod delegation;
mod denial;
pub mod denied;
mod discovery;
pub mod error;
mod icann;
pub mod inspection;
mod keys;
mod local;
mod lookup_budget;
pub mod name;
mod negative;
mod nxdomain;
pub mod origin;
mod origins;
mod proofs;
mod rebinding;
mod renewal;
pub mod site;
pub mod special;

#[cfg(test)]
mod tests;
mod work;
pub mod zone;

use std::{
    net::IpAddr,
    sync::{Arc, atomic::AtomicBool},
    time::Duration,
};

pub use crate::sources::packets::PATIENCE_WITH_STALE;
use bridged::BridgeRules;
pub use browser_check::OwnZone;
use chain::Chain;
pub use chain::Resolved;
use chaos::Identity;
use delegation::Delegations;
use discovery::Discovery;
use error::ResolveError;
use hickory_proto::{
    op::ResponseCode,
    rr::{DNSClass, Name, RecordType},
};
use local::LocalNames;
pub use local::check_hosts_files;
use name::{Route, Suffixes};
use nxdomain::NxDomains;
use origin::Origins;
use origins::ServedOrigins;
use proofs::Proofs;
use rebinding::RebindProtection;
use renewal::{lookup_quota, negative_ttl, suffixes};
use tokio::time::timeout;
use work::WorkBudget;

use crate::{
    base::{
        access::Forwarders,
        config::Config,
        message::{LONGEST_TTL, Query},
        metrics::Source,
        rate_limit::SplitLimiter,
        revisions::Revisions,
        view::View,
    },
    resolver::denied::DeniedKeys,
    sources::{forward::Forwarder, packets::Packets},
};

/// A query is answered within this time, with SERVFAIL if need be: before stub resolvers give up (5 s).
pub const DEADLINE: Duration = Duration::from_millis(4500);

/// Failures are remembered this long, so that those who ask again at once do not add to the trouble (RFC 9520).
pub const FAILURE_LIFETIME: Duration = Duration::from_secs(5);

/// Answers are not kept longer than their TTLs may be, absences not longer than an hour (RFC 2308 section 5).
const LONGEST_LIFETIME: Duration = Duration::from_secs(LONGEST_TTL as u64);
const LONGEST_NEGATIVE_LIFETIME: Duration = Duration::from_secs(3600);

/// Answers questions. Cheap to clone.
#[derive(Clone)]
pub struct Resolver(Arc<Inner>);

struct Inner {
    suffixes: Suffixes,
    packets: Packets,
    forwarder: Arc<Forwarder>,
    delegations: Delegations,
    lookup_quota: Arc<SplitLimiter>,
    forwarders: Forwarders,
    nxdomains: Arc<NxDomains>,
    proofs: Arc<Proofs>,
    rebind_protection: RebindProtection,
    identity: Identity,
    discovery: Discovery,
    own_zone: Arc<OwnZone>,
    origins: Arc<ServedOrigins>,
    negative_ttl: u32,
    local: Option<Arc<LocalNames>>,
    denied: DeniedKeys,
    bridge: BridgeRules,
    /// Whether another resolver has taken its place, so that what it says of this server itself may be out of date.
    is_replaced: AtomicBool,
}

/// What one step of a chain leads to.
enum Step {
    Done,
    Follow(Name),
}

impl Resolver {
    /// A resolver as configured, with these zones of its own, and lists of keys that others go by as well.
    pub fn with_origins(
        config: &Config,
        packets: Packets,
        forwarder: Arc<Forwarder>,
        origins: Origins,
        denied: DeniedKeys,
    ) -> Self {
        let forwarders = Forwarders::new(config.rate_limit.forwarders.clone());
        let suffixes = suffixes(config);
        Self(Arc::new(Inner {
            bridge: BridgeRules::new(config, &suffixes),
            local: LocalNames::open(&config.local, &suffixes, packets.revisions()),
            suffixes,
            packets,
            delegations: Delegations::new(&config.delegation),
            forwarder,
            lookup_quota: lookup_quota(config, &forwarders),
            forwarders,
            nxdomains: Arc::new(NxDomains::new(config.cache.max_entries)),
            proofs: Arc::new(Proofs::new()),
            rebind_protection: RebindProtection::new(&config.rebind_protection),
            identity: Identity::new(&config.identity),
            discovery: Discovery::new(config),
            own_zone: Arc::new(OwnZone::new()),
            origins: Arc::new(ServedOrigins::new(origins, &config.origin, None)),
            negative_ttl: negative_ttl(config),
            denied,
            is_replaced: AtomicBool::new(false),
        }))
    }

    /// Answers `query` for the client at `address`, within [`DEADLINE`]. Cannot fail: an error is an answer too.
    pub async fn resolve(&self, query: &Query, address: IpAddr) -> Resolved {
        let mut chain = Chain::new();
        let resolved = timeout(DEADLINE, self.try_resolve(query, address, &mut chain)).await;
        let resolved =
            resolved.unwrap_or_else(|_| self.so_far(query, &mut chain).ok_or(ResolveError::Deadline));
        // A failure, too, is out of date when one of the packets is that led there.
        resolved.unwrap_or_else(|error| {
            let farthest = chain.farthest;
            Resolved { revisions: chain.revisions, farthest, ..Resolved::from(error) }
        })
    }

    /// Which packets have been replaced by newer ones.
    pub fn revisions(&self) -> &Arc<Revisions> {
        self.0.packets.revisions()
    }

    /// Whether a name is answered from a key's packet or refused as a key; the rest comes from others.
    pub fn is_key_name(&self, name: &Name) -> bool {
        self.0.suffixes.reads_as_key(name)
    }

    /// Where a name is answered. Of the keys that this query has read, nobody has to find out what they are.
    fn classify(&self, name: &Name, budget: &WorkBudget) -> Route {
        self.0.suffixes.classify_with(name, |key| Some(budget.zone(key)?.key().clone()))
    }

    async fn try_resolve(
        &self,
        query: &Query,
        address: IpAddr,
        chain: &mut Chain,
    ) -> Result<Resolved, ResolveError> {
        let record_type = query.question.record_type();
        match query.question.class() {
            DNSClass::IN => {}
            DNSClass::CH => {
                return self.0.identity.answer(&query.question.name(), record_type).map(Resolved::own);
            }
            _ => return Err(ResolveError::Class),
        }
        match record_type {
            RecordType::ANY if !self.is_in_origin(&query.question) => {
                return Ok(Resolved::own(negative::any(query.question.name())));
            }
            RecordType::ANY => {}
            // Transfers and other meta types (RFC 6895 section 3.1), and OPT, which is no question.
            _ if (128..=254).contains(&u16::from(record_type))
                || record_type == RecordType::OPT
                || record_type == RecordType::ZERO =>
            {
                return Err(ResolveError::QuestionType);
            }
            _ => {}
        }

        if query.view == View::Origin {
            return Box::pin(self.resolve_in_origin(query, address, chain)).await;
        }
        let mut budget = WorkBudget::new();
        let mut name = query.question.name();
        loop {
            if !chain.visit(&name) {
                return Err(ResolveError::Chain);
            }
            match self.step_local(&name, record_type, chain) {
                Some(Step::Done) => return Ok(self.end(query, chain)),
                Some(Step::Follow(target)) => {
                    name = target;
                    continue;
                }
                None => {}
            }
            if self.0.discovery.concerns(&name) {
                self.note_own(&discovery::OWN_NAMES, chain);
            }
            if let Some(own) = self.0.discovery.answer(&name, record_type) {
                chain.source = Source::Special;
                chain.append(own.code, own.answers, own.authorities);
                return Ok(self.end(query, chain));
            }
            if let Some(origin) = self.0.origins.of(&name) {
                let step = Box::pin(self.step_origin(query, address, &name, origin, &mut budget, chain));
                match step.await? {
                    Step::Done => return Ok(self.end(query, chain)),
                    Step::Follow(target) => name = target,
                }
                continue;
            }
            let step = match self.classify(&name, &budget) {
                Route::PublicKey(zone) if self.0.own_zone.is(&zone.key) => {
                    chain.source = Source::Local;
                    let denial = self.0.own_zone.answer(&name, &zone.apex);
                    match self.lead_from_own_zone(query, &name) {
                        Some(records) => chain.append(ResponseCode::NoError, records, denial.authorities),
                        None => chain.append(denial.code, denial.answers, denial.authorities),
                    }
                    Step::Done
                }
                Route::PublicKey(zone) => {
                    if query.view == View::Bridged {
                        let led = self.answer_bridged(query, address, &name, &zone, &mut budget, chain);
                        if let Some(resolved) = Box::pin(led).await? {
                            return Ok(resolved);
                        }
                    }
                    self.step_key(query, address, &name, zone, &mut budget, chain).await?
                }
                Route::NotACurvePoint { apex } => {
                    chain.source = Source::Key;
                    chain.negative(true, negative::soa(&apex, 1, self.0.negative_ttl));
                    Step::Done
                }
                Route::Icann
                    if self.keeps_back(&name, record_type)
                        && let Some(step) =
                            self.step_kept_back(&name, query, address, &mut budget, chain).await =>
                {
                    step
                }
                Route::Special(special) if self.answers_itself(special, &name, record_type) => {
                    self.step_special(special, query, address, &name, &mut budget, chain).await
                }
                Route::Special(_) | Route::Icann => {
                    self.step_icann(query, address, &name, &mut budget, chain).await?
                }
            };
            match step {
                Step::Done => {
                    self.keep_above_local(&name, query, chain);
                    return Ok(self.end(query, chain));
                }
                Step::Follow(target) => name = target,
            }
        }
    }
}
