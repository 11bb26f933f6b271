//! One search in both families, and what it is for.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::{
    families::Families,
    family::Purpose,
    goal::{Goal, Publication},
};
use crate::{
    Evidence, NetworkError,
    krpc::{Id, Method, Response},
    lookup::{Lookup, Question, Responder},
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
    lookups: [Option<Lookup>; 2],
    goal: Goal,
    started: Instant,
    first_requests: Option<u32>,
}

/// Nodes with their tokens, in both families.
pub(super) type Prepared = [Vec<Responder>; 2];

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

impl Search {
    /// For a key or a place in the key space; `families` are those to search in from the start.
    pub(super) fn new(
        target: Id,
        goal: Goal,
        among: &[usize],
        families: &mut Families,
        now: Instant,
    ) -> Self {
        let mut search = Self { lookups: [None, None], goal, started: now, first_requests: None };
        for &index in among {
            search.begin(target, index, families, now);
        }
        search
    }

    /// A node has answered a request of this search.
    pub(super) fn answered(
        &mut self,
        index: usize,
        from: SocketAddr,
        response: &Response<'_>,
        families: &Families,
        now: Instant,
    ) -> Option<Verdict> {
        let (Some(Some(lookup)), Some(family)) = (self.lookups.get_mut(index), families.get(index)) else {
            return None;
        };
        // First of all: what a liar says otherwise is not heard.
        let item = response.item.as_ref();
        let verdict = item.zip(self.goal.values()).map(|(item, values)| values.offer(item, from.ip(), now));
        if verdict.is_some_and(Verdict::is_of_a_liar) {
            lookup.refused(&response.id, from);
            return verdict;
        }
        let known = |id: &Id, address| family.standing(id, address, now);
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
    pub(super) fn stores_nothing(&mut self, index: usize, id: &Id, from: SocketAddr, now: Instant) {
        if let Some(Some(lookup)) = self.lookups.get_mut(index) {
            lookup.stores_nothing(id, from, now);
        }
    }

    /// A node has refused a request of this search.
    pub(super) fn refused(&mut self, index: usize, id: &Id, from: SocketAddr) {
        if let Some(Some(lookup)) = self.lookups.get_mut(index) {
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
        for index in 0..self.lookups.len() {
            let newer_than = self.goal.newer_than();
            let (Some(Some(lookup)), Some(family)) = (self.lookups.get_mut(index), families.get(index))
            else {
                continue;
            };
            let typical = family.typical;
            let taken = now.saturating_duration_since(self.started);
            let (parallel, urgency) =
                self.goal.pace(lookup.likely_holders(), taken, typical.smoothed(), under_way);
            loop {
                if !lookup.wants(parallel, &typical, now) {
                    break;
                }
                if !families.may_send(urgency, now) {
                    // Whoever asked has an answer that enough nodes agree on. Others wait for theirs.
                    if self.goal.is_answered() {
                        return Next::Over;
                    }
                    lookup.hold_up(now);
                    wake = wake.min(now + BUDGET_PAUSE);
                    break;
                }
                let Some((request, asks)) = lookup.next(&typical, now) else { break };
                let target = lookup.target();
                let method = match (&self.goal, asks) {
                    (_, Question::Nodes(place)) => Method::FindNode(place),
                    (Goal::Refresh, Question::Value) => Method::FindNode(target),
                    (Goal::Find { .. } | Goal::Publish(_), Question::Value) => {
                        Method::Get { target, newer_than }
                    }
                };
                families.ask(index, request, method, Purpose::Task(task), now);
            }
            for (id, address) in lookup.take_given_up() {
                if let Some(family) = families.get_mut(index) {
                    family.gave_up(&id, address, now);
                }
            }
            let mut has_ended = lookup.is_over(now);
            if has_ended
                && self.goal.wants_evidence()
                && let Some(family) = families.get(index)
                && !lookup.is_evidence(family.table.len(), family.density.spacing())
                && lookup.widen(family.more(&lookup.target()))
            {
                // It goes on at once.
                wake = now;
                has_ended = lookup.is_over(now);
            }
            // One that is over has nothing to wait for. Its times are past and would wake the other one for ever.
            if !has_ended {
                is_over = false;
                wake = lookup.wake_at(now).map_or(wake, |at| wake.min(at));
            }
        }
        if is_over && !self.may_begin_late(families) {
            return Next::Over;
        }
        if let Some(at) = self.goal.values().and_then(|values| values.release_at()) {
            wake = wake.min(at);
        }
        if self.may_begin_late(families) {
            // To the end without a value: there is no reason to wait for the other family any longer.
            wake = wake.min(if is_over { now } else { self.started + IPV6_DELAY });
        }
        Next::Wait(wake)
    }

    /// Tells whoever waits, and hands over what is left to do.
    pub(super) fn finish(mut self, families: &mut Families, now: Instant) -> Outcome {
        self.release(true, now);
        // What the family says that was searched first: nearly all packets are in IPv4 only, so that where IPv4 was
        // asked and did not answer, a few nodes of IPv6 without the packet say nothing.
        let mut is_absent = None;
        let mut prepared = Prepared::default();
        let mut evidence = Evidence { queried: 0, responded: 0, held: 0 };
        for (index, lookup) in self.lookups.iter().enumerate() {
            let (Some(lookup), Some(family)) = (lookup, families.get_mut(index)) else { continue };
            evidence.queried += lookup.requests();
            evidence.responded += lookup.answers();
            is_absent.get_or_insert(lookup.is_evidence(family.table.len(), family.density.spacing()));
            if let Some(sample) = lookup.spacing() {
                family.density.learn(sample);
            }
            if let (Some(responders), true) = (prepared.get_mut(index), self.goal.wants_responders()) {
                *responders = lookup.responders();
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

    fn begin(&mut self, target: Id, index: usize, families: &mut Families, now: Instant) {
        if let (Some(lookup), Some(family)) = (self.lookups.get_mut(index), families.get_mut(index)) {
            let width = self.goal.width();
            *lookup = Some(family.begin(target, width, self.goal.wants_responders(), now));
        }
    }

    /// Whether the search could go on in IPv6, where it has not been yet.
    fn may_begin_late(&self, families: &Families) -> bool {
        let has_begun = matches!(self.lookups, [Some(_), None]);
        has_begun && self.goal.is_in_vain() && families.get(1).is_some_and(|family| !family.table.is_empty())
    }

    /// Goes on in IPv6 where IPv4 has shown nothing for a while, will probably show nothing, or has come to an end. Whoever
    /// asks for what is nowhere waits for both.
    fn begin_late(&mut self, families: &mut Families, now: Instant) {
        if !self.may_begin_late(families) {
            return;
        }
        let [Some(first), None] = &mut self.lookups else { return };
        if now >= self.started + IPV6_DELAY || first.is_probably_in_vain() || first.is_over(now) {
            let target = first.target();
            self.begin(target, 1, families, now);
        }
    }

    fn release(&mut self, has_ended: bool, now: Instant) {
        let lookups = || self.lookups.iter().flatten();
        let requests = lookups().map(Lookup::requests).sum();
        // A crowd may agree on an old packet. The others are heard as well, as long as there is time.
        let is_suspect = lookups().any(Lookup::has_crowd);
        if self.goal.values().is_some_and(|values| values.release(has_ended, is_suspect, now)) {
            self.first_requests = Some(requests);
        }
    }
}
