//! A server that notes its queries, and those who ask it.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use async_trait::async_trait;
use pkdns::{
    config::Config,
    program::testnet::{SampleUpstream, sample_keypair, sample_packet},
    server::Server,
    service::{Client, Respond, Service, Transport},
};
use pkdns_dht::{
    Evidence, Network, NetworkError,
    signed_packet::{PublicKey, SignedPacket},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    sync::mpsc,
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// Longest that a test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Holds the sample packet, and can be asked about no other key.
struct SampleNetwork;

#[async_trait]
impl Network for SampleNetwork {
    async fn lookup(
        &self,
        key: &PublicKey,
        found: mpsc::UnboundedSender<SignedPacket>,
    ) -> Result<Evidence, NetworkError> {
        let sample = sample_keypair();
        if *key != sample.public_key() {
            return Err(NetworkError::Unreachable);
        }
        let _ = found.send(sample_packet(&sample, 1_700_000_000_000_000).unwrap());
        Ok(Evidence { queried: 20, responded: 20, held: 0 })
    }
}

/// A running server.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) http: SocketAddr,
    metrics: pkdns::metrics::Metrics,
    service: Service,
    stop: CancellationToken,
    running: JoinHandle<()>,
    _upstream: SampleUpstream,
}

impl Running {
    pub(crate) async fn start(change: impl FnOnce(&mut Config)) -> Self {
        let upstream = SampleUpstream::start().await.unwrap();
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let mut config = Config {
            listen: vec![any_port],
            fallback_dns: vec![upstream.address().into()],
            ..Config::default()
        };
        config.doh.plain_listen = vec![any_port];
        change(&mut config);
        let server = Server::bind_to_network(config, Arc::new(SampleNetwork)).unwrap();
        let (address, http) = (server.addresses()[0], server.http_addresses()[0]);
        let (metrics, service) = (server.metrics().clone(), server.service().clone());
        let stop = CancellationToken::new();
        let running = tokio::spawn(server.run(stop.clone()));
        Self { address, http, metrics, service, stop, running, _upstream: upstream }
    }

    /// Asks over UDP; `None` where there is no reply to wait for.
    pub(crate) async fn udp(&self, request: &[u8]) -> Vec<u8> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        socket.send_to(request, self.address).await.unwrap();
        let mut reply = vec![0; 2048];
        let size = timeout(PATIENCE, socket.recv(&mut reply)).await.unwrap().unwrap();
        reply.truncate(size);
        reply
    }

    /// Asks over TCP.
    pub(crate) async fn tcp(&self, request: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_u16(request.len() as u16).await.unwrap();
        stream.write_all(request).await.unwrap();
        let size = timeout(PATIENCE, stream.read_u16()).await.unwrap().unwrap();
        let mut reply = vec![0; size.into()];
        stream.read_exact(&mut reply).await.unwrap();
        reply
    }

    /// Asks over HTTP. Returns the status line.
    pub(crate) async fn http(&self, request: &[u8]) -> String {
        let mut stream = TcpStream::connect(self.http).await.unwrap();
        let head = format!(
            "POST /dns-query HTTP/1.1\r\nHost: {}\r\nContent-Type: application/dns-message\r\nContent-Length: {}\r\n\
             Connection: close\r\n\r\n",
            self.http,
            request.len()
        );
        stream.write_all(&[head.as_bytes(), request].concat()).await.unwrap();
        let mut reply = Vec::new();
        timeout(PATIENCE, stream.read_to_end(&mut reply)).await.unwrap().unwrap();
        String::from_utf8_lossy(&reply).lines().next().unwrap().to_owned()
    }

    /// Asks as if over TLS.
    pub(crate) fn tls(&self, request: &[u8]) {
        let reply = pkdns::message::Reply::Stream { idle_timeout: None, is_encrypted: true };
        let address = "fd00:1:2:3:4:5:6:7".parse().unwrap();
        let client = Client { address, transport: Transport::Tls, reply, now: tokio::time::Instant::now() };
        self.service.at_once(request, client, &mut Vec::new());
    }

    /// Records of queries that were left out.
    pub(crate) fn dropped(&self) -> u64 {
        let dropped = &self.metrics.logs.dropped;
        dropped.query_log.get() + dropped.dnstap.get()
    }

    /// Stops it, and waits until it has.
    pub(crate) async fn stop(self) {
        self.stop.cancel();
        timeout(PATIENCE, self.running).await.unwrap().unwrap();
    }
}

/// A question for the address of a name.
pub(crate) fn query(name: &str) -> Vec<u8> {
    let mut bytes = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.') {
        bytes.push(label.len() as u8);
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.extend_from_slice(&[0, 0, 1, 0, 1]);
    bytes
}

/// As [`query`], with EDNS.
pub(crate) fn query_with_edns(name: &str) -> Vec<u8> {
    let mut bytes = query(name);
    bytes[11] = 1;
    bytes.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 0]);
    bytes
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < PATIENCE, "{what}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// The lines of a file, once there are so many.
pub(crate) async fn lines(path: &Path, count: usize) -> Vec<String> {
    let read = || fs::read_to_string(path).unwrap_or_default();
    until("lines", || read().lines().count() >= count && read().ends_with('\n')).await;
    read().lines().map(String::from).collect()
}
