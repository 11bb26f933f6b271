//! Questions to a DNS server, to see whether it answers and how.

use std::{io, net::SocketAddr, time::Duration};

use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{DNSClass, Name, RData, Record, RecordType},
};
use pkdns::message::{ExtendedError, read_message};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::timeout,
};

use crate::terminal::printable;

/// A resolver that has to search the DHT gives up after 4.5 s and says so.
const DEADLINE: Duration = Duration::from_secs(5);

/// A datagram may get lost.
const ASK_AGAIN: Duration = Duration::from_millis(1500);

/// Largest answer over UDP that we ask for (DNS flag day 2020).
const MAX_UDP_SIZE: u16 = 1232;

/// How a question travels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    Udp,
    Tcp,
}

/// What became of a question.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Reply {
    Said(Box<Said>),
    /// Nothing listens there.
    Closed,
    /// No answer in time.
    Silent,
    /// It could not be sent, or what came is no answer.
    Broken(String),
}

/// An answer, as far as it matters here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) code: ResponseCode,
    /// Whether it speaks for the zone (AA).
    pub(crate) is_authoritative: bool,
    /// Records in the answer.
    pub(crate) records: usize,
    /// These themselves.
    pub(crate) answers: Vec<Record>,
    /// The first string of each TXT record among them.
    pub(crate) texts: Vec<String>,
    /// Whose zone it is, if the answer says no: the owner of the SOA record, without a dot at the end.
    pub(crate) zone: Option<String>,
    /// The reason that the server gives.
    pub(crate) extended_error: Option<ExtendedError>,
}

/// What is asked of a server besides the answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Manner {
    /// That it finds the answer (RD).
    Recursive,
    /// The same, without a validation that would make a failure of the answer (CD).
    Unchecked,
    /// The same, with all that belongs to it (DO): systemd-resolved then hands on what it was told as it stands.
    Whole,
    /// That it says what it knows itself.
    Authoritative,
}

/// Asks `server` once, or twice over UDP.
pub(crate) async fn ask(server: SocketAddr, name: &Name, record_type: RecordType, over: Over) -> Reply {
    send(server, Query::query(name.clone(), record_type), Manner::Recursive, over).await
}

/// The same over UDP, without a validation that would make a failure of the answer (CD).
pub(crate) async fn ask_unchecked(server: SocketAddr, name: &Name, record_type: RecordType) -> Reply {
    send(server, Query::query(name.clone(), record_type), Manner::Unchecked, Over::Udp).await
}

/// The same, with the records about its zone that some resolvers leave out.
pub(crate) async fn ask_whole(server: SocketAddr, name: &Name, record_type: RecordType) -> Reply {
    send(server, Query::query(name.clone(), record_type), Manner::Whole, Over::Udp).await
}

/// Asks a name server about its own zone, as resolvers do.
pub(crate) async fn ask_authority(
    server: SocketAddr,
    name: &Name,
    record_type: RecordType,
    over: Over,
) -> Reply {
    send(server, Query::query(name.clone(), record_type), Manner::Authoritative, over).await
}

/// What `server` says of itself, as in `version.bind` (RFC 4892).
pub(crate) async fn ask_about_itself(server: SocketAddr, name: &str) -> Reply {
    let mut query = Query::query(complete(name), RecordType::TXT);
    query.set_query_class(DNSClass::CH);
    send(server, query, Manner::Recursive, Over::Udp).await
}

async fn send(server: SocketAddr, query: Query, manner: Manner, over: Over) -> Reply {
    let exchange = async {
        let mut id = [0; 2];
        getrandom::fill(&mut id).map_err(io::Error::other)?;
        let id = u16::from_be_bytes(id);
        let question = question(id, query, manner)?;
        let mut bytes = match over {
            Over::Udp => over_udp(server, &question).await?,
            Over::Tcp => over_tcp(server, &question).await?,
        };
        // What does not fit a datagram is asked for again.
        if manner == Manner::Authoritative && over == Over::Udp && is_cut(&bytes) {
            bytes = over_tcp(server, &question).await?;
        }
        Ok(read(&bytes, id))
    };
    match timeout(DEADLINE, exchange).await {
        Ok(Ok(Some(said))) => Reply::Said(Box::new(said)),
        Ok(Ok(None)) => Reply::Broken("what it sends is no answer".to_string()),
        Ok(Err(error)) => failure(&error),
        Err(_) => Reply::Silent,
    }
}

/// The same over UDP and over TCP.
pub(crate) async fn ask_both(server: SocketAddr, name: &Name, record_type: RecordType) -> [Reply; 2] {
    let (udp, tcp) =
        tokio::join!(ask(server, name, record_type, Over::Udp), ask(server, name, record_type, Over::Tcp));
    [udp, tcp]
}

/// A name that is complete.
pub(crate) fn complete(text: &str) -> Name {
    let mut name = Name::from_ascii(text).unwrap_or_else(|_| Name::root());
    name.set_fqdn(true);
    name
}

