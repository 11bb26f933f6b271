//! A cached answer over UDP allocates nothing, from the datagram that comes to the one that goes. And what the caches
//! take when all is full.
//!
//! Alone in their file, and one after the other: the allocator counts what the whole process does.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail where it stands")]

use std::{
    alloc::System,
    collections::HashMap,
    net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket},
    sync::Arc,
    time::Duration,
};

use async_trait::async_trait;
use hickory_proto::{
    op::ResponseCode,
    rr::{
        Name, RData, Record, RecordType,
        rdata::{A, SOA},
    },
};
use ipnet::IpNet;
use pkdns::{
    config::{Config, Origin},
    message::{Answer, Query},
    resolver::Resolver,
    service::answer_cache::{AnswerCache, Authority, NewAnswer},
    sources::{
        forward::{Forwarder, TlsClient},
        packets::Packets,
    },
};
use pkdns_dht::{
    Evidence, Network, NetworkError,
    signed_packet::{Keypair, MAX_DNS_SIZE, PublicKey, SignedPacket},
};
use pkdns_testing::common::{Running, Upstream, keypair, query, record, with_edns};
use stats_alloc::{INSTRUMENTED_SYSTEM, Region, StatsAlloc};

#[global_allocator]
static ALLOCATOR: &StatsAlloc<System> = &INSTRUMENTED_SYSTEM;

const HITS: usize = 20_000;

/// What the rest of the process may allocate meanwhile: timers of the runtime, at most a few for each second.
const BACKGROUND: usize = 100;

static ALONE: tokio::sync::Mutex<()> = tokio::sync::Mutex::const_new(());

/// Allocations of the whole process while a client gets so many hits in lockstep.
fn allocations(server: SocketAddr, request: &[u8]) -> usize {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(8))).unwrap();
    socket.connect(server).unwrap();
    let mut buffer = [0; 1500];
    let mut ask = || {
        socket.send(request).unwrap();
        socket.recv(&mut buffer).unwrap();
    };
    // Into the cache, and whatever is made once.
    (0..100).for_each(|_| ask());
    let region = Region::new(ALLOCATOR);
    (0..HITS).for_each(|_| ask());
    let change = region.change();
    change.allocations + change.reallocations
}

#[tokio::test(flavor = "multi_thread", worker_threads = 1)]
async fn a_hit_over_udp_allocates_nothing() {
    let _alone = ALONE.lock().await;
    let hosts = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(hosts.path(), "192.168.1.9 nas.lan\n").unwrap();
    // Without and with names of the own network, which may change; and for those who are served an origin alone.
    let loopback: IpNet = "127.0.0.0/8".parse().unwrap();
    for (listen, hosts_file, allowed) in [
        ("127.0.0.1:0", None, vec![loopback.into()]),
        ("0.0.0.0:0", Some(hosts.path()), vec![loopback.into()]),
        ("127.0.0.1:0", None, Vec::new()),
    ] {
        let is_served = !allowed.is_empty();
        let change = |config: &mut pkdns::config::Config| {
            config.listen = vec![listen.parse().unwrap()];
            config.access.allow = allowed;
            config.origin = vec![Origin {
                name: "pk.example.net".into(),
                name_servers: vec!["ns1.example.org".into()],
                ..Origin::default()
            }];
            config.local.hosts_file = hosts_file.into_iter().map(Into::into).collect();
            // A quota that counts this client but never refuses it.
            config.rate_limit.requests_per_minute = 1_000_000_000;
            config.rate_limit.burst_size = 1_000_000_000;
        };
        let server = Running::start_with(Upstream::plain().await, change).await;
        let alice = keypair(1);
        let data = RData::A(A::new(192, 0, 2, 1));
        server.network.publish(&alice, 1, &[record(&alice, "", 3600, data)]);
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, server.address.port()));
        let key = alice.to_z32();
        let in_origin = format!("{key}.pk.example.net");
        let others = [key.as_str(), "www.example.com", "nothing.invalid", "nas.lan"];
        for name in others.into_iter().filter(|_| is_served).chain([in_origin.as_str()]) {
            let request = with_edns(query(name, RecordType::A), false);
            let count = tokio::task::spawn_blocking(move || allocations(address, &request)).await.unwrap();
            assert!(count < BACKGROUND, "{count} allocations for {HITS} hits of {name} on {listen}");
        }
    }
}

/// Entries of the caches that are filled: few, since each key costs arithmetic.
const ENTRIES: u32 = 2000;

/// What the caches may take for each entry that the configuration allows: `config.toml` promises some 200 MB for 50,000.
const BYTES_PER_ENTRY: usize = 205_000_000 / 50_000;

const CLIENT: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// A DHT that holds packets of the full size, and lacks as many.
struct Full(HashMap<[u8; 32], Keypair>);

#[async_trait]
impl Network for Full {
    async fn lookup(
        &self,
        key: &PublicKey,
        found: tokio::sync::mpsc::UnboundedSender<SignedPacket>,
    ) -> Result<Evidence, NetworkError> {
        if let Some(keypair) = self.0.get(key.as_bytes()) {
            let packet = SignedPacket::sign(keypair, 1, &[0; MAX_DNS_SIZE]).unwrap();
            let _ = found.send(packet);
        }
        Ok(Evidence { queried: 20, responded: 20, held: 20 })
    }
}

fn bytes_since(region: &Region<System>) -> usize {
    let change = region.change();
    change.bytes_allocated.saturating_sub(change.bytes_deallocated)
}

