//! One socket of a client, which sends queries in batches and reports the outcome of each.

use std::{
    io::{IoSlice, IoSliceMut},
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    os::fd::AsRawFd,
    time::{Duration, Instant},
};

use nix::{
    errno::Errno,
    sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg},
};
use socket2::SockRef;

use crate::zones::{Names, QUESTION_END, address};

/// Most datagrams of one system call.
pub(crate) const BATCH: usize = 32;

/// How long [`Connection::receive`] waits.
const WAIT: Duration = Duration::from_secs(1);

/// A server that replies to nothing for so many waits in a row has gone.
const LONGEST_SILENCE: u32 = 30;

const MAX_REPLY_SIZE: usize = 512;

/// What a server is expected to reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Expected {
    /// The query itself.
    Echo,
    /// The name's address.
    Address,
}

/// A query on its way.
#[derive(Debug, Clone, Copy)]
struct Sent {
    number: u32,
    due: Instant,
}

/// What came back.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reply {
    /// The name's.
    pub(crate) number: u32,
    /// Since the query should have been sent.
    pub(crate) latency: Duration,
    /// The largest delay after which a query was due that was answered before this one. If a core is busy with other
    /// programs, all queries wait in their order. A query that waits for a lookup is overtaken by others.
    pub(crate) overtaken: Duration,
    /// Whether this is the right answer, or a failure. A wrong one ends the benchmark.
    pub(crate) is_answer: bool,
}

pub(crate) struct Connection<'n> {
    socket: UdpSocket,
    names: &'n Names,
    expected: Expected,
    /// By id.
    pending: Vec<Option<Sent>>,
    in_flight: usize,
    next_id: u16,
    /// When the newest of the queries was due that have been answered.
    newest: Instant,
    buffers: Vec<[u8; MAX_REPLY_SIZE]>,
}

impl<'n> Connection<'n> {
    /// From an address of its own: `client` is its last byte.
    pub(crate) fn new(server: SocketAddr, client: u8, names: &'n Names, expected: Expected) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::new(127, 0, 0, client), 0)).unwrap();
        SockRef::from(&socket).set_recv_buffer_size(4 << 20).unwrap();
        socket.connect(server).unwrap();
        socket.set_read_timeout(Some(WAIT)).unwrap();
        Self {
            socket,
            names,
            expected,
            pending: vec![None; 1 << 16],
            in_flight: 0,
            next_id: 0,
            newest: Instant::now(),
            buffers: vec![[0; MAX_REPLY_SIZE]; BATCH],
        }
    }

    /// Queries on their way.
    pub(crate) fn in_flight(&self) -> usize {
        self.in_flight
    }

    /// Asks for these names at once, which is due at `due`.
    pub(crate) fn send(&mut self, numbers: &[u32], due: Instant) {
        let queries: Vec<_> = numbers
            .iter()
            .map(|number| {
                let id = self.free_id();
                self.pending[usize::from(id)] = Some(Sent { number: *number, due });
                self.names.query(*number, id)
            })
            .collect();
        self.in_flight += numbers.len();
        let slices: Vec<_> = queries.iter().map(|query| [IoSlice::new(query)]).collect();
        let mut headers = MultiHeaders::<SockaddrIn>::preallocate(queries.len(), None);
        let to_peer = vec![None; queries.len()];
        // What the kernel does not take is missed like any lost datagram.
        let _ =
            sendmmsg(self.socket.as_raw_fd(), &mut headers, &slices, to_peer, [], MsgFlags::empty()).unwrap();
    }

    /// Takes a batch of what has come. With `wait` there is at least one reply, or none comes any more.
    pub(crate) fn receive(&mut self, wait: bool, mut each: impl FnMut(Reply)) -> usize {
        let flags = if wait { MsgFlags::MSG_WAITFORONE } else { MsgFlags::MSG_DONTWAIT };
        let mut sizes = Vec::with_capacity(BATCH);
        {
            let mut slices: Vec<_> =
                self.buffers.iter_mut().map(|buffer| [IoSliceMut::new(buffer)]).collect();
            let mut headers = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
            match recvmmsg(self.socket.as_raw_fd(), &mut headers, &mut slices, flags, None) {
                Ok(received) => sizes.extend(received.map(|message| message.bytes)),
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(error) => panic!("the server does not listen: {error}"),
            }
        }
        let now = Instant::now();
        for (index, size) in sizes.iter().enumerate() {
            let reply = &self.buffers[index][..*size];
            let id = u16::from_be_bytes([reply[0], reply[1]]);
            // None: an answer that was given up before it came.
            if let Some(Sent { number, due }) = self.pending[usize::from(id)].take() {
                self.in_flight -= 1;
                let is_answer = self.check(reply, number);
                let latency = now.saturating_duration_since(due);
                let overtaken = self.newest.saturating_duration_since(due);
                self.newest = self.newest.max(due);
                each(Reply { number, latency, overtaken, is_answer });
            }
        }
        sizes.len()
    }

