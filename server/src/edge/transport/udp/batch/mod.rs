//! Datagrams that are received with one system call, and their replies, sent with another. Allocates nothing after
//! [`Batch::new`].
//!
//! The only unsafe code of this crate, because no safe wrapper does this: nix's `recvmmsg` does not restore the sizes
//! that the kernel has shortened, its `sendmmsg` sends the same control message with every datagram, rustix's knows
//! no IP_PKTINFO. Every pointer given to the kernel is made anew before each call from the memory that [`Batch`]
//! owns, and is not used after it.

#![allow(unsafe_code, reason = "recvmmsg and sendmmsg take pointers")]

use std::{io, mem, net::UdpSocket, os::fd::AsRawFd, ptr};

use nix::{
    errno::Errno,
    libc::{self, c_uint, iovec, mmsghdr, socklen_t},
    sys::socket::SockaddrStorage,
};

use super::peer::{Peer, ReplyFrom};
use crate::{base::message::MAX_UDP_SIZE, edge::transport::MAX_REQUEST_SIZE};

/// Most datagrams of one system call.
const BATCH: usize = 64;

/// What to do when no datagram is there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wait {
    /// Wait for the first.
    ForOne,
    /// Return [`io::ErrorKind::WouldBlock`].
    ForNone,
}

/// Memory for datagrams and their replies.
pub(super) struct Batch {
    wildcard: bool,
    received: usize,
    requests: Box<[u8]>,
    origins: Box<[Origin]>,
    /// One behind the other.
    replies: Vec<u8>,
    /// For each reply whose it is, and where it ends.
    recipients: Vec<(usize, usize)>,
    vectors: Box<[iovec]>,
    headers: Box<[mmsghdr]>,
}

/// Where a datagram came from and went to, in the form in which the kernel said it and takes it for the reply.
struct Origin {
    address: SockaddrStorage,
    address_size: socklen_t,
    control: Control,
}

/// The one control message of a wildcard socket, laid out as by CMSG_DATA: `cmsghdr` is as aligned as a control
/// message has to be, its content less.
#[derive(Clone, Copy)]
#[repr(C)]
struct Control {
    header: libc::cmsghdr,
    info: Info,
}

/// Integers alone: every content is valid for both.
#[derive(Clone, Copy)]
#[repr(C)]
union Info {
    v4: libc::in_pktinfo,
    v6: libc::in6_pktinfo,
}

impl Batch {
    /// For a socket; a `wildcard` one tells with each datagram which address it went to.
    pub(super) fn new(wildcard: bool) -> Self {
        // SAFETY: made of integers and pointers, for which zero is a valid value.
        let (control, header) = unsafe { (mem::zeroed::<Control>(), mem::zeroed::<mmsghdr>()) };
        let nowhere = SockaddrStorage::from(std::net::SocketAddr::from(([0; 4], 0)));
        Self {
            wildcard,
            received: 0,
            requests: vec![0; BATCH * MAX_REQUEST_SIZE].into(),
            origins: (0..BATCH).map(|_| Origin { address: nowhere, address_size: 0, control }).collect(),
            replies: Vec::with_capacity(BATCH * MAX_UDP_SIZE),
            recipients: Vec::with_capacity(BATCH),
            vectors: (0..BATCH).map(|_| iovec { iov_base: ptr::null_mut(), iov_len: 0 }).collect(),
            headers: (0..BATCH).map(|_| header).collect(),
        }
    }

    /// Replaces what the batch holds by what has arrived, at least one datagram, and returns how many those are.
    pub(super) fn receive(&mut self, socket: &UdpSocket, wait: Wait) -> io::Result<usize> {
        self.received = 0;
        self.replies.clear();
        self.recipients.clear();
        let requests = self.requests.as_mut_ptr();
        let parts = self.headers.iter_mut().zip(&mut self.vectors).zip(&mut self.origins);
        for (index, ((header, vector), origin)) in parts.enumerate() {
            vector.iov_base = requests.wrapping_add(index * MAX_REQUEST_SIZE).cast();
            vector.iov_len = MAX_REQUEST_SIZE;
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_name = (&raw mut origin.address).cast();
            header.msg_hdr.msg_namelen = mem::size_of::<SockaddrStorage>() as _;
            header.msg_hdr.msg_control = ptr::null_mut();
            header.msg_hdr.msg_controllen = 0;
            if self.wildcard {
                header.msg_hdr.msg_control = (&raw mut origin.control).cast();
                header.msg_hdr.msg_controllen = mem::size_of::<Control>() as _;
            }
        }
        let flags = match wait {
            Wait::ForOne => libc::MSG_WAITFORONE,
            Wait::ForNone => libc::MSG_DONTWAIT,
        };
        let (descriptor, headers) = (socket.as_raw_fd(), self.headers.as_mut_ptr());
        // SAFETY: there are BATCH headers. Each has just been pointed to memory of its own that `self` owns and nobody
        // else touches during the call, with its true size, and in which every content is valid: bytes of a request,
        // an address (of which nix reads what its family says), integers of a control message.
        let received =
            unsafe { libc::recvmmsg(descriptor, headers, BATCH as c_uint, flags, ptr::null_mut()) };
        self.received = usize::try_from(Errno::result(received)?).unwrap_or(0);
        Ok(self.received)
    }

