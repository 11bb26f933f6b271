//! From a new address to the answer of a resolver.

use std::{
    net::{Ipv4Addr, SocketAddr},
    thread,
    time::{Duration, Instant},
};

use pkdns::{
    config::{self, Config},
    program::testnet::SampleUpstream,
    server::Server,
};
use pkdns_dht::{Dht, signed_packet::PublicKey};
use pkdns_testing::{
    dig::Dig,
    programs::{self, tell},
    wait,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    KEY, LIMIT, World,
    dyndns::{answer, serve_zone},
    world,
};

/// A new address is on the DHT within this time. On a machine that has nothing else to do it takes a fifth of it.
const WITHIN: Duration = Duration::from_secs(5);

/// Changes of either kind.
const ROUNDS: u8 = 4;

/// A server on the network of the world, which asks again after a second.
pub(crate) struct Resolver {
    pub(crate) address: SocketAddr,
    _upstream: SampleUpstream,
    _stop: DropGuard,
}

impl Resolver {
    pub(crate) async fn start(world: &World, config: Config) -> Self {
        let upstream = SampleUpstream::start().await.unwrap();
        let config = Config {
            listen: vec![(Ipv4Addr::LOCALHOST, 0).into()],
            fallback_dns: vec![upstream.address().into()],
            dht: config::Dht { bootstrap: world.bootstrap(), ..config.dht },
            cache: config::Cache { ttl_seconds: 1, negative_ttl_seconds: 1, ..config.cache },
            ..config
        };
        let server = Server::bind(config).unwrap();
        let address = server.addresses()[0];
        let stop = CancellationToken::new();
        tokio::spawn(server.run(stop.clone()));
        Self { address, _upstream: upstream, _stop: stop.drop_guard() }
    }
}

/// How long it takes until the DHT holds a packet with this address, and until the resolver answers with it.
async fn times(
    began: Instant,
    dht: &Dht,
    dig: &Dig,
    resolver: SocketAddr,
    address: Ipv4Addr,
) -> (Duration, Duration) {
    let key = PublicKey::try_from(KEY).unwrap();
    loop {
        let (packet, _) = dht.most_recent(&key).await.unwrap();
        let holds = packet.is_some_and(|packet| packet.dns().windows(4).any(|part| part == address.octets()));
        if holds {
            break;
        }
        assert!(began.elapsed() < LIMIT, "{address} is not on the DHT");
    }
    let stored = began.elapsed();
    let expected = format!("A {address}");
    wait::until_or_show(
        || dig.ask(resolver, &format!("{KEY}.key A")).data() == [expected.as_str()],
        || format!("{address} is not answered"),
    );
    (stored, began.elapsed())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_address_is_on_the_dht_within_seconds_and_answered_at_the_next_refresh() {
    let Some(dig) = Dig::find() else { return };
    let Some(_) = programs::find("curl", |_| true, "curl") else { return };
    let world = world().await;
    let (mut publisher, url) = serve_zone(&world, "$TTL 1\n@ A {external_ipv4}\n");
    let resolver = Resolver::start(&world, Config::default()).await;
    let dht = world.dht().await;
    answer(&url, &format!("hostname={KEY}.key&myip=198.51.100.1"));
    publisher.wait_for("stored on");
    let ask = || dig.ask(resolver.address, &format!("{KEY}.key A")).data();
    let began = Instant::now();
    while ask() != ["A 198.51.100.1"] {
        assert!(began.elapsed() < LIMIT, "{:?}", ask());
    }
    for kind in ["pushed by a router", "in a changed zone file"] {
        let mut measured = Vec::new();
        for round in 0..ROUNDS {
            let address = Ipv4Addr::new(203, 0, 113, round + if kind.starts_with('p') { 100 } else { 200 });
            // What was there before is in the cache of the resolver.
            ask();
            // Files are looked at once a second: each time at another moment of it.
            thread::sleep(Duration::from_millis(270) * round.into());
            let began = Instant::now();
            if kind.starts_with('p') {
                let told = answer(&url, &format!("hostname={KEY}.key&myip={address}"));
                assert_eq!(told, format!("good {address}"));
            } else {
                world.file("zone", &format!("$TTL 1\n@ A {address}\n"));
            }
            measured.push(times(began, &dht, &dig, resolver.address, address).await);
        }
        let (mut stored, mut answered): (Vec<_>, Vec<_>) = measured.into_iter().unzip();
        stored.sort();
        answered.sort();
        tell(&format!("an address {kind}: on the DHT after {stored:.1?}, answered after {answered:.1?}"));
        // Other tests may hold up some of them on a busy machine, and not all.
        assert!(stored[0] < WITHIN, "{stored:?}");
    }
    assert_eq!(publisher.stop(), Some(0));
}
