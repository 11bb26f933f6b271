//! Who is next. Pure: knows nothing of tasks and of waking them.

use std::{
    collections::{BTreeMap, HashMap},
    hash::Hash,
};

use super::{Full, Limits};

/// Those who work are counted; those who wait stand in one line per client `C`, each with a `W` by which to call it.
#[derive(Debug)]
pub(super) struct Turns<C, W> {
    limits: Limits,
    in_flight: usize,
    queued: usize,
    /// None is empty.
    lines: HashMap<C, Line<W>>,
    /// The clients that have a line, by their turns: the first is next.
    order: BTreeMap<u64, C>,
    next_number: u64,
}

/// Those who wait for one client, by their tickets: the first is next.
#[derive(Debug)]
struct Line<W> {
    turn: u64,
    waiting: BTreeMap<u64, W>,
}

impl<C: Copy + Eq + Hash, W> Turns<C, W> {
    pub(super) fn new(limits: Limits) -> Self {
        Self {
            limits,
            in_flight: 0,
            queued: 0,
            lines: HashMap::new(),
            order: BTreeMap::new(),
            next_number: 0,
        }
    }

    /// Counts one more at work, unless there are enough. Nobody is overtaken: while one waits there are enough.
    pub(super) fn start(&mut self) -> bool {
        let is_free = self.in_flight < self.limits.in_flight;
        self.in_flight += usize::from(is_free);
        is_free
    }

    /// Puts one at the end of its client's line. Returns its ticket.
    pub(super) fn wait(&mut self, client: C, waiting: W) -> Result<u64, Full> {
        let length = self.lines.get(&client).map_or(0, |line| line.waiting.len());
        if self.queued >= self.limits.queued || length >= self.limits.queued_per_client {
            return Err(Full);
        }
        let ticket = self.number();
        let turn = self.number();
        let line = self.lines.entry(client).or_insert_with(|| {
            self.order.insert(turn, client);
            Line { turn, waiting: BTreeMap::new() }
        });
        line.waiting.insert(ticket, waiting);
        self.queued += 1;
        Ok(ticket)
    }

    /// Takes one out of its line, if it still stands there.
    pub(super) fn leave(&mut self, client: &C, ticket: u64) {
        let Some(line) = self.lines.get_mut(client) else { return };
        if line.waiting.remove(&ticket).is_none() {
            return;
        }
        self.queued = self.queued.saturating_sub(1);
        if line.waiting.is_empty() {
            self.order.remove(&line.turn);
            self.lines.remove(client);
        }
    }

    /// One has ended its work. Returns who takes its place; that one counts as working already.
    pub(super) fn end(&mut self) -> Option<W> {
        let next = self.call();
        if next.is_none() {
            self.in_flight = self.in_flight.saturating_sub(1);
        }
        next
    }

    pub(super) fn in_flight(&self) -> usize {
        self.in_flight
    }

    pub(super) fn queued(&self) -> usize {
        self.queued
    }

    /// Takes the first out of the line whose turn it is; its client's next turn comes after those of all others.
    fn call(&mut self) -> Option<W> {
        let turn = self.number();
        let (_, client) = self.order.pop_first()?;
        let line = self.lines.get_mut(&client)?;
        let (_, called) = line.waiting.pop_first()?;
        self.queued = self.queued.saturating_sub(1);
        if line.waiting.is_empty() {
            self.lines.remove(&client);
        } else {
            line.turn = turn;
            self.order.insert(turn, client);
        }
        Some(called)
    }

    /// Each is greater than those before; 64 bits last for longer than any server.
    fn number(&mut self) -> u64 {
        self.next_number = self.next_number.wrapping_add(1);
        self.next_number
    }
}

#[cfg(test)]
impl<C, W> Turns<C, W> {
    /// Lines and turns that are held in memory.
    pub(super) fn lines(&self) -> (usize, usize) {
        (self.lines.len(), self.order.len())
    }
}