    /// Calls `each` once with every request that may be answered. What it appends to the buffer is the reply if it
    /// returns true, else nothing. Requests that are longer than any query, or from where no client can be, get none.
    pub(super) fn answer(&mut self, mut each: impl FnMut(&[u8], Peer, &mut Vec<u8>) -> bool) {
        let received = mem::take(&mut self.received);
        let parts =
            self.headers.iter().zip(&mut self.origins).zip(self.requests.chunks_exact(MAX_REQUEST_SIZE));
        for (index, ((header, origin), request)) in parts.take(received).enumerate() {
            let Some(request) = request.get(..header.msg_len as usize) else { continue };
            let Some(peer) = origin.peer(&header.msg_hdr, self.wildcard) else { continue };
            let start = self.replies.len();
            if each(request, peer, &mut self.replies) && self.replies.len() > start {
                self.recipients.push((index, self.replies.len()));
            } else {
                self.replies.truncate(start);
            }
        }
    }

    /// Sends every reply once. One that the socket does not take now is lost, as with [`Peer::send`].
    pub(super) fn send(&mut self, socket: &UdpSocket) {
        let (replies, mut start) = (self.replies.as_ptr(), 0);
        let parts = self.headers.iter_mut().zip(&mut self.vectors).zip(&self.recipients);
        for ((header, vector), &(recipient, end)) in parts {
            let Some(origin) = self.origins.get(recipient) else { return };
            vector.iov_base = replies.wrapping_add(start).cast_mut().cast();
            vector.iov_len = end - start;
            start = end;
            header.msg_hdr.msg_iov = vector;
            header.msg_hdr.msg_iovlen = 1;
            header.msg_hdr.msg_name = (&raw const origin.address).cast_mut().cast();
            header.msg_hdr.msg_namelen = origin.address_size;
            header.msg_hdr.msg_control = ptr::null_mut();
            header.msg_hdr.msg_controllen = 0;
            if self.wildcard {
                header.msg_hdr.msg_control = (&raw const origin.control).cast_mut().cast();
                header.msg_hdr.msg_controllen = origin.control.header.cmsg_len;
            }
        }
        let mut unsent = self.headers.get_mut(..self.recipients.len()).unwrap_or_default();
        while !unsent.is_empty() {
            let (descriptor, count) = (socket.as_raw_fd(), unsent.len() as c_uint);
            // SAFETY: there are `count` headers. Each has just been pointed to initialised memory that `self` owns and
            // nobody writes during the call, with its true size; the kernel only reads it.
            let sent = unsafe { libc::sendmmsg(descriptor, unsent.as_mut_ptr(), count, libc::MSG_DONTWAIT) };
            let done = match Errno::result(sent) {
                Ok(sent) => usize::try_from(sent).unwrap_or(0).max(1),
                // The first was not taken. The others may go elsewhere.
                Err(error) => {
                    tracing::debug!(%error, "reply lost");
                    1
                }
            };
            unsent = unsent.get_mut(done..).unwrap_or_default();
        }
    }
}

impl Origin {
    /// Whom to answer, if anyone. Changes the control message into that of the reply.
    fn peer(&mut self, received: &libc::msghdr, wildcard: bool) -> Option<Peer> {
        // No address, not even an old one: the receiving side of the socket was shut down.
        if received.msg_flags & libc::MSG_TRUNC != 0 || received.msg_namelen == 0 {
            return None;
        }
        self.address_size = received.msg_namelen;
        if !wildcard {
            return Peer::new(&self.address, ReplyFrom::Socket);
        }
        // Without the address that was asked there is no telling where to reply from.
        if received.msg_flags & libc::MSG_CTRUNC != 0 || received.msg_controllen == 0 {
            return None;
        }
        let Control { header, info } = &mut self.control;
        let reply_from = match (header.cmsg_level, header.cmsg_type) {
            // SAFETY: integers, which either the kernel or `new` has written.
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => ReplyFrom::v4(unsafe { info.v4 }),
            // SAFETY: as above.
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => ReplyFrom::v6(unsafe { info.v6 }),
            _ => return None,
        };
        match reply_from {
            ReplyFrom::Socket => {}
            ReplyFrom::V4(v4) => info.v4 = v4,
            ReplyFrom::V6(v6) => info.v6 = v6,
        }
        Peer::new(&self.address, reply_from)
    }
}

#[cfg(test)]
mod tests;
