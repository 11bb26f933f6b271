//! A client of the BitTorrent Mainline DHT for zones that are signed by their key: PKARR packets, which are mutable items
//! of BEP 44.
//!
//! It looks keys up and stores packets, over IPv4 and IPv6, and never serves the DHT itself (BEP 43). All that arrives is
//! verified before anybody sees it, and that a key is absent is only said on the word of enough nodes near it. [`Dht`] is
//! the client; [`Network`] is the trait of whatever packets are found through, so that relays or a fake can stand in its
//! place. An [`Observer`] is told what happens, for metrics.
//!
//! A search among two hundred nodes on this machine, which the feature `simulator` brings:
//!
#![cfg_attr(feature = "simulator", doc = "```")]
#![cfg_attr(not(feature = "simulator"), doc = "```ignore")]
//! use std::sync::Arc;
//!
//! use pkdns_dht::{
//!     Dht, DhtSettings,
//!     signed_packet::{Keypair, SignedPacket},
//!     simulator::{Simulator, World},
//! };
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let network = Simulator::start(World { nodes: 200, ..World::default() })?;
//! // Of the public DHT: `DhtSettings::default()`, and a resolver for the names of its bootstrap nodes.
//! let dht = Dht::start(DhtSettings::on_loopback(network.bootstrap()), Arc::new(|_| Box::pin(async { Vec::new() })))?;
//!
//! let keypair = Keypair::random();
//! let packet = SignedPacket::sign(&keypair, 1, b"a DNS message")?;
//! let stored_on = dht.put(&packet, None).await?;
//! assert!(stored_on > 0);
//!
//! let (newest, evidence) = dht.most_recent(&keypair.public_key()).await?;
//! assert_eq!(newest, Some(packet));
//! assert!(evidence.responded > 0);
//! # Ok(())
//! # }
//! ```

#![deny(missing_docs)]

mod address;
mod bootstrap;
mod client;
#[cfg_attr(not(any(test, feature = "simulator")), expect(dead_code, reason = "the simulator drives it"))]
mod driven;
mod engine;
mod family;
mod internet_of_tests;
mod krpc;
mod lookup;
mod node_id;
mod observer;
mod path_mtu;
mod put;
mod reach;
mod replaced_file;
mod rtt;
mod saved_nodes;
pub mod signed_packet;
#[cfg(any(test, feature = "simulator"))]
pub mod simulator;
mod socket;
mod subnet;
mod table;
mod task;
#[cfg(any(test, feature = "testing"))]
pub mod testing;
mod values;

use async_trait::async_trait;
use thiserror::Error;
use tokio::sync::mpsc;

pub use bootstrap::{HostResolver, split_host_port};
pub use client::{BOOTSTRAP, Dht, DhtInfo, DhtSettings, PutError};
pub use node_id::Sighting;
pub use observer::{Asked, Effort, Event, Ignored, LookupEnd, NoObserver, Observer, RequestEnd};
pub use put::REPLICAS;
pub use table::Contact;

use signed_packet::{PublicKey, SignedPacket};

/// What the server, its tests and its benchmarks share with this crate. It may change with any release.
#[doc(hidden)]
#[allow(missing_docs, reason = "a door for ourselves")]
pub mod internal {
    pub use super::{address::is_private, replaced_file::replace_with};
    pub mod internet_of_tests {
        pub use crate::internet_of_tests::*;
    }
    pub mod krpc {
        pub use crate::krpc::*;
    }
    pub mod node_id {
        pub use crate::node_id::*;
    }
    pub mod path_mtu {
        pub use crate::path_mtu::*;
    }
    pub mod rtt {
        pub use crate::rtt::*;
    }
    pub mod saved_nodes {
        pub use crate::saved_nodes::*;
    }
    pub mod socket {
        pub use crate::socket::*;
    }
    pub mod table {
        pub use crate::table::*;
    }
}

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

/// Why the network could not be asked. None of these says anything about the key. Exhaustive on purpose: whoever answers
/// for it has to have an answer to each.
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
