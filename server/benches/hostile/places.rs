//! Clients that are not served ask again and again on all connections that they can open. A client that is served
//! asks once in a while, on a new connection each time.

use std::{
    io,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    process::Command,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use hickory_proto::{op::ResponseCode, rr::RecordType};
use pkdns_testing::tls_client::trusting_anyone;
use socket2::{Domain, Socket, Type};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt},
    net::{TcpSocket, TcpStream},
    runtime::Runtime,
    time::{sleep, timeout},
};
use tokio_rustls::{
    TlsConnector,
    rustls::{ClientConfig, DEFAULT_VERSIONS, pki_types::ServerName},
};

use crate::{
    questions::{Outcome, query},
    setting::{Fate, OTHER_CLIENT, Setting},
};

/// Between two questions on a connection: less than a silent one may last where places are scarce.
const PAUSE: Duration = Duration::from_millis(1500);

/// As long as dig waits.
const PATIENCE: Duration = Duration::from_secs(5);

const HOSTS: u8 = 20;

/// The network that owns 65,536 others.
const NETWORK: &str = "2001:db8:48::/48";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Over {
    Tcp,
    Tls,
    Http,
    Https,
}

/// What clients that are not served have achieved.
#[derive(Debug, Default)]
struct Strangers {
    connections: AtomicU64,
    replies: AtomicU64,
}

trait Stream: AsyncRead + AsyncWrite + Unpin + Send {}
impl<S: AsyncRead + AsyncWrite + Unpin + Send> Stream for S {}

async fn connect(server: SocketAddr, from: IpAddr) -> io::Result<TcpStream> {
    let socket = Socket::new(if from.is_ipv4() { Domain::IPV4 } else { Domain::IPV6 }, Type::STREAM, None)?;
    if from.is_ipv6() {
        // Addresses of the /48 are ours by a route, and of no interface.
        socket.set_freebind_v6(true)?;
    }
    socket.bind(&SocketAddr::from((from, 0)).into())?;
    socket.set_nonblocking(true)?;
    timeout(PATIENCE, TcpSocket::from_std_stream(socket.into()).connect(server)).await?
}

async fn open(
    server: SocketAddr,
    from: IpAddr,
    over: Over,
    tls: &Arc<ClientConfig>,
) -> io::Result<Box<dyn Stream>> {
    let stream = connect(server, from).await?;
    if matches!(over, Over::Tcp | Over::Http) {
        return Ok(Box::new(stream));
    }
    let name = ServerName::try_from("localhost").map_err(io::Error::other)?;
    Ok(Box::new(timeout(PATIENCE, TlsConnector::from(tls.clone()).connect(name, stream)).await??))
}

/// The code of the reply to one question.
async fn ask(stream: &mut dyn Stream, over: Over, name: &str) -> io::Result<ResponseCode> {
    let question = query(7, name, RecordType::A);
    let length = (question.len() as u16).to_be_bytes();
    let exchange = async {
        if matches!(over, Over::Tcp | Over::Tls) {
            stream.write_all(&[&length[..], &question].concat()).await?;
            let mut reply = vec![0; stream.read_u16().await?.into()];
            stream.read_exact(&mut reply).await?;
            return Ok(ResponseCode::from(0, reply[3] & 0x0f));
        }
        let head = format!(
            "POST /dns-query HTTP/1.1\r\nHost: x\r\nContent-Type: application/dns-message\r\nContent-Length: {}\r\n\r\n",
            question.len()
        );
        stream.write_all(&[head.as_bytes(), &question].concat()).await?;
        let mut reply = Vec::new();
        let start = loop {
            reply.push(stream.read_u8().await?);
            if reply.ends_with(b"\r\n\r\n") {
                break String::from_utf8_lossy(&reply).to_lowercase();
            }
        };
        let size =
            start.split("content-length: ").nth(1).and_then(|rest| rest.split('\r').next()?.parse().ok());
        let mut body = vec![0; size.unwrap_or(0)];
        stream.read_exact(&mut body).await?;
        let code = body.get(3).filter(|_| start.starts_with("http/1.1 200 "));
        Ok(code.map_or(ResponseCode::ServFail, |code| ResponseCode::from(0, code & 0x0f)))
    };
    timeout(PATIENCE, exchange).await?
}

/// Asks on a connection for as long as it lasts, and then on the next.
async fn ask_again_and_again(
    server: SocketAddr,
    from: IpAddr,
    over: Over,
    tls: Arc<ClientConfig>,
    end: Instant,
    seen: Arc<Strangers>,
) {
    while Instant::now() < end {
        if let Ok(mut stream) = open(server, from, over, &tls).await {
            seen.connections.fetch_add(1, Ordering::Relaxed);
            while Instant::now() < end && ask(&mut *stream, over, "denied.ok.example").await.is_ok() {
                seen.replies.fetch_add(1, Ordering::Relaxed);
                sleep(PAUSE).await;
            }
        }
        sleep(PAUSE).await;
    }
}

/// A /48 whose addresses are all ours, until this is dropped.
struct OwnNetwork;

impl OwnNetwork {
    /// `None` where that takes rights that this process lacks.
    fn new() -> Option<Self> {
        Self::route("add").then_some(Self)
    }

    fn route(verb: &str) -> bool {
        let arguments = ["-6", "route", verb, "local", NETWORK, "dev", "lo"];
        Command::new("ip").args(arguments).output().is_ok_and(|output| output.status.success())
    }
}

