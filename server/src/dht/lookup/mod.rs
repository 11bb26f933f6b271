//! One iterative search towards a target, in one family of addresses. Pure: it says whom to ask, and is told what came.
//!
//! Several requests are on their way at once. One that is overdue by its node's own measure gives its place to the
//! next node (hedging) and is still heard until it is given up, so that dead and slow nodes cost little. The search is
//! over when the nearest nodes have spoken; only a network that stays silent ends it by time.

mod candidates;
#[cfg(test)]
mod tests;

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use candidates::{Candidate, Candidates, State, may_name};

use super::{
    krpc::{Id, Nodes},
    rtt::Rtt,
    table::Contact,
};

/// Nodes believed from one answer. Others send 8 or 20.
const MAX_NAMED: usize = 20;

/// Requests in one search. A search through ten million nodes takes about fifty.
const MAX_REQUESTS: u32 = 96;

/// With so many answers from near the target, nodes that are overdue are not waited for.
const ENOUGH_ANSWERS: usize = 8;

/// Nothing has answered for so long: the network is gone. Below the 2.5 s in which a client is told.
const SILENCE: Duration = Duration::from_millis(1500);

/// An answer may take this long before another node is asked in its place, whatever the estimates say. The lower bound
/// covers what a busy machine adds to any round trip.
const SHORTEST_LATENESS: Duration = Duration::from_millis(50);
const LONGEST_LATENESS: Duration = Duration::from_millis(800);

/// A node that nobody has heard from yet is expected to take longer by this factor, as it may be gone.
const STRANGER_PENALTY: f64 = 1.5;

