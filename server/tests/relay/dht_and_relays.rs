//! The DHT and relays together, where each is quicker, slower, newer or silent.

use std::{sync::Arc, time::Duration};

use pkdns_dht::{
    Evidence, Network, NetworkError,
    testing::{FakeNetwork, ScriptedSearch},
};
use tokio::{sync::mpsc, time::timeout};

use pkdns::sources::relay_client::DhtAndRelays;
use pkdns_testing::relay::{Reply, ScriptedRelay};

use super::client::{body, packet, relays};

const ABSENT: Result<Evidence, NetworkError> = Ok(Evidence { queried: 20, responded: 17, held: 0 });
const UNREACHABLE: Result<Evidence, NetworkError> = Err(NetworkError::Unreachable);

/// What a lookup gave, by timestamps, and how it ended. Times of the DHT are in milliseconds.
async fn lookup(
    packets: &[(u64, u64)],
    end: (u64, Result<Evidence, NetworkError>),
    relay_urls: &[String],
) -> (Vec<u64>, Result<Evidence, NetworkError>) {
    let at = Duration::from_millis;
    let packets = packets.iter().map(|&(time, timestamp)| (at(time), packet(timestamp))).collect();
    let dht = FakeNetwork::scripted([ScriptedSearch { packets, took: at(end.0), end: end.1 }]);
    let network = DhtAndRelays::new(Arc::new(dht), relays(relay_urls));
    let (sender, mut found) = mpsc::unbounded_channel();
    let end = timeout(Duration::from_secs(20), network.lookup(packet(1).key(), sender)).await.unwrap();
    let mut timestamps = Vec::new();
    while let Some(packet) = found.recv().await {
        timestamps.push(packet.timestamp());
    }
    (timestamps, end)
}

async fn holds(timestamp: u64, after: u64) -> ScriptedRelay {
    ScriptedRelay::start(move |_| Reply::answer(200, &[], &body(&packet(timestamp))).after(after)).await
}

async fn says(status: u16) -> ScriptedRelay {
    ScriptedRelay::start(move |_| Reply::status(status)).await
}

#[tokio::test]
async fn a_relay_does_not_learn_of_what_the_dht_finds() {
    let relay = holds(9, 0).await;
    // The end comes together with the packet, in whatever order they are seen, or when it would be the relays' turn.
    for end in [[0; 20].as_slice(), &[700]].concat() {
        assert_eq!(lookup(&[(0, 5)], (end, ABSENT), &[relay.url()]).await, (vec![5], ABSENT));
    }
    assert_eq!(relay.connections(), 0);
}

#[tokio::test]
async fn a_relay_is_asked_at_once_when_the_dht_ends_without_a_packet() {
    let relay = holds(3, 0).await;
    assert_eq!(lookup(&[], (0, ABSENT), &[relay.url()]).await, (vec![3], ABSENT));
    for error in [NetworkError::Unreachable, NetworkError::NotReady, NetworkError::Busy] {
        let (found, end) = lookup(&[], (0, Err(error)), &[relay.url()]).await;
        assert_eq!(found, [3], "{error}");
        assert!(end.is_ok(), "{end:?}");
    }
}

#[tokio::test]
async fn a_relay_is_asked_when_the_dht_takes_long_and_the_newest_packet_comes_last() {
    let older = holds(3, 0).await;
    assert_eq!(lookup(&[(800, 5)], (900, ABSENT), &[older.url()]).await, (vec![3, 5], ABSENT));
    let newer = holds(7, 300).await;
    assert_eq!(lookup(&[(500, 5)], (500, ABSENT), &[newer.url()]).await, (vec![5, 7], ABSENT));
    // An older one that comes later is kept back.
    let late = holds(3, 300).await;
    assert_eq!(lookup(&[(500, 5)], (500, ABSENT), &[late.url()]).await, (vec![5], ABSENT));
}

#[tokio::test]
async fn the_newest_of_all_relays_wins() {
    let (first, second, third) = tokio::join!(holds(4, 0), holds(6, 100), holds(5, 200));
    let urls = [says(500).await.url(), first.url(), second.url(), third.url()];
    let (found, end) = lookup(&[], (0, UNREACHABLE), &urls).await;
    assert_eq!(found, [4, 6]);
    assert!(end.is_ok());
}

#[tokio::test]
async fn a_relay_that_gives_a_packet_is_no_witness_of_absence() {
    let relay = holds(3, 0).await;
    let nobody = Ok(Evidence { queried: 0, responded: 0, held: 0 });
    for error in [NetworkError::Unreachable, NetworkError::NotReady, NetworkError::Busy] {
        assert_eq!(lookup(&[], (0, Err(error)), &[relay.url()]).await, (vec![3], nobody), "{error}");
    }
}

#[tokio::test]
async fn absence_is_decided_by_the_dht_and_never_by_a_relay() {
    let nobody = ScriptedRelay::start(|_| Reply::raw("").then_closes()).await;
    let forger = ScriptedRelay::start(|_| Reply::answer(200, &[], &[1; 184])).await;
    for relay in [says(404).await, says(503).await, nobody, forger] {
        for verdict in [ABSENT, UNREACHABLE, Err(NetworkError::NotReady)] {
            assert_eq!(lookup(&[], (0, verdict), &[relay.url()]).await, (Vec::new(), verdict));
        }
        assert!(!relay.received().is_empty());
    }
}

/// The clock runs ahead whenever everybody waits.
#[tokio::test(start_paused = true)]
async fn a_lookup_ends_when_neither_the_dht_nor_a_relay_does() {
    let silent = ScriptedRelay::start(|_| Reply::silence()).await;
    let endless = (u64::from(u32::MAX), ABSENT);
    assert_eq!(lookup(&[], endless, &[silent.url()]).await, (Vec::new(), UNREACHABLE));
    assert_eq!(lookup(&[(100, 5)], endless, &[silent.url()]).await, (vec![5], UNREACHABLE));
}
