//! Packets that are stored through here, and what is answered then.

use super::*;

const A_SECOND: Duration = Duration::from_secs(1);

fn storing(
    stores: impl IntoIterator<Item = Result<u32, PutError>>,
    scripts: impl IntoIterator<Item = Script>,
) -> (Packets, Arc<Scripted>) {
    let (packets, network) = packets(scripts);
    network.stores.lock().unwrap().extend(stores.into_iter().map(|end| (A_SECOND, end)));
    (packets, network)
}

fn stored(network: &Scripted) -> Vec<u64> {
    network.stored.lock().unwrap().iter().map(SignedPacket::timestamp).collect()
}

fn other(timestamp: u64) -> SignedPacket {
    packet(timestamp, 77)
}

#[tokio::test(start_paused = true)]
async fn what_is_stored_answers_at_once_and_what_was_answered_before_is_out_of_date() {
    let (packets, network) = storing([Ok(17)], [ends(ANSWERED)]);
    let key = *keypair().public_key().as_bytes();
    assert!(matches!(get(&packets).await, Ok(PacketAnswer::Absent(_))));
    let revision = packets.revisions().current(&key);
    assert_eq!(packets.put(packet(5, 300), None).await, Ok(17));
    assert!(!packets.revisions().is_current(revision));
    assert_eq!(timestamp(&packets).await, 5);
    // As fresh as if a search to its end had found it.
    sleep(Duration::from_secs(200)).await;
    assert_eq!(timestamp(&packets).await, 5);
    assert_eq!(searches(&network), 1);
}

#[tokio::test(start_paused = true)]
async fn nothing_is_kept_that_the_network_did_not_get() {
    for failure in [
        PutError::Network(NetworkError::Unreachable),
        PutError::Refused(205, "too big".into()),
        PutError::NotMostRecent,
    ] {
        let (packets, _) = storing([Err(failure.clone())], [ends(ANSWERED)]);
        assert_eq!(packets.put(packet(5, 300), None).await, Err(failure));
        assert!(packets.is_empty());
        assert!(matches!(get(&packets).await, Ok(PacketAnswer::Absent(_))));
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_known_already_decides_without_the_network() {
    let (packets, network) = storing([Ok(1), Ok(2), Ok(3)], []);
    packets.put(packet(5, 300), None).await.unwrap();
    for (refused, cas, error) in [
        (packet(4, 300), None, PutError::NotMostRecent),
        (other(5), None, PutError::NotMostRecent),
        (packet(6, 300), Some(4), PutError::CasFailed),
        (packet(4, 300), Some(4), PutError::CasFailed),
    ] {
        assert_eq!(packets.put(refused, cas).await, Err(error));
    }
    assert_eq!(stored(&network), [5]);
    assert_eq!(packets.put(packet(5, 300), None).await, Ok(2), "the same again");
    assert_eq!(packets.put(other(6), Some(5)).await, Ok(3));
    assert_eq!(stored(&network), [5, 5, 6]);
}

#[tokio::test(start_paused = true)]
async fn packets_of_one_key_are_stored_one_after_the_other_and_the_same_one_once() {
    let (packets, network) = storing([Ok(1), Ok(2)], []);
    let put = |timestamp| packets.put(packet(timestamp, 300), None);
    let started = Instant::now();
    let results = join_all([put(5), put(5), put(6), put(6), put(5)]).await;
    assert_eq!(started.elapsed(), 2 * A_SECOND);
    assert_eq!(results, [Ok(1), Ok(1), Ok(2), Ok(2), Ok(1)]);
    assert_eq!(stored(&network), [5, 6]);
    assert_eq!(timestamp(&packets).await, 6);
}

#[tokio::test(start_paused = true)]
async fn a_store_goes_on_when_its_client_leaves() {
    let (packets, network) = storing([Ok(1)], []);
    let put = packets.put(packet(5, 300), None);
    assert!(timeout(A_SECOND / 2, put).await.is_err());
    sleep(A_SECOND).await;
    assert_eq!(stored(&network), [5]);
    assert_eq!(timestamp(&packets).await, 5);
}

#[tokio::test(start_paused = true)]
async fn no_more_packets_are_under_way_than_the_bound_says() {
    let (packets, _) = storing(vec![Ok(1); MAX_PUBLICATIONS + 1], []);
    let of_key = |number: usize| {
        let mut secret = [1; 32];
        secret[..8].copy_from_slice(&number.to_le_bytes());
        SignedPacket::sign(&Keypair::from_secret_key(&secret), 1, packet(1, 300).dns()).unwrap()
    };
    let [first, last] = [0, MAX_PUBLICATIONS].map(of_key);
    let many = join_all((0..MAX_PUBLICATIONS).map(|number| packets.put(of_key(number), None)));
    let one_more = async {
        tokio::task::yield_now().await;
        // Who joins one that is under way needs no place.
        tokio::join!(packets.put(last.clone(), None), packets.put(first, None))
    };
    let (many, (one_more, joined)) = tokio::join!(many, one_more);
    assert!(many.into_iter().all(|result| result == Ok(1)));
    assert_eq!(one_more, Err(PutError::Network(NetworkError::Busy)));
    assert_eq!(joined, Ok(1));
    assert_eq!(packets.put(last, None).await, Ok(1), "there is room again");
}

/// The search began before the packet was there, and would end with "absent".
#[tokio::test(start_paused = true)]
async fn a_search_that_ends_in_vain_takes_nothing_back_that_was_stored_meanwhile() {
    for end in [ANSWERED, Err(NetworkError::Unreachable)] {
        let (packets, network) = storing([Ok(1)], [ends(end)]);
        let (_, put) = tokio::join!(get(&packets), packets.put(packet(5, 300), None));
        put.unwrap();
        sleep(Duration::from_secs(200)).await;
        let Ok(PacketAnswer::Found(found)) = get(&packets).await else { panic!("{end:?}") };
        assert_eq!((found.packet.timestamp(), found.stale), (5, None));
        assert_eq!(searches(&network), 1);
    }
}

#[tokio::test(start_paused = true)]
async fn the_newest_is_asked_of_the_network_whatever_is_held() {
    let newest = |packets: &Packets| {
        let packets = packets.clone();
        async move { packets.newest(&keypair().public_key(), CLIENT).await }
    };
    let later = Script { packets: vec![(A_SECOND, packet(6, 300))], ..finds(packet(6, 300)) };
    let (packets, network) = packets([
        finds(packet(5, 300)),
        Script { packets: [finds(packet(4, 300)).packets, later.packets].concat(), ..later },
        ends(ANSWERED),
        ends(Err(NetworkError::Unreachable)),
    ]);
    assert_eq!(timestamp(&packets).await, 5);
    // Those who ask at the same time share a search, and wait for its end.
    for answer in join_all([newest(&packets), newest(&packets)]).await {
        assert!(matches!(answer, Ok(PacketAnswer::Found(found)) if found.packet.timestamp() == 6));
    }
    assert_eq!(newest(&packets).await, Ok(PacketAnswer::Absent(Duration::ZERO)));
    assert_eq!(newest(&packets).await, Err(FetchError::Network(NetworkError::Unreachable)));
    assert_eq!(searches(&network), 4);
    assert_eq!(timestamp(&packets).await, 6, "what is held stays");
}
