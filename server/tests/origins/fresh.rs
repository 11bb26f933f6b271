//! Challenges of certificate authorities are answered with what the network says now.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc, Mutex,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use async_trait::async_trait;
use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{RData, RecordType, rdata::TXT},
};
use pkdns::{
    message::Reply,
    service::{AtOnce, Client, Respond, Transport},
};
use pkdns_dht::{
    Evidence, Network, NetworkError,
    signed_packet::{Keypair, PublicKey, SignedPacket},
};
use pkdns_testing::common::{keypair, packet_message, query, record, with_edns};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpSocket,
    sync::mpsc,
    time::{Instant, advance},
};

use super::{OWN, STRANGER, Served, ask_service, extended_error, name_in_origin, service};

const CHALLENGE: &str = "_acme-challenge.";

/// A packet of the key of seed 1, with one text at the name of challenges and at another one.
fn packet(version: u64, text: Option<&str>) -> SignedPacket {
    let key = keypair(1);
    let text = text.map(|text| RData::TXT(TXT::new(vec![text.into()])));
    let names = ["_acme-challenge", "www"].into_iter().zip(text.into_iter().cycle());
    let records: Vec<_> = names.map(|(name, text)| record(&key, name, 300, text)).collect();
    SignedPacket::sign(&key, version, &packet_message(&records)).unwrap()
}

/// Says the same to all who ask, or fails.
struct Says {
    packet: Mutex<Result<Option<SignedPacket>, NetworkError>>,
    lookups: AtomicUsize,
}

impl Says {
    fn new(packet: SignedPacket) -> Arc<Self> {
        Arc::new(Self { packet: Mutex::new(Ok(Some(packet))), lookups: AtomicUsize::new(0) })
    }

    fn set(&self, packet: Result<Option<SignedPacket>, NetworkError>) {
        *self.packet.lock().unwrap() = packet;
    }
}

#[async_trait]
impl Network for Says {
    async fn lookup(
        &self,
        _: &PublicKey,
        found: mpsc::UnboundedSender<SignedPacket>,
    ) -> Result<Evidence, NetworkError> {
        self.lookups.fetch_add(1, Ordering::SeqCst);
        let packet = self.packet.lock().unwrap().clone();
        if let Some(packet) = packet? {
            let _ = found.send(packet);
        }
        Ok(Evidence { queried: 20, responded: 20, held: 0 })
    }
}

/// The text of an answer, and its TTL.
fn text(message: &Message) -> Option<(String, u32)> {
    message.answers.first().map(|record| (record.data.to_string().trim_matches('"').to_owned(), record.ttl))
}

/// Who asks by which name: strangers and those who are served in the origin, and these for the key itself.
fn ways() -> [(Ipv4Addr, String); 4] {
    let (key, origin) = (keypair(1).to_z32(), name_in_origin("", &keypair(1)));
    [(STRANGER, origin.clone()), (OWN, origin), (OWN, key.clone()), (OWN, format!("{key}.key"))]
}

#[tokio::test(start_paused = true)]
async fn a_challenge_is_never_older_than_ten_seconds_and_nobody_keeps_it_for_longer() {
    for (client, zone) in ways() {
        let network = Says::new(packet(1, Some("old")));
        let service = service(network.clone());
        let ask = async |labels: &str| {
            let request = with_edns(query(&format!("{labels}{zone}"), RecordType::TXT), false);
            text(&ask_service(&service, client, &request).await).unwrap()
        };
        assert_eq!(ask("www.").await.0, "old");
        let (first, ttl) = ask(CHALLENGE).await;
        assert!(first == "old" && ttl <= 10, "{ttl}");
        network.set(Ok(Some(packet(2, Some("new")))));
        advance(Duration::from_millis(10_100)).await;
        assert_eq!(ask("www.").await.0, "old", "other names have their time");
        let (second, ttl) = ask("_ACME-challenge.").await;
        assert!(second == "new" && ttl <= 10, "{zone}: {second} {ttl}");
        assert_eq!(ask("www.").await.0, "new", "what was found is for all");
        // A packet that stays the same is asked for every ten seconds, however many ask.
        let before = network.lookups.load(Ordering::SeqCst);
        for _ in 0..60 {
            advance(Duration::from_secs(1)).await;
            let (_, ttl) = ask(CHALLENGE).await;
            assert!(ttl <= 10);
        }
        let lookups = network.lookups.load(Ordering::SeqCst) - before;
        assert!((5..=7).contains(&lookups), "{zone}: {lookups}");
    }
}

#[tokio::test(start_paused = true)]
async fn the_absence_of_a_challenge_or_of_its_key_is_not_older_either() {
    for (client, zone) in ways() {
        for before in [Some(packet(1, None)), None] {
            let network = Says::new(packet(1, None));
            network.set(Ok(before));
            let service = service(network.clone());
            let request = query(&format!("{CHALLENGE}{zone}"), RecordType::TXT);
            let reply = ask_service(&service, client, &request).await;
            assert_eq!(reply.metadata.response_code, ResponseCode::NXDomain);
            assert!(reply.authorities[0].ttl <= 10, "{}", reply.authorities[0].ttl);
            network.set(Ok(Some(packet(2, Some("new")))));
            advance(Duration::from_millis(10_100)).await;
            let reply = ask_service(&service, client, &request).await;
            assert_eq!(text(&reply).map(|(text, _)| text), Some("new".into()), "{zone}");
        }
    }
}

