//! What keeps the tables healthy while nobody asks for anything. Pure.

use std::{
    collections::VecDeque,
    time::{Duration, Instant},
};

use super::{budget::Urgency, families::Families, family::Purpose};
use crate::dht::{
    krpc::{Id, Method},
    lookup::Request,
};

/// How often something is done.
const PAUSE: Duration = Duration::from_millis(250);

/// Nodes asked whether they are there, each time: 32 a second while there are strangers, 4 a second when idle.
const STRANGERS_AT_ONCE: usize = 8;

/// Those of an earlier run that are asked at once, so that the first question after a restart finds somebody.
const FIRST_STRANGERS: usize = 64;

/// Between two searches for nodes in a part of the key space where few are known.
const REFRESH_PAUSE: Duration = Duration::from_secs(30);

/// Searches with which a new member gets to know the key space, evenly spread, and the pause between two.
const EXPLORATIONS: u8 = 32;
const EXPLORATION_PAUSE: Duration = Duration::from_millis(250);

/// What is to be done, and when.
#[derive(Debug)]
pub(super) struct Maintenance {
    explore: bool,
    next: Instant,
    is_hurried: bool,
    members: [Member; 2],
}

#[derive(Debug)]
struct Member {
    has_joined: bool,
    has_explored: bool,
    targets: VecDeque<Id>,
    next_search: Instant,
}

impl Maintenance {
    pub(super) fn new(explore: bool, now: Instant) -> Self {
        let member =
            || Member { has_joined: false, has_explored: false, targets: VecDeque::new(), next_search: now };
        Self { explore, next: now + PAUSE, is_hurried: false, members: [member(), member()] }
    }

    pub(super) fn wake_at(&self) -> Instant {
        self.next
    }

    /// There are nodes of an earlier run to ask.
    pub(super) fn hurry(&mut self, now: Instant) {
        self.is_hurried = true;
        self.next = now;
    }

    /// A node to join through has answered.
    pub(super) fn joined(&mut self, index: usize, now: Instant) {
        let Some(member) = self.members.get_mut(index) else { return };
        if !std::mem::replace(&mut member.has_joined, true) {
            self.is_hurried = true;
            self.next = now;
        }
    }

    /// Asks a few nodes whether they are there, and returns where to search for others.
    pub(super) fn work(&mut self, families: &mut Families, now: Instant) -> Vec<(usize, Id)> {
        self.next = now + PAUSE;
        let most = if std::mem::take(&mut self.is_hurried) { FIRST_STRANGERS } else { STRANGERS_AT_ONCE };
        let mut searches = Vec::new();
        for (index, member) in self.members.iter_mut().enumerate() {
            ask_around(index, most, families, now);
            let Some(family) = families.get_mut(index) else { continue };
            if family.table.is_empty() && member.targets.is_empty() {
                (member.has_joined, member.has_explored) = (false, false);
            } else if member.has_joined && !member.has_explored {
                member.has_explored = true;
                member.targets.push_back(family.id);
                if self.explore {
                    member.targets.extend((0..EXPLORATIONS).map(|part| spread(family.id, part)));
                }
            }
            if now < member.next_search {
                continue;
            }
            if let Some(target) = member.targets.pop_front() {
                member.next_search = now + EXPLORATION_PAUSE;
                searches.push((index, target));
            } else if self.explore
                && let Some(target) = family.table.sparse_prefix(now)
            {
                member.next_search = now + REFRESH_PAUSE;
                searches.push((index, target));
            }
        }
        searches
    }
}

/// Strangers first, then the node that has been silent the longest.
fn ask_around(index: usize, most: usize, families: &mut Families, now: Instant) {
    for _ in 0..most {
        let Some(family) = families.get_mut(index) else { return };
        family.expire(now);
        let own = family.id;
        let stranger = family.strangers.front().copied();
        let known = || family.table.next_to_refresh(now).map(|contact| (contact.id, contact.address));
        let Some((id, address)) = stranger.or_else(known) else { return };
        if !families.may_send(Urgency::Background, now) {
            return;
        }
        if let Some(family) = families.get_mut(index).filter(|_| stranger.is_some()) {
            family.strangers.pop_front();
        }
        families.ask(index, Request { id, address }, Method::FindNode(own), Purpose::Presence, now);
    }
}

/// The `part`th of evenly spread places, from our own.
fn spread(own: Id, part: u8) -> Id {
    let mut bytes = *own.as_bytes();
    bytes[0] = bytes[0].wrapping_add(part.wrapping_mul(u8::MAX / EXPLORATIONS + 1));
    Id::from(bytes)
}
