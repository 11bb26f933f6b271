//! The client of the DHT against a network of `mainline` nodes in this process.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the helpers of tests may fail them"
)]

use std::{
    future::Future,
    net::{IpAddr, Ipv4Addr, UdpSocket},
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use futures_util::future::join_all;
use pkdns::program::testnet::sample_packet;
use pkdns_dht::{
    Dht, DhtSettings, HostResolver, Network, NetworkError, PutError,
    internal::saved_nodes,
    signed_packet::{Keypair, SignedPacket},
};
use pkdns_testing::mainline_network::MainlineNetwork;
use pkdns_testing::silence::silence;
use tokio::{
    sync::mpsc,
    time::{sleep, timeout},
};

const LIMIT: Duration = Duration::from_secs(20);

/// Fails the test when a host name is to be resolved.
fn no_names() -> HostResolver {
    Arc::new(|host| panic!("asked for {host}"))
}

fn settings(bootstrap: Vec<String>) -> DhtSettings {
    let mut settings = DhtSettings::on_loopback(bootstrap);
    settings.first_retry = Duration::from_millis(100);
    settings
}

async fn joined(network: &MainlineNetwork) -> Dht {
    let dht = Dht::start(settings(network.bootstrap()), no_names()).unwrap();
    dht.ready(LIMIT).await.unwrap();
    dht
}

async fn within<T>(future: impl Future<Output = T>) -> T {
    timeout(LIMIT, future).await.expect("took too long")
}

/// Waits until `condition` holds.
async fn eventually<F: Future<Output = bool>>(mut condition: impl FnMut() -> F) {
    within(async {
        while !condition().await {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
}

#[tokio::test]
async fn what_was_put_is_found_at_once_and_again_at_the_end() {
    let network = MainlineNetwork::start(10, &[]).await;
    let (writer, reader) = tokio::join!(joined(&network), joined(&network));
    let packet = sample_packet(&Keypair::random(), 1).unwrap();
    let stored = writer.put(&packet, None).await.unwrap();
    assert!(stored >= 5, "stored at {stored}");

    let (sender, mut found) = mpsc::unbounded_channel();
    let lookup = tokio::spawn({
        let (reader, key) = (reader.clone(), packet.key().clone());
        async move { reader.lookup(&key, sender).await }
    });
    assert_eq!(within(found.recv()).await, Some(packet.clone()));
    // Sent once, though ten nodes hold it.
    assert_eq!(within(found.recv()).await, None);
    let evidence = within(lookup).await.unwrap().unwrap();
    assert!(evidence.responded >= 5, "{evidence:?}");

    let (newest, _) = within(reader.most_recent(packet.key())).await.unwrap();
    assert_eq!(newest, Some(packet));
}

#[tokio::test]
async fn the_newest_of_two_packets_wins_and_an_older_one_is_not_stored() {
    let network = MainlineNetwork::start(6, &[]).await;
    let dht = joined(&network).await;
    let keypair = Keypair::random();
    let [first, second, third] = [1, 2, 3].map(|timestamp| sample_packet(&keypair, timestamp).unwrap());
    dht.put(&first, None).await.unwrap();
    dht.put(&third, None).await.unwrap();
    let (newest, _) = within(dht.most_recent(first.key())).await.unwrap();
    assert_eq!(newest, Some(third.clone()));

    assert_eq!(dht.put(&second, None).await, Err(PutError::NotMostRecent));
    let fourth = sample_packet(&keypair, 4).unwrap();
    assert_eq!(dht.put(&fourth, Some(1)).await, Err(PutError::CasFailed));
    assert_eq!(dht.put(&fourth, Some(u64::MAX)).await, Err(PutError::CasFailed));
    dht.put(&fourth, Some(3)).await.unwrap();
    let (newest, _) = within(dht.most_recent(first.key())).await.unwrap();
    assert_eq!(newest, Some(fourth));
}

#[tokio::test]
async fn a_key_that_was_never_put_is_absent_with_evidence() {
    let network = MainlineNetwork::start(10, &[]).await;
    let dht = joined(&network).await;
    let (newest, evidence) = within(dht.most_recent(&Keypair::random().public_key())).await.unwrap();
    assert_eq!(newest, None);
    assert!(evidence.responded >= 5, "{evidence:?}");
    assert!(evidence.queried >= evidence.responded, "{evidence:?}");
}

#[tokio::test]
async fn a_dht_that_has_gone_is_unreachable_and_no_key_is_absent() {
    let network = MainlineNetwork::start(10, &[]).await;
    let dht = Dht::start(settings(network.bootstrap()), no_names()).unwrap();
    dht.ready(LIMIT).await.unwrap();
    let packet = sample_packet(&Keypair::random(), 1).unwrap();
    dht.put(&packet, None).await.unwrap();
    let addresses = network.bootstrap();
    drop(network);
    let _silence = silence(&addresses).await;
    for key in [packet.key().clone(), Keypair::random().public_key()] {
        assert_eq!(within(dht.most_recent(&key)).await, Err(NetworkError::Unreachable));
    }
    let later = sample_packet(&Keypair::random(), 2).unwrap();
    assert_eq!(within(dht.put(&later, None)).await, Err(NetworkError::Unreachable.into()));
}

#[tokio::test]
async fn starts_without_a_network_and_joins_when_it_appears() {
    // Nothing answers on this port while the socket is held.
    let silence = UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = silence.local_addr().unwrap();
    let dht = Dht::start(settings(vec![address.to_string()]), no_names()).unwrap();
    let key = Keypair::random().public_key();
    assert_eq!(dht.most_recent(&key).await, Err(NetworkError::NotReady));
    assert_eq!(dht.ready(Duration::from_millis(300)).await, Err(NetworkError::NotReady));
    let packet = sample_packet(&Keypair::random(), 1).unwrap();
    assert_eq!(dht.put(&packet, None).await, Err(NetworkError::NotReady.into()));

    drop(silence);
    let first = tokio::task::spawn_blocking(move || {
        mainline::Dht::builder()
            .server_mode()
            .no_bootstrap()
            .bind_address(Ipv4Addr::LOCALHOST)
            .port(address.port())
            .build()
            .unwrap()
    });
    let _first = first.await.unwrap();
    dht.ready(LIMIT).await.unwrap();
    assert_eq!(dht.put(&packet, None).await, Ok(1));
    assert_eq!(within(dht.most_recent(packet.key())).await.unwrap().0, Some(packet));
}

#[tokio::test]
async fn a_hundred_keys_at_once_are_all_found() {
    // More nodes, of which each is asked for each key, have no time to answer where other tests run beside this one.
    let network = MainlineNetwork::start(10, &[]).await;
    let (writer, reader) = tokio::join!(joined(&network), joined(&network));
    let packets: Vec<_> = (0..100).map(|_| sample_packet(&Keypair::random(), 1).unwrap()).collect();
    for packets in packets.chunks(10) {
        for stored in join_all(packets.iter().map(|packet| writer.put(packet, None))).await {
            stored.unwrap();
        }
    }
    let lookups = packets.iter().map(|packet| reader.most_recent(packet.key()));
    let found = within(join_all(lookups)).await;
    let mut missing = 0;
    for (packet, found) in packets.iter().zip(found) {
        match found {
            Ok((Some(newest), _)) => assert_eq!(newest, *packet),
            Ok((None, evidence)) => {
                println!("called absent: {evidence:?}");
                missing += 1;
            }
            Err(error) => {
                println!("{error}");
                missing += 1;
            }
        }
    }
    assert_eq!(missing, 0, "of {}", packets.len());
}

#[tokio::test]
async fn many_lookups_of_absent_keys_at_once_end_in_time() {
    let network = MainlineNetwork::start(10, &[]).await;
    let dht = joined(&network).await;
    let keys: Vec<_> = (0..50).map(|_| Keypair::random().public_key()).collect();
    for result in within(join_all(keys.iter().map(|key| dht.most_recent(key)))).await {
        assert_eq!(result.unwrap().0, None);
    }
}

#[tokio::test]
async fn start_up_does_not_resolve_names_through_the_system() {
    let network = MainlineNetwork::start(5, &[]).await;
    let asked = Arc::new(Mutex::new(Vec::new()));
    let names = Arc::new(AtomicBool::new(false));
    let resolver: HostResolver = {
        let (asked, names) = (asked.clone(), names.clone());
        Arc::new(move |host| {
            asked.lock().unwrap().push(host);
            let known = names.load(Ordering::Relaxed);
            Box::pin(async move { if known { vec![IpAddr::from([127, 0, 0, 1])] } else { Vec::new() } })
        })
    };
    // `localhost` is a name that the system's resolver would know.
    let port = network.bootstrap()[0].rsplit_once(':').unwrap().1.to_owned();
    let dht = Dht::start(settings(vec![format!("localhost:{port}")]), resolver).unwrap();
    assert_eq!(dht.ready(Duration::from_millis(600)).await, Err(NetworkError::NotReady));
    assert!(!asked.lock().unwrap().is_empty());
    names.store(true, Ordering::Relaxed);
    dht.ready(LIMIT).await.unwrap();
    assert!(asked.lock().unwrap().iter().all(|host| host == "localhost"));
}

#[tokio::test]
async fn a_dropped_client_gives_back_its_sockets() {
    let network = MainlineNetwork::start(5, &[]).await;
    let dht = joined(&network).await;
    eventually(|| async { dht.info().await.table_size >= 5 }).await;
    let info = dht.info().await;
    assert_eq!(info.local_addresses.len(), 1);
    for address in &info.local_addresses {
        assert!(UdpSocket::bind(address).is_err(), "not in use: {address}");
    }
    drop(dht.clone());
    assert!(dht.info().await.table_size >= 5, "a clone's end is not the end");
    drop(dht);
    for address in info.local_addresses {
        eventually(|| async move { UdpSocket::bind(address).is_ok() }).await;
    }
}

#[tokio::test]
async fn unsound_packets_are_not_passed_on() {
    let network = MainlineNetwork::start(5, &[]).await;
    let dht = joined(&network).await;
    let bootstrap = network.bootstrap();
    let publisher = tokio::task::spawn_blocking(move || {
        mainline::Dht::builder().bootstrap(&bootstrap).bind_address(Ipv4Addr::LOCALHOST).build().unwrap()
    });
    let publisher = publisher.await.unwrap().as_async();
    // Signed by its key, but no date before 1970 can be a packet's.
    let signer = mainline::SigningKey::from_bytes(&[7; 32]);
    let item = mainline::MutableItem::new(signer.clone(), b"anything", -1, None);
    publisher.put_mutable(item, None).await.unwrap();
    let key = pkdns_dht::signed_packet::PublicKey::try_from(signer.verifying_key().as_bytes()).unwrap();
    assert_eq!(within(dht.most_recent(&key)).await.unwrap().0, None);

    let sound = SignedPacket::sign(&Keypair::from_secret_key(&[7; 32]), 5, b"anything").unwrap();
    dht.put(&sound, None).await.unwrap();
    assert_eq!(within(dht.most_recent(&key)).await.unwrap().0, Some(sound));
}

#[tokio::test(flavor = "multi_thread")]
async fn known_nodes_are_saved_when_a_stop_asks_for_it() {
    let network = MainlineNetwork::start(20, &[]).await;
    let directory = tempfile::tempdir().unwrap();
    let nodes_path = Some(directory.path().join("dht-nodes"));
    let mut settings = settings(network.bootstrap());
    settings.nodes_path = nodes_path;
    let dht = Dht::start(settings, no_names()).unwrap();
    dht.ready(LIMIT).await.unwrap();
    dht.save_nodes().await;
    let path = directory.path().join("dht-nodes");
    let saved = saved_nodes::load(&path, &network.bootstrap(), std::time::SystemTime::now()).unwrap();
    assert!(saved.len() > 0);
}
