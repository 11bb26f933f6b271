//! Names that are not keys: asked of the upstream resolvers, or of those of a zone of its own.

use std::{net::IpAddr, sync::Arc};

use hickory_proto::{
    op::ResponseCode,
    rr::{DNSClass, Name, RecordType},
};

use super::{
    Resolver, Step,
    chain::{Chain, follow_aliases, wanted},
    error::{Caveat, ResolveError},
    special::SpecialZone,
    work::WorkBudget,
};
use crate::{
    base::{
        message::{Message, Query, Question},
        metrics::{Farthest, Source},
    },
    sources::forward::Asker,
};

impl Resolver {
    /// Answers from the upstream resolvers; a key or a local name at the end of their CNAME chain is ours again. Those of a
    /// zone of its own are the operator's: what they say of inner addresses is meant, and none of their denials holds for
    /// other names.
    pub(super) async fn step_icann(
        &self,
        query: &Query,
        address: IpAddr,
        name: &Name,
        budget: &mut WorkBudget,
        chain: &mut Chain,
    ) -> Result<Step, ResolveError> {
        let record_type = query.question.record_type();
        chain.source = Source::Upstream;
        let is_own_zone = self.0.forwarder.has_zone_of(name) && !self.is_above_own_zone(name, record_type);
        chain.by_upstream |= !is_own_zone;
        if !is_own_zone
            && !query.dnssec_ok()
            && let Some((soa, left)) = self.0.nxdomains.covers(name)
        {
            chain.source = Source::Cache;
            chain.fresh_for = chain.fresh_for.min(left);
            // The denial was validated, and so is what follows from it, unless an alias that was not signed leads here.
            chain.answer.authentic = chain.links == 0;
            chain.negative(true, soa);
            return Ok(Step::Done);
        }
        if !query.recursion_desired {
            return Err(ResolveError::NotHeld);
        }
        if query.dnssec_ok() && matches!(record_type, RecordType::DS | RecordType::DNSKEY) {
            self.0.proofs.validates(address);
        }
        chain.went_to(Farthest::Upstream);
        let message = self.ask_upstream(name, record_type, query, address, budget).await?;
        if query.dnssec_ok() && name.num_labels() == 1 && !is_own_zone {
            self.0.proofs.learn(name, Some(&message));
        }
        // Who asks for the CNAME itself is not led on (RFC 1034 section 3.6.2).
        let is_own = |target: &Name| self.is_key_name(target) || self.is_local_name(target);
        let leads_here = |target: &Name| record_type != RecordType::CNAME && is_own(target);
        let (links, target) = follow_aliases(&message.answers, name, leads_here);
        // What came before it was not signed in a way that an upstream could vouch for.
        chain.answer.authentic = chain.links == 0 && target.is_none() && message.authentic_data;
        // What is known of the chain so far, that it is stale for one, holds on.
        let said = message.extended_error.clone().map(Caveat::OfUpstream);
        chain.caveat = said.or(chain.caveat.take()).or_else(|| Caveat::of_failed_upstream(message.code));
        if let Some(target) = target {
            links.into_iter().for_each(|record| chain.link(record));
            return Ok(Step::Follow(target));
        }
        // With CD the upstream has not checked the denial, which others rely on that it does.
        if message.answers.is_empty() && !query.checking_disabled && !is_own_zone {
            self.0.nxdomains.learn(name, &message);
        }
        // Whoever was alone with this question gets the records themselves, of which there may be thousands.
        let Message { code, answers, authorities, additionals, .. } = Arc::unwrap_or_clone(message);
        let plain = |records| wanted(records, query.dnssec_ok(), record_type);
        if chain.links == 0 {
            chain.answer.additionals = plain(additionals);
        }
        // Codes that need OPT are between us and the upstream, and mean something else without it.
        let code = if code.high() == 0 { code } else { ResponseCode::ServFail };
        chain.append(code, plain(answers), plain(authorities));
        Ok(Step::Done)
    }

    /// Names such as `nas` or `wpad` mean something in the own network, and public resolvers need not hear of them. What
    /// a validator behind us asks about top-level domains is sent.
    pub(super) fn keeps_back(&self, name: &Name, record_type: RecordType) -> bool {
        let is_for_hosts =
            matches!(record_type, RecordType::A | RecordType::AAAA | RecordType::HTTPS | RecordType::SVCB);
        let forwarder = &self.0.forwarder;
        is_for_hosts
            && name.num_labels() == 1
            && forwarder.asks_public_resolvers_only()
            && !forwarder.has_zone_of(name)
    }

    /// Whether a reserved name is answered here. The own network may have such a zone, and whether one is signed is for its
    /// parent to say (RFC 8375 section 4).
    pub(super) fn answers_itself(&self, special: SpecialZone, name: &Name, record_type: RecordType) -> bool {
        !self.0.forwarder.has_zone_of(name) && !special.leaves_to_parent(name, record_type)
    }

    pub(super) async fn ask_upstream(
        &self,
        name: &Name,
        record_type: RecordType,
        query: &Query,
        address: IpAddr,
        budget: &mut WorkBudget,
    ) -> Result<Arc<Message>, ResolveError> {
        budget.spend()?;
        // The name came out of a message, so that it fits a question.
        let question = Question::new(name, record_type, DNSClass::IN).ok_or(ResolveError::Chain)?;
        let asker = Asker::Client { address, is_proven: query.is_proven };
        let forwarder = &self.0.forwarder;
        let (dnssec_ok, checking_disabled) = (query.dnssec_ok(), query.checking_disabled);
        let answer = match self.is_above_own_zone(name, record_type) {
            true => forwarder.ask_outside(asker, &question, dnssec_ok, checking_disabled).await,
            false => forwarder.ask(asker, &question, dnssec_ok, checking_disabled).await,
        };
        answer.map_err(ResolveError::Forward)
    }

    /// Whether a question is about the beginning of a reserved zone that the public delegates, and one that the zone above
    /// answers: those who resolve the zone in the own network do not know it, and could not sign it.
    fn is_above_own_zone(&self, name: &Name, record_type: RecordType) -> bool {
        SpecialZone::is_for_parent(name, record_type) && !self.0.forwarder.has_zone_of(&name.base_name())
    }
}
