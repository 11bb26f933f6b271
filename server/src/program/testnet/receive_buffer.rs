//! Room for the answers that arrive while a node of `mainline` is busy.
//!
//! `mainline` keeps the kernel's default buffer (208 KiB on Linux) and takes one datagram per turn of its thread, so
//! a burst of answers is dropped and a key that exists looks absent. It offers no way to reach its socket, but the
//! socket is ours: it is found among this process's descriptors by the address it is bound to.

use std::{
    fs, io,
    io::{IoSlice, IoSliceMut},
    mem::MaybeUninit,
    net::SocketAddrV4,
    os::{
        fd::{AsRawFd, OwnedFd, RawFd},
        unix::net::UnixDatagram,
    },
};

use nix::sys::socket::{ControlMessage, MsgFlags, SockaddrIn, getsockname, sendmsg};
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};
use socket2::{SockRef, Type};

/// What is asked for, in bytes. The kernel grants at most `net.core.rmem_max`.
const WANTED: usize = 4 << 20;

/// Enlarges the receive buffer of this process's UDP socket bound to `address`. Returns the bytes that the kernel
/// now counts for it; `None` when the socket was not found, which is no reason to stop.
pub(super) fn enlarge(address: SocketAddrV4) -> Option<usize> {
    let descriptors = fs::read_dir("/dev/fd").ok()?;
    descriptors
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter(|&descriptor| is_bound_to(descriptor, address))
        .find_map(|descriptor| enlarge_descriptor(descriptor, address).ok().flatten())
}

fn is_bound_to(descriptor: RawFd, address: SocketAddrV4) -> bool {
    getsockname::<SockaddrIn>(descriptor).is_ok_and(|bound| SocketAddrV4::from(bound) == address)
}

fn enlarge_descriptor(descriptor: RawFd, address: SocketAddrV4) -> io::Result<Option<usize>> {
    let duplicate = duplicate(descriptor)?;
    let socket = SockRef::from(&duplicate);
    // The number may have been given to another file since it was read: what counts is what the duplicate is.
    let bound = socket.local_addr()?.as_socket_ipv4();
    if bound != Some(address) || socket.r#type()? != Type::DGRAM {
        return Ok(None);
    }
    if socket.recv_buffer_size()? < WANTED {
        socket.set_recv_buffer_size(WANTED)?;
    }
    socket.recv_buffer_size().map(Some)
}

/// An owned descriptor for a number that is owned elsewhere in this process, by way of SCM_RIGHTS: the one that needs
/// neither unsafe code nor a system call that containers forbid.
fn duplicate(descriptor: RawFd) -> io::Result<OwnedFd> {
    let (near, far) = UnixDatagram::pair()?;
    let rights = [descriptor];
    let message = [ControlMessage::ScmRights(&rights)];
    sendmsg::<()>(far.as_raw_fd(), &[IoSlice::new(&[0])], &message, MsgFlags::empty(), None)?;

    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    recvmsg(&near, &mut [IoSliceMut::new(&mut [0])], &mut control, RecvFlags::CMSG_CLOEXEC)?;
    let received = control.drain().find_map(|message| match message {
        RecvAncillaryMessage::ScmRights(mut descriptors) => descriptors.next(),
        _ => None,
    });
    received.ok_or_else(|| io::ErrorKind::InvalidData.into())
}

#[cfg(test)]
mod tests {
    use std::net::{SocketAddr, TcpListener, UdpSocket};

    use super::*;

    fn address_of(address: SocketAddr) -> SocketAddrV4 {
        match address {
            SocketAddr::V4(address) => address,
            SocketAddr::V6(_) => panic!("bound to IPv4"),
        }
    }

    #[test]
    fn a_socket_owned_elsewhere_in_the_process_gets_a_larger_buffer() {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let before = SockRef::from(&socket).recv_buffer_size().unwrap();
        let granted = enlarge(address_of(socket.local_addr().unwrap())).unwrap();
        assert!(granted > before, "{granted} is not above {before}");
        assert_eq!(SockRef::from(&socket).recv_buffer_size().unwrap(), granted);
    }

    #[test]
    fn a_tcp_listener_on_the_same_port_is_left_alone() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert_eq!(enlarge(address_of(listener.local_addr().unwrap())), None);
    }
}
