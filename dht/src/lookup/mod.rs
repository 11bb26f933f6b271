//! One iterative search towards a target, in one family of addresses. Pure: it says whom to ask, and is told what came.
//!
//! Several requests are on their way at once. One that is overdue by its node's own measure gives its place to the
//! next node (hedging) and is still heard until it is given up, so that dead and slow nodes cost little. The search is
//! over when the nearest nodes have answered; only a network that stays silent ends it by time.

mod candidates;
mod choice;
mod crowd;
mod detours;
mod evidence;
#[cfg(test)]
mod tests;

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use candidates::{Candidate, Candidates, State};
pub(super) use choice::Poll;
use detours::Detours;

use super::{
    krpc::{Id, Response},
    reach::may_name,
    rtt::Rtt,
    table::Contact,
};

/// Nodes believed from one answer. Others send 8 or 20.
pub(super) const MAX_NAMED: usize = 20;

/// Requests in one search. A usual one takes about seventy. One that has to find its way around a crowd takes more, and so
/// does one in a network where half of those that are named never answer, until enough of the nearest have.
const MAX_REQUESTS: u32 = 240;

/// A value is stored on 20 nodes, some of which have gone or have missed it. So many of the nearest probably hold it.
const NEIGHBOURHOOD: usize = 20;

/// With so many answers from near the target, nodes that are overdue are not waited for.
const ENOUGH_ANSWERS: usize = 8;

/// The search is over although one in so many of the nearest nodes has not answered: the slowest would set the pace.
const STRAGGLERS: usize = 7;

/// Nodes asked in addition where those nearest say too little.
const WIDENING: usize = 16;

/// Nothing has answered for so long: the network is gone. Below the 2.5 s in which a client is told.
const SILENCE: Duration = Duration::from_millis(1500);

/// An answer may take this long before another node is asked in its place, whatever the estimates say. The lower bound
/// covers what a busy machine adds to any round trip.
const SHORTEST_LATENESS: Duration = Duration::from_millis(50);
const LONGEST_LATENESS: Duration = Duration::from_millis(800);

/// Before and during a store, an answer is waited for until it is late by so many deviations, and so long at least:
/// where answers come within a few milliseconds, a busy machine makes many of them late.
const PATIENCE: u32 = 3;
const SHORTEST_PATIENCE: Duration = Duration::from_millis(150);

/// A search.
#[derive(Debug)]
pub(super) struct Lookup {
    /// So many of the nearest nodes must have answered.
    width: usize,
    /// Something is to be stored on as many, on nearly all of them.
    pub(super) is_for_store: bool,
    /// What is known of the density is sound enough to tell a crowd from nodes that are near by chance.
    pub(super) sees_crowds: bool,
    /// Share of the key space per node that may hold values, where known.
    spacing: Option<f64>,
    candidates: Candidates,
    requests: u32,
    answers: u32,
    /// Or since when an answer could be expected.
    last_answer: Instant,
    given_up: Vec<(Id, SocketAddr)>,
    /// Nodes that it began with.
    seeds: usize,
    is_widened: bool,
    /// Nodes up to here lie closer together than chance allows.
    crowd_edge: Option<f64>,
    detours: Detours,
}

/// What a node is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Question {
    /// The value at the target.
    Value,
    /// Nodes near this place.
    Nodes(Id),
}

/// Whom to ask.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) id: Id,
    pub(super) address: SocketAddr,
}

/// A node that answered.
#[derive(Debug, Clone)]
pub(super) struct Responder {
    pub(super) id: Id,
    pub(super) address: SocketAddr,
    /// How long it took to answer.
    pub(super) rtt: Option<Rtt>,
    /// What it wants to see before it stores something.
    pub(super) token: Option<Box<[u8]>>,
    /// The `seq` of what it claims to hold at the target.
    pub(super) seq: Option<i64>,
}

impl Lookup {
    /// Begins with the nodes in `seeds`. `spacing`: share of the key space per node, where known.
    pub(super) fn new(
        target: Id,
        width: usize,
        spacing: Option<f64>,
        seeds: Vec<Contact>,
        now: Instant,
    ) -> Self {
        let mut lookup = Self {
            width,
            is_for_store: false,
            sees_crowds: false,
            spacing,
            candidates: Candidates::new(target),
            requests: 0,
            answers: 0,
            last_answer: now,
            given_up: Vec::new(),
            seeds: seeds.len(),
            is_widened: false,
            crowd_edge: None,
            detours: Detours::default(),
        };
        for seed in seeds {
            lookup.candidates.insert(seed, None);
        }
        lookup
    }

