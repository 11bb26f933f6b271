//! The server, in a process of its own: all of pkdns except the DHT, which is replaced by a network with a packet for
//! each key.

use std::{
    collections::HashMap,
    io::{Read, Write, stdin, stdout},
    net::Ipv4Addr,
    sync::{
        Arc, OnceLock,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use async_trait::async_trait;
use pkdns::{
    config::{Cache, Config, RateLimit},
    server::Server,
};
use pkdns_dht::{
    Evidence, Network, NetworkError,
    signed_packet::{PublicKey, SignedPacket},
};
use tokio::{runtime::Builder, sync::mpsc};
use tokio_util::sync::CancellationToken;

use crate::{key_server::Settings, zones};

/// Has the packet of each key after a while. Millions of them do not fit a `FakeNetwork`: they are signed when asked for.
struct Packets {
    numbers: HashMap<[u8; 32], u32>,
    ttl: u32,
    /// Those that were signed before, where they are kept.
    signed: Option<Vec<OnceLock<SignedPacket>>>,
    is_reachable: bool,
    latency_ms: AtomicU64,
    lookups: AtomicU64,
}

#[async_trait]
impl Network for Packets {
    async fn lookup(
        &self,
        key: &PublicKey,
        found: mpsc::UnboundedSender<SignedPacket>,
    ) -> Result<Evidence, NetworkError> {
        if !self.is_reachable {
            return Err(NetworkError::Disabled);
        }
        self.lookups.fetch_add(1, Ordering::Relaxed);
        let latency = Duration::from_millis(self.latency_ms.load(Ordering::Relaxed));
        if !latency.is_zero() {
            tokio::time::sleep(latency).await;
        }
        if let Some(number) = self.numbers.get(key.as_bytes()) {
            // The server may have stopped.
            let _ = found.send(self.packet(*number));
        }
        Ok(Evidence { queried: 20, responded: 20, held: 0 })
    }
}

impl Packets {
    fn packet(&self, number: u32) -> SignedPacket {
        match &self.signed {
            Some(signed) => signed[number as usize].get_or_init(|| zones::packet(number, self.ttl)).clone(),
            None => zones::packet(number, self.ttl),
        }
    }
}

/// Reads the keys from standard input, serves them, and does what is said there until it ends. See
/// [`crate::key_server`] for the other side.
pub(crate) fn serve(settings: &[String]) {
    let settings = Settings::parse(settings);
    let packets = Arc::new(Packets {
        numbers: (0..settings.keys).map(|number| (read_key(), number)).collect(),
        ttl: settings.lifetime,
        signed: settings.keeps_packets.then(|| (0..settings.keys).map(|_| OnceLock::new()).collect()),
        is_reachable: settings.is_reachable,
        latency_ms: AtomicU64::default(),
        lookups: AtomicU64::default(),
    });
    let runtime = Builder::new_multi_thread().enable_all().build().unwrap();
    let server =
        runtime.block_on(async { Server::bind_to_network(config(settings), packets.clone()).unwrap() });
    let answer_cache = server.metrics().service.answer_cache.clone();
    println!("{}", server.addresses()[0]);
    runtime.spawn(server.run(CancellationToken::new()));
    for line in stdin().lines() {
        match line.unwrap().split_once(' ').unwrap() {
            ("latency", milliseconds) => {
                packets.latency_ms.store(milliseconds.parse().unwrap(), Ordering::Relaxed);
            }
            ("count", _) => {
                let lookups = packets.lookups.load(Ordering::Relaxed);
                println!("{lookups} {} {}", answer_cache.hit.get(), answer_cache.miss.get());
            }
            (order, _) => panic!("unknown order {order}"),
        }
        stdout().flush().unwrap();
    }
}

fn read_key() -> [u8; 32] {
    let mut key = [0; 32];
    stdin().read_exact(&mut key).unwrap();
    key
}

fn config(settings: Settings) -> Config {
    let lifetime = settings.lifetime.into();
    Config {
        listen: vec![(Ipv4Addr::LOCALHOST, 0).into()],
        // Nobody asks for other names.
        fallback_dns: vec![std::net::SocketAddr::from((Ipv4Addr::LOCALHOST, 9)).into()],
        cache: Cache {
            // Shards of a cache are not filled evenly.
            max_entries: settings.keys as usize / 10 * 11,
            path: Some(settings.directory.into()),
            ttl_seconds: lifetime,
            max_ttl_seconds: lifetime,
            ..Cache::default()
        },
        rate_limit: RateLimit {
            requests_per_minute: 0,
            burst_size: 0,
            dht_requests_per_minute: 0,
            dht_burst_size: 0,
            ..RateLimit::default()
        },
        ..Config::default()
    }
}
