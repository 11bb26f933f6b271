//! The nodes that we know. Pure: time is an argument.
//!
//! Kademlia's table is dense near its own node, because a node answers for its neighbourhood. We answer for nothing
//! and look up keys anywhere, so the key space is divided evenly, into 512 buckets by the first 9 bits of the id: this
//! saves every lookup the same number of steps (compare section 4.2 of the Kademlia paper, which considers several bits
//! at a time for the same end). A table of one address family; it is bounded at 8192 nodes, about 2 MiB.

mod bucket;

use std::{
    collections::HashMap,
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::{krpc::Id, rtt::Rtt, subnet::Subnet};
use bucket::{BUCKET_SIZE, Bucket, Entry, FRESH};

/// Buckets, one for each prefix of 9 bits.
const BUCKETS: usize = 512;

/// Most nodes of one subnet in the whole table: 0.2 % of a full one, so that it takes hundreds of subnets to matter,
/// while the busiest hosters of honest nodes lose little.
const SUBNET_NODES: usize = 16;

/// A node that was handed out to be refreshed is left alone this long, so that the answer has time to come.
const REFRESH_PAUSE: Duration = Duration::from_secs(15);

/// This many lookups for the table's own sake are made before it is judged how dense the network is.
const PROBES: usize = 4;

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
    buckets: Vec<Bucket>,
    /// A bit for each bucket that is not empty.
    occupied: [u64; BUCKETS / 64],
    /// The node at each address.
    ids: HashMap<SocketAddr, Id>,
    subnets: HashMap<Subnet, usize>,
    /// When any node last answered.
    heard: Option<Instant>,
}

impl RoutingTable {
    /// The node answered a query of ours after `rtt`. The only way into the table: what others say about a node is not
    /// believed.
    pub fn answered(&mut self, id: Id, address: SocketAddr, rtt: Duration, now: Instant) {
        self.heard = Some(now);
        // Whoever changes its id gives up the place it had, and so cannot fill the table from one address.
        if self.ids.get(&address).is_some_and(|known| *known != id) {
            self.remove(address);
        }
        let known = self.buckets.get_mut(bucket_of(&id)).and_then(|bucket| bucket.find_mut(&id));
        if let Some(entry) = known {
            if entry.contact.address == address {
                return entry.answered(rtt, now);
            }
            // Somebody claims the id of a node that answers elsewhere.
            if entry.failing.is_none() {
                return;
            }
            let previous = entry.contact.address;
            self.remove(previous);
        }
        self.insert(Contact { id, address, rtt: Some(Rtt::first(rtt)), stores: true }, now);
    }

    /// The node did not answer in time. The second time in a row it leaves, provided that some other node has answered
    /// since the first: when nobody does, it is our own connection that fails.
    pub fn failed(&mut self, id: &Id, address: SocketAddr, now: Instant) {
        let heard = self.heard;
        let known = self.buckets.get_mut(bucket_of(id)).and_then(|bucket| bucket.find_mut(id));
        let Some(entry) = known.filter(|entry| entry.contact.address == address) else { return };
        match entry.failing {
            None => entry.failing = Some(now),
            Some(since) if heard >= Some(since) => self.remove(address),
            Some(_) => {}
        }
    }

    /// The node has said that its program has no BEP 44. It stays: it knows others.
    pub fn stores_nothing(&mut self, id: &Id, address: SocketAddr) {
        let known = self.buckets.get_mut(bucket_of(id)).and_then(|bucket| bucket.find_mut(id));
        if let Some(entry) = known.filter(|entry| entry.contact.address == address) {
            entry.contact.stores = false;
        }
    }

    /// Up to `count` known nodes, nearest to `target` first. Failing ones are among them: one lost datagram is no
    /// reason to pass over a node.
    pub fn closest(&self, target: &Id, count: usize) -> Vec<Contact> {
        let wanted = count.min(self.len());
        let mut closest = Vec::with_capacity(wanted.saturating_add(BUCKET_SIZE));
        for bucket in self.occupied_from(bucket_of(target)) {
            if closest.len() >= wanted {
                break;
            }
            let nearer = closest.len();
            closest.extend(bucket.entries.iter().map(|entry| entry.contact));
            if let Some(added) = closest.get_mut(nearer..) {
                added.sort_unstable_by_key(|contact: &Contact| distance(&contact.id, target));
            }
        }
        closest.truncate(wanted);
        closest
    }

    /// What is known of the node.
    pub fn contact(&self, id: &Id, address: SocketAddr) -> Option<Contact> {
        let entry = self.buckets.get(bucket_of(id))?.find(id)?;
        Some(entry.contact).filter(|contact| contact.address == address)
    }

