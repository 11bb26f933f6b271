//! A client of the server: plain DNS over UDP, with a bounded number of questions in flight.

use std::{
    collections::HashMap,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    time::{Duration, Instant},
};

use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{
        RData, RecordType,
        rdata::opt::{EdnsCode, EdnsOption},
    },
};
use socket2::SockRef;

use crate::zones::Zone;

/// What has not come after this time is lost. Common clients ask again after five seconds.
const PATIENCE: Duration = Duration::from_secs(5);

/// An answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Said {
    Address(Ipv4Addr),
    NoSuchName,
    /// SERVFAIL, with this extended error.
    Failure(Option<u16>),
    Other,
    Nothing,
}

/// What became of one question.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reply {
    pub(crate) said: Said,
    pub(crate) latency: Duration,
}

/// What became of all.
pub(crate) struct Replies {
    /// In the order of the questions.
    pub(crate) replies: Vec<Reply>,
    pub(crate) elapsed: Duration,
}

/// Asks for the address of each zone, `window` at once. `each` is told when an answer comes.
pub(crate) fn ask(server: SocketAddr, zones: &[Zone], window: usize, mut each: impl FnMut(usize)) -> Replies {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    SockRef::from(&socket).set_recv_buffer_size(4 << 20).unwrap();
    socket.connect(server).unwrap();
    let mut replies = vec![Reply { said: Said::Nothing, latency: PATIENCE }; zones.len()];
    let mut waiting: HashMap<u16, Instant> = HashMap::new();
    let mut buffer = [0; 4096];
    let start = Instant::now();
    let mut next = 0;
    while next < zones.len() || !waiting.is_empty() {
        while next < zones.len() && waiting.len() < window {
            let id = u16::try_from(next).unwrap();
            socket.send(&question(id, &zones[next])).unwrap();
            waiting.insert(id, Instant::now());
            next += 1;
        }
        let oldest = *waiting.values().min().unwrap();
        let left = (oldest + PATIENCE).saturating_duration_since(Instant::now());
        socket.set_read_timeout(Some(left.max(Duration::from_millis(1)))).unwrap();
        let Ok(size) = socket.recv(&mut buffer) else {
            waiting.retain(|_, sent| sent.elapsed() < PATIENCE);
            continue;
        };
        let message = Message::from_vec(&buffer[..size]).unwrap();
        if let Some(sent) = waiting.remove(&message.metadata.id) {
            let index = usize::from(message.metadata.id);
            assert_eq!(message.queries[0].name(), &zones[index].name, "the answer to another question");
            replies[index] = Reply { said: said(&message), latency: sent.elapsed() };
            each(index);
        }
    }
    Replies { replies, elapsed: start.elapsed() }
}

impl Replies {
    pub(crate) fn count(&self, wanted: impl Fn(usize, Said) -> bool) -> usize {
        self.replies.iter().enumerate().filter(|(index, reply)| wanted(*index, reply.said)).count()
    }

    pub(crate) fn latencies(&self) -> Vec<Duration> {
        self.replies.iter().map(|reply| reply.latency).collect()
    }
}

fn question(id: u16, zone: &Zone) -> Vec<u8> {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.queries.push(Query::query(zone.name.clone(), RecordType::A));
    message.edns = Some(Edns::new());
    message.to_vec().unwrap()
}

fn said(message: &Message) -> Said {
    match message.metadata.response_code {
        ResponseCode::NoError => match message.answers.first().map(|record| &record.data) {
            Some(RData::A(address)) => Said::Address(address.0),
            _ => Said::Other,
        },
        ResponseCode::NXDomain => Said::NoSuchName,
        ResponseCode::ServFail => Said::Failure(extended_error(message)),
        _ => Said::Other,
    }
}

fn extended_error(message: &Message) -> Option<u16> {
    match message.edns.as_ref()?.option(EdnsCode::Unknown(15))? {
        EdnsOption::Unknown(_, data) => Some(u16::from_be_bytes(*data.first_chunk()?)),
        _ => None,
    }
}
