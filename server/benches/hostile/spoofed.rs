//! Datagrams with the forged address of a client, while the client itself asks over every transport.

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::Arc,
    thread::{self, sleep},
    time::{Duration, Instant},
};

use hickory_proto::{op::ResponseCode, rr::RecordType};
use pkdns::message::read_cookie;
use pkdns_testing::tls_client::trusting_anyone;
use tokio_rustls::rustls::DEFAULT_VERSIONS;

use crate::{
    places::{Over, fares},
    questions::{Outcome, query},
    setting::{Fate, OTHER_CLIENT, Setting},
};

/// In a second: 25 Mbit/s.
const FORGED: u32 = 50_000;

/// Sent together, so that the pauses between them can be slept.
const BATCH: u32 = 50;

/// As long as dig waits.
const PATIENCE: Duration = Duration::from_secs(5);

/// How long a reply over plain UDP is waited for.
const GRACE: Duration = Duration::from_millis(50);

/// Sends that many in a second, or what the core can; returns how many there were.
fn forge(server: SocketAddr, end: Instant) -> u64 {
    let socket = UdpSocket::bind((OTHER_CLIENT, 0)).unwrap();
    socket.connect(server).unwrap();
    let forged = query(9, "a0.ok.example", RecordType::A);
    let (start, mut sent) = (Instant::now(), 0);
    while Instant::now() < end {
        for _ in 0..BATCH {
            // An ICMP error of one before is of no interest.
            sent += u64::from(socket.send(&forged).is_ok());
        }
        let due = start + Duration::from_secs_f64(sent as f64 / f64::from(FORGED));
        sleep(due.saturating_duration_since(Instant::now()));
    }
    sent
}

/// A query with this cookie instead of an empty OPT record.
fn with_cookie(id: u16, name: &str, cookie: &[u8]) -> Vec<u8> {
    let mut bytes = query(id, name, RecordType::A);
    let length = bytes.len() - 2;
    bytes[length..].copy_from_slice(&(cookie.len() as u16 + 4).to_be_bytes());
    bytes.extend_from_slice(&[0, 10, 0, cookie.len() as u8]);
    bytes.extend_from_slice(cookie);
    bytes
}

/// The client's first cookie of this server. Over quota some tries are needed; they are no part of how it fares, as a
/// client has learned it long before.
fn learn(socket: &UdpSocket) -> Vec<u8> {
    let mut buffer = [0; 4096];
    socket.set_read_timeout(Some(GRACE)).unwrap();
    let mut learn = || {
        socket.send(&with_cookie(8, "a0.ok.example", &[7; 8])).unwrap();
        let size = socket.recv(&mut buffer).ok()?;
        let given = read_cookie(&buffer[..size])?;
        Some([&given.client()[..], given.server()].concat())
    };
    (0..1000).find_map(|_| learn()).expect("a cookie")
}

/// How the client fares over UDP, with cookies if it knows of them. Each question is asked once.
fn fares_over_udp(server: SocketAddr, has_cookies: bool, end: Instant) -> Fate {
    let socket = UdpSocket::bind((OTHER_CLIENT, 0)).unwrap();
    socket.connect(server).unwrap();
    let mut cookie = if has_cookies { learn(&socket) } else { Vec::new() };
    socket.set_read_timeout(Some(if has_cookies { PATIENCE } else { GRACE })).unwrap();
    let mut fate = Fate::default();
    let mut buffer = [0; 4096];
    for number in 0.. {
        let asked = Instant::now();
        if asked >= end {
            break;
        }
        let (id, name) = (number as u16, format!("a{}.ok.example", number % 100));
        let question =
            if has_cookies { with_cookie(id, &name, &cookie) } else { query(id, &name, RecordType::A) };
        socket.send(&question).unwrap();
        let outcome = match socket.recv(&mut buffer) {
            Ok(size) if buffer[..2] == id.to_be_bytes() => {
                if let Some(given) = read_cookie(&buffer[..size]) {
                    cookie = [&given.client()[..], given.server()].concat();
                }
                match (buffer[2] & 0x02 != 0, ResponseCode::from(0, buffer[3] & 0x0f)) {
                    (false, ResponseCode::NoError) => Outcome::Answer,
                    (true, _) => Outcome::Truncated,
                    (false, code) => Outcome::Failure(code),
                }
            }
            _ => Outcome::Silence,
        };
        fate.add(outcome, asked.elapsed());
        sleep(Duration::from_millis(20));
    }
    fate
}

/// What a client is left with whose address others use.
pub(crate) fn spoofed(in_full: bool) {
    let time = Duration::from_secs(if in_full { 20 } else { 1 });
    let setting = Setting::start(Duration::from_millis(1), "");
    let at = |protocol: &str| SocketAddr::from((Ipv4Addr::LOCALHOST, setting.server.port(protocol)));
    let udp = setting.server.address();
    let servers =
        [(Over::Tcp, udp), (Over::Tls, at("tls")), (Over::Http, at("http")), (Over::Https, at("https"))];
    let tls = Arc::new(trusting_anyone(DEFAULT_VERSIONS, &[]));
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    println!("\nForged datagrams, ms\n\n| | answered | p50 | p99 | failed |\n|---|---|---|---|---|");
    let round = |what: &str, end: Instant| {
        let [with, without] =
            [true, false].map(|has_cookies| thread::spawn(move || fares_over_udp(udp, has_cookies, end)));
        let fates = runtime.block_on(fares(servers, &tls, end));
        for ((over, _), fate) in servers.iter().zip(&fates) {
            println!("| {what}, {over:?} | {} |", fate.cells());
        }
        println!("| {what}, Udp with a cookie | {} |", with.join().unwrap().cells());
        println!("| {what}, Udp without a cookie | {} |", without.join().unwrap().cells());
    };
    round("no forgeries", Instant::now() + time / 10);

    let (end, before) = (Instant::now() + time, setting.server.cpu_time());
    // A second earlier than the client, so that the burst is spent.
    let flood = thread::spawn(move || forge(udp, end));
    sleep(time / 10);
    round("with forgeries", end);
    let sent = flood.join().unwrap();
    let cpu = (setting.server.cpu_time() - before).total();
    println!(
        "\n{:.0} forged datagrams a second, {:.1} % of a core, {:.1} MB",
        sent as f64 / time.as_secs_f64(),
        cpu / time.as_secs_f64() * 100.0,
        setting.server.memory() as f64 / 1e6
    );
}
