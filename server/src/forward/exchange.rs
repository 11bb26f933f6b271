//! One question to one server, in a way that is hard to forge (RFC 5452 section 9): over UDP from a fresh socket with
//! a random port, id and spelling; over TCP where that does not do.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    pin::pin,
    time::Duration,
};

use futures_util::{FutureExt, future::Fuse};
use hickory_proto::{op::ResponseCode, rr::RData};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    sync::Semaphore,
    time::{Instant, sleep, timeout_at},
};

use super::ExchangeError;
use crate::message::{HEADER_SIZE, MAX_UDP_SIZE, Message, Question, TYPE_OPT, read_message, read_question};

/// Random ports that are tried before the system picks one.
const PORT_TRIES: usize = 8;

/// Ports below are for privileged services.
const FIRST_PORT: u16 = 1024;

/// Room for a datagram in bytes: a server that ignores the size we announce usually keeps to this one.
const DATAGRAM_ROOM: usize = 4096;

/// Of queries that nobody else can read, so that their length says little (RFC 8467 section 4.1), in bytes.
const PADDING_BLOCK: usize = 128;

/// Code of the padding option, and the size of an option's code and length (RFC 7830).
const OPTION_PADDING: u16 = 12;
const OPTION_HEADER_SIZE: usize = 4;

/// Between reads after an error of the socket, so that an error that stays does not keep a core busy.
const ERROR_PAUSE: Duration = Duration::from_millis(10);

/// Asks servers, a bounded number of questions at once.
#[derive(Debug)]
pub struct Exchanger {
    questions: Semaphore,
    /// Answers in place of all servers.
    #[cfg(test)]
    pub(super) script: Option<super::testing::Script>,
}

/// What a question asks for besides its records.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Flags {
    /// RD: set for a resolver, clear for a name server that is asked about its own zone.
    pub recursion_desired: bool,
    /// DO: DNSSEC records as well.
    pub dnssec_ok: bool,
    /// CD: data even where the server's validation fails.
    pub checking_disabled: bool,
}

impl Exchanger {
    /// At most `capacity` questions are under way at once; each holds one socket, two while it moves to TCP. One more is
    /// [`ExchangeError::Busy`] at once: to wait for a turn is up to the caller, so that no time of `deadline` is spent
    /// on it.
    pub fn new(capacity: usize) -> Self {
        Self {
            questions: Semaphore::new(capacity.min(Semaphore::MAX_PERMITS)),
            #[cfg(test)]
            script: None,
        }
    }

