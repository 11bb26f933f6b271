//! Names that were just asked for: nobody waits for them, they are never older than they have to be, and they outlive
//! those who know.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail where it stands")]

use std::{
    net::{IpAddr, Ipv4Addr},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{
        Name, RData, Record, RecordType,
        rdata::{A, CNAME},
    },
};
use pkdns::{
    config::Config,
    message::Reply,
    server::Server,
    service::{AtOnce, Client, Respond, Service, Transport},
};
use pkdns_dht::{
    Evidence, Network, NetworkError,
    signed_packet::{PublicKey, SignedPacket},
};
use pkdns_testing::common::{Running, Upstream, keypair, packet_message, query, record, with_edns};
use tokio::{
    sync::{Notify, mpsc},
    time::{Instant, sleep},
};

const LATENCY: Duration = Duration::from_millis(200);

/// The packet of [`keypair`] 1, with one address.
fn packet(timestamp: u64, ttl: u32, last: u8) -> SignedPacket {
    let alice = keypair(1);
    let records = [record(&alice, "", ttl, RData::A(A::new(192, 0, 2, last)))];
    SignedPacket::sign(&alice, timestamp, &packet_message(&records)).unwrap()
}

/// Gives the packet of [`keypair`] 1 after [`LATENCY`]; each lookup finds the version of the moment.
#[derive(Default)]
struct SlowNetwork {
    version: AtomicU64,
    lookups: AtomicUsize,
}

#[async_trait]
impl Network for SlowNetwork {
    async fn lookup(
        &self,
        _: &PublicKey,
        found: mpsc::UnboundedSender<SignedPacket>,
    ) -> Result<Evidence, NetworkError> {
        self.lookups.fetch_add(1, Ordering::SeqCst);
        sleep(LATENCY).await;
        let version = self.version.load(Ordering::SeqCst);
        let _ = found.send(packet(version, 300, version as u8));
        Ok(Evidence { queried: 20, responded: 20, held: 0 })
    }
}

/// The first node holds an older packet than the second, which answers when it is told to.
#[derive(Default)]
struct TwoNodes {
    second: Notify,
}

#[async_trait]
impl Network for TwoNodes {
    async fn lookup(
        &self,
        _: &PublicKey,
        found: mpsc::UnboundedSender<SignedPacket>,
    ) -> Result<Evidence, NetworkError> {
        let _ = found.send(packet(1, 3600, 1));
        self.second.notified().await;
        let _ = found.send(packet(2, 3600, 2));
        Ok(Evidence { queried: 20, responded: 20, held: 0 })
    }
}

fn config() -> Config {
    Config {
        listen: vec![(IpAddr::from(Ipv4Addr::LOCALHOST), 0).into()],
        fallback_dns: vec!["127.0.0.1:9".parse().unwrap()],
        ..Config::default()
    }
}

/// The service of a server that is bound and not run: what it does takes no time but that of the network.
fn service(network: Arc<dyn Network>) -> Service {
    Server::bind_to_network(config(), network).unwrap().service().clone()
}

/// Nobody can be asked.
struct CutOff;

#[async_trait]
impl Network for CutOff {
    async fn lookup(
        &self,
        _: &PublicKey,
        _: mpsc::UnboundedSender<SignedPacket>,
    ) -> Result<Evidence, NetworkError> {
        Err(NetworkError::Unreachable)
    }
}

/// The reply, and how long it took.
async fn ask(service: &Service) -> (Message, Duration) {
    let request = with_edns(query(&keypair(1).to_z32(), RecordType::A), false);
    let client = udp_client();
    let (started, mut out) = (Instant::now(), Vec::new());
    if let AtOnce::Later(query) = service.at_once(&request, client, &mut out) {
        service.later(&query, client, &mut out).await;
    }
    (Message::from_vec(&out).unwrap(), started.elapsed())
}

fn last_octet(message: &Message) -> u8 {
    match &message.answers[..] {
        [Record { data: RData::A(address), .. }] => address.0.octets()[3],
        other => panic!("{other:?}"),
    }
}

/// INFO-CODE of the extended error in a reply that has one.
fn extended_error(message: &Message) -> Option<u16> {
    let edns = message.edns.as_ref()?;
    edns.options().as_ref().iter().find_map(|(code, option)| {
        (u16::from(*code) == 15)
            .then(|| Vec::<u8>::try_from(option).unwrap())
            .map(|data| u16::from_be_bytes([data[0], data[1]]))
    })
}

#[tokio::test(start_paused = true)]
async fn a_popular_key_waits_for_the_network_once_and_an_update_shows_when_its_time_has_come() {
    let network = Arc::new(SlowNetwork::default());
    let service = service(network.clone());
    assert_eq!(ask(&service).await.1, LATENCY);
    // An hour in which somebody asks every second, and the owner publishes every quarter of an hour.
    for second in 0..3600 {
        sleep(Duration::from_secs(1)).await;
        network.version.store(second / 900, Ordering::SeqCst);
        let (message, waited) = ask(&service).await;
        assert_eq!(waited, Duration::ZERO, "after {second} s");
        let published = (second.saturating_sub(302)) / 900;
        assert!(u64::from(last_octet(&message)) >= published, "after {second} s");
    }
    let lookups = network.lookups.load(Ordering::SeqCst);
    assert!((12..=16).contains(&lookups), "{lookups} lookups in an hour");
}

#[tokio::test(start_paused = true)]
async fn a_newer_packet_is_answered_the_moment_it_comes() {
    let network = Arc::new(TwoNodes::default());
    let service = service(network.clone());
    assert_eq!(last_octet(&ask(&service).await.0), 1);
    assert_eq!(last_octet(&ask(&service).await.0), 1);
    network.second.notify_one();
    // The tasks that take it run before the next timer.
    sleep(Duration::from_millis(1)).await;
    assert_eq!(last_octet(&ask(&service).await.0), 2);
}

