//! One task per socket, one datagram per system call.

use std::{
    io::{self, IoSliceMut},
    net::UdpSocket,
    os::fd::AsRawFd,
    sync::Arc,
};

use nix::{
    cmsg_space, libc,
    sys::socket::{ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg},
};
use tokio::{
    io::Interest,
    task::coop,
    time::{Instant, sleep},
};
use tokio_util::sync::CancellationToken;

use super::{
    Failures, MAX_READ_AFTER_STOP, Port,
    peer::{Peer, ReplyFrom},
};
use crate::{base::message::MAX_UDP_SIZE, edge::transport::MAX_REQUEST_SIZE, service::Respond};

/// Starts the task of one socket.
pub(super) fn start<R: Respond>(port: Arc<Port<R>>, stop: CancellationToken) {
    let tasks = port.tasks.clone();
    tasks.spawn(async move {
        if let Err(error) = run(&port, &stop).await {
            tracing::error!(%error, "udp socket lost its runtime");
        }
    });
}

/// Buffers for one datagram and its reply, used again for the next.
struct Buffers {
    request: Box<[u8]>,
    control: Option<Vec<u8>>,
    reply: Vec<u8>,
}

async fn run<R: Respond>(port: &Arc<Port<R>>, stop: &CancellationToken) -> io::Result<()> {
    // Says when there is something to read.
    let readiness = port.socket.try_clone()?;
    readiness.set_nonblocking(true)?;
    let readiness = tokio::net::UdpSocket::from_std(readiness)?;
    let mut buffers = Buffers {
        request: vec![0; MAX_REQUEST_SIZE].into(),
        control: port.wildcard.then(|| cmsg_space!(libc::in6_pktinfo)),
        reply: Vec::with_capacity(MAX_UDP_SIZE),
    };
    let mut failures = Failures::default();
    while let Some(readable) = stop.run_until_cancelled(readiness.readable()).await {
        readable?;
        while !stop.is_cancelled() {
            match readiness.try_io(Interest::READABLE, || receive(&port.socket, &mut buffers)) {
                Ok(received) => {
                    failures.succeeded();
                    answer(port, received, &mut buffers);
                }
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => break,
                Err(error) => sleep(failures.failed(&error)).await,
            }
            // A flood on this socket leaves the other tasks their turns.
            coop::consume_budget().await;
        }
    }
    // What arrived before the stop is answered. The readiness that Tokio knows of may be out of date.
    for _ in 0..MAX_READ_AFTER_STOP {
        let Ok(received) = receive(&port.socket, &mut buffers) else { break };
        answer(port, received, &mut buffers);
    }
    Ok(())
}

fn answer<R: Respond>(port: &Arc<Port<R>>, received: Option<(usize, Peer)>, buffers: &mut Buffers) {
    let Some((length, peer)) = received else { return };
    let Some(request) = buffers.request.get(..length) else { return };
    buffers.reply.clear();
    if port.answer(request, peer, Instant::now(), &mut buffers.reply) {
        peer.send(&port.socket, &buffers.reply);
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
    let reply_from = if is_wildcard {
        // Without the address that was asked there is no telling where to reply from.
        let Some(reply_from) = received.cmsgs()?.find_map(reply_from) else { return Ok(None) };
        reply_from
    } else {
        ReplyFrom::Socket
    };
    let peer = received.address.as_ref().and_then(|address| Peer::new(address, reply_from));
    Ok(peer.map(|peer| (received.bytes, peer)))
}

fn reply_from(control: ControlMessageOwned) -> Option<ReplyFrom> {
    match control {
        ControlMessageOwned::Ipv4PacketInfo(info) => Some(ReplyFrom::v4(info)),
        ControlMessageOwned::Ipv6PacketInfo(info) => Some(ReplyFrom::v6(info)),
        _ => None,
    }
}