impl Drop for OwnNetwork {
    fn drop(&mut self) {
        Self::route("del");
    }
}

/// How `OTHER_CLIENT` fares, over each transport in turn.
pub(crate) async fn fares(
    servers: [(Over, SocketAddr); 4],
    tls: &Arc<ClientConfig>,
    end: Instant,
) -> [Fate; 4] {
    let mut fates: [Fate; 4] = Default::default();
    let mut number = 0;
    while Instant::now() < end {
        for ((over, server), fate) in servers.into_iter().zip(&mut fates) {
            number += 1;
            let start = Instant::now();
            let exchange = async {
                let mut stream = open(server, OTHER_CLIENT.into(), over, tls).await?;
                ask(&mut *stream, over, &format!("a{}.ok.example", number % 100)).await
            };
            let outcome = match exchange.await {
                Ok(ResponseCode::NoError) => Outcome::Answer,
                Ok(code) => Outcome::Failure(code),
                Err(_) => Outcome::Silence,
            };
            fate.add(outcome, start.elapsed());
            sleep(Duration::from_millis(20)).await;
        }
    }
    fates
}

/// Strangers who ask on all connections that they get, and phones behind one address.
pub(crate) fn places(in_full: bool) {
    let (time, per_host) = if in_full { (Duration::from_secs(20), 100) } else { (Duration::from_secs(2), 5) };
    let more = format!("[access]\nallow = '{OTHER_CLIENT}'");
    let setting = Setting::start(Duration::from_millis(1), &more);
    let at = |protocol: &str| SocketAddr::from((Ipv4Addr::LOCALHOST, setting.server.port(protocol)));
    let servers = [
        (Over::Tcp, setting.server.address()),
        (Over::Tls, at("tls")),
        (Over::Http, at("http")),
        (Over::Https, at("https")),
    ];
    let tls = Arc::new(trusting_anyone(DEFAULT_VERSIONS, &[]));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let network = OwnNetwork::new();
    println!("\nStrangers, ms\n\n| | answered | p50 | p99 | failed |\n|---|---|---|---|---|");
    let show = |what: &str, fates: &[Fate; 4]| {
        for ((over, _), fate) in servers.iter().zip(fates) {
            println!("| {what}, {over:?} | {} |", fate.cells());
        }
    };
    let fates = runtime.block_on(fares(servers, &tls, Instant::now() + time / 10));
    show("no strangers", &fates);

    let (end, before) = (Instant::now() + time, setting.server.cpu_time());
    let (hosts, of_network): (Arc<Strangers>, Arc<Strangers>) = Default::default();
    let flood = |runtime: &Runtime, server, from, over, count, seen: &Arc<Strangers>| {
        for _ in 0..count {
            runtime.spawn(ask_again_and_again(server, from, over, tls.clone(), end, seen.clone()));
        }
    };
    for host in 1..=HOSTS {
        let from = Ipv4Addr::new(127, 0, 1, host).into();
        for (over, server) in servers {
            flood(
                &runtime,
                server,
                from,
                over,
                if over == Over::Tcp { per_host } else { per_host / 5 },
                &hosts,
            );
        }
    }
    let over_ipv6 =
        setting.server.log().iter().find_map(|line| line.split("listening tcp [::1]:").nth(1)?.parse().ok());
    if let (Some(port), Some(_)) = (over_ipv6, &network) {
        for subnet in 1..=u16::from(HOSTS) {
            let from = Ipv6Addr::new(0x2001, 0xdb8, 0x48, subnet, 0, 0, 0, 1).into();
            flood(&runtime, (Ipv6Addr::LOCALHOST, port).into(), from, Over::Tcp, per_host, &of_network);
        }
    } else {
        println!("| SKIPPED: the /48, which needs IPv6 and root | | | | |");
    }
    let fates = runtime.block_on(fares(servers, &tls, end));
    show("with strangers", &fates);
    let cpu = (setting.server.cpu_time() - before).total();
    for (who, seen) in [("20 hosts", &hosts), ("a /48", &of_network)] {
        let (connections, replies) =
            (seen.connections.load(Ordering::Relaxed), seen.replies.load(Ordering::Relaxed));
        println!("\n{who}: {connections} connections, {replies} replies");
    }
    println!(
        "\n{:.1} % of a core, {:.1} MB",
        cpu / time.as_secs_f64() * 100.0,
        setting.server.memory() as f64 / 1e6
    );
    drop((network, runtime));

    println!("\nPhones behind one address, ms\n\n| | answered | p50 | p99 | failed |\n|---|---|---|---|---|");
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let setting = Setting::start(Duration::from_millis(1), "");
    let server = SocketAddr::from((Ipv4Addr::LOCALHOST, setting.server.port("tls")));
    let fate = runtime.block_on(async {
        let (mut held, mut fate) = (Vec::new(), Fate::default());
        for phone in 0..101 {
            let start = Instant::now();
            let outcome = match open(server, OTHER_CLIENT.into(), Over::Tls, &tls).await {
                Ok(mut stream) => {
                    let answer = ask(&mut *stream, Over::Tls, &format!("a{phone}.ok.example")).await;
                    held.push(stream);
                    answer.map_or(Outcome::Silence, |_| Outcome::Answer)
                }
                Err(_) => Outcome::Silence,
            };
            fate.add(outcome, start.elapsed());
        }
        fate
    });
    println!("| 101 connections over TLS, all kept open | {} |", fate.cells());
}
