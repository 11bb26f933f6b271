//! The nodes that we know. Pure: time is an argument.
//!
//! Kademlia's table is dense near its own node, because a node answers for its neighbourhood. We answer for nothing
//! and look up keys anywhere, so the key space is divided evenly, into buckets by the first bits of the id, with some
//! 16 places each: this saves every lookup the same number of steps (compare section 4.2 of the Kademlia paper, which
//! considers several bits at a time for the same end). A table of one address family. A node of IPv4 takes 36 bytes,
//! one of IPv6 48, and some 9 to 14 more for the indexes: a million of them are 47 or 60 MB.

mod grid;
mod index;
mod packed;
mod rounds;
mod subnets;

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::{krpc::Id, rtt::Rtt, subnet::Subnet};
use grid::Grid;
use index::Index;
use packed::{Entry, Places};
use rounds::Rounds;
use subnets::Subnets;

/// Most nodes that a table can be told to hold.
pub const MAX_NODES: usize = 1 << 20;

/// Most nodes of one subnet in a bucket: a second one so that an address that changes within the subnet loses nothing.
const SUBNET_NODES: usize = 2;

/// A node that has been silent for longer is to be asked again (BEP 5).
const FRESH: Duration = Duration::from_secs(15 * 60);

/// Nodes asked in a second when idle, from which follows when each has had its turn. What has been silent for longer
/// gives up its place to any node that answers.
const TURNS_PER_SECOND: u32 = 16;

/// A node, and how long it takes to answer if that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contact {
    /// Its place in the key space.
    pub id: Id,
    /// Where it is.
    pub address: SocketAddr,
    /// How long it took to answer us before.
    pub rtt: Option<Rtt>,
    /// Whether it may hold values. `false` for a node whose program has no BEP 44: it answers error 204 to `get` and
    /// `put`, and is good for the way alone.
    pub stores: bool,
}

/// Known nodes, bounded.
#[derive(Debug)]
pub struct RoutingTable {
    start: Instant,
    /// Silent for longer, a node is replaceable.
    turn: Duration,
    grid: Grid,
    places: Places,
    /// The place of the node at each address.
    index: Index,
    subnets: Subnets,
    rounds: Rounds,
    /// When any node last answered, in tenths of a second since the start.
    heard: Option<u32>,
    unconfirmed: usize,
}

impl RoutingTable {
    /// For up to `max_nodes` of IPv4 or of IPv6, at most [`MAX_NODES`]. It takes the memory for them.
    pub fn new(max_nodes: usize, is_ipv4: bool, now: Instant) -> Self {
        let grid = Grid::new(max_nodes.min(MAX_NODES));
        let capacity = grid.capacity();
        let all = u32::try_from(capacity).unwrap_or(u32::MAX);
        Self {
            start: now,
            turn: FRESH.max(Duration::from_secs((all / TURNS_PER_SECOND).into())),
            places: Places::new(capacity, is_ipv4),
            index: Index::new(capacity),
            subnets: Subnets::new(capacity),
            rounds: Rounds::default(),
            heard: None,
            unconfirmed: 0,
            grid,
        }
    }

    /// The node answered a query of ours after `rtt`. Besides [`RoutingTable::remember`] the only way into the table:
    /// what others say about a node is not believed.
    pub fn answered(&mut self, id: Id, address: SocketAddr, rtt: Duration, now: Instant) {
        let since = self.tenths(now);
        self.heard = Some(since);
        // A node that changes its id gives up the place it had, and so cannot fill the table from one address.
        if let Some(place) = self.at(address).filter(|place| self.places.id(*place) != Some(id.as_bytes())) {
            self.vacate(place);
        }
        if let Some((place, mut entry)) = self.find(&id) {
            if entry.contact.address == address {
                let mut estimate = entry.contact.rtt.unwrap_or(Rtt::first(rtt));
                if entry.contact.rtt.is_some() {
                    estimate.observe(rtt);
                }
                entry.contact.rtt = Some(estimate);
                (entry.since, entry.is_failing, entry.is_asked) = (since, false, false);
                self.unconfirmed -= usize::from(std::mem::take(&mut entry.is_unconfirmed));
                return self.places.set(place, &entry);
            }
            // Somebody claims the id of a node that answers elsewhere.
            if !entry.is_failing && !entry.is_unconfirmed {
                return;
            }
            self.vacate(place);
        }
        let contact = Contact { id, address, rtt: Some(Rtt::first(rtt)), stores: true };
        let entry = Entry { contact, since, is_failing: false, is_unconfirmed: false, is_asked: false };
        self.insert(&entry, now);
    }

