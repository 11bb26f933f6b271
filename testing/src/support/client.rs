//! A client that asks over UDP and TCP, and holds every reply to what all replies have in common.

use std::{
    fmt, io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    time::Duration,
};

use hickory_proto::{
    op::{Edns, ResponseCode},
    rr::{DNSClass, Name, RData, Record, RecordType, rdata::opt::EdnsCode},
    serialize::binary::{BinDecodable, BinDecoder, BinEncodable, BinEncoder, DecodeError},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpSocket, TcpStream, UdpSocket},
    time::timeout,
};

/// Longest that a test waits for a reply: the server's own deadline, and time for a busy machine.
const PATIENCE: Duration = Duration::from_secs(20);

const ID: u16 = 0xabcd;
const OPTION_EXTENDED_ERROR: u16 = 15;
const OPT_TYPE: u16 = 41;

/// What is asked.
#[derive(Debug, Clone)]
pub struct Question {
    /// In the spelling that is sent.
    pub name: Name,
    pub class: DNSClass,
    pub record_type: RecordType,
    pub recursion_desired: bool,
    /// The size that the OPT record announces; none is sent without.
    pub edns: Option<u16>,
    pub dnssec_ok: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transport {
    Udp,
    Tcp,
}

/// What was answered.
#[derive(Debug, Clone)]
pub struct Reply {
    pub code: ResponseCode,
    pub truncated: bool,
    /// INFO-CODE of the extended error.
    pub extended_error: Option<u16>,
    /// DO; `None` without an OPT record.
    dnssec_ok: Option<bool>,
    pub answers: Vec<Record>,
    pub authorities: Vec<Record>,
    pub additionals: Vec<Record>,
}

impl Question {
    /// A plain question as most stub resolvers send it.
    pub fn new(name: Name, record_type: RecordType) -> Self {
        let (class, recursion_desired, dnssec_ok) = (DNSClass::IN, true, false);
        Self { name, class, record_type, recursion_desired, edns: Some(1232), dnssec_ok }
    }

    /// Asks `server`. An error says what is wrong with a reply that nobody should send, whatever it answers.
    pub async fn ask(&self, server: SocketAddr, transport: Transport) -> Result<Reply, String> {
        let reply = exchange(server, &self.request(), transport).await?;
        self.check(&reply, transport)?;
        let reply = read(&reply).map_err(|error| format!("unreadable: {error}"))?;
        match reply.dnssec_ok == self.edns.map(|_| self.dnssec_ok) {
            true => Ok(reply),
            false => Err("OPT goes to those who sent one, with their DO".into()),
        }
    }

    fn request(&self) -> Vec<u8> {
        let mut bytes = ID.to_be_bytes().to_vec();
        bytes.extend_from_slice(&[u8::from(self.recursion_desired), 0, 0, 1, 0, 0, 0, 0, 0]);
        bytes.push(u8::from(self.edns.is_some()));
        bytes.extend_from_slice(&self.wire());
        if let Some(size) = self.edns {
            bytes.push(0);
            bytes.extend_from_slice(&OPT_TYPE.to_be_bytes());
            bytes.extend_from_slice(&size.to_be_bytes());
            bytes.extend_from_slice(&[0, 0, u8::from(self.dnssec_ok) << 7, 0, 0, 0]);
        }
        bytes
    }

    /// The question section.
    fn wire(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut encoder = BinEncoder::new(&mut bytes);
        self.name.emit(&mut encoder).expect("it fits a message");
        bytes.extend_from_slice(&u16::from(self.record_type).to_be_bytes());
        bytes.extend_from_slice(&u16::from(self.class).to_be_bytes());
        bytes
    }

