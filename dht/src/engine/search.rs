//! One search in both families, and what it is for.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::{
    budget::Urgency,
    families::{Families, Member},
    family::{FamilyState, Purpose},
    goal::{Goal, Publication},
};
use crate::{
    Evidence, NetworkError,
    family::{Family, PerFamily},
    krpc::{Id, Method, Response},
    lookup::{Lookup, Poll, Question, Responder},
    observer::{Effort, LookupEnd},
    signed_packet::PublicKey,
    values::Verdict,
};

/// A search is over after this, whatever comes.
const DEADLINE: Duration = Duration::from_millis(3800);

/// IPv6 is asked as well when IPv4 has shown nothing for so long. Nearly all packets are published over IPv4.
const IPV6_DELAY: Duration = Duration::from_millis(600);

/// When the budget of datagrams is used up, searches look again after this.
const BUDGET_PAUSE: Duration = Duration::from_millis(20);

/// A search under way.
#[derive(Debug)]
pub(super) struct Search {
    lookups: PerFamily<Option<Lookup>>,
    goal: Goal,
    started: Instant,
    first_requests: Option<u32>,
}

/// Nodes with their tokens, in both families.
pub(super) type Prepared = PerFamily<Vec<Responder>>;

/// What comes after a step.
#[derive(Debug)]
pub(super) enum Next {
    /// It goes on, and at this time even if nothing arrives.
    Wait(Instant),
    /// It is over.
    Over,
}

/// What a search that is over leaves behind.
#[derive(Debug)]
pub(super) enum Outcome {
    /// Nothing more to do.
    Done {
        /// The key, where its owner may publish next, with nodes to store at.
        prepared: Option<(PublicKey, Prepared)>,
        /// For the observer.
        end: Option<LookupEnd>,
    },
    /// The packet is to be stored on these nodes.
    Store(Publication, Prepared),
}

/// The part of a search that is in one family, for as long as one step takes.
struct Part<'a> {
    lookup: &'a mut Lookup,
    goal: &'a Goal,
    member: Member<'a>,
    task: u64,
    now: Instant,
}

/// Where a part of a search has to wait.
struct Halt {
    is_over: bool,
    /// When it goes on, even if nothing arrives.
    wake: Option<Instant>,
}

impl Search {
    /// For a key or a place in the key space; `among`: the families to search in from the start.
    pub(super) fn new(
        target: Id,
        goal: Goal,
        among: &[Family],
        families: &mut Families,
        now: Instant,
    ) -> Self {
        let mut search = Self { lookups: PerFamily::default(), goal, started: now, first_requests: None };
        for &family in among {
            search.begin(target, family, families, now);
        }
        search
    }

    /// A node has answered a request of this search.
    pub(super) fn answered(
        &mut self,
        family: Family,
        from: SocketAddr,
        response: &Response<'_>,
        state: &FamilyState,
        now: Instant,
    ) -> Option<Verdict> {
        let lookup = self.lookups[family].as_mut()?;
        // First of all: of a node that lies nothing else is believed.
        let item = response.item.as_ref();
        let verdict = item.zip(self.goal.values()).map(|(item, values)| values.offer(item, from.ip(), now));
        if verdict.is_some_and(Verdict::is_of_a_liar) {
            lookup.refused(&response.id, from);
            return verdict;
        }
        let known = |id: &Id, address| state.standing(id, address, now);
        // Thousands of searches that nobody publishes after need not keep the tokens of all their nodes.
        let token = response.token.filter(|_| self.goal.wants_responders());
        lookup.answered(from, &Response { token, ..*response }, known, now);
        if let (None, Some(values)) = (item, self.goal.values()) {
            // It keeps back what is not newer than what we said we have.
            response.seq.into_iter().for_each(|seq| values.kept_back(seq));
        }
        verdict
    }

    /// A node has no BEP 44.
    pub(super) fn stores_nothing(&mut self, family: Family, id: &Id, from: SocketAddr, now: Instant) {
        if let Some(lookup) = &mut self.lookups[family] {
            lookup.stores_nothing(id, from, now);
        }
    }

