//! What fills the tables and keeps them true, whether or not anybody asks for anything. Pure.
//!
//! To fill a table, every request does two things: it shows whether a node is there, and has it name eight others, in
//! a part of the key space where few are known. The ones named are asked next. So each node costs one request, and as
//! many as are wanted are always at hand. The request is `get`, because its answer tells which nodes have BEP 44.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::{
    budget::Urgency,
    families::{Families, Member},
    family::{FamilyState, Purpose, Transaction},
};
use crate::{
    family::{Family, PerFamily},
    krpc::{Id, Method, Nodes},
    lookup::Request,
    table::Contact,
};

/// Requests in a second until the tables are full, and in the first seconds after the start, in which there may be
/// somebody who waits for the first answers.
const FILLING: f64 = 190.0;
const FIRST: f64 = 1150.0;
const FIRST_SECONDS: Duration = Duration::from_secs(10);

/// The same for tables of at most so many nodes, which are those of home routers and of programs that soon end: routers
/// keep a place in a table of a few thousand for each address that is written to.
const SMALL: usize = 8192;
const FILLING_SMALL: f64 = 90.0;

/// Requests in a second of a client that does not explore the network, and of one that hears nothing.
const MODEST: f64 = 32.0;

/// Requests in a second when the tables are full, and when nobody has asked for anything for an hour.
const IDLE: f64 = 16.0;
const UNUSED: f64 = 3.5;
const UNUSED_AFTER: Duration = Duration::from_secs(3600);

/// How often something is done, when there is much and when there is little.
const SHORT_PAUSE: Duration = Duration::from_millis(25);
const LONG_PAUSE: Duration = Duration::from_millis(250);

/// When everybody has fallen silent, so many are asked at once, and again after the pause, which doubles up to the longest,
/// until somebody answers.
const CALLED: usize = 32;
const CALL_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_CALL_PAUSE: Duration = Duration::from_secs(8);

/// Nodes of an earlier run that are asked at once, so that the first question after a restart finds somebody.
const AT_ONCE: f64 = 64.0;

/// New nodes that an answer names, on average of the last three dozen, from which on filling goes on, and below which
/// the network has no more than we know.
const FRUITFUL: f64 = 0.5;
const FRUITLESS: f64 = 0.2;
const FRUIT_WEIGHT: f64 = 1.0 / 32.0;

/// Between two looks at whether a network that had no more nodes has some by now; without questions, and with.
const LOOK_EVERY: Duration = Duration::from_secs(2);
const LOOK_EVERY_UNUSED: Duration = Duration::from_secs(30);

/// Where no node was found that has been silent for long, the next look for one is after this.
const ALL_ARE_FRESH: Duration = Duration::from_secs(2);

/// The error of a node whose program does not know the method (BEP 5). Without BEP 44, that is so for `get` and `put`.
pub(super) const UNKNOWN_METHOD: i64 = 204;

/// What is to be done, and when.
#[derive(Debug)]
pub(super) struct Maintenance {
    explore: bool,
    is_small: bool,
    next: Instant,
    /// Until when the allowance is counted.
    counted: Instant,
    allowance: f64,
    /// When somebody last asked for something.
    used: Instant,
    turns: usize,
    progress: PerFamily<Progress>,
}

/// How far it has come with one family.
#[derive(Debug, Clone, Copy)]
struct Progress {
    joined: Option<Instant>,
    fruit: f64,
    is_exhausted: bool,
    next_look: Instant,
    next_refresh: Instant,
    next_call: Instant,
    call_pause: Duration,
}

impl Maintenance {
    pub(super) fn new(explore: bool, max_nodes: usize, now: Instant) -> Self {
        let progress = Progress {
            joined: None,
            fruit: 8.0,
            is_exhausted: false,
            next_look: now,
            next_refresh: now,
            next_call: now,
            call_pause: CALL_PAUSE,
        };
        Self {
            explore,
            is_small: max_nodes <= SMALL,
            next: now + LONG_PAUSE,
            counted: now,
            allowance: 0.0,
            used: now,
            turns: 0,
            progress: PerFamily { v4: progress, v6: progress },
        }
    }

    pub(super) fn wake_at(&self) -> Instant {
        self.next
    }

    /// Somebody asks for something.
    pub(super) fn used(&mut self, now: Instant) {
        self.used = now;
    }

    /// There are nodes to ask, and somebody may wait for the first of them.
    pub(super) fn hurry(&mut self, now: Instant) {
        self.progress.values_mut().for_each(|progress| progress.next_refresh = now);
        if self.allowance < AT_ONCE && self.counted <= now {
            self.allowance = AT_ONCE;
            // It is time that is still to come that they are sent in.
            self.counted = now + Duration::from_secs(1).mul_f64(AT_ONCE / self.most());
        }
        self.next = now;
    }

