//! A server that is looked at, and an upstream that can be switched off.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use pkdns::{
    config::Config,
    edge::status::{Status, ask},
    program::testnet::{sample_keypair, sample_packet},
    server::{Server, StartError},
};
use pkdns_dht::{
    Evidence, Network, NetworkError,
    signed_packet::{PublicKey, SignedPacket},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    sync::mpsc,
    task::JoinHandle,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

/// Longest that a test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// Holds the sample packet.
struct SampleNetwork;

#[async_trait]
impl Network for SampleNetwork {
    async fn lookup(
        &self,
        key: &PublicKey,
        found: mpsc::UnboundedSender<SignedPacket>,
    ) -> Result<Evidence, NetworkError> {
        let sample = sample_keypair();
        if *key == sample.public_key() {
            let _ = found.send(sample_packet(&sample, 1_700_000_000_000_000).unwrap());
        }
        Ok(Evidence { queried: 20, responded: 20, held: 0 })
    }
}

/// An upstream that says of every name that it does not exist, while it is switched on.
pub(crate) struct Upstream {
    pub(crate) address: SocketAddr,
    is_on: Arc<AtomicBool>,
}

impl Upstream {
    pub(crate) async fn start(is_on: bool) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = socket.local_addr().unwrap();
        let switch = Arc::new(AtomicBool::new(is_on));
        let is_on = switch.clone();
        tokio::spawn(async move {
            let mut buffer = [0; 4096];
            while let Ok((size, peer)) = socket.recv_from(&mut buffer).await {
                if is_on.load(Ordering::SeqCst) && size >= 12 {
                    // A response with RA and NXDOMAIN, with the question and no more.
                    let end = 12 + buffer[12..size].iter().position(|byte| *byte == 0).unwrap() + 5;
                    buffer[2] |= 0x80;
                    buffer[3] = 0x83;
                    buffer[6..12].fill(0);
                    let _ = socket.send_to(&buffer[..end], peer).await;
                }
            }
        });
        Self { address, is_on: switch }
    }

    pub(crate) fn switch_on(&self) {
        self.is_on.store(true, Ordering::SeqCst);
    }
}

/// A server that runs until it is dropped.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) tls: Option<SocketAddr>,
    pub(crate) http: SocketAddr,
    pub(crate) metrics: SocketAddr,
    pub(crate) socket: PathBuf,
    pub(crate) stop: CancellationToken,
    pub(crate) running: Option<JoinHandle<()>>,
    _directory: TempDir,
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

impl Running {
    /// With packets from a network that holds one.
    pub(crate) async fn start(upstreams: &[&Upstream], change: impl FnOnce(&mut Config)) -> Self {
        Self::bind(upstreams, change, |config| Server::bind_to_network(config, Arc::new(SampleNetwork)))
    }

    /// With a client of the DHT that is reached through `bootstrap`.
    pub(crate) async fn start_in_dht(upstreams: &[&Upstream], bootstrap: Vec<String>) -> Self {
        Self::bind(upstreams, |config| config.dht.bootstrap = bootstrap, Server::bind)
    }

    fn bind(
        upstreams: &[&Upstream],
        change: impl FnOnce(&mut Config),
        bind: impl FnOnce(Config) -> Result<Server, StartError>,
    ) -> Self {
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("status.sock");
        let mut config = Config {
            listen: vec![any_port],
            fallback_dns: upstreams.iter().map(|upstream| upstream.address.into()).collect(),
            ..Config::default()
        };
        config.metrics.listen = vec![any_port];
        config.doh.plain_listen = vec![any_port];
        config.status.path = Some(socket.clone());
        config.certificate.path = Some(directory.path().join("certificates"));
        config.cache.path = Some(directory.path().join("packets"));
        change(&mut config);
        let server = bind(config).unwrap();
        let stop = CancellationToken::new();
        Self {
            address: server.addresses()[0],
            tls: server.tls_addresses().first().copied(),
            http: server.http_addresses()[0],
            metrics: server.metrics_addresses()[0],
            socket,
            running: Some(tokio::spawn(server.run(stop.clone()))),
            stop,
            _directory: directory,
        }
    }

    /// Status and body.
    pub(crate) async fn get(&self, address: SocketAddr, path: &str) -> (u16, String) {
        self.get_as(address, path, "pkdns", "*/*").await
    }

    pub(crate) async fn get_as(
        &self,
        address: SocketAddr,
        path: &str,
        host: &str,
        accept: &str,
    ) -> (u16, String) {
        let mut stream = TcpStream::connect(address).await.unwrap();
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {host}\r\nAccept: {accept}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut reply = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut reply)).await.unwrap().unwrap();
        let (head, body) = reply.split_once("\r\n\r\n").unwrap();
        (head.split(' ').nth(1).unwrap().parse().unwrap(), body.to_owned())
    }

    /// Waits until a page says what it should.
    pub(crate) async fn wait_for(&self, address: SocketAddr, path: &str, expected: &str) {
        let mut last = String::new();
        let reached = async {
            loop {
                last = self.get(address, path).await.1;
                if last.contains(expected) {
                    return;
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        let is_reached = timeout(PATIENCE, reached).await.is_ok();
        assert!(is_reached, "{expected} does not come; it is\n{last}");
    }

    pub(crate) async fn wait_until_ready(&self, address: SocketAddr, path: &str) {
        let ready = async {
            while self.get(address, path).await.0 != 200 {
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, ready).await.expect("it does not become ready");
    }

    /// What `pkdns status` gets to see.
    pub(crate) async fn status(&self) -> Status {
        let asking = async {
            loop {
                let socket = self.socket.clone();
                if let Ok((_, status)) = tokio::task::spawn_blocking(move || ask(&socket)).await.unwrap() {
                    return status;
                }
                sleep(Duration::from_millis(20)).await;
            }
        };
        timeout(PATIENCE, asking).await.unwrap()
    }

    /// Asks for the address of a name over UDP. Returns the code of the answer.
    pub(crate) async fn ask(&self, name: &str) -> u8 {
        let mut query = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
        for label in name.split('.') {
            query.push(label.len() as u8);
            query.extend_from_slice(label.as_bytes());
        }
        query.extend_from_slice(&[0, 0, 1, 0, 1]);
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        socket.connect(self.address).await.unwrap();
        socket.send(&query).await.unwrap();
        let mut reply = [0; 2048];
        timeout(PATIENCE, socket.recv(&mut reply)).await.unwrap().unwrap();
        reply[3] & 0x0f
    }
}

/// One that has all that can be told of: encryption, a disk, a Redis (which is not there) and an upstream.
pub(crate) async fn with_everything() -> Running {
    let upstream = Upstream::start(true).await;
    Running::start(&[&upstream], |config| {
        config.dot.enabled = true;
        config.dot.listen = vec![(Ipv4Addr::LOCALHOST, 0).into()];
        config.certificate.self_signed = true;
        config.certificate.names = vec!["dns.example".into()];
        config.cache.redis = Some("redis://127.0.0.1:9".parse().unwrap());
    })
    .await
}
