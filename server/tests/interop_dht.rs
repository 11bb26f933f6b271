//! The client of the DHT against networks of other implementations: libtorrent, bittorrent-dht, mainline, and a mix of
//! the three. What is stored through one client has to be found by the other.
//!
//! Needs Python 3 with the `libtorrent` module (`$PYTHON`, or `python3`), and Node.js with bittorrent-dht in NODE_PATH
//! or where CONTRIBUTING.md installs it. Without them the tests say so and pass, unless `CI=true`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::{future::Future, net::Ipv6Addr, sync::Arc, time::Duration};

use pkdns::program::testnet::sample_packet;
use pkdns_dht::{
    Dht, DhtSettings, Network, NetworkError, PutError,
    signed_packet::{Keypair, SignedPacket},
};
use pkdns_testing::{network_process::hex, world::World};
use tokio::{sync::mpsc, time::timeout};

const LIMIT: Duration = Duration::from_secs(30);

/// Each test for each kind of network.
macro_rules! tests {
    ($($name:ident),+) => {
        tests!(@of of_libtorrent: $($name),+);
        tests!(@of of_libtorrent_on_ipv6: $($name),+);
        tests!(@of of_bittorrent_dht: $($name),+);
        tests!(@of of_mainline: $($name),+);
        tests!(@of of_all: $($name),+);
    };
    (@of $network:ident: $($name:ident),+) => {
        mod $network {
            use super::World;

            $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $name() {
                let Some(world) = World::$network().await else { return };
                super::$name(world).await;
            })+
        }
    };
}

tests!(
    what_we_put_they_find_until_an_update_replaces_it,
    an_older_packet_and_one_for_another_predecessor_are_refused,
    nodes_refuse_what_does_not_follow_what_another_stored_meanwhile,
    what_they_put_we_find_and_may_replace,
    nodes_give_evidence_of_absence_and_silence_does_not
);

async fn what_we_put_they_find_until_an_update_replaces_it(mut world: World) {
    let (writer, reader) = tokio::join!(client(&world), client(&world));
    let keypair = Keypair::random();
    for timestamp in [1_700_000_000_000_000, 1_700_000_000_000_001] {
        let packet = sample_packet(&keypair, timestamp).unwrap();
        within(store(&writer, &packet, None, world.enough())).await;
        for part in world.parts() {
            assert_eq!(within(part.get(packet.key().as_bytes())).await, as_printed(&packet));
        }
        // The first one that is found ends the waiting of a question; no node has anything but the newest.
        assert_eq!(first(&reader, &packet).await, Some(packet.clone()));
        let (newest, evidence) = within(reader.most_recent(packet.key())).await.unwrap();
        assert_eq!(newest, Some(packet), "{evidence:?}");
    }
}

async fn an_older_packet_and_one_for_another_predecessor_are_refused(world: World) {
    let first = client(&world).await;
    let keypair = Keypair::random();
    let [older, stored, later] = [1, 2, 3].map(|timestamp| sample_packet(&keypair, timestamp).unwrap());
    within(first.put(&stored, None)).await.unwrap();
    // A newcomer. Nodes of bittorrent-dht answer with the value and name no further nodes then.
    let second = client(&world).await;
    for dht in [&first, &second] {
        assert_eq!(within(dht.put(&older, None)).await, Err(PutError::NotMostRecent));
        assert_eq!(within(dht.put(&later, Some(1))).await, Err(PutError::CasFailed));
        assert_eq!(within(dht.most_recent(stored.key())).await.unwrap().0, Some(stored.clone()));
    }
    within(store(&second, &later, Some(2), world.enough())).await;
    assert_eq!(within(first.most_recent(later.key())).await.unwrap().0, Some(later));
}

