//! A client of the network without sockets.

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    net::SocketAddr,
    time::{Duration, Instant},
};

use mainline::Id;
use tokio::sync::oneshot::error::TryRecvError;

use super::{Acknowledged, First, Offline, Publication, Search};
use crate::{
    DhtSettings, NetworkError,
    driven::{Driven, Finding, Putting},
    family::{Family, PerFamily},
    krpc::{Body, Message, Method},
    signed_packet::{PublicKey, SignedPacket, target},
    table::Contact,
};

/// Between two attempts to join, as with the product.
const JOIN_PAUSE: Duration = Duration::from_secs(1);

/// Where somebody has answered, the other family of addresses is waited for so long.
const JOIN_PATIENCE: Duration = Duration::from_secs(5);

/// Searches and stores are over after this.
const LIMIT: Duration = Duration::from_secs(15);

/// When it arrives, its number in the order in which they were sent, from whom it is, and its bytes.
type Arrival = (Instant, u64, SocketAddr, Vec<u8>);

/// A client in an [`Offline`] network. Time stands still but in [`OfflineClient::run`] and what is built on it; of
/// several clients, only the one that runs notices what arrives.
#[derive(Debug)]
pub struct OfflineClient {
    engine: Driven,
    /// Whether anybody has answered.
    heard: PerFamily<bool>,
    under_way: BinaryHeap<Reverse<Arrival>>,
    replies: u64,
    sent_in_second: Vec<u32>,
    searches: Vec<Search>,
    publications: Vec<Publication>,
    /// What begins later: when, and its number in the order in which it was asked for.
    planned: BinaryHeap<Reverse<(Duration, usize)>>,
    plans: Vec<Option<Task>>,
    active: Vec<Active>,
    /// Searches and publications of a target.
    of_target: HashMap<Id, Vec<Task>>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Task {
    /// A search, and whether what it finds may be replaced next.
    Search(usize, bool),
    /// A publication, with what it may replace.
    Publication(usize, Option<u64>),
}

#[derive(Debug)]
enum Active {
    Search(usize, Finding),
    Publication(usize, Putting),
}

impl OfflineClient {
    /// Joins through the first nodes, and is then about to get to know the network. Of the settings, those about sockets,
    /// bootstrap nodes and files are not used.
    ///
    /// # Errors
    ///
    /// [`NetworkError::Unreachable`] if no node answers for 15 s.
    pub fn join(network: &mut Offline, settings: &DhtSettings) -> Result<Self, NetworkError> {
        let mut client = Self::new(network, settings);
        let (start, first) = (network.now(), network.first_nodes());
        let is_joined = |client: &Self, now: Duration| {
            let heard = client.heard.values().filter(|heard| **heard).count();
            client.known() > 0 && (heard >= first.len() || now >= start + JOIN_PATIENCE)
        };
        while !is_joined(&client, network.now()) {
            if network.now() >= start + LIMIT {
                return Err(NetworkError::Unreachable);
            }
            client.engine.join(first.clone(), network.now);
            client.deliver(network);
            client.run(network, network.now() + JOIN_PAUSE);
        }
        Ok(client)
    }

    /// Has not joined yet: see [`OfflineClient::remember`].
    pub fn new(network: &Offline, settings: &DhtSettings) -> Self {
        Self {
            engine: Driven::new(network.clients(), settings, network.now),
            heard: PerFamily::default(),
            under_way: BinaryHeap::new(),
            replies: 0,
            sent_in_second: Vec::new(),
            searches: Vec::new(),
            publications: Vec::new(),
            planned: BinaryHeap::new(),
            plans: Vec::new(),
            active: Vec::new(),
            of_target: HashMap::new(),
        }
    }

    /// Is given nodes as if from an earlier run.
    pub fn remember(&mut self, network: &mut Offline, nodes: Vec<Contact>) {
        self.engine.remember(nodes, network.now);
        self.deliver(network);
    }

    /// Searches for the key from now on. Returns its place in [`OfflineClient::searches`].
    pub fn search(&mut self, network: &mut Offline, key: &PublicKey) -> usize {
        self.search_at(network, key, network.now())
    }

    /// Searches for the key from then on, counted from the start of the network.
    pub fn search_at(&mut self, network: &mut Offline, key: &PublicKey, at: Duration) -> usize {
        self.plan_search(network, key, at, false)
    }

