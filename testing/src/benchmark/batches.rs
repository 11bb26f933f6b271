//! Answers datagrams in place, as many as have arrived with one system call: the least that a server can do.

use std::{
    io::{IoSlice, IoSliceMut},
    net::UdpSocket,
    os::fd::AsRawFd,
};

use nix::{
    errno::Errno,
    sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg},
};

/// Most datagrams of one system call.
const BATCH: usize = 64;

/// Longest datagram.
pub const SIZE: usize = 512;

/// Turns each datagram into its reply, whose length `reply` returns, in place; zero for none. Returns when the
/// socket fails, as when its timeout ends.
pub fn serve(socket: &UdpSocket, mut reply: impl FnMut(&mut [u8; SIZE], usize) -> usize) {
    let descriptor = socket.as_raw_fd();
    let mut buffers = [[0; SIZE]; BATCH];
    let mut received_headers = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
    let mut sent_headers = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
    let (mut lengths, mut clients) = ([0; BATCH], [None; BATCH]);
    loop {
        let mut slices = buffers.each_mut().map(|buffer| [IoSliceMut::new(buffer)]);
        let flags = MsgFlags::MSG_WAITFORONE;
        let mut count = 0;
        match recvmmsg(descriptor, &mut received_headers, &mut slices, flags, None) {
            Ok(received) => {
                for datagram in received {
                    (lengths[count], clients[count]) = (datagram.bytes, datagram.address);
                    count += 1;
                }
            }
            Err(Errno::EINTR) => {}
            Err(_) => return,
        }
        for (buffer, length) in buffers.iter_mut().zip(&mut lengths).take(count) {
            *length = reply(buffer, *length);
        }
        let slices: [_; BATCH] =
            std::array::from_fn(|index| [IoSlice::new(&buffers[index][..lengths[index]])]);
        // What the kernel does not take is lost, like any datagram.
        let _ = sendmmsg(
            descriptor,
            &mut sent_headers,
            &slices[..count],
            &clients[..count],
            [],
            MsgFlags::empty(),
        );
    }
}
