//! The memory that a client can take by reading nothing or by sending endless bodies, and how much of it remains
//! taken.

use std::{
    io::Write,
    net::{Ipv4Addr, SocketAddr, TcpStream},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread::{self, sleep},
    time::{Duration, Instant},
};

use hickory_proto::rr::RecordType;
use pkdns_testing::tls_client::trusting_anyone;
use socket2::{Domain, Socket, Type};
use tokio_rustls::rustls::{ClientConnection, DEFAULT_VERSIONS, StreamOwned};

use crate::{
    questions::{Asker, query},
    setting::{OTHER_CLIENT, Setting, ask_in_turn},
};

/// The address of the client that means harm.
const FLOODER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

/// As many as one client may have.
const CONNECTIONS: usize = 100;

/// Requests on an HTTP/2 connection: as many as may be under way.
const STREAMS: u32 = 127;

const WIRE: &str = "/resolve?name=big.example&type=TXT&ct=application/dns-message";
const JSON: &str = "/resolve?name=big.example&type=TXT";
const SMALL: &str = "/resolve?name=a0.ok.example&type=A";

/// What is sent on each connection.
enum Flood {
    Http(Vec<u8>),
    Tcp(Vec<u8>),
    Tls(Vec<u8>),
}

/// A connection that is kept open.
enum Kept {
    Plain(#[allow(dead_code, reason = "only kept")] TcpStream),
    Tls(#[allow(dead_code, reason = "only kept")] Box<StreamOwned<ClientConnection, TcpStream>>),
}

impl Flood {
    fn send(&self, setting: &Setting) -> Option<Kept> {
        let port = |protocol| (Ipv4Addr::LOCALHOST, setting.server.port(protocol)).into();
        Some(match self {
            Self::Http(bytes) => {
                let mut stream = connect(port("http"))?;
                let _ = stream.write_all(bytes);
                Kept::Plain(stream)
            }
            Self::Tcp(bytes) => {
                let mut stream = connect(setting.server.address())?;
                let _ = stream.write_all(bytes);
                Kept::Plain(stream)
            }
            Self::Tls(bytes) => {
                let config = Arc::new(trusting_anyone(DEFAULT_VERSIONS, &["dot"]));
                let session = ClientConnection::new(config, "localhost".try_into().unwrap()).unwrap();
                let mut stream = StreamOwned::new(session, connect(port("tls"))?);
                let _ = stream.write_all(bytes);
                Kept::Tls(Box::new(stream))
            }
        })
    }
}

/// With a small buffer, and no more patience than the server has with it.
fn connect(server: SocketAddr) -> Option<TcpStream> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.set_recv_buffer_size(4096).unwrap();
    socket.bind(&SocketAddr::from((FLOODER, 0)).into()).unwrap();
    socket.connect(&server.into()).ok()?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(Duration::from_secs(2))).unwrap();
    stream.set_write_timeout(Some(Duration::from_millis(50))).unwrap();
    Some(stream)
}

