//! Name servers for tests, on loopback: [`Honest`] answers from its records, [`Scripted`] does what it is told.

use std::{
    fmt,
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use futures_util::future::BoxFuture;
use hickory_proto::{
    op::{Edns, Metadata, ResponseCode},
    rr::{DNSClass, Name, RData, Record, RecordType},
};
use hickory_server::{
    Server,
    net::runtime::Time,
    server::{Request, RequestHandler, ResponseHandler, ResponseInfo},
    zone_handler::MessageResponseBuilder,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, UdpSocket},
    task::JoinSet,
};

use super::{ExchangeError, Forwarder, TlsClient, asked::Asked};
use crate::base::{
    config::UpstreamAddress,
    message::{Cookie, HEADER_SIZE, Message, Question, read_cookie, read_question},
};

/// What becomes of a question, in place of a server and the way to it: for tests in paused time.
#[derive(Clone)]
pub(crate) struct Script(Arc<dyn Fn(&Question) -> Scene + Send + Sync>);

type Scene = BoxFuture<'static, Result<Message, ExchangeError>>;

impl Script {
    pub(crate) fn new(script: impl Fn(&Question) -> Scene + Send + Sync + 'static) -> Self {
        Self(Arc::new(script))
    }

    pub(super) fn play(&self, question: &Question) -> Scene {
        (self.0)(question)
    }
}

impl Forwarder {
    /// One whose upstreams are played by `script`.
    pub(crate) fn scripted(upstreams: Vec<UpstreamAddress>, script: Script) -> Self {
        let tls = TlsClient::new(None).expect("nothing to read");
        let mut asked = Asked::new(&upstreams, &[], &tls, None);
        Arc::get_mut(&mut asked.upstreams).expect("nobody else has it").exchanger.script = Some(script);
        Self::asking(asked)
    }
}

impl fmt::Debug for Script {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Script")
    }
}

/// An upstream that knows some records, follows their CNAMEs, and says NXDOMAIN to the rest. Keeps the spelling of
/// the question, cuts answers to the client's size, and serves TCP.
pub(crate) struct Honest {
    pub(crate) address: SocketAddr,
    asked: Arc<AtomicUsize>,
    _server: Server<Records>,
}

impl Honest {
    pub(crate) async fn start(records: Vec<Record>) -> Self {
        let (udp, tcp, address) = bind().await;
        let asked = Arc::new(AtomicUsize::new(0));
        let mut server = Server::new(Records { records, asked: asked.clone() });
        server.register_socket(udp);
        server.register_listener(tcp, Duration::from_secs(5), 16);
        Self { address, asked, _server: server }
    }

    /// Questions it was asked so far.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Ordering::SeqCst)
    }
}

struct Records {
    records: Vec<Record>,
    asked: Arc<AtomicUsize>,
}

#[async_trait::async_trait]
impl RequestHandler for Records {
    async fn handle_request<R: ResponseHandler, T: Time>(
        &self,
        request: &Request,
        mut handle: R,
    ) -> ResponseInfo {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let info = request.request_info().expect("one question");
        let (mut name, wanted) = (Name::from(info.query.name().clone()), info.query.query_type());
        let mut answers = Vec::new();
        let mut exists = false;
        for _ in 0..10 {
            let own = self.records.iter().filter(|record| record.name == name).collect::<Vec<_>>();
            exists = !own.is_empty();
            answers.extend(own.iter().filter(|record| record.record_type() == wanted).copied());
            let Some((cname, RData::CNAME(target))) = own.first().map(|record| (*record, &record.data))
            else {
                break;
            };
            answers.push(cname);
            name = target.0.clone();
        }
        let mut metadata = Metadata::response_from_request(info.metadata);
        metadata.recursion_available = true;
        metadata.response_code = if exists { ResponseCode::NoError } else { ResponseCode::NXDomain };
        let mut edns = Edns::new();
        edns.set_max_payload(1232);
        let mut builder = MessageResponseBuilder::from_message_request(request);
        if request.edns.is_some() {
            builder.edns(&edns);
        }
        let none = || std::iter::empty::<&Record>();
        let response = builder.build(metadata, answers, none(), none(), none());
        handle.send_response(response).await.expect("a reply that fits")
    }
}

/// A server that sends back, for each message it gets, the messages that its script returns.
pub(crate) struct Scripted {
    pub(crate) address: SocketAddr,
    received: Arc<Mutex<Vec<Received>>>,
    _tasks: JoinSet<()>,
}

/// A message that a [`Scripted`] server got.
#[derive(Debug, Clone)]
pub(crate) struct Received {
    pub(crate) bytes: Vec<u8>,
    pub(crate) from: SocketAddr,
    pub(crate) is_tcp: bool,
}

type Replies = dyn Fn(&Received) -> Vec<Vec<u8>> + Send + Sync;

impl Scripted {
    pub(crate) async fn start(script: impl Fn(&Received) -> Vec<Vec<u8>> + Send + Sync + 'static) -> Self {
        let (udp, tcp, address) = bind().await;
        let received = Arc::new(Mutex::new(Vec::new()));
        let script: Arc<Replies> = Arc::new(script);
        let mut tasks = JoinSet::new();
        tasks.spawn(serve_udp(udp, script.clone(), received.clone()));
        tasks.spawn(serve_tcp(tcp, script, received.clone()));
        Self { address, received, _tasks: tasks }
    }

