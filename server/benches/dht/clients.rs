//! Clients of the DHT that look up keys: the server, our client without it, and `mainline`.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use futures_util::{StreamExt, stream};
use mainline::async_dht::AsyncDht;
use pkdns_dht::{Dht, DhtSettings, Network, signed_packet::SignedPacket, simulator::Simulator};
use pkdns_testing::benchmark::Process;
use tokio::{sync::mpsc, time::timeout};

use crate::zones::Zone;

/// How long the `mainline` client is waited for.
const PATIENCE: Duration = Duration::from_secs(10);

/// The time that a new member takes to get to know the DHT.
const SETTLING: Duration = Duration::from_secs(10);

/// What a client made of the keys.
pub(crate) struct Found {
    /// The timestamp of the first packet, where there was one, and how long it took.
    pub(crate) first: Vec<(Option<u64>, Duration)>,
    pub(crate) elapsed: Duration,
}

/// The server, joined to the simulated DHT, with quotas off.
pub(crate) fn server(simulator: &Simulator, more: &str) -> Process {
    let process = Process::pkdns(&format!(
        "listen = '127.0.0.1:0'\nfallback_dns = '127.0.0.1:9'\n[dht]\nbootstrap = {:?}\n\
         [rate_limit]\nrequests_per_minute = 0\ndht_requests_per_minute = 0\n{more}",
        simulator.bootstrap()
    ));
    std::thread::sleep(SETTLING);
    process
}

/// Our own client, without a server around it.
pub(crate) async fn client(simulator: &Simulator, confirmations: u32) -> Dht {
    let mut settings = DhtSettings::on_loopback(simulator.bootstrap());
    (settings.explore, settings.confirmations) = (true, confirmations);
    let dht = Dht::start(settings, Arc::new(|_| Box::pin(async { Vec::new() }))).unwrap();
    dht.ready(PATIENCE).await.unwrap();
    tokio::time::sleep(SETTLING).await;
    dht
}

/// The `mainline` client.
pub(crate) async fn mainline(simulator: &Simulator) -> AsyncDht {
    let bootstrap = simulator.bootstrap();
    let build = move || {
        let mut builder = mainline::Dht::builder();
        builder.bootstrap(&bootstrap).bind_address([127, 0, 0, 1].into()).build().unwrap().as_async()
    };
    let dht = tokio::task::spawn_blocking(build).await.unwrap();
    assert!(dht.bootstrapped().await);
    dht
}

/// Looks for each key with our client until its first packet is there; the searches go on behind.
pub(crate) async fn find(dht: &Dht, zones: &[Zone], at_once: usize) -> Found {
    search(zones, at_once, |zone| {
        let (dht, key) = (dht.clone(), zone.keypair.public_key());
        async move {
            let (sender, mut found) = mpsc::unbounded_channel();
            let lookup = tokio::spawn(async move { dht.lookup(&key, sender).await });
            let first = found.recv().await.map(|packet: SignedPacket| packet.timestamp());
            drop(lookup);
            first
        }
    })
    .await
}

/// The same with `mainline`.
pub(crate) async fn find_with_mainline(dht: &AsyncDht, zones: &[Zone], at_once: usize) -> Found {
    search(zones, at_once, |zone| {
        let (dht, key) = (dht.clone(), zone.keypair.public_key().to_bytes());
        async move {
            let mut items = dht.get_mutable(&key, None, None);
            let first = timeout(PATIENCE, items.next()).await;
            first.ok().flatten().map(|item| item.seq().unsigned_abs())
        }
    })
    .await
}

async fn search<F: Future<Output = Option<u64>>>(
    zones: &[Zone],
    at_once: usize,
    find: impl Fn(&Zone) -> F,
) -> Found {
    let start = Instant::now();
    let searches = zones.iter().map(|zone| {
        let found = find(zone);
        async {
            let start = Instant::now();
            (found.await, start.elapsed())
        }
    });
    let first = stream::iter(searches).buffered(at_once).collect().await;
    Found { first, elapsed: start.elapsed() }
}
