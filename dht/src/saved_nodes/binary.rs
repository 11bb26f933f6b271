//! The file that is written. After a line with the version come, with the least byte first: when it was written (8
//! bytes, seconds since 1970); how many bootstrap nodes its network has (2) and each of them, its length (2) before it;
//! the nodes; a byte of ones; and a checksum of all before it (8).
//!
//! A node is a byte of flags, its id (20), its address (4 or 16 and 2, as in BEP 5 and BEP 32), and its round trip and
//! the deviation of that (2 and 2, see [`Rtt::pack`]), if that is known.

use std::{
    hash::Hasher,
    io::{self, Write},
    net::{IpAddr, SocketAddr},
};

use siphasher::sip::SipHasher13;

use crate::{
    krpc::Id,
    rtt::Rtt,
    table::{Contact, MAX_NODES},
};

/// The first line. Another format gets another number.
const HEADER: &[u8] = b"pkdns DHT nodes, version 2\n";

const IPV6: u8 = 1;
const STORES_NOTHING: u8 = 2;
const HAS_RTT: u8 = 4;
const KNOWN_FLAGS: u8 = IPV6 | STORES_NOTHING | HAS_RTT;

/// Stands where another node could be.
const END: u8 = 0xff;

/// Bytes of a node of IPv6 with its round trip.
pub(super) const LONGEST_NODE: usize = 1 + 20 + 18 + 4;

/// Bytes of the checksum.
const CHECKSUM: usize = 8;

/// Writes the file.
pub(super) fn write(
    file: &mut impl Write,
    seconds: u64,
    network: &[String],
    nodes: impl Iterator<Item = io::Result<Contact>>,
) -> io::Result<()> {
    let mut file = Summed { file, sum: checksum() };
    file.write(HEADER)?;
    file.write(&seconds.to_le_bytes())?;
    file.write(&length(network.len())?)?;
    for host in network {
        file.write(&length(host.len())?)?;
        file.write(host.as_bytes())?;
    }
    let mut bytes = Vec::with_capacity(LONGEST_NODE);
    for node in nodes.take(MAX_NODES) {
        bytes.clear();
        encode(&node?, &mut bytes);
        file.write(&bytes)?;
    }
    file.write(&[END])?;
    let sum = file.sum.finish();
    file.file.write_all(&sum.to_le_bytes())?;
    file.file.flush()
}

/// When it was written, its bootstrap nodes, and the nodes. The error is the byte at which it is wrong.
pub(super) fn parse(bytes: Vec<u8>) -> Result<(u64, Vec<String>, Nodes), usize> {
    let mut reader = Reader { bytes: &bytes, at: 0 };
    if reader.take(HEADER.len()) != Some(HEADER) {
        return Err(0);
    }
    let (body, sum) = bytes.split_last_chunk::<CHECKSUM>().ok_or(bytes.len())?;
    let mut expected = checksum();
    expected.write(body);
    if expected.finish() != u64::from_le_bytes(*sum) {
        return Err(body.len());
    }
    reader.bytes = body;
    let seconds = u64::from_le_bytes(reader.chunk().ok_or(reader.at)?);
    let hosts = u16::from_le_bytes(reader.chunk().ok_or(reader.at)?);
    let mut network = Vec::new();
    for _ in 0..hosts {
        let length = u16::from_le_bytes(reader.chunk().ok_or(reader.at)?);
        let host = reader.take(length.into()).ok_or(reader.at)?;
        network.push(String::from_utf8(host.to_vec()).map_err(|_| reader.at)?);
    }
    let first = reader.at;
    let mut count = 0;
    while body.get(reader.at) != Some(&END) {
        let at = reader.at;
        reader.node().filter(|_| count < MAX_NODES).ok_or(at)?;
        count += 1;
    }
    if reader.at + 1 != body.len() {
        return Err(reader.at + 1);
    }
    Ok((seconds, network, Nodes { bytes, at: first, left: count }))
}

/// Nodes that have been checked, in the form in which they were saved.
#[derive(Debug)]
pub(super) struct Nodes {
    bytes: Vec<u8>,
    at: usize,
    left: usize,
}

impl Nodes {
    pub(super) fn next(&mut self) -> Option<Contact> {
        self.left = self.left.checked_sub(1)?;
        let mut reader = Reader { bytes: &self.bytes, at: self.at };
        let node = reader.node();
        self.at = reader.at;
        node
    }

    pub(super) fn len(&self) -> usize {
        self.left
    }
}

struct Summed<'a, W> {
    file: &'a mut W,
    sum: SipHasher13,
}

impl<W: Write> Summed<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.sum.write(bytes);
        self.file.write_all(bytes)
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(length)?)?;
        self.at += length;
        Some(taken)
    }

    fn chunk<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn node(&mut self) -> Option<Contact> {
        let [flags] = self.chunk()?;
        if flags & !KNOWN_FLAGS != 0 {
            return None;
        }
        let id = Id::from(self.chunk::<20>()?);
        let ip = match flags & IPV6 {
            0 => IpAddr::from(self.chunk::<4>()?),
            _ => IpAddr::from(self.chunk::<16>()?),
        };
        // Nobody can be asked at port 0.
        let port = Some(u16::from_be_bytes(self.chunk()?)).filter(|port| *port != 0)?;
        let rtt = match flags & HAS_RTT {
            0 => None,
            _ => Some(Rtt::unpack([u16::from_le_bytes(self.chunk()?), u16::from_le_bytes(self.chunk()?)])),
        };
        let stores = flags & STORES_NOTHING == 0;
        Some(Contact { id, address: SocketAddr::new(ip, port), rtt, stores })
    }
}

fn encode(node: &Contact, buffer: &mut Vec<u8>) {
    let Contact { id, address, rtt, stores } = node;
    let flag = |is_set: bool, flag: u8| if is_set { flag } else { 0 };
    buffer.push(flag(address.is_ipv6(), IPV6) | flag(!stores, STORES_NOTHING) | flag(rtt.is_some(), HAS_RTT));
    buffer.extend_from_slice(id.as_bytes());
    match address.ip() {
        IpAddr::V4(ip) => buffer.extend_from_slice(&ip.octets()),
        IpAddr::V6(ip) => buffer.extend_from_slice(&ip.octets()),
    }
    buffer.extend_from_slice(&address.port().to_be_bytes());
    for ticks in rtt.iter().flat_map(|rtt| rtt.pack()) {
        buffer.extend_from_slice(&ticks.to_le_bytes());
    }
}

fn length(length: usize) -> io::Result<[u8; 2]> {
    let length = u16::try_from(length)
        .map_err(|_| io::Error::other("the bootstrap nodes are too many or too long"))?;
    Ok(length.to_le_bytes())
}

/// Against damage, not against forgers, who could as well write the checksum anew.
fn checksum() -> SipHasher13 {
    SipHasher13::new()
}