/// More keys than there is room for, held and absent: the first of them leave their timestamps behind.
async fn fill_packets(config: &Config) -> (Packets, usize) {
    let numbered = |number: u32| {
        let mut secret = [7; 32];
        secret[..4].copy_from_slice(&number.to_be_bytes());
        Keypair::from_secret_key(&secret)
    };
    let held: HashMap<_, _> =
        (0..2 * ENTRIES).map(numbered).map(|keypair| (keypair.public_key().to_bytes(), keypair)).collect();
    let keys: Vec<PublicKey> = held.values().map(Keypair::public_key).collect();
    let absent: Vec<PublicKey> =
        (2 * ENTRIES..3 * ENTRIES + 100).map(|number| numbered(number).public_key()).collect();
    let network = Arc::new(Full(held));
    let region = Region::new(ALLOCATOR);
    let packets = Packets::new(&config.cache, network);
    for key in keys.iter().chain(&absent) {
        packets.get(key, CLIENT, || true).await.unwrap();
    }
    // The searches end.
    while packets.in_flight() > 0 {
        tokio::task::yield_now().await;
    }
    let bytes = bytes_since(&region);
    assert_eq!(packets.len(), ENTRIES as usize);
    (packets, bytes)
}

fn question(name: &str) -> Query {
    Query::decode(&query(name, RecordType::A)).unwrap()
}

/// More answers of each authority than there is room for, and more large ones and failures.
fn fill_answers(config: &Config) -> usize {
    let region = Region::new(ALLOCATOR);
    let lifetime = Duration::from_secs(3600);
    let answers =
        AnswerCache::new(config.cache.max_entries, lifetime, Arc::default(), tokio::time::Instant::now());
    for authority in [Authority::Key, Authority::NameServer, Authority::Upstream] {
        for number in 0..10 * ENTRIES {
            let query = question(&format!("n{number}.example.com"));
            let data = RData::A(A(Ipv4Addr::from_bits(number)));
            let answer = Answer {
                answers: vec![Record::from_rdata(query.question.name(), 300, data)],
                ..Answer::empty(ResponseCode::NoError)
            };
            let encoded = &answer.encode(&query.question);
            let new = NewAnswer { encoded, authority, lifetime, refresh_in: None, revisions: &[] };
            answers.insert(&query, &new, tokio::time::Instant::now());
        }
    }
    for number in 0..10 * ENTRIES {
        let query = question(&format!("n{number}.example.com"));
        // Of a large one the whole is kept the second time.
        let (code, count, times) = match number % 200 {
            0 => (ResponseCode::NoError, 1000, 2),
            _ => (ResponseCode::ServFail, 0, 1),
        };
        let record = |last| {
            let data = RData::A(A(Ipv4Addr::from_bits(last)));
            Record::from_rdata(query.question.name(), 300, data)
        };
        let answer = Answer { answers: (0..count).map(record).collect(), ..Answer::empty(code) };
        let encoded = &answer.encode(&query.question);
        let (authority, revisions) = (Authority::Upstream, &[][..]);
        let new = NewAnswer { encoded, authority, lifetime, refresh_in: None, revisions };
        (0..times).for_each(|_| answers.insert(&query, &new, tokio::time::Instant::now()));
    }
    bytes_since(&region)
}

/// More denied names than there is room for.
async fn fill_denials(config: &Config, packets: Packets) -> usize {
    let upstream = Upstream::start(|query, response| {
        let apex = Name::from_ascii("example.com.").unwrap();
        let (server, mailbox) = (apex.prepend_label("ns").unwrap(), apex.prepend_label("admin").unwrap());
        let soa = RData::SOA(SOA::new(server, mailbox, 1, 3600, 600, 604_800, 300));
        response.metadata.response_code = ResponseCode::NXDomain;
        response.metadata.authentic_data = true;
        response.add_authority(Record::from_rdata(apex, 300, soa));
        let _ = query;
    })
    .await;
    let forwarder = Arc::new(Forwarder::new(vec![upstream.address.into()], &TlsClient::new(None).unwrap()));
    let resolver = Resolver::new(config, packets, forwarder);
    resolver.resolve(&question("first.example.com"), CLIENT).await;
    upstream.questions.lock().unwrap().reserve(4 * ENTRIES as usize);
    let region = Region::new(ALLOCATOR);
    for number in 0..ENTRIES {
        resolver.resolve(&question(&format!("n{number}.example.com")), CLIENT).await;
    }
    let texts: usize = upstream.questions.lock().unwrap().iter().map(String::capacity).sum();
    bytes_since(&region).saturating_sub(texts)
}

#[tokio::test]
async fn when_all_is_full_the_caches_take_what_the_configuration_says() {
    let _alone = ALONE.lock().await;
    let mut config = Config::default();
    config.cache.max_entries = ENTRIES as usize;
    let (packets, packets_size) = fill_packets(&config).await;
    let answers_size = fill_answers(&config);
    let denials_size = fill_denials(&config, packets).await;
    let per_entry = |bytes: usize| bytes / ENTRIES as usize;
    let sizes = [packets_size, answers_size, denials_size];
    println!("bytes for each entry: packets, answers, denials {:?}", sizes.map(per_entry));
    assert!(per_entry(sizes.iter().sum()) < BYTES_PER_ENTRY, "{:?}", sizes.map(per_entry));
}
