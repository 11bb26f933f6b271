//! Both families of addresses, and what they share: one budget of datagrams, one source of numbers.

use std::{net::SocketAddr, time::Instant};

use super::{
    budget::{Budget, Urgency},
    family::{Family, Purpose},
    random::Random,
};
use crate::dht::{krpc::Method, lookup::Request};

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
    pub(super) fn new(members: [Option<Family>; 2], datagrams_per_second: u32, now: Instant) -> Self {
        let budget = Budget::new(datagrams_per_second, now);
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

    /// The family that the address belongs to.
    pub(super) fn index_of(address: SocketAddr) -> usize {
        usize::from(address.is_ipv6())
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
