//! Names that were just asked for: nobody waits for them, they are never older than they have to be, and they outlive
//! those who know.

use std::{
    net::Ipv4Addr,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    time::Duration,
};

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
    service::{Service, Transport},
};
use pkdns_dht::{NetworkError, signed_packet::SignedPacket, testing::FakeNetwork};
use pkdns_testing::{
    server::{
        self, TestServer, Upstream, address, any_port, ask_service, keypair, parse, pass, query, record,
        signed, with_edns,
    },
    wait::eventually,
};
use tokio::time::{Instant, sleep};

const LATENCY: Duration = Duration::from_millis(200);

/// The packet of [`keypair`] 1, with one address.
fn packet(timestamp: u64, ttl: u32, last: u8) -> SignedPacket {
    let alice = keypair(1);
    signed(&alice, timestamp, &[record(&alice, "", ttl, address(last))])
}

fn config() -> Config {
    Config {
        listen: vec![any_port()],
        fallback_dns: vec!["127.0.0.1:9".parse().unwrap()],
        ..Config::default()
    }
}

/// The service of a server that is bound and not run: what it does takes no time but that of the network.
fn service(network: &Arc<FakeNetwork>) -> Service {
    TestServer::builder().config(config()).network(network.clone()).service()
}

/// The reply, and how long it took.
async fn ask(service: &Service) -> (Message, Duration) {
    let request = with_edns(query(&keypair(1).to_z32(), RecordType::A), false);
    let started = Instant::now();
    let reply = over_udp(service, &request).await;
    (reply, started.elapsed())
}

async fn over_udp(service: &Service, request: &[u8]) -> Message {
    let client = Ipv4Addr::LOCALHOST.into();
    parse(&ask_service(service, client, Transport::Udp, Reply::Datagram, request).await)
}

fn last_octet(message: &Message) -> u8 {
    match &message.answers[..] {
        [Record { data: RData::A(address), .. }] => address.0.octets()[3],
        other => panic!("{other:?}"),
    }
}

/// INFO-CODE of the extended error in a reply that has one.
fn extended_error(message: &Message) -> Option<u16> {
    server::extended_error(&message.to_vec().unwrap())
}

#[tokio::test(start_paused = true)]
async fn a_popular_key_waits_for_the_network_once_and_an_update_shows_when_its_time_has_come() {
    let network = Arc::new(FakeNetwork::holding([packet(0, 300, 0)]));
    network.delay(LATENCY);
    let service = service(&network);
    assert_eq!(ask(&service).await.1, LATENCY);
    // An hour in which somebody asks every second, and the owner publishes every quarter of an hour.
    for second in 0..3600 {
        sleep(Duration::from_secs(1)).await;
        let version = second / 900;
        network.publish(packet(version, 300, version as u8));
        let (message, waited) = ask(&service).await;
        assert_eq!(waited, Duration::ZERO, "after {second} s");
        let published = (second.saturating_sub(302)) / 900;
        assert!(u64::from(last_octet(&message)) >= published, "after {second} s");
    }
    let lookups = network.lookups();
    assert!((12..=16).contains(&lookups), "{lookups} lookups in an hour");
}

#[tokio::test(start_paused = true)]
async fn a_newer_packet_is_answered_the_moment_it_comes() {
    // The first node holds an older packet than the second, which answers when it is told to.
    let network = Arc::new(FakeNetwork::holding([packet(1, 3600, 1)]));
    network.hold();
    let service = service(&network);
    assert_eq!(last_octet(&ask(&service).await.0), 1);
    assert_eq!(last_octet(&ask(&service).await.0), 1);
    network.publish(packet(2, 3600, 2));
    network.release(1);
    // The tasks that take it run before the next timer.
    sleep(Duration::from_millis(1)).await;
    assert_eq!(last_octet(&ask(&service).await.0), 2);
}