/// A search.
#[derive(Debug)]
pub(super) struct Lookup {
    /// So many of the nearest nodes must have spoken.
    width: usize,
    /// Nodes nearer than this share of the key space probably hold what is stored at the target.
    radius: f64,
    candidates: Candidates,
    requests: u32,
    answers: u32,
    last_answer: Instant,
    given_up: Vec<(Id, SocketAddr)>,
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
    /// What it wants to see before it stores something.
    pub(super) token: Option<Box<[u8]>>,
    /// The number of what it holds at the target, by its own word.
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
            // A value is stored on 20 nodes; those at the edge may have missed it.
            radius: spacing.map_or(0.0, |spacing| spacing * 16.0),
            candidates: Candidates::new(target),
            requests: 0,
            answers: 0,
            last_answer: now,
            given_up: Vec::new(),
        };
        for Contact { id, address, rtt } in seeds {
            lookup.candidates.insert(id, address, rtt, None);
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

    /// Whether there is a node to ask while fewer than `parallel` requests are on their way in good time.
    pub(super) fn wants(&mut self, parallel: usize, now: Instant) -> bool {
        self.settle(now);
        let may = self.requests < MAX_REQUESTS && self.in_time() < parallel && !self.is_silent(now);
        may && self
            .candidates
            .window(self.width)
            .any(|(_, candidate)| matches!(candidate.state, State::Untried))
    }

    /// The next node to ask, which then counts as asked. `typical`: the round trips of all nodes.
    pub(super) fn next(&mut self, typical: &Rtt, now: Instant) -> Option<Request> {
        let index = self.choose(typical)?;
        let candidate = self.candidates.get_mut(index)?;
        let late = lateness(candidate.rtt, typical);
        candidate.state = State::Asked { late: now + late, hopeless: now + late * 2 };
        self.requests += 1;
        Some(Request { id: candidate.id, address: candidate.address })
    }

    /// The node `id` has answered. `nodes`: whom it named. `known`: what we know of those.
    pub(super) fn answered(
        &mut self,
        id: &Id,
        address: SocketAddr,
        token: Option<&[u8]>,
        seq: Option<i64>,
        nodes: Nodes<'_>,
        mut known: impl FnMut(&Id, SocketAddr) -> Standing,
        now: Instant,
    ) {
        let Some(index) = self.candidates.position(id, address) else { return };
        let state = self.candidates.get_mut(index).map(|candidate| &candidate.state);
        if matches!(state, None | Some(State::Answered { .. } | State::Untried)) {
            return;
        }
        self.candidates.answered(index, token, seq);
        self.answers += 1;
        self.last_answer = now;
        let source = self.candidates.add_source();
        for (id, named) in nodes.iter().take(MAX_NAMED) {
            if !may_name(address, named) {
                continue;
            }
            match known(&id, named) {
                Standing::Alive(rtt) => self.candidates.insert(id, named, Some(rtt), None),
                Standing::Unknown => self.candidates.insert(id, named, None, Some(source)),
                Standing::Dead => {}
            }
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

    /// Whether the nearest nodes have spoken, or nothing more is to be expected.
    pub(super) fn is_over(&mut self, now: Instant) -> bool {
        self.settle(now);
        if self.is_silent(now) {
            return true;
        }
        let exhausted = self.requests >= MAX_REQUESTS;
        let is_pending = |candidate: &Candidate| match candidate.state {
            State::Untried => !exhausted,
            State::Asked { .. } => true,
            State::Late { .. } | State::Answered { .. } | State::Failed => false,
        };
        if self.candidates.window(self.width).any(|(_, candidate)| is_pending(candidate)) {
            return false;
        }
        let answered =
            self.candidates.window(self.width).filter(|(_, candidate)| candidate.has_answered()).count();
        let is_late = |candidate: &Candidate| matches!(candidate.state, State::Late { .. });
        answered >= ENOUGH_ANSWERS.min(self.width) || !self.candidates.iter().any(is_late)
    }

    /// When something is to be decided although nothing arrives.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        let next = self.candidates.iter().filter_map(|candidate| match candidate.state {
            State::Asked { late, .. } => Some(late),
            State::Late { hopeless } => Some(hopeless),
            State::Untried | State::Answered { .. } | State::Failed => None,
        });
        next.chain([self.last_answer + SILENCE]).min()
    }

    /// Whether so many nodes from near the target have answered that what none of them holds does not exist. `known`:
    /// nodes that we know in all. Each node near the target would hold it, so that a few answers are enough; but a
    /// search that lost most of its answers has not come near.
    pub(super) fn is_evidence(&self, known: usize, spacing: Option<f64>) -> bool {
        let needed = (known / 2).clamp(1, ENOUGH_ANSWERS);
        let Some(last) = self.answered_candidates().nth(needed - 1) else { return false };
        // The 8th of evenly spread nodes is 8 spacings away. Five times that is still the neighbourhood where the
        // value would be, as 20 nodes hold it; beyond, those who would know have not answered.
        spacing.is_none_or(|spacing| last.distance() <= spacing * 40.0)
    }

    /// Share of the key space per node, from how near the nearest are. `None` where too few answered.
    pub(super) fn spacing(&self) -> Option<f64> {
        let nearest = self.answered_candidates().nth(ENOUGH_ANSWERS - 1)?;
        Some(nearest.distance() / ENOUGH_ANSWERS as f64)
    }

    /// The nodes that answered, nearest first.
    pub(super) fn responders(&self) -> Vec<Responder> {
        let responder = |candidate: &Candidate| match &candidate.state {
            State::Answered { token, seq } => Some(Responder {
                id: candidate.id,
                address: candidate.address,
                token: token.clone(),
                seq: *seq,
            }),
            State::Untried | State::Asked { .. } | State::Late { .. } | State::Failed => None,
        };
        self.candidates.iter().filter_map(responder).collect()
    }

    fn answered_candidates(&self) -> impl Iterator<Item = &Candidate> {
        self.candidates.iter().filter(|candidate| candidate.has_answered())
    }

    fn is_silent(&self, now: Instant) -> bool {
        now >= self.last_answer + SILENCE
    }

    /// Where the value probably is, the quickest node; on the way there, the nearest one.
    fn choose(&self, typical: &Rtt) -> Option<usize> {
        let is_untried = |(_, candidate): &(usize, &Candidate)| matches!(candidate.state, State::Untried);
        let untried = || self.candidates.window(self.width).filter(is_untried);
        let likely = untried().filter(|(_, candidate)| candidate.distance() <= self.radius);
        let quickest = likely.min_by_key(|(_, candidate)| match candidate.rtt {
            Some(rtt) => rtt.smoothed(),
            None => typical.smoothed().mul_f64(STRANGER_PENALTY),
        });
        quickest.or_else(|| untried().next()).map(|(index, _)| index)
    }

    fn in_time(&self) -> usize {
        self.candidates.iter().filter(|candidate| matches!(candidate.state, State::Asked { .. })).count()
    }

    fn settle(&mut self, now: Instant) {
        self.given_up.append(&mut self.candidates.settle(now));
    }
}

/// What is known of a node that another one names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    /// It has answered us, in about this time.
    Alive(Rtt),
    /// It did not answer when it was last asked, a moment ago.
    Dead,
    /// Nothing.
    Unknown,
}

/// How long a node may take before another is asked in its place. Never less than is usual among all nodes: when it
/// is our own side that is slow, they are all late.
pub(super) fn lateness(rtt: Option<Rtt>, typical: &Rtt) -> Duration {
    let lateness = rtt.map_or(typical.late_after(), |rtt| rtt.late_after().max(typical.smoothed()));
    lateness.clamp(SHORTEST_LATENESS, LONGEST_LATENESS)
}

/// A distance as a share of the key space. 64 bits are enough to tell any two nodes apart.
fn fraction(distance: &Id) -> f64 {
    let head = distance.as_bytes().first_chunk().copied().unwrap_or([0; 8]);
    u64::from_be_bytes(head) as f64 / u64::MAX as f64
}
