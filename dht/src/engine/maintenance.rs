//! What fills the tables and keeps them true, whether or not anybody asks for anything. Pure.
//!
//! To fill a table, every request does two things: it shows whether a node is there, and has it name eight others, in
//! a part of the key space where few are known. The ones named are asked next. So each node costs one request, and as
//! many as are wanted are always at hand. The request is `get`, because its answer tells who has BEP 44.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::{
    budget::Urgency,
    families::Families,
    family::{Purpose, Transaction},
};
use crate::{
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

/// Requests in a second of who does not want to know the network, and of one that hears nothing.
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

/// Where nobody was found who has been silent for long, the next look for them is after this.
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
    members: [Member; 2],
}

#[derive(Debug)]
struct Member {
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
        let member = || Member {
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
            members: [member(), member()],
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
        self.members.iter_mut().for_each(|member| member.next_refresh = now);
        if self.allowance < AT_ONCE && self.counted <= now {
            self.allowance = AT_ONCE;
            // It is time that is still to come that they are sent in.
            self.counted = now + Duration::from_secs(1).mul_f64(AT_ONCE / self.most());
        }
        self.next = now;
    }

    /// A node to join through has answered. Whether it is the first: then it is worth asking who is near us.
    pub(super) fn joined(&mut self, index: usize, now: Instant) -> bool {
        let Some(member) = self.members.get_mut(index) else { return false };
        let is_first = member.joined.is_none();
        member.joined.get_or_insert(now);
        if is_first {
            self.hurry(now);
        }
        is_first
    }

    /// Whether nodes that are named are wanted.
    pub(super) fn is_filling(&self, index: usize, families: &Families) -> bool {
        let member = self.members.get(index).filter(|member| !member.is_exhausted);
        let family = families.get(index).filter(|family| !family.table.is_full());
        self.explore && member.is_some() && family.is_some()
    }

    /// A search has heard of these, who are worth knowing as well.
    pub(super) fn overheard(
        &mut self,
        index: usize,
        from: SocketAddr,
        named: Nodes<'_>,
        families: &mut Families,
        now: Instant,
    ) {
        let is_filling = self.is_filling(index, families);
        if let Some(family) =
            families.get_mut(index).filter(|family| is_filling && !family.strangers.is_full())
        {
            family.meet(from, named, now);
        }
    }

    /// A node that was asked whether it is there has named others.
    pub(super) fn named(&mut self, index: usize, fresh: usize, now: Instant) {
        let Some(member) = self.members.get_mut(index) else { return };
        member.joined.get_or_insert(now);
        member.fruit += (fresh as f64 - member.fruit) * FRUIT_WEIGHT;
        let enough = if member.is_exhausted { FRUITFUL } else { FRUITLESS };
        member.is_exhausted = member.fruit < enough;
    }

