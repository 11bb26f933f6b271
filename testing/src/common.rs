//! A whole server in this process, with a network and an upstream that the test controls.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use hickory_proto::{
    op::{Message, MessageType, OpCode, Query},
    rr::{Name, RData, Record, RecordType, rdata::A},
    serialize::binary::{BinEncodable, BinEncoder},
};
use pkdns::{config::Config, server::Server};
use pkdns_dht::{
    Evidence, Network, NetworkError, PutError,
    signed_packet::{Keypair, PublicKey, SignedPacket},
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    sync::mpsc,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

/// Longest that a test waits for a reply that must come.
const PATIENCE: Duration = Duration::from_secs(8);

/// Longest wait for a reply that must not come.
pub const GRACE: Duration = Duration::from_millis(300);

/// A network that holds what the test puts into it.
#[derive(Default)]
pub struct HeldNetwork {
    pub packets: Mutex<HashMap<[u8; 32], SignedPacket>>,
    pub failure: Mutex<Option<NetworkError>>,
    pub lookups: AtomicUsize,
}

#[async_trait]
impl Network for HeldNetwork {
    async fn lookup(
        &self,
        key: &PublicKey,
        found: mpsc::UnboundedSender<SignedPacket>,
    ) -> Result<Evidence, NetworkError> {
        self.lookups.fetch_add(1, Ordering::SeqCst);
        if let Some(failure) = *self.failure.lock().unwrap() {
            return Err(failure);
        }
        if let Some(packet) = self.packets.lock().unwrap().get(key.as_bytes()) {
            let _ = found.send(packet.clone());
        }
        Ok(Evidence { queried: 20, responded: 20, held: 0 })
    }

    /// On 20 nodes.
    async fn store(&self, packet: &SignedPacket, cas: Option<u64>) -> Result<u32, PutError> {
        if let Some(failure) = *self.failure.lock().unwrap() {
            return Err(failure.into());
        }
        let mut packets = self.packets.lock().unwrap();
        if let Some(held) = packets.get(packet.key().as_bytes()) {
            if cas.is_some_and(|cas| cas != held.timestamp()) {
                return Err(PutError::CasFailed);
            }
            if held != packet && held.timestamp() >= packet.timestamp() {
                return Err(PutError::NotMostRecent);
            }
        }
        packets.insert(*packet.key().as_bytes(), packet.clone());
        Ok(20)
    }
}

impl HeldNetwork {
    pub fn publish(&self, keypair: &Keypair, timestamp: u64, records: &[Record]) {
        let packet = SignedPacket::sign(keypair, timestamp, &packet_message(records)).unwrap();
        self.packets.lock().unwrap().insert(keypair.public_key().to_bytes(), packet);
    }
}

/// A reply message with these answers, as packets hold it.
pub fn packet_message(records: &[Record]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let mut encoder = BinEncoder::new(&mut bytes);
    encoder.emit_vec(&[0, 0, 0x80, 0, 0, 0, 0, records.len() as u8, 0, 0, 0, 0]).unwrap();
    records.iter().for_each(|record| record.emit(&mut encoder).unwrap());
    bytes
}

/// An upstream over UDP that answers with what `respond` makes of a query.
pub struct Upstream {
    pub address: SocketAddr,
    pub questions: Arc<Mutex<Vec<String>>>,
}

impl Upstream {
    /// `respond` gets the query and the response that is made of it: same id and question, NOERROR.
    pub async fn start(respond: impl Fn(&Message, &mut Message) + Send + Sync + 'static) -> Self {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = socket.local_addr().unwrap();
        let questions: Arc<Mutex<Vec<String>>> = Arc::default();
        let asked = questions.clone();
        tokio::spawn(async move {
            let mut buffer = [0; 4096];
            while let Ok((size, peer)) = socket.recv_from(&mut buffer).await {
                let Ok(query) = Message::from_vec(&buffer[..size]) else { continue };
                let name = query.queries[0].name().to_ascii().to_lowercase();
                // The server's probe for loops is not what a test counts.
                if !name.ends_with("pkdns-loop.") {
                    asked.lock().unwrap().push(format!("{name} {}", query.queries[0].query_type()));
                }
                let mut response = Message::new(query.metadata.id, MessageType::Response, OpCode::Query);
                response.add_query(query.queries[0].clone());
                respond(&query, &mut response);
                let _ = socket.send_to(&response.to_vec().unwrap(), peer).await;
            }
        });
        Self { address, questions }
    }

    /// Answers every A question with 192.0.2.53.
    pub async fn plain() -> Self {
        Self::start(|query, response| {
            let name = query.queries[0].name().clone();
            if query.queries[0].query_type() == RecordType::A {
                response.add_answer(Record::from_rdata(name, 300, RData::A(A::new(192, 0, 2, 53))));
            }
        })
        .await
    }

    pub fn asked(&self) -> Vec<String> {
        self.questions.lock().unwrap().clone()
    }
}

/// A running server; stops when dropped.
pub struct Running {
    pub address: SocketAddr,
    pub network: Arc<HeldNetwork>,
    pub upstream: Upstream,
    stop: CancellationToken,
}

impl Running {
    pub async fn start() -> Self {
        Self::start_with(Upstream::plain().await, |_| ()).await
    }

    pub async fn start_with(upstream: Upstream, change: impl FnOnce(&mut Config)) -> Self {
        let network = Arc::new(HeldNetwork::default());
        let mut config = Config {
            listen: vec![(IpAddr::from(Ipv4Addr::LOCALHOST), 0).into()],
            fallback_dns: vec![upstream.address.into()],
            ..Config::default()
        };
        change(&mut config);
        let server = Server::bind_to_network(config, network.clone()).unwrap();
        let address = server.addresses()[0];
        let stop = CancellationToken::new();
        tokio::spawn(server.run(stop.clone()));
        Self { address, network, upstream, stop }
    }

    /// Asks over UDP.
    pub async fn ask(&self, name: &str, record_type: RecordType) -> Message {
        let bytes = self.send(&query(name, record_type)).await.expect("no reply");
        Message::from_vec(&bytes).unwrap()
    }

    /// Sends bytes over UDP and returns the reply, or `None` if there is none within [`GRACE`] or more.
    pub async fn send(&self, request: &[u8]) -> Option<Vec<u8>> {
        self.send_within(request, PATIENCE).await
    }

    pub async fn send_within(&self, request: &[u8], limit: Duration) -> Option<Vec<u8>> {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        socket.connect(self.address).await.unwrap();
        socket.send(request).await.unwrap();
        let mut buffer = vec![0; 65_535];
        let size = timeout(limit, socket.recv(&mut buffer)).await.ok()?.unwrap();
        buffer.truncate(size);
        Some(buffer)
    }

    /// Asks over TCP.
    pub async fn ask_tcp(&self, request: &[u8]) -> Vec<u8> {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_u16(request.len() as u16).await.unwrap();
        stream.write_all(request).await.unwrap();
        let size = timeout(PATIENCE, stream.read_u16()).await.unwrap().unwrap();
        let mut reply = vec![0; size.into()];
        stream.read_exact(&mut reply).await.unwrap();
        reply
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
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

pub fn keypair(seed: u8) -> Keypair {
    Keypair::from_secret_key(&[seed; 32])
}

/// A record in the zone of `keypair`; the empty name is the apex.
pub fn record(keypair: &Keypair, name: &str, ttl: u32, data: RData) -> Record {
    let owner = format!("{name}{}{}.", if name.is_empty() { "" } else { "." }, keypair.to_z32());
    Record::from_rdata(Name::from_ascii(owner).unwrap(), ttl, data)
}

/// The question of a message, to compare with what was asked.
pub fn question(message: &Message) -> &Query {
    &message.queries[0]
}
