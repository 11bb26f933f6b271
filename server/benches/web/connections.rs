//! Many idle connections, and one connection on which some requests wait.

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::Arc,
    time::{Duration, Instant},
};

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http2::{self, SendRequest};
use hyper_util::rt::{TokioExecutor, TokioIo};
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use pkdns_testing::{
    benchmark::{cores, names::query, on_core, upstream},
    tls_client::trusting_anyone,
};
use tokio::net::TcpSocket;
use tokio_rustls::{
    TlsConnector,
    rustls::{DEFAULT_VERSIONS, pki_types::ServerName},
};

use crate::servers::Server;

/// Lookups that wait for an upstream that says nothing.
const COLD: u32 = 50;

/// Hits while they wait.
const HITS: usize = 1000;

/// Connections of one address: a server closes more of them than it has set for one client.
const PER_ADDRESS: usize = 50;

/// How long answers from the cache take on a connection on which others wait for theirs.
pub(crate) fn blocking(in_full: bool) {
    let (server_core, client_core) = cores();
    let silent = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let server = on_core(server_core, client_core, || Server::pkdns(silent.local_addr().unwrap(), ""));
    let hits = if in_full { HITS } else { 10 };
    let mut times = runtime().block_on(async {
        let mut connection = connect(server.https, Ipv4Addr::LOCALHOST).await;
        for number in 0..COLD {
            let waiting = connection.send_request(request(&query(0, number)));
            tokio::spawn(async move {
                let _ = waiting.await;
            });
        }
        // Let them arrive.
        tokio::time::sleep(Duration::from_millis(50)).await;
        // Reserved names are answered from a table, and then from the cache.
        let localhost =
            [&[0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 9][..], b"localhost", &[0, 0, 1, 0, 1]].concat();
        let mut times = Vec::new();
        for _ in 0..=hits {
            let start = Instant::now();
            ask(&mut connection, &localhost).await;
            times.push(start.elapsed());
        }
        times.split_off(1)
    });
    times.sort_unstable();
    let (middle, last) = (times[times.len() / 2], times[times.len() - 1]);
    println!(
        "\n{hits} hits on an HTTP/2 connection on which {COLD} lookups wait: median {middle:?}, slowest {last:?}"
    );
}

/// What connections cost that have asked once and then say nothing.
pub(crate) fn idle(count: usize) {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).unwrap();
    let (server_core, client_core) = cores();
    let server = on_core(server_core, client_core, || Server::pkdns(upstream::start(), ""));
    let resident = || {
        let status = server.process.proc_file("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").trim().parse::<usize>().unwrap()
    };
    runtime().block_on(async {
        // What the first connections bring along belongs to the server.
        let mut first = connect(server.https, Ipv4Addr::LOCALHOST).await;
        ask(&mut first, &query(0, 0)).await;
        let before = resident();
        let mut open = Vec::with_capacity(count);
        for number in 0..count {
            let address = Ipv4Addr::from_bits(Ipv4Addr::LOCALHOST.to_bits() + 1 + (number / PER_ADDRESS) as u32);
            let mut connection = connect(server.https, address).await;
            ask(&mut connection, &query(0, number as u32 % 1000)).await;
            open.push(connection);
        }
        let after = resident();
        println!(
            "\n{count} idle HTTP/2 connections over TLS: {:.1} kB each ({before} kB before, {after} kB with them)",
            (after - before) as f64 / count as f64
        );
        for connection in &mut open {
            assert!(!connection.is_closed(), "a connection was not kept");
        }
    });
}

fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap()
}

async fn connect(port: u16, from: Ipv4Addr) -> SendRequest<Full<Bytes>> {
    // The certificate is not what is measured.
    let config = trusting_anyone(DEFAULT_VERSIONS, &["h2"]);
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((from, 0).into()).unwrap();
    let tcp = socket.connect(SocketAddr::from((Ipv4Addr::LOCALHOST, port))).await.unwrap();
    tcp.set_nodelay(true).unwrap();
    let name = ServerName::try_from("localhost").unwrap();
    let tls = TlsConnector::from(Arc::new(config)).connect(name, tcp).await.unwrap();
    let (sender, connection) = http2::handshake(TokioExecutor::new(), TokioIo::new(tls)).await.unwrap();
    tokio::spawn(connection);
    sender
}

fn request(question: &[u8]) -> Request<Full<Bytes>> {
    Request::post("https://localhost/dns-query")
        .header("content-type", "application/dns-message")
        .body(Full::new(Bytes::copy_from_slice(question)))
        .unwrap()
}

async fn ask(connection: &mut SendRequest<Full<Bytes>>, question: &[u8]) {
    let response = connection.send_request(request(question)).await.unwrap();
    assert_eq!(response.status(), 200);
    response.into_body().collect().await.unwrap();
}
