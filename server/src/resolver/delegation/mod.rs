//! Name servers that a packet names for its zone: found, asked, and believed for that zone alone.

mod servers;

use std::{
    collections::{HashMap, VecDeque},
    net::{IpAddr, SocketAddr},
};

use ahash::RandomState;
use hickory_proto::{
    op::ResponseCode,
    rr::{DNSClass, Name, RData, Record, RecordType},
};
use servers::NameServers;

use super::{
    Resolver,
    chain::Chain,
    error::ResolveError,
    name::{Route, move_zone},
    work::{KeyZone, WorkBudget},
    zone::{Delegation, Zone, ZoneAnswer},
};
use crate::{
    base::{
        access::is_private,
        config,
        message::{MAX_CHAIN, Message, Query, Question, address},
    },
    sources::forward::{ExchangeError, Flags},
};

/// Servers of one zone that are tried (NXNSAttack: a zone may name hundreds), and addresses of each in each family.
const MAX_SERVERS: usize = 4;
const MAX_ADDRESSES: usize = 2;

/// The types that hold their addresses, in the order in which they are asked.
const FAMILIES: [RecordType; 2] = [RecordType::A, RecordType::AAAA];

/// What came of servers that did not help.
#[derive(Debug, Default)]
struct Trouble {
    /// One answered, and not for this zone.
    is_lame: bool,
    is_silent: bool,
    /// One could not be asked, for no fault of its own.
    is_ours: bool,
}

/// Which name servers may be asked, and how.
#[derive(Debug)]
pub(super) struct Delegations {
    enabled: bool,
    port: u16,
    allow_private: bool,
    servers: NameServers,
}

/// What a name server said, without anything it has no say in. Names are in the zone's canonical spelling.
pub(super) struct DelegatedReply {
    pub(super) code: ResponseCode,
    /// CNAME records from the name that was asked for, then the RRset.
    pub(super) answers: Vec<Record>,
    /// Where the last CNAME leads, when the reply does not say more.
    pub(super) target: Option<Name>,
    /// NXDOMAIN or NODATA.
    pub(super) is_negative: bool,
    /// The SOA of a negative answer, from the zone.
    pub(super) soa: Option<Record>,
}

impl Delegations {
    pub(super) fn new(settings: &config::Delegation) -> Self {
        Self {
            enabled: settings.enabled,
            port: settings.port,
            allow_private: settings.allow_private,
            servers: NameServers::new(),
        }
    }

    /// Other settings. What is known of servers, and what is under way, stays.
    pub(super) fn with(&self, settings: &config::Delegation) -> Self {
        Self {
            enabled: settings.enabled,
            port: settings.port,
            allow_private: settings.allow_private,
            servers: self.servers.clone(),
        }
    }

    pub(super) fn is_enabled(&self) -> bool {
        self.enabled
    }

    /// Whether addresses of the own network may be asked as well.
    pub(super) fn may_ask_privately(&self) -> bool {
        self.allow_private
    }

    /// Whoever holds a key could otherwise make this server send packets into the network behind it.
    pub(super) fn may_ask(&self, address: IpAddr) -> bool {
        self.allow_private || !is_private(address)
    }
}

impl Resolver {
    /// Asks the servers of `delegation` in turn, at one address of each family before the second of one, and those that are
    /// known to be dead after all others.
    pub(super) async fn ask_delegation(
        &self,
        zone: &Zone,
        delegation: &Delegation,
        name: &Name,
        query: &Query,
        client: IpAddr,
        budget: &mut WorkBudget,
    ) -> Result<DelegatedReply, ResolveError> {
        let failed = || ResolveError::Delegation(delegation.at.to_ascii());
        let record_type = query.question.record_type();
        let question = Question::new(name, record_type, DNSClass::IN).ok_or_else(failed)?;
        let flags = Flags {
            recursion_desired: false,
            dnssec_ok: query.dnssec_ok(),
            checking_disabled: query.checking_disabled,
        };
        let delegations = &self.0.delegations;
        let mut trouble = Trouble::default();
        let mut ask = async |address| {
            let server = SocketAddr::new(address, delegations.port);
            match delegations
                .servers
                .ask(zone.apex(), server, &question, flags, client, query.is_proven)
                .await
            {
                Ok(message) => {
                    let reply = read(&message, zone, delegation, name, record_type);
                    trouble.is_lame |= reply.is_none();
                    Ok(reply)
                }
                // At the next server it would be no different.
                Err(ExchangeError::Busy) => Err(ResolveError::DelegationBusy),
                Err(error) => {
                    trouble.is_ours |= error.is_ours();
                    trouble.is_silent |= !error.is_ours();
                    Ok(None)
                }
            }
        };
        let mut last = Vec::new();
        for server in delegation.servers.iter().take(MAX_SERVERS) {
            // The other family is looked up when it is needed.
            let mut families: [Option<VecDeque<IpAddr>>; 2] = [None, None];
            for turn in 0..MAX_ADDRESSES * families.len() {
                let family = turn % families.len();
                let Some(addresses) = families.get_mut(family) else { break };
                if addresses.is_none() {
                    let found = self.server_addresses(zone, server, family, query, client, budget).await?;
                    let may_ask = found.into_iter().filter(|address| delegations.may_ask(*address));
                    let (dead, alive): (Vec<_>, Vec<_>) =
                        may_ask.partition(|address| delegations.servers.is_dead(*address));
                    last.extend(dead.into_iter().take(MAX_ADDRESSES));
                    *addresses = Some(alive.into());
                }
                let Some(address) = addresses.as_mut().and_then(VecDeque::pop_front) else { continue };
                budget.spend()?;
                if let Some(reply) = ask(address).await? {
                    return Ok(reply);
                }
            }
        }
        for address in last {
            budget.spend()?;
            if let Some(reply) = ask(address).await? {
                return Ok(reply);
            }
        }
        // Servers that answer without knowing the zone: their names were pasted along from a registrar. The packet has
        // the name, and what it has there is all that there is.
        let Trouble { is_lame, is_silent, is_ours } = trouble;
        if is_lame && !is_silent && !is_ours && delegation.is_held {
            return Ok(DelegatedReply {
                code: ResponseCode::NoError,
                answers: Vec::new(),
                target: None,
                is_negative: true,
                soa: None,
            });
        }
        Err(if is_ours { ResolveError::DelegationBusy } else { failed() })
    }

