//! One iterative search towards a target, in one family of addresses. Pure: it says whom to ask, and is told what came.
//!
//! Several requests are on their way at once. One that is overdue by its node's own measure gives its place to the
//! next node (hedging) and is still heard until it is given up, so that dead and slow nodes cost little. The search is
//! over when the nearest nodes have spoken; only a network that stays silent ends it by time.

mod candidates;
mod crowd;
mod detours;
#[cfg(test)]
mod tests;

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use candidates::{Candidate, Candidates, State};
use crowd::crowd;
use detours::Detours;

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

/// Requests in one search. A usual one takes about seventy; one that has to find its way around a crowd, more.
const MAX_REQUESTS: u32 = 160;

/// A value is stored on 20 nodes, some of which have gone or have missed it. So many of the nearest probably hold it.
const NEIGHBOURHOOD: usize = 20;

/// So many of the nearest nodes are asked in any case. Nearly half of them may be dead or hold no values.
const POOL: usize = 24;

/// With so many answers from near the target, nodes that are overdue are not waited for.
const ENOUGH_ANSWERS: usize = 8;

/// The search is over although one in so many of the nearest nodes has not spoken: the slowest would set the pace.
const STRAGGLERS: usize = 7;

/// Answers that count as evidence of absence, the nearest.
const MAX_WITNESSES: usize = 14;

/// Nodes asked in addition where those nearest say too little.
const WIDENING: usize = 16;

/// Nodes of a crowd that are asked at once: it must not occupy the search.
const CROWD_AT_ONCE: usize = 3;

/// Nothing has answered for so long: the network is gone. Below the 2.5 s in which a client is told.
const SILENCE: Duration = Duration::from_millis(1500);

/// An answer may take this long before another node is asked in its place, whatever the estimates say. The lower bound
/// covers what a busy machine adds to any round trip.
const SHORTEST_LATENESS: Duration = Duration::from_millis(50);
const LONGEST_LATENESS: Duration = Duration::from_millis(800);

/// A node is given up after this at the earliest, and at the latest.
const SHORTEST_PATIENCE: Duration = Duration::from_millis(500);
const LONGEST_PATIENCE: Duration = Duration::from_millis(1600);

/// A node that nobody has heard from yet is expected to take longer by this factor, as it may be gone.
const STRANGER_PENALTY: f64 = 1.5;

/// What a node costs that is twice as far away as those that may hold the value, in usual round trips. Asked for the
/// target, a node names others that are nearer by four bits or so, which takes one round trip; several do so at once.
const COST_PER_BIT: f64 = 0.15;

/// A search.
#[derive(Debug)]
pub(super) struct Lookup {
    /// So many of the nearest nodes must have spoken.
    width: usize,
    /// Something is to be stored on as many.
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
    chosen: Option<Choice>,
    /// Nodes that it began with.
    seeds: usize,
    is_widened: bool,
    /// Nodes up to here lie closer together than chance allows.
    crowd_edge: Option<f64>,
    detours: Detours,
}

/// Who is to be asked next.
#[derive(Debug, Clone, Copy)]
enum Choice {
    /// The node at this place, for the target.
    Candidate(usize),
    /// The node at this place, about a part of the neighbourhood.
    Detour(usize, usize, Id),
}

