//! Networks of one kind of nodes or of several, each kind with the client of its own implementation.

use std::net::{Ipv4Addr, Ipv6Addr, UdpSocket};

use crate::{
    bittorrent_dht, libtorrent,
    mainline_network::MainlineNetwork,
    network_process::{NetworkProcess, hex},
    programs, silence,
};

/// Nodes of libtorrent name 8 others in an answer, among them whoever has stored something. With so few nodes everybody
/// hears of all of them.
const NODES: usize = 7;

/// Nodes that have to take a packet, or to know none. One may be late.
const ENOUGH: u32 = 6;

/// Nodes of each kind where all are mixed.
const NODES_EACH: usize = 6;

/// More than two of the kinds are.
const ENOUGH_OF_ALL: u32 = 13;

/// A network.
pub struct World {
    parts: Vec<Part>,
    /// How many of the parts, from the first, do not get to the end of a search in time.
    slow: usize,
    enough: u32,
}

/// Nodes of one kind, and their client.
pub enum Part {
    Process(NetworkProcess),
    Mainline(MainlineNetwork),
}

/// Each returns `None` where what it needs is missing, and that is to be accepted.
impl World {
    pub async fn of_libtorrent() -> Option<Self> {
        Some(Self::of(Part::Process(libtorrent::start(Ipv4Addr::LOCALHOST.into(), NODES, &[])?)))
    }

    pub async fn of_libtorrent_on_ipv6() -> Option<Self> {
        if let Err(error) = UdpSocket::bind((Ipv6Addr::LOCALHOST, 0)) {
            programs::skip(&format!("no IPv6: {error}"));
            return None;
        }
        Some(Self::of(Part::Process(libtorrent::start(Ipv6Addr::LOCALHOST.into(), NODES, &[])?)))
    }

    pub async fn of_bittorrent_dht() -> Option<Self> {
        Some(Self::of(Part::Process(bittorrent_dht::start(NODES)?)))
    }

    pub async fn of_mainline() -> Option<Self> {
        Some(Self::of(Part::Mainline(MainlineNetwork::start(NODES, &[]).await)))
    }

    /// One network of all three. Nodes of bittorrent-dht know whoever asks them, so they come first. Nodes of mainline
    /// answer only transaction ids of four bytes, which the other two do not send, so they come last: the others hear
    /// of them, but ask them in vain. libtorrent waits 15 seconds for each, and its searches end after 30.
    pub async fn of_all() -> Option<Self> {
        let bittorrent_dht = bittorrent_dht::start(NODES_EACH)?;
        let mut nodes = bittorrent_dht.bootstrap();
        let libtorrent = libtorrent::start(Ipv4Addr::LOCALHOST.into(), NODES_EACH, &nodes)?;
        nodes.extend(libtorrent.bootstrap());
        let mainline = MainlineNetwork::start(NODES_EACH, &nodes).await;
        let parts = vec![Part::Process(libtorrent), Part::Process(bittorrent_dht), Part::Mainline(mainline)];
        Some(Self { parts, slow: 1, enough: ENOUGH_OF_ALL })
    }

    fn of(part: Part) -> Self {
        Self { parts: vec![part], slow: 0, enough: ENOUGH }
    }

    /// A node of each kind, `HOST:PORT`, to hear of the others from.
    pub fn bootstrap(&self) -> Vec<String> {
        self.parts.iter().filter_map(|part| part.nodes().into_iter().next()).collect()
    }

    pub fn is_ipv6(&self) -> bool {
        self.nodes().iter().all(|node| node.starts_with('['))
    }

    /// How many nodes have to take a packet, or to know none.
    pub fn enough(&self) -> u32 {
        self.enough
    }

    /// Each finds what is there.
    pub fn parts(&mut self) -> &mut [Part] {
        &mut self.parts
    }

    /// Those that can also store, and say that nothing is there: a search has to end before.
    pub fn searching_parts(&mut self) -> &mut [Part] {
        &mut self.parts[self.slow..]
    }

    /// Ends the nodes and holds their ports, where the nodes of another test would answer in their place.
    pub async fn silence(self) -> Vec<UdpSocket> {
        let addresses = self.nodes();
        drop(self);
        silence::silence(&addresses).await
    }

    fn nodes(&self) -> Vec<String> {
        self.parts.iter().flat_map(Part::nodes).collect()
    }
}

impl Part {
    /// The sequence number and the value, in hexadecimal, that their own client finds; or `none`.
    pub async fn get(&mut self, key: &[u8; 32]) -> String {
        match self {
            Self::Process(process) => process.get(key),
            Self::Mainline(network) => match network.get(key).await {
                Some((sequence, value)) => format!("{sequence} {}", hex(&value)),
                None => "none".to_owned(),
            },
        }
    }

    /// Stores the item with their own client, and returns how many nodes took it. It has to be the next one of its key:
    /// some clients count by themselves.
    pub async fn put(&mut self, seed: &[u8; 32], key: &[u8; 32], sequence: i64, value: &[u8]) -> u32 {
        match self {
            Self::Process(process) => {
                let [seed, key, value] = [seed, key, value].map(hex);
                process.run(&format!("put {seed} {key} {value}")).parse().unwrap()
            }
            Self::Mainline(network) => network.put(seed, sequence, value).await,
        }
    }

    fn nodes(&self) -> Vec<String> {
        match self {
            Self::Process(process) => process.bootstrap(),
            Self::Mainline(network) => network.bootstrap(),
        }
    }
}
