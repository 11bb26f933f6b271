//! Clients that count what they ask and what is answered.

use std::{
    collections::HashSet,
    io::{Read, Write},
    net::{SocketAddr, TcpStream as StdStream, UdpSocket as StdSocket},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{Request, Version};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt},
    net::{TcpStream, UdpSocket},
    time::{Instant, sleep, timeout, timeout_at},
};
use tokio_rustls::rustls::ClientConfig;
use tokio_util::sync::CancellationToken;

use super::PATIENCE;
use crate::{support::client, tls_client::connect};

/// Questions that are sent together on a connection for a few.
const TOGETHER: u64 = 5;

/// TIMEOUT 0 (RFC 7828): the server asks for the end of the connection.
const ASKED_TO_END: [u8; 6] = [0, 11, 0, 2, 0, 0];

/// What the clients of one kind have seen.
#[derive(Debug, Default)]
pub struct Tally {
    pub asked: AtomicU64,
    pub answered: AtomicU64,
    pub connections: AtomicU64,
    /// Connections that the server asked to end.
    pub moved: AtomicU64,
}

/// What all clients share.
#[derive(Clone)]
pub struct Client {
    pub tally: Arc<Tally>,
    pub stop: CancellationToken,
    /// Between two questions.
    pub pause: Duration,
    /// One in so many questions is for a name that takes a while.
    pub slow: u64,
}

impl Tally {
    fn add(counter: &AtomicU64) -> u64 {
        counter.fetch_add(1, Ordering::SeqCst)
    }

    pub fn answers(&self) -> u64 {
        self.answered.load(Ordering::SeqCst)
    }
}

impl Client {
    pub fn new(stop: &CancellationToken) -> Self {
        Self { tally: Arc::default(), stop: stop.clone(), pause: Duration::from_millis(4), slow: 8 }
    }

    async fn rest(&self) {
        if !self.pause.is_zero() {
            sleep(self.pause).await;
        }
    }

    fn zone(&self, number: u64) -> &'static str {
        if number.is_multiple_of(self.slow) { "slow.net" } else { "load.lan" }
    }

    /// The next question.
    fn next(&self, client: &str) -> Vec<u8> {
        let number = Tally::add(&self.tally.asked);
        let zone = self.zone(number);
        query(number as u16, &format!("{client}{number}.{zone}"))
    }

    /// Over UDP from one port, until it is stopped and all is answered.
    pub async fn over_udp(self, server: SocketAddr) {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(server).await.unwrap();
        let (mut waiting, mut reply, mut number) = (HashSet::new(), [0; 2048], 0_u64);
        let local = socket.local_addr().unwrap().port();
        loop {
            let is_over = self.stop.is_cancelled();
            if is_over && waiting.is_empty() {
                return;
            }
            if !is_over {
                number += 1;
                let zone = self.zone(number);
                socket.send(&query(number as u16, &format!("u{local}-{number}.{zone}"))).await.unwrap();
                Tally::add(&self.tally.asked);
                assert!(waiting.insert(number as u16));
            }
            let next = Instant::now() + if is_over { PATIENCE } else { self.pause };
            while let Ok(size) = timeout_at(next, socket.recv(&mut reply)).await {
                assert!(size.unwrap() > 12);
                assert!(waiting.remove(&u16::from_be_bytes([reply[0], reply[1]])), "answered twice");
                Tally::add(&self.tally.answered);
                if is_over && waiting.is_empty() {
                    return;
                }
            }
            assert!(!is_over, "{} datagrams got no answer", waiting.len());
        }
    }

    /// Over UDP from one port, with as many questions under way, until it is stopped.
    pub async fn over_udp_at_once(self, server: SocketAddr, at_once: u16) {
        let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
        socket.connect(server).await.unwrap();
        let (mut waiting, mut reply) = (HashSet::new(), [0; 2048]);
        loop {
            while !self.stop.is_cancelled() && waiting.len() < usize::from(at_once) {
                let question = self.next("u");
                socket.send(&question).await.unwrap();
                waiting.insert([question[0], question[1]]);
            }
            if waiting.is_empty() {
                return;
            }
            let received = timeout(PATIENCE, socket.recv(&mut reply)).await;
            received.unwrap_or_else(|_| panic!("{} datagrams got no answer", waiting.len())).unwrap();
            assert!(waiting.remove(&[reply[0], reply[1]]), "answered twice");
            Tally::add(&self.tally.answered);
        }
    }

    /// One connection after the other, over TLS if that is given, a few questions on each.
    pub async fn over_short_connections(self, server: SocketAddr, tls: Option<Arc<ClientConfig>>) {
        while !self.stop.is_cancelled() {
            Tally::add(&self.tally.connections);
            match &tls {
                None => self.ask_a_few(TcpStream::connect(server).await.unwrap()).await,
                Some(tls) => self.ask_a_few(connect(server, "localhost", tls.clone()).await.unwrap()).await,
            }
            self.rest().await;
        }
    }

    async fn ask_a_few(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
        let questions: Vec<_> = (0..TOGETHER).flat_map(|_| framed(&self.next("short"))).collect();
        stream.write_all(&questions).await.unwrap();
        for _ in 0..TOGETHER {
            self.receive(&mut stream).await;
        }
    }

    /// On a connection that is kept until the server asks for its end, over TLS if that is given.
    pub async fn over_long_connections(self, server: SocketAddr, tls: Option<Arc<ClientConfig>>) {
        while !self.stop.is_cancelled() {
            Tally::add(&self.tally.connections);
            match &tls {
                None => self.ask_on(TcpStream::connect(server).await.unwrap()).await,
                Some(tls) => self.ask_on(connect(server, "localhost", tls.clone()).await.unwrap()).await,
            }
        }
    }

    async fn ask_on(&self, mut stream: impl AsyncRead + AsyncWrite + Unpin) {
        while !self.stop.is_cancelled() {
            stream.write_all(&framed(&self.next("long"))).await.unwrap();
            let reply = self.receive(&mut stream).await;
            if reply.windows(ASKED_TO_END.len()).any(|part| part == ASKED_TO_END) {
                Tally::add(&self.tally.moved);
                return;
            }
            self.rest().await;
        }
    }

    async fn receive(&self, stream: &mut (impl AsyncRead + Unpin)) -> Vec<u8> {
        let reply = timeout(PATIENCE, client::read_message(stream))
            .await
            .expect("an answer")
            .expect("an answer before the end");
        Tally::add(&self.tally.answered);
        reply
    }

    /// Over HTTPS, on a connection that is kept until the server says that it ends.
    pub async fn over_https(self, server: SocketAddr, tls: Arc<ClientConfig>, version: Version) {
        while !self.stop.is_cancelled() {
            Tally::add(&self.tally.connections);
            let stream = connect(server, "localhost", tls.clone()).await.unwrap();
            stream.get_ref().0.set_nodelay(true).unwrap();
            let stream = TokioIo::new(stream);
            if version == Version::HTTP_2 {
                let (mut sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
                tokio::spawn(connection);
                while sender.ready().await.is_ok() && !self.stop.is_cancelled() {
                    let number = Tally::add(&self.tally.asked);
                    match sender.try_send_request(request(number, self.zone(number), version)).await {
                        Ok(response) => self.count(response.into_body().collect().await.map(|_| ())),
                        Err(mut error) => self.not_sent(error.take_message().is_some(), error.into_error()),
                    }
                    self.rest().await;
                }
            } else {
                let (mut sender, connection) = http1::handshake(stream).await.unwrap();
                tokio::spawn(connection);
                while sender.ready().await.is_ok() && !self.stop.is_cancelled() {
                    let number = Tally::add(&self.tally.asked);
                    match sender.try_send_request(request(number, self.zone(number), version)).await {
                        Ok(response) => self.count(response.into_body().collect().await.map(|_| ())),
                        Err(mut error) => self.not_sent(error.take_message().is_some(), error.into_error()),
                    }
                    self.rest().await;
                }
            }
            if !self.stop.is_cancelled() {
                Tally::add(&self.tally.moved);
            }
        }
    }

    fn count(&self, response: hyper::Result<()>) {
        response.expect("a whole response");
        Tally::add(&self.tally.answered);
    }

    /// What never left the client is asked again on another connection.
    fn not_sent(&self, is_here: bool, error: hyper::Error) {
        assert!(is_here, "a request got no response: {error}");
        self.tally.asked.fetch_sub(1, Ordering::SeqCst);
    }
}

