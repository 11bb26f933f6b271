//! KRPC messages: the datagrams of the DHT (BEP 5, with BEP 32, 42, 43 and 44). Pure.
//!
//! What is read borrows from its datagram: nothing is allocated by a length that a message claims, and nested values
//! are skipped by counting, not by recursion.

mod bencode;
mod write;

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use bencode::Reader;
pub use mainline::Id;
use write::write_socket_address;

/// Bytes of a node in `nodes`: id, IPv4 address, port.
const COMPACT_V4: usize = 26;

/// Bytes of a node in `nodes6`: id, IPv6 address, port (BEP 32).
const COMPACT_V6: usize = 38;

/// A message of either side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Message<'a> {
    /// Chosen by who asks, of any length; the reply repeats it.
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

/// An error.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Refusal<'a> {
    /// 201 to 207, 301 or 302 where the specifications are followed.
    pub code: i64,
    /// For people.
    pub text: &'a [u8],
}

/// Nodes in compact form.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Nodes<'a> {
    v4: &'a [u8],
    v6: &'a [u8],
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

impl Response<'_> {
    /// An answer that says nothing but who gives it.
    pub fn of(id: Id) -> Self {
        Self { id, nodes: Nodes::default(), token: None, item: None, seq: None }
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

impl<'a> Nodes<'a> {
    /// From compact forms, as [`Nodes::push`] writes them.
    pub fn new(v4: &'a [u8], v6: &'a [u8]) -> Self {
        Self { v4, v6 }
    }

    /// Appends the compact form of a node: 26 bytes for IPv4, 38 for IPv6.
    pub fn push(buffer: &mut Vec<u8>, id: Id, address: SocketAddr) {
        buffer.extend_from_slice(id.as_bytes());
        write_socket_address(address, buffer);
    }

    /// The nodes, those of IPv4 first. A list that ends within a node loses that one.
    pub fn iter(self) -> impl Iterator<Item = (Id, SocketAddr)> + 'a {
        let (v4, v6) = (self.v4.chunks_exact(COMPACT_V4), self.v6.chunks_exact(COMPACT_V6));
        v4.chain(v6).filter_map(|node| {
            let (id, address) = node.split_first_chunk::<20>()?;
            Some((Id::from(id), socket_address(address)?))
        })
    }
}

/// The dictionaries of queries and responses: everything that any of them holds.
#[derive(Default)]
struct Fields<'a> {
    cas: Option<i64>,
    id: Option<&'a [u8; 20]>,
    info_hash: Option<&'a [u8; 20]>,
    key: Option<&'a [u8; 32]>,
    nodes: Nodes<'a>,
    salted: bool,
    seq: Option<i64>,
    signature: Option<&'a [u8; 64]>,
    target: Option<&'a [u8; 20]>,
    token: Option<&'a [u8]>,
    value: Option<&'a [u8]>,
    want: Want,
}

impl<'a> Fields<'a> {
    /// A field of another type than it should have counts as missing.
    fn read(reader: &mut Reader<'a>) -> Option<Self> {
        let mut fields = Self::default();
        reader.enter_dictionary()?;
        while let Some(key) = reader.next_key()? {
            match key {
                b"cas" => fields.cas = reader.optional_integer()?,
                b"id" => fields.id = reader.optional_array()?,
                b"info_hash" => fields.info_hash = reader.optional_array()?,
                b"k" => fields.key = reader.optional_array()?,
                b"nodes" => fields.nodes.v4 = reader.optional_byte_string()?.unwrap_or_default(),
                b"nodes6" => fields.nodes.v6 = reader.optional_byte_string()?.unwrap_or_default(),
                b"salt" => {
                    fields.salted = reader.optional_byte_string()?.is_some_and(|salt| !salt.is_empty())
                }
                b"seq" => fields.seq = reader.optional_integer()?,
                b"sig" => fields.signature = reader.optional_array()?,
                b"target" => fields.target = reader.optional_array()?,
                b"token" => fields.token = reader.optional_byte_string()?,
                b"v" => fields.value = reader.optional_byte_string()?,
                b"want" => fields.want = Want::read(reader)?,
                _ => reader.skip()?,
            }
        }
        Some(fields)
    }

    /// A salted value is not the zone of its key.
    fn item(&self) -> Option<Item<'a>> {
        let (false, Some(key), Some(signature), Some(seq), Some(value)) =
            (self.salted, self.key, self.signature, self.seq, self.value)
        else {
            return None;
        };
        Some(Item { key, signature, seq, value })
    }

    fn query(&self, method: &'a [u8]) -> Option<Query<'a>> {
        let target = self.target.map(Id::from);
        let method = match method {
            b"ping" => Method::Ping,
            b"find_node" => Method::FindNode(target?),
            b"get_peers" => Method::GetPeers(self.info_hash.map(Id::from)?),
            b"get" => Method::Get { target: target?, newer_than: self.seq },
            b"put" => match self.item() {
                Some(item) => Method::Put(Put { target, token: self.token?, item, cas: self.cas }),
                None => Method::Unknown(method),
            },
            _ => Method::Unknown(method),
        };
        Some(Query { id: self.id?.into(), want: self.want, method })
    }

    fn response(&self) -> Option<Response<'a>> {
        let (item, seq) = (self.item(), self.seq);
        Some(Response { id: self.id?.into(), nodes: self.nodes, token: self.token, item, seq })
    }
}

impl Want {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let mut want = Self::default();
        if !reader.enter_list() {
            reader.skip()?;
            return Some(want);
        }
        while !reader.leave()? {
            match reader.optional_byte_string()? {
                Some(b"n4") => want.v4 = true,
                Some(b"n6") => want.v6 = true,
                Some(_) | None => {}
            }
        }
        Some(want)
    }
}

/// Port 0 cannot be sent to.
fn socket_address(bytes: &[u8]) -> Option<SocketAddr> {
    let (ip, port) = bytes.split_last_chunk::<2>()?;
    let ip: IpAddr = match ip.len() {
        4 => Ipv4Addr::from(<[u8; 4]>::try_from(ip).ok()?).into(),
        16 => Ipv6Addr::from(<[u8; 16]>::try_from(ip).ok()?).into(),
        _ => return None,
    };
    let port = u16::from_be_bytes(*port);
    (port != 0).then_some(SocketAddr::new(ip, port))
}

impl fmt::Debug for Item<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Item")
            .field("seq", &self.seq)
            .field("bytes", &self.value.len())
            .finish_non_exhaustive()
    }
}

impl fmt::Debug for Nodes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(_, address)| address)).finish()
    }
}

impl fmt::Debug for Refusal<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.code, self.text.escape_ascii())
    }
}

#[cfg(test)]
mod tests;