    pub(super) fn target(&self) -> Id {
        self.candidates.target()
    }

    /// Requests made.
    pub(super) fn requests(&self) -> u32 {
        self.requests
    }

    /// Nodes that answered.
    pub(super) fn answers(&self) -> u32 {
        self.answers
    }

    /// Nodes known to live that are near enough to hold the value, were there one, and have not failed.
    pub(super) fn likely_holders(&self) -> usize {
        let radius = self.radius();
        let near = self.candidates.iter().take_while(|candidate| candidate.distance() <= radius);
        near.filter(|candidate| candidate.stores && candidate.rtt.is_some() && !candidate.has_failed())
            .count()
    }

    /// The node at `address` has answered. `known`: what we know of those that it names.
    pub(super) fn answered(
        &mut self,
        address: SocketAddr,
        response: &Response<'_>,
        known: impl FnMut(&Id, SocketAddr) -> Standing,
        now: Instant,
    ) {
        let Some(index) = self.candidates.position(&response.id, address) else { return };
        let Some(candidate) = self.candidates.get(index) else { return };
        match candidate.state {
            State::Asked { .. } | State::Late { .. } => {
                let stores = candidate.stores;
                let seq = response.held().filter(|_| stores);
                let token = response.short_token().filter(|_| stores);
                self.candidates.answered(index, token, seq);
                self.answers += 1;
                self.crowd_edge = self.crowd_edge();
            }
            State::Answered { .. } if self.detours.answered(address) => {}
            State::Answered { .. } | State::Untried | State::Failed => return,
        }
        self.last_answer = now;
        self.hear_of(address, response, known);
    }

    /// Takes in the nodes that the one at `from` names.
    fn hear_of(
        &mut self,
        from: SocketAddr,
        response: &Response<'_>,
        mut known: impl FnMut(&Id, SocketAddr) -> Standing,
    ) {
        let source = self.candidates.add_source();
        for (id, address) in response.nodes.iter().take(MAX_NAMED) {
            if !may_name(from, address) {
                continue;
            }
            match known(&id, address) {
                Standing::Alive(contact) => self.candidates.insert(contact, None),
                Standing::Unknown => {
                    self.candidates.insert(Contact { id, address, rtt: None, stores: true }, Some(source));
                }
                Standing::Dead => {}
            }
        }
    }

    /// The node `id` has no BEP 44. On the way to the target it is asked for other nodes.
    pub(super) fn stores_nothing(&mut self, id: &Id, address: SocketAddr, now: Instant) {
        if let Some(index) = self.candidates.position(id, address) {
            self.candidates.stores_nothing(index);
            self.last_answer = now;
        }
    }

    /// The node `id` has refused, or answered with nonsense.
    pub(super) fn refused(&mut self, id: &Id, address: SocketAddr) {
        if let Some(index) = self.candidates.position(id, address) {
            self.candidates.fail(index);
        }
    }

    /// Nodes that did not answer in time and have not been handed out before.
    pub(super) fn take_given_up(&mut self) -> Vec<(Id, SocketAddr)> {
        std::mem::take(&mut self.given_up)
    }

    /// Goes on outwards, once, with more nodes that we know: the nearest that answered may belong to one operator, who
    /// names only their own nodes. Returns whether that makes sense.
    pub(super) fn widen(&mut self, seeds: Vec<Contact>) -> bool {
        if self.is_widened || self.answers == 0 {
            return false;
        }
        self.is_widened = true;
        self.width += WIDENING;
        for seed in seeds {
            self.candidates.insert(seed, None);
        }
        true
    }

    /// Whether it is over by now, once requests that are overdue are counted as such.
    pub(super) fn has_ended(&mut self, now: Instant) -> bool {
        self.expire_requests(now);
        self.is_over(now)
    }

