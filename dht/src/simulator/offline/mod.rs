//! A network and clients in it without sockets: time moves by hand, and a thousand searches take seconds.
//!
//! Engine, searches and stores are those of the product, and so is every byte that goes to and fro. What the product has
//! around its engine is left out: sockets and their buffers, the time that computing takes, the patience of those who
//! ask before the client has joined.

mod client;
mod joined;
mod report;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod week;

use std::{
    io,
    net::SocketAddr,
    ops::Add,
    time::{Duration, Instant},
};

use mainline::Id;

pub use client::OfflineClient;
pub use joined::Joined;
pub use report::{Acknowledged, First, Publication, Search};

use super::{Family, MAX_NODES_OFFLINE, Responder, Statistics, World, addresses::Addresses};
use crate::{
    rtt::Rtt,
    signed_packet::{Keypair, PublicKey, SignedPacket, target},
    table::Contact,
};

/// All nodes listen there.
const PORT: u16 = 6881;

/// And clients there.
const CLIENT_PORT: u16 = 4000;

/// All nodes, and what time it is. For clients of it see [`OfflineClient`].
///
/// ```
/// use std::time::Duration;
/// use pkdns_dht::{DhtSettings, simulator::{Offline, OfflineClient, World}, signed_packet::{Keypair, SignedPacket}};
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
    /// One for each family of addresses.
    networks: Vec<Responder>,
    start: Instant,
    now: Instant,
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
        Ok(Self::with(vec![Self::on_the_internet(world)?]))
    }

    /// The DHT of IPv4 and that of IPv6, which do not know each other (BEP 32), and clients in both. What is done to
    /// nodes is done in both.
    pub fn of_both_families(ipv4: World, ipv6: World) -> io::Result<Self> {
        let ipv4 = Self::on_the_internet(World { family: Family::V4, ..ipv4 })?;
        let ipv6 = Self::on_the_internet(World { family: Family::V6, ..ipv6 })?;
        Ok(Self::with(vec![ipv4, ipv6]))
    }

    /// Nodes have loopback addresses, for which no rules about subnets hold. There are none of IPv6.
    pub fn on_loopback(world: World) -> io::Result<Self> {
        world.check_on_loopback()?;
        Ok(Self::with(vec![Responder::new(world, PORT)]))
    }

    fn on_the_internet(world: World) -> io::Result<Responder> {
        world.check(MAX_NODES_OFFLINE)?;
        let addresses = Addresses::of_internet(&world);
        Ok(Responder::with_addresses(world, PORT, addresses))
    }

    fn with(networks: Vec<Responder>) -> Self {
        // In a test with paused time, that time.
        let now = tokio::time::Instant::now().into_std();
        Self { networks, start: now, now }
    }

    /// How much time has passed since the network began.
    pub fn now(&self) -> Duration {
        self.now.saturating_duration_since(self.start)
    }

    /// The nodes to join through, one of each family of addresses.
    pub fn first_nodes(&self) -> Vec<SocketAddr> {
        let first = self.networks.iter().map(|network| network.population.first_address());
        first.map(|address| SocketAddr::new(address, PORT)).collect()
    }

    /// As [`Simulator::store`](super::Simulator::store).
    pub fn store(&mut self, packet: &SignedPacket) {
        self.networks.iter_mut().for_each(|network| network.store(packet));
    }

    /// As [`Offline::store`], in one family of addresses alone.
    pub fn store_in(&mut self, family: Family, packet: &SignedPacket) {
        let networks = self.networks.iter_mut().filter(|network| network.world.family == family);
        networks.for_each(|network| network.store(packet));
    }

    /// As [`Simulator::store_stale`](super::Simulator::store_stale).
    pub fn store_stale(&mut self, newer: &SignedPacket, older: &SignedPacket) {
        self.networks.iter_mut().for_each(|network| network.store_stale(newer, older));
    }

    /// As [`Simulator::holders`](super::Simulator::holders).
    pub fn holders(&self, key: &PublicKey) -> Vec<u64> {
        let held = self.networks.iter().flat_map(|network| network.holders(key));
        held.map(|seq| u64::try_from(seq).unwrap_or(0)).collect()
    }

    /// As [`Simulator::churn`](super::Simulator::churn).
    pub fn churn(&mut self, share: f64) {
        self.networks.iter_mut().for_each(|network| network.churn(share));
    }

    /// As [`Simulator::silence`](super::Simulator::silence).
    pub fn silence(&mut self, silent: bool) {
        self.networks.iter_mut().for_each(|network| network.silent = silent);
    }

    /// As [`Simulator::attack`](super::Simulator::attack).
    pub fn attack(&mut self, key: &PublicKey) {
        self.networks.iter_mut().for_each(|network| network.attack(target(key)));
    }

    /// As [`Simulator::end_attacks`](super::Simulator::end_attacks).
    pub fn end_attacks(&mut self) {
        self.networks.iter_mut().for_each(|network| network.attacks.end());
    }

    /// As [`Simulator::lend_key`](super::Simulator::lend_key).
    pub fn lend_key(&mut self, keypair: &Keypair) {
        self.networks.iter_mut().for_each(|network| network.lend_key(keypair));
    }

    /// What went over the line since the start.
    pub fn statistics(&self) -> Statistics {
        self.networks.iter().map(|network| network.statistics).fold(Statistics::default(), Add::add)
    }

    /// Bytes of memory for the ids of all nodes; and nodes that take some hundred bytes more, because something is stored
    /// on them or they came later than the start.
    pub fn size(&self) -> (usize, usize) {
        let sizes = self.networks.iter().map(Responder::size);
        sizes.fold((0, 0), |(bytes, others), size| (bytes + size.0, others + size.1))
    }

    /// Some nodes that live, up to `count` of each family of addresses, evenly spread over the key space.
    pub fn living(&self, count: usize) -> impl Iterator<Item = KnownNode> + '_ {
        self.networks.iter().flat_map(move |network| network.living(count))
    }

    /// Where a client is, in each family of addresses.
    fn clients(&self) -> Vec<SocketAddr> {
        self.networks.iter().map(client_of).collect()
    }

    /// Lets time pass until then, in which nodes come and go and forget.
    fn advance(&mut self, now: Instant) {
        self.now = self.now.max(now);
        let passed = self.now();
        self.networks.iter_mut().for_each(|network| network.pass(passed));
    }

    /// What the node sends back to a client, and when that arrives.
    fn answer(&mut self, datagram: &[u8], to: SocketAddr) -> Option<(Instant, Vec<u8>)> {
        let mut networks = self.networks.iter_mut().map(|network| (client_of(network), network));
        let (client, network) = networks.find(|(client, _)| client.is_ipv4() == to.is_ipv4())?;
        let mut reply = Vec::new();
        let delay = network.answer(datagram, client, to.ip(), &mut reply)?;
        Some((self.now + delay, reply))
    }
}

fn client_of(network: &Responder) -> SocketAddr {
    SocketAddr::new(network.population.addresses().of_client(), CLIENT_PORT)
}
