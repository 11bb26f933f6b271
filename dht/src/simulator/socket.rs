//! One socket for all addresses of the network. Replies leave from the address that was asked.

use std::{
    io::{self, IoSlice, IoSliceMut},
    net::{Ipv4Addr, SocketAddrV4, UdpSocket},
    os::fd::{AsFd, AsRawFd},
    time::Duration,
};

use nix::{
    cmsg_space, libc,
    poll::{PollFd, PollFlags, PollTimeout, poll},
    sys::socket::{
        ControlMessage, ControlMessageOwned, MsgFlags, MultiHeaders, RecvMsg, SockaddrIn, recvmmsg, sendmsg,
        setsockopt, sockopt,
    },
};
use socket2::{Domain, Protocol, Type};

/// Datagrams taken at once.
pub(super) const BATCH: usize = 64;

/// Longest datagram that is read: more than a query with a value of 1000 bytes.
const MAX_DATAGRAM: usize = 4096;

/// What is asked of the kernel for either direction, in bytes. Without privileges it grants `net.core.rmem_max`.
const BUFFER: usize = 32 << 20;

/// The socket, bound.
pub(super) struct Socket {
    socket: UdpSocket,
    port: u16,
}

/// Room for a batch of datagrams. It cannot change threads.
pub(super) struct Batch {
    headers: MultiHeaders<SockaddrIn>,
    datagrams: Box<[u8]>,
}

impl Socket {
    /// Binds to every address of the loopback interface.
    pub(super) fn bind(port: Option<u16>) -> io::Result<Self> {
        let socket = socket2::Socket::new(Domain::IPV4, Type::DGRAM, Some(Protocol::UDP))?;
        // Where this fails, `read` still refuses what is not from this machine.
        let _ = setsockopt(&socket, sockopt::BindToDevice, &"lo".into());
        setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?;
        if setsockopt(&socket, sockopt::RcvBufForce, &BUFFER).is_err() {
            socket.set_recv_buffer_size(BUFFER)?;
        }
        if setsockopt(&socket, sockopt::SndBufForce, &BUFFER).is_err() {
            socket.set_send_buffer_size(BUFFER)?;
        }
        socket.bind(&SocketAddrV4::new(Ipv4Addr::UNSPECIFIED, port.unwrap_or(0)).into())?;
        let socket = UdpSocket::from(socket);
        Ok(Self { port: socket.local_addr()?.port(), socket })
    }

    pub(super) fn port(&self) -> u16 {
        self.port
    }

    /// Sends one datagram from one of our addresses. `false`: the kernel did not take it.
    pub(super) fn send(&self, datagram: &[u8], from: Ipv4Addr, to: SocketAddrV4) -> bool {
        let source = libc::in_addr { s_addr: u32::from_ne_bytes(from.octets()) };
        let info = libc::in_pktinfo { ipi_ifindex: 0, ipi_spec_dst: source, ipi_addr: source };
        let control = [ControlMessage::Ipv4PacketInfo(&info)];
        let slices = [IoSlice::new(datagram)];
        let to = SockaddrIn::from(to);
        sendmsg(self.socket.as_raw_fd(), &slices, &control, MsgFlags::MSG_DONTWAIT, Some(&to)).is_ok()
    }

    /// Waits until there is something to receive, at most so long (in steps of a millisecond, rounded up).
    pub(super) fn wait(&self, longest: Duration) {
        let milliseconds = longest.as_micros().div_ceil(1000);
        let timeout = PollTimeout::try_from(milliseconds).unwrap_or(PollTimeout::MAX);
        // A signal ends the wait early, which does no harm.
        let _ = poll(&mut [PollFd::new(self.socket.as_fd(), PollFlags::POLLIN)], timeout);
    }
}

impl Batch {
    pub(super) fn new() -> Self {
        Self {
            headers: MultiHeaders::preallocate(BATCH, Some(cmsg_space!(libc::in_pktinfo))),
            datagrams: vec![0; BATCH * MAX_DATAGRAM].into(),
        }
    }

    /// Hands out what has arrived, up to a batch: the datagram, who sent it, and which address it was sent to. Returns
    /// how many there were. Never waits.
    pub(super) fn receive(
        &mut self,
        socket: &Socket,
        mut each: impl FnMut(&[u8], SocketAddrV4, Ipv4Addr),
    ) -> io::Result<usize> {
        let mut slices: Vec<_> =
            self.datagrams.chunks_exact_mut(MAX_DATAGRAM).map(|it| [IoSliceMut::new(it)]).collect();
        let flags = MsgFlags::MSG_DONTWAIT;
        let received = recvmmsg(socket.socket.as_raw_fd(), &mut self.headers, &mut slices, flags, None)?;
        let mut count = 0;
        for message in received {
            count += 1;
            if let Some((from, asked)) = read(&message)
                && let Some(datagram) = message.iovs().next()
            {
                each(datagram, from, asked);
            }
        }
        Ok(count)
    }
}

/// Who sent a datagram and where to. `None`: it is truncated, or did not stay on this machine.
fn read(message: &RecvMsg<'_, '_, SockaddrIn>) -> Option<(SocketAddrV4, Ipv4Addr)> {
    if message.flags.contains(MsgFlags::MSG_TRUNC) {
        return None;
    }
    let from = SocketAddrV4::from(message.address?);
    let asked = message.cmsgs().ok()?.find_map(|control| match control {
        ControlMessageOwned::Ipv4PacketInfo(info) => Some(Ipv4Addr::from(info.ipi_addr.s_addr.to_ne_bytes())),
        _ => None,
    })?;
    (from.ip().is_loopback() && asked.is_loopback()).then_some((from, asked))
}
