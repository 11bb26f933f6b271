//! The configuration file, its defaults and its checks.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

/// Everything that can be set. Unknown keys are errors.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Addresses served over UDP and TCP alike.
    pub listen: Vec<SocketAddr>,
    /// Resolvers for every name that is not a key, tried in order.
    pub fallback_dns: Vec<SocketAddr>,
    /// Log each query.
    pub verbose: bool,
    /// `[names]`
    pub names: Names,
    /// `[dht]`
    pub dht: Dht,
    /// `[cache]`
    pub cache: Cache,
    /// `[rate_limit]`
    pub rate_limit: RateLimit,
    /// `[access]`
    pub access: Access,
    /// `[delegation]`
    pub delegation: Delegation,
}

/// How public-key names are written.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Names {
    /// `<key>.<suffix>` means `<key>`.
    pub suffixes: Vec<String>,
}

/// The Mainline DHT.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dht {
    /// Nodes to join through, `HOST:PORT`.
    pub bootstrap: Vec<String>,
    /// PKARR relays to ask as well.
    pub relays: Vec<String>,
    /// Whether keys are looked up at all.
    pub enabled: bool,
}

/// What is kept, and for how long.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cache {
    /// Most packets in memory, and most answers of each kind.
    pub max_entries: usize,
    /// Least age in seconds before a packet is asked for again.
    pub ttl_seconds: u64,
    /// Greatest age in seconds before a packet is asked for again.
    pub max_ttl_seconds: u64,
    /// How long in seconds an absent key stays absent without asking again.
    pub negative_ttl_seconds: u64,
    /// How long in seconds after its time a packet may still be served when the network fails.
    pub max_stale_seconds: u64,
    /// Where packets survive a restart.
    pub path: Option<PathBuf>,
    /// A Redis that several servers share.
    pub redis: String,
}

/// Quotas per client: an IPv4 address or an IPv6 /64. Zero switches a quota off.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RateLimit {
    /// Queries a minute.
    pub requests_per_minute: u32,
    /// Queries at once.
    pub burst_size: u32,
    /// Network lookups a minute.
    pub dht_requests_per_minute: u32,
    /// Network lookups at once.
    pub dht_burst_size: u32,
}

/// Who is served. `deny` wins.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Access {
    /// Served, unless denied.
    pub allow: Vec<IpNet>,
    /// Refused.
    pub deny: Vec<IpNet>,
}

/// Zones that name their own name servers (NS records in a packet).
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Delegation {
    /// Whether such name servers are asked at all.
    pub enabled: bool,
    /// Port that they are asked on.
    pub port: u16,
    /// Whether they may have loopback, private or link-local addresses. Opens the network behind this server to
    /// whoever holds a key.
    pub allow_private: bool,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: vec![(Ipv4Addr::UNSPECIFIED, 53).into(), (Ipv6Addr::UNSPECIFIED, 53).into()],
            fallback_dns: vec![(IpAddr::from([8, 8, 8, 8]), 53).into()],
            verbose: false,
            names: Names::default(),
            dht: Dht::default(),
            cache: Cache::default(),
            rate_limit: RateLimit::default(),
            access: Access::default(),
            delegation: Delegation::default(),
        }
    }
}

impl Default for Names {
    fn default() -> Self {
        Self { suffixes: vec!["key".into()] }
    }
}

impl Default for Dht {
    fn default() -> Self {
        let bootstrap = [
            "router.bittorrent.com:6881",
            "dht.transmissionbt.com:6881",
            "dht.libtorrent.org:25401",
            "relay.pkarr.org:6881",
        ];
        Self { bootstrap: bootstrap.map(String::from).into(), relays: Vec::new(), enabled: true }
    }
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            max_entries: 50_000,
            ttl_seconds: 300,
            max_ttl_seconds: 86_400,
            negative_ttl_seconds: 60,
            max_stale_seconds: 86_400,
            path: None,
            redis: String::new(),
        }
    }
}

impl Default for RateLimit {
    fn default() -> Self {
        Self {
            requests_per_minute: 60_000,
            burst_size: 10_000,
            dht_requests_per_minute: 3_000,
            dht_burst_size: 1_000,
        }
    }
}

impl Default for Access {
    fn default() -> Self {
        let allow = [
            "127.0.0.0/8",
            "10.0.0.0/8",
            "172.16.0.0/12",
            "192.168.0.0/16",
            "169.254.0.0/16",
            "100.64.0.0/10",
            "::1/128",
            "fc00::/7",
            "fe80::/10",
        ];
        Self { allow: allow.iter().filter_map(|range| range.parse().ok()).collect(), deny: Vec::new() }
    }
}

impl Default for Delegation {
    fn default() -> Self {
        Self { enabled: true, port: 53, allow_private: false }
    }
}
