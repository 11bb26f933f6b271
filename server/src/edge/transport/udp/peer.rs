//! Where a datagram came from, and how its reply leaves.

use std::{
    io::IoSlice,
    net::{IpAddr, Ipv6Addr, SocketAddr, UdpSocket},
    os::fd::AsRawFd,
};

use nix::{
    libc,
    sys::socket::{ControlMessage, MsgFlags, SockaddrStorage, sendmsg},
};

/// Whom to reply to, and from which address.
#[derive(Debug, Clone, Copy)]
pub(super) struct Peer {
    pub(super) address: SocketAddr,
    reply_from: ReplyFrom,
}

/// Made from where the query went.
#[derive(Debug, Clone, Copy)]
pub(super) enum ReplyFrom {
    /// The socket has one address.
    Socket,
    V4(libc::in_pktinfo),
    V6(libc::in6_pktinfo),
}

impl Peer {
    /// `None` for what is no address from which a client can ask.
    pub(super) fn new(address: &SockaddrStorage, reply_from: ReplyFrom) -> Option<Self> {
        let address = socket_address(address)?;
        can_be_client(address).then_some(Self { address, reply_from })
    }

    /// Sends once. A reply that the socket does not take now is lost, as it may be anywhere on its way: waiting for
    /// one client would hold up all the others, and clients ask again.
    pub(super) fn send(&self, socket: &UdpSocket, reply: &[u8]) {
        if reply.is_empty() {
            return;
        }
        let slices = [IoSlice::new(reply)];
        let to = SockaddrStorage::from(self.address);
        // Costs a wildcard socket one small allocation inside `sendmsg`; other sockets none.
        let (v4, v6);
        let control: &[ControlMessage<'_>] = match &self.reply_from {
            ReplyFrom::Socket => &[],
            ReplyFrom::V4(info) => {
                v4 = [ControlMessage::Ipv4PacketInfo(info)];
                &v4
            }
            ReplyFrom::V6(info) => {
                v6 = [ControlMessage::Ipv6PacketInfo(info)];
                &v6
            }
        };
        if let Err(error) = sendmsg(socket.as_raw_fd(), &slices, control, MsgFlags::MSG_DONTWAIT, Some(&to)) {
            tracing::debug!(client = %self.address, %error, "reply lost");
        }
    }
}

impl ReplyFrom {
    /// `ipi_spec_dst` is the local address: the one asked, or for a broadcast the one that answers it. The interface
    /// is left to the routing table.
    pub(super) fn v4(asked: libc::in_pktinfo) -> Self {
        Self::V4(libc::in_pktinfo { ipi_ifindex: 0, ..asked })
    }

    /// A link-local address means nothing without its interface; for any other that is left to the routing table.
    pub(super) fn v6(asked: libc::in6_pktinfo) -> Self {
        let address = Ipv6Addr::from(asked.ipi6_addr.s6_addr);
        let ipi6_ifindex = if address.is_unicast_link_local() { asked.ipi6_ifindex } else { 0 };
        Self::V6(libc::in6_pktinfo { ipi6_ifindex, ..asked })
    }
}

/// Replies to others would go nowhere, or to everyone.
fn can_be_client(address: SocketAddr) -> bool {
    address.port() != 0
        && match address.ip().to_canonical() {
            IpAddr::V4(ip) => !ip.is_unspecified() && !ip.is_multicast() && !ip.is_broadcast(),
            IpAddr::V6(ip) => !ip.is_unspecified() && !ip.is_multicast(),
        }
}

fn socket_address(address: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = address.as_sockaddr_in() {
        return Some(SocketAddr::V4((*v4).into()));
    }
    address.as_sockaddr_in6().map(|v6| SocketAddr::V6((*v6).into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_is_sent_to_where_no_client_can_be() {
        for peer in [
            "192.0.2.1:0",
            "0.0.0.0:53",
            "255.255.255.255:53",
            "224.0.0.251:5353",
            "[::]:53",
            "[ff02::fb]:5353",
        ] {
            assert!(peer_of(peer).is_none(), "{peer}");
        }
        for peer in ["192.0.2.1:1", "127.0.0.1:53", "[2001:db8::1]:65535", "[fe80::1]:53"] {
            assert_eq!(peer_of(peer).unwrap().address, peer.parse().unwrap());
        }
    }

    #[test]
    fn only_a_link_local_reply_is_tied_to_an_interface() {
        let index_for = |asked: &str| {
            let ipi6_addr = libc::in6_addr { s6_addr: asked.parse::<Ipv6Addr>().unwrap().octets() };
            match ReplyFrom::v6(libc::in6_pktinfo { ipi6_addr, ipi6_ifindex: 7 }) {
                ReplyFrom::V6(info) => info.ipi6_ifindex,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(index_for("fe80::1"), 7);
        assert_eq!(index_for("2001:db8::1"), 0);
    }

    fn peer_of(address: &str) -> Option<Peer> {
        let address: SocketAddr = address.parse().unwrap();
        Peer::new(&address.into(), ReplyFrom::Socket)
    }
}
