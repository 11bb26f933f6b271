//! What we send is bounded, and what is asked beyond that ends without a false word.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::future::join_all;
use pkdns::metrics::DhtMetrics;
use pkdns_dht::{NetworkError, simulator::Simulator};
use pkdns_testing::wait::eventually;

use crate::world::{joined, keypairs, lookup, packet, settings, world};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_burst_of_keys_sends_no_more_than_the_budget_and_is_answered_truly() {
    const PER_SECOND: u32 = 200;
    let simulator = Simulator::start(world(150, 51)).unwrap();
    let keys: Vec<_> = keypairs(100, 51).iter().map(|keypair| packet(keypair, 1)).collect();
    keys.iter().for_each(|packet| simulator.store(packet));
    let start = Instant::now();
    let mut settings = settings(&simulator);
    settings.max_datagrams_per_second = PER_SECOND;
    let dht = joined(settings).await;
    let lookups = join_all(keys.iter().map(|packet| lookup(&dht, packet.key())));
    let mut all_found = 0;
    for (packet, (found, end)) in keys.iter().zip(lookups.await) {
        match end {
            Ok(_) => assert_eq!(found, std::slice::from_ref(packet), "absent, though it is there"),
            Err(NetworkError::Unreachable | NetworkError::Busy) => {}
            Err(error) => panic!("{error}"),
        }
        assert!(found.iter().all(|it| it == packet));
        all_found += found.len();
    }
    assert!(all_found > 0);
    let received = simulator.statistics().received.total();
    // The bucket holds what half a second allows. Joining is not counted.
    let allowed = f64::from(PER_SECOND) * (start.elapsed().as_secs_f64() + 0.5) + 10.0;
    assert!(received as f64 <= allowed, "{received} sent, {allowed} allowed");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn thousands_of_lookups_at_once_all_end_and_leave_nothing_behind() {
    let simulator = Simulator::start(world(150, 52)).unwrap();
    let there: Vec<_> = keypairs(50, 52).iter().map(|keypair| packet(keypair, 1)).collect();
    there.iter().for_each(|packet| simulator.store(packet));
    let absent = keypairs(4950, 53);
    let metrics = DhtMetrics::default();
    let mut settings = settings(&simulator);
    settings.max_datagrams_per_second = 4000;
    settings.observer = Arc::new(metrics.clone());
    let dht = joined(settings).await;
    let dht = &dht;
    let found = there.iter().map(|packet| async move {
        let (found, end) = lookup(dht, packet.key()).await;
        assert!(found.iter().all(|it| it == packet));
        assert!(!found.is_empty() || end.is_err(), "absent, though it is there: {end:?}");
        end
    });
    let nothing = absent.iter().map(|keypair| async move {
        let (found, end) = lookup(dht, &keypair.public_key()).await;
        assert_eq!(found, []);
        end
    });
    let (found, nothing) = tokio::join!(join_all(found), join_all(nothing));
    for end in found.into_iter().chain(nothing) {
        let is_known = matches!(end, Ok(_) | Err(NetworkError::Busy | NetworkError::Unreachable));
        assert!(is_known, "{end:?}");
    }
    let outcomes = &metrics.lookups;
    eventually("no lookup is left", async || metrics.lookups_in_flight.get() == 0).await;
    let counted = [&outcomes.found, &outcomes.absent, &outcomes.busy, &outcomes.unreachable];
    assert_eq!(counted.map(|outcome| outcome.get()).iter().sum::<u64>(), 5000);

    // The client is as good as new.
    // Its budget is full again after half a second.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    for packet in there.iter().take(5) {
        assert_eq!(lookup(dht, packet.key()).await.0, std::slice::from_ref(packet));
    }
}
