//! DNS over UDP. What is at hand is answered in the loop that received it, in buffers that are used again; the rest
//! is answered from tasks.

use std::{
    io::{self, IoSlice, IoSliceMut},
    net::{IpAddr, Ipv6Addr, SocketAddr},
    os::fd::AsRawFd,
    sync::Arc,
};

use nix::{
    cmsg_space, libc,
    sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, sendmsg},
};
use tokio::{io::Interest, net::UdpSocket, task::coop, time::sleep};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{BackOff, MAX_REQUEST_SIZE, Slot, Slots, UdpSockets, at_once};
use crate::{
    message::{MAX_UDP_SIZE, Query, Reply},
    service::{AtOnce, Client, Respond},
};

/// Replies that may wait for a lookup at once, over all UDP listeners. Enough for 1800 lookups a second that all take
/// their full 4.5 s, and few enough that they cost some tens of megabytes. A query beyond is dropped, and its client
/// asks again.
pub const MAX_WAITING: usize = 8192;

/// Replies that may wait at once for one client. Whoever collects slow lookups could have them all answered in one
/// burst at a victim (DNSBomb, CVE-2024-33655); a forwarder for a whole network with 1000 in flight stays below.
pub const MAX_WAITING_PER_CLIENT: usize = 2048;

/// Datagrams read after the stop, per socket: more than the receive buffer holds, so that only a flood is cut off.
const MAX_READ_AFTER_STOP: usize = 16_384;

/// Failures of a socket in a row that are taken for errors of single datagrams (an ICMP error of an earlier reply),
/// before waiting.
const FAILURES_WITHOUT_WAIT: u32 = 16;

/// Starts answering on every socket. `waiting` bounds the slow replies; several listeners share one.
pub fn serve<R: Respond>(
    sockets: UdpSockets,
    responder: Arc<R>,
    waiting: Arc<Slots>,
    stop: CancellationToken,
    tasks: &TaskTracker,
) {
    let wildcard = sockets.local_address().ip().is_unspecified();
    for socket in sockets.sockets {
        let port = Port {
            socket: Arc::new(socket),
            wildcard,
            responder: responder.clone(),
            waiting: waiting.clone(),
            tasks: tasks.clone(),
        };
        tasks.spawn(port.run(stop.clone()));
    }
}

/// One socket and what its queries are answered with.
struct Port<R> {
    socket: Arc<UdpSocket>,
    wildcard: bool,
    responder: Arc<R>,
    waiting: Arc<Slots>,
    tasks: TaskTracker,
}

/// Where a datagram came from, and how the reply must leave.
#[derive(Debug, Clone, Copy)]
struct Peer {
    address: SocketAddr,
    reply_from: ReplyFrom,
}

#[derive(Debug, Clone, Copy)]
enum ReplyFrom {
    /// The socket has one address.
    Socket,
    V4(libc::in_pktinfo),
    V6(libc::in6_pktinfo),
}

/// Buffers for one datagram and its reply, used again for the next.
struct Buffers {
    request: Box<[u8]>,
    control: Option<Vec<u8>>,
    reply: Vec<u8>,
}

impl<R: Respond> Port<R> {
    async fn run(self, stop: CancellationToken) {
        let mut buffers = Buffers {
            request: vec![0; MAX_REQUEST_SIZE].into(),
            control: self.wildcard.then(|| cmsg_space!(libc::in6_pktinfo)),
            reply: Vec::with_capacity(MAX_UDP_SIZE),
        };
        let stopped = stop.cancelled();
        tokio::pin!(stopped);
        let (mut failures, mut back_off) = (0, BackOff::default());
        loop {
            tokio::select! {
                () = &mut stopped => break,
                ready = self.socket.readable() => if let Err(error) = ready {
                    tracing::error!(%error, "udp socket lost its runtime");
                    return;
                },
            }
            while !stop.is_cancelled() {
                match self.socket.try_io(Interest::READABLE, || receive(&self.socket, &mut buffers)) {
                    Ok(received) => {
                        (failures, back_off) = (0, BackOff::default());
                        self.answer(received, &mut buffers);
                    }
                    Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                    Err(error) => {
                        failures = u32::saturating_add(failures, 1);
                        if failures > FAILURES_WITHOUT_WAIT {
                            tracing::warn!(%error, "cannot receive over udp");
                            sleep(back_off.failed()).await;
                        }
                    }
                }
                // A flood on this socket leaves the other tasks their turns.
                coop::consume_budget().await;
            }
        }
        // What arrived before the stop is answered. The readiness that Tokio knows of may be out of date.
        for _ in 0..MAX_READ_AFTER_STOP {
            match receive(&self.socket, &mut buffers) {
                Ok(received) => self.answer(received, &mut buffers),
                Err(_) => break,
            }
        }
    }