#[tokio::test(start_paused = true)]
async fn where_the_network_does_not_say_the_packet_that_is_held_is_better_than_nothing() {
    for (client, zone) in ways() {
        let network = Says::new(packet(1, Some("old")));
        let service = service(network.clone());
        let request = with_edns(query(&format!("{CHALLENGE}{zone}"), RecordType::TXT), false);
        assert_eq!(extended_error(&ask_service(&service, client, &request).await), None);
        for failure in [Err(NetworkError::Unreachable), Ok(None)] {
            network.set(failure);
            for _ in 0..3 {
                advance(Duration::from_secs(11)).await;
                let reply = ask_service(&service, client, &request).await;
                let (text, ttl) = text(&reply).unwrap();
                assert_eq!((text.as_str(), extended_error(&reply)), ("old", Some(3)), "{zone}");
                assert!(ttl <= 10, "{ttl}");
            }
        }
    }
}

/// Says of each of these keys what its packet is in this version.
struct SaysOfMany {
    keys: Vec<Keypair>,
    version: AtomicU64,
}

#[async_trait]
impl Network for SaysOfMany {
    async fn lookup(
        &self,
        asked: &PublicKey,
        found: mpsc::UnboundedSender<SignedPacket>,
    ) -> Result<Evidence, NetworkError> {
        let version = self.version.load(Ordering::SeqCst);
        let text = RData::TXT(TXT::new(vec![version.to_string()]));
        if let Some(key) = self.keys.iter().find(|key| key.public_key() == *asked) {
            let message = packet_message(&[record(key, "_acme-challenge", 300, text)]);
            let _ = found.send(SignedPacket::sign(key, version, &message).unwrap());
        }
        Ok(Evidence { queried: 20, responded: 20, held: 0 })
    }
}

#[tokio::test(start_paused = true)]
async fn datagrams_of_nobody_make_no_challenge_old_but_cut_it_and_whoever_comes_again_gets_it() {
    let keys: Vec<_> = (1..=100).map(keypair).collect();
    let network = Arc::new(SaysOfMany { keys, version: AtomicU64::new(1) });
    let service = service(network.clone());
    let ask = async |key: &Keypair, transport: Transport, reply: Reply| {
        let request = query(&name_in_origin(CHALLENGE, key), RecordType::TXT);
        let client = Client { address: STRANGER.into(), transport, reply, now: Instant::now() };
        let mut out = Vec::new();
        if let AtOnce::Later(query) = service.at_once(&request, client, &mut out) {
            service.later(&query, client, &mut out).await;
        }
        Message::from_vec(&out).unwrap()
    };
    let stream = Reply::Stream { idle_timeout: None, is_encrypted: false };
    let mut are_cut = 0;
    for version in 1..=3 {
        network.version.store(version, Ordering::SeqCst);
        are_cut = 0;
        for key in &network.keys {
            let reply = ask(key, Transport::Udp, Reply::Datagram).await;
            match reply.metadata.truncation {
                true => are_cut += 1,
                false => assert_eq!(text(&reply).map(|it| it.0), Some(version.to_string())),
            }
        }
        let last = ask(network.keys.last().unwrap(), Transport::Tcp, stream).await;
        assert_eq!(text(&last).map(|it| it.0), Some(version.to_string()));
        advance(Duration::from_millis(10_100)).await;
    }
    // The budget comes back with the time of the machine, which is not paused.
    assert!(are_cut >= 40, "{are_cut}");
}

/// Puts a packet through the relay, as a client over HTTP/1.1 does.
async fn put(served: &Served, packet: &SignedPacket) {
    let body = [packet.signature().as_slice(), &packet.timestamp().to_be_bytes(), packet.dns()].concat();
    let head = format!(
        "PUT /{} HTTP/1.1\r\nHost: localhost\r\nContent-Length: {}\r\nConnection: close\r\n\r\n",
        packet.key().to_z32(),
        body.len()
    );
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind((OWN, 0).into()).unwrap();
    let mut stream = socket.connect(served.http.unwrap()).await.unwrap();
    stream.write_all(&[head.as_bytes(), &body].concat()).await.unwrap();
    let mut reply = Vec::new();
    stream.read_to_end(&mut reply).await.unwrap();
    assert!(reply.starts_with(b"HTTP/1.1 204 "), "{}", String::from_utf8_lossy(&reply));
}

#[tokio::test]
async fn what_is_put_through_the_relay_shows_at_once_in_both_views() {
    let served = Served::start_with(|config| {
        config.doh.plain_listen = vec![(OWN, 0).into()];
        config.relay.enabled = true;
    })
    .await;
    let started = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros() as u64;
    for version in 0..4 {
        let expected = (version > 0).then(|| format!("version {version}"));
        if let Some(expected) = &expected {
            put(&served, &packet(started + version, Some(expected))).await;
        }
        for (client, zone) in ways() {
            for labels in [CHALLENGE, "www."] {
                let request = query(&format!("{labels}{zone}"), RecordType::TXT);
                let found = text(&served.ask(client, &request).await).map(|(text, _)| text);
                assert_eq!(found, expected, "{labels}{zone}");
            }
        }
    }
    assert_eq!(served.network.lookups.load(Ordering::SeqCst), 1, "no more than for the absent key");
}