    /// A node to join through has answered. Returns whether it is the first: then it is worth searching for the nodes
    /// near us.
    pub(super) fn joined(&mut self, family: Family, now: Instant) -> bool {
        let joined = &mut self.progress[family].joined;
        let is_first = joined.is_none();
        joined.get_or_insert(now);
        if is_first {
            self.hurry(now);
        }
        is_first
    }

    /// Whether nodes that are named are wanted.
    fn is_filling(&self, family: Family, state: &FamilyState) -> bool {
        self.explore && !self.progress[family].is_exhausted && !state.table.is_full()
    }

    /// A search has heard of these, who are worth knowing as well.
    pub(super) fn overheard(
        &self,
        member: &mut Member<'_>,
        from: SocketAddr,
        named: Nodes<'_>,
        now: Instant,
    ) {
        if self.is_filling(member.family, member.state) && !member.state.strangers.is_full() {
            member.state.meet(from, named, now);
        }
    }

    /// A node that was asked whether it is there has named others.
    pub(super) fn named(&mut self, family: Family, fresh: usize, now: Instant) {
        let progress = &mut self.progress[family];
        progress.joined.get_or_insert(now);
        progress.fruit += (fresh as f64 - progress.fruit) * FRUIT_WEIGHT;
        let enough = if progress.is_exhausted { FRUITFUL } else { FRUITLESS };
        progress.is_exhausted = progress.fruit < enough;
    }

    /// A node that was asked whether it is there has refused. That it stores nothing, if it said so, the table knows.
    pub(super) fn refused(
        &mut self,
        member: &mut Member<'_>,
        to: Request,
        transaction: &Transaction,
        code: i64,
        now: Instant,
    ) {
        if code != UNKNOWN_METHOD {
            return;
        }
        let table = &mut member.state.table;
        if table.known(&to.id, to.address).is_some() {
            table.answered(to.id, to.address, transaction.round_trip(now), now);
        } else if table.is_thin_at(&to.id) && member.may_send(Urgency::Background, now) {
            // Where hardly anybody else is known it is good for the way.
            self.allowance -= 1.0;
            self.ask(member, to, false, Purpose::Way, now);
        }
    }

    /// Asks as many nodes as it may by now.
    pub(super) fn work(&mut self, families: &mut Families, now: Instant) {
        let pace = self.pace(families, now);
        let pause = if pace > MODEST { SHORT_PAUSE } else { LONG_PAUSE };
        let passed = now.saturating_duration_since(self.counted).min(LONG_PAUSE);
        self.counted = self.counted.max(now);
        // What was not used for want of nodes is not saved up.
        let most = (pace * pause.as_secs_f64() + 1.0).max(self.allowance);
        self.allowance = (self.allowance + passed.as_secs_f64() * pace).min(most);
        self.next = now + pause;
        for family in Family::ALL {
            if let Some(member) = families.member(family) {
                self.look_after(member, now);
            }
        }
        let mut idle = PerFamily::<bool>::default();
        while self.allowance >= 1.0 && !(idle.v4 && idle.v6) {
            self.turns = self.turns.wrapping_add(1);
            let family = if self.turns.is_multiple_of(2) { Family::V4 } else { Family::V6 };
            if !idle[family] && families.member(family).is_some_and(|member| self.ask_one(member, now)) {
                self.allowance -= 1.0;
            } else {
                idle[family] = true;
            }
        }
        if idle.v4 && idle.v6 {
            self.allowance = self.allowance.min(1.0);
        }
    }

    /// Sees whether the family is cut off, and whether it has to be joined anew.
    fn look_after(&mut self, mut member: Member<'_>, now: Instant) {
        member.state.expire(now);
        let is_cut_off = member.state.is_cut_off(now);
        let progress = &mut self.progress[member.family];
        if is_cut_off && !member.state.table.is_empty() {
            progress.call(&mut member, now);
            return;
        }
        if !is_cut_off {
            (progress.next_call, progress.call_pause) = (now, CALL_PAUSE);
        }
        if member.state.table.is_empty() && member.state.strangers.is_empty() {
            progress.joined = None;
        }
    }

    /// Requests in a second.
    fn pace(&self, families: &Families, now: Instant) -> f64 {
        let pace = |(family, progress): (Family, &Progress)| {
            let state = families.get(family)?;
            let joined = now.saturating_duration_since(progress.joined?);
            let has_work = self.is_filling(family, state) || state.table.confirmed() < state.table.len();
            Some(match () {
                () if state.is_silent(now) => MODEST,
                () if !has_work && now.saturating_duration_since(self.used) > UNUSED_AFTER => UNUSED,
                () if !has_work => IDLE,
                () if !self.explore => MODEST,
                () if joined < FIRST_SECONDS => FIRST,
                () => FILLING,
            })
        };
        self.progress.iter().filter_map(pace).fold(0.0, f64::max).min(self.most()).max(UNUSED)
    }

