//! Who is next. Pure: knows nothing of tasks and of waking them.

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    hash::Hash,
};

use super::{Full, Limits};

/// How much of all one client may have.
#[derive(Debug, Clone, Copy)]
pub(super) struct Shares {
    /// So many times as many at work as there are places left. With four, a lone client gets four fifths of all, five
    /// that want all they can get have 4/21 each, and whoever comes next still finds some that are free.
    pub(super) times_free: usize,
    /// But at least so many while anything is left; where nothing is, the one that has the most gives one up for it.
    pub(super) least: usize,
}

const SHARES: Shares = Shares { times_free: 4, least: 32 };

/// Those who work are counted; those who wait stand in one line per client `C`, each with a `W` by which to call it.
#[derive(Debug)]
pub(super) struct Turns<C, W> {
    limits: Limits,
    shares: Shares,
    in_flight: usize,
    queued: usize,
    /// Those who have something at work or a line.
    clients: HashMap<C, Client<W>>,
    /// The clients that have a line, by how many they have at work and then by their turns: the first is next.
    order: BTreeMap<(usize, u64), C>,
    /// The same by the lengths of their lines: the last has the longest.
    lengths: BTreeMap<(usize, u64), C>,
    /// The clients that have something at work, by how many that are not to end; the last has the most.
    most: BTreeMap<(usize, u64), C>,
    next_number: u64,
}

#[derive(Debug)]
struct Client<W> {
    /// By their numbers: the first has worked for the longest time.
    working: BTreeSet<u64>,
    /// Those that were asked to end and have not yet.
    ending: usize,
    turn: u64,
    /// Its line, by tickets: the first is next.
    line: BTreeMap<u64, W>,
}

/// What became of one that has to wait.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Waits<W> {
    /// By which it can leave its line.
    pub(super) ticket: u64,
    /// Whoever leaves the longest line for it, where no more may wait.
    pub(super) gives_way: Option<W>,
    /// The number of one at work that is to end for it.
    pub(super) revoked: Option<u64>,
}

/// One whose turn it is, with its number: it counts as working already.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Called<C, W> {
    pub(super) client: C,
    pub(super) number: u64,
    pub(super) waiting: W,
}

impl<C: Copy + Eq + Hash, W> Turns<C, W> {
    pub(super) fn new(limits: Limits) -> Self {
        Self::with_shares(limits, SHARES)
    }

    pub(super) fn with_shares(limits: Limits, shares: Shares) -> Self {
        Self {
            limits,
            shares,
            in_flight: 0,
            queued: 0,
            clients: HashMap::new(),
            order: BTreeMap::new(),
            lengths: BTreeMap::new(),
            most: BTreeMap::new(),
            next_number: 0,
        }
    }

    /// Counts one more at work for `client` and returns its number, unless the client has its share. Nobody is
    /// overtaken: those who wait have theirs.
    pub(super) fn start(&mut self, client: C) -> Option<u64> {
        let at_work = self.clients.get(&client).map_or(0, Client::at_work);
        if at_work >= self.share() {
            return None;
        }
        let number = self.number();
        self.in_flight += 1;
        self.change(client, |client| client.working.insert(number));
        Some(number)
    }

    /// Puts one at the end of its client's line. Where no more may wait, the last in the longest line gives way to it,
    /// unless there is no line longer than this one.
    pub(super) fn wait(&mut self, client: C, waiting: W) -> Result<Waits<W>, Full> {
        let length = self.clients.get(&client).map_or(0, |client| client.line.len());
        if length >= self.limits.queued_per_client {
            return Err(Full);
        }
        let mut gives_way = None;
        if self.queued >= self.limits.queued {
            let longest = self.lengths.last_key_value().filter(|((longest, _), _)| *longest > length + 1);
            let (_, longest) = longest.ok_or(Full)?;
            gives_way = self.change(*longest, |client| client.line.pop_last()).map(|(_, last)| last);
            self.queued = self.queued.saturating_sub(1);
        }
        let (ticket, turn) = (self.number(), self.number());
        let wanted = self.change(client, |client| {
            if client.line.is_empty() {
                client.turn = turn;
            }
            client.line.insert(ticket, waiting);
            client.at_work() + client.line.len()
        });
        self.queued += 1;
        Ok(Waits { ticket, gives_way, revoked: self.revoke(wanted) })
    }

