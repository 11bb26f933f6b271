use std::{
    collections::HashSet,
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    sync::atomic::{AtomicBool, AtomicUsize},
};

use bytes::Bytes;
use futures_util::{FutureExt, future::join_all};
use hickory_proto::rr::RecordType;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    sync::mpsc,
    task::JoinSet,
    time::sleep,
};
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        pki_types::{PrivateKeyDer, ServerName, pem::PemObject},
    },
    server::TlsStream,
};

use super::*;
use crate::sources::forward::{
    Asker, ForwardError, Forwarder,
    places::OWN,
    testing::{Honest, Received, Response, Scripted, question},
};

const RESOLVER: Flags = Flags { recursion_desired: true, dnssec_ok: false, checking_disabled: false };

/// Long enough for a busy machine; no test that passes waits for it.
const LONG: Duration = Duration::from_secs(10);

const NAME: &str = "dns.test";

/// Requests that the server takes at once on a connection of HTTP/2.
const MAX_STREAMS: u32 = 200;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Tls,
    Https,
}
use Kind::{Https, Tls};

/// A resolver over TLS or HTTPS, certified for [`NAME`] and 127.0.0.1, which replies to each question what its script
/// returns, if anything, after the milliseconds that it says.
struct Secure {
    kind: Kind,
    address: SocketAddr,
    /// The server's certificate, PEM.
    authority: tempfile::NamedTempFile,
    state: Arc<State>,
    tasks: Mutex<JoinSet<()>>,
}

#[derive(Default)]
struct State {
    received: Mutex<Vec<Received>>,
    connections: AtomicUsize,
    /// Closes the next connection when it brings a question.
    hangs_up: AtomicBool,
    status: AtomicUsize,
}

type Script = dyn Fn(&Received) -> Option<(u64, Response)> + Send + Sync;

impl Secure {
    async fn start(
        kind: Kind,
        script: impl Fn(&Received) -> Option<(u64, Response)> + Send + Sync + 'static,
    ) -> Self {
        let made = rcgen::generate_simple_self_signed([NAME.to_owned(), "127.0.0.1".to_owned()]);
        let made = made.expect("a certificate");
        let authority = tempfile::NamedTempFile::new().expect("a file");
        fs::write(authority.path(), made.cert.pem()).expect("room on the disk");
        let key = PrivateKeyDer::from_pem_slice(made.signing_key.serialize_pem().as_bytes()).expect("a key");
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .expect("ring knows them")
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .expect("they belong together");
        if kind == Https {
            config.alpn_protocols = vec![b"h2".to_vec()];
        }
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
        let address = listener.local_addr().expect("it is bound");
        let state = Arc::new(State { status: AtomicUsize::new(200), ..State::default() });
        let (acceptor, script, shared) =
            (TlsAcceptor::from(Arc::new(config)), Arc::new(script) as Arc<Script>, state.clone());
        let mut tasks = JoinSet::new();
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((tcp, _)) = listener.accept().await {
                shared.connections.fetch_add(1, Ordering::SeqCst);
                let (acceptor, script, state) = (acceptor.clone(), script.clone(), shared.clone());
                connections.spawn(async move {
                    match (acceptor.accept(tcp).await, kind) {
                        (Ok(stream), Tls) => serve_tls(stream, script, state).await,
                        (Ok(stream), Https) => serve_https(stream, script, state).await,
                        // A client that does not trust us.
                        (Err(_), _) => {}
                    }
                });
            }
        });
        Self { kind, address, authority, state, tasks: Mutex::new(tasks) }
    }

    async fn answering(kind: Kind) -> Self {
        Self::start(kind, |received| Some((0, received.response().address(1)))).await
    }

    /// How a configuration names it.
    fn named(&self, name: &str) -> UpstreamAddress {
        let scheme = if self.kind == Tls { "tls" } else { "https" };
        format!("{scheme}://{name}@{}", self.address).parse().expect("an upstream")
    }

    fn client(&self) -> TlsClient {
        TlsClient::new(Some(self.authority.path())).expect("its certificate")
    }

    fn channel(&self) -> Channel {
        Channel::new(&self.named(NAME), &self.client()).expect("it is encrypted")
    }

    fn connections(&self) -> usize {
        self.state.connections.load(Ordering::SeqCst)
    }

    fn received(&self) -> Vec<Received> {
        lock(&self.state.received).clone()
    }

    /// Closes all connections, and the listener.
    fn die(&self) {
        lock(&self.tasks).abort_all();
    }
}

