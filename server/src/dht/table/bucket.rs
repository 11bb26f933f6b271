//! The nodes of one part of the key space.

use std::time::{Duration, Instant};

use super::{Contact, Id, Subnet};
use crate::dht::rtt::Rtt;

/// Most nodes of a bucket: k. BEP 5 has 8. Values lie on the 20 nearest nodes; with 16 for each 512th of the key space
/// a lookup begins next to them.
pub(super) const BUCKET_SIZE: usize = 16;

/// Most nodes of one subnet in a bucket: a second one so that an address that changes within the subnet loses nothing.
const SUBNET_NODES: usize = 2;

/// A node that has been silent for longer is questionable (BEP 5).
pub(super) const FRESH: Duration = Duration::from_secs(15 * 60);

#[derive(Debug, Default)]
pub(super) struct Bucket {
    pub(super) entries: Vec<Entry>,
    /// When a lookup last ended here.
    pub(super) looked_up: Option<Instant>,
}

#[derive(Debug)]
pub(super) struct Entry {
    pub(super) contact: Contact,
    pub(super) subnet: Option<Subnet>,
    pub(super) answered: Instant,
    /// Since when it does not answer.
    pub(super) failing: Option<Instant>,
    /// When it was handed out to be refreshed.
    pub(super) refreshed: Option<Instant>,
}

impl Bucket {
    pub(super) fn find(&self, id: &Id) -> Option<&Entry> {
        self.entries.iter().find(|entry| entry.contact.id == *id)
    }

    pub(super) fn find_mut(&mut self, id: &Id) -> Option<&mut Entry> {
        self.entries.iter_mut().find(|entry| entry.contact.id == *id)
    }

    pub(super) fn is_full(&self) -> bool {
        self.entries.len() >= BUCKET_SIZE
    }

    pub(super) fn is_crowded(&self, subnet: Subnet) -> bool {
        self.entries.iter().filter(|entry| entry.subnet == Some(subnet)).count() >= SUBNET_NODES
    }

    /// The node to give up for a new one: one that fails, else the one that has been silent longest. Nodes that answer
    /// stay: those that have been there for long are the likeliest to remain (Kademlia section 2.2), and a flood of
    /// new ones cannot displace them.
    pub(super) fn replaceable(&self, subnet: Option<Subnet>, now: Instant) -> Option<&Entry> {
        self.entries
            .iter()
            .filter(|entry| subnet.is_none() || entry.subnet == subnet)
            .filter(|entry| entry.is_questionable(now))
            .min_by_key(|entry| (entry.failing.is_none(), entry.answered))
    }

    pub(super) fn looked_up_lately(&self, now: Instant) -> bool {
        self.looked_up.is_some_and(|at| now.saturating_duration_since(at) < FRESH)
    }
}

impl Entry {
    pub(super) fn new(contact: Contact, subnet: Option<Subnet>, now: Instant) -> Self {
        Self { contact, subnet, answered: now, failing: None, refreshed: None }
    }

    pub(super) fn answered(&mut self, rtt: Duration, now: Instant) {
        match &mut self.contact.rtt {
            Some(estimate) => estimate.observe(rtt),
            None => self.contact.rtt = Some(Rtt::first(rtt)),
        }
        self.answered = now;
        self.failing = None;
    }

    pub(super) fn is_questionable(&self, now: Instant) -> bool {
        self.failing.is_some() || now.saturating_duration_since(self.answered) > FRESH
    }
}
