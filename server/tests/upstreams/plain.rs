//! Upstreams over UDP and TCP.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UdpSocket},
    task::JoinSet,
};

use super::Counts;

const HEADER_SIZE: usize = 12;

/// A question that an upstream got.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) bytes: Vec<u8>,
    pub(crate) is_tcp: bool,
}

/// What an upstream does about it.
#[derive(Debug, Clone)]
pub(crate) enum Act {
    Reply(Vec<u8>),
    /// From another port.
    Elsewhere(Vec<u8>),
}
use Act::{Elsewhere, Reply};

pub(crate) type Script = dyn Fn(&Asked) -> Vec<Act> + Send + Sync;

/// What is to be had over TCP.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Tcp {
    Serves,
    /// The same, length and header byte by byte.
    Drips,
    /// The port is closed.
    Refuses,
    /// Connections end as soon as they are there.
    Closes,
    /// Questions are taken and left unanswered.
    Hangs,
}

/// An upstream, as long as this is held.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    pub(crate) counts: Arc<Counts>,
    _tasks: JoinSet<()>,
}

impl Asked {
    /// Where the question ends.
    fn end(&self) -> usize {
        let mut at = HEADER_SIZE;
        while self.bytes[at] > 0 {
            at += 1 + usize::from(self.bytes[at]);
        }
        at + 5
    }

    pub(crate) fn has_edns(&self) -> bool {
        self.bytes[11] == 1
    }

    pub(crate) fn has_cookie(&self) -> bool {
        // The code of the first option in the OPT record.
        self.has_edns() && self.bytes.get(self.end() + 11..self.end() + 13) == Some(&[0, 10])
    }

    /// Header and question as they came.
    pub(crate) fn reply(&self) -> Vec<u8> {
        let mut bytes = self.bytes[..self.end()].to_vec();
        bytes[2..HEADER_SIZE].copy_from_slice(&[0x81, 0x80, 0, 1, 0, 0, 0, 0, 0, 0]);
        bytes
    }

    pub(crate) fn code(&self, code: u8) -> Vec<u8> {
        changed(self.reply(), |bytes| bytes[3] |= code)
    }

    /// With the address 192.0.2.`last`.
    pub(crate) fn answer(&self, last: u8) -> Vec<u8> {
        record(self.reply(), 1, 60, &[192, 0, 2, last])
    }

    /// A header alone.
    pub(crate) fn header(&self, code: u8) -> Vec<u8> {
        changed(self.code(code), |bytes| {
            bytes.truncate(HEADER_SIZE);
            bytes[5] = 0;
        })
    }

    /// A code that needs an OPT record, which is empty.
    pub(crate) fn extended(&self, code: u16) -> Vec<u8> {
        changed(self.code((code & 0xf) as u8), |bytes| {
            bytes.extend_from_slice(&[0, 0, 41, 4, 208, (code >> 4) as u8, 0, 0, 0, 0, 0]);
            bytes[11] = 1;
        })
    }
}

pub(crate) fn changed(mut bytes: Vec<u8>, change: impl FnOnce(&mut Vec<u8>)) -> Vec<u8> {
    change(&mut bytes);
    bytes
}

/// Adds a record of the question's name to the answer section.
pub(crate) fn record(mut bytes: Vec<u8>, record_type: u8, ttl: u32, data: &[u8]) -> Vec<u8> {
    bytes.extend_from_slice(&[0xc0, 12, 0, record_type, 0, 1]);
    bytes.extend_from_slice(&ttl.to_be_bytes());
    bytes.extend_from_slice(&u16::try_from(data.len()).unwrap().to_be_bytes());
    bytes.extend_from_slice(data);
    bytes[7] += 1;
    bytes
}

fn name_of(bytes: &mut [u8]) -> &mut [u8] {
    let mut end = HEADER_SIZE;
    while bytes[end] > 0 {
        end += 1 + usize::from(bytes[end]);
    }
    &mut bytes[HEADER_SIZE..end]
}

pub(crate) fn lower(bytes: Vec<u8>) -> Vec<u8> {
    changed(bytes, |bytes| name_of(bytes).make_ascii_lowercase())
}

pub(crate) fn upper(bytes: Vec<u8>) -> Vec<u8> {
    changed(bytes, |bytes| name_of(bytes).make_ascii_uppercase())
}

pub(crate) fn truncated(bytes: Vec<u8>) -> Vec<u8> {
    changed(bytes, |bytes| bytes[2] |= 0x02)
}