    /// Asks `server` until it answers or `deadline` passes. The datagram is sent once: to ask again is up to the
    /// caller. Any answer to the question counts, whatever its code; names that came from our random spelling are in
    /// lower case.
    pub async fn exchange(
        &self,
        server: SocketAddr,
        question: &Question,
        flags: Flags,
        deadline: Instant,
    ) -> Result<Message, ExchangeError> {
        let _permit = self.questions.try_acquire().map_err(|_| ExchangeError::Busy)?;
        #[cfg(test)]
        if let Some(script) = &self.script {
            let answer = timeout_at(deadline, script.play(question)).await;
            return answer.unwrap_or(Err(ExchangeError::Silent));
        }
        let answer = async {
            let message = ask(server, question, flags, Edns::Sent).await?;
            // RFC 6891 section 7: a server from before EDNS says so in one of these ways.
            if matches!(message.code, ResponseCode::FormErr | ResponseCode::NotImp) {
                return ask(server, question, flags, Edns::LeftOut).await;
            }
            Ok(message)
        };
        timeout_at(deadline, answer).await.unwrap_or(Err(ExchangeError::Silent))
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Edns {
    Sent,
    Padded,
    LeftOut,
}

/// Over UDP, and over TCP where the answer was cut or where a datagram was almost right.
///
/// Almost right is what a server sends that does not keep the spelling, but also what someone sends who guessed all
/// but the spelling. TCP tells them apart. Meanwhile the true answer may still come as a datagram.
async fn ask(
    server: SocketAddr,
    question: &Question,
    flags: Flags,
    edns: Edns,
) -> Result<Message, ExchangeError> {
    let request = Request::new(question, flags, edns, Spelling::Random)?;
    let socket = random_socket(server).await?;
    socket.send(&request.bytes).await?;
    let mut over_tcp = pin!(Fuse::terminated());
    let mut tried_tcp = false;
    loop {
        tokio::select! {
            heard = listen(&socket, server, &request) => match heard {
                Heard::Truncated => return ask_over_tcp(server, question, flags, edns).await,
                Heard::Answer(message) => return Ok(message),
                Heard::AlmostRight if !tried_tcp => {
                    tried_tcp = true;
                    over_tcp.set(ask_over_tcp(server, question, flags, edns).fuse());
                }
                Heard::AlmostRight => {}
            },
            Ok(message) = &mut over_tcp => return Ok(message),
        }
    }
}

enum Heard {
    Answer(Message),
    Truncated,
    AlmostRight,
}

/// Waits for a datagram that says something. Garbage, strangers and ICMP errors can be made by anyone, so none of
/// them ends the waiting (the TuDoor attack).
async fn listen(socket: &UdpSocket, server: SocketAddr, request: &Request) -> Heard {
    loop {
        // Thousands may wait here, each without a buffer.
        let heard = socket.readable().await.and_then(|()| hear(socket, server, request));
        match heard {
            Ok(Some(heard)) => return heard,
            Ok(None) => {}
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {}
            Err(_) => sleep(ERROR_PAUSE).await,
        }
    }
}

/// Takes one datagram that has arrived.
fn hear(socket: &UdpSocket, server: SocketAddr, request: &Request) -> io::Result<Option<Heard>> {
    let mut buffer = [0; DATAGRAM_ROOM];
    let (length, from) = socket.try_recv_from(&mut buffer)?;
    // A datagram that came between bind and connect may be from anyone.
    if (from.ip(), from.port()) != (server.ip(), server.port()) {
        return Ok(None);
    }
    let Some(response) = buffer.get_mut(..length) else { return Ok(None) };
    Ok(match request.compare(response) {
        // Some servers cut in the middle of a record.
        Match::Exact if response.get(2).is_some_and(|flags| flags & 0x02 != 0) => Some(Heard::Truncated),
        Match::Exact => read(response).map(Heard::Answer),
        Match::OtherSpelling | Match::BareRefusal => Some(Heard::AlmostRight),
        Match::None => None,
    })
}

/// Nobody off the path can answer on a connection, so that the spelling need not be random here.
async fn ask_over_tcp(
    server: SocketAddr,
    question: &Question,
    flags: Flags,
    edns: Edns,
) -> Result<Message, ExchangeError> {
    let request = Request::new(question, flags, edns, Spelling::LowerCase)?;
    let mut response = transfer(server, &request.bytes).await?;
    request.read_whole(&mut response)
}

async fn transfer(server: SocketAddr, request: &[u8]) -> io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect(server).await?;
    // RFC 7766 section 8: length and message in one segment.
    let length = u16::try_from(request.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), request].concat()).await?;
    let mut response = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut response).await?;
    Ok(response)
}

/// A message to send, and what an answer to it must look like.
pub(super) struct Request {
    id: u16,
    pub(super) bytes: Vec<u8>,
    name_size: usize,
}

pub(super) enum Spelling {
    Random,
    LowerCase,
}

enum Match {
    /// An answer to this very message.
    Exact,
    /// An answer to this message, but for the case of letters in the name.
    OtherSpelling,
    /// A header without a question that refuses the form of the message, as servers from before EDNS send it.
    BareRefusal,
    None,
}

impl Request {
    pub(super) fn new(
        question: &Question,
        flags: Flags,
        edns: Edns,
        spelling: Spelling,
    ) -> Result<Self, ExchangeError> {
        let id = random_u16()?;
        let mut bytes = Vec::with_capacity(HEADER_SIZE + question.wire_name().len() + 15);
        bytes.extend_from_slice(&id.to_be_bytes());
        // AD asks a resolver to say whether it validated (RFC 6840 section 5.7).
        let (recursion, checking) = (u8::from(flags.recursion_desired), u8::from(flags.checking_disabled));
        bytes.extend_from_slice(&[recursion, recursion << 5 | checking << 4, 0, 1, 0, 0, 0, 0]);
        bytes.extend_from_slice(&[0, u8::from(edns != Edns::LeftOut)]);
        question.write(&mut bytes);
        let name_size = question.wire_name().len();
        if let Some(name) = bytes.get_mut(HEADER_SIZE..HEADER_SIZE + name_size) {
            name.make_ascii_lowercase();
            if let Spelling::Random = spelling {
                randomise_case(name)?;
            }
        }
        if edns != Edns::LeftOut {
            bytes.push(0);
            bytes.extend_from_slice(&TYPE_OPT.to_be_bytes());
            bytes.extend_from_slice(&(MAX_UDP_SIZE as u16).to_be_bytes());
            // No options: what a client sent is between it and us (RFC 6891 section 6.2).
            bytes.extend_from_slice(&[0, 0, u8::from(flags.dnssec_ok) << 7, 0]);
            if edns == Edns::Padded {
                pad(&mut bytes);
            } else {
                bytes.extend_from_slice(&[0, 0]);
            }
        }
        Ok(Self { id, bytes, name_size })
    }

