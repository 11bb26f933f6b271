//! An echo server, which does the least that a server can do: it sends queries back, in as few system calls as
//! possible.

use std::{
    env,
    io::{BufRead, BufReader, IoSlice, IoSliceMut},
    net::{Ipv4Addr, UdpSocket},
    os::fd::AsRawFd,
    process::{Command, Stdio},
    time::Duration,
};

use nix::{
    errno::Errno,
    sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg},
};
use pkdns_testing::benchmark::Process;

/// Makes this program the echo server.
pub(crate) const FLAG: &str = "--serve-echo";

/// Most datagrams of one system call.
const BATCH: usize = 64;

/// The echo server ends after so long without a datagram, should nobody be left to end it.
const IDLE: Duration = Duration::from_secs(300);

pub(crate) fn start() -> Process {
    let mut command = Command::new(env::current_exe().unwrap());
    let mut child = command.arg(FLAG).stdout(Stdio::piped()).spawn().expect("the echo server starts");
    let output = child.stdout.take().unwrap();
    let address = BufReader::new(output).lines().next().unwrap().unwrap().parse().unwrap();
    Process::new(child, address, None)
}

/// Sends every datagram back to where it came from.
pub(crate) fn serve() {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(IDLE)).unwrap();
    println!("{}", socket.local_addr().unwrap());
    let mut buffers = vec![[0; 512]; BATCH];
    loop {
        let mut received = Vec::with_capacity(BATCH);
        {
            let mut slices: Vec<_> = buffers.iter_mut().map(|buffer| [IoSliceMut::new(buffer)]).collect();
            let mut headers = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
            match recvmmsg(socket.as_raw_fd(), &mut headers, &mut slices, MsgFlags::MSG_WAITFORONE, None) {
                Ok(messages) => received.extend(messages.map(|message| (message.bytes, message.address))),
                Err(Errno::EAGAIN) => return,
                Err(error) => panic!("{error}"),
            }
        }
        let slices: Vec<_> = buffers
            .iter()
            .zip(&received)
            .map(|(buffer, (size, _))| [IoSlice::new(&buffer[..*size])])
            .collect();
        let peers: Vec<_> = received.iter().map(|(_, peer)| *peer).collect();
        let mut headers = MultiHeaders::<SockaddrIn>::preallocate(received.len(), None);
        let _ = sendmmsg(socket.as_raw_fd(), &mut headers, &slices, peers, [], MsgFlags::empty());
    }
}
