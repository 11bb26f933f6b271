//! Asks as fast as one core can, with a bounded number of queries on their way, and checks what comes back.

use std::{
    io::{IoSlice, IoSliceMut},
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    ops::AddAssign,
    os::fd::AsRawFd,
    time::{Duration, Instant},
};

use hickory_proto::{
    op::{Message, ResponseCode},
    rr::RData,
};
use nix::{
    errno::Errno,
    sys::socket::{MsgFlags, MultiHeaders, SockaddrIn, recvmmsg, sendmmsg},
};

use crate::{NAMES, upstream::address_of};

/// Most datagrams of one system call.
const BATCH: usize = 32;

/// What has not come after this time is lost: loopback takes microseconds.
const PATIENCE: Duration = Duration::from_millis(500);

/// A round that takes longer than this is broken.
const LONGEST_ROUND: Duration = Duration::from_secs(120);

/// One reply of so many is parsed in full; of the others id and question are compared.
const SAMPLE: u32 = 64;

const MAX_REPLY_SIZE: usize = 512;

/// What a server is expected to reply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Replies {
    /// The query itself.
    Echo,
    /// An answer with the name's address.
    Answer,
}

#[derive(Debug, Default)]
pub(crate) struct Outcome {
    pub(crate) answers: u32,
    pub(crate) lost: u32,
    pub(crate) elapsed: Duration,
}

impl AddAssign for Outcome {
    fn add_assign(&mut self, other: Self) {
        self.answers += other.answers;
        self.lost += other.lost;
        self.elapsed += other.elapsed;
    }
}

/// One client of one server.
pub(crate) struct Load {
    socket: UdpSocket,
    replies: Replies,
    queries: Vec<Vec<u8>>,
    next_name: u16,
    next_id: u16,
    /// The name that each id on its way asks for.
    pending: Vec<Option<u16>>,
    in_flight: usize,
}

impl Load {
    pub(crate) fn new(server: SocketAddr, replies: Replies) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        socket.connect(server).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        Self {
            socket,
            replies,
            queries: (0..NAMES).map(query).collect(),
            next_name: 0,
            next_id: 0,
            pending: vec![None; 1 << 16],
            in_flight: 0,
        }
    }

    /// Brings every name into the cache.
    pub(crate) fn ask_every_name_once(&mut self) {
        let outcome = self.run(u32::from(NAMES), 1);
        assert_eq!((outcome.answers, outcome.lost), (u32::from(NAMES), 0), "the cache is not filled");
    }

    /// Sends so many queries, `window` of them ahead of their answers.
    pub(crate) fn run(&mut self, queries: u32, window: usize) -> Outcome {
        let mut outcome = Outcome::default();
        let started = Instant::now();
        let mut left = usize::try_from(queries).unwrap();
        while left > 0 || self.in_flight > 0 {
            let batch = BATCH.min(window).min(left);
            if left > 0 && self.in_flight + batch <= window {
                self.send(batch);
                left -= batch;
                continue;
            }
            self.receive(&mut outcome);
            assert!(started.elapsed() < LONGEST_ROUND, "only {} answers", outcome.answers);
        }
        outcome.elapsed = started.elapsed();
        outcome
    }

    fn send(&mut self, count: usize) {
        let mut datagrams = Vec::with_capacity(count);
        for _ in 0..count {
            let name = self.next_name;
            let mut datagram = self.queries[usize::from(name)].clone();
            datagram[..2].copy_from_slice(&self.next_id.to_be_bytes());
            self.pending[usize::from(self.next_id)] = Some(name);
            self.next_id = self.next_id.wrapping_add(1);
            self.next_name = (name + 1) % NAMES;
            datagrams.push(datagram);
        }
        self.in_flight += count;
        let slices: Vec<_> = datagrams.iter().map(|datagram| [IoSlice::new(datagram)]).collect();
        let mut headers = MultiHeaders::<SockaddrIn>::preallocate(count, None);
        let to_peer = vec![None; count];
        // What the kernel does not take is missed like any lost datagram.
        let _ =
            sendmmsg(self.socket.as_raw_fd(), &mut headers, &slices, to_peer, [], MsgFlags::empty()).unwrap();
    }

    /// Takes what has come, at least one datagram, or gives up all that is on its way.
    fn receive(&mut self, outcome: &mut Outcome) {
        let mut buffers = [[0; MAX_REPLY_SIZE]; BATCH];
        let mut lengths = Vec::with_capacity(BATCH);
        {
            let mut slices: Vec<_> = buffers.iter_mut().map(|buffer| [IoSliceMut::new(buffer)]).collect();
            let mut headers = MultiHeaders::<SockaddrIn>::preallocate(BATCH, None);
            let flags = MsgFlags::MSG_WAITFORONE;
            match recvmmsg(self.socket.as_raw_fd(), &mut headers, &mut slices, flags, None) {
                Ok(received) => lengths.extend(received.map(|message| message.bytes)),
                Err(Errno::EAGAIN | Errno::EINTR) => {}
                Err(error) => panic!("the server does not listen: {error}"),
            }
        }
        if lengths.is_empty() {
            outcome.lost += u32::try_from(self.in_flight).unwrap();
            self.in_flight = 0;
            self.pending.fill(None);
        }
        for (buffer, length) in buffers.iter().zip(lengths) {
            self.check(&buffer[..length], outcome);
        }
    }

    fn check(&mut self, reply: &[u8], outcome: &mut Outcome) {
        let id = u16::from_be_bytes([reply[0], reply[1]]);
        // An answer that was given up before it came.
        let Some(name) = self.pending[usize::from(id)].take() else { return };
        self.in_flight -= 1;
        outcome.answers += 1;
        let query = &self.queries[usize::from(name)];
        let question_end = query.len() - OPT.len();
        assert_eq!(reply[12..question_end], query[12..question_end], "the answer to another question");
        match self.replies {
            Replies::Echo => assert_eq!(reply[2..], query[2..]),
            Replies::Answer if outcome.answers % SAMPLE == 1 => check_answer(reply, name),
            Replies::Answer => {}
        }
    }
}

fn check_answer(reply: &[u8], name: u16) {
    let message = Message::from_vec(reply).unwrap();
    assert_eq!(message.metadata.response_code, ResponseCode::NoError);
    assert!(message.edns.is_some());
    let [record] = &message.answers[..] else { panic!("{} answers", message.answers.len()) };
    let RData::A(address) = &record.data else { panic!("{record}") };
    assert_eq!(address.0, address_of(name));
}

/// An OPT record as stub resolvers send it: 1232 bytes, no options.
const OPT: [u8; 11] = [0, 0, 41, 0x04, 0xd0, 0, 0, 0, 0, 0, 0];

/// `n<number>.bench.example A` with RD and EDNS; the id is set for each query.
fn query(number: u16) -> Vec<u8> {
    let mut bytes = vec![0, 0, 0x01, 0, 0, 1, 0, 0, 0, 0, 0, 1];
    for label in [format!("n{number}").as_str(), "bench", "example", ""] {
        bytes.push(u8::try_from(label.len()).unwrap());
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.extend_from_slice(&[0, 1, 0, 1]);
    bytes.extend_from_slice(&OPT);
    bytes
}
