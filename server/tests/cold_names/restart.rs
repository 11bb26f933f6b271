//! Nodes known before a restart are enough to start from.

use std::{fs, path::PathBuf, sync::Arc, time::SystemTime};

use pkdns::server::Server;
use pkdns_dht::{Dht, HostResolver, internal::saved_nodes, simulator::Simulator};
use pkdns_testing::wait::eventually;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use crate::world::{PATIENCE, config, joined, keypairs, lookup, packet, settings, within, world};

fn nodes_in(directory: &TempDir) -> PathBuf {
    directory.path().join("nodes")
}

fn resolver(address: [u8; 4]) -> HostResolver {
    Arc::new(move |_| Box::pin(async move { vec![address.into()] }))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_restart_needs_no_bootstrap_node() {
    let directory = tempfile::tempdir().unwrap();
    let simulator = Simulator::start(world(150, 61)).unwrap();
    let packet = packet(&keypairs(1, 61)[0], 1);
    simulator.store(&packet);
    // A name, as it has to be the same although it leads elsewhere later.
    let address = simulator.bootstrap().remove(0);
    let (_, port) = address.rsplit_once(':').unwrap();
    let mut settings = settings(&simulator);
    settings.bootstrap = vec![format!("bootstrap.test:{port}")];
    settings.nodes_path = Some(nodes_in(&directory));
    let first = Dht::start(settings.clone(), resolver([127, 0, 0, 1])).unwrap();
    first.ready(PATIENCE).await.unwrap();
    // Searches get to know nodes.
    for other in keypairs(5, 64) {
        within(first.most_recent(&other.public_key())).await.unwrap();
    }
    assert!(first.nodes().await.len() >= 20);
    within(first.save_nodes()).await;
    drop(first);

    // No node has this address.
    let second = Dht::start(settings, resolver([127, 255, 0, 1])).unwrap();
    second.ready(PATIENCE).await.unwrap();
    assert_eq!(lookup(&second, packet.key()).await.0, [packet]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_is_stopped_saves_the_nodes_it_knows() {
    let directory = tempfile::tempdir().unwrap();
    let simulator = Simulator::start(world(150, 62)).unwrap();
    let mut config = config(&simulator);
    config.dht.nodes_path = Some(nodes_in(&directory));
    let server = Server::bind(config).unwrap();
    let metrics = server.metrics().dht.clone();
    let stop = CancellationToken::new();
    let running = tokio::spawn(server.run(stop.clone()));
    eventually("20 nodes are known", async || metrics.nodes.ipv4.get() >= 20).await;
    stop.cancel();
    within(running).await.unwrap();
    let saved = saved_nodes::load(&nodes_in(&directory), &simulator.bootstrap(), SystemTime::now()).unwrap();
    assert!(saved.len() >= 20, "{}", saved.len());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_damaged_file_of_nodes_keeps_nobody_from_joining() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(nodes_in(&directory), b"pkdns DHT nodes, version 1\nsaved yesterday\n\xff\xfe").unwrap();
    let simulator = Simulator::start(world(150, 63)).unwrap();
    let packet = packet(&keypairs(1, 63)[0], 1);
    simulator.store(&packet);
    let mut settings = settings(&simulator);
    settings.nodes_path = Some(nodes_in(&directory));
    let dht = joined(settings).await;
    assert_eq!(lookup(&dht, packet.key()).await.0, [packet]);
}