/// What a node is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Asks {
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
            is_for_store: false,
            sees_crowds: false,
            spacing,
            candidates: Candidates::new(target),
            requests: 0,
            answers: 0,
            last_answer: now,
            given_up: Vec::new(),
            chosen: None,
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

    /// Nodes known to live that are near enough to hold the value, were there one, and have not been asked.
    pub(super) fn likely_holders(&self) -> usize {
        let radius = self.radius();
        let near = self.candidates.iter().take_while(|candidate| candidate.distance() <= radius);
        near.filter(|candidate| candidate.stores && candidate.rtt.is_some() && !candidate.has_failed())
            .count()
    }

    /// Whether there is a node to ask while fewer than `parallel` requests are on their way in good time. `typical`: the
    /// round trips of all nodes.
    pub(super) fn wants(&mut self, parallel: usize, typical: &Rtt, now: Instant) -> bool {
        self.settle(now);
        let may = self.requests < MAX_REQUESTS && self.in_time() < parallel && !self.is_silent(now);
        self.chosen = if may { self.choose(typical) } else { None };
        self.chosen.is_some()
    }

    /// The node that [`Lookup::wants`] meant, which then counts as asked, and what it is asked for.
    pub(super) fn next(&mut self, typical: &Rtt, now: Instant) -> Option<(Request, Asks)> {
        let choice = self.chosen.take()?;
        let (Choice::Candidate(index) | Choice::Detour(index, ..)) = choice;
        let Candidate { id, address, rtt, stores, .. } = *self.candidates.get(index)?;
        let late = lateness(rtt, typical);
        let asks = match choice {
            Choice::Detour(_, part, place) => {
                self.detours.ask(part, address, now + late);
                Asks::Nodes(place)
            }
            Choice::Candidate(_) => {
                let patience =
                    (late * 2).max(typical.late_after()).clamp(SHORTEST_PATIENCE, LONGEST_PATIENCE);
                self.candidates.ask(index, now + late, now + patience);
                if stores { Asks::Value } else { Asks::Nodes(self.target()) }
            }
        };
        self.requests += 1;
        Some((Request { id, address }, asks))
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
        known: impl FnMut(&Id, SocketAddr) -> Standing,
        now: Instant,
    ) {
        let Some(index) = self.candidates.position(&response.id, address) else { return };
        let Some(candidate) = self.candidates.get(index) else { return };
        match candidate.state {
            State::Asked { .. } | State::Late { .. } => {
                let stores = candidate.stores;
                let seq = response.item.map(|item| item.seq).or(response.seq).filter(|_| stores);
                let token = response.token.filter(|token| token.len() <= MAX_TOKEN && stores);
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

    /// Goes on outwards, once, with more nodes that we know: the nearest that answered may be of one hand, which names
    /// its own only. Whether that makes sense.
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

    /// Whether the nearest nodes have spoken, or nothing more is to be expected.
    pub(super) fn is_over(&mut self, now: Instant) -> bool {
        self.settle(now);
        if self.is_silent(now) {
            return true;
        }
        let exhausted = self.requests >= MAX_REQUESTS;
        if self.detours.are_under_way(now) || (!exhausted && self.detour().is_some()) {
            return false;
        }
        let stragglers = self.width / STRAGGLERS;
        let (mut answered, mut open) = (0, 0);
        for (_, candidate) in self.witnesses() {
            match candidate.state {
                State::Answered { .. } => answered += 1,
                State::Untried if exhausted => {}
                State::Untried | State::Asked { .. } => open += 1,
                // A stranger may never have lived.
                State::Late { .. } if candidate.rtt.is_some() => open += 1,
                State::Late { .. } | State::Failed => {}
            }
            if answered + open >= self.width {
                break;
            }
        }
        let is_late = |candidate: &Candidate| matches!(candidate.state, State::Late { .. });
        let may_ask =
            || !exhausted && self.pool().any(|(_, candidate)| self.candidates.is_eligible(candidate));
        if self.in_time() == 0 && !may_ask() {
            return answered >= ENOUGH_ANSWERS.min(self.width) || !self.candidates.iter().any(is_late);
        }
        if open > 0 {
            // Whoever wants to store something needs so many all the same.
            let suffice = !self.is_for_store || self.answered_candidates().count() >= self.width;
            return open <= stragglers && answered + stragglers >= self.width && suffice;
        }
        answered >= ENOUGH_ANSWERS.min(self.width) || !self.candidates.iter().any(is_late)
    }

    /// When something is to be decided although nothing arrives.
    pub(super) fn wake_at(&self) -> Option<Instant> {
        let next = self.candidates.iter().filter_map(|candidate| match candidate.state {
            State::Asked { late, .. } => Some(late),
            State::Late { hopeless } => Some(hopeless),
            State::Untried | State::Answered { .. } | State::Failed => None,
        });
        let detours = self.detours.wake_at(self.last_answer);
        next.chain(detours).chain([self.last_answer + SILENCE]).min()
    }

    /// Whether so many nodes from near the target have answered that what none of them holds does not exist. `known`:
    /// nodes that we know in all. Each node near the target would hold it, so that a few answers are enough; but a
    /// search that lost most of its answers has not come near.
    pub(super) fn is_evidence(&self, known: usize, spacing: Option<f64>) -> bool {
        // The table may have lost many since the search began.
        let needed = (known.max(self.seeds) / 2).clamp(1, ENOUGH_ANSWERS);
        let witnesses = self.answered_candidates().count().min(MAX_WITNESSES).max(needed);
        let Some(last) = self.answered_candidates().nth(witnesses - 1) else { return false };
        // The 14th of evenly spread nodes is 14 spacings away, in one of a thousand cases 28, and some of those on the way
        // there have not been heard. If it is much farther, those who would know have not answered: of hostile nodes
        // alone, one in five, the 14th is 70 away.
        let slack = if self.is_widened { 4.0 } else { 2.75 };
        spacing.is_none_or(|spacing| last.distance() <= spacing * slack * witnesses as f64)
    }

    /// Share of the key space per node that may hold values, from how near the nearest are, those beyond a crowd. `None`
    /// where too few answered.
    pub(super) fn spacing(&self) -> Option<f64> {
        let nearest = self.answered_candidates().nth(ENOUGH_ANSWERS - 1)?;
        Some((nearest.distance() - self.crowd_edge.unwrap_or(0.0)) / ENOUGH_ANSWERS as f64)
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

    /// Nodes whose word counts, nearest first: they may hold the value and are not of a crowd.
    fn witnesses(&self) -> impl Iterator<Item = (usize, &Candidate)> {
        let counts = |(_, candidate): &(usize, &Candidate)| candidate.stores && !self.is_of_crowd(candidate);
        self.candidates.open_or_late().filter(counts)
    }

    fn answered_candidates(&self) -> impl Iterator<Item = &Candidate> {
        self.witnesses().map(|(_, candidate)| candidate).filter(|candidate| candidate.has_answered())
    }

    fn is_of_crowd(&self, candidate: &Candidate) -> bool {
        self.crowd_edge.is_some_and(|edge| candidate.distance() <= edge)
    }

    /// Where the crowd beside the target ends, if there is one. Once found it does not shrink.
    fn crowd_edge(&self) -> Option<f64> {
        let Some(spacing) = self.spacing.filter(|_| self.sees_crowds) else { return self.crowd_edge };
        let answered = || {
            let storing = self.candidates.iter().filter(|candidate| candidate.stores);
            storing.filter(|candidate| candidate.has_answered()).map(Candidate::distance)
        };
        let crowd = crowd(answered(), spacing);
        let edge = crowd.checked_sub(1).and_then(|last| answered().nth(last));
        edge.into_iter().chain(self.crowd_edge).max_by(f64::total_cmp)
    }

    /// Nodes nearer than this share of the key space probably hold what is stored at the target.
    fn radius(&self) -> f64 {
        self.spacing.map_or(0.0, |spacing| spacing * NEIGHBOURHOOD as f64)
    }

    fn is_silent(&self, now: Instant) -> bool {
        now >= self.last_answer + SILENCE
    }

    /// A question about a part of the neighbourhood that a crowd hides, to the nearest node that has answered, is not
    /// of the crowd and is not being asked.
    fn detour(&self) -> Option<(usize, usize, Id)> {
        let spacing = self.spacing.filter(|_| self.has_crowd())?;
        let (part, place) = self.detours.next_target(&self.target(), spacing)?;
        let mut free = self.candidates.iter().enumerate().filter(|(_, candidate)| {
            let is_free = candidate.has_answered() && !self.is_of_crowd(candidate);
            is_free && !self.detours.is_asked(candidate.address)
        });
        free.next().map(|(index, _)| (index, part, place))
    }

    /// Whoever is likely to bring the search to its end soonest: a quick node where the value probably is, one that is
    /// nearer on the way there.
    fn choose(&self, typical: &Rtt) -> Option<Choice> {
        if let Some((index, part, place)) = self.detour() {
            return Some(Choice::Detour(index, part, place));
        }
        let radius = self.radius();
        let is_eligible = |(_, candidate): &(usize, &Candidate)| self.candidates.is_eligible(candidate);
        let usual = typical.smoothed().as_secs_f64();
        let cost = |candidate: &Candidate| {
            let rtt = candidate.rtt.map_or(usual * STRANGER_PENALTY, |rtt| rtt.smoothed().as_secs_f64());
            if radius <= 0.0 {
                return candidate.distance();
            }
            rtt + usual * COST_PER_BIT * (candidate.distance() / radius).log2().max(0.0)
        };
        let best = self.pool().filter(is_eligible).map(|(index, candidate)| (index, cost(candidate)));
        let best = best.min_by(|(_, one), (_, other)| one.total_cmp(other)).map(|(index, _)| index);
        best.or_else(|| self.one_of_the_crowd()).map(Choice::Candidate)
    }

    /// Nodes that are worth asking: those nearest that may hold the value, and others that are on the way to them.
    fn pool(&self) -> impl Iterator<Item = (usize, &Candidate)> {
        let (radius, mut left) = (self.radius(), self.width.max(POOL));
        let pool = self.candidates.open().filter(|(_, candidate)| !self.is_of_crowd(candidate));
        let pool = pool.take_while(move |(_, candidate)| {
            let is_within = left > 0;
            left = left.saturating_sub(usize::from(candidate.stores));
            is_within
        });
        pool.filter(move |(_, candidate)| candidate.stores || candidate.distance() > radius)
    }

    /// Nodes of a crowd are asked as well, as far as they are not too many: the value may be among them.
    fn one_of_the_crowd(&self) -> Option<usize> {
        let crowd = || self.candidates.open().filter(|(_, candidate)| self.is_of_crowd(candidate));
        let asked = crowd().filter(|(_, candidate)| matches!(candidate.state, State::Asked { .. })).count();
        let may = asked < CROWD_AT_ONCE;
        may.then(|| crowd().find(|(_, candidate)| self.candidates.is_eligible(candidate)))?
            .map(|(index, _)| index)
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
    /// It has answered us.
    Alive(Contact),
    /// It did not answer when it was last asked, a moment ago.
    Dead,
    /// Nothing.
    Unknown,
}

/// How long a node may take to confirm that it has stored something. It has just answered the search, so that there is
/// no hurry. Never less than is usual among all nodes: when it is our own side that is slow, they are all late.
pub(super) fn patience(rtt: Option<Rtt>, typical: &Rtt) -> Duration {
    let patience = rtt.map_or(typical.late_after(), |rtt| rtt.late_after().max(typical.smoothed()));
    patience.clamp(SHORTEST_LATENESS, LONGEST_LATENESS)
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