#[tokio::test]
async fn a_key_outlives_the_server_that_found_it() {
    let directory = tempfile::tempdir().unwrap();
    let mut config = config();
    config.cache.path = Some(directory.path().into());
    let network = Arc::new(FakeNetwork::holding([packet(0, 300, 0)]));
    let first = Server::bind_to_network(config.clone(), network).unwrap();
    assert_eq!(last_octet(&ask(first.service()).await.0), 0);
    drop(first);
    let cut_off = Arc::new(FakeNetwork::failing(NetworkError::Unreachable));
    // What the first one did in the background may still be ending.
    let mut second = None;
    eventually("the directory is free", async || {
        second = Server::bind_to_network(config.clone(), cut_off.clone()).ok();
        second.is_some()
    })
    .await;
    let second = second.unwrap();
    let (message, _) = ask(second.service()).await;
    assert_eq!((last_octet(&message), extended_error(&message)), (0, None));
    let other = query(&keypair(2).to_z32(), RecordType::A);
    assert_eq!(over_udp(second.service(), &other).await.metadata.response_code, ResponseCode::ServFail);
}

#[tokio::test]
async fn forwarded_names_outlive_their_upstream_and_come_back_with_it() {
    let last = Arc::new(AtomicU8::new(1));
    let upstream = Upstream::start({
        let last = last.clone();
        move |query, response| {
            let name = query.queries[0].name().clone();
            if name.to_lowercase().to_ascii().starts_with("absent") {
                response.metadata.response_code = ResponseCode::NXDomain;
                let soa =
                    hickory_proto::rr::rdata::SOA::new(name.base_name(), name.base_name(), 1, 1, 1, 1, 1);
                response.add_authority(Record::from_rdata(name.base_name(), 1, RData::SOA(soa)));
            } else {
                let address = A::new(192, 0, 2, last.load(Ordering::SeqCst));
                response.add_answer(Record::from_rdata(name, 1, RData::A(address)));
            }
        }
    });
    let server = TestServer::start_behind(upstream);
    let ask = async |name: &str| parse(&server.send(&with_edns(query(name, RecordType::A), false)).await);
    assert_eq!((last_octet(&ask("www.example").await), extended_error(&ask("www.example").await)), (1, None));
    assert_eq!(ask("absent.example.").await.metadata.response_code, ResponseCode::NXDomain);

    server.upstream.silence(true);
    pass(Duration::from_millis(1500)).await;
    let stale = ask("www.example").await;
    assert_eq!((last_octet(&stale), extended_error(&stale)), (1, Some(3)));
    assert!(stale.answers[0].ttl <= 30);
    let denied = ask("absent.example").await;
    assert_eq!((denied.metadata.response_code, extended_error(&denied)), (ResponseCode::NXDomain, Some(19)));
    // Nothing is known of this one.
    assert_eq!(ask("other.example").await.metadata.response_code, ResponseCode::ServFail);

    server.upstream.silence(false);
    last.store(2, Ordering::SeqCst);
    // The upstream is left alone for half a minute for this name; another one shows that it is back.
    eventually("the upstream is asked again", async || {
        pass(Duration::from_secs(1)).await;
        ask("third.example").await.metadata.response_code == ResponseCode::NoError
    })
    .await;
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
    });
    let server = TestServer::start_behind(upstream);
    let alice = keypair(1);
    let target = Name::from_ascii("www.example.com.").unwrap();
    server.publish(&alice, 1, &[record(&alice, "www", 300, RData::CNAME(CNAME(target)))]);
    let request = with_edns(query(&format!("www.{}", alice.to_z32()), RecordType::A), false);
    let ask = async || {
        let message = parse(&server.send(&request).await);
        (message.metadata.response_code, message.answers.len(), extended_error(&message))
    };
    assert_eq!(ask().await, (ResponseCode::NoError, 2, None));
    is_broken.store(true, Ordering::SeqCst);
    pass(Duration::from_millis(1200)).await;
    assert_eq!(ask().await, (ResponseCode::NoError, 2, Some(3)));
}
