//! Which node a search asks next.

use std::time::{Duration, Instant};

use super::{
    Lookup, MAX_REQUESTS, Question, Request,
    candidates::{Candidate, State},
    lateness, patience,
};
use crate::{krpc::Id, rtt::Rtt};

/// So many of the nearest nodes are asked in any case. Nearly half of them may be dead or hold no values.
const POOL: usize = 24;

/// Nodes of a crowd that are asked at once: it must not occupy the search.
const CROWD_AT_ONCE: usize = 3;

/// A node is given up after this at the earliest, and at the latest.
const SOONEST_HOPELESS: Duration = Duration::from_millis(500);
const LATEST_HOPELESS: Duration = Duration::from_millis(1600);

/// A node that nobody has heard from yet is expected to take longer by this factor, as it may be gone.
const STRANGER_PENALTY: f64 = 1.5;

/// What a node costs that is twice as far away as those that may hold the value, in usual round trips. Asked for the
/// target, a node names others that are nearer by four bits or so, which takes one round trip; several do so at once.
const COST_PER_BIT: f64 = 0.15;

/// What a search does next.
#[derive(Debug)]
pub(crate) enum Poll<'a> {
    /// It asks a node, if that may be.
    Ask(Turn<'a>),
    /// It waits for answers, until this time.
    Wait(Instant),
    /// It is over: the nearest nodes have answered, or nothing more is to be expected.
    Over,
}

/// A request that a search wants to make. Nothing has changed before [`Turn::take`].
#[derive(Debug)]
pub(crate) struct Turn<'a> {
    lookup: &'a mut Lookup,
    choice: Choice,
    typical: Rtt,
    now: Instant,
}

/// The node to be asked next.
#[derive(Debug, Clone, Copy)]
struct Choice {
    /// Its place among the candidates.
    index: usize,
    request: Request,
    rtt: Option<Rtt>,
    stores: bool,
    /// A part of the neighbourhood that it is asked about, and where that is, instead of the target.
    detour: Option<(usize, Id)>,
}

impl Lookup {
    /// Asks a node while fewer than `parallel` requests are on their way in good time, even where the search could end.
    /// `typical`: the round trips of all nodes.
    pub(crate) fn poll_next(&mut self, parallel: usize, typical: &Rtt, now: Instant) -> Poll<'_> {
        self.expire_requests(now);
        let may =
            self.requests < MAX_REQUESTS && self.candidates.in_time() < parallel && !self.is_silent(now);
        let choice = if may { self.choose(typical) } else { None };
        match choice {
            Some(choice) => Poll::Ask(Turn { lookup: self, choice, typical: *typical, now }),
            None if self.is_over(now) => Poll::Over,
            None => Poll::Wait(self.wake_at(now)),
        }
    }

    /// A question about a part of the neighbourhood that a crowd hides, to the nearest node that has answered, is not
    /// of the crowd and is not being asked.
    pub(super) fn detour(&self) -> Option<(usize, usize, Id)> {
        let spacing = self.spacing.filter(|_| self.has_crowd())?;
        let (part, place) = self.detours.next_target(&self.target(), spacing)?;
        let mut free = self.candidates.iter().enumerate().filter(|(_, candidate)| {
            let is_free = candidate.has_answered() && !self.is_of_crowd(candidate);
            is_free && !self.detours.is_asked(candidate.address)
        });
        free.next().map(|(index, _)| (index, part, place))
    }

    /// The node that is likely to bring the search to its end soonest: a quick node where the value probably is, one
    /// that is nearer on the way there.
    fn choose(&self, typical: &Rtt) -> Option<Choice> {
        if let Some((index, part, place)) = self.detour() {
            return self.choice(index, Some((part, place)));
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
        self.choice(best.or_else(|| self.one_of_the_crowd())?, None)
    }

    fn choice(&self, index: usize, detour: Option<(usize, Id)>) -> Option<Choice> {
        let Candidate { id, address, rtt, stores, .. } = *self.candidates.get(index)?;
        Some(Choice { index, request: Request { id, address }, rtt, stores, detour })
    }

    /// Nodes that are worth asking: those nearest that may hold the value, and others that are on the way to them.
    pub(super) fn pool(&self) -> impl Iterator<Item = (usize, &Candidate)> {
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
        if asked >= CROWD_AT_ONCE {
            return None;
        }
        crowd().find(|(_, candidate)| self.candidates.is_eligible(candidate)).map(|(index, _)| index)
    }
}

impl Turn<'_> {
    /// The node, which now counts as asked, and what it is asked for.
    pub(crate) fn take(self) -> (Request, Question) {
        let Self { lookup, choice, typical, now } = self;
        let Choice { index, request, rtt, stores, detour } = choice;
        let late = lateness(rtt, &typical);
        lookup.requests += 1;
        if let Some((part, place)) = detour {
            lookup.detours.ask(part, request.address, now + late);
            return (request, Question::Nodes(place));
        }
        let hopeless = (late * 2).max(typical.late_after()).clamp(SOONEST_HOPELESS, LATEST_HOPELESS);
        // What is stored is to be where others look for it: on the nearest nodes and not on the quickest of them. For
        // a search that only reads, a stranger that is overdue may never have lived.
        let patience = match rtt {
            _ if lookup.is_for_store => patience(rtt, &typical),
            Some(_) => hopeless,
            None => late,
        };
        lookup.candidates.ask(index, now + late, now + patience, now + hopeless);
        (request, if stores { Question::Value } else { Question::Nodes(lookup.target()) })
    }

    /// The request may not be sent now, for no fault of the nodes: their silence counts from here.
    pub(crate) fn hold_up(self) {
        self.lookup.last_answer = self.now;
    }
}
