//! The thread between the socket and the nodes: it keeps answers back for as long as their way takes.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    net::{Ipv4Addr, SocketAddrV4},
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, Instant},
};

use super::{
    responder::Responder,
    socket::{BATCH, Batch, Socket},
};

/// Answers on their way at once. At 75,000 a second with a round trip of 3 s they are fewer.
const MAX_UNDER_WAY: usize = 262_144;

/// Most bytes of an answer with a value, a token and nodes.
const USUAL_ANSWER: usize = 2048;

/// Longest wait for a datagram: after this the stop is seen at the latest.
const MAX_WAIT: Duration = Duration::from_millis(100);

/// What the thread shares with its owner.
#[derive(Debug)]
pub(super) struct Shared {
    responder: Mutex<Responder>,
    pub(super) stop: AtomicBool,
}

impl Shared {
    pub(super) fn new(responder: Responder) -> Self {
        Self { responder: Mutex::new(responder), stop: AtomicBool::new(false) }
    }

    pub(super) fn responder(&self) -> MutexGuard<'_, Responder> {
        self.responder.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Answers until `shared.stop` is set.
pub(super) fn run(socket: &Socket, shared: &Shared) {
    let (mut batch, mut under_way) = (Batch::new(), UnderWay::default());
    let start = Instant::now();
    while !shared.stop.load(Ordering::Relaxed) {
        let received = receive(socket, &mut batch, shared, &mut under_way, start);
        let overflowed = under_way.send_due(socket, Instant::now());
        if overflowed > 0 {
            shared.responder().statistics.overflowed += overflowed;
        }
        if received < BATCH {
            let longest = under_way.next_due().map_or(MAX_WAIT, |due| due.duration_since(Instant::now()));
            socket.wait(longest.min(MAX_WAIT));
        }
    }
}

/// Takes a batch of queries. An error of the socket (of an earlier reply) counts as nothing received.
fn receive(
    socket: &Socket,
    batch: &mut Batch,
    shared: &Shared,
    under_way: &mut UnderWay,
    start: Instant,
) -> usize {
    let now = Instant::now();
    let mut responder = shared.responder();
    responder.pass(now.saturating_duration_since(start));
    let received = batch.receive(socket, |datagram, from, asked| {
        let mut bytes = under_way.buffer();
        match responder.answer(datagram, from.into(), asked.into(), &mut bytes) {
            Some(delay) if under_way.len() < MAX_UNDER_WAY => {
                under_way.add(now + delay, Reply { from: asked, to: from, bytes });
            }
            Some(_) => responder.statistics.overflowed += 1,
            None => under_way.recycle(bytes),
        }
    });
    received.unwrap_or(0)
}

struct Reply {
    from: Ipv4Addr,
    to: SocketAddrV4,
    bytes: Vec<u8>,
}

/// Answers that are on their way, and buffers of those that have arrived.
#[derive(Default)]
struct UnderWay {
    /// When, which of those at the same time, and where in `replies`.
    order: BinaryHeap<Reverse<(Instant, u64, usize)>>,
    replies: Vec<Option<Reply>>,
    /// Places in `replies` that are empty.
    vacant: Vec<usize>,
    buffers: Vec<Vec<u8>>,
    added: u64,
}

impl UnderWay {
    fn len(&self) -> usize {
        self.order.len()
    }

    fn next_due(&self) -> Option<Instant> {
        self.order.peek().map(|Reverse((due, ..))| *due)
    }

    fn buffer(&mut self) -> Vec<u8> {
        self.buffers.pop().unwrap_or_default()
    }

    /// Keeps a buffer for the next answer, but none that a flood of made-up nodes has made large.
    fn recycle(&mut self, mut buffer: Vec<u8>) {
        if buffer.capacity() <= USUAL_ANSWER {
            buffer.clear();
            self.buffers.push(buffer);
        }
    }

    fn add(&mut self, due: Instant, reply: Reply) {
        let place = self.vacant.pop().unwrap_or(self.replies.len());
        match self.replies.get_mut(place) {
            Some(vacant) => *vacant = Some(reply),
            None => self.replies.push(Some(reply)),
        }
        self.added += 1;
        self.order.push(Reverse((due, self.added, place)));
    }

    /// Sends what is due. Returns how many answers the kernel did not take.
    fn send_due(&mut self, socket: &Socket, now: Instant) -> u64 {
        let mut overflowed = 0;
        while let Some(Reverse((due, _, place))) = self.order.peek().copied() {
            if due > now {
                break;
            }
            self.order.pop();
            self.vacant.push(place);
            if let Some(reply) = self.replies.get_mut(place).and_then(Option::take) {
                overflowed += u64::from(!socket.send(&reply.bytes, reply.from, reply.to));
                self.recycle(reply.bytes);
            }
        }
        overflowed
    }
}
