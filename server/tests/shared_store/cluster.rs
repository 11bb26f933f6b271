//! Keys that are spread over the nodes of a cluster.

use std::{process::Command, time::Duration};

use pkdns_dht::signed_packet::Keypair;
use pkdns_testing::{programs, wait::eventually};
use tokio::time::{Instant, sleep};

use crate::{
    PATIENCE, Store, fresh, keypair, packet,
    redis_server::{RedisServer, free_port},
};

fn start_node() -> Option<RedisServer> {
    RedisServer::start_with(|| {
        // The port that nodes talk on is 10000 higher otherwise, which may be none.
        let bus = free_port().to_string();
        ["--cluster-enabled", "yes", "--cluster-port", &bus, "--cluster-node-timeout", "2000"]
            .map(String::from)
            .into()
    })
}

/// Three nodes with a third of the slots each.
async fn start_cluster() -> Option<Vec<RedisServer>> {
    let cli = programs::find("redis-cli", |_| true, "redis-tools")?;
    let nodes = (0..3).map(|_| start_node()).collect::<Option<Vec<_>>>()?;
    let mut create = Command::new(cli);
    create.args(["--cluster", "create"]);
    create.args(nodes.iter().map(|node| format!("127.0.0.1:{}", node.port)));
    let output = create.args(["--cluster-yes"]).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    for node in &nodes {
        let is_ok = async || node.say::<String>(&[b"CLUSTER", b"INFO"]).contains("cluster_state:ok");
        eventually("the cluster is formed", is_ok).await;
    }
    Some(nodes)
}

fn keypairs() -> impl Iterator<Item = Keypair> {
    (1..=60).map(keypair)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn packets_are_found_on_whichever_node_they_are() {
    let Some(mut nodes) = start_cluster().await else { return };
    let ports = [nodes[0].port, nodes[2].port];
    let one = Store::new(&format!("redis-cluster://127.0.0.1:{},127.0.0.1:{}", ports[0], ports[1]));
    let other = Store::new(&format!("redis-cluster://127.0.0.1:{}", nodes[1].port));
    for keypair in keypairs() {
        one.put(&fresh(packet(&keypair, 7, b"dns"))).await;
    }
    for node in &nodes {
        assert!(node.say::<usize>(&[b"DBSIZE"]) > 5);
    }
    for keypair in keypairs() {
        let found = other.get(&keypair.public_key()).await.unwrap();
        assert_eq!(found.packet, packet(&keypair, 7, b"dns"));
    }
    // Each node is asked directly by now, but for one that was late; otherwise two of three questions would be in vain.
    let before: u64 = nodes.iter().map(redirections).sum();
    for keypair in keypairs() {
        other.get(&keypair.public_key()).await.unwrap();
    }
    let more = nodes.iter().map(redirections).sum::<u64>() - before;
    assert!(more < 20, "{more}");

    // Without one of them the others answer for what they hold, as long as they are told to.
    for node in &nodes {
        node.say::<()>(&[b"CONFIG", b"SET", b"cluster-require-full-coverage", b"no"]);
    }
    let lost: usize = nodes[0].say(&[b"DBSIZE"]);
    nodes[0].kill();
    let end = Instant::now() + PATIENCE;
    loop {
        let mut found = 0;
        for keypair in keypairs() {
            found += usize::from(other.store.get(&keypair.public_key()).await.is_some());
        }
        if found == 60 - lost {
            break;
        }
        assert!(Instant::now() < end, "{found} of {lost} less than 60, {:?}", other.metrics);
        sleep(Duration::from_millis(100)).await;
    }
    nodes.remove(0);
}

/// `MOVED` replies that a node has given.
fn redirections(node: &RedisServer) -> u64 {
    let statistics: String = node.say(&[b"INFO", b"errorstats"]);
    let moved = statistics.lines().find_map(|line| line.strip_prefix("errorstat_MOVED:count="));
    moved.map_or(0, |count| count.trim().parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_slot_that_moves_is_found_again() {
    let Some(nodes) = start_cluster().await else { return };
    let store = Store::new(&format!("redis-cluster://127.0.0.1:{}", nodes[0].port));
    let (key, stored) = (keypair(1).public_key(), fresh(packet(&keypair(1), 7, b"dns")));
    store.put(&stored).await;
    let name = crate::name_of(&key);
    let slot: u16 = nodes[0].say(&[b"CLUSTER", b"KEYSLOT", name.as_bytes()]);
    let slot = slot.to_string();
    let owner = nodes.iter().position(|node| node.say::<usize>(&[b"DBSIZE"]) == 1).unwrap();
    let target = &nodes[(owner + 1) % 3];
    nodes[owner].say::<()>(&[b"DEL", name.as_bytes()]);
    let id: String = target.say(&[b"CLUSTER", b"MYID"]);
    for node in [target, &nodes[owner], &nodes[(owner + 2) % 3]] {
        node.say::<()>(&[b"CLUSTER", b"SETSLOT", slot.as_bytes(), b"NODE", id.as_bytes()]);
    }
    store.put(&stored).await;
    assert_eq!(store.get(&key).await, Some(stored));
    assert_eq!(target.say::<usize>(&[b"DBSIZE"]), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn only_a_cluster_may_name_others_to_ask() {
    let Some(nodes) = start_cluster().await else { return };
    let cluster = Store::new(&format!("redis-cluster://127.0.0.1:{}", nodes[0].port));
    for keypair in keypairs() {
        cluster.put(&fresh(packet(&keypair, 7, b"dns"))).await;
    }
    let here: usize = nodes[0].say(&[b"DBSIZE"]);
    let single = Store::new(&nodes[0].url());
    let end = Instant::now() + PATIENCE;
    loop {
        let mut found = 0;
        for keypair in keypairs() {
            found += usize::from(single.store.get(&keypair.public_key()).await.is_some());
        }
        assert!(found <= here, "{found} of {here}");
        if found == here {
            break;
        }
        assert!(Instant::now() < end, "{:?}", single.metrics);
        sleep(Duration::from_millis(20)).await;
    }
}
