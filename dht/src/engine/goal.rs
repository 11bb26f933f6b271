//! What a search is for, and what follows from that.

use std::time::Duration;

use tokio::sync::{oneshot, watch};

use super::budget::Urgency;
use crate::{Evidence, NetworkError, PutError, put::REPLICAS, signed_packet::SignedPacket, values::Values};

/// Nodes nearest to a key that must have answered before a search for it is over. A packet is stored on 20; where fewer
/// than a third of those missed its last version, that none of these has it is as good as impossible.
const WIDTH: usize = 14;

/// Requests on their way at once until a value is there. The median and more so the tail of the latencies are what they
/// buy. Where those who probably hold it are known, all of these are asked: that costs fewer requests in the end than a
/// few rounds. Far away, each request that comes too soon is one to a node that others would have made needless.
const SEEKING_NEAR: usize = 32;
const SEEKING_FAR: usize = 20;
const SEEKING_LONG: usize = 28;

/// So many nodes known that probably hold it make it near.
const NEAR: usize = 8;

/// And once a value is there and others are to agree with it: the next holders are asked at once.
const CONFIRMING: usize = 24;

/// From then on it takes long, in usual round trips.
const LONG: f64 = 2.5;

/// So many searches may be under way at this pace. Where there are more, each gets fewer requests at once, but not fewer
/// than this: together they would overflow our line, and the replies the buffers of the system.
const AT_FULL_PACE: usize = 128;
const LEAST_SEEKING: usize = 6;

/// Requests on their way at once when somebody has an answer and nobody waits any more.
const COMPLETING: usize = 3;

/// For a store: the nearest nodes must all be found before it begins.
const PREPARING: usize = 24;

/// To get to know nodes.
const REFRESHING: usize = 3;

/// What a search is for.
#[derive(Debug)]
pub(super) enum Goal {
    /// The packet of a key.
    Find {
        /// What was found, and the channel to the caller.
        values: Values,
        /// Told when the search has ended.
        done: oneshot::Sender<Result<Evidence, NetworkError>>,
        /// The owner may publish next: tokens are kept.
        keep_tokens: bool,
    },
    /// The nodes that a packet is to be stored on.
    Publish(Publication),
    /// To know more nodes.
    Refresh,
}

/// A packet to store.
#[derive(Debug)]
pub(super) struct Publication {
    pub(super) packet: SignedPacket,
    pub(super) cas: Option<i64>,
    /// Nodes that have confirmed so far.
    pub(super) progress: watch::Sender<u32>,
    /// So many are enough to tell the caller.
    pub(super) enough: u32,
    /// `None` once the caller was told.
    pub(super) done: Option<oneshot::Sender<Result<u32, PutError>>>,
    /// What the network holds of the key.
    pub(super) values: Values,
}

impl Goal {
    pub(super) fn values(&mut self) -> Option<&mut Values> {
        match self {
            Self::Find { values, .. } => Some(values),
            Self::Publish(publication) => Some(&mut publication.values),
            Self::Refresh => None,
        }
    }

    /// Whether nobody waits for its end any more. A search for a key is finished all the same: the next who asks for
    /// it finds the packet.
    pub(super) fn is_abandoned(&self) -> bool {
        let is_closed =
            |publication: &Publication| publication.done.as_ref().is_some_and(oneshot::Sender::is_closed);
        matches!(self, Self::Publish(publication) if is_closed(publication))
    }

    /// Whether a packet is looked for and not there yet.
    pub(super) fn lacks_packet(&self) -> bool {
        matches!(self, Self::Find { values, .. } if values.newest().is_none())
    }

    /// Whether a packet is looked for, nothing but forgeries was shown, and no more of them are checked.
    pub(super) fn is_blind(&self) -> bool {
        matches!(self, Self::Find { values, .. } if values.newest().is_none() && values.is_blind())
    }

    /// Whether a packet was handed out, as that of enough nodes.
    pub(super) fn is_answered(&self) -> bool {
        matches!(self, Self::Find { values, .. } if values.is_released() && values.missing() == 0)
    }

    /// Whether it matters that the nearest nodes are really the nearest.
    pub(super) fn wants_evidence(&self) -> bool {
        self.lacks_packet() || matches!(self, Self::Refresh | Self::Publish(_))
    }

    pub(super) fn wants_responders(&self) -> bool {
        matches!(self, Self::Publish(_) | Self::Find { keep_tokens: true, .. })
    }

    pub(super) fn width(&self) -> usize {
        match self {
            Self::Find { keep_tokens: false, .. } => WIDTH,
            Self::Find { .. } | Self::Publish(_) => REPLICAS,
            Self::Refresh => 8,
        }
    }

    /// Requests at once, and how urgent they are. `likely_holders`: nodes known that probably hold what is looked for;
    /// `taken`: how long the search has taken; `usual`: the usual round trip; `under_way`: searches that share the line, this
    /// one among them.
    pub(super) fn pace(
        &self,
        likely_holders: usize,
        taken: Duration,
        usual: Duration,
        under_way: usize,
    ) -> (usize, Urgency) {
        let (parallel, urgency) = match self {
            Self::Find { keep_tokens: true, .. } | Self::Publish(_) => (PREPARING, Urgency::Awaited),
            Self::Find { values, .. } if values.is_released() => (COMPLETING, Urgency::Background),
            Self::Find { .. } if taken > usual.mul_f64(LONG) => (SEEKING_LONG, Urgency::Awaited),
            Self::Find { values, .. } if values.newest().is_some() => (CONFIRMING, Urgency::Awaited),
            Self::Find { .. } if likely_holders >= NEAR => (SEEKING_NEAR, Urgency::Awaited),
            Self::Find { .. } => (SEEKING_FAR, Urgency::Awaited),
            Self::Refresh => (REFRESHING, Urgency::Background),
        };
        let shared = parallel * AT_FULL_PACE / under_way.max(AT_FULL_PACE);
        (shared.max(parallel.min(LEAST_SEEKING)), urgency)
    }

    /// What we have need not be sent again. A writer wants to see what each node holds.
    pub(super) fn newer_than(&self) -> Option<i64> {
        match self {
            Self::Find { values, .. } => {
                values.newest().and_then(|packet| packet.timestamp().try_into().ok())
            }
            Self::Publish(_) | Self::Refresh => None,
        }
    }
}
