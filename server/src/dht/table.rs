//! The nodes that we know. Pure: time is an argument.

use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use super::{krpc::Id, rtt::Rtt};

/// A node, and how long it takes to answer if that is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Contact {
    /// Its place in the key space.
    pub id: Id,
    /// Where it is.
    pub address: SocketAddr,
    /// How long it took to answer us before.
    pub rtt: Option<Rtt>,
}

/// Known nodes, bounded.
#[derive(Debug, Default)]
pub struct RoutingTable {}

impl RoutingTable {
    /// The node answered a query of ours after `rtt`.
    pub fn answered(&mut self, _id: Id, _address: SocketAddr, _rtt: Duration, _now: Instant) {}

    /// The node did not answer in time.
    pub fn failed(&mut self, _id: &Id, _address: SocketAddr, _now: Instant) {}

    /// Up to `count` known nodes, nearest to `target` first.
    pub fn closest(&self, _target: &Id, _count: usize) -> Vec<Contact> {
        Vec::new()
    }

    /// How many nodes are known.
    pub fn len(&self) -> usize {
        0
    }

    /// Whether none is known.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}
