//! Both families of addresses, and what they share: one budget of datagrams, one source of numbers.

use std::{net::SocketAddr, time::Instant};

use super::{
    budget::{Budget, Urgency},
    command::{Piece, Step},
    family::{FamilyState, Purpose},
    random::Random,
};
use crate::{
    DhtSettings,
    family::{Family, PerFamily},
    krpc::{Id, Method},
    lookup::Request,
};

/// Of nodes that are known, the part that is left to IPv6 where both families are there. Nearly all of the DHT is in
/// IPv4.
const IPV6_PART: usize = 16;

/// Nodes handed out or taken in at a time: a millisecond's work, so that no datagram waits for longer.
pub(crate) const NODES_AT_ONCE: usize = 1024;

/// The families that there are.
#[derive(Debug)]
pub(super) struct Families {
    members: PerFamily<Option<FamilyState>>,
    line: Line,
}

/// What the families share.
#[derive(Debug)]
struct Line {
    budget: Budget,
    random: Random,
    /// Requests that the budget did not allow.
    withheld: u64,
}

/// A family that there is, and all that it takes to send something there.
#[derive(Debug)]
pub(super) struct Member<'a> {
    pub(super) family: Family,
    pub(super) state: &'a mut FamilyState,
    line: &'a mut Line,
}

impl Families {
    /// Those of the addresses that we are bound to.
    pub(super) fn new(addresses: &[SocketAddr], settings: &DhtSettings, now: Instant) -> Self {
        let mut members = PerFamily::default();
        let is_bound = |family| addresses.iter().any(|address| Family::of(*address) == family);
        let has_both = Family::ALL.into_iter().all(is_bound);
        for family in addresses.iter().map(|address| Family::of(*address)) {
            let places = places(settings.max_nodes, family, has_both);
            members[family] = Some(FamilyState::new(Id::random(), family, places, now));
        }
        let budget = Budget::new(settings.max_datagrams_per_second, now);
        Self { members, line: Line { budget, random: Random::new(), withheld: 0 } }
    }

    pub(super) fn get(&self, family: Family) -> Option<&FamilyState> {
        self.members[family].as_ref()
    }

    pub(super) fn get_mut(&mut self, family: Family) -> Option<&mut FamilyState> {
        self.members[family].as_mut()
    }

    pub(super) fn member(&mut self, family: Family) -> Option<Member<'_>> {
        let state = self.members[family].as_mut()?;
        Some(Member { family, state, line: &mut self.line })
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &FamilyState> {
        self.members.values().flatten()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut FamilyState> {
        self.members.values_mut().flatten()
    }

    /// Whether any node of the family is known.
    pub(super) fn has_nodes(&self, family: Family) -> bool {
        self.get(family).is_some_and(|state| !state.table.is_empty())
    }

    /// Requests that the budget did not allow, since the start.
    pub(super) fn withheld(&self) -> u64 {
        self.line.withheld
    }

    /// Some of the nodes that are known, and where to go on.
    pub(super) fn piece(&self, Step { family, place }: Step) -> Piece {
        let heard = self.get(family).filter(|state| state.table.has_heard());
        let (nodes, next) = heard.map(|state| state.table.piece(place, NODES_AT_ONCE)).unwrap_or_default();
        let next = match (next, family) {
            (Some(place), family) => Some(Step { family, place }),
            (None, Family::V4) => Some(Step { family: Family::V6, place: 0 }),
            (None, Family::V6) => None,
        };
        (nodes, next)
    }
}

impl Member<'_> {
    /// Whether the budget allows one more datagram, which then has to be sent.
    pub(super) fn may_send(&mut self, urgency: Urgency, now: Instant) -> bool {
        let may = self.line.budget.take(urgency, now);
        self.line.withheld += u64::from(!may);
        may
    }

    /// Sends a request that the budget has allowed.
    pub(super) fn ask(&mut self, to: Request, method: Method<'_>, purpose: Purpose, now: Instant) {
        self.ask_at(to.address, Some(to.id), method, purpose, now);
    }

    /// As [`Member::ask`], a node whose id may not be known.
    pub(super) fn ask_at(
        &mut self,
        address: SocketAddr,
        id: Option<Id>,
        method: Method<'_>,
        purpose: Purpose,
        now: Instant,
    ) {
        if let Some(number) = self.line.random.number() {
            self.state.ask(address, id, method, purpose, number, now);
        }
    }
}

/// How many nodes of a family of addresses are known at most.
fn places(max_nodes: usize, family: Family, has_both: bool) -> usize {
    match (has_both, family) {
        (false, _) => max_nodes,
        (true, Family::V6) => max_nodes / IPV6_PART,
        (true, Family::V4) => max_nodes - max_nodes / IPV6_PART,
    }
}