    fn answer(&self, received: Option<(usize, Peer)>, buffers: &mut Buffers) {
        let Some((length, peer)) = received else { return };
        let Some(request) = buffers.request.get(..length) else { return };
        let client = Client { address: peer.address.ip().to_canonical(), reply: Reply::Datagram };
        buffers.reply.clear();
        match at_once(&*self.responder, request, client, &mut buffers.reply) {
            AtOnce::Replied => send(&self.socket, &buffers.reply, peer),
            AtOnce::Silence => {}
            AtOnce::Later(query) => {
                // Silence beyond the caps: any reply would be one more datagram at a possible victim.
                match self.waiting.take(client.address) {
                    Some(slot) => self.answer_later(query, client, peer, slot),
                    None => self.responder.turned_away(client),
                }
            }
        }
    }

    fn answer_later(&self, query: Box<Query>, client: Client, peer: Peer, slot: Slot) {
        let (responder, socket) = (self.responder.clone(), self.socket.clone());
        self.tasks.spawn(async move {
            let mut reply = Vec::with_capacity(MAX_UDP_SIZE);
            responder.later(&query, client, &mut reply).await;
            send(&socket, &reply, peer);
            drop(slot);
        });
    }
}

/// Reads one datagram into `buffers.request`. `None` stands for one that gets no answer: longer than any query, or
/// from where no client can be.
fn receive(socket: &UdpSocket, buffers: &mut Buffers) -> io::Result<Option<(usize, Peer)>> {
    let mut slices = [IoSliceMut::new(&mut buffers.request)];
    let is_wildcard = buffers.control.is_some();
    let control = buffers.control.as_deref_mut();
    let received =
        recvmsg::<SockaddrStorage>(socket.as_raw_fd(), &mut slices, control, MsgFlags::MSG_DONTWAIT)?;
    if received.flags.contains(MsgFlags::MSG_TRUNC) {
        return Ok(None);
    }
    let Some(address) = received.address.as_ref().and_then(socket_address) else { return Ok(None) };
    if !can_be_client(address) {
        return Ok(None);
    }
    let reply_from = if is_wildcard {
        // Without the address that was asked there is no telling where to reply from.
        let Some(reply_from) = received.cmsgs()?.find_map(reply_from) else { return Ok(None) };
        reply_from
    } else {
        ReplyFrom::Socket
    };
    Ok(Some((received.bytes, Peer { address, reply_from })))
}

/// Sends once. A reply that the socket does not take now is lost, as it may be anywhere on its way: waiting for one
/// client would hold up all the others, and clients ask again.
fn send(socket: &UdpSocket, reply: &[u8], peer: Peer) {
    if reply.is_empty() {
        return;
    }
    let slices = [IoSlice::new(reply)];
    let to = SockaddrStorage::from(peer.address);
    // Costs a wildcard socket one small allocation inside `sendmsg`; other sockets none.
    let (v4, v6);
    let control: &[ControlMessage<'_>] = match &peer.reply_from {
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
        tracing::debug!(client = %peer.address, %error, "reply lost");
    }
}

/// Replies to these would go nowhere, or to everyone.
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

/// Turns where a query went into where its reply comes from.
fn reply_from(control: ControlMessageOwned) -> Option<ReplyFrom> {
    match control {
        // `ipi_spec_dst` is the local address: the one asked, or for a broadcast the one that answers it. The
        // interface is left to the routing table.
        ControlMessageOwned::Ipv4PacketInfo(info) => {
            Some(ReplyFrom::V4(libc::in_pktinfo { ipi_ifindex: 0, ..info }))
        }
        // A link-local address means nothing without its interface.
        ControlMessageOwned::Ipv6PacketInfo(info) => {
            let asked = Ipv6Addr::from(info.ipi6_addr.s6_addr);
            let ipi6_ifindex = if asked.is_unicast_link_local() { info.ipi6_ifindex } else { 0 };
            Some(ReplyFrom::V6(libc::in6_pktinfo { ipi6_ifindex, ..info }))
        }
        _ => None,
    }
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
            assert!(!can_be_client(peer.parse().unwrap()), "{peer}");
        }
        for peer in ["192.0.2.1:1", "127.0.0.1:53", "[2001:db8::1]:65535", "[fe80::1]:53"] {
            assert!(can_be_client(peer.parse().unwrap()), "{peer}");
        }
    }

    #[test]
    fn only_a_link_local_reply_is_tied_to_an_interface() {
        let index_for = |asked: &str| {
            let ipi6_addr = libc::in6_addr { s6_addr: asked.parse::<Ipv6Addr>().unwrap().octets() };
            let info = libc::in6_pktinfo { ipi6_addr, ipi6_ifindex: 7 };
            match reply_from(ControlMessageOwned::Ipv6PacketInfo(info)) {
                Some(ReplyFrom::V6(info)) => info.ipi6_ifindex,
                other => panic!("{other:?}"),
            }
        };
        assert_eq!(index_for("fe80::1"), 7);
        assert_eq!(index_for("2001:db8::1"), 0);
    }
}
