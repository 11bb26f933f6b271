//! The service mounted in a hickory server: what clients see is what our own listeners would have sent.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail where it stands")]

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use hickory_proto::{
    op::{Edns, Message, MessageType, OpCode, Query, ResponseCode},
    rr::{Name, RData, Record, RecordType, rdata::A},
    serialize::binary::BinEncoder,
};
use hickory_server::{
    Server,
    net::{NetError, runtime::TokioTime, xfer::Protocol},
    server::{Request, RequestHandler, ResponseHandler, ResponseInfo},
    zone_handler::MessageResponse,
};
use pkdns::{
    config::Config,
    dht::{Evidence, Network, NetworkError},
    forward::Forwarder,
    message::{self, Answer, ExtendedError},
    packets::Packets,
    request_handler::HickoryHandler,
    resolver::Resolver,
    service::{AtOnce, Client, Respond, Service},
    signed_packet::{Keypair, PublicKey, SignedPacket},
    testnet::{SampleUpstream, sample_keypair, sample_packet},
    transport::udp::MAX_WAITING_PER_CLIENT,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream, UdpSocket},
    sync::{Notify, mpsc},
    time::timeout,
};

/// Longest that a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(10);

const SAMPLE: &str = "8qhdp5s8jjmxmqam3bpg9kzeg7x8teztuwrfgxw5ikn9z5bt15uy";

/// Holds the sample zone; one key cannot be asked for, and one search ends when it is told to.
struct ScriptedNetwork {
    sample: SignedPacket,
    release: Arc<Notify>,
}

fn unreachable_key() -> PublicKey {
    Keypair::from_secret_key(&[1; 32]).public_key()
}

fn slow_key() -> PublicKey {
    Keypair::from_secret_key(&[2; 32]).public_key()
}

#[async_trait]
impl Network for ScriptedNetwork {
    async fn lookup(
        &self,
        key: &PublicKey,
        found: mpsc::UnboundedSender<SignedPacket>,
    ) -> Result<Evidence, NetworkError> {
        if *key == unreachable_key() {
            return Err(NetworkError::Unreachable);
        }
        if key == self.sample.key() {
            let _ = found.send(self.sample.clone());
        } else if *key == slow_key() {
            self.release.notified().await;
        }
        Ok(Evidence { queried: 20, responded: 20 })
    }
}

/// A hickory server with our handler, on loopback.
struct Mounted {
    udp: SocketAddr,
    tcp: SocketAddr,
    release: Arc<Notify>,
    _server: Server<HickoryHandler<Service>>,
    _upstream: SampleUpstream,
}

