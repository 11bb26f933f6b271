//! The heart of the client: all searches and stores, in one place without locks. Pure but for the channels of those
//! who wait: datagrams and the time come in, datagrams go out through [`Engine::outbox`].

mod budget;
mod command;
mod counters;
mod density;
mod families;
mod family;
mod goal;
mod maintenance;
mod prepared;
mod random;
mod round_trips;
mod search;
mod store;
mod strangers;
#[cfg(test)]
mod tests;

use std::{
    cmp::Reverse,
    collections::{BinaryHeap, HashMap},
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::sync::watch;

pub(super) use command::{Command, Piece, Step};
use counters::Counters;
use families::Families;
pub(super) use families::NODES_AT_ONCE;
use family::{FamilyState, Purpose};
use goal::{Goal, Publication};
use maintenance::{Maintenance, UNKNOWN_METHOD};
use prepared::PreparedStores;
use search::{Next, Outcome, Prepared, Search};
use store::Store;

use super::{
    DhtInfo, DhtSettings, NetworkError,
    family::{Family, PerFamily},
    krpc::{Body, Id, Message, Method},
    lookup::Request,
    observer::{Asked, Ignored, LookupEnd},
    socket::Outbox,
    values::Values,
};
use crate::signed_packet::target;

/// Searches and stores under way; beyond, new ones are turned away. A search takes about 20 kB.
const MAX_TASKS: usize = 4096;

/// Between two turns of a task that waits for nothing but time.
const SHORTEST_WAIT: Duration = Duration::from_millis(1);

/// A turn that comes so late means that the machine has slept.
const SLEEP: Duration = Duration::from_secs(5);

/// All that is under way.
#[derive(Debug)]
pub(super) struct Engine {
    families: Families,
    tasks: HashMap<u64, Entry>,
    next_task: u64,
    timers: BinaryHeap<Reverse<(Instant, u64)>>,
    prepared: PreparedStores,
    maintenance: Maintenance,
    confirmations: u32,
    counters: Counters,
    addresses: Vec<SocketAddr>,
    /// Nodes known, for those who wait for the first.
    known: watch::Sender<usize>,
}

#[derive(Debug)]
struct Entry {
    task: Task,
    /// The earliest timer of it.
    wake: Instant,
}

#[derive(Debug)]
enum Task {
    Search(Box<Search>),
    Store(Box<Store>),
}

impl Engine {
    /// `addresses`: where the sockets are bound, one for each family there is.
    pub(super) fn new(
        addresses: Vec<SocketAddr>,
        settings: &DhtSettings,
        known: watch::Sender<usize>,
        now: Instant,
    ) -> Self {
        Self {
            families: Families::new(&addresses, settings, now),
            tasks: HashMap::new(),
            next_task: 0,
            timers: BinaryHeap::new(),
            prepared: PreparedStores::new(),
            maintenance: Maintenance::new(settings.explore, settings.max_nodes, now),
            confirmations: settings.confirmations,
            counters: Counters::new(settings.observer.clone()),
            addresses,
            known,
        }
    }

    /// Datagrams to be sent by the socket of that family.
    pub(super) fn outbox(&mut self, family: Family) -> Option<&mut Outbox> {
        self.families.get_mut(family).map(|state| &mut state.outbox)
    }

    /// When [`Engine::tick`] is due although nothing arrives.
    pub(super) fn wake_at(&self) -> Instant {
        let maintenance = self.maintenance.wake_at();
        self.timers.peek().map_or(maintenance, |Reverse((at, _))| maintenance.min(*at))
    }

    /// Does what was asked for.
    pub(super) fn command(&mut self, command: Command, now: Instant) {
        match command {
            Command::Find { key, found, done, for_publication, moment } => {
                if self.tasks.len() >= MAX_TASKS {
                    self.counters.looked_up(LookupEnd::not_begun(NetworkError::Busy));
                    // The one who asked may have gone, here and below.
                    let _ = done.send(Err(NetworkError::Busy));
                    return;
                }
                self.maintenance.used(now);
                let target = target(&key);
                let values = Values::new(key, found, self.confirmations, moment, now);
                let goal = Goal::Find { values, done, keep_tokens: for_publication };
                self.search(target, goal, now);
            }
            Command::Put { packet, cas, progress, enough, done } => {
                if self.tasks.len() >= MAX_TASKS {
                    let _ = done.send(Err(NetworkError::Busy.into()));
                    return;
                }
                let values = Values::of_writer(packet.key().clone(), self.confirmations, now);
                self.put(Publication { packet, cas, progress, enough, done: Some(done), values }, now);
            }
            Command::Join(addresses) => addresses.into_iter().for_each(|address| self.join(address, now)),
            Command::Remember(nodes) => {
                for contact in nodes {
                    if let Some(state) = self.families.get_mut(Family::of(contact.address)) {
                        state.table.remember(contact, now);
                    }
                }
                self.maintenance.hurry(now);
                self.tell_known(now);
            }
            Command::Stats(reply) => _ = reply.send(self.info()),
            Command::ListNodes(step, reply) => _ = reply.send(self.families.piece(step)),
            Command::IsDisconnected(reply) => {
                self.tell_known(now);
                let _ = reply.send(self.families.iter().all(|state| state.is_disconnected(now)));
            }
        }
    }

    /// Takes a datagram.
    pub(super) fn receive(&mut self, datagram: &[u8], from: SocketAddr, now: Instant) {
        self.counters.received();
        let Some(message) = Message::decode(datagram) else {
            self.counters.ignored(Ignored::Garbage);
            return;
        };
        let family = Family::of(from);
        let Some(mut member) = self.families.member(family) else { return };
        // A query gets no answer: we are a client (BEP 43).
        if matches!(message.body, Body::Query(_)) {
            self.counters.ignored(Ignored::Refused);
            return;
        }
        let transaction = match member.state.answered(&message, from, now) {
            Ok(transaction) => transaction,
            Err(why) => {
                self.counters.ignored(why);
                return;
            }
        };
        self.counters.replied(&transaction, &message.body, now);
        match &message.body {
            Body::Query(_) => {}
            Body::Response(response) => match transaction.purpose {
                Purpose::Task(task) => {
                    self.maintenance.overheard(&mut member, from, response.nodes, now);
                    let Some(entry) = self.tasks.get_mut(&task) else { return };
                    match &mut entry.task {
                        Task::Search(search) if transaction.id == Some(response.id) => {
                            let verdict = search.answered(family, from, response, member.state, now);
                            self.counters.checked(verdict);
                        }
                        Task::Search(search) => {
                            if let Some(expected) = &transaction.id {
                                search.refused(family, expected, from);
                            }
                        }
                        Task::Store(store) => match &transaction.id {
                            Some(id) if transaction.asked == Asked::Storage => {
                                store.acknowledged(family, id, from);
                            }
                            Some(id) if *id == response.id => store.heard(family, response, from, now),
                            Some(_) | None => {}
                        },
                    }
                    self.advance(task, now);
                }
                Purpose::Join => {
                    member.state.meet(from, response.nodes, now);
                    let own = member.state.id;
                    if self.maintenance.joined(family, now) {
                        let search = Search::new(own, Goal::Refresh, &[family], &mut self.families, now);
                        self.start(Task::Search(Box::new(search)), now);
                    }
                }
                Purpose::Presence | Purpose::Way => {
                    if transaction.purpose == Purpose::Way {
                        member.state.table.stores_nothing(&response.id, from);
                    }
                    let fresh = member.state.meet(from, response.nodes, now);
                    self.maintenance.named(family, fresh, now);
                }
            },
            Body::Error(refusal) => {
                let Some(id) = &transaction.id else { return };
                let has_no_values = refusal.code == UNKNOWN_METHOD;
                if has_no_values {
                    member.state.table.stores_nothing(id, from);
                }
                let Purpose::Task(task) = transaction.purpose else {
                    let to = Request { id: *id, address: from };
                    self.maintenance.refused(&mut member, to, &transaction, refusal.code, now);
                    return;
                };
                let Some(entry) = self.tasks.get_mut(&task) else { return };
                match &mut entry.task {
                    Task::Search(search) if has_no_values => search.stores_nothing(family, id, from, now),
                    Task::Search(search) => search.refused(family, id, from),
                    Task::Store(store) if transaction.asked == Asked::Storage => {
                        store.refused(family, id, from, refusal);
                    }
                    Task::Store(_) => {}
                }
                self.advance(task, now);
            }
        }
        self.tell_known(now);
    }

    /// Does what is due.
    pub(super) fn tick(&mut self, now: Instant) {
        if now.saturating_duration_since(self.maintenance.wake_at()) > SLEEP {
            self.wake(now);
        }
        while let Some(Reverse((at, task))) = self.timers.peek().copied()
            && at <= now
        {
            self.timers.pop();
            if self.tasks.get(&task).is_some_and(|entry| entry.wake <= now) {
                self.advance(task, now);
            }
        }
        if now >= self.maintenance.wake_at() {
            self.maintenance.work(&mut self.families, now);
            self.tell_known(now);
        }
    }

    /// The machine may have slept, and be in another network now.
    pub(super) fn wake(&mut self, now: Instant) {
        self.families.iter_mut().for_each(FamilyState::wake);
        self.maintenance.hurry(now);
        self.tell_known(now);
    }

    fn search(&mut self, target: Id, goal: Goal, now: Instant) {
        let has_nodes = PerFamily::from_fn(|family| self.families.has_nodes(family));
        // The usual case is IPv4 alone, with IPv6 where that finds nothing. A packet is stored in both.
        let among: &[Family] = match (has_nodes, &goal) {
            (PerFamily { v4: true, v6: true }, Goal::Publish(_) | Goal::Find { keep_tokens: true, .. }) => {
                &Family::ALL
            }
            (PerFamily { v4: false, v6: true }, _) => &[Family::V6],
            _ => &[Family::V4],
        };
        let search = Search::new(target, goal, among, &mut self.families, now);
        self.start(Task::Search(Box::new(search)), now);
    }

    fn put(&mut self, publication: Publication, now: Instant) {
        self.maintenance.used(now);
        let target = target(publication.packet.key());
        match self.prepared.take(publication.packet.key(), now) {
            Some((search, nodes)) => self.store(search, publication, nodes, now),
            None => self.search(target, Goal::Publish(publication), now),
        }
    }

    /// `number`: of the search that has found the nodes.
    fn store(&mut self, number: u64, publication: Publication, prepared: Prepared, now: Instant) {
        match Store::begin(publication, prepared, now) {
            Ok(store) => self.start_as(number, Task::Store(Box::new(store)), now),
            Err(refused) => {
                let result = Err(refused.1);
                self.counters.put(&result);
                refused.0.done.map(|done| done.send(result));
            }
        }
    }

    fn join(&mut self, address: SocketAddr, now: Instant) {
        // Bootstrap nodes have enough to do with those who need them.
        let member = self.families.member(Family::of(address));
        if let Some(mut member) = member.filter(|member| member.state.is_disconnected(now)) {
            member.state.strangers.forget();
            let own = member.state.id;
            member.ask_at(address, None, Method::FindNode(own), Purpose::Join, now);
        }
    }

    fn start(&mut self, task: Task, now: Instant) {
        let number = self.next_task;
        self.next_task = self.next_task.wrapping_add(1);
        self.start_as(number, task, now);
    }

    fn start_as(&mut self, number: u64, task: Task, now: Instant) {
        self.tasks.insert(number, Entry { task, wake: now });
        self.advance(number, now);
    }

    /// Lets a task do what it can now, and ends it when it is over.
    fn advance(&mut self, number: u64, now: Instant) {
        let under_way = self.tasks.len();
        let Some(entry) = self.tasks.get_mut(&number) else { return };
        let next = match &mut entry.task {
            Task::Search(search) => search.advance(number, under_way, &mut self.families, now),
            Task::Store(store) => store.advance(number, &mut self.families, now),
        };
        match next {
            Next::Wait(at) => {
                // Whatever a task asks for, it cannot keep the others from their turns.
                let at = at.max(now + SHORTEST_WAIT);
                // A timer that comes too early is renewed then, so that not every answer makes a new one.
                if at < entry.wake || entry.wake <= now {
                    self.timers.push(Reverse((at, number)));
                    entry.wake = at;
                }
            }
            Next::Over => {
                if let Some(entry) = self.tasks.remove(&number) {
                    self.finish(number, entry.task, now);
                }
            }
        }
    }

    fn finish(&mut self, number: u64, task: Task, now: Instant) {
        match task {
            Task::Store(store) => self.counters.put(&store.finish()),
            Task::Search(search) => match search.finish(&mut self.families, now) {
                Outcome::Done { prepared, end } => {
                    if let Some(end) = end {
                        self.counters.looked_up(end);
                    }
                    // Where nobody answered, a store has to search again.
                    if let Some((key, nodes)) =
                        prepared.filter(|(_, nodes)| nodes.values().any(|of_family| !of_family.is_empty()))
                    {
                        self.prepared.keep(key, number, nodes, now);
                    }
                }
                Outcome::Store(publication, prepared) => self.store(number, publication, prepared, now),
            },
        }
    }

    fn info(&self) -> DhtInfo {
        let table_size = self.families.iter().map(|state| state.table.len()).sum();
        let sightings = self.families.iter().filter_map(FamilyState::sighting).collect();
        DhtInfo { local_addresses: self.addresses.clone(), table_size, sightings }
    }

    fn tell_known(&mut self, now: Instant) {
        let size = |family| self.families.get(family).map_or(0, |state| state.table.len());
        let known = PerFamily::from_fn(size);
        self.counters.tell(&mut self.families, self.tasks.len(), known);
        // A new lookup waits until some node answers again.
        let can_answer = |state: &FamilyState| !state.table.is_empty() && !state.is_cut_off(now);
        let count = if self.families.iter().any(can_answer) { known.v4 + known.v6 } else { 0 };
        self.known.send_if_modified(|known| std::mem::replace(known, count) != count);
    }
}
