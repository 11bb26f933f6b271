//! The service mounted in a hickory server: what clients see is what our own listeners would have sent.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail where it stands")]

mod scripted;

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{Name, RData, Record, RecordType, rdata::A},
};
use hickory_server::Server;
use pkdns::{
    config::Config,
    message,
    metrics::Metrics,
    program::testnet::SampleUpstream,
    request_handler::HickoryHandler,
    resolver::Resolver,
    service::Service,
    sources::{
        forward::{Forwarder, TlsClient},
        packets::Packets,
    },
};
use pkdns_dht::{signed_packet::PublicKey, testing::FakeNetwork};
use pkdns_testing::{
    server::{keypair, sample_network},
    support::client,
};
use tokio::{
    io::AsyncWriteExt,
    net::{TcpListener, TcpStream, UdpSocket},
    time::timeout,
};

/// Longest that a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(10);

/// Long enough for what must not come.
const GRACE: Duration = Duration::from_millis(100);

const SAMPLE: &str = "8qhdp5s8jjmxmqam3bpg9kzeg7x8teztuwrfgxw5ikn9z5bt15uy";

fn unreachable_key() -> PublicKey {
    keypair(1).public_key()
}

fn slow_key() -> PublicKey {
    keypair(2).public_key()
}

/// A hickory server with our handler, on loopback.
struct Mounted {
    udp: SocketAddr,
    tcp: SocketAddr,
    network: Arc<FakeNetwork>,
    _server: Server<HickoryHandler<Service>>,
    _upstream: SampleUpstream,
}

impl Mounted {
    async fn start() -> Self {
        let upstream = SampleUpstream::start().await.unwrap();
        let network = Arc::new(sample_network());
        network.cut_off(&unreachable_key());
        network.hold_key(&slow_key());
        let config = Config::default();
        let forwarder = {
            let tls = TlsClient::new(None).unwrap();
            Arc::new(Forwarder::new(vec![upstream.address().into()], &tls))
        };
        let resolver =
            Resolver::new(&config, Packets::new(&config.cache, network.clone()), forwarder.clone());
        let service = Service::new(&config, resolver, forwarder, &Metrics::default());

        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (udp_address, tcp_address) = (udp.local_addr().unwrap(), tcp.local_addr().unwrap());
        let mut server = Server::new(HickoryHandler::new(Arc::new(service)));
        server.register_socket(udp);
        server.register_listener(tcp, PATIENCE, 32);
        Self { udp: udp_address, tcp: tcp_address, network, _server: server, _upstream: upstream }
    }

    /// The replies over UDP and over TCP.
    async fn ask(&self, request: &[u8]) -> [Vec<u8>; 2] {
        let socket = self.socket().await;
        socket.send(request).await.unwrap();
        let mut stream = self.stream().await;
        send(&mut stream, request).await;
        [receive_datagram(&socket).await, receive(&mut stream).await]
    }

    async fn ask_for(&self, name: &str, record_type: RecordType) -> [Message; 2] {
        let replies = self.ask(&question(1, name, record_type)).await;
        replies.map(|reply| Message::from_vec(&reply).unwrap())
    }

    async fn socket(&self) -> UdpSocket {
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        socket.connect(self.udp).await.unwrap();
        socket
    }

    async fn stream(&self) -> TcpStream {
        TcpStream::connect(self.tcp).await.unwrap()
    }
}

fn question(id: u16, name: &str, record_type: RecordType) -> Vec<u8> {
    let mut message = Message::new(id, MessageType::Query, OpCode::Query);
    message.metadata.recursion_desired = true;
    message.add_query(Query::query(Name::from_ascii(name).unwrap(), record_type));
    let mut edns = Edns::new();
    edns.set_max_payload(1232);
    message.set_edns(edns);
    message.to_vec().unwrap()
}

async fn send(stream: &mut TcpStream, request: &[u8]) {
    stream.write_u16(request.len() as u16).await.unwrap();
    stream.write_all(request).await.unwrap();
}

async fn receive(stream: &mut TcpStream) -> Vec<u8> {
    timeout(PATIENCE, client::read_message(stream)).await.expect("a reply over TCP").unwrap()
}

async fn receive_datagram(socket: &UdpSocket) -> Vec<u8> {
    let mut reply = vec![0; 4096];
    let size = timeout(PATIENCE, socket.recv(&mut reply)).await.expect("a reply over UDP").unwrap();
    reply.truncate(size);
    reply
}

