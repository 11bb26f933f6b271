//! One relay, and what it says.

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::atomic::{AtomicUsize, Ordering},
};

use futures_util::future::join_all;
use http::StatusCode;
use pkdns_dht::signed_packet::Keypair;
use tokio::net::TcpStream;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        RootCertStore, ServerConfig,
        crypto::ring,
        pki_types::{PrivateKeyDer, pem::PemObject},
    },
};

use super::{
    scripted_relay::{Received, Reply, ScriptedRelay},
    *,
};
use crate::program::testnet::{sample_keypair, sample_packet};

/// Trusts `roots`.
fn tls(roots: RootCertStore) -> ClientConfig {
    ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth()
}

/// Fails the test when a name is to be resolved.
pub(super) fn no_names() -> HostResolver {
    Arc::new(|host| panic!("asked for {host}"))
}

/// Those at `urls`, asked without looking up a name.
pub(super) fn relays(urls: &[String]) -> Relays {
    let urls: Vec<RelayUrl> = urls.iter().map(|url| url.parse().unwrap()).collect();
    Relays::new(&urls, &tls(RootCertStore::empty()), no_names(), &RelayOutcomes::default())
}

fn relay(url: &str) -> Relay {
    relays(&[url.to_owned()]).0[0].clone()
}

pub(super) fn packet(timestamp: u64) -> SignedPacket {
    sample_packet(&sample_keypair(), timestamp).unwrap()
}

/// As a relay sends it.
pub(super) fn body(packet: &SignedPacket) -> Vec<u8> {
    [packet.signature().as_slice(), &packet.timestamp().to_be_bytes(), packet.dns()].concat()
}

