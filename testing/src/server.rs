//! A whole server in this process, with a network and an upstream that the test controls.

use std::{
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use hickory_proto::{
    op::{Message, MessageType, OpCode, Query, ResponseCode},
    rr::{Name, RData, Record, RecordType, rdata::A},
    serialize::binary::{BinEncodable, BinEncoder},
};
use http::{Method, Request, Version};
use pkdns::{
    config::Config,
    message::{Reply, read_message},
    metrics::Metrics,
    program::testnet::{sample_keypair, sample_packet},
    server::{ReloadHandle, Server},
    service::{self, AtOnce, Client, Respond as _, Service},
};
use pkdns_dht::{
    signed_packet::{Keypair, SignedPacket},
    testing::FakeNetwork,
};
use tempfile::TempDir;
use tokio::{
    net::{TcpListener, UdpSocket},
    task::JoinHandle,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    http_client,
    support::client::{self, Question, Transport},
    wait,
};

/// Longest wait for a reply that must not come.
pub const GRACE: Duration = Duration::from_millis(300);

/// Any free port of 127.0.0.1.
pub fn any_port() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 0).into()
}

/// An upstream over UDP that answers with what `respond` makes of a query.
#[derive(Clone)]
pub struct Upstream {
    pub address: SocketAddr,
    pub questions: Arc<Mutex<Vec<String>>>,
    is_silent: Arc<AtomicBool>,
}

type Respond = dyn Fn(&Message, &mut Message) + Send + Sync;

impl Upstream {
    /// `respond` gets the query and the response that is made of it: same id and question, NOERROR.
    pub fn start(respond: impl Fn(&Message, &mut Message) + Send + Sync + 'static) -> Self {
        let socket = std::net::UdpSocket::bind(any_port()).unwrap();
        let upstream = Self::at(socket.local_addr().unwrap());
        socket.set_nonblocking(true).unwrap();
        let socket = UdpSocket::from_std(socket).unwrap();
        let (respond, asked): (Box<Respond>, _) = (Box::new(respond), upstream.clone());
        tokio::spawn(async move {
            let mut buffer = [0; 4096];
            while let Ok((size, peer)) = socket.recv_from(&mut buffer).await {
                if let Some(response) = asked.answer(&buffer[..size], &*respond) {
                    let _ = socket.send_to(&response, peer).await;
                }
            }
        });
        upstream
    }

    /// As [`Upstream::start`], over TCP. Over UDP it says of every answer that it is cut.
    pub async fn start_over_tcp(respond: impl Fn(&Message, &mut Message) + Send + Sync + 'static) -> Self {
        let (listener, socket) = loop {
            let listener = TcpListener::bind(any_port()).await.unwrap();
            // The port may be taken for UDP.
            if let Ok(socket) = UdpSocket::bind(listener.local_addr().unwrap()).await {
                break (listener, socket);
            }
        };
        let upstream = Self::at(listener.local_addr().unwrap());
        let (respond, asked): (Arc<Respond>, _) = (Arc::new(respond), upstream.clone());
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let (respond, asked) = (respond.clone(), asked.clone());
                tokio::spawn(async move {
                    while let Ok(query) = client::read_message(&mut stream).await {
                        let Some(response) = asked.answer(&query, &*respond) else { continue };
                        // Who asked may have left.
                        let _ = client::write_message(&mut stream, &response).await;
                    }
                });
            }
        });
        tokio::spawn(async move {
            let mut message = [0; 4096];
            while let Ok((size, peer)) = socket.recv_from(&mut message).await {
                // QR and TC.
                message[2] |= 0x82;
                let _ = socket.send_to(&message[..size], peer).await;
            }
        });
        upstream
    }

    fn at(address: SocketAddr) -> Self {
        Self { address, questions: Arc::default(), is_silent: Arc::default() }
    }

    fn answer(&self, query: &[u8], respond: &Respond) -> Option<Vec<u8>> {
        let query = Message::from_vec(query).ok()?;
        let question = query.queries[0].clone();
        let name = question.name().to_ascii().to_lowercase();
        // The server's probe for loops is not what a test counts.
        if !name.ends_with("pkdns-loop.") {
            self.questions.lock().unwrap().push(format!("{name} {}", question.query_type()));
        }
        if self.is_silent.load(Ordering::SeqCst) {
            return None;
        }
        let mut response = Message::new(query.metadata.id, MessageType::Response, OpCode::Query);
        response.add_query(question);
        respond(&query, &mut response);
        Some(response.to_vec().unwrap())
    }

    /// Answers every A question with 192.0.2.53.
    pub fn plain() -> Self {
        Self::answering(Ipv4Addr::new(192, 0, 2, 53))
    }

    /// Answers every A question with this address.
    pub fn answering(address: Ipv4Addr) -> Self {
        Self::start(move |query, response| {
            let name = query.queries[0].name().clone();
            if query.queries[0].query_type() == RecordType::A {
                response.add_answer(Record::from_rdata(name, 300, RData::A(A(address))));
            }
        })
    }

    /// Says of every name that it does not exist.
    pub fn denying() -> Self {
        Self::start(|_, response| response.metadata.response_code = ResponseCode::NXDomain)
    }

    /// Whether it says nothing from now on.
    pub fn silence(&self, is_silent: bool) {
        self.is_silent.store(is_silent, Ordering::SeqCst);
    }

    pub fn asked(&self) -> Vec<String> {
        self.questions.lock().unwrap().clone()
    }
}

