//! What the client reports of its work as it goes, for the metrics of the program that runs it.

use std::{fmt, time::Duration};

use super::{NetworkError, PutError};

/// Is told what the client does. It is called from the task of the client, so that it has to return at once.
pub trait Observer: fmt::Debug + Send + Sync + 'static {
    /// Takes note of an event.
    fn observe(&self, event: Event<'_>);
}

/// Takes note of nothing.
#[derive(Debug, Clone, Copy, Default)]
pub struct NoObserver;

impl Observer for NoObserver {
    fn observe(&self, _: Event<'_>) {}
}

/// Something that the client did, or that happened to it.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A lookup ended, or could not begin.
    Lookup(LookupEnd),
    /// A put ended: with the number of nodes that confirmed it, or an error.
    Put(&'a Result<u32, PutError>),
    /// A request to a node ended.
    Request {
        /// What it asked for.
        asked: Asked,
        /// How it ended.
        end: RequestEnd,
    },
    /// The signature of a packet was checked.
    SignatureChecked {
        /// Whether it is by the key, over this packet.
        is_valid: bool,
    },
    /// A datagram arrived. If it is of no use, an [`Event::Ignored`] follows.
    Received,
    /// A datagram that arrived was of no use.
    Ignored(Ignored),
    /// Datagrams arrived that were not taken from the kernel in time.
    DroppedByKernel(u64),
    /// The kernel took this many datagrams to send.
    Sent(u64),
    /// The kernel did not take this many datagrams.
    Unsent(u64),
    /// The budget of datagrams did not allow this many messages to be sent.
    Withheld(u64),
    /// How things stand, told now and then.
    Standing {
        /// Lookups and puts under way.
        tasks: usize,
        /// Nodes known, of IPv4.
        v4: usize,
        /// Nodes known, of IPv6.
        v6: usize,
    },
}

/// How a lookup ended.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct LookupEnd {
    /// Whether there is a packet, or why that is not known.
    pub result: Result<bool, NetworkError>,
    /// What it took. `None`: it did not begin.
    pub effort: Option<Effort>,
}

impl LookupEnd {
    pub(crate) fn not_begun(why: NetworkError) -> Self {
        Self { result: Err(why), effort: None }
    }
}

/// What a lookup took.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Effort {
    /// Until its end, its background part included.
    pub duration: Duration,
    /// Messages sent until then.
    pub messages: u32,
    /// Messages sent until the first valid packet came, and the time until then.
    pub first: Option<(u32, Duration)>,
    /// A newer packet came after the first.
    pub was_stale: bool,
}

/// What a request asks a node for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// Nodes, also to join through it (`find_node`).
    Nodes,
    /// A packet (`get`).
    Packet,
    /// To store a packet (`put`).
    Storage,
}

/// How a request to a node ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RequestEnd {
    /// With what was asked for, or with nodes that are nearer, after this time.
    Answered(Duration),
    /// With error 204, method unknown: the node stores nothing (BEP 44).
    Unsupported(Duration),
    /// With another error.
    Refused(Duration),
    /// Without a reply in time.
    Unanswered,
}

/// Why a datagram was of no use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ignored {
    /// Not a KRPC message.
    Garbage,
    /// A response that nothing was asked for, or that came too late.
    UnknownTransaction,
    /// A response from elsewhere than where the question went.
    WrongAddress,
    /// A query, or a value that no signature can make right: too long, of another key, with a negative seq.
    Refused,
}
