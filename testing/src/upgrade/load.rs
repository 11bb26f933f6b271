//! Clients of all kinds at one server, and what it counts itself.

use std::{
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    sync::Arc,
    thread,
    time::Duration,
};

use crate::tls_client::trusting;
use http::Version;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    task::JoinHandle,
};
use tokio_util::sync::CancellationToken;

use super::{
    clients::Client,
    server::{Place, Server},
};

/// What clients there are, each with a count of its own.
pub const KINDS: [&str; 7] = ["udp", "tcp", "tcp kept", "dot", "dot kept", "http/1.1", "http/2"];

/// Clients over UDP. Each has a port of its own, so that every socket of the server has some.
const UDP_CLIENTS: usize = 8;

/// An upstream that takes its time, as long as the last digit of the name's first label says.
pub fn upstream() -> SocketAddr {
    let socket = Arc::new(UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    let address = socket.local_addr().unwrap();
    thread::spawn(move || {
        let mut message = [0; 4096];
        while let Ok((size, peer)) = socket.recv_from(&mut message) {
            let (mut reply, socket) = (message[..size].to_vec(), socket.clone());
            (reply[2], reply[3]) = (0x81, 0x80);
            thread::spawn(move || {
                thread::sleep(Duration::from_millis(30 * u64::from(reply[1] % 8)));
                let _ = socket.send_to(&reply, peer);
            });
        }
    });
    address
}

pub fn configuration() -> String {
    format!(
        "listen = '127.0.0.1:0'\nfallback_dns = '{}'\nlocal.records = ['*.load.lan A 192.0.2.1']\n\
         [dht]\nenabled = false\n[rate_limit]\nrequests_per_minute = 0\n\
         [doh]\nenabled = true\nlisten = '127.0.0.1:0'\n[dot]\nenabled = true\nlisten = '127.0.0.1:0'\n\
         [certificate]\nnames = ['localhost']\nself_signed = true\n[metrics]\nlisten = '127.0.0.1:0'\n",
        upstream()
    )
}

/// Replies that a server has counted, by its page of metrics.
pub async fn replies(metrics: SocketAddr) -> (u64, u64) {
    let mut stream = TcpStream::connect(metrics).await.unwrap();
    let request = format!("GET /metrics HTTP/1.1\r\nHost: {metrics}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut page = String::new();
    stream.read_to_string(&mut page).await.unwrap();
    let sum = |name: &str| {
        let values = page.lines().filter(|line| line.starts_with(name));
        values.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    };
    (sum("pkdns_queries_total{"), sum("pkdns_queries_unanswered_total{"))
}

/// Clients that ask until they are stopped.
pub struct Load {
    pub clients: [Client; KINDS.len()],
    stop: CancellationToken,
    running: Vec<JoinHandle<()>>,
}

impl Load {
    /// So many clients of each kind, as `client` makes them, and more over UDP: with so many questions at once if `at_once`
    /// says so. Must be called within a runtime.
    pub fn start(
        place: &Place,
        server: &Server,
        copies: usize,
        client: impl Fn(Client) -> Client,
        at_once: Option<u16>,
    ) -> Self {
        let address = |kind| server.log.address(kind);
        let (udp, tcp, dot, https) = (address("udp"), address("tcp"), address("tls"), address("https"));
        let authority = std::fs::read_to_string(place.path().join("certificates/ca.pem")).unwrap();
        let [tls, h1, h2] =
            ["dot", "http/1.1", "h2"].map(|protocol| Arc::new(trusting(&authority, &[protocol])));
        let stop = CancellationToken::new();
        let clients = KINDS.map(|_| client(Client::new(&stop)));
        let mut running = Vec::new();
        for _ in 0..UDP_CLIENTS {
            let client = clients[0].clone();
            running.push(match at_once {
                None => tokio::spawn(client.over_udp(udp)),
                Some(at_once) => tokio::spawn(client.over_udp_at_once(udp, at_once)),
            });
        }
        for _ in 0..copies {
            let [_, short, long, short_tls, long_tls, http1, http2] = clients.clone();
            running.extend([
                tokio::spawn(short.over_short_connections(tcp, None)),
                tokio::spawn(long.over_long_connections(tcp, None)),
                tokio::spawn(short_tls.over_short_connections(dot, Some(tls.clone()))),
                tokio::spawn(long_tls.over_long_connections(dot, Some(tls.clone()))),
                tokio::spawn(http1.over_https(https, h1.clone(), Version::HTTP_11)),
                tokio::spawn(http2.over_https(https, h2.clone(), Version::HTTP_2)),
            ]);
        }
        Self { clients, stop, running }
    }

    /// Answers so far, by kind.
    pub fn answers(&self) -> [u64; KINDS.len()] {
        self.clients.each_ref().map(|client| client.tally.answers())
    }

    /// Whether a client has found something wrong.
    pub fn has_failed(&self) -> bool {
        self.running.iter().any(JoinHandle::is_finished)
    }

    /// Returns when all that was asked is answered, or says what a client has found wrong.
    pub async fn stop(self) -> Result<[Client; KINDS.len()], String> {
        self.stop.cancel();
        for client in self.running {
            client.await.map_err(|error| error.to_string())?;
        }
        Ok(self.clients)
    }
}

/// Queries that the first process says it has answered, once it has ended.
pub fn answered_before(server: &Server) -> u64 {
    let line = server.log.wait_for("queries were answered before");
    line.split(" queries").next().unwrap().rsplit(' ').next().unwrap().parse().unwrap()
}