    /// A node that was asked whether it is there has refused. That it stores nothing, if it said so, the table knows.
    pub(super) fn refused(
        &mut self,
        index: usize,
        to: Request,
        transaction: &Transaction,
        code: i64,
        families: &mut Families,
        now: Instant,
    ) {
        let Some(family) = families.get_mut(index).filter(|_| code == UNKNOWN_METHOD) else { return };
        if family.table.known(&to.id, to.address).is_some() {
            family.table.answered(to.id, to.address, transaction.round_trip(now), now);
        } else if family.table.is_thin_at(&to.id) && families.may_send(Urgency::Background, now) {
            // Where hardly anybody else is known it is good for the way.
            self.allowance -= 1.0;
            self.ask(index, to, false, Purpose::Way, families, now);
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
        for index in 0..self.members.len() {
            let Some(family) = families.get_mut(index) else { continue };
            family.expire(now);
            let is_cut_off = family.is_cut_off(now);
            if is_cut_off && !family.table.is_empty() {
                self.call(index, families, now);
                continue;
            }
            if let Some(member) = self.members.get_mut(index).filter(|_| !is_cut_off) {
                (member.next_call, member.call_pause) = (now, CALL_PAUSE);
            }
            if family.table.is_empty() && family.strangers.is_empty() {
                // Another start.
                self.members.get_mut(index).into_iter().for_each(|member| member.joined = None);
            }
        }
        let mut idle = [false; 2];
        while self.allowance >= 1.0 && idle.contains(&false) {
            self.turns = self.turns.wrapping_add(1);
            let index = self.turns % 2;
            if idle.get(index) == Some(&false) && self.ask_one(index, families, now) {
                self.allowance -= 1.0;
            } else if let Some(idle) = idle.get_mut(index) {
                *idle = true;
            }
        }
        if idle == [true; 2] {
            self.allowance = self.allowance.min(1.0);
        }
    }

    /// Asks some of all the nodes that are known, to hear of any. Their silence so far says nothing about them.
    fn call(&mut self, index: usize, families: &mut Families, now: Instant) {
        let Some(member) = self.members.get_mut(index).filter(|member| now >= member.next_call) else {
            return;
        };
        member.next_call = now + member.call_pause;
        member.call_pause = (member.call_pause * 2).min(LONGEST_CALL_PAUSE);
        let Some(family) = families.get_mut(index) else { return };
        family.forgive();
        let own = family.id;
        let places = std::iter::repeat_with(Id::random).take(CALLED / 4);
        let called: Vec<_> = places.flat_map(|place| family.table.closest(&place, 4)).collect();
        for Contact { id, address, .. } in called {
            if families.may_send(Urgency::Background, now) {
                families.ask(index, Request { id, address }, Method::FindNode(own), Purpose::Presence, now);
            }
        }
    }

    /// Requests in a second.
    fn pace(&self, families: &Families, now: Instant) -> f64 {
        let pace = |(index, member): (usize, &Member)| {
            let family = families.get(index)?;
            let joined = now.saturating_duration_since(member.joined?);
            let has_work = self.is_filling(index, families) || family.table.confirmed() < family.table.len();
            Some(match () {
                () if family.is_silent(now) => MODEST,
                () if !has_work && now.saturating_duration_since(self.used) > UNUSED_AFTER => UNUSED,
                () if !has_work => IDLE,
                () if !self.explore => MODEST,
                () if joined < FIRST_SECONDS => FIRST,
                () => FILLING,
            })
        };
        self.members.iter().enumerate().filter_map(pace).fold(0.0, f64::max).min(self.most()).max(UNUSED)
    }

    fn most(&self) -> f64 {
        match (self.explore, self.is_small) {
            (false, _) => FILLING_SMALL,
            (true, true) => FILLING_SMALL,
            (true, false) => FIRST,
        }
    }

    /// Asks a node, if there is one to ask: strangers first, then one that may have gone or that may know others.
    fn ask_one(&mut self, index: usize, families: &mut Families, now: Instant) -> bool {
        let is_filling = self.is_filling(index, families);
        let Some(family) = families.get_mut(index) else { return false };
        if let Some(stranger) = family.next_stranger(now) {
            if !families.may_send(Urgency::Background, now) {
                // It keeps its place in the line.
                families.get_mut(index).into_iter().for_each(|family| family.strangers.give_back(stranger));
                return false;
            }
            let (id, address) = stranger;
            self.ask(index, Request { id, address }, true, Purpose::Presence, families, now);
            return true;
        }
        let sparse = if is_filling && (self.turns / 2).is_multiple_of(2) || self.may_look(index, now) {
            self.near_sparse_target(index, families)
        } else {
            None
        };
        let Some(family) = families.get_mut(index) else { return false };
        let to = sparse.or_else(|| {
            let member = self.members.get_mut(index).filter(|member| now >= member.next_refresh)?;
            let contact = family.table.next_to_refresh(now);
            if contact.is_none() {
                member.next_refresh = now + ALL_ARE_FRESH;
            }
            Some((contact?, None))
        });
        let to = to.or_else(|| if is_filling { self.near_sparse_target(index, families) } else { None });
        let Some((Contact { id, address, stores, .. }, target)) = to else { return false };
        if !families.may_send(Urgency::Background, now) {
            return false;
        }
        let to = Request { id, address };
        match target {
            Some(target) => Self::ask_for(index, to, target, stores, Purpose::Presence, families, now),
            None => self.ask(index, to, stores, Purpose::Presence, families, now),
        }
        true
    }

    /// Whether it is time to see if a network that had no more nodes has some.
    fn may_look(&mut self, index: usize, now: Instant) -> bool {
        let is_unused = now.saturating_duration_since(self.used) > UNUSED_AFTER;
        let pause = if is_unused { LOOK_EVERY_UNUSED } else { LOOK_EVERY };
        let Some(member) = self.members.get_mut(index) else { return false };
        let may = self.explore && member.is_exhausted && now >= member.next_look;
        if may {
            member.next_look = now + pause;
        }
        may
    }

    /// One of the nodes nearest to a part of the key space in which few are known, which knows others there.
    fn near_sparse_target(&self, index: usize, families: &mut Families) -> Option<(Contact, Option<Id>)> {
        let table = &mut families.get_mut(index)?.table;
        let target = table.sparse_target()?;
        let nearest = table.closest(&target, 4);
        // Not always the same one: it names the same ones again.
        let contact = nearest.get((self.turns / 4) % nearest.len().max(1))?;
        Some((*contact, Some(target)))
    }

    /// Asks a node for those it knows in a part of the key space in which we know few.
    fn ask(
        &mut self,
        index: usize,
        to: Request,
        stores: bool,
        purpose: Purpose,
        families: &mut Families,
        now: Instant,
    ) {
        let Some(family) = families.get_mut(index) else { return };
        let own = family.id;
        let target = if self.explore { family.table.sparse_target().unwrap_or(own) } else { own };
        Self::ask_for(index, to, target, stores, purpose, families, now);
    }

    fn ask_for(
        index: usize,
        to: Request,
        target: Id,
        stores: bool,
        purpose: Purpose,
        families: &mut Families,
        now: Instant,
    ) {
        let method = if stores { Method::Get { target, newer_than: None } } else { Method::FindNode(target) };
        families.ask(index, to, method, purpose, now);
    }
}