    /// Addresses of a name server in the family [`FAMILIES`]`[family]`: from the packet itself, from another key's packet, or
    /// from an upstream.
    async fn server_addresses(
        &self,
        zone: &Zone,
        server: &Name,
        family: usize,
        query: &Query,
        client: IpAddr,
        budget: &mut WorkBudget,
    ) -> Result<Vec<IpAddr>, ResolveError> {
        let Some(record_type) = FAMILIES.get(family).copied() else { return Ok(Vec::new()) };
        if zone.apex().zone_of(server) {
            return Ok(held_addresses(zone, server, record_type));
        }
        match self.classify(server, budget) {
            Route::PublicKey(other) if self.0.denied.of(&other.key).is_some() => Ok(Vec::new()),
            Route::PublicKey(other) => {
                // How long its address is good for is nothing to the answer, and it is farther than any packet.
                let read = self.zone(query, client, &other, budget, &mut Chain::new()).await;
                let Ok(KeyZone::Known(known)) = read else {
                    return Ok(Vec::new());
                };
                let name = move_zone(server, &other.apex, known.zone.apex());
                Ok(name.map(|name| held_addresses(&known.zone, &name, record_type)).unwrap_or_default())
            }
            Route::Icann => match self.ask_upstream(server, record_type, query, client, budget).await {
                Ok(reply) => Ok(reply.answers.iter().filter_map(|record| address(&record.data)).collect()),
                Err(error @ ResolveError::WorkBudget) => Err(error),
                Err(_) => Ok(Vec::new()),
            },
            Route::NotACurvePoint { .. } | Route::Special(_) => Ok(Vec::new()),
        }
    }
}

fn held_addresses(zone: &Zone, server: &Name, record_type: RecordType) -> Vec<IpAddr> {
    zone.set(server, record_type).iter().filter_map(|record| address(&record.data)).collect()
}

/// Takes from a reply what the server of this zone may say about `name`. `None` is a reply that helps nobody: an
/// error, or a referral to yet other servers.
fn read(
    message: &Message,
    zone: &Zone,
    delegation: &Delegation,
    name: &Name,
    record_type: RecordType,
) -> Option<DelegatedReply> {
    if !matches!(message.code, ResponseCode::NoError | ResponseCode::NXDomain) {
        return None;
    }
    let own = |record: &&Record| record.dns_class == DNSClass::IN && delegation.at.zone_of(&record.name);
    // Each record is looked at once, however many there are for each link of a chain.
    let mut by_owner: HashMap<&Name, Vec<&Record>, RandomState> = HashMap::default();
    for record in message.answers.iter().filter(own) {
        by_owner.entry(&record.name).or_default().push(record);
    }
    let mut answers = Vec::new();
    let mut at = name.clone();
    let mut target = None;
    // Each round takes one CNAME; the chain as a whole is bounded by who asked.
    for _ in 0..=MAX_CHAIN {
        let here = by_owner.get(&at).map(Vec::as_slice).unwrap_or_default();
        let of_type = here.iter().filter(|record| record.record_type() == record_type);
        let set: Vec<Record> = of_type.copied().cloned().collect();
        if !set.is_empty() {
            answers.extend(set);
            target = None;
            break;
        }
        let alias = here.iter().find_map(|record| match &record.data {
            RData::CNAME(target) => Some((*record, target.0.to_lowercase())),
            _ => None,
        });
        let Some((record, next)) = alias else {
            break;
        };
        answers.push(record.clone());
        target = Some(next.clone());
        at = next;
        // The packet comes first here too: what it holds, or leaves to other servers, is not for this one to say.
        let leads_back =
            |lookup| matches!(lookup, ZoneAnswer::Delegated(Delegation { at, .. }) if at == delegation.at);
        if !leads_back(zone.lookup(&at, record_type)) {
            break;
        }
    }
    let soa = message
        .authorities
        .iter()
        .filter(own)
        .find(|record| record.record_type() == RecordType::SOA)
        .cloned();
    let is_negative = answers.is_empty();
    let refers = message.authorities.iter().any(|record| record.record_type() == RecordType::NS);
    if is_negative && soa.is_none() && refers {
        return None;
    }
    // A name that the packet has exists, whatever its servers say.
    let is_missing = is_negative && !delegation.is_held;
    let code = if is_missing { message.code } else { ResponseCode::NoError };
    Some(DelegatedReply { code, answers, target, is_negative, soa })
}
