//! Whoever writes to the store can withhold packets, and no more.

use std::time::{Duration, SystemTime};

use pkdns::sources::packets::Stored;
use pkdns_testing::wait::eventually;

use crate::{Store, fresh, keypair, name_of, packet, redis_server::RedisServer};

#[tokio::test]
async fn what_is_not_the_packet_of_its_key_is_never_returned() {
    let Some(redis) = RedisServer::start(&[]) else { return };
    let store = Store::new(&redis.url());
    let key = keypair(1).public_key();
    let genuine = fresh(packet(&keypair(1), 7, b"dns"));
    let good = genuine.to_bytes();
    let flipped = |at: usize| {
        let mut bytes = good.clone();
        bytes[at] ^= 1;
        bytes
    };
    let forged = [
        ("the packet of another key", fresh(packet(&keypair(2), 7, b"dns")).to_bytes()),
        ("another version", flipped(0)),
        ("another timestamp", flipped(24)),
        ("another signature", flipped(25)),
        ("another message", flipped(good.len() - 1)),
        ("no signature", good[..89].iter().map(|_| 0).chain(*b"dns").collect()),
        ("half of it", good[..50].to_vec()),
        ("something behind it", [&good[..], b"x"].concat()),
        ("one byte", vec![1]),
        ("much", [&good[..], &vec![0; 64 << 20]].concat()),
    ];
    for (at, (what, bytes)) in (1..).zip(&forged) {
        redis.say::<()>(&[b"SET", name_of(&key).as_bytes(), bytes]);
        assert_eq!(store.get(&key).await, None, "{what}");
        assert_eq!(store.metrics.lookups.rejected.get(), at, "{what}");
    }
    redis.say::<()>(&[b"SET", name_of(&key).as_bytes(), &good]);
    assert_eq!(store.get(&key).await, Some(genuine));
}

#[tokio::test]
async fn what_is_no_packet_gives_way_to_one() {
    let Some(redis) = RedisServer::start(&[]) else { return };
    let store = Store::new(&redis.url());
    let key = keypair(1).public_key();
    let name = name_of(&key);
    let genuine = fresh(packet(&keypair(1), 7, b"dns"));
    redis.say::<()>(&[b"RPUSH", name.as_bytes(), b"a", b"list"]);
    assert_eq!(store.get(&key).await, None);
    assert_eq!(store.metrics.lookups.rejected.get(), 1);
    store.put(&genuine).await;
    assert_eq!(store.get(&key).await, Some(genuine.clone()));
    for other in [&b"short"[..], &[2; 500], b""] {
        redis.say::<()>(&[b"SET", name.as_bytes(), other]);
        store.put(&genuine).await;
        assert_eq!(store.get(&key).await, Some(genuine.clone()));
    }
}

#[tokio::test]
async fn times_are_not_believed_beyond_what_is_possible() {
    let Some(redis) = RedisServer::start(&[]) else { return };
    let store = Store::new(&redis.url());
    let key = keypair(1).public_key();
    let record = fresh(packet(&keypair(1), 7, b"dns")).to_bytes();
    let with_times = |received: u64, fresh_until: u64| {
        let times = [received.to_be_bytes(), fresh_until.to_be_bytes()].concat();
        [&record[..1], &times, &record[17..]].concat()
    };
    redis.say::<()>(&[b"SET", name_of(&key).as_bytes(), &with_times(u64::MAX, u64::MAX)]);
    let Stored { received, fresh_until, .. } = store.get(&key).await.unwrap();
    let now = SystemTime::now();
    assert!(received <= now && fresh_until <= now + crate::MAX_AGE);
    assert!(fresh_until > now + crate::MAX_AGE - Duration::from_secs(60));
    for (received, fresh_until) in [(0, u64::MAX), (0, 0), (u64::MAX, 0)] {
        redis.say::<()>(&[b"SET", name_of(&key).as_bytes(), &with_times(received, fresh_until)]);
        assert_eq!(store.get(&key).await, None);
    }
    assert_eq!(store.metrics.lookups.rejected.get(), 0);
}

#[tokio::test]
async fn a_store_that_is_full_or_read_only_still_answers() {
    let Some(redis) = RedisServer::start(&[]) else { return };
    let store = Store::new(&redis.url());
    let stored = fresh(packet(&keypair(1), 7, b"dns"));
    store.put(&stored).await;
    redis.say::<()>(&[b"CONFIG", b"SET", b"maxmemory", b"1"]);
    for number in 2..12 {
        store.store.put(fresh(packet(&keypair(number), 7, b"dns")));
    }
    eventually("it comes to that", async || store.metrics.puts.failed.get() >= 10).await;
    assert_eq!(store.get(&keypair(1).public_key()).await, Some(stored));
}
