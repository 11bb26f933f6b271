//! A resolver, or a name server, that answers at once, late, at length or never, as the name says.
//!
//! Names below `slow.example` are never answered. `big.example` and names below it have TXT records of 60 kB over TCP
//! and are truncated over UDP, and so is `many.example` with many small ones. Every other name has an A record with a
//! TTL of 300 s.

use std::{
    io::{Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread::{self, sleep},
    time::{Duration, Instant},
};

use hickory_proto::{
    op::{Message, MessageType},
    rr::{
        RData, Record, RecordType,
        rdata::{A, TXT},
    },
};

/// TXT records of `big.example`, and bytes of each.
const BIG_RECORDS: usize = 225;
const BIG_TEXT: usize = 250;

/// TXT records of `many.example`.
const MANY_RECORDS: usize = 2100;

/// Runs until the benchmark ends.
pub(crate) struct Upstream {
    address: SocketAddr,
    questions: Arc<AtomicU64>,
}

impl Upstream {
    /// Answers after `delay`.
    pub(crate) fn start(delay: Duration) -> Self {
        Self::start_on((Ipv4Addr::LOCALHOST, 0).into(), delay)
    }

    pub(crate) fn start_on(address: SocketAddr, delay: Duration) -> Self {
        let (tcp, udp) = bind(address);
        let address = udp.local_addr().unwrap();
        let questions = Arc::<AtomicU64>::default();
        let counted = questions.clone();
        thread::spawn(move || answer_datagrams(&udp, delay, &counted));
        let counted = questions.clone();
        thread::spawn(move || {
            for stream in tcp.incoming().flatten() {
                let counted = counted.clone();
                thread::spawn(move || answer_stream(stream, &counted));
            }
        });
        Self { address, questions }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Questions that have come so far.
    pub(crate) fn questions(&self) -> u64 {
        self.questions.load(Ordering::Relaxed)
    }
}

/// The same port for both.
fn bind(address: SocketAddr) -> (TcpListener, UdpSocket) {
    (0..100)
        .find_map(|_| {
            let tcp = TcpListener::bind(address).ok()?;
            let udp = UdpSocket::bind(tcp.local_addr().unwrap()).ok()?;
            Some((tcp, udp))
        })
        .expect("a free port")
}

/// Replies leave in the order of the questions, each `delay` after its own.
fn answer_datagrams(socket: &UdpSocket, delay: Duration, questions: &AtomicU64) {
    let (sender, replies) = std::sync::mpsc::channel::<(Instant, Vec<u8>, SocketAddr)>();
    let out = socket.try_clone().unwrap();
    thread::spawn(move || {
        for (due, reply, peer) in replies {
            sleep(due.saturating_duration_since(Instant::now()));
            let _ = out.send_to(&reply, peer);
        }
    });
    let mut buffer = [0; 4096];
    loop {
        let Ok((size, peer)) = socket.recv_from(&mut buffer) else { continue };
        questions.fetch_add(1, Ordering::Relaxed);
        if let Some(reply) = reply(&buffer[..size], false) {
            let _ = sender.send((Instant::now() + delay, reply, peer));
        }
    }
}

fn answer_stream(mut stream: TcpStream, questions: &AtomicU64) -> Option<()> {
    loop {
        let mut length = [0; 2];
        stream.read_exact(&mut length).ok()?;
        let mut query = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut query).ok()?;
        questions.fetch_add(1, Ordering::Relaxed);
        let reply = reply(&query, true)?;
        stream.write_all(&(reply.len() as u16).to_be_bytes()).ok()?;
        stream.write_all(&reply).ok()?;
    }
}

fn reply(query: &[u8], over_tcp: bool) -> Option<Vec<u8>> {
    let query = Message::from_vec(query).ok()?;
    let question = query.queries.first()?;
    let name = question.name().clone();
    let text = name.to_ascii().to_ascii_lowercase();
    if text.ends_with("slow.example.") {
        return None;
    }
    let mut reply = Message::new(query.metadata.id, MessageType::Response, query.metadata.op_code);
    reply.metadata.recursion_desired = true;
    reply.metadata.recursion_available = true;
    reply.add_query(question.clone());
    let is_big = text == "big.example." || text.ends_with(".big.example.");
    let is_many = text == "many.example.";
    match question.query_type() {
        RecordType::TXT if is_many && over_tcp => {
            for number in 0..MANY_RECORDS {
                let text = RData::TXT(TXT::new(vec![format!("{number:04}")]));
                reply.add_answer(Record::from_rdata(name.clone(), 300, text));
            }
        }
        RecordType::TXT if is_big && over_tcp => {
            for number in 0..BIG_RECORDS {
                // Three digits that tell the records apart, and then letters.
                let text = format!("{number:03}{}", "x".repeat(BIG_TEXT - 3));
                reply.add_answer(Record::from_rdata(name.clone(), 300, RData::TXT(TXT::new(vec![text]))));
            }
        }
        RecordType::TXT if is_big || is_many => reply.metadata.truncation = true,
        RecordType::A => {
            let address = A(Ipv4Addr::new(192, 0, 2, 1));
            reply.add_answer(Record::from_rdata(name, 300, RData::A(address)));
        }
        _ => {}
    }
    reply.to_vec().ok()
}
