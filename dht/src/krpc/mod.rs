//! KRPC messages: the datagrams of the DHT (BEP 5, with BEP 32, 42, 43 and 44). Pure.
//!
//! What is read borrows from its datagram: nothing is allocated by a length that a message claims, and nested values
//! are skipped by counting, not by recursion.

mod bencode;
mod fields;
mod nodes;

use std::{fmt, net::SocketAddr};

use bencode::{Encoder, Reader};
use fields::Fields;
pub use mainline::Id;
pub use nodes::Nodes;
use nodes::{socket_address, write_socket_address};

/// A message of either side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// Chosen by the node that asks, of any length; the reply repeats it.
    pub transaction: &'a [u8],
    /// The sender answers no queries (BEP 43).
    pub read_only: bool,
    /// Where the sender of a response sees us (BEP 42).
    pub observed: Option<SocketAddr>,
    /// What it says.
    pub body: Body<'a>,
}

/// What a message says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Body<'a> {
    /// Somebody asks.
    Query(Query<'a>),
    /// Somebody answers.
    Response(Response<'a>),
    /// Somebody refuses.
    Error(Refusal<'a>),
}

/// A question of the node `id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Query<'a> {
    /// The node that asks.
    pub id: Id,
    /// Which addresses the answer is to hold (BEP 32). Without a wish, those of the family it is asked over.
    pub want: Want,
    /// What is asked for.
    pub method: Method<'a>,
}

/// Families of addresses that a query asks for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Want {
    /// `n4`
    pub v4: bool,
    /// `n6`
    pub v6: bool,
}

impl Want {
    /// Whether nodes of the family of `address` are wanted by a node that asks from there.
    pub fn is_for(self, address: SocketAddr) -> bool {
        self == Self::default() || if address.is_ipv4() { self.v4 } else { self.v6 }
    }
}

/// What is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Method<'a> {
    /// Whether the node is there.
    Ping,
    /// The nodes nearest to the target.
    FindNode(Id),
    /// The peers of a torrent. We never ask it.
    GetPeers(Id),
    /// The value under the target.
    Get {
        /// SHA-1 of the key.
        target: Id,
        /// Values up to this number are not wanted.
        newer_than: Option<i64>,
    },
    /// To store a value.
    Put(Put<'a>),
    /// Anything else.
    Unknown(&'a [u8]),
}

/// A value to store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Put<'a> {
    /// SHA-1 of the key. BEP 44 does without, but mainline ignores a `put` that lacks it.
    pub target: Option<Id>,
    /// From the response of the same node to a `get`.
    pub token: &'a [u8],
    /// The value. Unsigned ones are for others.
    pub item: Item<'a>,
    /// Stored only if this is the number of what the node holds.
    pub cas: Option<i64>,
}

/// A mutable value (BEP 44), not verified.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Item<'a> {
    /// Ed25519 public key.
    pub key: &'a [u8; 32],
    /// Its signature of the rest.
    pub signature: &'a [u8; 64],
    /// The greater, the newer.
    pub seq: i64,
    /// The value, a byte string.
    pub value: &'a [u8],
}

/// An answer of the node `id`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Response<'a> {
    /// The node that answers.
    pub id: Id,
    /// Nodes near the target.
    pub nodes: Nodes<'a>,
    /// Needed to store something at this node.
    pub token: Option<&'a [u8]>,
    /// The value that was asked for.
    pub item: Option<Item<'a>>,
    /// The number of the value, also where the node keeps the value itself back.
    pub seq: Option<i64>,
}

/// Longest token that is kept, in bytes. Nodes send 4 to 20.
pub(super) const MAX_TOKEN: usize = 256;

/// An error.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Refusal<'a> {
    /// 201 to 207, 301 or 302 where the specifications are followed.
    pub code: i64,
    /// For people.
    pub text: &'a [u8],
}

impl<'a> Message<'a> {
    /// Reads a datagram. `None`: it is no message, or lacks what a message of its kind must have.
    pub fn decode(datagram: &'a [u8]) -> Option<Self> {
        let mut reader = Reader::new(datagram);
        let (mut transaction, mut kind, mut method) = (None, None, None);
        let (mut arguments, mut answer, mut refusal) = (None, None, None);
        let (mut read_only, mut observed) = (false, None);
        reader.enter_dictionary()?;
        while let Some(key) = reader.next_key()? {
            match key {
                b"t" => transaction = Some(reader.byte_string()?),
                b"y" => kind = Some(reader.byte_string()?),
                b"q" => method = Some(reader.byte_string()?),
                b"a" => arguments = Some(Fields::read(&mut reader)?),
                b"r" => answer = Some(Fields::read(&mut reader)?),
                b"e" => refusal = Some(Refusal::read(&mut reader)?),
                b"ro" => read_only = reader.optional_integer()?.is_some_and(|value| value != 0),
                b"ip" => observed = reader.optional_byte_string()?.and_then(socket_address),
                _ => reader.skip()?,
            }
        }
        let body = match kind? {
            b"q" => Body::Query(arguments?.query(method?)?),
            b"r" => Body::Response(answer?.response()?),
            b"e" => Body::Error(refusal?),
            _ => return None,
        };
        Some(Self { transaction: transaction?, read_only, observed, body })
    }

