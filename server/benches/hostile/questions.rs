//! Questions in wire form, and a client that asks them over UDP.

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    str::FromStr,
    sync::atomic::{AtomicU16, Ordering},
    time::{Duration, Instant},
};

use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{Name, RecordType},
};

/// As long as dig waits.
const PATIENCE: Duration = Duration::from_secs(5);

/// What became of a question.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Outcome {
    /// NOERROR or NXDOMAIN.
    Answer,
    Failure(ResponseCode),
    /// To be asked for over TCP.
    Truncated,
    Silence,
}

/// A query with EDNS.
pub(crate) fn query(id: u16, name: &str, record_type: RecordType) -> Vec<u8> {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    let mut name = Name::from_str(name).unwrap();
    name.set_fqdn(true);
    message.add_query(Query::query(name, record_type));
    let mut edns = Edns::new();
    edns.set_max_payload(1232);
    message.set_edns(edns);
    message.to_vec().unwrap()
}

/// A client with an address of its own.
pub(crate) struct Asker {
    socket: UdpSocket,
    id: AtomicU16,
}

impl Asker {
    pub(crate) fn new(address: Ipv4Addr, server: SocketAddr) -> Self {
        let socket = UdpSocket::bind((address, 0)).unwrap();
        socket.connect(server).unwrap();
        Self { socket, id: AtomicU16::new(1) }
    }

    /// Asks for an A record, once.
    pub(crate) fn ask(&self, name: &str) -> Outcome {
        let id = self.id.fetch_add(1, Ordering::Relaxed);
        self.socket.send(&query(id, name, RecordType::A)).unwrap();
        let deadline = Instant::now() + PATIENCE;
        let mut buffer = [0; 4096];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Outcome::Silence;
            }
            self.socket.set_read_timeout(Some(left)).unwrap();
            let Ok(size) = self.socket.recv(&mut buffer) else { continue };
            if size < 12 || buffer[..2] != id.to_be_bytes() {
                continue;
            }
            return match ResponseCode::from(0, buffer[3] & 0x0f) {
                ResponseCode::NoError | ResponseCode::NXDomain => Outcome::Answer,
                code => Outcome::Failure(code),
            };
        }
    }
}
