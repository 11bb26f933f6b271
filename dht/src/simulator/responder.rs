//! What nodes answer. Knows neither sockets nor clocks.

use std::{
    collections::HashMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use lru::LruCache;
use mainline::{Id, MutableItem};

use super::{
    Hostile, KnownNode, Statistics, World,
    addresses::Addresses,
    attack::Attacks,
    hostile::Lent,
    item::StoredItem,
    node::{Node, Role},
    population::{Population, part_of},
    random::Random,
    world::AGING_STEP,
};
use crate::{
    krpc::{Body, Item, Message, Method, Nodes, Put, Query, Refusal, Response},
    signed_packet::{Keypair, PublicKey, SignedPacket},
};

/// Largest value that nodes store, in bytes (BEP 44).
const MAX_VALUE: usize = 1000;

/// Values known to all hostile nodes and, to spare signature checks, to the responder.
const MAX_REMEMBERED: usize = 65_536;

/// Targets whose messages are counted.
const MAX_COUNTED: usize = 4 << 20;

/// All nodes with what they hold.
#[derive(Debug)]
pub(super) struct Responder {
    pub(super) world: World,
    pub(super) port: u16,
    pub(super) population: Population,
    pub(super) random: Random,
    /// Since the start.
    now: Duration,
    /// Until when nodes have come and gone.
    aged: Duration,
    pub(super) statistics: Statistics,
    /// Nobody answers anything.
    pub(super) silent: bool,
    /// Messages for each target.
    pub(super) targets: HashMap<Id, u64>,
    /// The value that was stored last under each target, at whichever nodes.
    pub(super) remembered: LruCache<Id, Arc<StoredItem>>,
    /// What hostile nodes sign with the keys of others.
    pub(super) lent: HashMap<Id, Lent>,
    /// A value signed by a key of the hostile nodes themselves.
    pub(super) foreign: Arc<StoredItem>,
    pub(super) attacks: Attacks,
    answer: Answer,
}

/// An answer in the making.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) id: Id,
    /// In compact form.
    pub(super) nodes: Vec<u8>,
    pub(super) token: Option<[u8; 8]>,
    pub(super) item: Option<Arc<StoredItem>>,
    pub(super) seq: Option<i64>,
    pub(super) refusal: Option<Refusal<'static>>,
    /// Beside the round trip.
    pub(super) delay: Duration,
}

impl Responder {
    /// All nodes are on loopback and answer at `port`.
    pub(super) fn new(world: World, port: u16) -> Self {
        Self::with_addresses(world, port, Addresses::Loopback)
    }

    /// All nodes answer at `port`.
    pub(super) fn with_addresses(world: World, port: u16, addresses: Addresses) -> Self {
        let mut secret = [0; 32];
        let mut random = Random::of(&[world.seed, 2]);
        random.fill(&mut secret);
        let foreign = StoredItem::signed(&Keypair::from_secret_key(&secret), i64::MAX / 2, vec![0; 100]);
        Self {
            population: Population::new(&world, addresses),
            world,
            port,
            random,
            now: Duration::ZERO,
            aged: Duration::ZERO,
            statistics: Statistics::default(),
            silent: false,
            targets: HashMap::new(),
            remembered: LruCache::unbounded(),
            lent: HashMap::new(),
            foreign: foreign.into(),
            attacks: Attacks::default(),
            answer: Answer::of(Id::from([0; 20])),
        }
    }

    /// Lets time pass, until so long after the start.
    pub(super) fn pass(&mut self, now: Duration) {
        self.now = self.now.max(now);
        if self.world.stays.is_empty() {
            return;
        }
        while self.aged + AGING_STEP <= self.now {
            self.aged += AGING_STEP;
            self.population.age(AGING_STEP, &self.world.stays);
        }
    }

    /// Appends what the node at `asked` answers to a datagram from `from`. Returns how long that takes; `None`: nothing
    /// is sent.
    pub(super) fn answer(
        &mut self,
        datagram: &[u8],
        from: SocketAddr,
        asked: IpAddr,
        reply: &mut Vec<u8>,
    ) -> Option<Duration> {
        let Some(Message { transaction, body: Body::Query(query), .. }) = Message::decode(datagram) else {
            self.statistics.ignored += 1;
            return None;
        };
        self.statistics.received.count(&query.method);
        if self.world.count_targets {
            self.count_target(&query.method);
        }
        if self.silent || self.is_lost() {
            return None;
        }
        let mut answer = std::mem::replace(&mut self.answer, Answer::of(Id::from([0; 20])));
        answer.nodes.clear();
        let role = self.fill(&mut answer, &query, from.ip(), asked);
        // Those of the other family it does not know.
        if !query.want.is_for(from) {
            answer.nodes.clear();
        }
        match role {
            None | Some(Role::Dead | Role::BehindNat) => self.statistics.unanswered += 1,
            Some(Role::Hostile(Hostile::Garbage)) => self.garbage(reply),
            Some(Role::Hostile(Hostile::WrongTransaction)) => {
                let mut transaction = transaction.to_vec();
                transaction.iter_mut().for_each(|byte| *byte = !*byte);
                answer.encode(&transaction, from, reply);
            }
            Some(Role::Honest | Role::StoresNothing | Role::Hostile(_)) => {
                answer.encode(transaction, from, reply)
            }
        }
        let delay = answer.delay;
        self.answer.nodes = answer.nodes;
        if !role.is_some_and(Role::answers) || self.is_lost() {
            return None;
        }
        self.statistics.sent.count(&query.method);
        Some(delay)
    }

