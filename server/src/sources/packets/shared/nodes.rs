//! Which Redis holds a key: the only one, or the node of a cluster that has its slot.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use redis::{Cmd, RedisError, Value};

use super::{
    dial::Dialler,
    node::{NoReply, Node},
};
use crate::base::config::{RedisAddress, RedisUrl};

/// Parts that a cluster divides its keys into.
const SLOTS: u16 = 16384;

/// Nodes known at once. A cluster is told to have a thousand at most, and a few dozens where it caches.
const MAX_NODES: usize = 128;

/// The Redis servers of one store.
pub(super) struct Nodes {
    is_cluster: bool,
    dialler: Arc<Dialler>,
    known: Mutex<Known>,
}

struct Known {
    /// The first ones are those of the configuration.
    nodes: Vec<Arc<Node>>,
    configured: usize,
    /// The place of each slot's node. A guess may be wrong: any node names the right one.
    slots: Vec<Option<u8>>,
}

impl Nodes {
    pub(super) fn new(url: &RedisUrl, dialler: Dialler) -> Self {
        let dialler = Arc::new(dialler);
        let nodes: Vec<_> =
            url.addresses.iter().map(|address| Node::new(address.clone(), dialler.clone())).collect();
        let known = Known { configured: nodes.len(), nodes, slots: vec![None; SLOTS.into()] };
        Self { is_cluster: url.is_cluster, dialler, known: Mutex::new(known) }
    }

    /// Begins to connect to the nodes of the configuration.
    pub(super) fn connect(&self) {
        let nodes = self.known().nodes.clone();
        nodes.iter().for_each(|node| drop(node.connection()));
    }

    /// What the node of `key` says to `command`. A cluster takes two questions at most.
    pub(super) async fn ask(&self, key: &str, command: &Cmd) -> Result<Value, NoReply> {
        let slot = slot(key.as_bytes());
        let node = self.node_of(slot).ok_or(NoReply::NotAsked)?;
        let reply = node.ask(command).await?;
        match self.redirected(slot, &reply, &node) {
            Some(owner) => owner.ask(command).await,
            None => Ok(reply),
        }
    }

    /// Whether one of them has not answered since it failed several times in a row.
    pub(super) fn have_failed(&self) -> bool {
        self.known().nodes.iter().any(|node| node.has_failed())
    }

    fn node_of(&self, slot: u16) -> Option<Arc<Node>> {
        let known = self.known();
        let owner = known.slots.get(usize::from(slot)).copied().flatten();
        let owner = owner.and_then(|at| known.nodes.get(usize::from(at)));
        // Where the owner is down, another node knows when there is a new one.
        let others = known.nodes.iter().cycle().skip(usize::from(slot) % known.nodes.len().max(1));
        owner.into_iter().chain(others.take(known.nodes.len())).find(|node| !node.is_resting()).cloned()
    }

    /// The node that holds the slot instead. Only a cluster is believed about that: it is given the password.
    fn redirected(&self, slot: u16, reply: &Value, from: &Node) -> Option<Arc<Node>> {
        let Value::ServerError(error) = reply else { return None };
        if !self.is_cluster || error.code() != "MOVED" {
            return None;
        }
        let error = RedisError::from(error.clone());
        let address = RedisAddress::from_redirect(error.redirect_node()?.0, &from.address)?;
        let mut known = self.known();
        let at = known.place_of(address, &self.dialler)?;
        *known.slots.get_mut(usize::from(slot))? = u8::try_from(at).ok();
        known.nodes.get(at).cloned()
    }

    /// Each change leaves it whole.
    fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Known {
    /// Where the node at `address` stands, which may be new. Nodes that are down give way to others.
    fn place_of(&mut self, address: RedisAddress, dialler: &Arc<Dialler>) -> Option<usize> {
        if let Some(at) = self.nodes.iter().position(|node| node.address == address) {
            return Some(at);
        }
        let new = || Node::new(address, dialler.clone());
        if self.nodes.len() < MAX_NODES {
            self.nodes.push(new());
            return Some(self.nodes.len() - 1);
        }
        let at = (self.configured..MAX_NODES)
            .find(|at| self.nodes.get(*at).is_some_and(|node| node.is_resting()))?;
        *self.nodes.get_mut(at)? = new();
        Some(at)
    }
}

/// The slot of a key without braces: CRC-16/XMODEM, as the cluster specification says.
fn slot(key: &[u8]) -> u16 {
    let crc =
        key.iter().fold(0u16, |crc, byte| {
            (0..8).fold(crc ^ u16::from(*byte) << 8, |crc, _| {
                if crc & 0x8000 == 0 { crc << 1 } else { crc << 1 ^ 0x1021 }
            })
        });
    crc % SLOTS
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn slots_are_those_of_the_cluster_specification() {
        // Its test vector, and what `CLUSTER KEYSLOT` says.
        assert_eq!(slot(b"123456789"), 0x31c3);
        assert_eq!(slot(b"pkdns:packet:8pinxxgqs41n4aididenw5apqp1urfmzdztr8jt4abrkdn435ewo"), 1729);
        assert_eq!(slot(b""), 0);
    }
}
