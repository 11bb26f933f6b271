//! All nodes, and whom each of them knows: functions of their numbers, but for what has happened since the start.

use std::{
    collections::{HashMap, VecDeque},
    net::Ipv4Addr,
    ops::Range,
    sync::Arc,
    time::Duration,
};

use mainline::Id;

use super::{
    RoundTrips, World,
    addresses::Addresses,
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

/// Bits that a node that has gone shares with who is named in its place: enough for the same bucket.
const PLACE_BITS: u32 = 32;

/// What a number is drawn for.
#[derive(Clone, Copy)]
enum Draw {
    Id = 10,
    RoundTrip,
    Bucket,
    Gone,
    Stay,
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
    /// The nodes at addresses that were nobody's at the start, by index.
    moved_in: HashMap<u32, u32>,
    /// The first address that has never been anybody's, and those that have been but are no more.
    next_address: u32,
    moved_out: VecDeque<u32>,
    held: HashMap<u32, Held>,
    random: Random,
}

#[derive(Debug, Clone, Copy)]
struct Newcomer {
    generation: u32,
    address: u32,
}

/// One in a table: its id and the place of it, or of its successor.
#[derive(Debug, Clone, Copy)]
struct Known {
    prefix: u64,
    number: u32,
    has_gone: bool,
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
            held: HashMap::new(),
            random: Random::of(&[world.seed, 1]),
        }
    }

    pub(super) fn len(&self) -> u32 {
        self.ids.len() as u32
    }

    /// The node at an address.
    pub(super) fn at(&self, address: Ipv4Addr) -> Option<u32> {
        let index = self.addresses.index(address)?;
        if let Some(number) = self.moved_in.get(&index) {
            return Some(*number);
        }
        let number = (index < self.len()).then(|| self.order.invert(index))?;
        (!self.newcomers.contains_key(&number)).then_some(number)
    }

    pub(super) fn node(&self, number: u32) -> Option<Node> {
        let (id, address) = self.contact(number)?;
        let mut random = self.draws(Draw::RoundTrip, number);
        Some(Node { id, address, role: self.role(number), round_trip: self.round_trips.draw(&mut random) })
    }

    /// Where the node is that others join through.
    pub(super) fn first_address(&self) -> Ipv4Addr {
        self.addresses.at(0)
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

    /// The nodes nearest to the target that the node knows, nearest first.
    pub(super) fn known_to(&self, number: u32, target: &Id) -> Vec<(Id, Ipv4Addr)> {
        let (Some(own), target) = (self.ids.get(number), prefix(target)) else { return Vec::new() };
        let mut known: Vec<Known> = Vec::with_capacity(2 * BUCKET);
        let mut add = |buckets: Range<u32>| {
            let before = known.len();
            buckets.for_each(|bit| self.add_bucket(number, own, bit, &mut known));
            if let Some(added) = known.get_mut(before..) {
                added.sort_unstable_by_key(|known| known.prefix ^ target);
            }
            known.len() < BUCKET
        };
        // Those that differ from it where the target does are the nearest, then those that differ later, and then those
        // that do earlier, one bit after the other.
        let differs = (own ^ target).leading_zeros();
        if add(differs..(differs + 1).min(u64::BITS)) && add((differs + 1).min(u64::BITS)..u64::BITS) {
            (0..differs).rev().find(|bit| !add(*bit..*bit + 1));
        }
        known.truncate(BUCKET);
        known.into_iter().filter_map(|known| self.named(known)).collect()
    }

    /// The hostile nodes nearest to the target, without the one that names them.
    pub(super) fn hostile_near(&self, target: &Id, without: u32) -> Vec<(Id, Ipv4Addr)> {
        let is_hostile = |number| number != without && matches!(self.role(number), Role::Hostile(_));
        let nearest = self.ids.nearest(prefix(target), BUCKET, is_hostile);
        nearest.into_iter().filter_map(|number| self.contact(number)).collect()
    }

    /// Replaces a share of the nodes by others that hold nothing. The node at the first address stays.
    pub(super) fn churn(&mut self, share: f64) {
        let order = Permutation::of(self.len(), &[self.random.next()]);
        let first = self.order.invert(0);
        let leaving = (0..self.len()).map(|turn| order.apply(turn)).filter(|number| *number != first);
        leaving.take(part_of(self.ids.len(), share)).for_each(|number| self.replace(number));
    }

    /// Lets so much time pass for nodes of which each `stays` as long as chance wants, with means of which each is that
    /// of a share of them.
    pub(super) fn age(&mut self, time: Duration, stays: &[(f64, Duration)]) {
        let leaves = |mean: Duration| -(-time.as_secs_f64() / mean.as_secs_f64()).exp_m1();
        let most = stays.iter().map(|(_, mean)| leaves(*mean)).fold(0.0, f64::max);
        let first = self.order.invert(0);
        // A fraction of a node is left to chance, so that small networks age as well.
        let turns = (self.ids.len() as f64 * most + self.random.share()) as usize;
        for _ in 0..turns {
            let number = self.random.below(self.ids.len()) as u32;
            let mut part = self.draws_for_ever(Draw::Stay, number).share();
            let kind = stays.iter().find(|(share, _)| {
                part -= share;
                part < 0.0
            });
            let leaves = kind.map_or(0.0, |(_, mean)| leaves(*mean));
            if self.random.happens(leaves / most) && number != first {
                self.replace(number);
            }
        }
    }

    /// Bytes of memory for the ids of all nodes; and nodes that take more because something happened to them.
    pub(super) fn size(&self) -> (usize, usize) {
        (self.ids.size(), self.held.len() + self.newcomers.len())
    }

    /// Another one takes the number and the role, with an id near by and an address of its own.
    fn replace(&mut self, number: u32) {
        let before = self.newcomers.get(&number).copied();
        let fresh = (self.next_address < self.addresses.count()).then_some(self.next_address);
        let Some(address) = fresh.or_else(|| self.moved_out.pop_front()) else { return };
        self.next_address += u32::from(fresh.is_some());
        let left = before.map_or_else(|| self.order.apply(number), |before| before.address);
        self.moved_in.remove(&left);
        self.moved_out.push_back(left);
        self.moved_in.insert(address, number);
        let generation = before.map_or(0, |before| before.generation).wrapping_add(1);
        self.newcomers.insert(number, Newcomer { generation, address });
        self.ids.redraw(number, &mut self.random);
        self.held.remove(&number);
    }

    fn contact(&self, number: u32) -> Option<(Id, Ipv4Addr)> {
        let id = id(self.ids.get(number)?, &mut self.draws(Draw::Id, number));
        let newcomer = self.newcomers.get(&number);
        let address = newcomer.map_or_else(|| self.order.apply(number), |newcomer| newcomer.address);
        Some((id, self.addresses.at(address)))
    }

    fn named(&self, known: Known) -> Option<(Id, Ipv4Addr)> {
        if !known.has_gone {
            return self.contact(known.number);
        }
        let mut random = self.draws(Draw::Gone, known.number);
        let id = id(known.prefix, &mut random);
        Some((id, self.addresses.of_nobody(self.next_address, &mut random)))
    }

    /// Adds whom the node knows of those whose ids first differ from its own in this bit: as many as fit in a bucket.
    /// Near its own id that is every node.
    fn add_bucket(&self, number: u32, own: u64, bit: u32, known: &mut Vec<Known>) {
        let differing = own ^ (1 << (u64::BITS - 1 - bit));
        let range = self.ids.sharing(differing, bit + 1);
        if range.is_empty() {
            return;
        }
        let seeds = [self.seed, Draw::Bucket as u64, number.into(), self.generation(number), bit.into()];
        let mut random = Random::of(&seeds);
        for number in sample(range, &mut random) {
            let Some(prefix) = self.ids.get(number) else { continue };
            let has_gone = bit < PLACE_BITS && random.happens(self.stale_entries);
            let other = u64::MAX >> PLACE_BITS;
            let prefix =
                if has_gone { prefix ^ (self.draws(Draw::Gone, number).next() & other) } else { prefix };
            known.push(Known { prefix, number, has_gone });
        }
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

/// A bucket's worth of different numbers from the range (Floyd's algorithm), or all there are.
fn sample(range: Range<u32>, random: &mut Random) -> impl Iterator<Item = u32> + use<> {
    let mut drawn = [0; BUCKET];
    let mut count = 0;
    for last in range.end.saturating_sub(BUCKET as u32).max(range.start)..range.end {
        let it = range.start + random.below((last + 1 - range.start) as usize) as u32;
        let is_new = !drawn.iter().take(count).any(|drawn| *drawn == it);
        if let Some(place) = drawn.get_mut(count) {
            *place = if is_new { it } else { last };
        }
        count += 1;
    }
    drawn.into_iter().take(count)
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
