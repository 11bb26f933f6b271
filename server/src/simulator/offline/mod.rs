//! A network and clients in it without sockets: time moves by hand, and a thousand searches take seconds.
//!
//! Engine, searches and stores are those of the product, and so is every byte that goes to and fro. What the product has
//! around its engine is left out: sockets and their buffers, the time that computing takes, the patience of those who
//! ask before the client has joined.

mod client;
#[cfg(test)]
mod joined;
mod report;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod week;

use std::{
    io,
    net::{IpAddr, Ipv4Addr, SocketAddr, SocketAddrV4},
    time::{Duration, Instant},
};

use mainline::Id;

pub use client::OfflineClient;
#[cfg(test)]
pub(crate) use joined::Joined;
pub use report::{Acknowledged, First, Publication, Search};

use super::{MAX_NODES, MAX_NODES_OFFLINE, Responder, Statistics, World, addresses::Addresses};
use crate::{
    dht::{rtt::Rtt, table::Contact},
    signed_packet::{Keypair, PublicKey, SignedPacket, target},
};

/// All nodes listen there.
const PORT: u16 = 6881;

/// A client of the internet is there, where no node is.
const CLIENT: Ipv4Addr = Ipv4Addr::new(100, 20, 0, 1);

/// All nodes, and what time it is. For clients of it see [`OfflineClient`].
///
/// ```
/// use std::time::Duration;
/// use pkdns::{dht::DhtSettings, simulator::{Offline, OfflineClient, World}, signed_packet::{Keypair, SignedPacket}};
///
/// let mut network = Offline::new(World::realistic(10_000))?;
/// let packet = SignedPacket::sign(&Keypair::random(), 1, b"records").unwrap();
/// network.store(&packet);
/// let mut client = OfflineClient::join(&mut network, &DhtSettings::default())?;
/// client.run(&mut network, Duration::from_secs(10));
/// let search = client.search(&mut network, packet.key());
/// client.run_until_done(&mut network);
/// assert_eq!(client.searches()[search].newest, Some(packet));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug)]
pub struct Offline {
    nodes: Responder,
    start: Instant,
    now: Instant,
    client: Ipv4Addr,
}

/// A node that lives, as a client may know it from an earlier run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KnownNode {
    /// Its place in the key space.
    pub id: Id,
    /// Where it is.
    pub address: SocketAddr,
    /// How long it takes to answer, without jitter.
    pub round_trip: Duration,
    /// Whether it knows BEP 44.
    pub stores: bool,
}

impl From<KnownNode> for Contact {
    fn from(node: KnownNode) -> Self {
        let KnownNode { id, address, round_trip, stores } = node;
        Self { id, address, rtt: Some(Rtt::new(round_trip, round_trip / 20)), stores }
    }
}

impl Offline {
    /// Nodes have addresses of the whole internet, so that rules about subnets hold for them; nothing is sent there.
    /// Fails where the world cannot be ([`io::ErrorKind::InvalidInput`]).
    pub fn new(world: World) -> io::Result<Self> {
        world.check(MAX_NODES_OFFLINE)?;
        let addresses = Addresses::of_internet(world.seed);
        Ok(Self::with(Responder::with_addresses(world, PORT, addresses), CLIENT))
    }

    /// Nodes have loopback addresses, for which no rules about subnets hold.
    pub fn on_loopback(world: World) -> io::Result<Self> {
        world.check(MAX_NODES)?;
        Ok(Self::with(Responder::new(world, PORT), Ipv4Addr::LOCALHOST))
    }

    fn with(nodes: Responder, client: Ipv4Addr) -> Self {
        // In a test with paused time, that time.
        let now = tokio::time::Instant::now().into_std();
        Self { nodes, start: now, now, client }
    }

    /// How much time has passed since the network began.
    pub fn now(&self) -> Duration {
        self.now.saturating_duration_since(self.start)
    }

    /// The node to join through.
    pub fn first_node(&self) -> SocketAddr {
        SocketAddr::new(IpAddr::V4(self.nodes.population.first_address()), PORT)
    }

    /// As [`Simulator::store`](super::Simulator::store).
    pub fn store(&mut self, packet: &SignedPacket) {
        self.nodes.store(packet);
    }

    /// As [`Simulator::store_stale`](super::Simulator::store_stale).
    pub fn store_stale(&mut self, newer: &SignedPacket, older: &SignedPacket) {
        self.nodes.store_stale(newer, older);
    }

    /// As [`Simulator::holders`](super::Simulator::holders).
    pub fn holders(&self, key: &PublicKey) -> Vec<u64> {
        self.nodes.holders(key).into_iter().map(|seq| u64::try_from(seq).unwrap_or(0)).collect()
    }

    /// As [`Simulator::churn`](super::Simulator::churn).
    pub fn churn(&mut self, share: f64) {
        self.nodes.churn(share);
    }

    /// As [`Simulator::silence`](super::Simulator::silence).
    pub fn silence(&mut self, silent: bool) {
        self.nodes.silent = silent;
    }

    /// As [`Simulator::attack`](super::Simulator::attack).
    pub fn attack(&mut self, key: &PublicKey) {
        self.nodes.attack(target(key));
    }

    /// As [`Simulator::end_attacks`](super::Simulator::end_attacks).
    pub fn end_attacks(&mut self) {
        self.nodes.attacks.end();
    }

    /// As [`Simulator::lend_key`](super::Simulator::lend_key).
    pub fn lend_key(&mut self, keypair: &Keypair) {
        self.nodes.lend_key(keypair);
    }

    /// What went over the line since the start.
    pub fn statistics(&self) -> Statistics {
        self.nodes.statistics
    }

    /// Bytes of memory for the ids of all nodes; and nodes that take some hundred bytes more, because something is stored
    /// on them or they came later than the start.
    pub fn size(&self) -> (usize, usize) {
        self.nodes.size()
    }

    /// Some nodes that live, up to `count`, evenly spread over the key space.
    pub fn living(&self, count: usize) -> impl Iterator<Item = KnownNode> + '_ {
        self.nodes.living(count)
    }

    /// Lets time pass until then, in which nodes come and go and forget.
    fn advance(&mut self, now: Instant) {
        self.now = self.now.max(now);
        self.nodes.pass(self.now());
    }

    /// What the node sends back, and when that arrives.
    fn answer(&mut self, datagram: &[u8], from: SocketAddrV4, to: SocketAddr) -> Option<(Instant, Vec<u8>)> {
        let SocketAddr::V4(to) = to else { return None };
        let mut reply = Vec::new();
        let delay = self.nodes.answer(datagram, from, *to.ip(), &mut reply)?;
        Some((self.now + delay, reply))
    }
}