    /// As [`OfflineClient::search`], to its end, for who may publish what replaces the packet: nodes are remembered with
    /// their tokens.
    pub fn search_to_publish(&mut self, network: &mut Offline, key: &PublicKey) -> usize {
        self.plan_search(network, key, network.now(), true)
    }

    /// Stores the packet from then on, counted from the start of the network. With `cas`, only where the packet of that
    /// timestamp is held, or none. Returns its place in [`OfflineClient::publications`].
    pub fn publish_at(
        &mut self,
        network: &mut Offline,
        packet: &SignedPacket,
        cas: Option<u64>,
        at: Duration,
    ) -> usize {
        let place = self.publications.len();
        self.publications.push(Publication::new(packet.clone(), at.max(network.now())));
        self.plan(network, Task::Publication(place, cas), at);
        place
    }

    /// As [`OfflineClient::publish_at`], from now on.
    pub fn publish(&mut self, network: &mut Offline, packet: &SignedPacket, cas: Option<u64>) -> usize {
        self.publish_at(network, packet, cas, network.now())
    }

    /// Lets everything happen until then, counted from the start of the network.
    pub fn run(&mut self, network: &mut Offline, until: Duration) {
        let end = network.start + until;
        while self.step(network, end) {}
    }

    /// Lets everything happen until all searches and publications have ended, those that are to begin later included.
    pub fn run_until_done(&mut self, network: &mut Offline) {
        while let Some(Reverse((at, _))) = self.planned.peek().copied() {
            self.run(network, at);
        }
        let end = network.now + LIMIT;
        while !self.active.is_empty() && self.step(network, end) {}
    }

    /// Lets time pass until then in which the client does nothing: what it would do at its leisure is left out.
    pub fn skip(&mut self, network: &mut Offline, until: Duration) {
        network.advance(network.start + until);
        self.turn(network);
    }

    /// How many nodes it knows.
    pub fn known(&self) -> usize {
        self.engine.known()
    }

    /// All searches, in the order in which they were asked for.
    pub fn searches(&self) -> &[Search] {
        &self.searches
    }

    /// All publications, in the order in which they were asked for.
    pub fn publications(&self) -> &[Publication] {
        &self.publications
    }

    /// How many datagrams it sent in each second since the start of the network, to the last in which it sent any.
    pub fn sent_in_second(&self) -> &[u32] {
        &self.sent_in_second
    }

    fn plan_search(
        &mut self,
        network: &mut Offline,
        key: &PublicKey,
        at: Duration,
        may_publish: bool,
    ) -> usize {
        let place = self.searches.len();
        self.searches.push(Search::new(key.clone(), at.max(network.now())));
        self.plan(network, Task::Search(place, may_publish), at);
        place
    }

    fn plan(&mut self, network: &mut Offline, task: Task, at: Duration) {
        if at <= network.now() {
            self.begin(task, network.now);
            self.collect(network.now());
            self.deliver(network);
        } else {
            self.planned.push(Reverse((at, self.plans.len())));
            self.plans.push(Some(task));
        }
    }

    fn begin(&mut self, task: Task, now: Instant) {
        let (active, target) = match task {
            Task::Search(place, may_publish) => {
                let Some(search) = self.searches.get(place) else { return };
                let finding = self.engine.find(search.key.clone(), may_publish, now);
                (Active::Search(place, finding), target(&search.key))
            }
            Task::Publication(place, cas) => {
                let Some(publication) = self.publications.get(place) else { return };
                let putting = self.engine.put(publication.packet.clone(), cas, now);
                (Active::Publication(place, putting), target(publication.packet.key()))
            }
        };
        self.active.push(active);
        self.of_target.entry(target).or_default().push(task);
    }

    /// Goes on to the next thing that happens before `end`, or to that.
    fn step(&mut self, network: &mut Offline, end: Instant) -> bool {
        let arrival = self.under_way.peek().map(|Reverse((at, ..))| *at);
        let plan = self.planned.peek().map(|Reverse((at, _))| network.start + *at);
        let next = arrival.into_iter().chain(plan).chain([self.engine.wake_at()]).min().unwrap_or(end);
        network.advance(next.min(end));
        self.turn(network);
        next < end
    }