    /// Appends the datagram to `buffer`. Keys are in the order that strict readers insist on.
    pub fn encode(&self, buffer: &mut Vec<u8>) {
        let mut encoder = Encoder::new(buffer);
        encoder.begin_dictionary();
        match &self.body {
            Body::Query(query) => query.encode_arguments(&mut encoder),
            Body::Error(refusal) => {
                encoder.key(b"e");
                encoder.begin_list();
                encoder.integer(refusal.code);
                encoder.byte_string(refusal.text);
                encoder.end();
            }
            Body::Response(_) => {}
        }
        if let Some(address) = self.observed {
            encoder.key(b"ip");
            encoder.byte_string_of(|bytes| write_socket_address(address, bytes));
        }
        match &self.body {
            Body::Query(query) => encoder.entry(b"q", query.method.name()),
            Body::Response(response) => response.encode(&mut encoder),
            Body::Error(_) => {}
        }
        if self.read_only {
            encoder.key(b"ro");
            encoder.integer(1);
        }
        encoder.entry(b"t", self.transaction);
        let kind: &[u8] = match self.body {
            Body::Query(_) => b"q",
            Body::Response(_) => b"r",
            Body::Error(_) => b"e",
        };
        encoder.entry(b"y", kind);
        encoder.end();
    }
}

impl Query<'_> {
    fn encode_arguments(&self, encoder: &mut Encoder) {
        encoder.key(b"a");
        encoder.begin_dictionary();
        if let Method::Put(Put { cas: Some(cas), .. }) = self.method {
            encoder.key(b"cas");
            encoder.integer(cas);
        }
        encoder.entry(b"id", self.id.as_bytes());
        match &self.method {
            Method::GetPeers(info_hash) => encoder.entry(b"info_hash", info_hash.as_bytes()),
            Method::FindNode(target) => encoder.entry(b"target", target.as_bytes()),
            Method::Get { target, newer_than } => {
                if let Some(seq) = newer_than {
                    encoder.key(b"seq");
                    encoder.integer(*seq);
                }
                encoder.entry(b"target", target.as_bytes());
            }
            Method::Put(Put { target, token, item, cas: _ }) => {
                encoder.entry(b"k", item.key);
                encoder.key(b"seq");
                encoder.integer(item.seq);
                encoder.entry(b"sig", item.signature);
                if let Some(target) = target {
                    encoder.entry(b"target", target.as_bytes());
                }
                encoder.entry(b"token", token);
                encoder.entry(b"v", item.value);
            }
            Method::Ping | Method::Unknown(_) => {}
        }
        if self.want != Want::default() {
            encoder.key(b"want");
            encoder.begin_list();
            if self.want.v4 {
                encoder.byte_string(b"n4");
            }
            if self.want.v6 {
                encoder.byte_string(b"n6");
            }
            encoder.end();
        }
        encoder.end();
    }
}

impl<'a> Method<'a> {
    /// As the query says it.
    pub fn name(&self) -> &'a [u8] {
        match self {
            Self::Ping => b"ping",
            Self::FindNode(_) => b"find_node",
            Self::GetPeers(_) => b"get_peers",
            Self::Get { .. } => b"get",
            Self::Put(_) => b"put",
            Self::Unknown(name) => name,
        }
    }
}

impl<'a> Response<'a> {
    /// The token, unless it is longer than any that is kept.
    pub(super) fn short_token(&self) -> Option<&'a [u8]> {
        self.token.filter(|token| token.len() <= MAX_TOKEN)
    }

    /// The number of the value that the node holds, whether it shows the value or keeps it back.
    pub(super) fn held(&self) -> Option<i64> {
        self.item.map(|item| item.seq).or(self.seq)
    }

    /// An answer that says nothing but who gives it.
    pub fn of(id: Id) -> Self {
        Self { id, nodes: Nodes::default(), token: None, item: None, seq: None }
    }

    fn encode(&self, encoder: &mut Encoder) {
        encoder.key(b"r");
        encoder.begin_dictionary();
        encoder.entry(b"id", self.id.as_bytes());
        if let Some(item) = &self.item {
            encoder.entry(b"k", item.key);
        }
        if !self.nodes.v4().is_empty() {
            encoder.entry(b"nodes", self.nodes.v4());
        }
        if !self.nodes.v6().is_empty() {
            encoder.entry(b"nodes6", self.nodes.v6());
        }
        if let Some(seq) = self.item.map(|item| item.seq).or(self.seq) {
            encoder.key(b"seq");
            encoder.integer(seq);
        }
        if let Some(item) = &self.item {
            encoder.entry(b"sig", item.signature);
        }
        if let Some(token) = self.token {
            encoder.entry(b"token", token);
        }
        if let Some(item) = &self.item {
            encoder.entry(b"v", item.value);
        }
        encoder.end();
    }
}

impl<'a> Refusal<'a> {
    /// A list of code and text. What is missing or of another type is left at nothing: that it refuses is clear.
    fn read(reader: &mut Reader<'a>) -> Option<Self> {
        let mut refusal = Self { code: 0, text: &[] };
        if !reader.enter_list() {
            reader.skip()?;
            return Some(refusal);
        }
        while !reader.leave()? {
            if reader.at_integer() {
                refusal.code = reader.optional_integer()?.unwrap_or_default();
            } else if let Some(text) = reader.optional_byte_string()? {
                refusal.text = text;
            }
        }
        Some(refusal)
    }
}

impl fmt::Debug for Item<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Item")
            .field("seq", &self.seq)
            .field("bytes", &self.value.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Refusal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.text.escape_ascii())
    }
}

#[cfg(test)]
mod tests;
