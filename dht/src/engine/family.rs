//! The DHT of one family of addresses (BEP 32: IPv4 and IPv6 are two networks): the nodes that are known, and the
//! requests on their way.

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    num::NonZeroUsize,
    time::{Duration, Instant},
};

use ahash::RandomState;
use lru::LruCache;

use super::{density::Density, round_trips::RoundTrips, strangers::Strangers};
use crate::{
    family::Family,
    krpc::{Body, Id, Message, Method, Nodes, Query, Want},
    lookup::{Lookup, MAX_NAMED, Standing},
    node_id::{self, AddressVotes, Sighting},
    observer::{Asked, Ignored},
    reach::may_name,
    rtt::Rtt,
    socket::Outbox,
    table::{Contact, RoutingTable},
};

/// An answer that comes later than this is that of a stranger.
const TRANSACTION_LIFETIME: Duration = Duration::from_secs(2);

/// Requests that may be answered at one time.
const MAX_TRANSACTIONS: usize = 1 << 18;

/// Nodes remembered as dead. Each is named again and again by those who have not noticed yet.
const MAX_DEAD: NonZeroUsize = NonZeroUsize::MIN.saturating_add(16_383);

/// How long a node that did not answer is left alone. It doubles with each failure: a lost datagram is no reason to
/// do without a node for long.
const SHORTEST_REST: Duration = Duration::from_secs(20);
const LONGEST_REST: Duration = Duration::from_secs(1800);

/// When nothing at all has answered for so long, it is our own line that is down and no node's fault.
const OUTAGE: Duration = Duration::from_secs(2);

/// When nobody has answered for so long although asked, it may be our own line, and we do not ask many.
const SILENCE: Duration = Duration::from_secs(1);

/// When nobody has answered for so long although asked, we join again; and when so many requests to nodes that answered
/// the last time have gone without an answer for the shorter time, and nothing else has come since they were sent. That
/// happens with one request in ten, with ten of them never by chance.
const LOSS: Duration = Duration::from_secs(10);
const QUIET: Duration = Duration::from_millis(500);
const QUIET_REQUESTS: usize = 10;

/// What round trips are taken to be before there is any experience.
const FIRST_RTT: Duration = Duration::from_millis(150);

/// Nodes that a search begins with. More than are asked at once, so that the quickest of them can be.
const SEEDS: usize = 32;

/// What is known of the DHT of one family, and what is on its way there.
#[derive(Debug)]
pub(super) struct FamilyState {
    /// Our own id. Nobody has to find us, as we answer no queries.
    pub(super) id: Id,
    pub(super) table: RoutingTable,
    /// Round trips of all nodes.
    pub(super) typical: Rtt,
    pub(super) density: Density,
    pub(super) outbox: Outbox,
    /// Nodes that somebody named, and that are to be asked whether they are there.
    pub(super) strangers: Strangers,
    round_trips: RoundTrips,
    votes: AddressVotes,
    want: Want,
    transactions: HashMap<u32, Transaction>,
    /// Requests that were not answered in time and are not counted yet, at most [`MAX_TRANSACTIONS`].
    pub(super) overdue: Vec<Asked>,
    expiry: VecDeque<(Instant, u32)>,
    dead: LruCache<SocketAddr, Rest, RandomState>,
    last_response: Instant,
    /// The first request since then.
    unanswered: Option<Instant>,
    /// When nodes were asked since then that were expected to answer.
    expected: Vec<Instant>,
    /// The machine may have slept, and nobody has answered since.
    is_woken: bool,
}

/// A request on its way.
#[derive(Debug, Clone, Copy)]
pub(super) struct Transaction {
    /// `None`: the id is not known.
    pub(super) id: Option<Id>,
    pub(super) purpose: Purpose,
    pub(super) asked: Asked,
    address: SocketAddr,
    sent: Instant,
}

/// What a request is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Purpose {
    /// A search or a store, by number.
    Task(u64),
    /// To join.
    Join,
    /// To see whether the node is there, and whom it knows.
    Presence,
    /// The same of a node that has no BEP 44.
    Way,
}

#[derive(Debug)]
struct Rest {
    until: Instant,
    failures: u32,
}