    /// The oldest of the client that has the most, for one that will have `wanted`.
    fn revoke(&mut self, wanted: usize) -> Option<u64> {
        let ((most, _), client) = self.most.last_key_value()?;
        if wanted > self.shares.least || *most <= wanted {
            return None;
        }
        self.change(*client, |client| {
            let oldest = client.working.pop_first();
            client.ending += usize::from(oldest.is_some());
            oldest
        })
    }

    /// Takes one out of its line, if it still stands there.
    pub(super) fn leave(&mut self, client: C, ticket: u64) {
        let left = self.change(client, |client| client.line.remove(&ticket));
        self.queued = self.queued.saturating_sub(usize::from(left.is_some()));
    }

    /// The one with this number, of `client`, has ended its work. Returns who takes its place.
    pub(super) fn end(&mut self, client: C, number: u64) -> Option<Called<C, W>> {
        self.in_flight = self.in_flight.saturating_sub(1);
        self.change(client, |client| {
            if !client.working.remove(&number) {
                client.ending = client.ending.saturating_sub(1);
            }
        });
        self.call()
    }

    /// From now on so many may work at once. Returns those who may begin.
    pub(super) fn resize(&mut self, in_flight: usize) -> Vec<Called<C, W>> {
        self.limits.in_flight = in_flight;
        std::iter::from_fn(|| self.call()).collect()
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    pub(super) fn queued(&self) -> usize {
        self.queued
    }

    /// As long as a client has fewer at work, it may start one more.
    fn share(&self) -> usize {
        match self.limits.in_flight.saturating_sub(self.in_flight) {
            0 => 0,
            free => free.saturating_mul(self.shares.times_free).max(self.shares.least),
        }
    }

    /// Takes the first out of the line of the client that has the fewest at work, if it may have one more; of several,
    /// of the one whose last turn is longest ago.
    fn call(&mut self) -> Option<Called<C, W>> {
        let ((at_work, _), client) = self.order.first_key_value()?;
        if *at_work >= self.share() {
            return None;
        }
        let (client, number) = (*client, self.number());
        let (_, waiting) = self.change(client, |client| {
            client.turn = number;
            client.working.insert(number);
            client.line.pop_first()
        })?;
        self.in_flight += 1;
        self.queued = self.queued.saturating_sub(1);
        Some(Called { client, number, waiting })
    }

    /// Changes what is known of a client, and with it its place among the others. Nothing is kept of one that neither
    /// works nor waits.
    fn change<R>(&mut self, client: C, change: impl FnOnce(&mut Client<W>) -> R) -> R {
        let known = self.clients.entry(client).or_insert_with(Client::new);
        if !known.line.is_empty() {
            self.order.remove(&(known.at_work(), known.turn));
            self.lengths.remove(&(known.line.len(), known.turn));
        }
        if let Some(oldest) = known.working.first() {
            self.most.remove(&(known.working.len(), *oldest));
        }
        let result = change(known);
        if !known.line.is_empty() {
            self.order.insert((known.at_work(), known.turn), client);
            self.lengths.insert((known.line.len(), known.turn), client);
        }
        if let Some(oldest) = known.working.first() {
            self.most.insert((known.working.len(), *oldest), client);
        }
        if known.line.is_empty() && known.at_work() == 0 {
            self.clients.remove(&client);
        }
        result
    }

    /// Each is greater than those before; 64 bits last for longer than any server.
    fn number(&mut self) -> u64 {
        self.next_number = self.next_number.wrapping_add(1);
        self.next_number
    }
}

impl<W> Client<W> {
    fn new() -> Self {
        Self { working: BTreeSet::new(), ending: 0, turn: 0, line: BTreeMap::new() }
    }

    fn at_work(&self) -> usize {
        self.working.len() + self.ending
    }
}

#[cfg(test)]
impl<C, W> Turns<C, W> {
    /// Lines that are held in memory, and places of lines in both orders.
    pub(super) fn lines(&self) -> (usize, usize) {
        assert_eq!(self.order.len(), self.lengths.len());
        assert_eq!(
            self.most.len(),
            self.clients.values().filter(|client| !client.working.is_empty()).count()
        );
        (self.clients.values().filter(|client| !client.line.is_empty()).count(), self.order.len())
    }

    /// Clients that are held in memory.
    pub(super) fn clients(&self) -> usize {
        self.clients.len()
    }
}
