//! Both families of addresses, and what they share: one budget of datagrams, one source of numbers.

use std::{net::SocketAddr, time::Instant};

use super::{
    budget::{Budget, Urgency},
    command::{Piece, Step},
    family::{Family, Purpose},
    random::Random,
};
use crate::{
    DhtSettings,
    krpc::{Id, Method},
    lookup::Request,
};

/// Of nodes that are known, the part that is left to IPv6 where both families are there. Nearly all of the DHT is in
/// IPv4.
const IPV6_PART: usize = 16;

/// Nodes handed out or taken in at a time: a millisecond's work, so that no datagram waits for longer.
pub(crate) const NODES_AT_ONCE: usize = 1024;

/// IPv4 first, as nearly all of the DHT is there.
#[derive(Debug)]
pub(super) struct Families {
    members: [Option<Family>; 2],
    budget: Budget,
    random: Random,
    /// Requests that the budget did not allow.
    pub(super) withheld: u64,
}

impl Families {
    /// Those of the addresses that we are bound to.
    pub(super) fn new(addresses: &[SocketAddr], settings: &DhtSettings, now: Instant) -> Self {
        let mut members = [None, None];
        let has_both = [true, false].iter().all(|v4| addresses.iter().any(|it| it.is_ipv4() == *v4));
        for address in addresses {
            let places = places(settings.max_nodes, address.is_ipv4(), has_both);
            if let Some(member) = members.get_mut(Self::index_of(*address)) {
                *member = Some(Family::new(Id::random(), address.is_ipv4(), places, now));
            }
        }
        let budget = Budget::new(settings.max_datagrams_per_second, now);
        Self { members, budget, random: Random::new(), withheld: 0 }
    }

    pub(super) fn get(&self, index: usize) -> Option<&Family> {
        self.members.get(index)?.as_ref()
    }

    pub(super) fn get_mut(&mut self, index: usize) -> Option<&mut Family> {
        self.members.get_mut(index)?.as_mut()
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &Family> {
        self.members.iter().flatten()
    }

    pub(super) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Family> {
        self.members.iter_mut().flatten()
    }

    /// Some of the nodes that are known, and where to go on.
    pub(super) fn piece(&self, (index, from): Step) -> Piece {
        let Some(member) = self.members.get(index) else { return (Vec::new(), None) };
        let heard = member.as_ref().filter(|family| family.table.has_heard());
        let (nodes, next) =
            heard.map_or((Vec::new(), None), |family| family.table.piece(from, NODES_AT_ONCE));
        let next = match next {
            Some(next) => (index, next),
            None => (index + 1, 0),
        };
        (nodes, Some(next).filter(|(index, _)| *index < self.members.len()))
    }

    /// The family that the address belongs to.
    pub(super) fn index_of(address: SocketAddr) -> usize {
        usize::from(address.is_ipv6())
    }

    /// The machine may have slept.
    pub(super) fn wake(&mut self) {
        self.members.iter_mut().flatten().for_each(Family::wake);
    }

    /// Whether the budget allows one more datagram, which then has to be sent.
    pub(super) fn may_send(&mut self, urgency: Urgency, now: Instant) -> bool {
        let may = self.budget.take(urgency, now);
        self.withheld += u64::from(!may);
        may
    }

    /// Sends a request that the budget has allowed.
    pub(super) fn ask(
        &mut self,
        index: usize,
        to: Request,
        method: Method<'_>,
        purpose: Purpose,
        now: Instant,
    ) {
        self.ask_at(index, to.address, Some(to), method, purpose, now);
    }

    /// As [`Families::ask`], a node whose id may not be known.
    pub(super) fn ask_at(
        &mut self,
        index: usize,
        address: SocketAddr,
        known: Option<Request>,
        method: Method<'_>,
        purpose: Purpose,
        now: Instant,
    ) {
        if let (Some(Some(family)), Some(number)) = (self.members.get_mut(index), self.random.number()) {
            family.ask(address, known.map(|node| node.id), method, purpose, number, now);
        }
    }
}

/// How many nodes of a family of addresses are known at most.
fn places(max_nodes: usize, is_ipv4: bool, has_both: bool) -> usize {
    match (has_both, is_ipv4) {
        (false, _) => max_nodes,
        (true, false) => max_nodes / IPV6_PART,
        (true, true) => max_nodes - max_nodes / IPV6_PART,
    }
}
