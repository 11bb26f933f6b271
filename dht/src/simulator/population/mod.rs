//! All nodes, and whom each of them knows: functions of their numbers, but for what has happened since the start.

mod neighbours;
mod turnover;
mod whereabouts;

use std::{
    collections::{HashMap, VecDeque},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use mainline::Id;

use super::{
    Family, RoundTrips, World,
    addresses::Addresses,
    binding::Binding,
    ids::{Prefixes, prefix},
    item::StoredItem,
    node::{Held, Node, Role},
    permutation::Permutation,
    random::Random,
};

/// Nodes in a bucket, and nodes named in an answer (BEP 5).
pub(super) const BUCKET: usize = 8;

/// Nodes that store a key: as many as clients of today put to.
pub(super) const REPLICAS: usize = 20;

/// What a number is drawn for.
#[derive(Clone, Copy)]
enum Draw {
    Id = 10,
    RoundTrip,
    Bucket,
    Gone,
    Stay,
    Bound,
    Attackers,
}

/// All nodes. Their numbers are places in the order of ids. Who leaves is followed by another one near by, with the
/// same number and role.
#[derive(Debug)]
pub(super) struct Population {
    seed: u64,
    ids: Prefixes,
    /// From numbers to ranks, which decide about roles and addresses. The node of rank 0 is at the first address.
    order: Permutation,
    /// Nodes of lower rank have this role, but for those before.
    roles: Vec<(u32, Role)>,
    addresses: Addresses,
    round_trips: RoundTrips,
    /// Share of entries in tables that name who has gone.
    stale_entries: f64,
    on_living_only: bool,
    /// Nodes that are not the first of their number.
    newcomers: HashMap<u32, Newcomer>,
    /// They are at these addresses.
    moved_in: HashMap<IpAddr, u32>,
    /// The first address that has never been anybody's, and those that have been but are no more.
    next_address: u32,
    moved_out: VecDeque<IpAddr>,
    /// Share of ids that are bound to addresses, and how, in IPv4.
    bound_ids: f64,
    binding: Option<Binding>,
    know_attackers: f64,
    held: HashMap<u32, Held>,
    random: Random,
}

#[derive(Debug, Clone, Copy)]
struct Newcomer {
    generation: u32,
    address: IpAddr,
}

impl Population {
    pub(super) fn new(world: &World, addresses: Addresses) -> Self {
        let count = world.nodes as u32;
        Self {
            seed: world.seed,
            ids: Prefixes::new(world.nodes, &mut Random::of(&[world.seed, 0])),
            order: Permutation::of(count, &[world.seed, 3]),
            roles: roles(world),
            addresses,
            round_trips: world.round_trip.clone(),
            stale_entries: world.stale_entries,
            on_living_only: world.on_living_only,
            newcomers: HashMap::new(),
            moved_in: HashMap::new(),
            next_address: count,
            moved_out: VecDeque::new(),
            bound_ids: world.bound_ids,
            binding: (world.bound_ids > 0.0 && world.family == Family::V4).then(Binding::new),
            know_attackers: world.know_attackers,
            held: HashMap::new(),
            random: Random::of(&[world.seed, 1]),
        }
    }

    pub(super) fn len(&self) -> u32 {
        self.ids.len() as u32
    }

    pub(super) fn node(&self, number: u32) -> Option<Node> {
        let (id, address) = self.contact(number)?;
        let mut random = self.draws(Draw::RoundTrip, number);
        Some(Node { id, address, role: self.role(number), round_trip: self.round_trips.draw(&mut random) })
    }

    /// Where the node is that others join through.
    pub(super) fn first_address(&self) -> IpAddr {
        self.addresses.at(0)
    }

    pub(super) fn addresses(&self) -> &Addresses {
        &self.addresses
    }

    /// Bits that the node nearest to the target has in common with it.
    pub(super) fn nearest_shares(&self, target: &Id) -> u32 {
        let nearest = self.ids.nearest(prefix(target), 1, |_| true);
        let prefixes = nearest.into_iter().filter_map(|number| self.ids.get(number));
        prefixes.map(|it| (it ^ prefix(target)).leading_zeros()).max().unwrap_or(0)
    }

    /// Which of so many attackers of a key is the first that a node knows. `None`: it knows none of them.
    pub(super) fn first_attacker_known_to(&self, number: u32, attacked: u16, attackers: u8) -> Option<u8> {
        let knows = self.draws_for_ever(Draw::Attackers, number).happens(self.know_attackers);
        let mut random = Random::of(&[self.seed, Draw::Attackers as u64, number.into(), attacked.into()]);
        knows.then(|| random.below(attackers.into()) as u8)
    }

    /// A round trip as those of nodes, for whoever these numbers are.
    pub(super) fn round_trip_of(&self, seeds: &[u64]) -> Duration {
        self.round_trips.draw(&mut Random::of(seeds))
    }

    /// Numbers in an order of chance.
    pub(super) fn in_any_order(&self) -> impl Iterator<Item = u32> + use<> {
        let order = Permutation::of(self.len(), &[self.seed, 7]);
        (0..self.len()).map(move |turn| order.apply(turn))
    }

    pub(super) fn nodes(&self) -> impl Iterator<Item = Node> {
        (0..self.len()).filter_map(|number| self.node(number))
    }

    pub(super) fn role(&self, number: u32) -> Role {
        let rank = self.order.apply(number);
        self.roles.iter().find(|(end, _)| rank < *end).map_or(Role::Honest, |(_, role)| *role)
    }

    /// What the node holds under the target, if it was given since.
    pub(super) fn item(&mut self, number: u32, target: &Id, since: Duration) -> Option<&Arc<StoredItem>> {
        self.held.get_mut(&number)?.item(target, since)
    }

    /// As [`Population::item`], for who only looks on.
    pub(super) fn peek(&self, number: u32, target: &Id, since: Duration) -> Option<&Arc<StoredItem>> {
        self.held.get(&number)?.peek(target, since)
    }

    pub(super) fn held_by(&mut self, number: u32) -> &mut Held {
        self.held.entry(number).or_default()
    }

    /// The values under the target at nodes that answer.
    pub(super) fn holdings(&self, target: &Id, since: Duration) -> impl Iterator<Item = &StoredItem> {
        let living = self.held.iter().filter(|(number, _)| self.role(**number).answers());
        living.filter_map(move |(_, held)| Some(&**held.peek(target, since)?))
    }

    /// The nodes that a value is stored on, nearest first.
    pub(super) fn replicas(&self, target: &Id) -> Vec<u32> {
        let may = |number| !self.on_living_only || self.role(number).stores();
        self.ids.nearest(prefix(target), REPLICAS, may)
    }

    /// Bytes of memory for the ids of all nodes; and nodes that take more because something happened to them.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.ids.size(), self.held.len() + self.newcomers.len())
    }

    fn first(&self) -> u32 {
        self.order.invert(0)
    }

    fn generation(&self, number: u32) -> u64 {
        self.newcomers.get(&number).map_or(0, |newcomer| newcomer.generation.into())
    }

    fn draws(&self, draw: Draw, number: u32) -> Random {
        Random::of(&[self.seed, draw as u64, number.into(), self.generation(number)])
    }

    /// For what newcomers take over.
    fn draws_for_ever(&self, draw: Draw, number: u32) -> Random {
        Random::of(&[self.seed, draw as u64, number.into()])
    }
}

/// Which ranks have which roles. The first is honest, as others join through it.
fn roles(world: &World) -> Vec<(u32, Role)> {
    let hostile = world.hostile.iter().map(|(kind, share)| (Role::Hostile(*kind), *share));
    let parts = [
        (Role::Dead, world.dead),
        (Role::BehindNat, world.behind_nat),
        (Role::StoresNothing, world.without_bep_44),
    ];
    let mut end = 1;
    let mut roles = vec![(end, Role::Honest)];
    for (role, share) in parts.into_iter().chain(hostile) {
        end += part_of(world.nodes, share) as u32;
        roles.push((end, role));
    }
    roles
}

fn id(prefix: u64, random: &mut Random) -> Id {
    let mut id = *random.id().as_bytes();
    if let Some(start) = id.first_chunk_mut() {
        *start = prefix.to_be_bytes();
    }
    Id::from(id)
}

/// So many of `all` are this share of them.
pub(super) fn part_of(all: usize, share: f64) -> usize {
    (all as f64 * share).round() as usize
}
