//! The lower limit of the cost of any server: the same bytes through the same system calls, and nothing else.

use std::{
    io::{Read, Write},
    iter::once,
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    os::fd::AsFd,
    time::Duration,
};

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use pkdns_testing::benchmark::batches;
use socket2::SockRef;

use crate::datagrams::RECEIVE_BUFFER;

/// Makes this program an echo server; the kind follows.
pub(crate) const FLAG: &str = "--serve-echo";

/// An echo server ends after so long without a query, should nobody be left to end it.
const IDLE: Duration = Duration::from_secs(300);

/// How an echo server moves bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Echo {
    /// Batches of 64 datagrams: recvmmsg and sendmmsg.
    Batches,
    /// One datagram after the other: recvfrom and sendto.
    Single,
    /// A read and a write for whatever has come on a TCP connection.
    Tcp,
}

impl Echo {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Batches => "batches",
            Self::Single => "single",
            Self::Tcp => "tcp",
        }
    }

    /// The kind that the arguments of this program ask for, if any.
    pub(crate) fn wanted(arguments: &[String]) -> Option<Self> {
        let name = arguments.iter().skip_while(|argument| *argument != FLAG).nth(1)?;
        [Self::Batches, Self::Single, Self::Tcp].into_iter().find(|kind| kind.name() == name)
    }

    /// Says where it listens, and serves.
    pub(crate) fn serve(self) {
        match self {
            Self::Batches => batches::serve(&bind(), |_, length| length),
            Self::Single => serve_single(&bind()),
            Self::Tcp => serve_tcp(),
        }
    }
}

fn bind() -> UdpSocket {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(IDLE)).unwrap();
    let _ = SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER);
    announce(socket.local_addr().unwrap());
    socket
}

fn announce(address: SocketAddr) {
    println!("{address}");
}

fn serve_single(socket: &UdpSocket) {
    let mut buffer = [0; batches::SIZE];
    while let Ok((length, client)) = socket.recv_from(&mut buffer) {
        let _ = socket.send_to(&buffer[..length], client);
    }
}

fn serve_tcp() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    announce(listener.local_addr().unwrap());
    let mut connections: Vec<TcpStream> = Vec::new();
    let mut buffer = [0; 16 << 10];
    loop {
        let descriptors = once(listener.as_fd()).chain(connections.iter().map(AsFd::as_fd));
        let mut waiting: Vec<_> =
            descriptors.map(|descriptor| PollFd::new(descriptor, PollFlags::POLLIN)).collect();
        if poll(&mut waiting, PollTimeout::try_from(IDLE).unwrap()) == Ok(0) {
            return;
        }
        let ready: Vec<bool> = waiting.iter().map(|waiting| waiting.any() == Some(true)).collect();
        let mut ready = ready.into_iter();
        let is_new = ready.next() == Some(true);
        connections.retain_mut(|stream| {
            if ready.next() != Some(true) {
                return true;
            }
            match stream.read(&mut buffer) {
                Ok(0) | Err(_) => false,
                Ok(length) => stream.write_all(&buffer[..length]).is_ok(),
            }
        });
        if is_new && let Ok((stream, _)) = listener.accept() {
            stream.set_nodelay(true).unwrap();
            connections.push(stream);
        }
    }
}
