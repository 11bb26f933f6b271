//! The configuration: what can be set, the defaults, and how the file is read and checked.

mod acme;
mod address;
mod bridge;
mod cache;
mod changes;
mod check;
mod commented;
mod credentials;
mod denied_keys;
mod doh;
mod dot;
mod file;
mod forward;
mod local;
mod logs;
mod memory;
mod operator;
mod origin;
mod presets;
mod redis_url;
mod relay;
mod relay_url;
mod seen;
mod served;
#[cfg(test)]
mod tests;
mod toml_rest;
mod toml_text;
mod upstream;

use std::{
    net::{Ipv4Addr, Ipv6Addr, SocketAddr},
    path::PathBuf,
};

use ipnet::IpNet;
use pkdns_dht::DhtSettings;
use serde::{Deserialize, Serialize};

use crate::base::access::{AccessList, Allowed};

pub use acme::{Acme, AcmeChallenge};
pub use address::{AddressError, is_own_address, parse_address};
pub use bridge::{Bridge, LedClients};
pub use cache::Cache;
pub use changes::Changes;
pub use check::Fault;
pub use credentials::CREDENTIALS;
pub use denied_keys::{DeniedKeys, DenyList, ListUrl};
pub use doh::Doh;
pub use dot::Dot;
pub use file::{ConfigError, ConfigFile};
pub use forward::ForwardZone;
pub use local::{LOCAL_TTL, Local, read_local_record};
pub use logs::{
    Dnstap, DnstapClients, DnstapTarget, Log, LogFormat, QueryLog, QueryLogFormat, QueryLogLevel,
};
pub use memory::Memory;
pub use operator::Operator;
pub use origin::Origin;
pub use presets::{PRESETS, Preset, UnknownPreset, UpstreamEntry};
pub(crate) use redis_url::RedisAddress;
pub use redis_url::{RedisUrl, RedisUrlError};
pub use relay::Relay;
pub use relay_url::{RelayUrl, RelayUrlError};
pub use seen::{Metrics, Status, is_socket_path};
pub use toml_rest::TakenOut;
pub use toml_text::{Parsed, TomlMistake, TomlMistakeKind, nearest, parse_toml, text_of, unknown_option};
pub use upstream::{UpstreamAddress, UpstreamError};

/// Every option with its default and the reason for it, as text that loads.
pub const TEMPLATE: &str = include_str!("../../../config.toml");

/// Port of DNS over UDP and TCP, where an address names none.
pub const DNS_PORT: u16 = 53;

/// Port of HTTP.
pub const HTTP_PORT: u16 = 80;

/// Port of HTTPS, and of DNS over HTTPS.
pub const HTTPS_PORT: u16 = 443;

/// Port of DNS over TLS (RFC 7858).
pub const TLS_PORT: u16 = 853;

/// For listeners without a well-known port: the address has to name one.
const NO_PORT: u16 = 0;

/// Everything that can be set. Unknown keys are errors.
///
/// Any release may add options: begin with [`Config::default`], so that they have their defaults. That is also why the
/// tables are not `non_exhaustive`, which would forbid `..Config::default()`.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Config {
    /// Addresses served over UDP and TCP alike.
    #[serde(deserialize_with = "address::list::<DNS_PORT, _>")]
    pub listen: Vec<SocketAddr>,
    /// Resolvers for every name that is not a key, tried in order.
    #[serde(deserialize_with = "presets::list")]
    pub fallback_dns: Vec<UpstreamAddress>,
    /// Zones with resolvers of their own.
    pub forward: Vec<ForwardZone>,
    /// Zones of the public DNS in which keys are names.
    pub origin: Vec<Origin>,
    /// Certificates of more authorities that encrypted resolvers and relays may be certified by, PEM.
    pub fallback_ca_path: Option<PathBuf>,
    /// Log each query.
    pub verbose: bool,
    /// Take a new configuration when its file changes, and not only when asked to.
    pub reload_on_change: bool,
    /// Most connections of one client over TCP, over TLS, and over HTTP, where `[dot]` or `[doh]` say nothing else.
    pub connections_per_client: usize,
    /// Whether connections of `doh.trusted_proxies` over TCP begin with the header of the PROXY protocol.
    pub proxy_protocol: Option<bool>,
    /// `[names]`
    pub names: Names,
    /// `[local]`
    pub local: Local,
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
    /// `[rebind_protection]`
    pub rebind_protection: RebindProtection,
    /// `[denied_keys]`
    pub denied_keys: DeniedKeys,
    /// `[operator]`
    pub operator: Operator,
    /// `[bridge]`
    pub bridge: Bridge,
    /// `[identity]`
    pub identity: Identity,
    /// `[doh]`
    pub doh: Doh,
    /// `[dot]`
    pub dot: Dot,
    /// `[certificate]`
    pub certificate: Certificate,
    /// `[acme]`
    pub acme: Acme,
    /// `[relay]`
    pub relay: Relay,
    /// `[memory]`
    pub memory: Memory,
    /// `[metrics]`
    pub metrics: Metrics,
    /// `[log]`
    pub log: Log,
    /// `[query_log]`
    pub query_log: QueryLog,
    /// `[dnstap]`
    pub dnstap: Dnstap,
    /// `[status]`
    pub status: Status,
}