impl FamilyState {
    pub(super) fn new(id: Id, family: Family, max_nodes: usize, now: Instant) -> Self {
        let is_ipv4 = family == Family::V4;
        Self {
            id,
            table: RoutingTable::new(max_nodes, is_ipv4, now),
            typical: Rtt::first(FIRST_RTT),
            density: Density::default(),
            outbox: Outbox::default(),
            strangers: Strangers::new(now),
            round_trips: RoundTrips::default(),
            votes: AddressVotes::default(),
            want: if is_ipv4 { Want::default() } else { Want { v4: false, v6: true } },
            transactions: HashMap::new(),
            overdue: Vec::new(),
            expiry: VecDeque::new(),
            dead: LruCache::with_hasher(MAX_DEAD, RandomState::new()),
            last_response: now,
            unanswered: None,
            expected: Vec::with_capacity(QUIET_REQUESTS),
            is_woken: false,
        }
    }

    /// A search that begins with the nodes we know.
    pub(super) fn begin(&mut self, target: Id, width: usize, is_for_store: bool, now: Instant) -> Lookup {
        self.table.looked_up(&target);
        let mut lookup =
            Lookup::new(target, width, self.density.spacing(), self.table.closest(&target, SEEDS), now);
        lookup.is_for_store = is_for_store;
        lookup.sees_crowds = self.density.is_sound();
        lookup
    }

    /// Nodes that a search goes on with, where those it began with did not lead anywhere.
    pub(super) fn more(&self, target: &Id) -> Vec<Contact> {
        self.table.closest(target, SEEDS * 2)
    }

    /// Puts a query into the outbox, under the transaction id `number`, which nobody must be able to foresee.
    pub(super) fn ask(
        &mut self,
        address: SocketAddr,
        id: Option<Id>,
        method: Method<'_>,
        purpose: Purpose,
        number: u32,
        now: Instant,
    ) {
        self.expire(now);
        if self.transactions.len() >= MAX_TRANSACTIONS {
            return;
        }
        // A node that is to store something may be too busy to answer.
        let is_expected = id.is_some_and(|id| self.table.is_reliable(&id, address));
        if is_expected && self.expected.len() < QUIET_REQUESTS && !matches!(method, Method::Put(_)) {
            self.expected.push(now);
        }
        let asked = asked(&method);
        let body = Body::Query(Query { id: self.id, want: self.want, method });
        let message = Message { transaction: &number.to_be_bytes(), read_only: true, observed: None, body };
        self.outbox.push(address, |buffer| message.encode(buffer));
        self.transactions.insert(number, Transaction { id, purpose, asked, address, sent: now });
        self.expiry.push_back((now + TRANSACTION_LIFETIME, number));
        self.unanswered.get_or_insert(now);
    }

    /// The request that `message` from `from` answers, which is over with this.
    pub(super) fn answered(
        &mut self,
        message: &Message<'_>,
        from: SocketAddr,
        now: Instant,
    ) -> Result<Transaction, Ignored> {
        let number = message.transaction.try_into().map_err(|_| Ignored::UnknownTransaction)?;
        let number = u32::from_be_bytes(number);
        self.expire(now);
        let transaction = *self.transactions.get(&number).ok_or(Ignored::UnknownTransaction)?;
        if transaction.address != from {
            return Err(Ignored::WrongAddress);
        }
        self.transactions.remove(&number);
        (self.last_response, self.unanswered, self.is_woken) = (now, None, false);
        self.expected.clear();
        let rtt = transaction.round_trip(now);
        self.round_trips.observe(rtt, &mut self.typical);
        if let Body::Response(response) = &message.body {
            // If it is not who we thought, that one leaves the table with this.
            self.table.answered(response.id, from, rtt, now);
            self.dead.pop(&from);
        }
        if let Some(seen) = message.observed {
            self.votes.observe(from, seen.ip());
            self.keep_id_valid();
        }
        Ok(transaction)
    }

    /// A node did not answer in time.
    pub(super) fn gave_up(&mut self, id: &Id, address: SocketAddr, now: Instant) {
        if now.saturating_duration_since(self.last_response) > OUTAGE {
            return;
        }
        self.table.failed(id, address, now);
        let failures = self.dead.peek(&address).map_or(0, |rest| rest.failures);
        let rest = SHORTEST_REST.saturating_mul(2u32.saturating_pow(failures)).min(LONGEST_REST);
        self.dead.put(address, Rest { until: now + rest, failures: failures.saturating_add(1) });
    }

    /// What is known of a node that another one named.
    pub(super) fn standing(&self, id: &Id, address: SocketAddr, now: Instant) -> Standing {
        // Some nodes name us in spite of BEP 43.
        if *id == self.id || self.is_left_alone(address, now) {
            return Standing::Dead;
        }
        self.table.known(id, address).map_or(Standing::Unknown, Standing::Alive)
    }