    fn turn(&mut self, network: &mut Offline) {
        while self.under_way.peek().is_some_and(|Reverse((at, ..))| *at <= network.now) {
            let Some(Reverse((_, _, from, datagram))) = self.under_way.pop() else { break };
            self.heard[Family::of(from)] = true;
            self.engine.receive(&datagram, from, network.now);
        }
        self.engine.tick(network.now);
        while self.planned.peek().is_some_and(|Reverse((at, _))| *at <= network.now()) {
            let Some(Reverse((_, number))) = self.planned.pop() else { break };
            if let Some(task) = self.plans.get_mut(number).and_then(Option::take) {
                self.begin(task, network.now);
            }
        }
        // First, so that what is sent because of a packet does not count as sent before it.
        self.collect(network.now());
        self.deliver(network);
    }

    /// Takes what the engine has to say.
    fn collect(&mut self, now: Duration) {
        let Self { active, searches, publications, of_target, .. } = self;
        active.retain_mut(|active| {
            let (task, target) = match active {
                Active::Search(place, finding) => {
                    let Some(search) = searches.get_mut(*place) else { return false };
                    if !search.take(finding, now) {
                        return true;
                    }
                    (*place, target(&search.key))
                }
                Active::Publication(place, putting) => {
                    let Some(publication) = publications.get_mut(*place) else { return false };
                    if !publication.take(putting, now) {
                        return true;
                    }
                    (*place, target(publication.packet.key()))
                }
            };
            let is_search = matches!(active, Active::Search(..));
            if let Some(tasks) = of_target.get_mut(&target) {
                tasks.retain(|it| match it {
                    Task::Search(place, _) => !is_search || *place != task,
                    Task::Publication(place, _) => is_search || *place != task,
                });
                if tasks.is_empty() {
                    of_target.remove(&target);
                }
            }
            false
        });
    }

    fn deliver(&mut self, network: &mut Offline) {
        let second = usize::try_from(network.now().as_secs()).unwrap_or(0);
        let Self { engine, searches, publications, of_target, .. } = self;
        engine.send(|datagram, to| {
            if self.sent_in_second.len() <= second {
                self.sent_in_second.resize(second + 1, 0);
            }
            if let Some(sent) = self.sent_in_second.get_mut(second) {
                *sent += 1;
            }
            for task in target_of(datagram).and_then(|target| of_target.get(&target)).into_iter().flatten() {
                let requests = match task {
                    Task::Search(place, _) => searches.get_mut(*place).map(|it| &mut it.requests),
                    Task::Publication(place, _) => publications.get_mut(*place).map(|it| &mut it.requests),
                };
                if let Some(requests) = requests {
                    *requests += 1;
                }
            }
            if let Some((at, reply)) = network.answer(datagram, to) {
                self.replies += 1;
                self.under_way.push(Reverse((at, self.replies, to, reply)));
            }
        });
    }
}

impl Search {
    /// Whether it is over.
    fn take(&mut self, finding: &mut Finding, now: Duration) -> bool {
        let result = match finding.done.try_recv() {
            Err(TryRecvError::Empty) => None,
            Ok(result) => Some(result),
            Err(TryRecvError::Closed) => Some(Err(NetworkError::Unreachable)),
        };
        while let Ok(packet) = finding.found.try_recv() {
            let requests = self.requests;
            self.first.get_or_insert_with(|| First { packet: packet.clone(), at: now, requests });
            self.newest = Some(packet);
        }
        self.ended = result.is_some().then_some(now);
        self.result = result;
        self.ended.is_some()
    }
}

impl Publication {
    /// Whether it is over.
    fn take(&mut self, putting: &mut Putting, now: Duration) -> bool {
        let nodes = *putting.progress.borrow();
        if nodes > self.acknowledged.last().map_or(0, |last| last.nodes) {
            self.acknowledged.push(Acknowledged { at: now, nodes });
        }
        let result = match putting.done.try_recv() {
            Err(TryRecvError::Empty) => return false,
            Ok(result) => result,
            Err(TryRecvError::Closed) => Err(NetworkError::Unreachable.into()),
        };
        (self.ended, self.result) = (Some(now), Some(result));
        true
    }
}

/// What a query is about, if it is about a value.
fn target_of(datagram: &[u8]) -> Option<Id> {
    match Message::decode(datagram)?.body {
        Body::Query(query) => match query.method {
            Method::Get { target, .. } => Some(target),
            Method::Put(put) => Some(target(&PublicKey::try_from(put.item.key).ok()?)),
            _ => None,
        },
        Body::Response(_) | Body::Error(_) => None,
    }
}
