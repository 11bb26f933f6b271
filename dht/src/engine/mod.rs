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
use family::{Family, Purpose};
use goal::{Goal, Publication};
use maintenance::{Maintenance, UNKNOWN_METHOD};
use prepared::PreparedStores;
use search::{Next, Outcome, Prepared, Search};
use store::Store;

use super::{
    DhtInfo, DhtSettings, NetworkError,
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

/// Nobody is that late who has not slept.
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

    /// Datagrams to be sent by the socket of that family: 0 for IPv4, 1 for IPv6.
    pub(super) fn outbox(&mut self, family: usize) -> Option<&mut Outbox> {
        self.families.get_mut(family).map(|family| &mut family.outbox)
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
                    if let Some(family) = self.families.get_mut(Families::index_of(contact.address)) {
                        family.table.remember(contact, now);
                    }
                }
                self.maintenance.hurry(now);
                self.tell_known(now);
            }
            Command::Inform(reply) => {
                let _ = reply.send(self.info());
            }
            Command::Name(step, reply) => _ = reply.send(self.families.piece(step)),
            Command::IsLost(reply) => {
                self.tell_known(now);
                let _ = reply.send(self.families.iter().all(|family| family.is_lost(now)));
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
        let index = Families::index_of(from);
        let Some(family) = self.families.get_mut(index) else { return };
        // A query gets no answer: we are a client (BEP 43).
        if matches!(message.body, Body::Query(_)) {
            self.counters.ignored(Ignored::Refused);
            return;
        }
        let transaction = match family.answered(&message, from, now) {
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
                    self.maintenance.overheard(index, from, response.nodes, &mut self.families, now);
                    let Some(entry) = self.tasks.get_mut(&task) else { return };
                    match &mut entry.task {
                        Task::Search(search) if transaction.id == Some(response.id) => {
                            let verdict = search.answered(index, from, response, &self.families, now);
                            self.counters.checked(verdict);
                        }
                        Task::Search(search) => {
                            if let Some(expected) = &transaction.id {
                                search.refused(index, expected, from);
                            }
                        }
                        Task::Store(store) => match &transaction.id {
                            Some(id) if transaction.asked == Asked::Storage => {
                                store.acknowledged(index, id, from);
                            }
                            Some(id) if *id == response.id => store.heard(index, response, from, now),
                            Some(_) | None => {}
                        },
                    }
                    self.advance(task, now);
                }
                Purpose::Join => {
                    family.meet(from, response.nodes, now);
                    let own = family.id;
                    if self.maintenance.joined(index, now) {
                        let search = Search::new(own, Goal::Refresh, &[index], &mut self.families, now);
                        self.start(Task::Search(Box::new(search)), now);
                    }
                }
                Purpose::Presence | Purpose::Way => {
                    if transaction.purpose == Purpose::Way {
                        family.table.stores_nothing(&response.id, from);
                    }
                    let fresh = family.meet(from, response.nodes, now);
                    self.maintenance.named(index, fresh, now);
                }
            },
            Body::Error(refusal) => {
                let Some(id) = &transaction.id else { return };
                let has_no_values = refusal.code == UNKNOWN_METHOD;
                if has_no_values {
                    family.table.stores_nothing(id, from);
                }
                let Purpose::Task(task) = transaction.purpose else {
                    let to = Request { id: *id, address: from };
                    let families = &mut self.families;
                    self.maintenance.refused(index, to, &transaction, refusal.code, families, now);
                    return;
                };
                let Some(entry) = self.tasks.get_mut(&task) else { return };
                match &mut entry.task {
                    Task::Search(search) if has_no_values => search.stores_nothing(index, id, from, now),
                    Task::Search(search) => search.refused(index, id, from),
                    Task::Store(store) if transaction.asked == Asked::Storage => {
                        store.refused(index, id, from, refusal);
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
        self.families.wake();
        self.maintenance.hurry(now);
        self.tell_known(now);
    }

    fn search(&mut self, target: Id, goal: Goal, now: Instant) {
        let known = |index: usize| self.families.get(index).is_some_and(|family| !family.table.is_empty());
        // The usual case is IPv4 alone, with IPv6 where that finds nothing. A packet is stored in both.
        let among: &[usize] = match (known(0), known(1), &goal) {
            (true, true, Goal::Publish(_) | Goal::Find { keep_tokens: true, .. }) => &[0, 1],
            (false, true, _) => &[1],
            (_, _, _) => &[0],
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
        let index = Families::index_of(address);
        // Bootstrap nodes have enough to do with those who need them.
        if let Some(family) = self.families.get_mut(index).filter(|family| family.is_lost(now)) {
            family.strangers.forget();
            let id = family.id;
            self.families.ask_at(index, address, None, Method::FindNode(id), Purpose::Join, now);
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
                    if let Some((key, nodes)) = prepared.filter(|(_, [v4, v6])| v4.len() + v6.len() > 0) {
                        self.prepared.keep(key, number, nodes, now);
                    }
                }
                Outcome::Store(publication, prepared) => self.store(number, publication, prepared, now),
            },
        }
    }

    fn info(&self) -> DhtInfo {
        let table_size = self.families.iter().map(|family| family.table.len()).sum();
        let sightings = self.families.iter().filter_map(Family::sighting).collect();
        DhtInfo { local_addresses: self.addresses.clone(), table_size, sightings }
    }

    fn tell_known(&mut self, now: Instant) {
        let [v4, v6] = [0, 1].map(|index| self.families.get(index).map_or(0, |family| family.table.len()));
        self.counters.tell(&mut self.families, self.tasks.len(), v4, v6);
        // Whoever asks waits until somebody answers again.
        let can_answer = |family: &Family| !family.table.is_empty() && !family.is_cut_off(now);
        let count = if self.families.iter().any(can_answer) { v4 + v6 } else { 0 };
        self.known.send_if_modified(|known| std::mem::replace(known, count) != count);
    }
}