fn request(number: u64, zone: &str, version: Version) -> Request<Full<Bytes>> {
    let body = query(0, &format!("h{number}-{version:?}.{zone}").replace('/', "-"));
    let uri = if version == Version::HTTP_2 { "https://localhost/dns-query" } else { "/dns-query" };
    let request = Request::post(uri).version(version).header("content-type", "application/dns-message");
    let request = if version == Version::HTTP_2 { request } else { request.header("host", "localhost") };
    request.body(Full::new(body.into())).unwrap()
}

/// A question for the address of a name, with an OPT record that asks how long a connection may be kept.
pub fn query(id: u16, name: &str) -> Vec<u8> {
    let mut message = id.to_be_bytes().to_vec();
    message.extend_from_slice(&[1, 0, 0, 1, 0, 0, 0, 0, 0, 1]);
    for label in name.split('.') {
        message.push(label.len() as u8);
        message.extend_from_slice(label.as_bytes());
    }
    message.extend_from_slice(&[0, 0, 1, 0, 1]);
    message.extend_from_slice(&[0, 0, 41, 4, 208, 0, 0, 0, 0, 0, 4, 0, 11, 0, 0]);
    message
}

fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u16).to_be_bytes(), message].concat()
}

/// Whether there is an answer in this time.
pub fn ask_over_udp(server: SocketAddr, name: &str, limit: Duration) -> bool {
    let socket = StdSocket::bind("127.0.0.1:0").unwrap();
    socket.set_read_timeout(Some(limit)).unwrap();
    socket.send_to(&query(7, name), server).unwrap();
    let mut reply = [0; 512];
    socket.recv(&mut reply).is_ok_and(|size| size > 12 && reply[..2] == [0, 7])
}

/// Whether there is an answer.
pub fn ask_over_tcp(server: SocketAddr, name: &str) -> bool {
    let mut stream = StdStream::connect(server).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(&framed(&query(7, name))).unwrap();
    let mut reply = [0; 4];
    stream.read_exact(&mut reply).is_ok_and(|()| reply[2..] == [0, 7])
}