    /// Never says anything.
    pub(crate) async fn silent() -> Self {
        Self::start(|_| Vec::new()).await
    }

    /// Everything it got so far.
    pub(crate) fn received(&self) -> Vec<Received> {
        self.received.lock().expect("no panic while held").clone()
    }
}

impl Received {
    pub(crate) fn question(&self) -> Question {
        read_question(&self.bytes).expect("our own questions are well formed")
    }

    pub(crate) fn id(&self) -> u16 {
        u16::from_be_bytes([self.bytes[0], self.bytes[1]])
    }

    pub(crate) fn cookie(&self) -> Option<Cookie> {
        read_cookie(&self.bytes)
    }

    /// The question as it came, and nothing else yet.
    pub(crate) fn response(&self) -> Response {
        let end = HEADER_SIZE + self.question().wire_name().len() + 4;
        let mut bytes = self.bytes[..end].to_vec();
        bytes[2] = 0x80 | self.bytes[2] & 0x01;
        bytes[3] = 0x80;
        bytes[4..HEADER_SIZE].copy_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0]);
        Response(bytes)
    }
}

/// A response under construction, byte by byte.
#[derive(Clone)]
pub(crate) struct Response(pub(crate) Vec<u8>);

impl Response {
    /// Adds a record of the question's name to the answer section.
    pub(crate) fn record(mut self, record_type: u16, data: &[u8]) -> Self {
        self.0.extend_from_slice(&[0xc0, HEADER_SIZE as u8]);
        self.0.extend_from_slice(&record_type.to_be_bytes());
        self.0.extend_from_slice(&[0, 1, 0, 0, 0, 60]);
        self.0.extend_from_slice(&u16::try_from(data.len()).expect("it fits").to_be_bytes());
        self.0.extend_from_slice(data);
        self.0[7] += 1;
        self
    }

    pub(crate) fn address(self, last: u8) -> Self {
        self.record(1, &[192, 0, 2, last])
    }

    pub(crate) fn code(mut self, code: u8) -> Self {
        self.0[3] = self.0[3] & 0xf0 | code;
        self
    }

    /// Adds an OPT record, behind all others.
    pub(crate) fn edns(mut self, extended_code: u8, options: &[u8]) -> Self {
        self.0.extend_from_slice(&[0, 0, 41, 4, 208, extended_code, 0, 0, 0]);
        self.0.extend_from_slice(&u16::try_from(options.len()).expect("it fits").to_be_bytes());
        self.0.extend_from_slice(options);
        self.0[11] += 1;
        self
    }

    pub(crate) fn truncated(mut self) -> Self {
        self.0[2] |= 0x02;
        self
    }

    pub(crate) fn authentic(mut self) -> Self {
        self.0[3] |= 0x20;
        self
    }

    /// Changes anything else.
    pub(crate) fn with(mut self, change: impl FnOnce(&mut Vec<u8>)) -> Self {
        change(&mut self.0);
        self
    }
}

pub(crate) fn question(name: &str, record_type: RecordType) -> Question {
    let name = Name::from_ascii(name).expect("a name");
    Question::new(&name, record_type, DNSClass::IN).expect("a short name")
}

/// A port for both.
pub(super) async fn bind() -> (UdpSocket, TcpListener, SocketAddr) {
    loop {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = tcp.local_addr().expect("it is bound");
        // The port may be taken for UDP.
        if let Ok(udp) = UdpSocket::bind(address).await {
            return (udp, tcp, address);
        }
    }
}

async fn serve_udp(socket: UdpSocket, script: Arc<Replies>, received: Arc<Mutex<Vec<Received>>>) {
    let mut buffer = [0; 4096];
    loop {
        let Ok((length, from)) = socket.recv_from(&mut buffer).await else {
            continue;
        };
        let message = Received { bytes: buffer[..length].to_vec(), from, is_tcp: false };
        received.lock().expect("no panic while held").push(message.clone());
        for response in script(&message) {
            // The other end may have closed its socket.
            let _ = socket.send_to(&response, from).await;
        }
    }
}

async fn serve_tcp(listener: TcpListener, script: Arc<Replies>, received: Arc<Mutex<Vec<Received>>>) {
    let mut connections = JoinSet::new();
    while let Ok((mut stream, from)) = listener.accept().await {
        let (script, received) = (script.clone(), received.clone());
        connections.spawn(async move {
            let Ok(length) = stream.read_u16().await else {
                return;
            };
            let mut bytes = vec![0; usize::from(length)];
            if stream.read_exact(&mut bytes).await.is_err() {
                return;
            }
            let message = Received { bytes, from, is_tcp: true };
            received.lock().expect("no panic while held").push(message.clone());
            for response in script(&message) {
                // In two writes, as a server on a bad path would.
                let _ = stream.write_u16(response.len() as u16).await;
                let _ = stream.write_all(&response).await;
            }
            // Held open until the other end leaves.
            let _ = stream.read_u8().await;
        });
    }
}