    /// Puts the packet onto the nodes nearest to its key.
    pub(super) fn store(&mut self, packet: &SignedPacket) {
        let item = Arc::new(StoredItem::from(packet));
        let target = target_of(packet.key());
        for number in self.population.replicas(&target) {
            self.keep(number, target, item.clone());
        }
    }

    /// As [`Responder::store`], but some of the nodes get `older` instead.
    pub(super) fn store_stale(&mut self, newer: &SignedPacket, older: &SignedPacket) {
        let [newer, older] = [newer, older].map(|packet| Arc::new(StoredItem::from(packet)));
        let target = MutableItem::target_from_key(&newer.key, None);
        let mut replicas = self.population.replicas(&target);
        let seeds = target.as_bytes().first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        Random::of(&[self.world.seed, seeds]).shuffle(&mut replicas);
        let stale = part_of(replicas.len(), self.world.stale);
        for (place, number) in replicas.into_iter().enumerate() {
            let item = if place < stale { &older } else { &newer };
            self.keep(number, target, item.clone());
        }
        self.remember(target, newer);
    }

    /// Replaces a share of the nodes by others.
    pub(super) fn churn(&mut self, share: f64) {
        self.population.churn(share);
    }

    /// The seq at each node that lives and holds a value of the key.
    pub(super) fn holders(&self, key: &PublicKey) -> Vec<i64> {
        let target = target_of(key);
        self.population.holdings(&target, self.remembered_since()).map(|item| item.seq).collect()
    }

    /// Bytes of memory for the ids of all nodes; and nodes that take more, because something happened to them.
    pub(super) fn size(&self) -> (usize, usize) {
        self.population.size()
    }

