//! What went over the line.

use std::{fmt, ops::Add};

use crate::krpc::Method;

/// Messages since the network started.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Statistics {
    /// Queries that arrived, also those that were then lost by [`World::loss`] or sent to a dead node.
    ///
    /// [`World::loss`]: super::World::loss
    pub received: Messages,
    /// Answers and errors sent, by what was asked.
    pub sent: Messages,
    /// Queries and answers that [`World::loss`] took.
    ///
    /// [`World::loss`]: super::World::loss
    pub lost: u64,
    /// Queries to dead nodes and to addresses of no node.
    pub unanswered: u64,
    /// Datagrams that are no query.
    pub ignored: u64,
    /// Answers that the kernel did not take, or that were too many to keep waiting. Zero, or the network was slower
    /// than it pretends.
    pub overflowed: u64,
}

/// A number of messages for each method.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Messages {
    /// `ping`
    pub ping: u64,
    /// `find_node`
    pub find_node: u64,
    /// `get_peers`
    pub get_peers: u64,
    /// `get`
    pub get: u64,
    /// `put`
    pub put: u64,
    /// Any other.
    pub other: u64,
}

impl Messages {
    /// All of them.
    pub fn total(&self) -> u64 {
        self.ping + self.find_node + self.get_peers + self.get + self.put + self.other
    }

    pub(super) fn count(&mut self, method: &Method<'_>) {
        let number = match method {
            Method::Ping => &mut self.ping,
            Method::FindNode(_) => &mut self.find_node,
            Method::GetPeers(_) => &mut self.get_peers,
            Method::Get { .. } => &mut self.get,
            Method::Put(_) => &mut self.put,
            Method::Unknown(_) => &mut self.other,
        };
        *number += 1;
    }
}

/// Of two networks together.
impl Add for Statistics {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            received: self.received + other.received,
            sent: self.sent + other.sent,
            lost: self.lost + other.lost,
            unanswered: self.unanswered + other.unanswered,
            ignored: self.ignored + other.ignored,
            overflowed: self.overflowed + other.overflowed,
        }
    }
}

impl Add for Messages {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self {
            ping: self.ping + other.ping,
            find_node: self.find_node + other.find_node,
            get_peers: self.get_peers + other.get_peers,
            get: self.get + other.get,
            put: self.put + other.put,
            other: self.other + other.other,
        }
    }
}

/// One line for people.
impl fmt::Display for Statistics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Messages { ping, find_node, get_peers, get, put, other } = self.received;
        write!(
            f,
            "{} queries (ping {ping}, find_node {find_node}, get_peers {get_peers}, get {get}, put {put}, \
             other {other}), {} answers, {} lost",
            self.received.total(),
            self.sent.total(),
            self.lost
        )
    }
}