/// A network that holds the sample zone.
pub fn sample_network() -> FakeNetwork {
    FakeNetwork::holding([sample_packet(&sample_keypair(), 1_700_000_000_000_000).unwrap()])
}

/// A server that runs until this is dropped.
pub struct TestServer {
    /// For DNS over UDP and TCP.
    pub address: SocketAddr,
    pub network: Arc<FakeNetwork>,
    /// Asked for other names, unless the configuration says otherwise.
    pub upstream: Upstream,
    pub metrics: Metrics,
    pub service: Service,
    pub reloads: ReloadHandle,
    /// That with which it was started.
    pub config: Config,
    /// Where it keeps what it keeps.
    pub directory: TempDir,
    /// Where it listens for what, in the words of a reload.
    pub listening: Vec<(&'static str, SocketAddr)>,
    stop: CancellationToken,
    running: Option<JoinHandle<()>>,
}

/// What a [`TestServer`] is to be like.
pub struct Builder {
    config: Config,
    network: Arc<FakeNetwork>,
    in_dht: bool,
    upstream: Option<Upstream>,
    /// Where the server will keep what it keeps.
    pub directory: TempDir,
}

impl Builder {
    /// In place of the default configuration. It listens on a free port unless this says where.
    pub fn config(self, config: Config) -> Self {
        Self { config, ..self }
    }

    pub fn change(mut self, change: impl FnOnce(&mut Config)) -> Self {
        change(&mut self.config);
        self
    }

    pub fn network(self, network: impl Into<Arc<FakeNetwork>>) -> Self {
        Self { network: network.into(), ..self }
    }

    /// With a client of the DHT that is reached through `bootstrap`.
    pub fn in_dht(self, bootstrap: Vec<String>) -> Self {
        Self { in_dht: true, ..self }.change(|config| config.dht.bootstrap = bootstrap)
    }

    pub fn upstream(self, upstream: Upstream) -> Self {
        Self { upstream: Some(upstream), ..self }
    }

    /// With HTTP that is not encrypted.
    pub fn plain_http(self) -> Self {
        self.change(|config| config.doh.plain_listen = vec![any_port()])
    }

    /// With DNS over TLS and over HTTPS.
    pub fn encrypted(self) -> Self {
        self.change(|config| {
            (config.dot.enabled, config.dot.listen) = (true, vec![any_port()]);
            (config.doh.enabled, config.doh.listen) = (true, vec![any_port()]);
        })
    }

    /// With a certificate that it signs itself.
    pub fn self_signed(mut self) -> Self {
        self.config.certificate.self_signed = true;
        self.config.certificate.path = Some(self.directory.path().join("certificates"));
        self
    }

    /// The service alone, of a server that is bound and not run: with paused time it takes no time but that of the network.
    pub fn service(self) -> Service {
        let config = Config { listen: vec![any_port()], ..self.config };
        Server::bind_to_network(config, self.network).unwrap().service().clone()
    }

    pub fn start(self) -> TestServer {
        let Self { mut config, network, in_dht, upstream, directory } = self;
        let upstream = upstream.unwrap_or_else(Upstream::plain);
        let default = Config::default();
        if config.listen == default.listen {
            config.listen = vec![any_port()];
        }
        if config.fallback_dns == default.fallback_dns {
            config.fallback_dns = vec![upstream.address.into()];
        }
        let server = match in_dht {
            true => Server::bind(config.clone()),
            false => Server::bind_to_network(config.clone(), network.clone()),
        };
        let server = server.unwrap();
        let stop = CancellationToken::new();
        TestServer {
            address: server.addresses()[0],
            network,
            upstream,
            metrics: server.metrics().clone(),
            service: server.service().clone(),
            reloads: server.reload_handle(),
            config,
            directory,
            listening: listening(&server),
            running: Some(tokio::spawn(server.run(stop.clone()))),
            stop,
        }
    }
}

impl TestServer {
    pub fn builder() -> Builder {
        Builder {
            config: Config::default(),
            network: Arc::default(),
            in_dht: false,
            upstream: None,
            directory: tempfile::tempdir().unwrap(),
        }
    }