    fn most(&self) -> f64 {
        match (self.explore, self.is_small) {
            (false, _) => FILLING_SMALL,
            (true, true) => FILLING_SMALL,
            (true, false) => FIRST,
        }
    }

    /// Asks a node, if there is one to ask: strangers first, then one that may have gone or that may know others.
    fn ask_one(&mut self, mut member: Member<'_>, now: Instant) -> bool {
        if let Some(stranger) = member.state.next_stranger(now) {
            if !member.may_send(Urgency::Background, now) {
                // It keeps its place in the line.
                member.state.strangers.give_back(stranger);
                return false;
            }
            let (id, address) = stranger;
            self.ask(&mut member, Request { id, address }, true, Purpose::Presence, now);
            return true;
        }
        let Some((contact, target)) = self.next_known(&mut member, now) else { return false };
        if !member.may_send(Urgency::Background, now) {
            return false;
        }
        let Contact { id, address, stores, .. } = contact;
        let to = Request { id, address };
        match target {
            Some(target) => ask_for(&mut member, to, target, stores, Purpose::Presence, now),
            None => self.ask(&mut member, to, stores, Purpose::Presence, now),
        }
        true
    }

    /// A node of the table that is worth asking: one that may have gone, or one that may know others near a place, and
    /// that place. Both in turn while the table fills.
    fn next_known(&mut self, member: &mut Member<'_>, now: Instant) -> Option<(Contact, Option<Id>)> {
        let is_filling = self.is_filling(member.family, member.state);
        let is_turn_to_fill = is_filling && (self.turns / 2).is_multiple_of(2);
        let sparse = if is_turn_to_fill || self.may_look(member.family, now) {
            self.near_sparse_target(member)
        } else {
            None
        };
        sparse
            .or_else(|| self.next_to_refresh(member, now))
            .or_else(|| if is_filling { self.near_sparse_target(member) } else { None })
    }

    fn next_to_refresh(&mut self, member: &mut Member<'_>, now: Instant) -> Option<(Contact, Option<Id>)> {
        let progress = &mut self.progress[member.family];
        if now < progress.next_refresh {
            return None;
        }
        let contact = member.state.table.next_to_refresh(now);
        if contact.is_none() {
            progress.next_refresh = now + ALL_ARE_FRESH;
        }
        Some((contact?, None))
    }

    /// Whether it is time to see if a network that had no more nodes has some.
    fn may_look(&mut self, family: Family, now: Instant) -> bool {
        let is_unused = now.saturating_duration_since(self.used) > UNUSED_AFTER;
        let pause = if is_unused { LOOK_EVERY_UNUSED } else { LOOK_EVERY };
        let progress = &mut self.progress[family];
        let may = self.explore && progress.is_exhausted && now >= progress.next_look;
        if may {
            progress.next_look = now + pause;
        }
        may
    }

    /// One of the nodes nearest to a part of the key space in which few are known, which knows others there.
    fn near_sparse_target(&self, member: &mut Member<'_>) -> Option<(Contact, Option<Id>)> {
        let table = &mut member.state.table;
        let target = table.sparse_target()?;
        let nearest = table.closest(&target, 4);
        // Not always the same one: it names the same ones again.
        let contact = nearest.get((self.turns / 4) % nearest.len().max(1))?;
        Some((*contact, Some(target)))
    }

    /// Asks a node for those it knows in a part of the key space in which we know few.
    fn ask(&self, member: &mut Member<'_>, to: Request, stores: bool, purpose: Purpose, now: Instant) {
        let own = member.state.id;
        let sparse = if self.explore { member.state.table.sparse_target() } else { None };
        ask_for(member, to, sparse.unwrap_or(own), stores, purpose, now);
    }
}

impl Progress {
    /// Asks some of all the nodes that are known, to hear of any. Their silence so far says nothing about them.
    fn call(&mut self, member: &mut Member<'_>, now: Instant) {
        if now < self.next_call {
            return;
        }
        self.next_call = now + self.call_pause;
        self.call_pause = (self.call_pause * 2).min(LONGEST_CALL_PAUSE);
        member.state.forgive();
        let own = member.state.id;
        let places = std::iter::repeat_with(Id::random).take(CALLED / 4);
        let called: Vec<_> = places.flat_map(|place| member.state.table.closest(&place, 4)).collect();
        for Contact { id, address, .. } in called {
            if member.may_send(Urgency::Background, now) {
                member.ask(Request { id, address }, Method::FindNode(own), Purpose::Presence, now);
            }
        }
    }
}

fn ask_for(member: &mut Member<'_>, to: Request, target: Id, stores: bool, purpose: Purpose, now: Instant) {
    let method = if stores { Method::Get { target, newer_than: None } } else { Method::FindNode(target) };
    member.ask(to, method, purpose, now);
}
