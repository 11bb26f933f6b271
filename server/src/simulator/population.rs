//! All nodes, and whom each of them knows.

use std::{collections::HashMap, net::Ipv4Addr, ops::Range};

use mainline::Id;

use super::{
    World,
    node::{Node, Role},
    random::Random,
};

/// Nodes in a bucket, and nodes named in an answer (BEP 5).
pub(super) const BUCKET: usize = 8;

/// Nodes that store a key: as many as clients of today put to.
pub(super) const REPLICAS: usize = 20;

/// The second number of addresses that no node has, left to those that hostile nodes make up.
pub(super) const INVENTED: u8 = 255;

/// Nodes sorted by id. Numbers of nodes are places in this order, which change with [`Population::churn`].
#[derive(Debug)]
pub(super) struct Population {
    nodes: Vec<Node>,
    /// The first 64 bits of the ids. No two are alike.
    prefixes: Vec<u64>,
    by_address: HashMap<Ipv4Addr, u32>,
    /// The routing table of each node, from when it is first needed.
    tables: Vec<Option<Box<[u32]>>>,
    hostile: Vec<u32>,
    /// Addresses given out so far.
    addresses: u32,
    random: Random,
}

impl Population {
    pub(super) fn new(world: &World) -> Self {
        let mut random = Random::of(&[world.seed, 0]);
        let mut population = Self {
            nodes: Vec::with_capacity(world.nodes),
            prefixes: Vec::new(),
            by_address: HashMap::new(),
            tables: Vec::new(),
            hostile: Vec::new(),
            addresses: 0,
            random: Random::of(&[world.seed, 1]),
        };
        for role in roles(world, &mut random) {
            let node = population.born(role, world);
            population.nodes.push(node);
        }
        population.arrange();
        population
    }

    /// The node at an address.
    pub(super) fn at(&self, address: Ipv4Addr) -> Option<u32> {
        self.by_address.get(&address).copied()
    }

    pub(super) fn node(&self, number: u32) -> Option<&Node> {
        self.nodes.get(number as usize)
    }

    pub(super) fn node_mut(&mut self, number: u32) -> Option<&mut Node> {
        self.nodes.get_mut(number as usize)
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = &Node> {
        self.nodes.iter()
    }

    /// The nodes nearest to the target that there are, nearest first.
    pub(super) fn replicas(&self, target: &Id) -> Vec<u32> {
        let mut nearest = Nearest::to(target, REPLICAS);
        self.prefixes.iter().zip(0..).for_each(|(&prefix, number)| nearest.offer(prefix, number));
        nearest.numbers().collect()
    }

    /// The nodes nearest to the target that the node knows, nearest first.
    pub(super) fn known_to(&mut self, number: u32, target: &Id) -> impl Iterator<Item = &Node> {
        let mut nearest = Nearest::to(target, BUCKET);
        if let Some(missing @ None) = self.tables.get_mut(number as usize) {
            *missing = Some(table(&self.prefixes, number, &mut self.random));
        }
        let table = self.tables.get(number as usize).and_then(Option::as_deref).unwrap_or_default();
        table.iter().for_each(|&known| self.offer(&mut nearest, known));
        nearest.numbers().filter_map(|number| self.node(number))
    }

    /// The hostile nodes nearest to the target, without the one that names them.
    pub(super) fn hostile_near(&self, target: &Id, without: u32) -> impl Iterator<Item = &Node> {
        let mut nearest = Nearest::to(target, BUCKET);
        let others = self.hostile.iter().filter(|&&number| number != without);
        others.for_each(|&number| self.offer(&mut nearest, number));
        nearest.numbers().filter_map(|number| self.node(number))
    }

    /// Replaces a share of the nodes by others that hold nothing. The node at the first address stays.
    pub(super) fn churn(&mut self, share: f64, world: &World) {
        let first = self.at(Ipv4Addr::LOCALHOST);
        let mut leaving: Vec<_> = (0..).take(self.nodes.len()).filter(|&it| Some(it) != first).collect();
        self.random.shuffle(&mut leaving);
        leaving.truncate(part_of(self.nodes.len(), share));
        for number in leaving {
            let Some(role) = self.node(number).map(|node| node.role) else { continue };
            let newcomer = self.born(role, world);
            if let Some(node) = self.node_mut(number) {
                *node = newcomer;
            }
        }
        self.arrange();
    }

    fn offer(&self, nearest: &mut Nearest, number: u32) {
        if let Some(&prefix) = self.prefixes.get(number as usize) {
            nearest.offer(prefix, number);
        }
    }

    fn born(&mut self, role: Role, world: &World) -> Node {
        let (shortest, longest) = (*world.round_trip.start(), *world.round_trip.end());
        let round_trip = shortest + self.random.up_to(longest.saturating_sub(shortest));
        Node::new(self.random.id(), self.free_address(), role, round_trip)
    }

    /// The first is 127.0.0.1. The others are spread, because clients may trust few nodes of one network.
    fn free_address(&mut self) -> Ipv4Addr {
        loop {
            let number = self.addresses.wrapping_mul(0x9e_3779).wrapping_add(1) & 0xff_ffff;
            self.addresses = self.addresses.wrapping_add(1);
            let [_, a, b, c] = number.to_be_bytes();
            let address = Ipv4Addr::new(127, a, b, c);
            if number != 0 && a != INVENTED && !self.by_address.contains_key(&address) {
                return address;
            }
        }
    }

    /// Brings everything in line with the nodes.
    fn arrange(&mut self) {
        self.nodes.sort_by_key(|node| *node.id.as_bytes());
        // Random ids differ in their first 64 bits. Of two that do not, only one could be found.
        self.nodes.dedup_by_key(|node| prefix(&node.id));
        self.prefixes = self.nodes.iter().map(|node| prefix(&node.id)).collect();
        self.by_address = self.nodes.iter().map(|node| node.address).zip(0..).collect();
        self.tables = vec![None; self.nodes.len()];
        let is_hostile = |node: &Node| matches!(node.role, Role::Hostile(_));
        self.hostile =
            self.nodes.iter().zip(0..).filter(|(node, _)| is_hostile(node)).map(|(_, it)| it).collect();
    }
}

/// The candidates with the smallest distances so far, nearest first.
struct Nearest {
    target: u64,
    capacity: usize,
    found: Vec<(u64, u32)>,
}

impl Nearest {
    fn to(target: &Id, capacity: usize) -> Self {
        Self { target: prefix(target), capacity, found: Vec::with_capacity(capacity + 1) }
    }

