//! The client of the DHT against a network of libtorrent nodes: another implementation, and the most common one.
//!
//! Needs Python 3 with the `libtorrent` module: `$PYTHON`, or `python3`. Without it the tests say so and pass, unless
//! `CI=true`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the helpers of tests may fail them"
)]

#[path = "interop/libtorrent.rs"]
mod libtorrent;
#[path = "interop/programs.rs"]
mod programs;

use std::{sync::Arc, time::Duration};

use libtorrent::{Libtorrent, hex};
use pkdns::{
    dht::{Dht, DhtSettings, NetworkError, PutError},
    signed_packet::Keypair,
    testnet::sample_packet,
};
use tokio::time::timeout;

const LIMIT: Duration = Duration::from_secs(30);

/// A client that has joined.
async fn client(network: &Libtorrent) -> Dht {
    let settings = DhtSettings::on_loopback(network.bootstrap());
    let dht = Dht::start(settings, Arc::new(|host| panic!("asked for {host}"))).unwrap();
    dht.ready(LIMIT).await.unwrap();
    dht
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn libtorrent_stores_what_we_publish_and_gives_back_the_update() {
    let Some(mut network) = Libtorrent::start() else { return };
    let (writer, reader) = tokio::join!(client(&network), client(&network));
    let keypair = Keypair::random();
    for timestamp in [1_700_000_000_000_000, 1_700_000_000_000_001] {
        let packet = sample_packet(&keypair, timestamp).unwrap();
        let stored = timeout(LIMIT, writer.put(&packet, None)).await.unwrap().unwrap();
        assert!(stored >= 4, "stored at {stored}");
        assert_eq!(network.get(packet.key().as_bytes()), format!("{timestamp} {}", hex(packet.dns())));
        let found = timeout(LIMIT, reader.most_recent(packet.key())).await.unwrap().unwrap();
        assert_eq!(found.0, Some(packet));
    }
    let older = sample_packet(&keypair, 1).unwrap();
    assert_eq!(timeout(LIMIT, writer.put(&older, None)).await.unwrap(), Err(PutError::NotMostRecent));
    let later = sample_packet(&keypair, 1_800_000_000_000_000).unwrap();
    assert_eq!(timeout(LIMIT, writer.put(&later, Some(7))).await.unwrap(), Err(PutError::CasFailed));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_libtorrent_publishes_is_found() {
    let Some(mut network) = Libtorrent::start() else { return };
    let reader = client(&network).await;
    let seed = [9; 32];
    let sample = sample_packet(&Keypair::from_secret_key(&seed), 1).unwrap();
    let [key, value] = [sample.key().as_bytes(), sample.dns()].map(hex);
    let stored: u32 = network.run(&format!("put {} {key} {value}", hex(&seed))).parse().unwrap();
    assert!(stored > 0);
    // libtorrent counts from 1, and a signature of the same text by the same key is the same.
    let found = timeout(LIMIT, reader.most_recent(sample.key())).await.unwrap().unwrap();
    assert_eq!(found.0, Some(sample));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn libtorrent_nodes_give_evidence_of_absence_and_their_silence_does_not() {
    let Some(mut network) = Libtorrent::start() else { return };
    let reader = client(&network).await;
    let sample = sample_packet(&Keypair::random(), 1).unwrap();
    assert_eq!(network.get(sample.key().as_bytes()), "none");
    let (newest, evidence) = timeout(LIMIT, reader.most_recent(sample.key())).await.unwrap().unwrap();
    assert_eq!(newest, None);
    assert!(evidence.responded >= 4, "{evidence:?}");
    drop(network);
    let gone = timeout(LIMIT, reader.most_recent(sample.key())).await.unwrap();
    assert_eq!(gone, Err(NetworkError::Unreachable));
}