    /// All nodes, in the order of the key space as far as buckets go.
    pub fn contacts(&self) -> impl Iterator<Item = Contact> + '_ {
        self.entries().map(|entry| entry.contact)
    }

    /// How many nodes are known.
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// How many nodes have been silent for 15 minutes or did not answer the last query.
    pub fn questionable(&self, now: Instant) -> usize {
        self.entries().filter(|entry| entry.is_questionable(now)).count()
    }

    /// The node that has been silent longest, if that is over 15 minutes, to be pinged. It is not named again for some
    /// seconds. Looks at every node.
    pub fn next_to_refresh(&mut self, now: Instant) -> Option<Contact> {
        let since = |at| now.saturating_duration_since(at);
        let entries = self.buckets.iter_mut().flat_map(|bucket| &mut bucket.entries);
        let entry = entries
            .filter(|entry| since(entry.answered) > FRESH)
            .filter(|entry| entry.refreshed.is_none_or(|at| since(at) > REFRESH_PAUSE))
            .min_by_key(|entry| entry.answered)?;
        entry.refreshed = Some(now);
        Some(entry.contact)
    }

    /// A lookup for `target` has ended, so that those near it who answer are known.
    pub fn looked_up(&mut self, target: &Id, now: Instant) {
        if let Some(bucket) = self.buckets.get_mut(bucket_of(target)) {
            bucket.looked_up = Some(now);
        }
    }

    /// A target in the emptiest part of the table, for a lookup that fills it. `None` when it is not worth one: the
    /// part was looked at within 15 minutes, or parts that were looked at show that the network has no more nodes. At
    /// most one target per part and 15 minutes.
    pub fn sparse_prefix(&mut self, now: Instant) -> Option<Id> {
        if self.is_empty() {
            return None;
        }
        let looked_up = || self.buckets.iter().filter(|bucket| bucket.looked_up.is_some());
        let nodes: usize = looked_up().map(|bucket| bucket.entries.len()).sum();
        let expected = nodes.checked_div(looked_up().count()).unwrap_or(0);
        let probing = looked_up().filter(|bucket| bucket.looked_up_lately(now)).count() < PROBES;
        let sparse = if probing { BUCKET_SIZE / 2 } else { expected / 2 };
        let (index, bucket) = self
            .buckets
            .iter_mut()
            .enumerate()
            .filter(|(_, bucket)| bucket.entries.len() < sparse && !bucket.looked_up_lately(now))
            // Reversed bits: parts that follow each other are far apart.
            .min_by_key(|(index, bucket)| (bucket.entries.len(), index.reverse_bits()))?;
        bucket.looked_up = Some(now);
        Some(random_in(index))
    }

    fn insert(&mut self, contact: Contact, now: Instant) {
        let index = bucket_of(&contact.id);
        let subnet = Subnet::of(contact.address.ip());
        let Some(bucket) = self.buckets.get(index) else { return };
        let crowded = subnet.filter(|subnet| {
            let in_table = self.subnets.get(subnet).copied().unwrap_or(0);
            in_table >= SUBNET_NODES || bucket.is_crowded(*subnet)
        });
        if crowded.is_some() || bucket.is_full() {
            // A crowded subnet has to give up a place of its own.
            let Some(replaced) = bucket.replaceable(crowded, now) else { return };
            let replaced = replaced.contact.address;
            self.remove(replaced);
        }
        let Some(bucket) = self.buckets.get_mut(index) else { return };
        bucket.entries.push(Entry::new(contact, subnet, now));
        self.ids.insert(contact.address, contact.id);
        if let Some(subnet) = subnet {
            *self.subnets.entry(subnet).or_default() += 1;
        }
        self.note_occupied(index);
    }

    fn remove(&mut self, address: SocketAddr) {
        let Some(index) = self.ids.remove(&address).map(|id| bucket_of(&id)) else { return };
        if let Some(bucket) = self.buckets.get_mut(index) {
            bucket.entries.retain(|entry| entry.contact.address != address);
        }
        if let Some(subnet) = Subnet::of(address.ip())
            && let Some(nodes) = self.subnets.get_mut(&subnet)
        {
            *nodes = nodes.saturating_sub(1);
            if *nodes == 0 {
                self.subnets.remove(&subnet);
            }
        }
        self.note_occupied(index);
    }

    fn note_occupied(&mut self, index: usize) {
        let occupied = self.buckets.get(index).is_some_and(|bucket| !bucket.entries.is_empty());
        if let Some(word) = self.occupied.get_mut(index / 64) {
            let bit = 1 << (index % 64);
            *word = if occupied { *word | bit } else { *word & !bit };
        }
    }

    /// Buckets that are not empty, the one at `nearest` first, then by their distance to it.
    fn occupied_from(&self, nearest: usize) -> impl Iterator<Item = &Bucket> {
        let words = (0..self.occupied.len()).filter_map(move |distance| {
            let index = (nearest / 64) ^ distance;
            let word = *self.occupied.get(index)?;
            (word != 0).then_some((index, word))
        });
        words.flat_map(move |(index, word)| {
            let bits = (0..64).map(move |distance| (nearest % 64) ^ distance);
            bits.filter(move |bit| (word >> bit) & 1 == 1)
                .filter_map(move |bit| self.buckets.get(index * 64 + bit))
        })
    }

    fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.buckets.iter().flat_map(|bucket| &bucket.entries)
    }
}

impl Default for RoutingTable {
    fn default() -> Self {
        Self {
            buckets: std::iter::repeat_with(Bucket::default).take(BUCKETS).collect(),
            occupied: Default::default(),
            ids: HashMap::new(),
            subnets: HashMap::new(),
            heard: None,
        }
    }
}

/// The first 9 bits.
fn bucket_of(id: &Id) -> usize {
    let [first, second, ..] = *id.as_bytes();
    (usize::from(first) << 1) | usize::from(second >> 7)
}

/// As a number, greatest byte first.
fn distance(one: &Id, other: &Id) -> [u8; 20] {
    *one.xor(other).as_bytes()
}

/// Any id of the bucket `index`.
fn random_in(index: usize) -> Id {
    let [_, second, rest @ ..] = *Id::random().as_bytes();
    let [.., high, low] = (index << 7).to_be_bytes();
    let mut bytes = [0; 20];
    let [first_byte, second_byte, others @ ..] = &mut bytes;
    (*first_byte, *second_byte, *others) = (high, low | (second & 0x7f), rest);
    Id::from(bytes)
}

#[cfg(test)]
mod tests;