    fn offer(&mut self, prefix: u64, number: u32) {
        let distance = prefix ^ self.target;
        if self.found.len() >= self.capacity {
            if self.found.last().is_none_or(|&(farthest, _)| farthest <= distance) {
                return;
            }
            self.found.pop();
        }
        let place = self.found.partition_point(|&(nearer, _)| nearer <= distance);
        self.found.insert(place, (distance, number));
    }

    fn numbers(self) -> impl Iterator<Item = u32> {
        self.found.into_iter().map(|(_, number)| number)
    }
}

/// The roles of all nodes. The first is honest, as others join through it.
fn roles(world: &World, random: &mut Random) -> Vec<Role> {
    let others = world.nodes.saturating_sub(1);
    let mut roles = vec![Role::Dead; part_of(world.nodes, world.dead)];
    for &(kind, share) in &world.hostile {
        roles.resize(roles.len() + part_of(world.nodes, share), Role::Hostile(kind));
    }
    roles.resize(others, Role::Honest);
    random.shuffle(&mut roles);
    roles.push(Role::Honest);
    roles.rotate_right(1);
    roles
}

/// Whom a node knows: of the nodes whose ids share exactly so many bits with its own, for each such number, as many as
/// fit in a bucket. Near its own id that is every node.
fn table(prefixes: &[u64], number: u32, random: &mut Random) -> Box<[u32]> {
    let Some(&own) = prefixes.get(number as usize) else { return Box::default() };
    let mut known = Vec::with_capacity(16 * BUCKET);
    let mut range = 0..prefixes.len();
    for bit in (0..u64::BITS).rev() {
        if range.len() <= 1 {
            break;
        }
        let is_set = |prefix: u64| prefix >> bit & 1 == 1;
        let zeros = prefixes.get(range.clone()).unwrap_or_default().partition_point(|&it| !is_set(it));
        let middle = range.start + zeros;
        let (near, bucket) = if is_set(own) {
            (middle..range.end, range.start..middle)
        } else {
            (range.start..middle, middle..range.end)
        };
        sample(bucket, random, &mut known);
        range = near;
    }
    known.into()
}

/// Adds a bucket's worth of different numbers from the range (Floyd's algorithm), or all there are.
fn sample(range: Range<usize>, random: &mut Random, known: &mut Vec<u32>) {
    let before = known.len();
    for last in range.end.saturating_sub(BUCKET).max(range.start)..range.end {
        let drawn = (range.start + random.below(last + 1 - range.start)) as u32;
        let is_new = !known.iter().skip(before).any(|&it| it == drawn);
        known.push(if is_new { drawn } else { last as u32 });
    }
}

fn prefix(id: &Id) -> u64 {
    id.as_bytes().first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes))
}

/// So many of `all` are this share of them.
pub(super) fn part_of(all: usize, share: f64) -> usize {
    (all as f64 * share).round() as usize
}
