//! Joining the DHT and staying in it, for as long as anybody holds the [`Dht`](super::Dht).

use std::{
    net::{IpAddr, SocketAddrV4},
    sync::Arc,
    time::Duration,
};

use futures_util::future::{BoxFuture, join_all};
use tokio::time::{sleep, timeout};
use tracing::{debug, info, warn};

use super::{
    DhtSettings,
    node::{Node, guarded},
    nodes::Nodes,
};

/// Turns the host name of a bootstrap node into addresses. Never the system's resolver, which may be asking us.
/// No addresses: try again later.
pub type HostResolver = Arc<dyn Fn(String) -> BoxFuture<'static, Vec<IpAddr>> + Send + Sync>;

/// Longest pause between attempts to join.
const MAX_PAUSE: Duration = Duration::from_secs(60);

/// Longest that a host name may take to resolve.
const RESOLVE_DEADLINE: Duration = Duration::from_secs(5);

/// Most addresses taken from one host name. All are asked at once.
const MAX_ADDRESSES: usize = 4;

/// How often the nodes are looked at.
const CHECK_EVERY: Duration = Duration::from_secs(30);

/// A node that knew nobody for this many checks is replaced. It keeps asking its bootstrap addresses by itself, which
/// is quicker; a new node helps when the names have moved to other addresses.
const PATIENCE: u32 = 10;

/// Takes `HOST:PORT` apart. The host may be an IPv4 address; the DHT of BEP5 has no IPv6.
pub fn split_host_port(text: &str) -> Option<(&str, u16)> {
    let (host, port) = text.rsplit_once(':')?;
    let port = port.parse().ok().filter(|&port| port != 0)?;
    (!host.is_empty() && !host.contains(':')).then_some((host, port))
}

/// Keeps as many nodes joined as `settings` want. Never ends.
pub(super) async fn keep_joined(settings: DhtSettings, resolve_host: HostResolver, nodes: Arc<Nodes>) {
    let wanted = settings.nodes.max(1);
    let mut addresses = Vec::new();
    let mut pause = settings.first_retry;
    loop {
        let joined = nodes.retain_healthy(PATIENCE).await;
        if joined >= wanted {
            nodes.failure(CHECK_EVERY).await;
            continue;
        }
        if addresses.is_empty() {
            addresses = resolve(&settings.bootstrap, &resolve_host).await;
        }
        match Node::join(&settings, &addresses).await {
            Ok(node) => {
                debug!(address = %node.address(), receive_buffer = node.receive_buffer(), "DHT node joined");
                nodes.add(node);
                if joined == 0 {
                    info!("joined the DHT");
                }
                pause = settings.first_retry;
            }
            Err(error) => {
                warn!(%error, ?pause, "cannot join the DHT, trying again");
                // The names may lead elsewhere by now.
                addresses.clear();
                sleep(pause).await;
                pause = pause.saturating_mul(2).min(MAX_PAUSE);
            }
        }
    }
}

async fn resolve(bootstrap: &[String], resolve_host: &HostResolver) -> Vec<SocketAddrV4> {
    let mut addresses: Vec<_> =
        join_all(bootstrap.iter().map(|node| resolve_one(node, resolve_host))).await.concat();
    addresses.sort_unstable();
    addresses.dedup();
    addresses
}

async fn resolve_one(node: &str, resolve_host: &HostResolver) -> Vec<SocketAddrV4> {
    if let Ok(address) = node.parse() {
        return vec![address];
    }
    let Some((host, port)) = split_host_port(node) else {
        warn!(%node, "a bootstrap node is written HOST:PORT");
        return Vec::new();
    };
    let (resolve_host, name) = (resolve_host.clone(), host.to_owned());
    // Whatever happens to the resolver, the joining goes on.
    let found = guarded(async move { timeout(RESOLVE_DEADLINE, resolve_host(name)).await });
    let Ok(Ok(found)) = found.await else {
        debug!(%host, "cannot resolve a bootstrap node");
        return Vec::new();
    };
    let addresses = found.into_iter().filter_map(|address| match address {
        IpAddr::V4(address) => Some(SocketAddrV4::new(address, port)),
        IpAddr::V6(_) => None,
    });
    addresses.take(MAX_ADDRESSES).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bootstrap_node_is_a_host_and_a_port() {
        assert_eq!(split_host_port("router.example:6881"), Some(("router.example", 6881)));
        assert_eq!(split_host_port("192.0.2.1:1"), Some(("192.0.2.1", 1)));
        for wrong in ["", ":", "host", "host:", ":6881", "host:0", "host:65536", "::1:6881", "[::1]:6881"] {
            assert_eq!(split_host_port(wrong), None, "{wrong}");
        }
    }

    #[tokio::test]
    async fn only_names_are_resolved_and_only_ipv4_is_kept() {
        let resolver: HostResolver = Arc::new(|host| {
            assert!(host == "router.example", "a resolver that fails");
            Box::pin(async { vec!["2001:db8::1".parse().unwrap(), "192.0.2.7".parse().unwrap()] })
        });
        let bootstrap = ["127.0.0.1:7", "router.example:6881", "127.0.0.1:7", "nonsense", "fails.example:1"]
            .map(String::from)
            .to_vec();
        let expected: Vec<SocketAddrV4> =
            vec!["127.0.0.1:7".parse().unwrap(), "192.0.2.7:6881".parse().unwrap()];
        assert_eq!(resolve(&bootstrap, &resolver).await, expected);
    }
}
