//! Origins through the whole server: who is answered what, what floods of strangers cost, and how new it is.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail where it stands")]

mod budget;
mod clients;
mod compliance;
mod fresh;
mod messages;
mod reflection;
mod views;
mod world;

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use hickory_proto::{
    op::Message,
    rr::{RData, RecordType},
};
use pkdns::{
    config::{Config, Origin},
    message::Reply,
    metrics::Metrics,
    server::{ReloadHandle, Server},
    service::{AtOnce, Client, Respond, Service, Transport},
};
use pkdns_dht::{Network, signed_packet::Keypair};
use pkdns_testing::common::{HeldNetwork, Upstream, query};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpSocket, TcpStream, UdpSocket},
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

/// The origin of these tests.
pub(crate) const ORIGIN: &str = "pk.example.net";

/// Whom `[access]` serves here, and somebody else.
pub(crate) const OWN: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);
pub(crate) const STRANGER: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 9);

/// Longest wait for a reply that must come.
const PATIENCE: Duration = Duration::from_secs(8);

/// A server with an origin, which runs until this is dropped.
pub(crate) struct Served {
    pub(crate) address: SocketAddr,
    pub(crate) http: Option<SocketAddr>,
    pub(crate) network: Arc<HeldNetwork>,
    pub(crate) upstream: Upstream,
    pub(crate) metrics: Metrics,
    pub(crate) reloads: ReloadHandle,
    pub(crate) config: Config,
    stop: CancellationToken,
}

impl Served {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| ()).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let (network, upstream) = (Arc::new(HeldNetwork::default()), Upstream::plain().await);
        let mut config = config();
        config.fallback_dns = vec![upstream.address.into()];
        change(&mut config);
        let server = Server::bind_to_network(config.clone(), network.clone()).unwrap();
        let (address, http) = (server.addresses()[0], server.http_addresses().first().copied());
        let (metrics, reloads) = (server.metrics().clone(), server.reload_handle());
        let stop = CancellationToken::new();
        tokio::spawn(server.run(stop.clone()));
        Self { address, http, network, upstream, metrics, reloads, config, stop }
    }

    /// Asks over UDP from an address of this machine.
    pub(crate) async fn ask(&self, from: Ipv4Addr, request: &[u8]) -> Message {
        Message::from_vec(&self.send(from, request).await).unwrap()
    }

    pub(crate) async fn send(&self, from: Ipv4Addr, request: &[u8]) -> Vec<u8> {
        let socket = UdpSocket::bind((from, 0)).await.unwrap();
        socket.connect(self.address).await.unwrap();
        socket.send(request).await.unwrap();
        let mut reply = vec![0; 4096];
        let size = timeout(PATIENCE, socket.recv(&mut reply)).await.expect("no reply").unwrap();
        reply.truncate(size);
        reply
    }

    pub(crate) async fn connect(&self, from: Ipv4Addr) -> TcpStream {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((from, 0).into()).unwrap();
        socket.connect(self.address).await.unwrap()
    }

    pub(crate) async fn ask_tcp(&self, from: Ipv4Addr, request: &[u8]) -> Message {
        ask_on(&mut self.connect(from).await, request).await
    }

    /// Has the server go by another configuration.
    pub(crate) async fn reload(&self, change: impl FnOnce(&mut Config)) {
        let mut config = self.config.clone();
        change(&mut config);
        self.reloads.reload(Ok(config)).await.unwrap();
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub(crate) async fn ask_on(stream: &mut TcpStream, request: &[u8]) -> Message {
    stream.write_u16(request.len() as u16).await.unwrap();
    stream.write_all(request).await.unwrap();
    let mut reply = vec![0; timeout(PATIENCE, stream.read_u16()).await.unwrap().unwrap().into()];
    stream.read_exact(&mut reply).await.unwrap();
    Message::from_vec(&reply).unwrap()
}

/// With [`ORIGIN`], for [`OWN`] and everybody.
pub(crate) fn config() -> Config {
    let mut config = Config {
        listen: vec![(IpAddr::from(Ipv4Addr::LOCALHOST), 0).into()],
        fallback_dns: vec!["127.0.0.1:9".parse().unwrap()],
        origin: vec![origin(ORIGIN)],
        ..Config::default()
    };
    config.access.allow = vec![IpAddr::from(OWN).into()];
    config
}

pub(crate) fn origin(name: &str) -> Origin {
    Origin {
        name: name.into(),
        name_servers: vec!["ns1.example.org".into()],
        allow_private: true,
        ..Origin::default()
    }
}

/// The name of a key in [`ORIGIN`], with labels before it.
pub(crate) fn name_in_origin(labels: &str, keypair: &Keypair) -> String {
    format!("{labels}{}.{ORIGIN}", keypair.to_z32())
}

/// As name servers are asked: without RD.
pub(crate) fn iterative(name: &str, record_type: RecordType) -> Vec<u8> {
    let mut request = query(name, record_type);
    request[2] = 0;
    request
}

/// The service of a server that is bound and not run, so that it takes no time but that of the network.
pub(crate) fn service(network: Arc<dyn Network>) -> Service {
    Server::bind_to_network(config(), network).unwrap().service().clone()
}

/// Asks a service without sockets.
pub(crate) async fn ask_service(service: &Service, from: Ipv4Addr, request: &[u8]) -> Message {
    let now = Instant::now();
    let client = Client { address: from.into(), transport: Transport::Udp, reply: Reply::Datagram, now };
    let mut out = Vec::new();
    if let AtOnce::Later(query) = service.at_once(request, client, &mut out) {
        service.later(&query, client, &mut out).await;
    }
    Message::from_vec(&out).unwrap()
}

/// The last octets of the addresses in an answer.
pub(crate) fn octets(message: &Message) -> Vec<u8> {
    let octet = |data: &RData| match data {
        RData::A(address) => Some(address.octets()[3]),
        _ => None,
    };
    message.answers.iter().filter_map(|record| octet(&record.data)).collect()
}

/// INFO-CODE of the extended error in a reply.
pub(crate) fn extended_error(message: &Message) -> Option<u16> {
    let edns = message.edns.as_ref()?;
    edns.options().as_ref().iter().find_map(|(code, option)| {
        let data = (u16::from(*code) == 15).then(|| Vec::<u8>::try_from(option).unwrap())?;
        Some(u16::from_be_bytes([data[0], data[1]]))
    })
}
