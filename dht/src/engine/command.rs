//! What the engine can be told to do.

use std::net::SocketAddr;

use tokio::sync::{mpsc, oneshot, watch};

use crate::{
    DhtInfo, Evidence, NetworkError, PutError,
    family::Family,
    signed_packet::{PublicKey, SignedPacket},
    table::Contact,
    values::Moment,
};

/// How far a list of all nodes has come. Begins with the default.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Step {
    pub(super) family: Family,
    /// The step of [`RoutingTable::piece`](crate::table::RoutingTable::piece).
    pub(super) place: usize,
}

/// Nodes, and where to go on.
pub(crate) type Piece = (Vec<Contact>, Option<Step>);

/// From the [`Dht`](crate::Dht) to the engine.
#[derive(Debug)]
pub(crate) enum Command {
    /// Search for the packet of a key.
    Find {
        key: PublicKey,
        /// Given each packet that is newer than those before.
        found: mpsc::UnboundedSender<SignedPacket>,
        /// Told when the search has ended.
        done: oneshot::Sender<Result<Evidence, NetworkError>>,
        /// The owner may publish next: wait for all the nearest nodes and keep their tokens.
        for_publication: bool,
        /// Timestamps of packets that were signed a moment ago.
        moment: Moment,
    },
    /// Store a packet.
    Put {
        packet: SignedPacket,
        cas: Option<i64>,
        /// Nodes that have confirmed so far.
        progress: watch::Sender<u32>,
        /// So many are enough for `done`. The rest is stored all the same.
        enough: u32,
        done: oneshot::Sender<Result<u32, PutError>>,
    },
    /// Join through these nodes, in the families of addresses in which nobody is known or answers.
    Join(Vec<SocketAddr>),
    /// Nodes from an earlier run, to be asked whether they are still there.
    Remember(Vec<Contact>),
    /// Tell what is known about the client.
    Stats(oneshot::Sender<DhtInfo>),
    /// List some of the nodes that are known, from that step on; none where nobody has answered yet.
    ListNodes(Step, oneshot::Sender<Piece>),
    /// Tell whether no node is known or none answers any more.
    IsDisconnected(oneshot::Sender<bool>),
}
