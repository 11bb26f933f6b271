//! The Mainline DHT, behind the one interface that the packets are fetched through.

mod bootstrap;
mod client;
pub(crate) mod driven;
mod engine;
pub mod internet_of_tests;
pub mod krpc;
mod lookup;
pub mod node_id;
mod put;
mod reach;
pub mod rtt;
pub mod saved_nodes;
pub mod socket;
mod subnet;
pub mod table;
mod task;
mod values;

use async_trait::async_trait;
use thiserror::Error;
use tokio::sync::mpsc;

pub use bootstrap::{HostResolver, split_host_port};
pub use client::{Dht, DhtInfo, DhtSettings, PutError};
pub use node_id::Sighting;
pub use put::REPLICAS;

use crate::signed_packet::{PublicKey, SignedPacket};

/// Somewhere to look for packets, and to store them.
#[async_trait]
pub trait Network: Send + Sync + 'static {
    /// Searches for `key`. Sends each verified packet that is newer than those before it to `found`, the first as
    /// soon as it is there, and returns when the search has ended. Ends by itself within a few seconds.
    async fn lookup(
        &self,
        key: &PublicKey,
        found: mpsc::UnboundedSender<SignedPacket>,
    ) -> Result<Evidence, NetworkError>;

    /// Stores `packet` and returns how many nodes confirmed that. With `cas`, only nodes that hold the packet of that
    /// timestamp, or none, take it (BEP 44). Ends by itself within 11 seconds. By default nothing can be stored.
    async fn store(&self, _packet: &SignedPacket, _cas: Option<u64>) -> Result<u32, PutError> {
        Err(NetworkError::Disabled.into())
    }
}

/// What a search that ended says about absence.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Evidence {
    /// Nodes that were asked.
    pub queried: u32,
    /// Nodes that answered.
    pub responded: u32,
    /// Nodes that said to hold the newest packet that was found.
    pub held: u32,
}

/// Why the network could not be asked. None of these says anything about the key.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum NetworkError {
    /// Still joining.
    #[error("the DHT has not been joined yet")]
    NotReady,
    /// No node answered, or too few to believe that the key is absent.
    #[error("no DHT node answered")]
    Unreachable,
    /// Too many lookups are under way.
    #[error("too many lookups are under way")]
    Busy,
    /// Switched off by `dht.enabled`.
    #[error("the DHT is switched off")]
    Disabled,
}