    fn check(&self, reply: &[u8], transport: Transport) -> Result<(), String> {
        let hold =
            |holds: bool, rule: &str| if holds { Ok(()) } else { Err(format!("{rule}: {reply:02x?}")) };
        let question = self.wire();
        hold(reply.len() >= 12 + question.len(), "a reply holds the question")?;
        hold(reply[..2] == ID.to_be_bytes(), "the id is the client's")?;
        // QR and RD; not AA, and TC is for the caller. RA; not Z, AD or CD.
        hold(reply[2] & !0x02 == 0x80 | u8::from(self.recursion_desired), "flags are QR and RD")?;
        hold(reply[3] & 0xf0 == 0x80, "flags are RA alone")?;
        hold(reply[4..6] == [0, 1] && reply[12..12 + question.len()] == question, "the question is echoed")?;
        if transport == Transport::Udp {
            let limit = usize::from(self.edns.unwrap_or(512)).clamp(512, 1232);
            hold(reply.len() <= limit, "a datagram is no larger than the client takes")?;
        }
        Ok(())
    }
}

/// Reads a reply. The parser of hickory-proto refuses records without data, which may well be there.
fn read(reply: &[u8]) -> Result<Reply, DecodeError> {
    let mut decoder = BinDecoder::new(reply);
    let mut header = [0; 6];
    for field in &mut header {
        *field = decoder.read_u16()?.unverified();
    }
    let [_, flags, _, counts @ ..] = header;
    Name::read(&mut decoder)?;
    decoder.read_slice(4)?;
    let mut sections = [Vec::new(), Vec::new(), Vec::new()];
    for (section, count) in sections.iter_mut().zip(counts) {
        for _ in 0..count {
            section.push(record(&mut decoder)?);
        }
    }
    let [answers, authorities, mut additionals] = sections;
    let is_opt = |record: &Record| record.record_type() == RecordType::OPT;
    let opt = additionals.iter().position(is_opt).map(|at| additionals.remove(at));
    let edns = opt.as_ref().map(Edns::from);
    let extended_error = edns.as_ref().and_then(|edns| {
        let option = edns.option(EdnsCode::Unknown(OPTION_EXTENDED_ERROR))?;
        Some(u16::from_be_bytes(*Vec::<u8>::try_from(option).ok()?.first_chunk()?))
    });
    Ok(Reply {
        code: ResponseCode::from(edns.as_ref().map_or(0, Edns::rcode_high), flags as u8 & 0x0f),
        truncated: flags & 0x0200 != 0,
        extended_error,
        dnssec_ok: edns.map(|edns| edns.flags().dnssec_ok),
        answers,
        authorities,
        additionals,
    })
}

fn record(decoder: &mut BinDecoder<'_>) -> Result<Record, DecodeError> {
    let name = Name::read(decoder)?;
    let record_type = RecordType::read(decoder)?;
    let class = decoder.read_u16()?.unverified();
    let ttl = decoder.read_u32()?.unverified();
    let length = decoder.read_u16()?;
    let data = RData::read(decoder, record_type, length)?;
    let mut record = Record::from_rdata(name, ttl, data);
    record.dns_class = if record_type == RecordType::OPT { DNSClass::OPT(class) } else { class.into() };
    Ok(record)
}

/// Sends a message to `server` and returns what comes back, or says why nothing did.
pub async fn exchange(server: SocketAddr, request: &[u8], transport: Transport) -> Result<Vec<u8>, String> {
    let any = if server.is_ipv4() { IpAddr::V4(Ipv4Addr::LOCALHOST) } else { Ipv6Addr::UNSPECIFIED.into() };
    exchange_from(any, server, request, transport).await
}

/// As [`exchange`], from an address of this machine.
pub async fn exchange_from(
    from: IpAddr,
    server: SocketAddr,
    request: &[u8],
    transport: Transport,
) -> Result<Vec<u8>, String> {
    let exchange = async {
        match transport {
            Transport::Udp => over_udp(from, server, request).await,
            Transport::Tcp => ask_on(&mut connect_from(from, server).await?, request).await,
        }
    };
    let reply = timeout(PATIENCE, exchange).await.map_err(|_| "there is no reply")?;
    reply.map_err(|error| format!("there is no reply: {error}"))
}

async fn over_udp(from: IpAddr, server: SocketAddr, request: &[u8]) -> io::Result<Vec<u8>> {
    let socket = UdpSocket::bind((from, 0)).await?;
    socket.connect(server).await?;
    socket.send(request).await?;
    let mut reply = vec![0; 65_535];
    let length = socket.recv(&mut reply).await?;
    reply.truncate(length);
    Ok(reply)
}

/// A connection from an address of this machine.
pub async fn connect_from(from: IpAddr, server: SocketAddr) -> io::Result<TcpStream> {
    let socket = if from.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.bind((from, 0).into())?;
    socket.connect(server).await
}

/// Sends one message on a stream, behind its length, and reads one.
pub async fn ask_on(
    stream: &mut (impl AsyncRead + AsyncWrite + Unpin),
    request: &[u8],
) -> io::Result<Vec<u8>> {
    write_message(stream, request).await?;
    read_message(stream).await
}

/// Sends one message on a stream, behind its length.
pub async fn write_message(stream: &mut (impl AsyncWrite + Unpin), message: &[u8]) -> io::Result<()> {
    let length = u16::try_from(message.len()).expect("a message of at most 64 kB");
    stream.write_all(&[&length.to_be_bytes()[..], message].concat()).await
}

/// Reads one message from a stream.
pub async fn read_message(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Vec<u8>> {
    let mut reply = vec![0; stream.read_u16().await?.into()];
    stream.read_exact(&mut reply).await?;
    Ok(reply)
}

impl fmt::Display for Transport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Udp => "UDP",
            Self::Tcp => "TCP",
        })
    }
}
