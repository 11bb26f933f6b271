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

use candidates::{Candidate, Candidates, State};

use super::{
    krpc::{Id, Response},
    reach::may_name,
    rtt::Rtt,
    table::Contact,
};

/// Nodes believed from one answer. Others send 8 or 20.
pub(super) const MAX_NAMED: usize = 20;

/// Longest token that is kept, in bytes. Nodes send 4 to 20.
const MAX_TOKEN: usize = 256;

/// Requests in one search. A search through ten million nodes takes about fifty.
const MAX_REQUESTS: u32 = 96;

/// A value is stored on 20 nodes, some of which have gone or have missed it. So many of the nearest probably hold it.
const NEIGHBOURHOOD: usize = 18;

/// With so many answers from near the target, nodes that are overdue are not waited for.
const ENOUGH_ANSWERS: usize = 8;

/// Answers that count as evidence of absence, the nearest.
const MAX_WITNESSES: usize = 14;

/// Nodes asked in addition where those nearest say too little.
const WIDENING: usize = 16;

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
    /// Or since when an answer could be expected.
    last_answer: Instant,
    given_up: Vec<(Id, SocketAddr)>,
    chosen: Option<usize>,
    /// Nodes that it began with.
    seeds: usize,
    is_widened: bool,
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
            radius: spacing.map_or(0.0, |spacing| spacing * NEIGHBOURHOOD as f64),
            candidates: Candidates::new(target),
            requests: 0,
            answers: 0,
            last_answer: now,
            given_up: Vec::new(),
            chosen: None,
            seeds: seeds.len(),
            is_widened: false,
        };
        for Contact { id, address, rtt, .. } in seeds {
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

    /// Whether there is a node to ask while fewer than `parallel` requests are on their way in good time. `typical`: the
    /// round trips of all nodes.
    pub(super) fn wants(&mut self, parallel: usize, typical: &Rtt, now: Instant) -> bool {
        self.settle(now);
        let may = self.requests < MAX_REQUESTS && self.in_time() < parallel && !self.is_silent(now);
        self.chosen = if may { self.choose(typical) } else { None };
        self.chosen.is_some()
    }

    /// The node that [`Lookup::wants`] meant, which then counts as asked.
    pub(super) fn next(&mut self, typical: &Rtt, now: Instant) -> Option<Request> {
        let index = self.chosen.take()?;
        let Candidate { id, address, rtt, .. } = *self.candidates.get(index)?;
        let late = lateness(rtt, typical);
        self.candidates.ask(index, now + late, now + late * 2);
        self.requests += 1;
        Some(Request { id, address })
    }

    /// A request could not be sent, for no fault of the nodes: their silence counts from here.
    pub(super) fn hold_up(&mut self, now: Instant) {
        self.chosen = None;
        self.last_answer = now;
    }

    /// The node at `address` has answered. `known`: what we know of those that it names.
    pub(super) fn answered(
        &mut self,
        address: SocketAddr,
        response: &Response<'_>,
        mut known: impl FnMut(&Id, SocketAddr) -> Standing,
        now: Instant,
    ) {
        let Some(index) = self.candidates.position(&response.id, address) else { return };
        let state = self.candidates.get(index).map(|candidate| &candidate.state);
        if matches!(state, None | Some(State::Answered { .. } | State::Untried)) {
            return;
        }
        let seq = response.item.map(|item| item.seq).or(response.seq);
        let token = response.token.filter(|token| token.len() <= MAX_TOKEN);
        self.candidates.answered(index, token, seq);
        self.answers += 1;
        self.last_answer = now;
        let source = self.candidates.add_source();
        for (id, named) in response.nodes.iter().take(MAX_NAMED) {
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

    /// Goes on outwards, once, with more nodes that we know: the nearest that answered may be of one hand, which names
    /// its own only. Whether that makes sense.
    pub(super) fn widen(&mut self, seeds: Vec<Contact>) -> bool {
        if self.is_widened || self.answers == 0 {
            return false;
        }
        self.is_widened = true;
        self.width += WIDENING;
        for Contact { id, address, rtt, .. } in seeds {
            self.candidates.insert(id, address, rtt, None);
        }
        true
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
        // The table may have lost many since the search began.
        let needed = (known.max(self.seeds) / 2).clamp(1, ENOUGH_ANSWERS);
        let witnesses = self.answered_candidates().count().min(MAX_WITNESSES).max(needed);
        let Some(last) = self.answered_candidates().nth(witnesses - 1) else { return false };
        // The 14th of evenly spread nodes is 14 spacings away, in one of a thousand cases 28. If it is farther, those
        // who would know have not answered: of hostile nodes alone, one in five, the 14th is 70 away.
        let slack = if self.is_widened { 4.0 } else { 2.0 };
        spacing.is_none_or(|spacing| last.distance() <= spacing * slack * witnesses as f64)
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
                rtt: candidate.rtt,
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
        let is_eligible = |(_, candidate): &(usize, &Candidate)| self.candidates.is_eligible(candidate);
        let untried = |width| self.candidates.window(width).filter(is_eligible);
        let likely = untried(self.width.max(NEIGHBOURHOOD));
        let likely = likely.filter(|(_, candidate)| candidate.distance() <= self.radius);
        let quickest = likely.min_by_key(|(_, candidate)| match candidate.rtt {
            Some(rtt) => rtt.smoothed(),
            None => typical.smoothed().mul_f64(STRANGER_PENALTY),
        });
        quickest.or_else(|| untried(self.width).next()).map(|(index, _)| index)
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
