//! A DHT of thousands of nodes in one process, for tests, benchmarks and people.
//!
//! Each node has an address of its own in 127.0.0.0/8 and all share one UDP port, which only this machine can reach.
//! Nodes answer as BEP 5, 42 and 44 say; nobody joins them, and whoever asks is never named to others.

mod addresses;
mod attack;
mod binding;
mod hostile;
mod ids;
mod item;
mod node;
mod offline;
mod permutation;
mod population;
mod random;
mod responder;
mod socket;
mod statistics;
#[cfg(test)]
mod tests;
mod thread;
mod world;

use std::{
    collections::HashMap,
    io,
    net::{IpAddr, Ipv4Addr, SocketAddrV4, UdpSocket},
    sync::{Arc, atomic::Ordering},
    thread::JoinHandle,
};

use mainline::Id;

pub use hostile::Hostile;
use node::Role;
pub use offline::{Acknowledged, First, Joined, KnownNode, Offline, OfflineClient, Publication, Search};
use responder::{Responder, target_of};
use socket::Socket;
pub use statistics::{Messages, Statistics};
use thread::Shared;
pub use world::{Family, MAX_NODES, MAX_NODES_OFFLINE, RoundTrips, World};

use crate::signed_packet::{Keypair, PublicKey, SignedPacket};

/// Nodes given to join through.
const BOOTSTRAP_NODES: usize = 8;

/// A running network. Ends when dropped.
#[derive(Debug)]
pub struct Simulator {
    shared: Arc<Shared>,
    port: u16,
    thread: Option<JoinHandle<()>>,
}

impl Simulator {
    /// Starts the network. Fails where the world cannot be ([`io::ErrorKind::InvalidInput`]), as that of IPv6, for which
    /// see [`Offline`]; or where its port is taken.
    pub fn start(world: World) -> io::Result<Self> {
        world.check_on_loopback()?;
        let socket = Socket::bind(world.port)?;
        let port = socket.port();
        let shared = Arc::new(Shared::new(Responder::new(world, port)));
        let thread = std::thread::Builder::new().name("simulator".into()).spawn({
            let shared = shared.clone();
            move || thread::run(&socket, &shared)
        })?;
        Ok(Self { shared, port, thread: Some(thread) })
    }

    /// Starts a network of so many nodes without faults, on any port that is free.
    ///
    /// # Errors
    ///
    /// As [`Simulator::start`].
    pub fn with_nodes(nodes: usize) -> io::Result<Self> {
        Self::start(World { nodes, ..World::default() })
    }

    /// Addresses and ports of some nodes that live and are honest. The first is 127.0.0.1.
    pub fn bootstrap(&self) -> Vec<String> {
        let responder = self.shared.responder();
        let honest = responder.population.nodes().filter(|node| node.role == Role::Honest);
        let others = honest.map(|node| node.address).filter(|address| *address != Ipv4Addr::LOCALHOST);
        let all = std::iter::once(IpAddr::V4(Ipv4Addr::LOCALHOST)).chain(others);
        all.take(BOOTSTRAP_NODES).map(|address| format!("{address}:{}", self.port)).collect()
    }

    /// Puts the packet onto the 20 nodes nearest to its key, dead ones included, without asking them.
    pub fn store(&self, packet: &SignedPacket) {
        self.shared.responder().store(packet);
    }

    /// As [`Simulator::store`], but the share [`World::stale`] of these nodes gets `older`, a packet of the same key.
    /// Which ones depends on key and seed.
    pub fn store_stale(&self, newer: &SignedPacket, older: &SignedPacket) {
        self.shared.responder().store_stale(newer, older);
    }

    /// The timestamp (BEP 44: seq) of the packet at each node that holds one of this key, without dead nodes.
    pub fn holders(&self, key: &PublicKey) -> Vec<u64> {
        let held = self.shared.responder().holders(key);
        held.into_iter().map(|seq| u64::try_from(seq).unwrap_or(0)).collect()
    }

    /// Some nodes that live, up to `count`, evenly spread over the key space: what a client may know from an earlier run.
    pub fn living(&self, count: usize) -> Vec<KnownNode> {
        self.shared.responder().living(count).collect()
    }

    /// Bytes of memory for the ids of all nodes; and nodes that take some hundred bytes more, because something is stored
    /// on them or they came later than the start.
    pub fn size(&self) -> (usize, usize) {
        self.shared.responder().size()
    }

    /// What went over the line since the start.
    pub fn statistics(&self) -> Statistics {
        self.shared.responder().statistics
    }

    /// How many messages the nodes received about this key. Zero without [`World::count_targets`].
    pub fn messages_for(&self, key: &PublicKey) -> u64 {
        self.shared.responder().targets.get(&target_of(key)).copied().unwrap_or(0)
    }

    /// How many messages the nodes received about each target, and begins to count anew. Empty without
    /// [`World::count_targets`].
    pub fn take_messages_per_target(&self) -> HashMap<Id, u64> {
        std::mem::take(&mut self.shared.responder().targets)
    }

    /// Makes all nodes stop answering, or answer again. What is on its way still arrives.
    pub fn silence(&self, silent: bool) {
        self.shared.responder().silent = silent;
    }

    /// Replaces this share of the nodes by others with new ids and addresses and nothing stored, of the same kinds. The
    /// node at 127.0.0.1 stays.
    pub fn churn(&self, share: f64) {
        self.shared.responder().churn(share);
    }

    /// Surrounds the key with 40 nodes in 20 subnets, whose ids are nearer to its target than those of all others. They
    /// answer as others do, but name only each other, and take packets without storing them.
    /// [`World::know_attackers`] says who names them.
    pub fn attack(&self, key: &PublicKey) {
        self.shared.responder().attack(target_of(key));
    }

    /// All attackers go.
    pub fn end_attacks(&self) {
        self.shared.responder().attacks.end();
    }

    /// Lets hostile nodes sign as the owner of this key would not: what they then give has a valid signature.
    pub fn lend_key(&self, keypair: &Keypair) {
        self.shared.responder().lend_key(keypair);
    }
}

impl Drop for Simulator {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        // Any datagram ends its wait. Without one it ends a little later.
        if let Ok(socket) = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)) {
            let _ = socket.send_to(&[], SocketAddrV4::new(Ipv4Addr::LOCALHOST, self.port));
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}