#[tokio::test]
async fn a_key_is_answered_over_udp_and_tcp_fresh_and_cached() {
    let server = Mounted::start().await;
    for _ in 0..2 {
        for reply in server.ask_for(&format!("www.{SAMPLE}.key."), RecordType::A).await {
            assert_eq!(reply.metadata.response_code, ResponseCode::NoError);
            assert_eq!(reply.metadata.message_type, MessageType::Response);
            assert!(reply.metadata.recursion_available && reply.metadata.recursion_desired);
            assert!(!reply.metadata.truncation && !reply.metadata.authoritative);
            let types: Vec<_> = reply.answers.iter().map(Record::record_type).collect();
            assert_eq!(types, [RecordType::CNAME, RecordType::A]);
            assert_eq!(reply.answers[1].data, RData::A(A::new(127, 0, 0, 1)));
            assert_eq!(reply.edns.unwrap().max_payload(), 1232);
        }
    }
}

#[tokio::test]
async fn what_does_not_exist_is_denied_with_a_soa() {
    let server = Mounted::start().await;
    let absent = keypair(3).public_key().to_z32();
    for name in [format!("{absent}."), format!("nothing.{SAMPLE}."), "nothing.example.com.".into()] {
        for reply in server.ask_for(&name, RecordType::A).await {
            assert_eq!(reply.metadata.response_code, ResponseCode::NXDomain, "{name}");
            assert_eq!(reply.authorities[0].record_type(), RecordType::SOA, "{name}");
        }
    }
}

#[tokio::test]
async fn an_icann_name_is_answered_by_the_upstream() {
    let server = Mounted::start().await;
    for reply in server.ask_for("example.com.", RecordType::A).await {
        assert_eq!(reply.metadata.response_code, ResponseCode::NoError);
        assert_eq!(reply.answers.len(), 2);
    }
}

#[tokio::test]
async fn the_question_is_echoed_byte_for_byte() {
    let server = Mounted::start().await;
    let request = question(2, &format!("WwW.{}.KeY.", SAMPLE.to_uppercase()), RecordType::AAAA);
    let question_end = request.len() - 11;
    for reply in server.ask(&request).await {
        assert_eq!(reply[12..question_end], request[12..question_end]);
        assert_eq!(Message::from_vec(&reply).unwrap().answers.len(), 2);
    }
}

#[tokio::test]
async fn a_client_gets_the_cookie_by_which_it_is_known_the_next_time() {
    let server = Mounted::start().await;
    let mut request = question(8, &format!("{SAMPLE}."), RecordType::A);
    let cookie = [7; 8];
    let length = request.len() - 1;
    request[length] = 12;
    request.extend_from_slice(&[&[0, 10, 0, 8][..], &cookie].concat());
    let [over_udp, over_tcp] = server.ask(&request).await.map(|reply| message::read_cookie(&reply).unwrap());
    assert_eq!((over_udp.client(), over_udp.server().len()), (cookie, 16));
    assert_eq!(over_udp, over_tcp);
}

#[tokio::test]
async fn a_network_that_cannot_be_asked_is_servfail_with_an_extended_error() {
    let server = Mounted::start().await;
    let request = question(3, &format!("{}.", unreachable_key().to_z32()), RecordType::A);
    for reply in server.ask(&request).await {
        assert_eq!(Message::from_vec(&reply).unwrap().metadata.response_code, ResponseCode::ServFail);
        let error = message::read_message(&reply).unwrap().extended_error.unwrap();
        assert_eq!(error.code, 22);
        assert!(error.text.contains("DHT"), "{error:?}");
    }
}

#[tokio::test]
async fn responses_and_scraps_get_silence() {
    let server = Mounted::start().await;
    let mut response = question(4, "example.com.", RecordType::A);
    response[2] |= 0x80;
    let real = question(5, "example.com.", RecordType::A);

    let (socket, mut stream) = (server.socket().await, server.stream().await);
    // A malformed response never reaches the handler: hickory says FORMERR.
    for silent in [&response[..], &response[..11], &real[..11], &real[..1]] {
        socket.send(silent).await.unwrap();
        send(&mut stream, silent).await;
    }
    socket.send(&real).await.unwrap();
    send(&mut stream, &real).await;
    for reply in [receive_datagram(&socket).await, receive(&mut stream).await] {
        assert_eq!(reply[..2], real[..2]);
    }
    let more = timeout(GRACE, socket.recv(&mut [0; 512])).await;
    assert!(more.is_err(), "a second datagram");
}

#[tokio::test]
async fn a_slow_lookup_does_not_hold_up_the_next_query_of_its_connection() {
    let server = Mounted::start().await;
    let mut stream = server.stream().await;
    send(&mut stream, &question(6, &format!("{}.", slow_key().to_z32()), RecordType::A)).await;
    send(&mut stream, &question(7, &format!("{SAMPLE}."), RecordType::A)).await;
    assert_eq!(receive(&mut stream).await[..2], [0, 7]);
    server.network.release(1);
    assert_eq!(receive(&mut stream).await[..2], [0, 6]);
}