    /// Reads what came over a connection, whose other end nobody else can speak for.
    pub(super) fn read_whole(&self, response: &mut [u8]) -> Result<Message, ExchangeError> {
        match self.compare(response) {
            Match::None => Err(ExchangeError::Malformed),
            Match::Exact | Match::OtherSpelling | Match::BareRefusal => {
                // There is nothing left to ask a server that cuts an answer here too.
                read(response).filter(|message| !message.truncated).ok_or(ExchangeError::Malformed)
            }
        }
    }

    fn compare(&self, response: &[u8]) -> Match {
        let Some(&[id_high, id_low, flags, code, questions_high, questions_low, ..]) =
            response.first_chunk::<HEADER_SIZE>()
        else {
            return Match::None;
        };
        // QR set, and opcode QUERY.
        if u16::from_be_bytes([id_high, id_low]) != self.id || flags & 0xf8 != 0x80 {
            return Match::None;
        }
        let asked = self.bytes.get(HEADER_SIZE..HEADER_SIZE + self.name_size + 4);
        match (u16::from_be_bytes([questions_high, questions_low]), asked) {
            (0, _)
                if matches!(
                    ResponseCode::from(0, code & 0x0f),
                    ResponseCode::FormErr | ResponseCode::NotImp
                ) =>
            {
                Match::BareRefusal
            }
            (1, Some(asked)) => {
                let Some(echoed) = response.get(HEADER_SIZE..HEADER_SIZE + asked.len()) else {
                    return Match::None;
                };
                let (asked_name, asked_tail) = asked.split_at(self.name_size);
                let (echoed_name, echoed_tail) = echoed.split_at(self.name_size);
                if asked_tail != echoed_tail || !asked_name.eq_ignore_ascii_case(echoed_name) {
                    Match::None
                } else if asked_name == echoed_name {
                    Match::Exact
                } else {
                    Match::OtherSpelling
                }
            }
            _ => Match::None,
        }
    }
}

/// Appends the data of an OPT record, with its length, so that the message fills its last block.
fn pad(bytes: &mut Vec<u8>) {
    let size = bytes.len() + 2 + OPTION_HEADER_SIZE;
    let padding = size.next_multiple_of(PADDING_BLOCK) - size;
    // Below a block, so that both lengths fit.
    bytes.extend_from_slice(&((OPTION_HEADER_SIZE + padding) as u16).to_be_bytes());
    bytes.extend_from_slice(&OPTION_PADDING.to_be_bytes());
    bytes.extend_from_slice(&(padding as u16).to_be_bytes());
    bytes.resize(size + padding, 0);
}

/// Reads a response that was compared with its request. Our random spelling must not reach a client: it is undone in
/// the question, to which other names point, and in CNAME targets, which a DNAME makes from labels of the question.
fn read(response: &mut [u8]) -> Option<Message> {
    if let Some(question) = read_question(response) {
        let name = response.get_mut(HEADER_SIZE..HEADER_SIZE + question.wire_name().len())?;
        name.make_ascii_lowercase();
    }
    let mut message = read_message(response).ok()?;
    for record in &mut message.answers {
        if let RData::CNAME(target) = &mut record.data {
            target.0 = target.0.to_lowercase();
        }
    }
    Some(message)
}

async fn random_socket(server: SocketAddr) -> Result<UdpSocket, ExchangeError> {
    let local: IpAddr = match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    let socket = bind_random(local).await?;
    socket.connect(server).await?;
    Ok(socket)
}

/// Systems hand out ports from a smaller range, and some of them in order.
async fn bind_random(local: IpAddr) -> Result<UdpSocket, ExchangeError> {
    for _ in 0..PORT_TRIES {
        let port = random_u16()?;
        if port >= FIRST_PORT
            && let Ok(socket) = UdpSocket::bind((local, port)).await
        {
            return Ok(socket);
        }
    }
    Ok(UdpSocket::bind((local, 0)).await?)
}

/// Also called 0x20: as many random bits as the name has letters. A label's length is below 64, so never a letter.
fn randomise_case(name: &mut [u8]) -> Result<(), ExchangeError> {
    let mut random = vec![0; name.len()];
    getrandom::fill(&mut random).map_err(|_| ExchangeError::Predictable)?;
    for (byte, random) in name.iter_mut().zip(random) {
        if random & 1 == 1 {
            byte.make_ascii_uppercase();
        }
    }
    Ok(())
}

fn random_u16() -> Result<u16, ExchangeError> {
    let mut bytes = [0; 2];
    getrandom::fill(&mut bytes).map_err(|_| ExchangeError::Predictable)?;
    Ok(u16::from_be_bytes(bytes))
}

#[cfg(test)]
mod tests;