impl State {
    fn note(&self, bytes: Vec<u8>) -> Option<Received> {
        let received = Received { bytes, from: SocketAddr::from(([0; 4], 0)), is_tcp: true };
        lock(&self.received).push(received.clone());
        (!self.hangs_up.swap(false, Ordering::SeqCst)).then_some(received)
    }
}

async fn serve_tls(stream: TlsStream<TcpStream>, script: Arc<Script>, state: Arc<State>) {
    let (mut input, mut output) = tokio::io::split(stream);
    let (replies, mut ready) = mpsc::unbounded_channel::<Vec<u8>>();
    let read = async {
        let mut slow = JoinSet::new();
        while let Ok(size) = input.read_u16().await {
            let mut bytes = vec![0; usize::from(size)];
            input.read_exact(&mut bytes).await.expect("a whole message");
            let Some(received) = state.note(bytes) else { return };
            let Some((after, response)) = script(&received) else { continue };
            let replies = replies.clone();
            slow.spawn(async move {
                sleep(Duration::from_millis(after)).await;
                let _ = replies.send(response.0);
            });
        }
    };
    let write = async {
        while let Some(reply) = ready.recv().await {
            let _ = output.write_u16(reply.len() as u16).await;
            let _ = output.write_all(&reply).await;
            let _ = output.flush().await;
        }
    };
    tokio::select! { () = read => {}, () = write => {} }
}

async fn serve_https(stream: TlsStream<TcpStream>, script: Arc<Script>, state: Arc<State>) {
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(MAX_STREAMS);
    let mut connection = builder.handshake::<_, Bytes>(stream).await.expect("HTTP/2");
    let mut requests = JoinSet::new();
    while let Some(Ok((request, mut reply))) = connection.accept().await {
        assert_eq!((request.method().as_str(), request.uri().path()), ("POST", "/dns-query"));
        let length: usize =
            request.headers()["content-length"].to_str().expect("text").parse().expect("a number");
        let mut body = request.into_body();
        // The body needs the connection to be served meanwhile.
        let mut bytes = Vec::new();
        while bytes.len() < length {
            tokio::select! {
                chunk = body.data() => bytes.extend_from_slice(&chunk.expect("a body").expect("no error")),
                _ = std::future::poll_fn(|cx| connection.poll_closed(cx)) => return,
            }
        }
        assert_eq!(bytes[..2], [0, 0], "RFC 8484 section 4.1");
        let Some(received) = state.note(bytes) else { return };
        let answer = script(&received);
        let status = state.status.load(Ordering::SeqCst) as u16;
        requests.spawn(async move {
            let Some((after, response)) = answer else { return std::future::pending().await };
            sleep(Duration::from_millis(after)).await;
            let head =
                http::Response::builder().status(status).header("content-type", "application/dns-message");
            let sent = reply.send_response(head.body(()).expect("a response"), false);
            let _ = sent.and_then(|mut body| body.send_data(Bytes::from(response.0), true));
        });
    }
}

async fn ask(channel: &Channel, name: &str) -> Result<Message, ExchangeError> {
    channel.exchange(&question(name, RecordType::A), RESOLVER, Instant::now() + LONG).await
}

async fn forward(forwarder: &Forwarder, name: &str) -> Result<Arc<Message>, ForwardError> {
    let asked = question(name, RecordType::A);
    timeout(LONG, forwarder.ask(Asker::Own, &asked, false, false)).await.expect("an end")
}

#[tokio::test]
async fn an_upstream_with_a_certificate_for_its_name_or_address_is_believed() {
    for kind in [Tls, Https] {
        let server =
            Secure::start(kind, |received| Some((0, received.response().address(1).authentic()))).await;
        for name in [NAME, "127.0.0.1"] {
            let forwarder = Forwarder::new(vec![server.named(name)], &server.client());
            let answer = forward(&forwarder, "Example.COM.").await.expect("an answer");
            assert_eq!(answer.answers.len(), 1, "{kind:?} {name}");
            assert!(answer.authentic_data, "nobody can have changed it");
        }
    }
}