/// How public-key names are written.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Names {
    /// `<key>.<suffix>` means `<key>`. Lower case, without dots at the ends.
    #[serde(deserialize_with = "address::suffixes")]
    pub suffixes: Vec<String>,
    /// Whether browsers that would switch to a resolver of their own are told to stay with the network's, which is this
    /// one: `use-application-dns.net` does not exist then.
    pub keep_browsers: bool,
    /// The key that pages take for examples, where it is not the usual one: that of a test network. Not an option.
    #[serde(skip)]
    pub example: Option<String>,
}

/// The Mainline DHT.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dht {
    /// Nodes to join through, `HOST:PORT`.
    pub bootstrap: Vec<String>,
    /// PKARR relays to ask as well.
    #[serde(deserialize_with = "relay_url::list")]
    pub relays: Vec<RelayUrl>,
    /// Whether keys are looked up at all.
    pub enabled: bool,
    /// Most datagrams sent to DHT nodes in a second, for all clients together.
    pub max_datagrams_per_second: u32,
    /// Most DHT nodes that are known.
    pub max_nodes: usize,
    /// Packets that clients asked for lately and that are stored again, in an hour. Zero switches it off.
    pub keep_alive_per_hour: u32,
    /// Where known nodes are kept, so that a restart finds the DHT without the bootstrap nodes.
    pub nodes_path: Option<PathBuf>,
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
    /// Addresses that many clients share. They get more than one client's worth.
    #[serde(deserialize_with = "address::ranges")]
    pub forwarders: Vec<IpNet>,
}

/// Who is served. `deny` wins.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Access {
    /// Served, unless denied.
    #[serde(deserialize_with = "address::allowed")]
    pub allow: Vec<Allowed>,
    /// Refused.
    #[serde(deserialize_with = "address::ranges")]
    pub deny: Vec<IpNet>,
}

impl Access {
    /// Who is served and who is refused, as transports and the service ask for it.
    pub fn list(&self) -> AccessList {
        AccessList::new(self.allow.clone(), self.deny.clone())
    }
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
    /// whoever holds a key. For the bridge, also whether sites may be in a network that this machine is part of.
    pub allow_private: bool,
}

/// Removal of private addresses from answers, against DNS rebinding.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct RebindProtection {
    /// From answers for ICANN names.
    pub icann: bool,
    /// From answers for keys, whose owners may well mean their own network.
    pub keys: bool,
    /// ICANN names, with all below, that may have private addresses.
    #[serde(deserialize_with = "address::suffixes")]
    pub exempt: Vec<String>,
}

/// What the server says about itself in class CHAOS; an empty text is REFUSED.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Identity {
    /// For `version.bind` and `version.server`.
    pub version: String,
    /// For `id.server` and `hostname.bind`.
    pub id: String,
}

/// The certificate of HTTPS and DNS over TLS, where no files are named for it.
#[derive(Debug, Clone, Default, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Certificate {
    /// Host names and IP addresses under which clients reach this server.
    #[serde(deserialize_with = "address::hosts")]
    pub names: Vec<String>,
    /// Whether to sign one with an authority of our own, which clients have to import.
    pub self_signed: bool,
    /// Directory of the keys and certificates that this server makes or obtains.
    pub path: Option<PathBuf>,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            listen: vec![(Ipv4Addr::UNSPECIFIED, DNS_PORT).into(), (Ipv6Addr::UNSPECIFIED, DNS_PORT).into()],
            fallback_dns: presets::BY_DEFAULT.map(|ip| SocketAddr::new(ip, DNS_PORT).into()).into(),
            forward: Vec::new(),
            origin: Vec::new(),
            fallback_ca_path: None,
            verbose: false,
            reload_on_change: false,
            connections_per_client: 100,
            proxy_protocol: None,
            names: Names::default(),
            local: Local::default(),
            dht: Dht::default(),
            cache: Cache::default(),
            rate_limit: RateLimit::default(),
            access: Access::default(),
            delegation: Delegation::default(),
            rebind_protection: RebindProtection::default(),
            denied_keys: DeniedKeys::default(),
            operator: Operator::default(),
            bridge: Bridge::default(),
            identity: Identity::default(),
            doh: Doh::default(),
            dot: Dot::default(),
            certificate: Certificate::default(),
            acme: Acme::default(),
            relay: Relay::default(),
            memory: Memory::default(),
            metrics: Metrics::default(),
            log: Log::default(),
            query_log: QueryLog::default(),
            dnstap: Dnstap::default(),
            status: Status::default(),
        }
    }
}

impl Default for Names {
    fn default() -> Self {
        Self { suffixes: vec!["key".into()], keep_browsers: false, example: None }
    }
}

impl Default for Dht {
    fn default() -> Self {
        let DhtSettings { bootstrap, max_datagrams_per_second, max_nodes, .. } = DhtSettings::default();
        Self {
            bootstrap,
            relays: Vec::new(),
            enabled: true,
            max_datagrams_per_second,
            max_nodes,
            keep_alive_per_hour: 0,
            nodes_path: None,
        }
    }
}

impl Default for RateLimit {
    fn default() -> Self {
        Self {
            requests_per_minute: 60_000,
            burst_size: 10_000,
            dht_requests_per_minute: 6_000,
            dht_burst_size: 3_000,
            forwarders: Vec::new(),
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
            "connected",
        ];
        Self { allow: allow.iter().filter_map(|range| range.parse().ok()).collect(), deny: Vec::new() }
    }
}

impl Default for Delegation {
    fn default() -> Self {
        Self { enabled: true, port: 53, allow_private: false }
    }
}
