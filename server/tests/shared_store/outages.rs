//! A store that is down, comes up, dies or hangs.

use std::time::Duration;

use pkdns_testing::wait::eventually;
use tokio::{
    net::TcpListener,
    time::{sleep, timeout},
};

use crate::{
    Store, fresh, keypair, packet,
    redis_server::{PATIENCE, RedisServer, free_port},
};

#[tokio::test]
async fn a_store_that_is_down_at_the_start_is_used_when_it_comes_up() {
    let port = free_port();
    let store = Store::new(&format!("redis://127.0.0.1:{port}"));
    let key = keypair(1).public_key();
    for _ in 0..50 {
        assert_eq!(store.store.get(&key).await, None);
        sleep(Duration::from_millis(2)).await;
    }
    // Nobody waited for it.
    assert_eq!(store.metrics.lookups.skipped.get(), 50);
    let Some(_redis) = RedisServer::start_on(port, &[]) else { return };
    let stored = fresh(packet(&keypair(1), 7, b"dns"));
    store.put(&stored).await;
    assert_eq!(store.get(&key).await, Some(stored));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_store_that_dies_under_load_is_used_again_when_it_is_back() {
    let Some(mut redis) = RedisServer::start(&[]) else { return };
    let store = Store::new(&redis.url());
    let (key, stored) = (keypair(1).public_key(), fresh(packet(&keypair(1), 7, b"dns")));
    store.put(&stored).await;
    let load: Vec<_> = (0..64)
        .map(|_| {
            let (store, key) = (store.store.clone(), key.clone());
            tokio::spawn(async move {
                loop {
                    timeout(PATIENCE, store.get(&key)).await.expect("an end");
                    sleep(Duration::from_millis(1)).await;
                }
            })
        })
        .collect();
    for _ in 0..2 {
        redis.kill();
        let before = store.metrics.lookups.skipped.get();
        eventually("it comes to that", async || store.metrics.lookups.skipped.get() >= before + 1000).await;
        redis.restart();
        store.put(&stored).await;
        assert_eq!(store.get(&key).await, Some(stored.clone()));
    }
    for task in load {
        assert!(!task.is_finished());
        task.abort();
    }
}

#[tokio::test]
async fn a_store_that_hangs_is_left_alone_until_it_answers_again() {
    let Some(redis) = RedisServer::start(&[]) else { return };
    let store = Store::new(&redis.url());
    let (key, stored) = (keypair(1).public_key(), fresh(packet(&keypair(1), 7, b"dns")));
    store.put(&stored).await;
    assert_eq!(store.get(&key).await, Some(stored.clone()));
    let failed = store.metrics.lookups.failed.get();
    redis.freeze();
    for _ in 0..200 {
        assert_eq!(timeout(PATIENCE, store.store.get(&key)).await.expect("an end"), None);
    }
    // Only the first one waited for it: a hanging server does not answer to a new connection either.
    assert_eq!(store.metrics.lookups.failed.get(), failed + 1);
    redis.thaw();
    assert_eq!(store.get(&key).await, Some(stored));
}

#[tokio::test]
async fn a_server_that_accepts_and_never_answers_is_not_waited_for() {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let store = Store::new(&format!("redis://{}", listener.local_addr().unwrap()));
    let silent = tokio::spawn(async move {
        let mut held = Vec::new();
        loop {
            held.push(listener.accept().await.unwrap());
        }
    });
    for _ in 0..300 {
        assert_eq!(store.store.get(&keypair(1).public_key()).await, None);
        sleep(Duration::from_millis(1)).await;
    }
    assert_eq!(store.metrics.lookups.skipped.get(), 300);
    assert!(!silent.is_finished());
}

#[tokio::test]
async fn packets_for_a_store_that_is_down_are_dropped() {
    let store = Store::new(&format!("redis://127.0.0.1:{}", free_port()));
    let stored = fresh(packet(&keypair(1), 7, b"dns"));
    for _ in 0..5000 {
        store.store.put(stored.clone());
    }
    eventually("it comes to that", async || store.metrics.puts.dropped.get() >= 5000).await;
}