    /// Waits no longer for queries that were due before `limit`, and returns their names.
    pub(crate) fn give_up(&mut self, limit: Instant) -> Vec<u32> {
        let late = self.pending.iter_mut().filter(|sent| sent.is_some_and(|sent| sent.due < limit));
        let lost: Vec<_> = late.filter_map(|sent| Some(sent.take()?.number)).collect();
        self.in_flight -= lost.len();
        lost
    }

    fn check(&self, reply: &[u8], number: u32) -> bool {
        let query = self.names.query(number, 0);
        assert_eq!(reply[12..QUESTION_END], query[12..QUESTION_END], "the answer to another question");
        if self.expected == Expected::Echo {
            assert_eq!(reply[2..], query[2..]);
            return true;
        }
        if reply[3] & 0x0f != 0 {
            return false;
        }
        // Its owner is the name that was asked for, in two bytes; type, class, TTL and length follow.
        assert_eq!(reply[6..8], [0, 1], "records");
        let at = QUESTION_END + 12;
        assert_eq!(reply[at..at + 4], address(number).octets(), "a wrong address");
        true
    }

    fn free_id(&mut self) -> u16 {
        while self.pending[usize::from(self.next_id)].is_some() {
            self.next_id = self.next_id.wrapping_add(1);
        }
        let id = self.next_id;
        self.next_id = id.wrapping_add(1);
        id
    }
}

/// What became of queries that were asked as fast as answers came.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Outcome {
    pub(crate) answers: u32,
    /// Asked again, as those that failed.
    pub(crate) lost: u32,
    pub(crate) failed: u32,
    pub(crate) elapsed: Duration,
}

impl Connection<'_> {
    /// Asks for all these names, `window` at once, until each has an answer.
    pub(crate) fn ask_all(&mut self, numbers: impl IntoIterator<Item = u32>, window: usize) -> Outcome {
        self.ask(numbers, window, true)
    }

    /// As [`Connection::ask_all`], but a failure is taken for an answer.
    pub(crate) fn ask_once(&mut self, numbers: impl IntoIterator<Item = u32>, window: usize) -> Outcome {
        self.ask(numbers, window, false)
    }

    fn ask(&mut self, numbers: impl IntoIterator<Item = u32>, window: usize, asks_again: bool) -> Outcome {
        let mut outcome = Outcome::default();
        let mut numbers = numbers.into_iter();
        let mut again = Vec::new();
        let mut silence = 0;
        let start = Instant::now();
        loop {
            let room = (window - self.in_flight).min(BATCH);
            let batch = match self.in_flight + BATCH.min(window) <= window {
                true => {
                    Vec::from_iter(std::iter::from_fn(|| again.pop().or_else(|| numbers.next())).take(room))
                }
                false => Vec::new(),
            };
            if !batch.is_empty() {
                self.send(&batch, Instant::now());
            } else if self.in_flight == 0 {
                break;
            } else {
                let received = self.receive(true, |reply| match reply.is_answer {
                    true => outcome.answers += 1,
                    false => {
                        outcome.failed += 1;
                        again.extend(asks_again.then_some(reply.number));
                    }
                });
                silence = if received == 0 { silence + 1 } else { 0 };
                assert!(silence < LONGEST_SILENCE, "the server is silent after {} answers", outcome.answers);
                if received == 0 {
                    let lost = self.give_up(Instant::now());
                    outcome.lost += u32::try_from(lost.len()).unwrap();
                    again.extend(lost);
                }
            }
        }
        outcome.elapsed = start.elapsed();
        outcome
    }
}