    /// A node has refused a request of this search.
    pub(super) fn refused(&mut self, family: Family, id: &Id, from: SocketAddr) {
        if let Some(lookup) = &mut self.lookups[family] {
            lookup.refused(id, from);
        }
    }

    /// Asks whom it wants to ask next. `under_way`: searches and stores, this one among them.
    pub(super) fn advance(
        &mut self,
        task: u64,
        under_way: usize,
        families: &mut Families,
        now: Instant,
    ) -> Next {
        self.release(false, now);
        if now >= self.started + DEADLINE || self.goal.is_abandoned() || self.goal.is_blind() {
            return Next::Over;
        }
        self.begin_late(families, now);
        let mut is_over = true;
        let mut wake = self.started + DEADLINE;
        let taken = now.saturating_duration_since(self.started);
        for (family, lookup) in self.lookups.present_mut() {
            let Some(member) = families.member(family) else { continue };
            let usual = member.state.typical.smoothed();
            let pace = self.goal.pace(lookup.likely_holders(), taken, usual, under_way);
            let part = Part { lookup, goal: &self.goal, member, task, now };
            let Some(halt) = part.advance(pace) else { return Next::Over };
            is_over &= halt.is_over;
            wake = halt.wake.map_or(wake, |at| wake.min(at));
        }
        let may_begin_late = self.may_begin_late(families);
        if is_over && !may_begin_late {
            return Next::Over;
        }
        if let Some(at) = self.goal.values().and_then(|values| values.release_at()) {
            wake = wake.min(at);
        }
        if may_begin_late {
            // To the end without a value: there is no reason to wait for the other family any longer.
            wake = wake.min(if is_over { now } else { self.started + IPV6_DELAY });
        }
        Next::Wait(wake)
    }

    /// Sends the result to the caller, and hands over what is left to do.
    pub(super) fn finish(mut self, families: &mut Families, now: Instant) -> Outcome {
        self.release(true, now);
        // The family that was searched first decides: nearly all packets are in IPv4 only, so that where IPv4 was asked
        // and did not answer, a few nodes of IPv6 without the packet say nothing.
        let mut is_absent = None;
        let mut prepared = Prepared::default();
        let mut evidence = Evidence { queried: 0, responded: 0, held: 0 };
        for (family, lookup) in self.lookups.present() {
            let Some(state) = families.get_mut(family) else { continue };
            evidence.queried += lookup.requests();
            evidence.responded += lookup.answers();
            is_absent.get_or_insert(lookup.is_evidence(state.table.len(), state.density.spacing()));
            if let Some(sample) = lookup.spacing() {
                state.density.learn(sample);
            }
            if self.goal.wants_responders() {
                prepared[family] = lookup.responders();
            }
        }
        let first = self.first_requests;
        match self.goal {
            Goal::Refresh => Outcome::Done { prepared: None, end: None },
            Goal::Publish(publication) => Outcome::Store(publication, prepared),
            Goal::Find { values, done, keep_tokens } => {
                let is_found = values.newest().is_some();
                evidence.held = values.holders_of_newest();
                let is_absent = is_absent == Some(true) && !values.is_blind();
                let result =
                    if is_found || is_absent { Ok(evidence) } else { Err(NetworkError::Unreachable) };
                // The one who asked may have gone.
                let _ = done.send(result);
                let effort = Effort {
                    duration: now.saturating_duration_since(self.started),
                    messages: evidence.queried,
                    first: first.zip(values.released_after()),
                    was_stale: values.was_stale(),
                };
                let end = LookupEnd { result: result.map(|_| is_found), effort: Some(effort) };
                let prepared = keep_tokens.then(|| (values.key().clone(), prepared));
                Outcome::Done { prepared, end: Some(end) }
            }
        }
    }

    fn begin(&mut self, target: Id, family: Family, families: &mut Families, now: Instant) {
        if let Some(state) = families.get_mut(family) {
            let is_for_store = self.goal.wants_responders();
            self.lookups[family] = Some(state.begin(target, self.goal.width(), is_for_store, now));
        }
    }