#[tokio::test]
async fn an_upstream_with_a_certificate_for_another_name_or_of_a_stranger_gets_no_question() {
    let honest = Scripted::start(|received| vec![received.response().address(2).0]).await;
    for kind in [Tls, Https] {
        let server = Secure::answering(kind).await;
        let nobody = TlsClient::new(None).expect("nothing to read");
        for (upstream, client) in [
            (server.named("other.test"), server.client()),
            (server.named("127.0.0.2"), server.client()),
            (server.named(NAME), nobody),
        ] {
            let alone = Forwarder::new(vec![upstream.clone()], &client);
            let result = forward(&alone, "example.com.").await;
            let reason = result.expect_err("a stranger").to_string();
            assert!(
                reason.contains("TLS handshake failed: invalid peer certificate"),
                "{upstream}: {reason}"
            );
            let two = Forwarder::new(vec![upstream.clone(), honest.address.into()], &client);
            let answer = forward(&two, "example.com.").await.expect("an answer");
            assert_eq!(answer.answers.len(), 1, "{upstream}");
        }
        assert!(server.connections() > 0);
        assert_eq!(server.received().len(), 0);
    }
}

#[tokio::test]
async fn questions_share_one_connection_and_answers_come_in_any_order() {
    for kind in [Tls, Https] {
        // The first is answered last.
        let server = Secure::start(kind, |received| {
            let number = received.bytes[14];
            Some((u64::from(b'z' - number), received.response().address(number)))
        })
        .await;
        let channel = server.channel();
        let names: Vec<_> =
            (0..200).map(|index| format!("x{}{index}.example.", (b'a' + index % 26) as char)).collect();
        let answers = join_all(names.iter().map(|name| ask(&channel, name))).await;
        for (name, answer) in names.iter().zip(answers) {
            let answer = answer.expect("an answer");
            assert_eq!(answer.answers[0].name.to_string(), *name, "{kind:?}");
        }
        assert_eq!((server.connections(), server.received().len()), (1, 200), "{kind:?}");
    }
}

#[tokio::test]
async fn a_server_that_closes_the_idle_connection_is_dialled_again() {
    for kind in [Tls, Https] {
        let server = Secure::answering(kind).await;
        let channel = server.channel();
        ask(&channel, "one.example.").await.expect("an answer");
        // With the question on its way, so that the connection looked well.
        server.state.hangs_up.store(true, Ordering::SeqCst);
        ask(&channel, "two.example.").await.expect("an answer");
        assert_eq!((server.connections(), server.received().len()), (2, 3), "{kind:?}");
    }
}

#[tokio::test]
async fn a_connection_that_was_closed_or_idle_for_long_is_not_used_again() {
    for kind in [Tls, Https] {
        let server = Secure::answering(kind).await;
        let channel = server.channel();
        ask(&channel, "one.example.").await.expect("an answer");
        let first = channel.dialler.current().expect("a connection");
        let now = Instant::now();
        assert!(first.is_usable(now) && first.is_usable(now + MAX_IDLE / 2));
        assert!(!first.is_usable(now + MAX_IDLE + Duration::from_secs(1)), "{kind:?}");

        server.die();
        let gone = async {
            while channel.dialler.current().is_some() {
                sleep(Duration::from_millis(1)).await;
            }
        };
        timeout(LONG, gone).await.expect("the end of the connection is seen");
    }
}

#[tokio::test]
async fn a_connection_that_fell_silent_is_replaced_while_the_question_waits() {
    for kind in [Tls, Https] {
        let silent = Arc::new(AtomicUsize::new(0));
        let left = silent.clone();
        let server = Secure::start(kind, move |received| {
            let is_silent =
                left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok();
            (!is_silent).then(|| (0, received.response().address(1)))
        })
        .await;
        let forwarder = Forwarder::new(vec![server.named(NAME)], &server.client());
        forward(&forwarder, "one.example.").await.expect("an answer");
        // The question, and what is asked to see whether it is only this question.
        silent.store(2, Ordering::SeqCst);
        forward(&forwarder, "two.example.").await.expect("an answer");
        assert_eq!(server.connections(), 2, "{kind:?}");
    }
}

#[tokio::test]
async fn a_connection_that_is_silent_about_one_name_stays_in_use() {
    for kind in [Tls, Https] {
        let server = Secure::start(kind, |received| {
            let is_slow = received.question().wire_name().starts_with(b"\x04slow");
            (!is_slow).then(|| (0, received.response().address(1)))
        })
        .await;
        let forwarder = Forwarder::new(vec![server.named(NAME)], &server.client());
        let slow = forward(&forwarder, "slow.example.");
        assert!(timeout(STALL + Duration::from_millis(500), slow).await.is_err(), "silence");
        forward(&forwarder, "two.example.").await.expect("an answer");
        assert_eq!(server.connections(), 1, "{kind:?}");
    }
}

