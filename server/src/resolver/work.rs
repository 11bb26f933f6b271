//! How far one client query may go, and the zones that it has read on its way.

use std::{net::IpAddr, sync::Arc};

use pkdns_dht::signed_packet::PublicKey;

use super::{
    Resolver, chain::Chain, challenge::is_challenge, error::ResolveError, name::KeyName, zone::Zone,
};
use crate::{
    base::{client::Line, message::Query, metrics::Farthest, view::View},
    sources::packets::{Asker, FetchError, Found, PacketAnswer, Search},
};

/// Questions to others for one client query: packets, upstream questions and questions to name servers alike.
const WORK_BUDGET: u32 = 16;

/// Keys that one client query may lead through. Each costs arithmetic on the curve, and a search in the DHT where its
/// packet is not here; chains that people write lead through two.
const MAX_ZONES: usize = 10;

/// How far one client query may go, whatever it leads to. Shared by everything that is done for it and never reset:
/// chains, delegations and address look-ups would multiply otherwise.
#[derive(Debug)]
pub(super) struct WorkBudget {
    left: u32,
    /// What was paid for, so that a chain within a zone reads its packet once. No more than the budget allows.
    zones: Vec<Arc<KnownZone>>,
}

/// A packet and the zone in it, for as long as one query takes.
#[derive(Debug)]
pub(super) struct KnownZone {
    pub(super) zone: Zone,
    pub(super) found: Found,
}

/// What there is of a key.
pub(super) enum KeyZone {
    /// A packet.
    Known(Arc<KnownZone>),
    /// Nothing.
    Absent,
}

impl WorkBudget {
    pub(super) fn new() -> Self {
        Self { left: WORK_BUDGET, zones: Vec::new() }
    }

    pub(super) fn spend(&mut self) -> Result<(), ResolveError> {
        self.left = self.left.checked_sub(1).ok_or(ResolveError::WorkBudget)?;
        Ok(())
    }

    /// Whether there is room for the zone of one more key.
    pub(super) fn enter_zone(&self) -> Result<(), ResolveError> {
        if self.zones.len() < MAX_ZONES { Ok(()) } else { Err(ResolveError::WorkBudget) }
    }

    /// The zone of a key, if this query has been there.
    pub(super) fn zone(&self, key: &[u8; 32]) -> Option<Arc<KnownZone>> {
        self.zones.iter().find(|known| known.key().as_bytes() == key).cloned()
    }

    /// Reads a packet, once.
    pub(super) fn read(&mut self, found: Found) -> Arc<KnownZone> {
        let known = Arc::new(KnownZone { zone: Zone::parse(&found.packet), found });
        self.zones.push(known.clone());
        known
    }
}

impl KnownZone {
    pub(super) fn key(&self) -> &PublicKey {
        self.found.packet.key()
    }
}

impl Resolver {
    /// The zone of a key: the one that this query has read already, or what its packet says. The answer is good for as long as
    /// that is, and as stale.
    pub(super) async fn zone(
        &self,
        query: &Query,
        address: IpAddr,
        asked: &KeyName,
        budget: &mut WorkBudget,
        chain: &mut Chain,
    ) -> Result<KeyZone, ResolveError> {
        if let Some(known) = budget.zone(asked.key.as_bytes()) {
            chain.rests_on(&known.found);
            return Ok(KeyZone::Known(known));
        }
        budget.enter_zone()?;
        let has_to_be_new = is_challenge(query.question.wire_name());
        // Whoever asks a name server does not ask for recursion, which is how it comes to its own data.
        let is_looked_up = query.recursion_desired || self.0.origins.of(&asked.apex).is_some();
        let packet = match is_looked_up {
            true => {
                budget.spend()?;
                // In case that the time of the query ends first.
                let before = chain.farthest;
                chain.went_to(Farthest::Dht);
                let (found_in, packet) = self.find(query, address, asked, has_to_be_new).await;
                chain.farthest = before.max(found_in);
                packet?
            }
            // RFC 1035 section 4.1.1: nobody is to be asked, so only what is here counts.
            false => self.0.packets.held(&asked.key).await.ok_or(ResolveError::NotHeld)?,
        };
        let (fresh_for, refresh_in) = match &packet {
            PacketAnswer::Found(found) => (found.fresh_for, found.refresh_in),
            PacketAnswer::Absent(left) => (*left, *left),
        };
        chain.is_good_for(fresh_for, refresh_in, has_to_be_new);
        Ok(match packet {
            PacketAnswer::Found(found) => {
                chain.rests_on(&found);
                KeyZone::Known(budget.read(found))
            }
            PacketAnswer::Absent(_) => KeyZone::Absent,
        })
    }

    async fn find(
        &self,
        query: &Query,
        address: IpAddr,
        asked: &KeyName,
        has_to_be_new: bool,
    ) -> (Farthest, Result<PacketAnswer, ResolveError>) {
        let inner = &self.0;
        let asker = match query.view {
            View::Resolver | View::Bridged => Asker::Client(Line::of(address, query.is_proven)),
            View::Origin => Asker::Strangers,
        };
        let admit = |search| match query.view {
            // Nobody waits for what is looked for ahead of time, so that nobody is charged for it.
            View::Resolver | View::Bridged => {
                search == Search::Ahead || inner.lookup_quota.admit(address, query.is_proven)
            }
            View::Origin => inner.origins.admits(&asked.apex, search, address, query.is_proven),
        };
        let (found_in, packet) = match has_to_be_new {
            // Rare, and larger than the rest.
            true => {
                // Else forged datagrams would have an authority miss the challenge: a datagram is cut then, and whoever comes
                // over TCP has lookups apart from those.
                let held_will_do = query.view != View::Origin || query.is_proven;
                Box::pin(inner.packets.find_fresh(&asked.key, asker, admit, held_will_do)).await
            }
            false => inner.packets.find(&asked.key, asker, admit).await,
        };
        let packet = packet.map_err(|error| match (error, query.view) {
            (FetchError::Network(error), _) => ResolveError::Network(error),
            (FetchError::Refused, View::Resolver | View::Bridged) => ResolveError::LookupQuota,
            (FetchError::Refused, View::Origin) => ResolveError::OriginBudget,
        });
        (found_in, packet)
    }
}
