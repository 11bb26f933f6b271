//! A fifth of the network is hostile, in each way that the simulator knows.

use futures_util::future::join_all;
use pkdns_dht::{
    NetworkError,
    simulator::{Hostile, Simulator, World},
};

use crate::world::{joined, keypairs, lookup, packet, settings, world};

/// Keys in each network.
const KEYS: u16 = 20;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn hostile_nodes_of_each_kind_hide_no_key_and_nothing_they_say_is_believed() {
    // One kind after the other: many searches at once lose datagrams on a busy machine, and too many of them are no
    // longer the work of hostile nodes.
    for kind in Hostile::ALL {
        every_key_is_found_among(kind).await;
    }
}

async fn every_key_is_found_among(kind: Hostile) {
    let simulator = Simulator::start(World { hostile: vec![(kind, 0.2)], ..world(200, 21) }).unwrap();
    let keypairs = keypairs(KEYS, 21);
    for keypair in &keypairs {
        // What they sign with it is no packet all the same.
        simulator.lend_key(keypair);
        simulator.store(&packet(keypair, 1));
        simulator.store(&packet(keypair, 2));
    }
    let dht = joined(settings(&simulator)).await;
    let lookups = keypairs.iter().map(|keypair| async {
        let (found, end) = lookup(&dht, &keypair.public_key()).await;
        let [older, newer] = [1, 2].map(|version| packet(keypair, version));
        let is_true = found.iter().all(|packet| *packet == newer || *packet == older);
        assert!(is_true, "{kind:?}: {found:?}");
        assert_eq!(found.last(), Some(&newer), "{kind:?}: {end:?}");
    });
    join_all(lookups).await;
    // Hostile nodes hide nothing that does not exist, either.
    for keypair in crate::world::keypairs(3, 22) {
        let (found, end) = lookup(&dht, &keypair.public_key()).await;
        assert_eq!(found, [], "{kind:?}");
        assert!(matches!(end, Ok(_) | Err(NetworkError::Unreachable)), "{kind:?}: {end:?}");
    }
}