impl Mounted {
    async fn start() -> Self {
        let upstream = SampleUpstream::start().await.unwrap();
        let release = Arc::new(Notify::new());
        let sample = sample_packet(&sample_keypair(), 1_700_000_000_000_000).unwrap();
        let network = Arc::new(ScriptedNetwork { sample, release: release.clone() });

        let config = Config::default();
        let forwarder = Arc::new(Forwarder::new(vec![upstream.address()]));
        let resolver = Resolver::new(&config, Packets::new(&config.cache, network), forwarder.clone());
        let service = Service::new(&config, resolver, forwarder);

        let udp = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let (udp_address, tcp_address) = (udp.local_addr().unwrap(), tcp.local_addr().unwrap());
        let mut server = Server::new(HickoryHandler::new(Arc::new(service)));
        server.register_socket(udp);
        server.register_listener(tcp, PATIENCE, 32);
        Self { udp: udp_address, tcp: tcp_address, release, _server: server, _upstream: upstream }
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
    let reply = async {
        let mut reply = vec![0; stream.read_u16().await.unwrap().into()];
        stream.read_exact(&mut reply).await.unwrap();
        reply
    };
    timeout(PATIENCE, reply).await.expect("a reply over TCP")
}

async fn receive_datagram(socket: &UdpSocket) -> Vec<u8> {
    let mut reply = vec![0; 4096];
    let size = timeout(PATIENCE, socket.recv(&mut reply)).await.expect("a reply over UDP").unwrap();
    reply.truncate(size);
    reply
}

fn extended_error(message: &[u8]) -> Option<ExtendedError> {
    message::read_message(message).unwrap().extended_error
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
    let absent = Keypair::from_secret_key(&[3; 32]).public_key().to_z32();
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
async fn a_network_that_cannot_be_asked_is_servfail_with_an_extended_error() {
    let server = Mounted::start().await;
    let request = question(3, &format!("{}.", unreachable_key().to_z32()), RecordType::A);
    for reply in server.ask(&request).await {
        assert_eq!(Message::from_vec(&reply).unwrap().metadata.response_code, ResponseCode::ServFail);
        let error = extended_error(&reply).unwrap();
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
    let more = timeout(Duration::from_millis(200), socket.recv(&mut [0; 512])).await;
    assert!(more.is_err(), "a second datagram");
}

#[tokio::test]
async fn a_slow_lookup_does_not_hold_up_the_next_query_of_its_connection() {
    let server = Mounted::start().await;
    let mut stream = server.stream().await;
    send(&mut stream, &question(6, &format!("{}.", slow_key().to_z32()), RecordType::A)).await;
    send(&mut stream, &question(7, &format!("{SAMPLE}."), RecordType::A)).await;
    assert_eq!(receive(&mut stream).await[..2], [0, 7]);
    server.release.notify_one();
    assert_eq!(receive(&mut stream).await[..2], [0, 6]);
}

/// Replies with a given answer at once, or says nothing, or never ends.
enum Scripted {
    Says(Answer),
    IsSilent,
    NeverEnds(AtomicUsize),
}

impl Scripted {
    fn begun(&self) -> usize {
        match self {
            Self::NeverEnds(begun) => begun.load(Ordering::Relaxed),
            Self::Says(_) | Self::IsSilent => 0,
        }
    }
}

impl Respond for Scripted {
    fn at_once(&self, request: &[u8], client: Client, out: &mut Vec<u8>) -> AtOnce {
        let query = match message::Query::decode(request) {
            Ok(query) => query,
            Err(message::Rejection::Reply { header, .. }) => {
                out.extend_from_slice(&header);
                return AtOnce::Replied;
            }
            Err(message::Rejection::Silence) => return AtOnce::Silence,
        };
        match self {
            Self::Says(answer) => {
                answer.encode(&query.question).write(&query, client.reply, 0, out);
                AtOnce::Replied
            }
            Self::IsSilent => AtOnce::Silence,
            Self::NeverEnds(_) => AtOnce::Later(Box::new(query)),
        }
    }

    async fn later(&self, _: &message::Query, _: Client, _: &mut Vec<u8>) {
        if let Self::NeverEnds(begun) = self {
            begun.fetch_add(1, Ordering::Relaxed);
        }
        std::future::pending().await
    }
}

/// Keeps what a hickory server would have put on the wire.
#[derive(Clone)]
struct Recorder {
    protocol: Protocol,
    sent: Arc<Mutex<Vec<Vec<u8>>>>,
}

#[async_trait]
impl ResponseHandler for Recorder {
    async fn send_response<'a>(
        &mut self,
        response: MessageResponse<
            '_,
            'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
            impl Iterator<Item = &'a Record> + Send + 'a,
        >,
    ) -> Result<ResponseInfo, NetError> {
        let mut bytes = Vec::new();
        let mut encoder = BinEncoder::new(&mut bytes);
        if self.protocol.is_datagram() {
            encoder.set_max_size(response.edns().map_or(512, Edns::max_payload));
        }
        let info = response.destructive_emit(&mut encoder)?;
        self.sent.lock().unwrap().push(bytes);
        Ok(info)
    }
}

/// What the handler returned and what it sent.
async fn handle(script: Scripted, request: &[u8], protocol: Protocol) -> (ResponseInfo, Vec<Vec<u8>>) {
    let recorder = Recorder { protocol, sent: Arc::default() };
    let request = Request::from_bytes(request.to_vec(), client(), protocol).unwrap();
    let handler = HickoryHandler::new(Arc::new(script));
    let info = handler.handle_request::<_, TokioTime>(&request, recorder.clone()).await;
    let sent = recorder.sent.lock().unwrap().clone();
    (info, sent)
}

fn client() -> SocketAddr {
    (Ipv4Addr::LOCALHOST, 5353).into()
}

fn address(name: &str, number: u8) -> Record {
    Record::from_rdata(Name::from_ascii(name).unwrap(), 60, RData::A(A::new(192, 0, 2, number)))
}

#[tokio::test]
async fn flags_codes_and_edns_survive_hickory() {
    let mut request = question(8, "a.example.", RecordType::A);
    request[3] |= 0x30; // AD and CD
    let dnssec_ok = request.len() - 4;
    request[dnssec_ok] |= 0x80;
    let answer = Answer {
        answers: vec![address("a.example.", 1)],
        additionals: vec![address("b.example.", 2)],
        authentic: true,
        extended_error: Some(ExtendedError::new(3, "stale")),
        // Its upper bits travel in the OPT record.
        ..Answer::empty(ResponseCode::BADVERS)
    };
    for protocol in [Protocol::Udp, Protocol::Tcp] {
        let (info, sent) = handle(Scripted::Says(answer.clone()), &request, protocol).await;
        assert_eq!(u16::from(info.response_code), 16);
        let reply = Message::from_vec(&sent[0]).unwrap();
        assert_eq!(sent.len(), 1);
        assert_eq!(u16::from(reply.metadata.response_code), 16);
        assert!(reply.metadata.authentic_data && reply.metadata.checking_disabled);
        assert!(reply.metadata.recursion_available && reply.metadata.recursion_desired);
        assert_eq!((reply.answers.len(), reply.additionals.len()), (1, 1));
        assert!(reply.edns.unwrap().flags().dnssec_ok);
        assert_eq!(extended_error(&sent[0]), answer.extended_error);
    }
}

#[tokio::test]
async fn a_client_without_edns_gets_none() {
    let mut request = question(9, "a.example.", RecordType::A);
    request.truncate(request.len() - 11);
    request[11] = 0;
    let answer =
        Answer { additionals: vec![address("a.example.", 1)], ..Answer::empty(ResponseCode::NoError) };
    let (_, sent) = handle(Scripted::Says(answer), &request, Protocol::Udp).await;
    let reply = Message::from_vec(&sent[0]).unwrap();
    assert!(reply.edns.is_none());
    assert_eq!(reply.additionals.len(), 1);
}

#[tokio::test]
async fn a_reply_that_grows_over_the_limit_is_cut_whole_and_keeps_its_opt_record() {
    let name = format!("{SAMPLE}.{SAMPLE}.");
    // Fits as we encode it, with every owner a pointer to the question.
    let answer = Answer {
        answers: (0..70).map(|number| address(&name, number)).collect(),
        extended_error: Some(ExtendedError::new(3, "stale")),
        ..Answer::empty(ResponseCode::NoError)
    };
    let request = question(10, &name, RecordType::A);

    let (info, sent) = handle(Scripted::Says(answer.clone()), &request, Protocol::Udp).await;
    let reply = Message::from_vec(&sent[0]).unwrap();
    assert!(info.truncation && reply.metadata.truncation);
    assert!(reply.answers.is_empty(), "{} of an RRset", reply.answers.len());
    assert_eq!(extended_error(&sent[0]), answer.extended_error);

    let (_, sent) = handle(Scripted::Says(answer), &request, Protocol::Tcp).await;
    let reply = Message::from_vec(&sent[0]).unwrap();
    assert!(!reply.metadata.truncation);
    assert_eq!(reply.answers.len(), 70);
}

#[tokio::test]
async fn a_client_of_small_datagrams_gets_no_larger_one() {
    let mut request = question(11, &format!("{SAMPLE}."), RecordType::A);
    let size_at = request.len() - 8;
    request[size_at..size_at + 2].copy_from_slice(&512_u16.to_be_bytes());
    let answers = (0..25).map(|number| address(&format!("{SAMPLE}."), number)).collect();
    let answer = Answer { answers, ..Answer::empty(ResponseCode::NoError) };
    let (_, sent) = handle(Scripted::Says(answer), &request, Protocol::Udp).await;
    assert!(sent[0].len() <= 512, "{} bytes", sent[0].len());
    assert!(Message::from_vec(&sent[0]).unwrap().edns.is_some());
}

#[tokio::test]
async fn a_rejection_is_a_bare_header() {
    let mut request = question(12, "a.example.", RecordType::A);
    request[2] = 0x10; // STATUS
    let (info, sent) = handle(Scripted::IsSilent, &request, Protocol::Udp).await;
    assert_eq!(info.response_code, ResponseCode::NotImp);
    assert_eq!(sent, [[0, 12, 0x90, 0x84, 0, 0, 0, 0, 0, 0, 0, 0]]);
}

#[tokio::test]
async fn silence_sends_nothing() {
    for protocol in [Protocol::Udp, Protocol::Tcp] {
        let request = question(13, "a.example.", RecordType::A);
        let (info, sent) = handle(Scripted::IsSilent, &request, protocol).await;
        assert_eq!((info.id, info.message_type), (13, MessageType::Response));
        assert_eq!(info.counts().queries, 0);
        assert!(sent.is_empty());
    }
}

#[tokio::test]
async fn one_client_cannot_hold_lookups_without_end() {
    let responder = Arc::new(Scripted::NeverEnds(AtomicUsize::new(0)));
    let handler = Arc::new(HickoryHandler::new(responder.clone()));
    let recorder = Recorder { protocol: Protocol::Udp, sent: Arc::default() };
    let request = question(14, "a.example.", RecordType::A);
    let ask = || {
        let (handler, recorder) = (handler.clone(), recorder.clone());
        let request = Request::from_bytes(request.clone(), client(), Protocol::Udp).unwrap();
        async move { handler.handle_request::<_, TokioTime>(&request, recorder).await }
    };
    let held: Vec<_> = (0..MAX_WAITING_PER_CLIENT).map(|_| tokio::spawn(ask())).collect();
    let all_have_begun = async {
        while responder.begun() < MAX_WAITING_PER_CLIENT {
            tokio::task::yield_now().await;
        }
    };
    timeout(PATIENCE, all_have_begun).await.expect("as many as may be begin");
    let info = timeout(PATIENCE, ask()).await.expect("the one too many ends at once");
    assert_eq!(info.response_code, ResponseCode::ServFail);
    assert!(recorder.sent.lock().unwrap().is_empty());
    held.iter().for_each(|task| assert!(!task.is_finished()));

    // Their places come back.
    held.iter().for_each(|task| task.abort());
    for task in held {
        assert!(task.await.unwrap_err().is_cancelled());
    }
    assert!(timeout(Duration::from_millis(50), ask()).await.is_err(), "turned away");
}