#[tokio::test]
async fn a_key_outlives_the_server_that_found_it() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = config();
    config.cache.path = Some(directory.path().into());
    let network = Arc::new(SlowNetwork::default());
    let first = Server::bind_to_network(config.clone(), network).unwrap();
    assert_eq!(last_octet(&ask(first.service()).await.0), 0);
    drop(first);
    // What the first one did in the background may still be ending.
    let second = async {
        loop {
            match Server::bind_to_network(config.clone(), Arc::new(CutOff)) {
                Ok(server) => return server,
                Err(_) => sleep(Duration::from_millis(20)).await,
            }
        }
    };
    let second = tokio::time::timeout(Duration::from_secs(8), second).await.unwrap();
    let (message, _) = ask(second.service()).await;
    assert_eq!((last_octet(&message), extended_error(&message)), (0, None));
    let other = query(&keypair(2).to_z32(), RecordType::A);
    let client = udp_client();
    let mut out = Vec::new();
    let AtOnce::Later(other) = second.service().at_once(&other, client, &mut out) else { panic!("{out:?}") };
    second.service().later(&other, client, &mut out).await;
    assert_eq!(Message::from_vec(&out).unwrap().metadata.response_code, ResponseCode::ServFail);
}

#[tokio::test]
async fn forwarded_names_outlive_their_upstream_and_come_back_with_it() {
    let (is_silent, last) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(1)));
    let upstream = Upstream::start({
        let (is_silent, last) = (is_silent.clone(), last.clone());
        move |query, response| {
            if is_silent.load(Ordering::SeqCst) {
                // An id that nobody asked with.
                response.metadata.id = !response.metadata.id;
                return;
            }
            let name = query.queries[0].name().clone();
            if name.to_lowercase().to_ascii().starts_with("absent") {
                response.metadata.response_code = ResponseCode::NXDomain;
                let soa =
                    hickory_proto::rr::rdata::SOA::new(name.base_name(), name.base_name(), 1, 1, 1, 1, 1);
                response.add_authority(Record::from_rdata(name.base_name(), 1, RData::SOA(soa)));
            } else {
                let address = A::new(192, 0, 2, *last.lock().unwrap());
                response.add_answer(Record::from_rdata(name, 1, RData::A(address)));
            }
        }
    })
    .await;
    let server = Running::start_with(upstream, |_| ()).await;
    let ask = async |name: &str| {
        let request = with_edns(query(name, RecordType::A), false);
        Message::from_vec(&server.send(&request).await.expect("a reply")).unwrap()
    };
    assert_eq!((last_octet(&ask("www.example").await), extended_error(&ask("www.example").await)), (1, None));
    assert_eq!(ask("absent.example.").await.metadata.response_code, ResponseCode::NXDomain);

    is_silent.store(true, Ordering::SeqCst);
    sleep(Duration::from_millis(1500)).await;
    let stale = ask("www.example").await;
    assert_eq!((last_octet(&stale), extended_error(&stale)), (1, Some(3)));
    assert!(stale.answers[0].ttl <= 30);
    let denied = ask("absent.example").await;
    assert_eq!((denied.metadata.response_code, extended_error(&denied)), (ResponseCode::NXDomain, Some(19)));
    // Nothing is known of this one.
    assert_eq!(ask("other.example").await.metadata.response_code, ResponseCode::ServFail);

    is_silent.store(false, Ordering::SeqCst);
    *last.lock().unwrap() = 2;
    let came_back = async {
        // The upstream is left alone for half a minute for this name; another one shows that it is back.
        while ask("third.example").await.metadata.response_code != ResponseCode::NoError {
            sleep(Duration::from_millis(500)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(30), came_back).await.expect("the upstream is asked again");
    assert_eq!(last_octet(&ask("third.example").await), 2);
}

#[tokio::test]
async fn a_keys_alias_outlives_the_upstream_that_it_leads_to() {
    let is_broken = Arc::new(AtomicBool::new(false));
    let upstream = Upstream::start({
        let is_broken = is_broken.clone();
        move |query, response| {
            if is_broken.load(Ordering::SeqCst) {
                response.metadata.response_code = ResponseCode::ServFail;
            } else {
                let address = RData::A(A::new(192, 0, 2, 1));
                response.add_answer(Record::from_rdata(query.queries[0].name().clone(), 1, address));
            }
        }
    })
    .await;
    let server = Running::start_with(upstream, |_| ()).await;
    let alice = keypair(1);
    let target = Name::from_ascii("www.example.com.").unwrap();
    server.network.publish(&alice, 1, &[record(&alice, "www", 300, RData::CNAME(CNAME(target)))]);
    let request = with_edns(query(&format!("www.{}", alice.to_z32()), RecordType::A), false);
    let ask = async || {
        let message = Message::from_vec(&server.send(&request).await.expect("a reply")).unwrap();
        (message.metadata.response_code, message.answers.len(), extended_error(&message))
    };
    assert_eq!(ask().await, (ResponseCode::NoError, 2, None));
    is_broken.store(true, Ordering::SeqCst);
    sleep(Duration::from_millis(1200)).await;
    assert_eq!(ask().await, (ResponseCode::NoError, 2, Some(3)));
}

fn udp_client() -> Client {
    Client {
        address: Ipv4Addr::LOCALHOST.into(),
        transport: Transport::Udp,
        reply: Reply::Datagram,
        now: Instant::now(),
    }
}
