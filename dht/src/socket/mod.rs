//! A UDP socket of the DHT: large buffers, datagrams in batches. For Linux: `recvmmsg`, `sendmmsg`, SO_RXQ_OVFL.

use std::{
    io::{self, IoSlice, IoSliceMut},
    net::{SocketAddr, SocketAddrV4, SocketAddrV6},
    ops::Range,
    os::fd::{AsRawFd, RawFd},
};

use nix::{
    cmsg_space,
    errno::Errno,
    sys::socket::{
        ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, SockaddrIn, SockaddrIn6, SockaddrLike,
        recvmmsg, setsockopt, sockopt,
    },
};
use rustix::{
    io::Errno as Refusal,
    net::{MMsgHdr, SendAncillaryBuffer, SendFlags, SocketAddrAny, sendmmsg},
};
use socket2::{Domain, SockRef, Type};
use tokio::{io::Interest, net::UdpSocket, task::coop};

use super::path_mtu;

/// What is asked for in either direction, in bytes. The kernel grants at most `net.core.rmem_max` and `wmem_max`.
const BUFFER: usize = 4 << 20;

/// Datagrams in one system call.
const BATCH: usize = 64;

/// Longest datagram taken, in bytes. The longest a node has reason to send, a packet of 1000 bytes with nodes of both
/// families, stays below.
const DATAGRAM: usize = 2048;

/// Datagrams that wait to be sent, one after the other in one buffer.
#[derive(Debug, Default)]
pub struct Outbox {
    bytes: Vec<u8>,
    datagrams: Vec<(Range<usize>, SocketAddr)>,
}

impl Outbox {
    /// Adds the datagram that `write` appends to the buffer it is given.
    pub fn push(&mut self, to: SocketAddr, write: impl FnOnce(&mut Vec<u8>)) {
        let start = self.bytes.len();
        write(&mut self.bytes);
        self.datagrams.push((start..self.bytes.len(), to));
    }

    /// The datagrams, in the order they were added.
    pub fn datagrams(&self) -> impl Iterator<Item = (&[u8], SocketAddr)> {
        self.datagrams.iter().filter_map(|(range, to)| Some((self.bytes.get(range.clone())?, *to)))
    }

    /// How many wait.
    pub fn len(&self) -> usize {
        self.datagrams.len()
    }

    /// Whether none waits.
    pub fn is_empty(&self) -> bool {
        self.datagrams.is_empty()
    }

    /// Forgets them all, keeping the memory.
    pub fn clear(&mut self) {
        self.bytes.clear();
        self.datagrams.clear();
    }
}

/// A bound socket.
#[derive(Debug)]
pub struct Socket {
    socket: UdpSocket,
    address: SocketAddr,
    received: Box<[u8]>,
    overflow: Overflow,
    unsent: u64,
}

impl Socket {
    /// Binds it. An IPv6 socket is for IPv6 only. Must be called in a Tokio runtime.
    ///
    /// # Errors
    ///
    /// The system does not allow it.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        Self::bind_with_buffers(address, BUFFER)
    }

    fn bind_with_buffers(address: SocketAddr, size: usize) -> io::Result<Self> {
        let socket = socket2::Socket::new(Domain::for_address(address), Type::DGRAM, None)?;
        if address.is_ipv6() {
            socket.set_only_v6(true)?;
        }
        socket.set_nonblocking(true)?;
        socket.set_recv_buffer_size(size)?;
        socket.set_send_buffer_size(size)?;
        setsockopt(&socket, sockopt::RxqOvfl, &1)?;
        // What is stored takes up to 1200 bytes.
        path_mtu::disregard(&socket, address.is_ipv6())?;
        socket.bind(&address.into())?;
        let socket = UdpSocket::from_std(socket.into())?;
        Ok(Self {
            address: socket.local_addr()?,
            socket,
            received: vec![0; BATCH * DATAGRAM].into(),
            overflow: Overflow::default(),
            unsent: 0,
        })
    }

    /// Where it is bound, with the real port.
    pub fn local_address(&self) -> SocketAddr {
        self.address
    }

    /// Bytes that the kernel lets wait to be received, its own bookkeeping included: twice what was asked for, or
    /// twice `net.core.rmem_max` where that is less.
    ///
    /// # Errors
    ///
    /// The system does not tell.
    pub fn receive_buffer_size(&self) -> io::Result<usize> {
        SockRef::from(&self.socket).recv_buffer_size()
    }

    /// Waits until there is something to receive.
    ///
    /// # Errors
    ///
    /// The socket cannot be waited for.
    pub async fn readable(&self) -> io::Result<()> {
        self.socket.readable().await?;
        // A flood on this socket leaves the other tasks their turns.
        coop::consume_budget().await;
        Ok(())
    }

    /// Hands out what has arrived, up to one batch, and returns how many datagrams that were. Never waits. Datagrams
    /// over 2048 bytes are dropped, and errors that an earlier datagram met on its way are ignored.
    ///
    /// # Errors
    ///
    /// Those of the socket itself.
    pub fn receive(&mut self, mut each: impl FnMut(&[u8], SocketAddr)) -> io::Result<usize> {
        let Self { socket, address, received, overflow, .. } = self;
        let mut handed_out = 0;
        let outcome = socket.try_io(Interest::READABLE, || {
            let mut each = |datagram: &[u8], from| {
                each(datagram, from);
                handed_out += 1;
            };
            let descriptor = socket.as_raw_fd();
            let taken = if address.is_ipv4() {
                let to_address = |from: SockaddrIn| SocketAddrV4::from(from).into();
                receive_batch(descriptor, received, overflow, to_address, &mut each)?
            } else {
                let to_address = |from: SockaddrIn6| SocketAddrV6::from(from).into();
                receive_batch(descriptor, received, overflow, to_address, &mut each)?
            };
            // Less than was asked for is all there was. Saying so spares the call that would find nothing.
            if taken < BATCH { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(()) }
        });
        match outcome {
            Err(error) if error.kind() != io::ErrorKind::WouldBlock && !is_of_one_datagram(&error) => {
                Err(error)
            }
            _ => Ok(handed_out),
        }
    }

    /// Sends what the kernel takes at once; the rest is dropped, as on a busy line. A datagram that the kernel refuses
    /// does not stop those after it. Empties `outbox`. Returns how many were sent.
    pub fn send(&mut self, outbox: &mut Outbox) -> usize {
        let sent = send_all(&self.socket, outbox);
        self.unsent = self.unsent.saturating_add(outbox.len().saturating_sub(sent) as u64);
        outbox.clear();
        sent
    }

    /// Datagrams that [`Socket::send`] did not send, since the socket was bound.
    pub fn unsent(&self) -> u64 {
        self.unsent
    }

    /// Datagrams that the kernel dropped because nobody took them in time, since the socket was bound. Known when the
    /// next datagram after the drop is received.
    pub fn dropped_by_kernel(&self) -> u64 {
        self.overflow.total
    }
}