/// A name for people, without the dot at its end.
pub(crate) fn shown(name: &Name) -> String {
    let text = name.to_ascii().to_ascii_lowercase();
    printable(text.strip_suffix('.').filter(|text| !text.is_empty()).unwrap_or(&text))
}

impl Reply {
    pub(crate) fn said(&self) -> Option<&Said> {
        match self {
            Self::Said(said) => Some(said.as_ref()),
            Self::Closed | Self::Silent | Self::Broken(_) => None,
        }
    }

    /// For people, as the end of "over UDP …".
    pub(crate) fn told(&self) -> String {
        match self {
            Self::Said(said) => format!("it answers {}", code(said.code)),
            Self::Closed => "nothing listens".to_string(),
            Self::Silent => "there is no answer".to_string(),
            Self::Broken(why) => why.clone(),
        }
    }
}

/// A response code as it is written in the standards.
pub(crate) fn code(code: ResponseCode) -> String {
    match code {
        ResponseCode::NoError => "NOERROR".to_string(),
        ResponseCode::NXDomain => "NXDOMAIN".to_string(),
        ResponseCode::ServFail => "SERVFAIL".to_string(),
        ResponseCode::Refused => "REFUSED".to_string(),
        other => format!("with response code {}", u16::from(other)),
    }
}

fn failure(error: &io::Error) -> Reply {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => Reply::Closed,
        io::ErrorKind::TimedOut => Reply::Silent,
        _ => Reply::Broken(format!("it cannot be asked ({})", printable(&error.to_string()))),
    }
}

/// TC of the header (RFC 1035 section 4.1.1).
fn is_cut(bytes: &[u8]) -> bool {
    bytes.get(2).is_some_and(|flags| flags & 2 != 0)
}

fn question(id: u16, query: Query, manner: Manner) -> io::Result<Vec<u8>> {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = manner != Manner::Authoritative;
    message.metadata.checking_disabled = matches!(manner, Manner::Unchecked | Manner::Whole);
    message.queries.push(query);
    let mut edns = Edns::new();
    edns.set_max_payload(MAX_UDP_SIZE);
    edns.set_dnssec_ok(manner == Manner::Whole);
    message.edns = Some(edns);
    message.to_vec().map_err(io::Error::other)
}

async fn over_udp(server: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let any: SocketAddr = if server.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0_u16; 8], 0).into() };
    let socket = UdpSocket::bind(any).await?;
    socket.connect(server).await?;
    let mut bytes = vec![0; usize::from(u16::MAX)];
    loop {
        socket.send(question).await?;
        let answer = async {
            loop {
                let size = socket.recv(&mut bytes).await?;
                // What answers another question is late, or forged.
                if bytes.get(..2) == question.get(..2) && size > 2 {
                    return io::Result::Ok(size);
                }
            }
        };
        if let Ok(size) = timeout(ASK_AGAIN, answer).await {
            bytes.truncate(size?);
            return Ok(bytes);
        }
    }
}

async fn over_tcp(server: SocketAddr, question: &[u8]) -> io::Result<Vec<u8>> {
    let length = u16::try_from(question.len()).map_err(io::Error::other)?;
    let mut stream = TcpStream::connect(server).await?;
    stream.write_all(&[&length.to_be_bytes(), question].concat()).await?;
    let mut bytes = vec![0; usize::from(stream.read_u16().await?)];
    stream.read_exact(&mut bytes).await?;
    Ok(bytes)
}

fn read(bytes: &[u8], id: u16) -> Option<Said> {
    let message = Message::from_vec(bytes).ok()?;
    if message.metadata.id != id || message.metadata.message_type != MessageType::Response {
        return None;
    }
    let texts = message.answers.iter().filter_map(|record| match &record.data {
        RData::TXT(text) => Some(String::from_utf8_lossy(text.txt_data.first()?).into_owned()),
        _ => None,
    });
    let mut authorities = message.authorities.iter();
    let zone = authorities.find(|record| matches!(record.data, RData::SOA(_)));
    Some(Said {
        code: message.metadata.response_code,
        is_authoritative: message.metadata.authoritative,
        records: message.answers.len(),
        texts: texts.collect(),
        zone: zone.map(|record| record.name.to_ascii().trim_end_matches('.').to_ascii_lowercase()),
        extended_error: read_message(bytes).ok().and_then(|message| message.extended_error),
        answers: message.answers,
    })
}

#[cfg(test)]
impl Reply {
    /// An answer for the tests of verdicts.
    pub(crate) fn of(code: ResponseCode, records: usize, zone: Option<&str>) -> Self {
        let zone = zone.map(String::from);
        let (is_authoritative, texts, answers) = (false, Vec::new(), Vec::new());
        let extended_error = None;
        Self::Said(Box::new(Said { code, is_authoritative, records, answers, texts, zone, extended_error }))
    }
}
