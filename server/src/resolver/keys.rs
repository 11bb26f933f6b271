//! Names in the zones of keys: answered from the packet, or by the name servers that it names.

use std::net::IpAddr;

use hickory_proto::{
    op::ResponseCode,
    rr::{Name, RData, Record},
};

use super::{
    Resolver, Step,
    chain::{Chain, lent_ttl, stale_error, ttl},
    error::ResolveError,
    name::{self, KeyName},
    negative,
    work::{KeyZone, WorkBudget},
    zone::{Lookup, present, present_data},
};
use crate::{
    base::{
        message::Query,
        metrics::{Farthest, Source},
    },
    sources::packets::Found,
};

impl Resolver {
    /// Answers from the packet of a key, or from the name servers that it names.
    pub(super) async fn step_key(
        &self,
        query: &Query,
        address: IpAddr,
        name: &Name,
        asked: KeyName,
        budget: &mut WorkBudget,
        chain: &mut Chain,
    ) -> Result<Step, ResolveError> {
        chain.by_key = true;
        chain.source = Source::Key;
        if budget.zone(asked.key.as_bytes()).is_none() {
            if self.denies(&asked, chain) {
                chain.negative(true, negative::soa(&asked.apex, 1, self.0.negative_ttl));
                return Ok(Step::Done);
            }
            chain.revisions.push(self.revisions().current(asked.key.as_bytes()));
        }
        let known = match self.zone(query, address, &asked, budget, chain).await? {
            KeyZone::Known(known) => known,
            KeyZone::Absent => {
                chain.answer.code = ResponseCode::NXDomain;
                chain.answer.authorities = vec![negative::soa(&asked.apex, 1, self.0.negative_ttl)];
                return Ok(Step::Done);
            }
        };
        let (zone, found) = (&known.zone, &known.found);
        let show = |record: Record, ttl: fn(u32, &Found) -> u32| {
            let mut record = present(record, zone.apex(), &asked.apex);
            record.ttl = ttl(record.ttl, found);
            record
        };
        let out = |record| show(record, ttl);
        let is_moved = *zone.apex() != asked.apex;
        // Of records that stand at the name that was asked for.
        let here = |mut record: Record| {
            if is_moved {
                present_data(&mut record.data, zone.apex(), &asked.apex);
            }
            record.ttl = ttl(record.ttl, found);
            record
        };
        if let Some(why) = found.stale {
            chain.answer.extended_error = Some(stale_error(why));
        }
        let follow = |chain: &mut Chain, record: Record, target: Name| {
            let record = here(record);
            let target = match &record.data {
                RData::CNAME(target) if is_moved => target.0.to_lowercase(),
                _ => target,
            };
            chain.link(record);
            target
        };
        match zone.lookup_below(&asked.apex, name, query.question.record_type()) {
            Lookup::Records(records) => {
                chain.append(ResponseCode::NoError, records.into_iter().map(here).collect(), Vec::new());
                Ok(Step::Done)
            }
            Lookup::Alias(record, target) => Ok(Step::Follow(follow(chain, *record, target))),
            Lookup::Renamed(renaming, alias) => {
                chain.answer.answers.push(here(*renaming));
                Ok(match alias {
                    Some((record, target)) => Step::Follow(follow(chain, *record, target)),
                    // RFC 6672 section 2.2.
                    None => {
                        chain.append(ResponseCode::YXDomain, Vec::new(), Vec::new());
                        Step::Done
                    }
                })
            }
            Lookup::Delegated(delegation) => {
                if !self.0.delegations.is_enabled() {
                    chain.negative(!delegation.is_held, out(zone.soa(self.0.negative_ttl)));
                    return Ok(Step::Done);
                }
                if !query.recursion_desired {
                    return Err(ResolveError::NotHeld);
                }
                let own_name = name::move_zone(name, &asked.apex, zone.apex());
                // What is too long in the zone's own spelling cannot have been published.
                let own_name = own_name.unwrap_or_else(|| zone.apex().clone());
                chain.went_to(Farthest::NameServer);
                let reply = self.ask_delegation(zone, &delegation, &own_name, query, address, budget).await?;
                chain.by_name_server = true;
                chain.source = Source::NameServer;
                let lent = |record| show(record, lent_ttl);
                let records: Vec<Record> = reply.answers.into_iter().map(lent).collect();
                let follow = reply.target.map(|target| {
                    let moved = name::move_zone(&target, zone.apex(), &asked.apex);
                    moved.or_else(|| name::with_suffix_of(&target, &asked.apex)).unwrap_or(target)
                });
                if let Some(target) = follow {
                    records.into_iter().for_each(|record| chain.link(record));
                    return Ok(Step::Follow(target));
                }
                let soa = || match reply.soa {
                    Some(soa) => lent(negative::limit_ttl(soa)),
                    None => out(zone.soa(self.0.negative_ttl)),
                };
                let authorities = if reply.is_negative { vec![soa()] } else { Vec::new() };
                chain.append(reply.code, records, authorities);
                Ok(Step::Done)
            }
            lookup @ (Lookup::NoData | Lookup::NoName) => {
                let missing = lookup == Lookup::NoName;
                chain.negative(missing, out(zone.soa(self.0.negative_ttl)));
                Ok(Step::Done)
            }
        }
    }
}