#[tokio::test]
async fn no_more_is_asked_at_once_than_a_server_allows() {
    let line = Line::from(Asker::Client { address: Ipv4Addr::LOCALHOST.into(), is_proven: true });
    for (kind, most) in [(Https, MAX_STREAMS as usize - OWN.in_flight), (Tls, MAX_IN_FLIGHT)] {
        let server = Secure::answering(kind).await;
        let channel = server.channel();
        // The second knows what the first was told.
        ask(&channel, "one.example.").await.expect("an answer");
        ask(&channel, "two.example.").await.expect("an answer");
        let mut held = Vec::new();
        while let Some(Ok(place)) = channel.turn(line).now_or_never() {
            held.push(place);
        }
        assert!(held.len() > most / 2 && held.len() <= most, "{kind:?}: {}", held.len());
        let other =
            Line::from(Asker::Client { address: Ipv4Addr::new(127, 0, 0, 2).into(), is_proven: true });
        let mut waiting = Box::pin(channel.turn(other));
        let at_once = (&mut waiting).now_or_never().is_some();
        held[0].revoked().now_or_never().map_or_else(|| assert!(at_once), |()| assert!(!at_once));
        assert!(channel.turn(Line::Own).now_or_never().is_some(), "our own questions have their own");
    }
}

#[tokio::test]
async fn an_upstream_that_died_is_passed_over_and_alone_is_an_error_in_time() {
    let honest = Honest::start(Vec::new()).await;
    for kind in [Tls, Https] {
        let server = Secure::answering(kind).await;
        let alone = Forwarder::new(vec![server.named(NAME)], &server.client());
        let two = Forwarder::new(vec![server.named(NAME), honest.address.into()], &server.client());
        for forwarder in [&alone, &two] {
            forward(forwarder, "one.example.").await.expect("an answer");
        }
        assert_eq!(server.received().len(), 2, "{kind:?}");
        server.die();
        forward(&two, "two.example.").await.expect("the other one's answer");
        let reason = forward(&alone, "two.example.").await.expect_err("dead").to_string();
        assert!(reason.contains("it cannot be reached: connection refused"), "{kind:?}: {reason}");
    }
}

#[tokio::test]
async fn an_upstream_that_never_says_anything_ends_in_time() {
    // Accepts connections and leaves even the handshake unanswered.
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.expect("a free port");
    let tls = TlsClient::new(None).expect("nothing to read");
    for scheme in ["tls", "https"] {
        let address = listener.local_addr().expect("it is bound");
        let upstream = format!("{scheme}://{address}").parse().expect("an upstream");
        let channel = Channel::new(&upstream, &tls).expect("it is encrypted");
        let deadline = Instant::now() + Duration::from_millis(100);
        let asked = question("example.com.", RecordType::A);
        let result = timeout(LONG, channel.exchange(&asked, RESOLVER, deadline)).await.expect("an end");
        assert_eq!(result.expect_err("silence"), ExchangeError::Silent);
    }
}

#[tokio::test]
async fn handshakes_that_fail_are_not_repeated_with_each_question() {
    for kind in [Tls, Https] {
        let server = Secure::answering(kind).await;
        let channel = Channel::new(&server.named("other.test"), &server.client()).expect("it is encrypted");
        for _ in 0..20 {
            let reason = ask(&channel, "example.com.").await.expect_err("a stranger").to_string();
            assert!(reason.contains("TLS handshake failed"), "{kind:?}: {reason}");
        }
        // Three, and after each pause one, the first of which is a second.
        let before = server.connections();
        assert!((3..=5).contains(&before), "{kind:?}: {before}");
        tokio::time::pause();
        tokio::time::advance(LONGEST_PAUSE).await;
        tokio::time::resume();
        ask(&channel, "example.com.").await.expect_err("a stranger");
        assert_eq!(server.connections(), before + 1, "{kind:?}");
    }
}

#[tokio::test]
async fn an_answer_to_another_question_or_that_is_cut_is_not_taken() {
    for kind in [Tls, Https] {
        for (what, forge) in [
            ("another name", (|response: Response| response.with(|bytes| bytes[13] ^= 1)) as fn(_) -> _),
            ("a query", |response: Response| response.with(|bytes| bytes[2] &= 0x7f)),
            ("cut", Response::truncated),
        ] {
            let server =
                Secure::start(kind, move |received| Some((0, forge(received.response().address(66))))).await;
            let result = ask(&server.channel(), "example.com.").await;
            assert_eq!(result.expect_err(what), ExchangeError::Malformed, "{kind:?} {what}");
        }
    }
}