    pub fn start() -> Self {
        Self::builder().start()
    }

    pub fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        Self::builder().change(change).start()
    }

    pub fn start_behind(upstream: Upstream) -> Self {
        Self::builder().upstream(upstream).start()
    }

    /// For DNS over TLS.
    pub fn tls(&self) -> SocketAddr {
        self.listening_for("tls")
    }

    pub fn https(&self) -> SocketAddr {
        self.listening_for("https")
    }

    /// For HTTP that is not encrypted.
    pub fn http(&self) -> SocketAddr {
        self.listening_for("http")
    }

    /// For the page of metrics.
    pub fn pages(&self) -> SocketAddr {
        self.listening_for("metrics")
    }

    pub fn bridge(&self) -> SocketAddr {
        self.listening_for("bridge")
    }

    pub fn plain_bridge(&self) -> SocketAddr {
        self.listening_for("bridge-http")
    }

    fn listening_for(&self, protocol: &str) -> SocketAddr {
        let found = self.listening.iter().find(|(other, _)| *other == protocol);
        found.unwrap_or_else(|| panic!("no {protocol}")).1
    }

    /// Holds a packet with these records.
    pub fn publish(&self, keypair: &Keypair, timestamp: u64, records: &[Record]) {
        self.network.publish(signed(keypair, timestamp, records));
    }

    /// Asks over UDP.
    pub async fn ask(&self, name: &str, record_type: RecordType) -> Message {
        parse(&self.send(&query(name, record_type)).await)
    }

    /// Asks over UDP, and holds the reply to what all replies have in common.
    pub async fn resolve(&self, name: &str, record_type: RecordType) -> client::Reply {
        let question = Question::new(Name::from_ascii(name).unwrap(), record_type);
        question.ask(self.address, Transport::Udp).await.unwrap()
    }

    /// Sends bytes over UDP and returns the reply.
    pub async fn send(&self, request: &[u8]) -> Vec<u8> {
        client::exchange(self.address, request, Transport::Udp).await.unwrap()
    }

    /// Sends bytes over UDP from another address of this machine.
    pub async fn send_from(&self, from: Ipv4Addr, request: &[u8]) -> Vec<u8> {
        let reply = client::exchange_from(from.into(), self.address, request, Transport::Udp).await;
        reply.unwrap()
    }

    /// Whether bytes over UDP get a reply within [`GRACE`].
    pub async fn replies_to(&self, request: &[u8]) -> bool {
        timeout(GRACE, client::exchange(self.address, request, Transport::Udp)).await.is_ok()
    }

    /// Sends bytes over TCP and returns the reply.
    pub async fn send_tcp(&self, request: &[u8]) -> Vec<u8> {
        client::exchange(self.address, request, Transport::Tcp).await.unwrap()
    }