/// An upstream that always knows the address 192.0.2.`last`.
pub(crate) fn answers(last: u8) -> Box<Script> {
    Box::new(move |asked| vec![Reply(asked.answer(last))])
}

pub(crate) fn says(reply: impl Fn(&Asked) -> Vec<u8> + Send + Sync + 'static) -> Box<Script> {
    Box::new(move |asked| vec![Reply(reply(asked))])
}

/// An alias that leads back to the name that was asked for.
pub(crate) fn loops() -> Box<Script> {
    says(|asked| record(asked.reply(), 5, 60, &[0xc0, 12]))
}

/// A record with this TTL.
pub(crate) fn lives(ttl: u32) -> Box<Script> {
    says(move |asked| record(asked.reply(), 1, ttl, &[192, 0, 2, 1]))
}

pub(crate) async fn start(script: Box<Script>, tcp: Tcp) -> Upstream {
    let (listener, address, udp) = loop {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        // The port may be taken for UDP.
        if let Ok(udp) = UdpSocket::bind(address).await {
            break (listener, address, udp);
        }
    };
    let (script, counts, mut tasks) = (Arc::<Script>::from(script), Arc::<Counts>::default(), JoinSet::new());
    if tcp != Tcp::Refuses {
        tasks.spawn(serve_tcp(listener, tcp, script.clone(), counts.clone()));
    }
    tasks.spawn(serve_udp(udp, script, counts.clone()));
    Upstream { address, counts, _tasks: tasks }
}

/// As [`start`], with the port closed for UDP.
pub(crate) async fn over_tcp_alone(script: Box<Script>) -> Upstream {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let (address, counts, mut tasks) =
        (listener.local_addr().unwrap(), Arc::<Counts>::default(), JoinSet::new());
    tasks.spawn(serve_tcp(listener, Tcp::Serves, script.into(), counts.clone()));
    Upstream { address, counts, _tasks: tasks }
}

/// Nothing at all, on a port that nobody is given meanwhile: a socket of another address holds it.
pub(crate) async fn closed() -> (Upstream, UdpSocket) {
    let held = UdpSocket::bind((Ipv4Addr::new(127, 0, 0, 2), 0)).await.unwrap();
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, held.local_addr().unwrap().port()));
    (Upstream { address, counts: Arc::default(), _tasks: JoinSet::new() }, held)
}

async fn serve_udp(socket: UdpSocket, script: Arc<Script>, counts: Arc<Counts>) {
    let elsewhere = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let mut buffer = [0; 4096];
    loop {
        // Where a reply went to a socket that was closed, the next call fails.
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else { continue };
        let asked = Asked { bytes: buffer[..length].to_vec(), is_tcp: false };
        counts.question(asked.bytes.get(HEADER_SIZE));
        for act in script(&asked) {
            let _ = match act {
                Reply(bytes) => socket.send_to(&bytes, from).await,
                Elsewhere(bytes) => elsewhere.send_to(&bytes, from).await,
            };
        }
    }
}

async fn serve_tcp(listener: TcpListener, tcp: Tcp, script: Arc<Script>, counts: Arc<Counts>) {
    let mut connections = JoinSet::new();
    while let Ok((mut stream, _)) = listener.accept().await {
        counts.connection();
        let (script, counts) = (script.clone(), counts.clone());
        if tcp == Tcp::Closes {
            continue;
        }
        connections.spawn(async move {
            let Ok(length) = stream.read_u16().await else { return };
            let mut bytes = vec![0; usize::from(length)];
            if stream.read_exact(&mut bytes).await.is_err() {
                return;
            }
            let asked = Asked { bytes, is_tcp: true };
            counts.question(asked.bytes.get(HEADER_SIZE));
            let acts = if let Tcp::Hangs = tcp { Vec::new() } else { script(&asked) };
            for act in acts {
                let Reply(bytes) = act else { continue };
                let bytes = [&(bytes.len() as u16).to_be_bytes()[..], &bytes].concat();
                // Each write is a segment.
                let _ = stream.set_nodelay(true);
                let (drops, rest) = bytes.split_at(if let Tcp::Drips = tcp { 2 + HEADER_SIZE } else { 0 });
                for piece in drops.chunks(1).chain([rest]) {
                    let _ = stream.write_all(piece).await;
                    tokio::task::yield_now().await;
                }
            }
            // Held open until the other end leaves.
            let _ = stream.read_u8().await;
        });
    }
}