async fn get(script: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Result<u64, RelayError> {
    let server = ScriptedRelay::start(script).await;
    let found = relay(&server.url()).get(packet(1).key()).await?;
    Ok(found.map_or(0, |packet| packet.timestamp()))
}

async fn put(script: impl Fn(&Received) -> Reply + Send + Sync + 'static) -> Result<u32, RelayError> {
    let server = ScriptedRelay::start(script).await;
    relay(&server.url()).put(&packet(1)).await
}

#[tokio::test]
async fn a_packet_is_asked_for_below_the_path_of_the_relay() {
    let server = ScriptedRelay::start(|_| Reply::answer(200, &[], &body(&packet(7)))).await;
    let found = relay(&format!("{}/pkarr/", server.url())).get(packet(1).key()).await;
    assert_eq!(found, Ok(Some(packet(7))));
    let [received] = &server.received()[..] else { panic!("{:?}", server.received()) };
    assert_eq!(received.line, format!("GET /pkarr/{}", packet(1).key().to_z32()));
    let mut headers: Vec<_> = received.headers.keys().map(String::as_str).collect();
    headers.sort_unstable();
    // Nothing else that could tell askers apart.
    assert_eq!(headers, ["host", "user-agent"]);
    assert_eq!(received.headers["host"], server.address.to_string());
}

#[tokio::test]
async fn a_packet_is_stored_without_its_key() {
    let stored = |headers: &'static [&str]| put(move |_| Reply::answer(204, headers, b""));
    assert_eq!(stored(&["Pkarr-Dht-Stored-Nodes: 17"]).await, Ok(17));
    assert_eq!(stored(&[]).await, Ok(1));
    assert_eq!(stored(&["pkarr-dht-stored-nodes: -1"]).await, Ok(1));

    let server = ScriptedRelay::start(|_| Reply::status(204)).await;
    assert_eq!(relay(&format!("{}/pkarr", server.url())).put(&packet(9)).await, Ok(1));
    let received = server.received().remove(0);
    assert_eq!(received.line, format!("PUT /pkarr/{}", packet(9).key().to_z32()));
    assert_eq!(received.body, body(&packet(9)));
}

#[tokio::test]
async fn every_status_of_get_has_its_meaning() {
    let status = |status| get(move |_| Reply::answer(status, &[], b"some words"));
    let code = |code| StatusCode::from_u16(code).unwrap();
    assert_eq!(status(404).await, Ok(0));
    assert_eq!(status(429).await, Err(RelayError::TooManyRequests));
    for (answer, error) in [
        (500, RelayError::Unavailable(code(500))),
        (503, RelayError::Unavailable(code(503))),
        (400, RelayError::Refused(code(400))),
        (403, RelayError::Refused(code(403))),
        (410, RelayError::Refused(code(410))),
    ] {
        assert_eq!(status(answer).await, Err(error));
    }
    assert_eq!(status(200).await, Err(RelayError::NotAPacket));
}

#[tokio::test]
async fn every_status_of_put_has_its_meaning() {
    let status = |status| put(move |_| Reply::status(status));
    let code = |code| StatusCode::from_u16(code).unwrap();
    for (answer, error) in [
        (409, RelayError::NotMostRecent),
        (428, RelayError::NotMostRecent),
        (412, RelayError::CasFailed),
        (429, RelayError::TooManyRequests),
        (500, RelayError::Unavailable(code(500))),
        (400, RelayError::Refused(code(400))),
        (413, RelayError::Refused(code(413))),
        // A web server that is no relay.
        (200, RelayError::Refused(code(200))),
    ] {
        assert_eq!(status(answer).await, Err(error));
    }
}

#[tokio::test]
async fn a_redirect_is_not_followed() {
    let elsewhere = ScriptedRelay::start(|_| Reply::answer(200, &[], &body(&packet(1)))).await;
    let location = format!("location: {}/{}", elsewhere.url(), packet(1).key());
    let redirect = get(move |_| Reply::answer(307, &[&location], b"")).await;
    assert_eq!(redirect, Err(RelayError::Redirect(StatusCode::TEMPORARY_REDIRECT)));
    assert_eq!(elsewhere.connections(), 0);
}

#[tokio::test]
async fn an_answer_without_its_packet_is_asked_for_once_more_past_all_caches() {
    for status in [304, 200, 204] {
        let server = ScriptedRelay::start(move |received| match received.headers.get("cache-control") {
            None => Reply::status(status),
            Some(_) => Reply::answer(200, &[], &body(&packet(3))),
        });
        let server = server.await;
        assert_eq!(relay(&server.url()).get(packet(1).key()).await, Ok(Some(packet(3))), "{status}");
        let second = &server.received()[1];
        assert_eq!(second.headers["cache-control"], "no-cache, no-store, must-revalidate");
    }
    let asked = Arc::new(AtomicUsize::new(0));
    let counter = asked.clone();
    let unchanged = get(move |_| {
        counter.fetch_add(1, Ordering::SeqCst);
        Reply::status(304)
    });
    assert_eq!(unchanged.await, Err(RelayError::Refused(StatusCode::NOT_MODIFIED)));
    assert_eq!(get(|_| Reply::status(200)).await, Err(RelayError::NotAPacket));
    assert_eq!(asked.load(Ordering::SeqCst), 2);
}

#[tokio::test]
async fn what_is_not_what_the_owner_signed_is_refused() {
    let mut forged = body(&packet(5));
    forged[70] ^= 1;
    let other = sample_packet(&Keypair::from_secret_key(&[7; 32]), 5).unwrap();
    let invalid = Err(RelayError::Invalid(InvalidPacket::Signature));
    assert_eq!(get(move |_| Reply::answer(200, &[], &forged)).await, invalid);
    assert_eq!(get(move |_| Reply::answer(200, &[], &body(&other))).await, invalid);

    let mut late = body(&packet(5));
    late[64] = 0x80;
    let late = get(move |_| Reply::answer(200, &[], &late)).await;
    assert_eq!(late, Err(RelayError::Invalid(InvalidPacket::Timestamp)));
    let long = get(|_| Reply::answer(200, &[], &[0; 1104])).await;
    assert_eq!(long, Err(RelayError::Invalid(InvalidPacket::TooLarge(1032))));
    for size in [1, 71, 1105] {
        let answer = get(move |_| Reply::answer(200, &[], &vec![0; size])).await;
        assert_eq!(answer, Err(RelayError::NotAPacket), "{size}");
    }
}

#[tokio::test]
async fn no_more_of_an_answer_is_read_than_a_packet_has() {
    let head = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n".to_vec();
    let chunks = [b"400\r\n".as_slice(), &[7; 0x400], b"\r\n"].concat().repeat(2);
    // The third never comes, and neither does the end.
    let endless = [head, chunks].concat();
    let answer = get(move |_| Reply::raw(endless.clone()).then_hangs()).await;
    assert_eq!(answer, Err(RelayError::NotAPacket));
    let announced = "HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n".to_owned() + &"x".repeat(2000);
    let answer = get(move |_| Reply::raw(announced.clone()).then_hangs()).await;
    assert_eq!(answer, Err(RelayError::NotAPacket));
}

#[tokio::test]
async fn a_broken_answer_is_an_error() {
    for broken in [
        "SSH-2.0-OpenSSH_9\r\n".to_owned(),
        "HTTP/1.1 2000 OK\r\n\r\n".to_owned(),
        "HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort".to_owned(),
        "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n".to_owned(),
        format!("HTTP/1.1 200 OK\r\n{}content-length: 0\r\n\r\n", "a: b\r\n".repeat(1000)),
        format!("HTTP/1.1 200 OK\r\na: {}\r\ncontent-length: 0\r\n\r\n", "b".repeat(40_000)),
        String::new(),
    ] {
        let answer = get({
            let broken = broken.clone();
            move |_| Reply::raw(broken.clone()).then_closes()
        });
        let shown = broken.get(..40).unwrap_or(&broken);
        assert!(matches!(answer.await, Err(RelayError::Unreachable(_))), "{shown}");
    }
}

/// The clock runs ahead whenever everybody waits, so that the time is that of the deadline and not of the test.
#[tokio::test(start_paused = true)]
async fn a_relay_that_says_nothing_or_not_all_is_given_up() {
    let key = packet(1).key().clone();
    let begun = "HTTP/1.1 200 OK\r\ncontent-length: 184\r\n\r\n";
    for reply in ["", begun] {
        let server = ScriptedRelay::start(move |_| Reply::raw(reply).then_hangs()).await;
        let begin = Instant::now();
        assert_eq!(relay(&server.url()).get(&key).await, Err(RelayError::TimedOut));
        assert!(begin.elapsed() <= GET_DEADLINE * 2, "{:?}", begin.elapsed());
    }
}

#[tokio::test]
async fn a_connection_is_used_again_and_made_anew_when_it_was_closed() {
    let key = packet(1).key().clone();
    let server = ScriptedRelay::start(|_| Reply::answer(404, &[], b"there is none")).await;
    let kept = relay(&server.url());
    for _ in 0..5 {
        assert_eq!(kept.get(&key).await, Ok(None));
    }
    assert_eq!((server.connections(), server.received().len()), (1, 5));

    let server = ScriptedRelay::start(|_| Reply::status(404).then_closes()).await;
    let closed = relay(&server.url());
    for _ in 0..5 {
        assert_eq!(closed.get(&key).await, Ok(None));
    }
    assert_eq!(server.connections(), 5);
}

#[tokio::test]
async fn a_busy_relay_is_not_asked_more() {
    let key = packet(1).key().clone();
    let server = ScriptedRelay::start(|_| Reply::status(404).after(300)).await;
    let relay = relay(&server.url());
    let answers = join_all((0..MAX_UNDER_WAY + 3).map(|_| relay.get(&key))).await;
    let busy = answers.iter().filter(|answer| **answer == Err(RelayError::Busy)).count();
    assert_eq!((busy, server.received().len()), (3, MAX_UNDER_WAY));
    assert_eq!(relay.get(&key).await, Ok(None));
}

#[tokio::test]
async fn a_relay_that_fails_is_left_alone_for_a_while() {
    let key = packet(1).key().clone();
    let server = ScriptedRelay::start(|_| Reply::status(503)).await;
    let relay = relay(&server.url());
    for _ in 0..3 {
        assert!(matches!(relay.get(&key).await, Err(RelayError::Unavailable(_))));
    }
    assert_eq!(relay.get(&key).await, Err(RelayError::Paused));
    assert_eq!(relay.put(&packet(1)).await, Err(RelayError::Paused));
    assert_eq!(server.received().len(), 3);
}

#[tokio::test]
async fn what_the_owner_of_one_key_brings_about_does_not_keep_a_relay_from_being_asked() {
    let key = packet(1).key().clone();
    let bad = |received: &Received| match received.line.starts_with("PUT") {
        true => Reply::status(409),
        false => Reply::answer(200, &[], &[1; 100]),
    };
    let server = ScriptedRelay::start(bad).await;
    let relay = relay(&server.url());
    for _ in 0..5 {
        assert_eq!(relay.get(&key).await, Err(RelayError::Invalid(InvalidPacket::Signature)));
        assert_eq!(relay.put(&packet(1)).await, Err(RelayError::NotMostRecent));
    }
}

#[tokio::test]
async fn a_name_is_looked_up_by_the_resolver_given_and_an_address_by_none() {
    // A relay's name used to be looked up through the system's resolver, which may be this server.
    let server = ScriptedRelay::start(|_| Reply::status(404)).await;
    let asked = Arc::new(Mutex::new(Vec::new()));
    let resolver = |addresses: Vec<IpAddr>| -> HostResolver {
        let asked = asked.clone();
        Arc::new(move |host| {
            asked.lock().unwrap().push(host);
            let addresses = addresses.clone();
            Box::pin(async move { addresses })
        })
    };
    let named = |host: &str, resolver| {
        let url = format!("http://{host}:{}", server.address.port()).parse().unwrap();
        Relays::new(&[url], &tls(RootCertStore::empty()), resolver, &RelayOutcomes::default()).0[0].clone()
    };
    let key = packet(1).key().clone();
    // The first address leads nowhere: nothing listens there.
    let addresses = vec![IpAddr::from([127, 0, 0, 77]), Ipv4Addr::LOCALHOST.into()];
    assert_eq!(named("relay.test", resolver(addresses)).get(&key).await, Ok(None));
    // Where the system knows a name, it is not asked either.
    let unknown = named("localhost", resolver(Vec::new())).get(&key).await;
    assert_eq!(unknown, Err(RelayError::Unreachable("its name has no address".to_owned())));
    assert_eq!(named("127.0.0.1", no_names()).get(&key).await, Ok(None));
    assert_eq!(*asked.lock().unwrap(), ["relay.test", "localhost"]);
}

#[tokio::test]
async fn an_encrypted_relay_has_to_be_certified() {
    let made = rcgen::generate_simple_self_signed(["relay.test".to_owned()]).unwrap();
    let key = PrivateKeyDer::from_pem_slice(made.signing_key.serialize_pem().as_bytes()).unwrap();
    let config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let accept = move |tcp: TcpStream| acceptor.accept(tcp);
    let server = ScriptedRelay::start_over(accept, |_| Reply::answer(200, &[], &body(&packet(2)))).await;
    let loopback: HostResolver = Arc::new(|_| Box::pin(async { vec![Ipv4Addr::LOCALHOST.into()] }));
    let ask = async |host: &str, roots| {
        let url = format!("https://{host}:{}/pkarr", server.address.port()).parse().unwrap();
        let relays = Relays::new(&[url], &tls(roots), loopback.clone(), &RelayOutcomes::default());
        relays.0[0].get(packet(1).key()).await
    };
    let mut roots = RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    assert_eq!(ask("relay.test", roots.clone()).await, Ok(Some(packet(2))));
    for (host, roots) in [("other.test", roots), ("relay.test", RootCertStore::empty())] {
        let Err(RelayError::Unreachable(cause)) = ask(host, roots).await else {
            panic!("{host} was believed")
        };
        assert!(cause.contains("certificate"), "{cause}");
    }
    assert_eq!(server.received().len(), 1);
}

#[tokio::test]
async fn every_request_is_counted_by_its_outcome() {
    let requests = AtomicUsize::new(0);
    let server = ScriptedRelay::start(move |_| match requests.fetch_add(1, Ordering::SeqCst) {
        0 => Reply::answer(200, &[], &body(&packet(1))),
        1 => Reply::status(404),
        2 => Reply::status(400),
        _ => Reply::status(500),
    });
    let (server, outcomes) = (server.await, RelayOutcomes::default());
    let url = server.url().parse().unwrap();
    let relays = Relays::new(&[url], &tls(RootCertStore::empty()), no_names(), &outcomes);
    for _ in 0..7 {
        let _ = relays.0[0].get(packet(1).key()).await;
    }
    let RelayOutcomes { found, absent, stored, refused, failed, skipped, .. } = &outcomes;
    let counts = [found, absent, stored, refused, failed, skipped].map(|counter| counter.get());
    assert_eq!(counts, [1, 1, 0, 1, 3, 1]);

    let server = ScriptedRelay::start(|_| Reply::status(204)).await;
    let url = server.url().parse().unwrap();
    let relays = Relays::new(&[url], &tls(RootCertStore::empty()), no_names(), &outcomes);
    assert_eq!(relays.0[0].put(&packet(1)).await, Ok(1));
    assert_eq!(outcomes.stored.get(), 1);
}

#[test]
fn a_relay_that_is_named_twice_is_asked_once() {
    let named = ["https://relay.example/", "http://relay.example", "https://Relay.example:443"];
    let relays = relays(&named.map(String::from));
    let urls: Vec<_> = relays.iter().map(|relay| relay.url().to_string()).collect();
    assert_eq!(urls, ["https://relay.example", "http://relay.example"]);
}
