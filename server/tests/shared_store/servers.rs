//! Whole servers with one Redis between them.

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::{Duration, SystemTime},
};

use async_trait::async_trait;
use pkdns::{
    config::{Cache, Config},
    metrics::SharedMetrics,
    program::testnet::sample_packet,
    server::Server,
    sources::packets::{Packets, Stored, Stores},
};
use pkdns_dht::{
    Evidence, Network, NetworkError,
    signed_packet::{Keypair, PublicKey, SignedPacket},
};
use tokio::{
    net::UdpSocket,
    sync::mpsc,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{PATIENCE, Store, fresh, keypair, name_of, packet, redis_server::RedisServer};

const NOERROR: u8 = 0;

/// Holds a packet for each of the tests' keys, and counts who asks.
#[derive(Default)]
struct CountingNetwork {
    lookups: AtomicUsize,
}

#[async_trait]
impl Network for CountingNetwork {
    async fn lookup(
        &self,
        key: &PublicKey,
        found: mpsc::UnboundedSender<SignedPacket>,
    ) -> Result<Evidence, NetworkError> {
        self.lookups.fetch_add(1, Ordering::SeqCst);
        if let Some(keypair) = (1..=u8::MAX).map(keypair).find(|keypair| keypair.public_key() == *key) {
            let _ = found.send(published(&keypair));
        }
        Ok(Evidence { queried: 20, responded: 20, held: 0 })
    }
}

fn published(keypair: &Keypair) -> SignedPacket {
    sample_packet(keypair, 1_700_000_000_000_000).unwrap()
}

/// A server that runs as long as this is held.
struct Running {
    address: SocketAddr,
    network: Arc<CountingNetwork>,
    shared: SharedMetrics,
    _stop: DropGuard,
}

impl Running {
    fn start(redis: &RedisServer) -> Self {
        let mut config = Config { listen: vec![(Ipv4Addr::LOCALHOST, 0).into()], ..Config::default() };
        config.cache.redis = Some(redis.url().parse().unwrap());
        let network = Arc::new(CountingNetwork::default());
        let server = Server::bind_to_network(config, network.clone()).unwrap();
        let (address, shared) = (server.addresses()[0], server.metrics().shared.clone());
        let stop = CancellationToken::new();
        tokio::spawn(server.run(stop.clone()));
        Self { address, network, shared, _stop: stop.drop_guard() }
    }

    /// As [`Running::start`], when it has found out that Redis is there.
    async fn start_connected(redis: &RedisServer) -> Self {
        let server = Self::start(redis);
        let end = Instant::now() + PATIENCE;
        // A key that nobody holds, so that each question asks the store again.
        let mut at = 0u64;
        while server.shared.lookups.absent.get() == 0 {
            assert!(Instant::now() < end, "{:?}", server.shared);
            let mut secret = [u8::MAX; 32];
            secret[..8].copy_from_slice(&at.to_be_bytes());
            server.code(&Keypair::from_secret_key(&secret).public_key()).await;
            at += 1;
            sleep(Duration::from_millis(20)).await;
        }
        server
    }

    fn lookups(&self) -> usize {
        self.network.lookups.load(Ordering::SeqCst)
    }

    async fn code(&self, key: &PublicKey) -> u8 {
        self.ask(key).await[3] & 0x0f
    }

    /// The reply to a question for the address of `key`.
    async fn ask(&self, key: &PublicKey) -> Vec<u8> {
        let mut query = vec![0x12, 0x34, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 52];
        query.extend_from_slice(key.to_z32().as_bytes());
        query.extend_from_slice(&[0, 0, 1, 0, 1]);
        let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        socket.connect(self.address).await.unwrap();
        socket.send(&query).await.unwrap();
        let mut reply = vec![0; 2048];
        let size = timeout(PATIENCE, socket.recv(&mut reply)).await.expect("a reply").unwrap();
        reply.truncate(size);
        reply
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_server_has_looked_up_the_other_does_not() {
    let Some(redis) = RedisServer::start(&[]) else { return };
    let (one, other) = (Running::start_connected(&redis).await, Running::start_connected(&redis).await);
    // A machine under load may be too late for the store, which is not what this is about.
    for number in 1..=u8::MAX {
        let key = keypair(number).public_key();
        let answer = one.ask(&key).await;
        assert_eq!(answer[3] & 0x0f, NOERROR);
        let end = Instant::now() + Duration::from_secs(2);
        while !redis.say::<bool>(&[b"EXISTS", name_of(&key).as_bytes()]) && Instant::now() < end {
            sleep(Duration::from_millis(10)).await;
        }
        let before = other.lookups();
        let same = other.ask(&key).await;
        assert_eq!((same[3] & 0x0f, same.len()), (NOERROR, answer.len()));
        if other.shared.lookups.found.get() == 1 {
            assert_eq!(other.lookups(), before);
            return;
        }
        assert_eq!(other.lookups(), before + 1);
    }
    panic!("{:?} {:?}", one.shared, other.shared);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_forged_in_redis_is_not_served() {
    let Some(redis) = RedisServer::start(&[]) else { return };
    let server = Running::start_connected(&redis).await;
    let reference = server.ask(&keypair(1).public_key()).await;
    let forged = [fresh(published(&keypair(200))).to_bytes(), b"forged".to_vec()];
    for number in 2..100 {
        let key = keypair(number).public_key();
        redis.say::<()>(&[b"SET", name_of(&key).as_bytes(), &forged[usize::from(number % 2)]]);
        let before = server.lookups();
        let reply = server.ask(&key).await;
        assert_eq!((reply[3] & 0x0f, reply.len()), (NOERROR, reference.len()));
        assert_eq!(server.lookups(), before + 1);
    }
    assert!(server.shared.lookups.rejected.get() > 2, "{:?}", server.shared);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_goes_away_under_load_loses_no_query() {
    let Some(mut redis) = RedisServer::start(&[]) else { return };
    let server = Running::start_connected(&redis).await;
    for number in 1..=150 {
        match number {
            40 => redis.freeze(),
            80 => redis.kill(),
            120 => redis.restart(),
            _ => {}
        }
        assert_eq!(server.code(&keypair(number).public_key()).await, NOERROR, "{number}");
    }
    assert!(server.lookups() >= 150);
}

#[tokio::test]
async fn a_reload_says_for_how_long_packets_are_believed() {
    let Some(redis) = RedisServer::start(&[]) else { return };
    let store = Store::new(&redis.url());
    let stored = fresh(packet(&keypair(1), 7, b"dns"));
    let key = keypair(1).public_key();
    store.put(&stored).await;
    let left =
        |stored: Option<Stored>| stored.unwrap().fresh_until.duration_since(SystemTime::now()).unwrap();
    let before = left(store.get(&key).await);
    let (old, network) = (Cache::default(), Arc::new(CountingNetwork::default()));
    let stores = Stores { disk: None, shared: Some(store.store.clone()) };
    let packets = Packets::with_stores(&old, network, stores, 0);
    let new = Cache { ttl_seconds: 5, max_ttl_seconds: 5, ..old.clone() };
    packets.reload(&old, &new);
    let after = left(store.get(&key).await);
    assert!(after <= Duration::from_secs(5) && before > 2 * after, "{before:?} {after:?}");
}