/// The kernel's counter of drops (SO_RXQ_OVFL) has 32 bits and comes with datagrams.
#[derive(Debug, Default)]
struct Overflow {
    last: u32,
    total: u64,
}

impl Overflow {
    fn update(&mut self, counter: u32) {
        self.total = self.total.saturating_add(counter.wrapping_sub(self.last).into());
        self.last = counter;
    }
}

/// Hands out one batch and returns how many datagrams were taken from the kernel, dropped ones included.
fn receive_batch<S: SockaddrLike + Copy>(
    descriptor: RawFd,
    buffer: &mut [u8],
    overflow: &mut Overflow,
    to_address: impl Fn(S) -> SocketAddr,
    each: &mut impl FnMut(&[u8], SocketAddr),
) -> io::Result<usize> {
    // Not kept for the next batch: the kernel shortens the lengths in the headers to what it used.
    let mut headers = MultiHeaders::<S>::preallocate(BATCH, Some(cmsg_space!(u32)));
    let mut slices: Vec<_> =
        buffer.chunks_exact_mut(DATAGRAM).map(|chunk| [IoSliceMut::new(chunk)]).collect();
    let batch = recvmmsg(descriptor, &mut headers, slices.iter_mut(), MsgFlags::MSG_DONTWAIT, None)?;
    let mut taken = 0;
    let mut dropped = None;
    for message in batch {
        taken += 1;
        dropped = drop_counter(&message).or(dropped);
        if let Some(from) = message.address
            && !message.flags.contains(MsgFlags::MSG_TRUNC)
        {
            each(message.iovs().next().unwrap_or_default(), to_address(from));
        }
    }
    if let Some(counter) = dropped {
        overflow.update(counter);
    }
    Ok(taken)
}

/// Absent until the first drop.
fn drop_counter<S>(message: &RecvMsg<'_, '_, S>) -> Option<u32> {
    message.cmsgs().ok()?.find_map(|control| match control {
        ControlMessageOwned::RxqOvfl(counter) => Some(counter),
        _ => None,
    })
}

/// Returns how many datagrams the kernel took.
fn send_all(socket: &UdpSocket, outbox: &Outbox) -> usize {
    let (addresses, slices): (Vec<_>, Vec<_>) =
        outbox.datagrams().map(|(bytes, to)| (SocketAddrAny::from(to), [IoSlice::new(bytes)])).unzip();
    let mut controls: Vec<_> = addresses.iter().map(|_| SendAncillaryBuffer::default()).collect();
    let mut messages: Vec<_> = addresses
        .iter()
        .zip(&slices)
        .zip(&mut controls)
        .map(|((to, slices), control)| MMsgHdr::new_with_addr(to, slices, control))
        .collect();
    send_batches(&mut messages, |batch| sendmmsg(socket, batch, SendFlags::DONTWAIT))
}

/// Sends through `kernel`, which returns how many of those it was given it took, or why it did not take the first.
fn send_batches<M>(messages: &mut [M], mut kernel: impl FnMut(&mut [M]) -> Result<usize, Refusal>) -> usize {
    let mut waiting = messages;
    let mut sent = 0;
    while let Some(batch) = waiting.get_mut(..waiting.len().min(BATCH))
        && !batch.is_empty()
    {
        let done = match kernel(batch) {
            // It stops before the first that fails, and tells why when that one is tried again.
            Ok(taken @ 1..) => {
                sent += taken;
                taken
            }
            // There is no room for this one, and so none for the next.
            Err(Refusal::AGAIN | Refusal::NOBUFS | Refusal::NOMEM) => break,
            // A destination that is no address, or has no route, or that a firewall forbids.
            Ok(0) | Err(_) => 1,
        };
        waiting = waiting.get_mut(done..).unwrap_or_default();
    }
    sent
}

/// Errors that ICMP brings, which say something about an earlier datagram and its destination.
fn is_of_one_datagram(error: &io::Error) -> bool {
    let icmp = [
        Errno::ECONNREFUSED,
        Errno::ECONNRESET,
        Errno::EHOSTDOWN,
        Errno::EHOSTUNREACH,
        Errno::ENETUNREACH,
        Errno::ENOPROTOOPT,
        Errno::EMSGSIZE,
        Errno::EPROTO,
        Errno::EACCES,
        Errno::EOPNOTSUPP,
    ];
    error.raw_os_error().is_some_and(|number| icmp.contains(&Errno::from_raw(number)))
}

#[cfg(test)]
mod tests;