    /// A node has named these: those that there is room for are to be asked whether they are there, unless enough
    /// others wait for that. Returns how many were not heard of lately.
    pub(super) fn meet(&mut self, from: SocketAddr, named: Nodes<'_>, now: Instant) -> usize {
        let mut fresh = 0;
        for (id, address) in named.iter().take(MAX_NAMED).filter(|(_, named)| may_name(from, *named)) {
            if self.is_welcome(&id, address, now) {
                fresh += usize::from(self.strangers.meet(id, address, now));
            }
        }
        fresh
    }

    /// The next node to be asked whether it is there.
    pub(super) fn next_stranger(&mut self, now: Instant) -> Option<(Id, SocketAddr)> {
        loop {
            let (id, address) = self.strangers.next()?;
            // Others may have taken its place.
            if self.is_welcome(&id, address, now) {
                return Some((id, address));
            }
        }
    }

    fn is_welcome(&self, id: &Id, address: SocketAddr, now: Instant) -> bool {
        *id != self.id && self.table.has_room_for(id, address) && !self.is_left_alone(address, now)
    }

    /// Whether the node there did not answer when it was last asked, a moment ago.
    fn is_left_alone(&self, address: SocketAddr, now: Instant) -> bool {
        self.dead.peek(&address).is_some_and(|rest| now < rest.until)
    }

    /// Whether nobody has answered yet, or everybody has been silent although asked.
    pub(super) fn is_disconnected(&self, now: Instant) -> bool {
        self.table.is_empty() || !self.table.has_heard() || self.is_cut_off(now)
    }

    /// Whether everybody has fallen silent, as after a change of networks.
    pub(super) fn is_cut_off(&self, now: Instant) -> bool {
        let is_quiet = self.expected.len() >= QUIET_REQUESTS
            && self.expected.iter().all(|sent| now.saturating_duration_since(*sent) >= QUIET);
        self.is_woken || self.silence(now) > LOSS || is_quiet
    }

    /// The machine may have slept: what is on its way is lost, for no fault of the nodes.
    pub(super) fn wake(&mut self) {
        self.is_woken = true;
        self.unanswered = None;
        self.expected.clear();
        self.transactions.clear();
        self.expiry.clear();
        self.forgive();
    }

    /// That nodes did not answer said nothing about them.
    pub(super) fn forgive(&mut self) {
        self.dead.clear();
        self.strangers.forget();
    }

    /// Whether nobody has answered for a while although asked.
    pub(super) fn is_silent(&self, now: Instant) -> bool {
        self.silence(now) > SILENCE
    }

    fn silence(&self, now: Instant) -> Duration {
        self.unanswered.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }

    /// Where other nodes of this family see us.
    pub(super) fn sighting(&self) -> Option<Sighting> {
        self.votes.sighting()
    }

    #[cfg(test)]
    pub(super) fn transactions_under_way(&self) -> usize {
        self.transactions.len().max(self.expiry.len())
    }

    /// BEP 42: our id follows from the address that others see us at, once they agree on it.
    fn keep_id_valid(&mut self) {
        if let Some(ip) = self.votes.external().filter(|ip| !node_id::is_valid(&self.id, *ip)) {
            self.id = node_id::for_address(ip);
        }
    }

    /// Forgets requests that were not answered in time.
    pub(super) fn expire(&mut self, now: Instant) {
        while let Some(&(_, number)) = self.expiry.front().filter(|(at, _)| now >= *at) {
            self.expiry.pop_front();
            let is_overdue = |transaction: &Transaction| {
                now.saturating_duration_since(transaction.sent) >= TRANSACTION_LIFETIME
            };
            // The number may have been drawn again since.
            let Some(overdue) = self.transactions.get(&number).copied().filter(is_overdue) else { continue };
            self.transactions.remove(&number);
            self.overdue.push(overdue.asked);
            // Searches see for themselves who does not answer.
            if let (Purpose::Presence | Purpose::Way, Some(id)) = (overdue.purpose, &overdue.id) {
                self.gave_up(id, overdue.address, now);
            }
        }
    }
}

impl Transaction {
    /// How long its answer took that comes now.
    pub(super) fn round_trip(&self, now: Instant) -> Duration {
        now.saturating_duration_since(self.sent)
    }
}

/// What a request by this method asks for.
fn asked(method: &Method<'_>) -> Asked {
    match method {
        Method::Get { .. } => Asked::Packet,
        Method::Put(_) => Asked::Storage,
        Method::Ping | Method::FindNode(_) | Method::GetPeers(_) | Method::Unknown(_) => Asked::Nodes,
    }
}