    /// A node of an earlier run. Lookups use it before it has answered, and its first failure removes it. It takes
    /// nobody's place, and gives its own to any node that answers.
    pub fn remember(&mut self, contact: Contact, now: Instant) {
        // Of a large file most find no room in a small table.
        let has_room = self.grid.free(self.grid.bucket_of(&contact.id)).is_some();
        if has_room && self.at(contact.address).is_none() && self.find(&contact.id).is_none() {
            let since = self.tenths(now);
            let entry = Entry { contact, since, is_failing: false, is_unconfirmed: true, is_asked: false };
            self.insert(&entry, now);
        }
    }

    /// The node did not answer in time. The second time in a row it leaves, provided that some other node has answered
    /// since the first: when nobody does, it is our own connection that fails.
    pub fn failed(&mut self, id: &Id, address: SocketAddr, now: Instant) {
        let since = self.tenths(now);
        let known = self.find(id).filter(|(_, entry)| entry.contact.address == address);
        let Some((place, mut entry)) = known else { return };
        if entry.is_failing || entry.is_unconfirmed {
            if self.heard >= Some(entry.since) {
                self.vacate(place);
            }
            return;
        }
        (entry.since, entry.is_failing, entry.is_asked) = (since, true, false);
        self.places.set(place, &entry);
    }

    /// The node has said that its program has no BEP 44. It stays: it knows others.
    pub fn stores_nothing(&mut self, id: &Id, address: SocketAddr) {
        let known = self.find(id).filter(|(_, entry)| entry.contact.address == address);
        if let Some((place, mut entry)) = known {
            entry.contact.stores = false;
            self.places.set(place, &entry);
        }
    }

    /// Up to `count` known nodes, nearest to `target` first. Failing ones are among them: one lost datagram is no
    /// reason to pass over a node.
    pub fn closest(&self, target: &Id, count: usize) -> Vec<Contact> {
        let wanted = count.min(self.len());
        let mut closest = Vec::with_capacity(wanted);
        let mut nearest = Vec::with_capacity(self.grid.size());
        for bucket in self.grid.outward(self.grid.bucket_of(target)) {
            if closest.len() >= wanted {
                break;
            }
            nearest.clear();
            nearest.extend(self.grid.places(bucket).filter_map(|place| {
                let id = Id::from(*self.places.id(place)?);
                Some((*id.xor(target).as_bytes(), place))
            }));
            nearest.sort_unstable();
            let contacts = nearest.iter().filter_map(|(_, place)| Some(self.places.get(*place)?.contact));
            closest.extend(contacts.take(wanted - closest.len()));
        }
        closest
    }

    /// What is known of the node at this address, if it has this id.
    pub fn known(&self, id: &Id, address: SocketAddr) -> Option<Contact> {
        let contact = self.places.get(self.at(address)?)?.contact;
        (contact.id == *id).then_some(contact)
    }

    /// Whether it answered the last time that it was asked in this run.
    pub fn is_reliable(&self, id: &Id, address: SocketAddr) -> bool {
        let entry = self.at(address).and_then(|place| self.places.get(place));
        entry.is_some_and(|entry| entry.contact.id == *id && !entry.is_failing && !entry.is_unconfirmed)
    }