/// How a client fares that reads nothing, for each way to do so.
pub(crate) fn memory(in_full: bool) {
    let question = query(1, "big.example", RecordType::TXT);
    let questions = [&(question.len() as u16).to_be_bytes()[..], &question].concat().repeat(64);
    let get = |path| format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n");
    let gets = |window, path: &str| {
        Flood::Http(over_http2(window, |stream| frame(1, 5, stream, &head("GET", path))))
    };
    let bodies = || {
        Flood::Http(over_http2(1 << 20, |stream| {
            let start = frame(
                1,
                4,
                stream,
                &[head("POST", "/dns-query"), field("content-type", "application/dns-message")].concat(),
            );
            [start, frame(0, 0, stream, &[0; 4000])].concat()
        }))
    };
    let denied = "[access]\nallow = ['127.0.0.200/32']";
    let cases = [
        ("HTTP/1.1, JSON", "", Flood::Http(get(JSON).repeat(40).into_bytes())),
        (
            "HTTP/1.1, HEAD requests",
            "",
            Flood::Http(get(SMALL).replace("GET", "HEAD").repeat(100_000).into_bytes()),
        ),
        ("HTTP/2, window 0, wire form", "", gets(0, WIRE)),
        ("HTTP/2, window 0, JSON", "", gets(0, JSON)),
        ("HTTP/2, window 1, wire form", "", gets(1, WIRE)),
        ("HTTP/2, window 1, JSON", "", gets(1, JSON)),
        ("HTTP/2, window 1000, wire form", "", gets(1000, WIRE)),
        ("HTTP/2, window 1000, JSON", "", gets(1000, JSON)),
        ("HTTP/2, window 1, small answers", "", gets(1, SMALL)),
        ("TCP", "", Flood::Tcp(questions.clone())),
        ("TLS", "", Flood::Tls(questions)),
        ("HTTP/2, endless bodies", "", bodies()),
        ("HTTP/2, endless bodies, client not served", denied, bodies()),
    ];
    println!(
        "\n{CONNECTIONS} connections of one client that reads nothing: MB of memory, and another client's hits in ms\n\n\
         | | before | at most | 30 s after | answered | p50 | p99 | failed |\n|---|---|---|---|---|---|---|---|"
    );
    for (name, more, flood) in cases {
        case(name, more, &flood, in_full);
    }
}

fn case(name: &str, more: &str, flood: &Flood, in_full: bool) {
    let setting =
        Setting::start(Duration::from_millis(1), &format!("[rate_limit]\nrequests_per_minute = 0\n{more}"));
    let asker = Asker::new(OTHER_CLIENT, setting.server.address());
    asker.ask("a0.ok.example");
    let connections = if in_full { CONNECTIONS } else { 3 };
    let before = setting.server.memory();
    let (most, done) = (AtomicU64::new(before), AtomicBool::new(false));
    let fate = thread::scope(|scope| {
        scope.spawn(|| {
            while !done.load(Ordering::Relaxed) {
                most.fetch_max(setting.server.memory(), Ordering::Relaxed);
                sleep(Duration::from_millis(20));
            }
        });
        scope.spawn(|| {
            let kept: Vec<_> = (0..connections).filter_map(|_| flood.send(&setting)).collect();
            let start = Instant::now();
            while !done.load(Ordering::Relaxed) && start.elapsed() < Duration::from_secs(60) {
                sleep(Duration::from_millis(20));
            }
            drop(kept);
        });
        let (count, pause) = if in_full { (1000, 20) } else { (20, 5) };
        let fate = ask_in_turn(&asker, count, Duration::from_millis(pause), |_| "a0.ok.example".to_owned());
        done.store(true, Ordering::Relaxed);
        fate
    });
    sleep(Duration::from_secs(if in_full { 30 } else { 1 }));
    let after = setting.server.memory();
    let [before, most, after] = [before, most.into_inner(), after].map(|bytes| bytes as f64 / 1e6);
    println!("| {name} | {before:.0} | {most:.0} | {after:.0} | {} |", fate.cells());
}

/// The start of a connection whose streams have this window, and a request on each.
fn over_http2(window: u32, request: impl Fn(u32) -> Vec<u8>) -> Vec<u8> {
    let setting = [&[0, 4][..], &window.to_be_bytes()].concat();
    let start = [&b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"[..], &frame(4, 0, 0, &setting)].concat();
    (0..STREAMS).fold(start, |mut bytes, number| {
        bytes.extend(request(2 * number + 1));
        bytes
    })
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u32).to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

fn head(method: &str, path: &str) -> Vec<u8> {
    [field(":method", method), field(":scheme", "http"), field(":path", path), field(":authority", "x")]
        .concat()
}

/// A header of HPACK without Huffman's code and without a place in the table, shorter than 127 bytes.
fn field(name: &str, value: &str) -> Vec<u8> {
    [&[0, name.len() as u8], name.as_bytes(), &[value.len() as u8], value.as_bytes()].concat()
}