#[tokio::test]
async fn an_http_error_is_no_answer() {
    let server = Secure::answering(Https).await;
    server.state.status.store(503, Ordering::SeqCst);
    let result = ask(&server.channel(), "example.com.").await;
    assert_eq!(result.expect_err("an error page").to_string(), "it answers with HTTP status 503");
}

#[tokio::test]
async fn every_query_has_one_of_few_lengths_and_a_server_without_edns_is_asked_again() {
    for kind in [Tls, Https] {
        let server = Secure::start(kind, |received| {
            let has_edns = received.bytes[11] == 1;
            let response = received.response();
            Some((0, if has_edns { response.code(1) } else { response.address(1) }))
        })
        .await;
        for length in 1..=63 {
            let name = format!("{}.{}.example.", "x".repeat(length), "y".repeat(60));
            // A new one each time, to which nothing is known.
            assert_eq!(ask(&server.channel(), &name).await.expect("an answer").answers.len(), 1);
        }
        let received = server.received();
        assert_eq!(received.len(), 126);
        let padded = received.iter().filter(|received| received.bytes[11] == 1);
        let lengths: HashSet<_> = padded.map(|received| received.bytes.len()).collect();
        assert_eq!(lengths, HashSet::from([128, 256]), "{kind:?}");
    }
}

#[tokio::test]
async fn a_name_that_is_refused_with_edns_does_not_switch_it_off_for_others() {
    for kind in [Tls, Https] {
        let server = Secure::start(kind, |received| {
            let (has_edns, is_odd) = (received.bytes[11] == 1, received.bytes[13] == b'o');
            let response = received.response();
            Some((0, if has_edns && is_odd { response.code(1) } else { response.address(1) }))
        })
        .await;
        let channel = server.channel();
        for name in ["example.com.", "odd.example.", "example.com."] {
            assert_eq!(ask(&channel, name).await.expect("an answer").answers.len(), 1);
        }
        let edns: Vec<u8> = server.received().iter().map(|received| received.bytes[11]).collect();
        assert_eq!(edns, [1, 1, 0, 1], "{kind:?}");
    }
}

#[tokio::test]
async fn a_loop_over_tls_is_found() {
    let forwarder = Arc::new(Mutex::new(None::<Arc<Forwarder>>));
    let us = forwarder.clone();
    let server = Secure::start(Tls, move |received| {
        let us = lock(&us).clone().expect("it is set");
        assert!(us.is_loop_probe(&received.question()));
        Some((0, received.response().code(5)))
    })
    .await;
    let looping = Arc::new(Forwarder::new(vec![server.named(NAME)], &server.client()));
    *lock(&forwarder) = Some(looping.clone());
    looping.asked.load_full().upstreams.look_for_loops().await;
    assert_eq!(forward(&looping, "example.com.").await.expect_err("a loop"), ForwardError::Loop);
}

#[test]
fn a_file_without_an_authority_is_an_error_that_names_it() {
    let file = tempfile::NamedTempFile::new().expect("a file");
    for (text, part) in [
        ("", "holds no certificate"),
        ("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n", "certificate"),
        ("-----BEGIN CERTIFICATE-----\n", "fallback_ca_path"),
    ] {
        fs::write(file.path(), text).expect("room on the disk");
        let error = TlsClient::new(Some(file.path())).expect_err(text).to_string();
        assert!(error.contains(part) && error.contains(&*file.path().to_string_lossy()), "{error}");
    }
    let absent = TlsClient::new(Some(Path::new("/absent.pem"))).expect_err("absent").to_string();
    assert!(absent.contains("/absent.pem"), "{absent}");
}

#[test]
fn what_is_asked_for_over_https_names_the_server_as_its_certificate_does() {
    let path = PathAndQuery::from_static("/dns-query");
    for (name, port, expected) in [
        ("dns.google", 443, "https://dns.google/dns-query"),
        ("dns.google", 8443, "https://dns.google:8443/dns-query"),
        ("1.1.1.1", 443, "https://1.1.1.1/dns-query"),
        ("2620:fe::fe", 443, "https://[2620:fe::fe]/dns-query"),
    ] {
        let name = ServerName::try_from(name).expect("a name");
        assert_eq!(https::uri(&name, port, &path).expect("a URI").to_string(), expected);
    }
}