    /// Whether the nearest nodes have answered, or nothing more is to be expected.
    fn is_over(&self, now: Instant) -> bool {
        if self.is_silent(now) {
            return true;
        }
        let exhausted = self.requests >= MAX_REQUESTS;
        if self.detours.are_under_way(now) || (!exhausted && self.detour().is_some()) {
            return false;
        }
        let (mut answered, mut open) = (0, 0);
        for (_, candidate) in self.witnesses() {
            match candidate.state {
                State::Answered { .. } => answered += 1,
                State::Untried if exhausted => {}
                State::Untried | State::Asked { .. } => open += 1,
                State::Late { patience, .. } if now < patience => open += 1,
                State::Late { .. } | State::Failed => {}
            }
            if answered + open >= self.width {
                break;
            }
        }
        let suffice = answered >= ENOUGH_ANSWERS.min(self.width);
        let is_missed = |candidate: &Candidate| match candidate.state {
            State::Late { patience, .. } => now < patience || !suffice,
            State::Untried | State::Asked { .. } | State::Answered { .. } | State::Failed => false,
        };
        let may_ask =
            || !exhausted && self.pool().any(|(_, candidate)| self.candidates.is_eligible(candidate));
        if self.candidates.in_time() == 0 && !may_ask() {
            return !self.candidates.iter().any(is_missed);
        }
        if self.is_for_store {
            // The nearest but one, and as many in all: the slowest is not to set the pace.
            let are_found = answered + 1 >= self.width && self.answered_candidates().count() >= self.width;
            return open <= 1 && are_found;
        }
        if open > 0 {
            let stragglers = self.width / STRAGGLERS;
            return open <= stragglers && answered + stragglers >= self.width;
        }
        suffice || !self.candidates.iter().any(is_missed)
    }

    /// When something is to be decided although nothing arrives.
    fn wake_at(&self, now: Instant) -> Instant {
        let next = self.candidates.iter().filter_map(|candidate| match candidate.state {
            State::Asked { late, .. } => Some(late),
            State::Late { patience, hopeless } => Some(if patience > now { patience } else { hopeless }),
            State::Untried | State::Answered { .. } | State::Failed => None,
        });
        let detours = self.detours.wake_at(self.last_answer);
        next.chain(detours).fold(self.last_answer + SILENCE, Instant::min)
    }

    /// Whether nodes beside the target lie closer together than chance allows.
    pub(super) fn has_crowd(&self) -> bool {
        self.crowd_edge.is_some()
    }

    /// The nodes that answered, nearest first.
    pub(super) fn responders(&self) -> Vec<Responder> {
        let responder = |candidate: &Candidate| match &candidate.state {
            State::Answered { token, seq } => Some(Responder {
                id: candidate.id,
                address: candidate.address,
                rtt: candidate.rtt,
                token: token.clone(),
                seq: *seq,
            }),
            State::Untried | State::Asked { .. } | State::Late { .. } | State::Failed => None,
        };
        self.candidates.iter().filter_map(responder).collect()
    }

    /// Nodes nearer than this share of the key space probably hold what is stored at the target.
    fn radius(&self) -> f64 {
        self.spacing.map_or(0.0, |spacing| spacing * NEIGHBOURHOOD as f64)
    }

    fn is_silent(&self, now: Instant) -> bool {
        now >= self.last_answer + SILENCE
    }

    /// Counts requests as late or given up that are so by now.
    fn expire_requests(&mut self, now: Instant) {
        self.given_up.append(&mut self.candidates.expire_requests(now));
    }
}

/// What is known of a node that another one names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It has answered us.
    Alive(Contact),
    /// It did not answer when it was last asked, a moment ago.
    Dead,
    /// Nothing.
    Unknown,
}

/// How long a node may take to answer the search before a store, and to confirm the store: there is less hurry than
/// where a client waits for a packet. Never less than is usual among all nodes: when it is our own side that is slow,
/// they are all late.
pub(super) fn patience(rtt: Option<Rtt>, typical: &Rtt) -> Duration {
    let patience = rtt.map_or(typical.late_by(PATIENCE), |rtt| rtt.late_by(PATIENCE).max(typical.smoothed()));
    patience.clamp(SHORTEST_PATIENCE, LONGEST_LATENESS)
}

/// How long a node may take before another is asked in its place. Not much less than is usual among all nodes: when it
/// is our own side that is slow, they are all late.
fn lateness(rtt: Option<Rtt>, typical: &Rtt) -> Duration {
    let lateness = match rtt {
        Some(rtt) => rtt.late_soon().max(typical.smoothed().mul_f64(0.75)),
        None => typical.late_soon(),
    };
    lateness.clamp(SHORTEST_LATENESS, LONGEST_LATENESS)
}
