//! What a running server tells whoever looks: whether it is ready, and over a socket all there is to know at a glance.

mod readiness;
mod recent;
mod socket;
mod table;
mod trends;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

pub use readiness::{FRESH, Facts, Readiness};
pub use recent::{DhtNow, DhtWatch, Sample};
pub use socket::{AskError, Socket, SocketError, ask};
pub use table::table;
pub use trends::{Counted, Period, Trend, Trends};

/// Counts by what is counted.
pub type Counts = BTreeMap<String, u64>;

/// A server at one moment. Whatever another release leaves out or adds is no error.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Status {
    /// The release that runs.
    pub version: String,
    /// Its process.
    pub process_id: u32,
    /// Since it started.
    pub uptime_seconds: u64,
    /// Whether it is ready, as `/readyz` says it.
    pub ready: bool,
    /// What is missing of all that `/readyz?all` asks for.
    pub missing: Vec<String>,
    /// Where it listens, as `udp 127.0.0.1:53`.
    pub listening: Vec<String>,
    /// Replies by transport, and by code.
    pub queries: BTreeMap<String, Counts>,
    /// Queries without a reply, by reason.
    pub unanswered: Counts,
    /// Requests refused and connections closed, by reason.
    pub refusals: Counts,
    /// What is kept.
    pub caches: Caches,
    /// The Mainline DHT, if it is asked.
    pub dht: Option<DhtStatus>,
    /// The upstream resolvers, in their order.
    pub upstreams: Vec<UpstreamStatus>,
    /// The certificates that clients are shown.
    pub certificates: Vec<CertificateStatus>,
    /// Connections that are open, by kind.
    pub connections: Counts,
    /// What became of connections to sites under keys.
    pub bridge: Counts,
    /// TLS handshakes that came to nothing, by reason.
    pub tls_handshake_failures: Counts,
    /// Keys that are not answered for.
    pub denied: DeniedStatus,
    /// The last time that the configuration was to be read again.
    pub last_reload: Option<ReloadStatus>,
    /// What the process takes.
    pub process: ProcessStatus,
}

/// What is kept.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct Caches {
    /// Queries that the answer cache answered at once.
    pub answer_hits: u64,
    /// Queries that it did not.
    pub answer_misses: u64,
    /// Packets in memory.
    pub packets_in_memory: u64,
    /// Packets on disk, if they are kept there.
    pub packets_on_disk: Option<u64>,
    /// Whether the disk cannot be used now.
    pub disk_failed: bool,
    /// Whether the store that servers share cannot be used now, if there is one.
    pub shared_store_failed: Option<bool>,
}

/// The Mainline DHT, with what was seen of it in the last minute.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DhtStatus {
    /// Nodes known, over IPv4 and IPv6.
    pub nodes: u64,
    /// Requests that ended in the last minute.
    pub requests: u64,
    /// Which part of them was answered.
    pub reply_share: Option<f64>,
    /// How long a reply took on average, in milliseconds.
    pub round_trip_ms: Option<f64>,
    /// Lookups under way.
    pub lookups_in_flight: u64,
    /// Lookups that wait for their turn.
    pub lookups_queued: u64,
}

/// An upstream resolver.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct UpstreamStatus {
    /// As it is configured.
    pub address: String,
    /// The zones that it is asked about, or "." for all others.
    pub zone: String,
    /// `in use`, `left alone`, `sends questions back` or `no route`.
    pub state: String,
    /// For how long it is left alone yet.
    pub left_alone_seconds: Option<f64>,
    /// What an answer takes, in milliseconds, smoothed.
    pub latency_ms: Option<f64>,
    /// Since it last answered anything.
    pub last_answer_seconds: Option<u64>,
    /// Questions by outcome.
    pub requests: Counts,
}

/// A certificate.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct CertificateStatus {
    /// Its names and addresses.
    pub names: Vec<String>,
    /// When it ends, in seconds since 1970.
    pub expires_timestamp: u64,
    /// Whole days until then; negative after it.
    pub days_left: i64,
}

/// Keys that are not answered for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DeniedStatus {
    /// The lists of them.
    pub lists: Vec<DenyListStatus>,
    /// Lookups of such keys, by the reason that was given.
    pub lookups: Counts,
}

/// A list of keys that are not answered for.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DenyListStatus {
    /// Its file or address.
    pub name: String,
    /// `blocked`, `censored` or `filtered`.
    pub reason: String,
    /// Keys on it.
    pub keys: u64,
    /// Since it was last read, or known to be as it was read.
    pub age_seconds: Option<u64>,
    /// Why it could not be the last time.
    pub fault: Option<String>,
}

/// How a reading of the configuration went.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ReloadStatus {
    /// Since then.
    pub seconds_ago: u64,
    /// Whether it is in effect. The log says what has changed, or why nothing has.
    pub succeeded: bool,
}

/// What the process takes.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ProcessStatus {
    /// Memory that is in RAM, in bytes.
    pub resident_bytes: Option<u64>,
    /// Files and sockets that are open.
    pub open_descriptors: Option<u64>,
    /// As many may be.
    pub max_descriptors: Option<u64>,
    /// Time of processors, in seconds.
    pub cpu_seconds: Option<f64>,
}
