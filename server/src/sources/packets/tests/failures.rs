//! What a network that fails, a relay and a clock that is wrong leave as it is.

use super::*;

#[tokio::test(start_paused = true)]
async fn an_older_packet_that_a_relay_gives_is_no_absence_while_the_dht_cannot_be_asked() {
    // Relays bear no witness, so that the evidence is of nobody.
    let nobody = Ok(Evidence { queried: 0, responded: 0, held: 0 });
    let older = ScriptedSearch { end: nobody, ..finds(packet(4, 0)) };
    let (packets, _) =
        packets([finds(packet(5, 0)), ends(Err(NetworkError::Unreachable)), older.clone(), older]);
    assert_eq!(timestamp(&packets).await, 5);
    sleep(Duration::from_secs(1200)).await;
    let unreachable = Err(FetchError::Network(NetworkError::Unreachable));
    assert_eq!(get(&packets).await, unreachable);
    assert!(packets.is_empty(), "it was dropped for its age");
    sleep(Duration::from_secs(61)).await;
    assert_eq!(get(&packets).await, unreachable);
    let newest = packets.newest(&keypair().public_key(), CLIENT).await;
    assert_eq!(newest, unreachable);
}

#[tokio::test(start_paused = true)]
async fn a_network_that_cannot_be_asked_ends_no_absence_that_is_believed() {
    let (packets, network) = packets([ends(ANSWERED), ends(Err(NetworkError::Unreachable))]);
    assert!(matches!(get(&packets).await, Ok(PacketAnswer::Absent(_))));
    let newest = packets.newest(&keypair().public_key(), CLIENT).await;
    assert_eq!(newest, Err(FetchError::Network(NetworkError::Unreachable)));
    assert!(matches!(get(&packets).await, Ok(PacketAnswer::Absent(_))));
    assert_eq!(network.lookups(), 2);
}

/// Packets that are kept on disk as well.
fn packets_on(disk: &DiskStore, scripts: impl IntoIterator<Item = ScriptedSearch>) -> Packets {
    let network = FakeNetwork::scripted(scripts);
    let settings = config::Cache { ttl_seconds: 100, max_stale_seconds: 1000, ..Default::default() };
    let stores = Stores { disk: Some(disk.clone()), shared: None };
    Packets::with_stores(&settings, Arc::new(network), stores, 0)
}

fn at_once(script: ScriptedSearch) -> ScriptedSearch {
    let packets = script.packets.into_iter().map(|(_, packet)| (Duration::ZERO, packet)).collect();
    ScriptedSearch { packets, took: Duration::ZERO, ..script }
}

#[tokio::test]
async fn a_failure_of_the_network_does_not_hide_what_is_on_disk() {
    let directory = tempfile::tempdir().unwrap();
    let disk = DiskStore::open(directory.path(), 1_000_000).unwrap();
    let packets = packets_on(&disk, [at_once(ends(Err(NetworkError::Unreachable)))]);
    assert_eq!(get(&packets).await, Err(FetchError::Network(NetworkError::Unreachable)));
    let received = SystemTime::now();
    let fresh_until = received + Duration::from_secs(100);
    disk.put(Stored { packet: packet(1, 300), received, fresh_until });
    assert_eq!(timestamp(&packets).await, 1);
}

#[tokio::test]
async fn a_clock_that_was_ahead_once_makes_no_packet_new_again_with_each_restart() {
    let directory = tempfile::tempdir().unwrap();
    let disk = DiskStore::open(directory.path(), 1_000_000).unwrap();
    let received = SystemTime::now() + Duration::from_secs(400 * 86_400);
    let fresh_until = received + Duration::from_secs(100);
    disk.put(Stored { packet: packet(1, 300), received, fresh_until });
    disk.flush().await;
    // Where nothing newer can be had it is served, as what it is.
    let packets = packets_on(&disk, [at_once(ends(Err(NetworkError::Unreachable)))]);
    let Ok(PacketAnswer::Found(found)) = get(&packets).await else { panic!("no packet") };
    assert_eq!(found.stale, Some(Staleness::Unreachable(NetworkError::Unreachable)));
    disk.flush().await;
    let kept = disk.get(&keypair().public_key()).await.unwrap();
    assert!(kept.received < SystemTime::now() && kept.fresh_until <= SystemTime::now(), "mended for good");
    // After a restart the newer one is found at once.
    let packets = packets_on(&disk, [at_once(finds(packet(2, 300)))]);
    assert_eq!(timestamp(&packets).await, 2);
}
