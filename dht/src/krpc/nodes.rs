//! Nodes and addresses in compact form.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use super::Id;

/// Bytes of a node in `nodes`: id, IPv4 address, port.
pub(super) const COMPACT_V4: usize = 26;

/// Bytes of a node in `nodes6`: id, IPv6 address, port (BEP 32).
pub(super) const COMPACT_V6: usize = 38;

/// Nodes in compact form.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub struct Nodes<'a> {
    v4: &'a [u8],
    v6: &'a [u8],
}

impl<'a> Nodes<'a> {
    /// From compact forms, as [`Nodes::push`] writes them.
    pub fn new(v4: &'a [u8], v6: &'a [u8]) -> Self {
        Self { v4, v6 }
    }

    /// Those of IPv4, as they are sent.
    pub(super) fn v4(self) -> &'a [u8] {
        self.v4
    }

    /// Those of IPv6, as they are sent.
    pub(super) fn v6(self) -> &'a [u8] {
        self.v6
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

/// Port 0 cannot be sent to.
pub(super) fn socket_address(bytes: &[u8]) -> Option<SocketAddr> {
    let (ip, port) = bytes.split_last_chunk::<2>()?;
    let ip: IpAddr = match ip.len() {
        4 => Ipv4Addr::from(<[u8; 4]>::try_from(ip).ok()?).into(),
        16 => Ipv6Addr::from(<[u8; 16]>::try_from(ip).ok()?).into(),
        _ => return None,
    };
    let port = u16::from_be_bytes(*port);
    (port != 0).then_some(SocketAddr::new(ip, port))
}

pub(super) fn write_socket_address(address: SocketAddr, buffer: &mut Vec<u8>) {
    match address.ip() {
        IpAddr::V4(ip) => buffer.extend_from_slice(&ip.octets()),
        IpAddr::V6(ip) => buffer.extend_from_slice(&ip.octets()),
    }
    buffer.extend_from_slice(&address.port().to_be_bytes());
}

impl fmt::Debug for Nodes<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(self.iter().map(|(_, address)| address)).finish()
    }
}
