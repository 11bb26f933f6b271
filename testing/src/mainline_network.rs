//! A DHT of `mainline` nodes in this process, and `mainline`'s own client.

use std::{
    io,
    net::{Ipv4Addr, UdpSocket},
    time::Duration,
};

use futures_util::future::join_all;
use mainline::{Id, MutableItem, SigningKey, async_dht::AsyncDht};

/// How long nodes wait for each other. On one machine that is long.
const REQUEST_TIMEOUT: Duration = Duration::from_millis(500);

/// Nodes in server mode, which end with this.
pub struct MainlineNetwork {
    nodes: Vec<AsyncDht>,
    addresses: Vec<String>,
    client: AsyncDht,
}

impl MainlineNetwork {
    /// Starts `nodes` nodes that know each other and `others`, `HOST:PORT`.
    pub async fn start(nodes: usize, others: &[String]) -> Self {
        // A port that somebody else took meanwhile is the one thing that may go wrong, and not twice.
        let network = match Self::build(nodes, others) {
            Ok(network) => network,
            Err(_) => Self::build(nodes, others).unwrap(),
        };
        join_all(network.nodes.iter().map(|node| node.find_node(Id::random()))).await;
        network
    }

    /// Its nodes, `HOST:PORT`.
    pub fn bootstrap(&self) -> Vec<String> {
        self.addresses.clone()
    }

    /// The newest item that `mainline` finds, its sequence number and its value.
    pub async fn get(&self, key: &[u8; 32]) -> Option<(i64, Vec<u8>)> {
        let item = self.client.get_mutable_most_recent(key, None).await?;
        Some((item.seq(), item.value().to_vec()))
    }

    /// Stores an item through `mainline`, and returns how many nodes took it.
    pub async fn put(&self, seed: &[u8; 32], sequence: i64, value: &[u8]) -> u32 {
        let item = MutableItem::new(SigningKey::from_bytes(seed), value, sequence, None);
        self.client.put_mutable(item, None).await.unwrap().stored_at
    }

    /// A node learns of another only by asking it, so every one gets the others to ask, for which the ports are chosen
    /// beforehand.
    fn build(nodes: usize, others: &[String]) -> io::Result<Self> {
        let bind = |_| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0));
        let sockets = (0..nodes).map(bind).collect::<io::Result<Vec<_>>>()?;
        let port = |socket: &UdpSocket| Ok(socket.local_addr()?.port());
        let ports = sockets.iter().map(port).collect::<io::Result<Vec<_>>>()?;
        drop(sockets);
        let addresses: Vec<_> = ports.iter().map(|port| format!("{}:{port}", Ipv4Addr::LOCALHOST)).collect();
        let start = |port: Option<u16>| {
            let own = port.map(|port| format!("{}:{port}", Ipv4Addr::LOCALHOST));
            let rest = addresses.iter().chain(others).filter(|&address| Some(address) != own.as_ref());
            let mut builder = mainline::Dht::builder();
            builder.bind_address(Ipv4Addr::LOCALHOST).request_timeout(REQUEST_TIMEOUT);
            builder.bootstrap(&rest.collect::<Vec<_>>());
            if let Some(port) = port {
                builder.server_mode().port(port);
            }
            builder.build().map(mainline::Dht::as_async)
        };
        let nodes = ports.iter().map(|&port| start(Some(port))).collect::<io::Result<Vec<_>>>()?;
        let client = start(None)?;
        Ok(Self { nodes, addresses, client })
    }
}
