//! A whole server in this process, with packets, upstreams and name servers that a test decides.

pub mod client;
pub mod name_server;
pub mod records;

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use async_trait::async_trait;
use pkdns::{config::Config, server::Server};
use pkdns_dht::{
    Evidence, Network, NetworkError,
    signed_packet::{Keypair, PublicKey, SignedPacket},
};
use tokio::sync::mpsc;
use tokio_util::sync::{CancellationToken, DropGuard};

/// A network that holds what a test published in it. Other keys are absent.
#[derive(Default)]
pub struct Published {
    packets: HashMap<[u8; 32], SignedPacket>,
    unreachable: Vec<[u8; 32]>,
}

impl Published {
    pub fn publish(&mut self, packet: SignedPacket) {
        self.packets.insert(*packet.key().as_bytes(), packet);
    }

    /// From now on nobody can be asked about `key`.
    pub fn cut_off(&mut self, key: &PublicKey) {
        self.unreachable.push(*key.as_bytes());
    }
}

#[async_trait]
impl Network for Published {
    async fn lookup(
        &self,
        key: &PublicKey,
        found: mpsc::UnboundedSender<SignedPacket>,
    ) -> Result<Evidence, NetworkError> {
        if self.unreachable.contains(key.as_bytes()) {
            return Err(NetworkError::Unreachable);
        }
        if let Some(packet) = self.packets.get(key.as_bytes()) {
            // The server may have stopped.
            let _ = found.send(packet.clone());
        }
        Ok(Evidence { queried: 20, responded: 20, held: 0 })
    }
}

/// A server that runs as long as this is held.
pub struct Running {
    pub address: SocketAddr,
    _stop: DropGuard,
}

impl Running {
    /// Starts a server with `config` on a free port of 127.0.0.1, for UDP and TCP.
    pub fn start(mut config: Config, network: Published) -> Self {
        config.listen = vec![(Ipv4Addr::LOCALHOST, 0).into()];
        let server = Server::bind_to_network(config, Arc::new(network)).expect("a free port");
        let address = server.addresses()[0];
        let stop = CancellationToken::new();
        tokio::spawn(server.run(stop.clone()));
        Self { address, _stop: stop.drop_guard() }
    }
}

/// The key pair that always goes by `name`.
pub fn keypair(name: &str) -> Keypair {
    let mut secret = [0; 32];
    secret[..name.len()].copy_from_slice(name.as_bytes());
    Keypair::from_secret_key(&secret)
}
