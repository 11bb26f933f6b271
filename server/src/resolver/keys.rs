//! Names in the zones of keys: answered from the packet, or by the name servers that it names.

use std::net::IpAddr;

use hickory_proto::{
    op::ResponseCode,
    rr::{Name, RData, Record, RecordType},
};

use super::{
    Resolver, Step,
    chain::{Chain, lent_ttl, ttl},
    error::ResolveError,
    name::{self, KeyName},
    negative,
    work::{KeyZone, WorkBudget},
    zone::{ZoneAnswer, present, present_data},
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
                chain.negative(true, negative::soa(&asked.apex, 1, self.0.negative_ttl));
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
        let record_type = query.question.record_type();
        let deny = |chain: &mut Chain, is_missing: bool| {
            let soa = out(zone.soa(self.0.negative_ttl));
            // A zone begins here, whether or not its packet spends bytes on saying so.
            match record_type == RecordType::SOA && *name == asked.apex {
                true => chain.append(ResponseCode::NoError, vec![soa], Vec::new()),
                false => chain.negative(is_missing, soa),
            }
        };
        let follow = |chain: &mut Chain, record: Record, target: Name| {
            let record = here(record);
            let target = match &record.data {
                RData::CNAME(target) if is_moved => target.0.to_lowercase(),
                _ => target,
            };
            chain.link(record);
            target
        };
        match zone.lookup_below(&asked.apex, name, record_type) {
            ZoneAnswer::Records(records) => {
                chain.append(ResponseCode::NoError, records.into_iter().map(here).collect(), Vec::new());
                Ok(Step::Done)
            }
            ZoneAnswer::Alias(record, target) => Ok(Step::Follow(follow(chain, *record, target))),
            ZoneAnswer::Renamed(renaming, alias) => {
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
            ZoneAnswer::Delegated(delegation) => {
                if !self.0.delegations.is_enabled() {
                    deny(chain, !delegation.is_held);
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
            lookup @ (ZoneAnswer::NoData | ZoneAnswer::NxDomain) => {
                deny(chain, lookup == ZoneAnswer::NxDomain);
                Ok(Step::Done)
            }
        }
    }
}
