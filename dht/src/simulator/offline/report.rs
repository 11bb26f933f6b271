//! How searches and publications went.

use std::time::Duration;

use crate::{
    Evidence, NetworkError, PutError,
    signed_packet::{PublicKey, SignedPacket},
};

/// A search, from when it was asked for. Times count from the start of the network.
#[derive(Debug, Clone, PartialEq)]
pub struct Search {
    /// What is searched for.
    pub key: PublicKey,
    /// When it began, or is to begin.
    pub started: Duration,
    /// The packet that was handed out first.
    pub first: Option<First>,
    /// The newest packet so far.
    pub newest: Option<SignedPacket>,
    /// When it ended.
    pub ended: Option<Duration>,
    /// What it says then. Without a packet, `Ok` says that there is none.
    pub result: Option<Result<Evidence, NetworkError>>,
    /// `get` sent for its key so far. Searches for one key at one time count theirs together.
    pub requests: u32,
}

/// The first packet that a search hands out.
#[derive(Debug, Clone, PartialEq)]
pub struct First {
    /// The packet.
    pub packet: SignedPacket,
    /// When it was handed out.
    pub at: Duration,
    /// `get` sent by then.
    pub requests: u32,
}

/// A publication, from when it was asked for. Times count from the start of the network.
#[derive(Debug, Clone, PartialEq)]
pub struct Publication {
    /// What is published.
    pub packet: SignedPacket,
    /// When it began, or is to begin.
    pub started: Duration,
    /// How the number of nodes that have confirmed it grew.
    pub acknowledged: Vec<Acknowledged>,
    /// When it ended.
    pub ended: Option<Duration>,
    /// How many nodes confirmed it.
    pub result: Option<Result<u32, PutError>>,
    /// `get` and `put` sent for its key so far.
    pub requests: u32,
}

/// So many nodes have confirmed a publication at this time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Acknowledged {
    /// When.
    pub at: Duration,
    /// How many.
    pub nodes: u32,
}

impl Search {
    pub(super) fn new(key: PublicKey, started: Duration) -> Self {
        Self { key, started, first: None, newest: None, ended: None, result: None, requests: 0 }
    }

    /// How long the first packet took. `None`: there is none so far.
    pub fn time_to_first(&self) -> Option<Duration> {
        Some(self.first.as_ref()?.at.saturating_sub(self.started))
    }

    /// How long it took. `None`: it is under way.
    pub fn duration(&self) -> Option<Duration> {
        Some(self.ended?.saturating_sub(self.started))
    }

    /// Whether it has ended and says that there is no packet.
    pub fn is_absent(&self) -> bool {
        self.newest.is_none() && matches!(self.result, Some(Ok(_)))
    }
}

impl Publication {
    pub(super) fn new(packet: SignedPacket, started: Duration) -> Self {
        Self { packet, started, acknowledged: Vec::new(), ended: None, result: None, requests: 0 }
    }

    /// How long it took until so many nodes had confirmed it.
    pub fn time_to(&self, nodes: u32) -> Option<Duration> {
        let reached = self.acknowledged.iter().find(|it| it.nodes >= nodes)?;
        Some(reached.at.saturating_sub(self.started))
    }

    /// How long it took. `None`: it is under way.
    pub fn duration(&self) -> Option<Duration> {
        Some(self.ended?.saturating_sub(self.started))
    }
}
