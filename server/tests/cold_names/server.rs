//! Questions over UDP to a whole server.

use std::time::{Duration, Instant};

use futures_util::future::join_all;
use hickory_proto::op::ResponseCode;
use pkdns_dht::simulator::{Simulator, World};
use pkdns_testing::wait::eventually;
use tokio::time::sleep;

use crate::world::{NO_REACHABLE_AUTHORITY, Running, address, address_in, keypairs, packet, world};

const FOUND: &str = "pkdns_dht_lookups_total{outcome=\"found\"}";
const ABSENT: &str = "pkdns_dht_lookups_total{outcome=\"absent\"}";
const UNREACHABLE: &str = "pkdns_dht_lookups_total{outcome=\"unreachable\"}";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn cold_keys_asked_at_once_are_all_answered_and_then_cost_the_network_nothing() {
    let simulator = Simulator::start(World { dead: 0.2, loss: 0.02, ..world(400, 11) }).unwrap();
    let keys: Vec<_> = keypairs(60, 11).iter().map(|keypair| packet(keypair, 1)).collect();
    keys.iter().for_each(|packet| simulator.store(packet));
    let server = Running::start(&simulator, |_| ()).await;
    let ask_all = || join_all(keys.iter().map(|packet| server.ask(packet.key())));
    for (packet, reply) in keys.iter().zip(ask_all().await) {
        assert_eq!(address_in(&reply), Some(address(packet.key(), 1)), "{reply:?}");
    }

    // The searches go on behind the answers.
    let searches = keys.len() as f64;
    eventually("all searches end", async || server.metric(FOUND) >= searches).await;
    assert_eq!(server.metric(FOUND), searches, "one search for each key");
    for histogram in [
        "messages_per_lookup",
        "messages_before_first_answer",
        "lookup_duration_seconds",
        "first_answer_seconds",
    ] {
        let (count, sum) = (format!("pkdns_dht_{histogram}_count"), format!("pkdns_dht_{histogram}_sum"));
        assert_eq!(server.metric(&count), searches, "{histogram}");
        assert!(server.metric(&sum) > 0.0, "{histogram}");
    }

    let messages = || keys.iter().map(|packet| simulator.messages_for(packet.key())).sum::<u64>();
    // What is on its way arrives within 40 ms.
    sleep(Duration::from_millis(200)).await;
    let before = messages();
    assert!(before >= 60 * 3, "{before}");
    // Once from the answers in memory, and once from the packets in memory.
    let ask_for_dnssec = join_all(keys.iter().map(|packet| server.ask_for_dnssec(packet.key())));
    let (again, other) = (ask_all().await, ask_for_dnssec.await);
    for (packet, reply) in keys.iter().chain(&keys).zip(again.into_iter().chain(other)) {
        assert_eq!(address_in(&reply), Some(address(packet.key(), 1)), "{reply:?}");
    }
    // A search would have begun at once.
    sleep(Duration::from_millis(300)).await;
    assert_eq!(messages(), before, "what is in memory is not searched for");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn absent_keys_do_not_exist_and_keys_behind_a_silent_network_are_not_called_absent() {
    let simulator = Simulator::start(World { dead: 0.2, loss: 0.02, ..world(300, 12) }).unwrap();
    let server = Running::start(&simulator, |_| ()).await;
    let absent: Vec<_> = keypairs(20, 12).iter().map(|keypair| keypair.public_key()).collect();
    // A server that has just started may find too little evidence for one or two of them, and says so.
    let replies = join_all(absent.iter().map(|key| server.ask(key))).await;
    let denied = replies.iter().filter(|reply| reply.code == ResponseCode::NXDomain).count();
    assert!(denied >= 16, "{denied} of 20: {replies:?}");
    assert!(server.metric(ABSENT) >= 16.0);

    let there: Vec<_> = keypairs(10, 13).iter().map(|keypair| packet(keypair, 1)).collect();
    there.iter().for_each(|packet| simulator.store(packet));
    simulator.silence(true);
    let start = Instant::now();
    for reply in join_all(there.iter().map(|packet| server.ask(packet.key()))).await {
        assert_eq!(reply.code, ResponseCode::ServFail, "{reply:?}");
        assert_eq!(reply.extended_error, Some(NO_REACHABLE_AUTHORITY));
    }
    // A stub resolver asks again after five seconds at the latest.
    assert!(start.elapsed() < Duration::from_millis(3500), "{:?}", start.elapsed());
    assert!(server.metric(UNREACHABLE) >= 10.0);

    simulator.silence(false);
    for packet in &there {
        eventually("the key is found again", async || {
            let reply = server.ask(packet.key()).await;
            assert_ne!(reply.code, ResponseCode::NXDomain, "{reply:?}");
            address_in(&reply) == Some(address(packet.key(), 1))
        })
        .await;
    }
}
