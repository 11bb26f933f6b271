//! Asks over TCP, with pipelined queries on several connections, and several queries in one write.

use std::{
    io::{ErrorKind, Read, Write},
    net::{SocketAddr, TcpStream},
    thread,
    time::{Duration, Instant},
};

use pkdns_testing::benchmark::names::{QUERY, query};

use crate::check::{Outcome, Replies};

/// How it asks, in words.
pub(crate) const PATTERN: &str = "8 connections, 64 queries in flight on each, 32 per write";

const CONNECTIONS: usize = 8;
const WINDOW: usize = 64;
const BATCH: usize = 32;

/// Queries on one connection. pkdns closes it then, so that every server gets a new one.
const QUERIES_PER_CONNECTION: u16 = 10_000;

/// What has not come after this time will not come: a stream loses nothing.
const PATIENCE: Duration = Duration::from_secs(5);

/// Asks for all names.
pub(crate) fn run(server: SocketAddr, replies: Replies, names: impl Iterator<Item = u32>) -> Outcome {
    let mut names = names.peekable();
    let mut outcome = Outcome::default();
    let started = Instant::now();
    let mut heard = started;
    let mut connections: Vec<_> = (0..CONNECTIONS).map(|_| Connection::new(server, replies)).collect();
    while names.peek().is_some() || connections.iter().any(|connection| connection.in_flight > 0) {
        let before = outcome.answers;
        for connection in &mut connections {
            connection.receive(&mut outcome);
            if names.peek().is_none() {
                continue;
            }
            if connection.is_used_up() {
                if connection.in_flight > 0 {
                    continue;
                }
                *connection = Connection::new(server, replies);
            }
            if connection.in_flight + BATCH <= WINDOW {
                connection.send(names.by_ref());
            }
        }
        if outcome.answers > before {
            heard = Instant::now();
        } else {
            thread::yield_now();
            assert!(heard.elapsed() < PATIENCE, "only {} answers", outcome.answers);
        }
    }
    outcome.elapsed = started.elapsed();
    outcome
}

struct Connection {
    stream: TcpStream,
    replies: Replies,
    /// The name that each id asks for, and whose reply has not come. Ids count the queries.
    asked: Vec<Option<u32>>,
    in_flight: usize,
    received: Vec<u8>,
}

impl Connection {
    fn new(server: SocketAddr, replies: Replies) -> Self {
        let stream = TcpStream::connect(server).expect("the server listens");
        stream.set_nodelay(true).unwrap();
        stream.set_nonblocking(true).unwrap();
        Self { stream, replies, asked: Vec::new(), in_flight: 0, received: Vec::new() }
    }

    fn is_used_up(&self) -> bool {
        self.asked.len() == usize::from(QUERIES_PER_CONNECTION)
    }

    fn send(&mut self, names: impl Iterator<Item = u32>) {
        let left = usize::from(QUERIES_PER_CONNECTION) - self.asked.len();
        let mut outgoing = Vec::with_capacity(BATCH * (2 + QUERY.len()));
        for number in names.take(BATCH.min(left)) {
            let id = self.asked.len() as u16;
            self.asked.push(Some(number));
            self.in_flight += 1;
            outgoing.extend_from_slice(&(QUERY.len() as u16).to_be_bytes());
            outgoing.extend_from_slice(&query(id, number));
        }
        // A window is less than any send buffer holds.
        self.stream.write_all(&outgoing).expect("the server reads");
    }

    /// Takes what has come.
    fn receive(&mut self, outcome: &mut Outcome) {
        let mut buffer = [0; 16 << 10];
        match self.stream.read(&mut buffer) {
            Ok(0) => assert_eq!(self.in_flight, 0, "the server closed the connection"),
            Ok(length) => self.received.extend_from_slice(&buffer[..length]),
            Err(error) if error.kind() == ErrorKind::WouldBlock => return,
            Err(error) => panic!("the server at {:?} does not answer: {error}", self.stream.peer_addr()),
        }
        let mut rest = &self.received[..];
        while let Some((length, after)) = rest.split_first_chunk() {
            let Some((reply, after)) = after.split_at_checked(u16::from_be_bytes(*length).into()) else {
                break;
            };
            let id = u16::from_be_bytes([reply[0], reply[1]]);
            let number = self.asked[usize::from(id)].take().expect("one reply to a query");
            outcome.take(reply, id, number, self.replies);
            self.in_flight -= 1;
            rest = after;
        }
        let taken = self.received.len() - rest.len();
        self.received.drain(..taken);
    }
}
