//! Lookups of keys that the server has not seen yet: how long they take, and whether any key is lost, on a simulated
//! DHT of ten million nodes. Run it with `cargo bench -p pkdns --bench dht`; `docs/performance.md` explains the
//! tables. Names after `--` choose tables; `worlds`, `worlds-offline` and `soak` run only if they are named.
//!
//! The server is a process of its own on one core; client and DHT share another. The `mainline` client and libtorrent
//! do the same work in the same run. The benchmark checks no times. Without `--bench`, as under
//! `cargo test --all-targets`, the networks are small.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a benchmark fails by panicking")]

mod absent;
mod askers;
mod clients;
mod cold;
mod hostile;
mod idle;
mod libtorrent;
mod load;
mod observed;
mod offline;
mod publish;
mod row;
mod small;
mod soak;
mod stage;
mod stale;
mod worlds;
mod zones;

use std::time::Duration;

use pkdns_testing::benchmark::Choice;

/// How large everything is.
#[derive(Clone, Copy)]
pub(crate) struct Scale {
    /// Nodes of the realistic network, and the largest number of them that a server knows.
    pub(crate) nodes: usize,
    pub(crate) most_known: usize,
    /// Nodes of the small network, all of which the server knows.
    pub(crate) small_nodes: usize,
    pub(crate) keys: u32,
    /// Other keys that a client is asked for before the measurement begins.
    pub(crate) warm_up: u32,
    /// In the small network.
    pub(crate) at_once: usize,
    pub(crate) publications: u32,
    /// Searches without sockets.
    pub(crate) searches: u32,
    /// Queries of the soak test.
    pub(crate) soak: usize,
    /// The longest wait for a table of nodes to fill, and how long a server without queries is watched.
    pub(crate) filling: Duration,
    pub(crate) idle: Duration,
}

const IN_FULL: Scale = Scale {
    nodes: 10_000_000,
    most_known: 1_000_000,
    small_nodes: 5000,
    keys: 2000,
    warm_up: 200,
    at_once: 1000,
    publications: 30,
    searches: 2000,
    soak: 1_000_000,
    filling: Duration::from_secs(600),
    idle: Duration::from_secs(60),
};
const IN_SHORT: Scale = Scale {
    nodes: 20_000,
    most_known: 2000,
    small_nodes: 300,
    keys: 40,
    warm_up: 20,
    at_once: 20,
    publications: 4,
    searches: 40,
    soak: 2000,
    filling: Duration::from_secs(1),
    idle: Duration::from_secs(2),
};

/// A table by its name.
type Table = (&'static str, fn(Scale));

const TABLES: [Table; 9] = [
    ("cold", cold::cold),
    ("absent", absent::absent),
    ("stale", stale::stale),
    ("hostile", hostile::hostile),
    ("publish", publish::publish),
    ("idle", idle::idle),
    ("offline", offline::offline),
    ("speed", small::speed),
    ("small", small::small),
];

/// Those that take long.
const BY_NAME: [Table; 3] =
    [("worlds", worlds::worlds), ("worlds-offline", worlds::without_sockets), ("soak", soak::soak)];

fn main() {
    let choice = Choice::read();
    let scale = if choice.in_full { IN_FULL } else { IN_SHORT };
    let usual = TABLES.iter().filter(|(name, _)| choice.wants(name));
    for (_, table) in usual.chain(BY_NAME.iter().filter(|(name, _)| choice.names(name))) {
        table(scale);
    }
}