    /// All nodes.
    pub fn contacts(&self) -> impl Iterator<Item = Contact> + '_ {
        (0..self.grid.buckets()).flat_map(|bucket| self.entries(bucket)).map(|(_, entry)| entry.contact)
    }

    /// Up to `most` nodes that do not fail, from step `from` on, and the step to go on at. They come so that a part of
    /// them, however small, is from the whole key space.
    pub fn piece(&self, from: usize, most: usize) -> (Vec<Contact>, Option<usize>) {
        let mut piece = Vec::with_capacity(most);
        let buckets = self.grid.buckets();
        for step in from..self.grid.capacity() {
            if piece.len() >= most {
                return (piece, Some(step));
            }
            let place = self.grid.visit(step) * self.grid.size() + step / buckets;
            let entry = self.places.get(place).filter(|_| self.grid.is_taken(place));
            piece.extend(entry.filter(|entry| !entry.is_failing).map(|entry| entry.contact));
        }
        (piece, None)
    }

    /// How many nodes are known.
    pub fn len(&self) -> usize {
        self.index.len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many have answered in this run.
    pub fn confirmed(&self) -> usize {
        self.len() - self.unconfirmed
    }

    /// Whether anybody has ever answered.
    pub fn has_heard(&self) -> bool {
        self.heard.is_some()
    }

    /// How many nodes it can hold.
    pub fn capacity(&self) -> usize {
        self.grid.capacity()
    }

    /// How many nodes did not answer the last query, or have been silent for longer than it takes to ask all.
    pub fn questionable(&self, now: Instant) -> usize {
        let buckets = (0..self.grid.buckets()).flat_map(|bucket| self.entries(bucket));
        buckets.filter(|(_, entry)| self.is_questionable(entry, now)).count()
    }

    /// Bytes of memory.
    #[cfg(test)]
    fn memory(&self) -> usize {
        let Self { grid, places, index, subnets, .. } = self;
        size_of::<Self>() + grid.memory() + places.memory() + index.memory() + subnets.memory()
    }

    fn insert(&mut self, entry: &Entry, now: Instant) {
        let Contact { id, address, .. } = entry.contact;
        if !self.places.take(address) {
            return;
        }
        let bucket = self.grid.bucket_of(&id);
        let subnet = Subnet::of(address.ip());
        let crowded = subnet.filter(|subnet| self.is_crowded(bucket, *subnet));
        let place = match self.grid.free(bucket).filter(|_| crowded.is_none()) {
            Some(place) => place,
            None if entry.is_unconfirmed => return,
            None => {
                // A crowded subnet has to give up a place of its own.
                let Some(place) = self.replaceable(bucket, crowded, entry, now) else { return };
                self.vacate(place);
                place
            }
        };
        let Ok(number) = u32::try_from(place) else { return };
        self.places.set(place, entry);
        self.grid.set(place, true);
        self.unconfirmed += usize::from(entry.is_unconfirmed);
        self.index.insert(address, number, |place| self.places.address(place));
        if let Some(subnet) = subnet {
            self.subnets.add(subnet);
        }
    }

    fn vacate(&mut self, place: usize) {
        let Some(entry) = self.places.get(place).filter(|_| self.grid.is_taken(place)) else { return };
        let address = entry.contact.address;
        self.index.remove(address, place);
        self.grid.set(place, false);
        self.unconfirmed -= usize::from(entry.is_unconfirmed);
        if let Some(subnet) = Subnet::of(address.ip()) {
            self.subnets.remove(subnet);
        }
    }

    /// The place to give up for a new node: that of one that fails, of one that has not answered in this run, of the
    /// one that has been silent too long. Nodes that answer stay: those that have been there for long are the likeliest
    /// to remain (Kademlia section 2.2), and a flood of new ones cannot displace them.
    ///
    /// Half of each bucket is for the quick: there a node also gives way to one that is twice as quick, and one without
    /// BEP 44 to any. So a flood of nodes from nearby gets half the places at most.
    fn replaceable(
        &self,
        bucket: usize,
        subnet: Option<Subnet>,
        newcomer: &Entry,
        now: Instant,
    ) -> Option<usize> {
        let of_subnet = |entry: &Entry| subnet.is_none() || Subnet::of(entry.contact.address.ip()) == subnet;
        let questionable = self.entries(bucket).filter(|(_, entry)| of_subnet(entry));
        let questionable = questionable.filter(|(_, entry)| self.is_questionable(entry, now));
        let worst = questionable
            .min_by_key(|(_, entry)| (!entry.is_failing, !entry.is_unconfirmed, entry.since))
            .map(|(place, _)| place);
        let slow = || {
            let rtt = newcomer.contact.rtt?.smoothed();
            let round_trip = |contact: &Contact| contact.rtt.map_or(Duration::MAX, |rtt| rtt.smoothed());
            self.entries(bucket)
                .filter(|(place, _)| subnet.is_none() && self.grid.is_late_place(*place))
                .map(|(place, entry)| (place, entry.contact))
                .filter(|(_, contact)| !contact.stores || round_trip(contact) / 2 > rtt)
                .max_by_key(|(_, contact)| (!contact.stores, round_trip(contact)))
                .map(|(place, _)| place)
        };
        worst.or_else(slow)
    }

    fn is_crowded(&self, bucket: usize, subnet: Subnet) -> bool {
        let neighbours = || {
            self.entries(bucket).filter(|(_, entry)| Subnet::of(entry.contact.address.ip()) == Some(subnet))
        };
        self.subnets.is_crowded(subnet) || neighbours().count() >= SUBNET_NODES
    }

    fn is_questionable(&self, entry: &Entry, now: Instant) -> bool {
        entry.is_failing || entry.is_unconfirmed || self.silence(entry, now) > self.turn
    }

    fn silence(&self, entry: &Entry, now: Instant) -> Duration {
        Duration::from_millis(100) * self.tenths(now).saturating_sub(entry.since)
    }

    /// The nodes of a bucket, with their places.
    fn entries(&self, bucket: usize) -> impl Iterator<Item = (usize, Entry)> + '_ {
        self.grid.places(bucket).filter_map(|place| Some((place, self.places.get(place)?)))
    }

    fn find(&self, id: &Id) -> Option<(usize, Entry)> {
        let mut places = self.grid.places(self.grid.bucket_of(id));
        let place = places.find(|place| self.places.id(*place) == Some(id.as_bytes()))?;
        Some((place, self.places.get(place)?))
    }

    /// The place of the node at this address.
    fn at(&self, address: SocketAddr) -> Option<usize> {
        self.index.find(address, |place| self.places.address(place))
    }

    fn tenths(&self, now: Instant) -> u32 {
        let tenths = now.saturating_duration_since(self.start).as_millis() / 100;
        u32::try_from(tenths).unwrap_or(u32::MAX)
    }
}

#[cfg(test)]
mod tests;
