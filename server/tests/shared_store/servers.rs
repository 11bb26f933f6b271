//! Whole servers with one Redis between them.

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use hickory_proto::rr::RecordType;
use pkdns::{
    config::Cache,
    program::testnet::sample_packet,
    sources::packets::{Packets, Stored, Stores},
};
use pkdns_dht::{
    signed_packet::{Keypair, PublicKey, SignedPacket},
    testing::FakeNetwork,
};
use pkdns_testing::{
    server::{TestServer, query},
    wait::eventually,
};
use tokio::time::{Instant, sleep};

use crate::{Store, fresh, keypair, name_of, packet, redis_server::RedisServer};

const NOERROR: u8 = 0;

/// Holds a packet for each of the tests' keys.
fn network() -> FakeNetwork {
    FakeNetwork::holding((1..=u8::MAX).map(|number| published(&keypair(number))))
}

fn published(keypair: &Keypair) -> SignedPacket {
    sample_packet(keypair, 1_700_000_000_000_000).unwrap()
}

/// A server that has found out that Redis is there.
async fn start_connected(redis: &RedisServer) -> TestServer {
    let url = redis.url().parse().unwrap();
    let server = TestServer::builder().network(network()).change(|config| config.cache.redis = Some(url));
    let server = server.start();
    // A key that nobody holds, so that each question asks the store again.
    let mut at = 0u64;
    eventually("the store is asked", async || {
        let mut secret = [u8::MAX; 32];
        secret[..8].copy_from_slice(&at.to_be_bytes());
        at += 1;
        ask(&server, &Keypair::from_secret_key(&secret).public_key()).await;
        server.metrics.shared.lookups.absent.get() > 0
    })
    .await;
    server
}

/// The reply to a question for the address of `key`.
async fn ask(server: &TestServer, key: &PublicKey) -> Vec<u8> {
    server.send(&query(&key.to_z32(), RecordType::A)).await
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_one_server_has_looked_up_the_other_does_not() {
    let Some(redis) = RedisServer::start(&[]) else { return };
    let (one, other) = (start_connected(&redis).await, start_connected(&redis).await);
    // A machine under load may be too late for the store, which is not what this is about.
    for number in 1..=u8::MAX {
        let key = keypair(number).public_key();
        let answer = ask(&one, &key).await;
        assert_eq!(answer[3] & 0x0f, NOERROR);
        let end = Instant::now() + Duration::from_secs(2);
        while !redis.say::<bool>(&[b"EXISTS", name_of(&key).as_bytes()]) && Instant::now() < end {
            sleep(Duration::from_millis(10)).await;
        }
        let before = other.network.lookups();
        let same = ask(&other, &key).await;
        assert_eq!((same[3] & 0x0f, same.len()), (NOERROR, answer.len()));
        if other.metrics.shared.lookups.found.get() == 1 {
            assert_eq!(other.network.lookups(), before);
            return;
        }
        assert_eq!(other.network.lookups(), before + 1);
    }
    panic!("{:?} {:?}", one.metrics.shared, other.metrics.shared);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_forged_in_redis_is_not_served() {
    let Some(redis) = RedisServer::start(&[]) else { return };
    let server = start_connected(&redis).await;
    let reference = ask(&server, &keypair(1).public_key()).await;
    let forged = [fresh(published(&keypair(200))).to_bytes(), b"forged".to_vec()];
    for number in 2..100 {
        let key = keypair(number).public_key();
        redis.say::<()>(&[b"SET", name_of(&key).as_bytes(), &forged[usize::from(number % 2)]]);
        let before = server.network.lookups();
        let reply = ask(&server, &key).await;
        assert_eq!((reply[3] & 0x0f, reply.len()), (NOERROR, reference.len()));
        assert_eq!(server.network.lookups(), before + 1);
    }
    assert!(server.metrics.shared.lookups.rejected.get() > 2, "{:?}", server.metrics.shared);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_redis_that_goes_away_under_load_loses_no_query() {
    let Some(mut redis) = RedisServer::start(&[]) else { return };
    let server = start_connected(&redis).await;
    for number in 1..=150 {
        match number {
            40 => redis.freeze(),
            80 => redis.kill(),
            120 => redis.restart(),
            _ => {}
        }
        assert_eq!(ask(&server, &keypair(number).public_key()).await[3] & 0x0f, NOERROR, "{number}");
    }
    assert!(server.network.lookups() >= 150);
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
    let (old, network) = (Cache::default(), Arc::new(network()));
    let stores = Stores { disk: None, shared: Some(store.store.clone()) };
    let packets = Packets::with_stores(&old, network, stores, 0);
    let new = Cache { ttl_seconds: 5, max_ttl_seconds: 5, ..old.clone() };
    packets.reload(&old, &new);
    let after = left(store.get(&key).await);
    assert!(after <= Duration::from_secs(5) && before > 2 * after, "{before:?} {after:?}");
}