    /// Some nodes that live, evenly spread.
    pub(super) fn living(&self, count: usize) -> impl Iterator<Item = KnownNode> + '_ {
        let nodes = self.population.in_any_order().filter_map(|number| self.population.node(number));
        let living = nodes.filter(|node| node.role.answers()).take(count);
        living.map(|node| KnownNode {
            id: node.id,
            address: SocketAddr::from((node.address, self.port)),
            round_trip: node.round_trip,
            stores: node.role.stores(),
        })
    }

    /// Makes the whole answer. Returns what the node at the address is; `None`: there is none.
    fn fill(&mut self, answer: &mut Answer, query: &Query<'_>, from: IpAddr, asked: IpAddr) -> Option<Role> {
        let Some(number) = self.population.at(asked) else {
            let attacker = self.answer_as_attacker(answer, query, asked, from);
            return attacker.or_else(|| self.answer_as_invented(answer, query, asked).map(Role::Hostile));
        };
        let Node { id, role, round_trip, .. } = self.population.node(number)?;
        answer.id = id;
        answer.delay = round_trip + self.random.up_to(self.world.jitter);
        let (share, longest) = self.world.late;
        if self.random.happens(share) {
            answer.delay += self.random.up_to(longest);
        }
        if !role.answers() {
            return Some(role);
        }
        match &query.method {
            Method::Ping => {}
            Method::Get { .. } | Method::Put(_) | Method::Unknown(_) if role == Role::StoresNothing => {
                answer.refusal = Some(refusal(204, b"unknown method"));
            }
            Method::FindNode(target) => self.name_neighbours(number, target, answer),
            Method::GetPeers(target) => {
                self.name_neighbours(number, target, answer);
                answer.token = Some(self.token(id, from, target));
            }
            Method::Get { target, newer_than } => {
                self.name_neighbours(number, target, answer);
                answer.token = Some(self.token(id, from, target));
                let since = self.remembered_since();
                let item = self.population.item(number, target, since);
                answer.seq = item.map(|item| item.seq);
                let is_wanted = |item: &&Arc<StoredItem>| newer_than.is_none_or(|seq| item.seq > seq);
                answer.item = item.filter(is_wanted).cloned();
            }
            Method::Put(put) => answer.refusal = self.put(number, put, from).err(),
            Method::Unknown(b"put") => {
                answer.refusal = Some(refusal(203, b"not a signed value without salt"))
            }
            Method::Unknown(_) => answer.refusal = Some(refusal(204, b"unknown method")),
        }
        if let Role::Hostile(kind) = role {
            self.do_harm(kind, number, query, answer);
        }
        Some(role)
    }

    fn name_neighbours(&mut self, number: u32, target: &Id, answer: &mut Answer) {
        let known = self.attackers_known_to(number, target);
        for (id, address) in known.unwrap_or_else(|| self.population.known_to(number, target)) {
            answer.name(id, address, self.port);
        }
    }

    /// Stores a value at a node, after the checks of BEP 44.
    fn put(&mut self, number: u32, put: &Put<'_>, from: IpAddr) -> Result<(), Refusal<'static>> {
        let node = self.population.node(number).ok_or(refusal(202, b"no such node"))?;
        let (id, role) = (node.id, node.role);
        let target = MutableItem::target_from_key(put.item.key, None);
        if put.item.value.len() > MAX_VALUE {
            return Err(refusal(205, b"the value is over 1000 bytes"));
        }
        let is_token_refused = role == Role::Hostile(Hostile::BadTokens);
        if is_token_refused || put.token != self.token(id, from, &target) {
            return Err(refusal(203, b"invalid token"));
        }
        let item = self.verified(target, &put.item).ok_or(refusal(206, b"invalid signature"))?;
        let held = self.population.peek(number, &target, self.remembered_since()).map(|item| item.seq);
        if let Some(held) = held {
            if put.cas.is_some_and(|cas| cas != held) {
                return Err(refusal(301, b"another value is held than cas says"));
            }
            if item.seq < held && role == Role::Honest {
                return Err(refusal(302, b"a newer value is held"));
            }
        }
        self.keep(number, target, item);
        Ok(())
    }

    /// One put goes to many nodes, and its signature is checked once.
    fn verified(&self, target: Id, item: &Item<'_>) -> Option<Arc<StoredItem>> {
        match self.remembered.peek(&target) {
            Some(remembered) if remembered.as_item() == *item => Some(remembered.clone()),
            Some(_) | None => StoredItem::verified(item).map(Arc::new),
        }
    }

    fn keep(&mut self, number: u32, target: Id, item: Arc<StoredItem>) {
        let (capacity, times) = (self.world.items_per_node, (self.now, self.remembered_since()));
        let role = self.population.role(number);
        self.population.held_by(number).keep(role, target, item.clone(), capacity, times);
        self.remember(target, item);
    }

    /// What nodes were given before has been forgotten.
    fn remembered_since(&self) -> Duration {
        self.world.memory.map_or(Duration::ZERO, |memory| self.now.saturating_sub(memory))
    }

    fn remember(&mut self, target: Id, item: Arc<StoredItem>) {
        self.remembered.put(target, item);
        if self.remembered.len() > MAX_REMEMBERED {
            self.remembered.pop_lru();
        }
    }

    /// Good for one node, one address and one target, as with libtorrent, and for as long as the network lasts.
    pub(super) fn token(&self, id: Id, from: IpAddr, target: &Id) -> [u8; 8] {
        let half = |id: &Id| id.as_bytes().first_chunk().map_or(0, |bytes| u64::from_be_bytes(*bytes));
        let from = match from {
            IpAddr::V4(ip) => u64::from(ip.to_bits()),
            IpAddr::V6(ip) => (ip.to_bits() >> 64) as u64 ^ ip.to_bits() as u64,
        };
        let seeds = [self.world.seed, half(&id), from, half(target)];
        Random::of(&seeds).next().to_be_bytes()
    }

    fn is_lost(&mut self) -> bool {
        let is_lost = self.random.happens(self.world.loss);
        self.statistics.lost += u64::from(is_lost);
        is_lost
    }

    fn count_target(&mut self, method: &Method<'_>) {
        let target = match method {
            Method::FindNode(target) | Method::GetPeers(target) | Method::Get { target, .. } => *target,
            Method::Put(put) => MutableItem::target_from_key(put.item.key, None),
            Method::Ping | Method::Unknown(_) => return,
        };
        if self.targets.len() < MAX_COUNTED || self.targets.contains_key(&target) {
            *self.targets.entry(target).or_default() += 1;
        }
    }
}

impl Answer {
    fn of(id: Id) -> Self {
        let (token, item, seq, refusal) = (None, None, None, None);
        Self { id, nodes: Vec::new(), token, item, seq, refusal, delay: Duration::ZERO }
    }

    pub(super) fn name(&mut self, id: Id, address: IpAddr, port: u16) {
        Nodes::push(&mut self.nodes, id, SocketAddr::new(address, port));
    }

    /// All is of the family of addresses that it goes over (BEP 32).
    fn encode(&self, transaction: &[u8], observed: SocketAddr, reply: &mut Vec<u8>) {
        let (v4, v6): (&[u8], &[u8]) =
            if observed.is_ipv4() { (&self.nodes, &[]) } else { (&[], &self.nodes) };
        let body = match self.refusal {
            Some(refusal) => Body::Error(refusal),
            None => Body::Response(Response {
                id: self.id,
                nodes: Nodes::new(v4, v6),
                token: self.token.as_ref().map(<[u8; 8]>::as_slice),
                item: self.item.as_deref().map(StoredItem::as_item),
                seq: self.seq,
            }),
        };
        Message { transaction, read_only: false, observed: Some(observed), body }.encode(reply);
    }
}

/// Where the DHT looks for the value of a key.
pub(super) fn target_of(key: &PublicKey) -> Id {
    MutableItem::target_from_key(key.as_bytes(), None)
}

fn refusal(code: i64, text: &'static [u8]) -> Refusal<'static> {
    Refusal { code, text }
}