    /// One request over plain HTTP.
    pub async fn request(
        &self,
        version: Version,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> http_client::Reply {
        http_request(self.http(), version, method, path, headers, body).await
    }

    /// Asks over plain HTTP/1.1 with POST.
    pub async fn post(&self, query: &[u8]) -> http_client::Reply {
        let headers = [("content-type", "application/dns-message")];
        self.request(Version::HTTP_11, Method::POST, "/dns-query", &headers, query).await
    }

    /// The value of a series of metrics, if it is there.
    pub fn metric(&self, series: &str) -> Option<f64> {
        value(&self.metrics.encode().unwrap(), series)
    }

    /// The page of metrics, over HTTP.
    pub async fn page(&self) -> String {
        let page = http_request(self.pages(), Version::HTTP_11, Method::GET, "/metrics", &[], &[]).await;
        assert_eq!(page.status, 200);
        page.text()
    }

    /// Has the server go by another configuration.
    pub async fn reload(&self, change: impl FnOnce(&mut Config)) {
        let mut config = self.config.clone();
        change(&mut config);
        self.reloads.reload(Ok(config)).await.unwrap();
    }

    /// Tells it to stop.
    pub fn begin_stop(&self) {
        self.stop.cancel();
    }

    /// Stops it, and waits until it has.
    pub async fn stop(mut self) {
        self.stop.cancel();
        timeout(wait::LIMIT, self.running.take().unwrap()).await.expect("it stops").unwrap();
    }
}

impl Drop for TestServer {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

fn listening(server: &Server) -> Vec<(&'static str, SocketAddr)> {
    let dns = server.addresses();
    let all = [
        ("udp", dns.clone()),
        ("tcp", dns),
        ("tls", server.tls_addresses()),
        ("https", server.https_addresses()),
        ("http", server.http_addresses()),
        ("metrics", server.metrics_addresses()),
        ("bridge", server.bridge_addresses()),
        ("bridge-http", server.plain_bridge_addresses()),
    ];
    let all = all.into_iter().map(|(protocol, all)| all.into_iter().map(move |one| (protocol, one)));
    all.flatten().collect()
}

/// Asks a service without sockets.
pub async fn ask_service(
    service: &Service,
    address: IpAddr,
    transport: service::Transport,
    reply: Reply,
    request: &[u8],
) -> Vec<u8> {
    let client = Client { address, transport, reply, now: Instant::now() };
    let mut out = Vec::new();
    if let AtOnce::Later(query) = service.at_once(request, client, &mut out) {
        service.later(&query, client, &mut out).await;
    }
    out
}

/// One request over HTTP.
pub async fn http_request(
    server: SocketAddr,
    version: Version,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: &[u8],
) -> http_client::Reply {
    let mut request = Request::builder().method(method).uri(path);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    http_client::ask(server, version, request.body(Bytes::copy_from_slice(body)).unwrap()).await
}

/// The value of a series on a page of metrics.
pub fn value(page: &str, series: &str) -> Option<f64> {
    page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' ')?.parse().ok())
}

/// Has time pass for the whole runtime at once, which has to be one of one thread.
pub async fn pass(time: Duration) {
    tokio::time::pause();
    tokio::time::advance(time).await;
    tokio::time::resume();
}

/// A reply message with these answers, as packets hold it.
pub fn packet_message(records: &[Record]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = BinEncoder::new(&mut bytes);
    encoder.emit_vec(&[0, 0, 0x80, 0, 0, 0, 0, records.len() as u8, 0, 0, 0, 0]).unwrap();
    records.iter().for_each(|record| record.emit(&mut encoder).unwrap());
    bytes
}

/// The packet of `keypair` with these records.
pub fn signed(keypair: &Keypair, timestamp: u64, records: &[Record]) -> SignedPacket {
    SignedPacket::sign(keypair, timestamp, &packet_message(records)).unwrap()
}

/// A query with RD and id 0x1234. Labels are taken as they are, whatever they hold.
pub fn query(name: &str, record_type: RecordType) -> Vec<u8> {
    let mut bytes = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0];
    for label in name.split('.').filter(|label| !label.is_empty()) {
        bytes.push(label.len() as u8);
        bytes.extend_from_slice(label.as_bytes());
    }
    bytes.push(0);
    bytes.extend_from_slice(&u16::from(record_type).to_be_bytes());
    bytes.extend_from_slice(&[0, 1]);
    bytes
}

/// `query` with an OPT record: 1232 bytes, and DO if `dnssec_ok`.
pub fn with_edns(mut query: Vec<u8>, dnssec_ok: bool) -> Vec<u8> {
    query[11] += 1;
    query.extend_from_slice(&[0, 0, 41, 0x04, 0xd0, 0, 0, if dnssec_ok { 0x80 } else { 0 }, 0, 0, 0]);
    query
}

pub fn parse(bytes: &[u8]) -> Message {
    Message::from_vec(bytes).unwrap()
}

/// INFO-CODE of the extended error in a reply that has one.
pub fn extended_error(reply: &[u8]) -> Option<u16> {
    read_message(reply).unwrap().extended_error.map(|error| error.code)
}

pub fn keypair(seed: u8) -> Keypair {
    Keypair::from_secret_key(&[seed; 32])
}

/// A record in the zone of `keypair`; the empty name is the apex.
pub fn record(keypair: &Keypair, name: &str, ttl: u32, data: RData) -> Record {
    let owner = format!("{name}{}{}.", if name.is_empty() { "" } else { "." }, keypair.to_z32());
    Record::from_rdata(Name::from_ascii(owner).unwrap(), ttl, data)
}

/// The address 192.0.2.`last`.
pub fn address(last: u8) -> RData {
    RData::A(A::new(192, 0, 2, last))
}

/// The question of a message, to compare with what was asked.
pub fn question(message: &Message) -> &Query {
    &message.queries[0]
}
