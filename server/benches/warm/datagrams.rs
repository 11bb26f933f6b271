//! Asks over UDP as fast as one core can, with a bounded number of queries in flight.
//!
//! The client must cost less than any server, or the benchmark would measure the client. So it sends a batch of
//! queries as one large datagram that the kernel splits (UDP GSO), and it polls, so that no server pays for waking
//! it.

use std::{
    io::{IoSlice, IoSliceMut},
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    os::fd::AsRawFd,
    thread,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::socket::{ControlMessage, MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmsg},
};
use pkdns_testing::benchmark::names::{QUERY, query};
use socket2::SockRef;

use crate::check::{Outcome, Replies};

/// Several, so that the kernel divides the queries among the sockets of a server that has more than one.
const SOCKETS: usize = 8;

/// Most queries in a batch, and replies of one system call.
const BATCH: usize = 32;

/// Asked for in bytes, as pkdns does for its own.
pub(crate) const RECEIVE_BUFFER: usize = 4 << 20;

/// What has not come after this time is lost: loopback takes microseconds.
const PATIENCE: Duration = Duration::from_secs(1);

/// A round that takes longer than this is broken.
const LONGEST_ROUND: Duration = Duration::from_secs(300);

/// Times that a name is asked for until it must be in the cache.
const ATTEMPTS: usize = 10;

/// An id, on every socket alike.
#[derive(Debug, Clone, Copy)]
enum Id {
    Free,
    /// On its way, asking for this name.
    Asked(u32),
    /// Not free until its reply has come after all: it would be taken for the reply to another query.
    GivenUp,
}

/// One client of one server.
pub(crate) struct Load {
    sockets: Vec<UdpSocket>,
    replies: Replies,
    ids: Vec<Id>,
    next_id: u16,
    in_flight: usize,
    outgoing: Vec<u8>,
    incoming: Box<[[u8; 512]; BATCH]>,
    headers: MultiHeaders<SockaddrIn>,
}

impl Load {
    pub(crate) fn new(server: SocketAddr, replies: Replies) -> Self {
        let connected = || {
            let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
            socket.connect(server).unwrap();
            // Best effort, as with a server: a smaller buffer loses replies while another program has this core.
            let _ = SockRef::from(&socket).set_recv_buffer_size(RECEIVE_BUFFER);
            socket
        };
        Self {
            sockets: std::iter::repeat_with(connected).take(SOCKETS).collect(),
            replies,
            ids: vec![Id::Free; 1 << 16],
            next_id: 0,
            in_flight: 0,
            outgoing: Vec::with_capacity(BATCH * QUERY.len()),
            incoming: Box::new([[0; 512]; BATCH]),
            headers: MultiHeaders::preallocate(BATCH, None),
        }
    }

    /// Brings names into the cache.
    pub(crate) fn fill(&mut self, names: impl Iterator<Item = u32>) {
        let mut left: Vec<u32> = names.collect();
        for _ in 0..ATTEMPTS {
            left = self.run(left.into_iter(), BATCH * 4).lost;
        }
        assert!(left.is_empty(), "no answer for {} names", left.len());
    }

    /// Asks for all names, at most `window` of them ahead of their answers.
    pub(crate) fn run(&mut self, names: impl Iterator<Item = u32>, window: usize) -> Outcome {
        let mut names = names.peekable();
        let mut outcome = Outcome::default();
        let batch = BATCH.min(window);
        let started = Instant::now();
        let mut heard = started;
        loop {
            let before = outcome.answers;
            for socket in 0..SOCKETS {
                self.receive(socket, &mut outcome);
                if self.in_flight + batch <= window && names.peek().is_some() {
                    self.send(socket, names.by_ref().take(batch), &mut outcome);
                }
            }
            if self.in_flight == 0 && names.peek().is_none() {
                break;
            }
            let now = Instant::now();
            if outcome.answers > before {
                heard = now;
            } else if now - heard > PATIENCE {
                self.give_up(&mut outcome);
            } else {
                // The upstream is a thread on the same core.
                thread::yield_now();
            }
            assert!(now - started < LONGEST_ROUND, "only {} answers", outcome.answers);
        }
        outcome.elapsed = started.elapsed();
        outcome
    }

    fn send(&mut self, socket: usize, names: impl Iterator<Item = u32>, outcome: &mut Outcome) {
        self.outgoing.clear();
        for number in names {
            let id = self.take_id(number, outcome);
            self.outgoing.extend_from_slice(&query(id, number));
            self.in_flight += 1;
        }
        let descriptor = self.sockets[socket].as_raw_fd();
        let slices = [IoSlice::new(&self.outgoing)];
        let size = QUERY.len() as u16;
        let cut = [ControlMessage::UdpGsoSegments(&size)];
        sendmsg::<()>(descriptor, &slices, &cut, MsgFlags::empty(), None).expect("the server listens");
    }

    /// The next free id. One that comes round and still waits has been lost for long.
    fn take_id(&mut self, number: u32, outcome: &mut Outcome) -> u16 {
        for _ in 0..self.ids.len() {
            let id = self.next_id;
            self.next_id = id.wrapping_add(1);
            let state = &mut self.ids[usize::from(id)];
            match *state {
                Id::Free => {
                    *state = Id::Asked(number);
                    return id;
                }
                Id::Asked(lost) => {
                    *state = Id::GivenUp;
                    outcome.lost.push(lost);
                    self.in_flight -= 1;
                }
                Id::GivenUp => {}
            }
        }
        panic!("the server has lost {} queries", self.ids.len());
    }

    /// Takes what has come.
    fn receive(&mut self, socket: usize, outcome: &mut Outcome) {
        let mut lengths = [0; BATCH];
        let mut slices = self.incoming.each_mut().map(|buffer| [IoSliceMut::new(buffer)]);
        let descriptor = self.sockets[socket].as_raw_fd();
        match recvmmsg(descriptor, &mut self.headers, &mut slices, MsgFlags::MSG_DONTWAIT, None) {
            Ok(received) => {
                lengths.iter_mut().zip(received).for_each(|(length, datagram)| *length = datagram.bytes);
            }
            Err(Errno::EAGAIN | Errno::EINTR) => return,
            Err(error) => panic!("the server does not listen: {error}"),
        }
        for (buffer, length) in self.incoming.iter().zip(lengths).take_while(|(_, length)| *length > 0) {
            let reply = &buffer[..length];
            let id = u16::from_be_bytes([reply[0], reply[1]]);
            let state = std::mem::replace(&mut self.ids[usize::from(id)], Id::Free);
            let Id::Asked(number) = state else { continue };
            self.in_flight -= 1;
            outcome.take(reply, id, number, self.replies);
        }
    }

    fn give_up(&mut self, outcome: &mut Outcome) {
        for state in &mut self.ids {
            if let Id::Asked(number) = *state {
                outcome.lost.push(number);
                *state = Id::GivenUp;
            }
        }
        self.in_flight = 0;
    }
}