    /// Whether the search could go on in IPv6, where it has not been yet.
    fn may_begin_late(&self, families: &Families) -> bool {
        let is_in_ipv4_only = self.lookups.v4.is_some() && self.lookups.v6.is_none();
        is_in_ipv4_only && self.goal.lacks_packet() && families.has_nodes(Family::V6)
    }

    /// Goes on in IPv6 where IPv4 has shown nothing for a while, will probably show nothing, or has come to an end. A
    /// search for a key that is nowhere waits for both.
    fn begin_late(&mut self, families: &mut Families, now: Instant) {
        if !self.may_begin_late(families) {
            return;
        }
        let Some(first) = &mut self.lookups.v4 else { return };
        if now >= self.started + IPV6_DELAY || first.is_probably_absent() || first.has_ended(now) {
            let target = first.target();
            self.begin(target, Family::V6, families, now);
        }
    }

    fn release(&mut self, has_ended: bool, now: Instant) {
        let lookups = || self.lookups.values().flatten();
        let requests = lookups().map(Lookup::requests).sum();
        // A crowd may agree on an old packet. The others are heard as well, as long as there is time.
        let is_suspect = lookups().any(Lookup::has_crowd);
        if self.goal.values().is_some_and(|values| values.release(has_ended, is_suspect, now)) {
            self.first_requests = Some(requests);
        }
    }
}

impl Part<'_> {
    /// Goes as far as it can now. `None`: the whole search is over.
    fn advance(mut self, (parallel, urgency): (usize, Urgency)) -> Option<Halt> {
        let halt = self.ask(parallel, urgency)?;
        self.report_silent();
        if halt.is_over && self.widen() {
            let is_over = self.lookup.has_ended(self.now);
            // It goes on at once.
            return Some(Halt { is_over, wake: Some(self.now) });
        }
        Some(halt)
    }

    /// Makes as many requests as may be on their way and as the budget allows.
    fn ask(&mut self, mut parallel: usize, urgency: Urgency) -> Option<Halt> {
        let Self { lookup, member, .. } = self;
        let (goal, task, now) = (self.goal, self.task, self.now);
        let (target, typical) = (lookup.target(), member.state.typical);
        let mut pause = None;
        loop {
            let (request, asks) = match lookup.poll_next(parallel, &typical, now) {
                Poll::Ask(turn) if member.may_send(urgency, now) => turn.take(),
                // The caller has an answer that enough nodes agree on; there is no need to wait for the budget.
                Poll::Ask(_) if goal.is_answered() => return None,
                Poll::Ask(turn) => {
                    turn.hold_up();
                    (parallel, pause) = (0, Some(now + BUDGET_PAUSE));
                    continue;
                }
                Poll::Wait(until) => {
                    let wake = Some(pause.map_or(until, |pause| until.min(pause)));
                    return Some(Halt { is_over: false, wake });
                }
                // Its times are past and would wake the other part for ever.
                Poll::Over => return Some(Halt { is_over: true, wake: pause }),
            };
            let method = match (goal, asks) {
                (_, Question::Nodes(place)) => Method::FindNode(place),
                (Goal::Refresh, Question::Value) => Method::FindNode(target),
                (Goal::Find { .. } | Goal::Publish(_), Question::Value) => {
                    Method::Get { target, newer_than: goal.newer_than() }
                }
            };
            member.ask(request, method, Purpose::Task(task), now);
        }
    }

    /// Reports the nodes that did not answer in time to their family.
    fn report_silent(&mut self) {
        for (id, address) in self.lookup.take_given_up() {
            self.member.state.gave_up(&id, address, self.now);
        }
    }

    /// Goes on outwards where the nodes that answered are no evidence of anything. Whether it does.
    fn widen(&mut self) -> bool {
        let state = &*self.member.state;
        self.goal.wants_evidence()
            && !self.lookup.is_evidence(state.table.len(), state.density.spacing())
            && self.lookup.widen(state.more(&self.lookup.target()))
    }
}