async fn nodes_refuse_what_does_not_follow_what_another_stored_meanwhile(world: World) {
    let (ours, other) = tokio::join!(client(&world), client(&world));
    let keypair = Keypair::random();
    let packets = [1, 2, 3, 4, 5].map(|timestamp| sample_packet(&keypair, timestamp).unwrap());
    let [first, second, third, fourth, fifth] = &packets;
    within(other.put(first, None)).await.unwrap();
    // What we store goes to the nodes of our last search, which knows nothing of what came after it.
    assert_eq!(within(ours.most_recent(first.key())).await.unwrap().0.as_ref(), Some(first));
    within(other.put(third, None)).await.unwrap();
    assert_eq!(within(ours.put(second, None)).await, Err(PutError::NotMostRecent));
    assert_eq!(within(ours.most_recent(first.key())).await.unwrap().0.as_ref(), Some(third));
    within(other.put(fourth, Some(3))).await.unwrap();
    assert_eq!(within(ours.put(fifth, Some(3))).await, Err(PutError::CasFailed));
    assert_eq!(within(ours.most_recent(first.key())).await.unwrap().0.as_ref(), Some(fourth));
}

async fn what_they_put_we_find_and_may_replace(mut world: World) {
    let reader = client(&world).await;
    for (index, part) in world.searching_parts().iter_mut().enumerate() {
        let seed = [9 + index as u8; 32];
        let keypair = Keypair::from_secret_key(&seed);
        for sequence in [1, 2] {
            // A signature of the same text by the same key is the same.
            let packet = sample_packet(&keypair, sequence as u64).unwrap();
            let key = packet.key().as_bytes();
            assert!(within(part.put(&seed, key, sequence, packet.dns())).await > 0);
            let (newest, evidence) = within(reader.most_recent(packet.key())).await.unwrap();
            assert_eq!(newest, Some(packet), "{evidence:?}");
        }
        let ours = sample_packet(&keypair, 1_700_000_000_000_000).unwrap();
        within(reader.put(&ours, Some(2))).await.unwrap();
        assert_eq!(within(part.get(ours.key().as_bytes())).await, as_printed(&ours));
    }
}

async fn nodes_give_evidence_of_absence_and_silence_does_not(mut world: World) {
    let reader = client(&world).await;
    let sample = sample_packet(&Keypair::random(), 1).unwrap();
    for part in world.searching_parts() {
        assert_eq!(within(part.get(sample.key().as_bytes())).await, "none");
    }
    let (newest, evidence) = within(reader.most_recent(sample.key())).await.unwrap();
    assert_eq!(newest, None);
    assert!(evidence.responded >= world.enough(), "{evidence:?}");
    let _silence = world.silence().await;
    assert_eq!(within(reader.most_recent(sample.key())).await, Err(NetworkError::Unreachable));
    let error = within(reader.put(&sample, None)).await.unwrap_err();
    assert_eq!(error, PutError::Network(NetworkError::Unreachable));
}

/// Stores as a publisher does: again while too few nodes have it. A process of nodes may stand still for a second where many
/// tests share a core.
async fn store(dht: &Dht, packet: &SignedPacket, mut cas: Option<u64>, enough: u32) {
    while dht.put(packet, cas.take()).await.unwrap() < enough {
        dht.most_recent(packet.key()).await.unwrap();
    }
}

/// A client that has joined, of IPv6 only where there is nothing else.
async fn client(world: &World) -> Dht {
    let mut settings = DhtSettings::on_loopback(world.bootstrap());
    if world.is_ipv6() {
        (settings.bind_v4, settings.bind_v6) = (None, Some(Ipv6Addr::LOCALHOST));
    }
    within(async {
        loop {
            let dht = Dht::start(settings.clone(), Arc::new(|host| panic!("asked for {host}"))).unwrap();
            dht.ready(LIMIT).await.unwrap();
            let anything = Keypair::random().public_key();
            if dht.most_recent(&anything).await.is_ok_and(|(_, found)| found.responded >= world.enough()) {
                return dht;
            }
            // One kind of nodes was too busy to be heard of while it joined, and now nobody names them.
        }
    })
    .await
}

/// What a lookup finds first for the key of `packet`.
async fn first(dht: &Dht, packet: &SignedPacket) -> Option<SignedPacket> {
    let (sender, mut found) = mpsc::unbounded_channel();
    let (first, evidence) =
        within(async { tokio::join!(found.recv(), dht.lookup(packet.key(), sender)) }).await;
    evidence.unwrap();
    first
}

/// A packet as the scripts print it.
fn as_printed(packet: &SignedPacket) -> String {
    format!("{} {}", packet.timestamp(), hex(packet.dns()))
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(LIMIT, future).await.expect("took too long")
}
