//! A million keys: the memory that each takes, the cost of a cached answer, and which queries wait for the DHT when
//! some names are far more popular than others. Run it with `cargo bench -p pkdns --bench keys`;
//! `docs/performance.md` explains the tables. Names after `--` choose tables.
//!
//! The server is a process of its own on one core, with a network that has a packet for every key; the client is on
//! another. The benchmark checks no times, only that the answers are right. Without `--bench`, as under
//! `cargo test --all-targets`, there are few keys.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a benchmark fails by panicking")]

mod connection;
mod echo;
mod histogram;
mod key_server;
mod memory;
mod network;
mod restart;
mod zipf;
mod zones;

use std::env;

use pkdns_testing::benchmark::Choice;
use zones::Names;

/// How large everything is.
#[derive(Clone, Copy)]
pub(crate) struct Scale {
    pub(crate) keys: u32,
    /// Queries of one round of cached lookups, and rounds.
    pub(crate) queries: u32,
    pub(crate) rounds: u32,
    /// Queries a second, and seconds that a packet is fresh, under a load of popular and rare names.
    pub(crate) rate: u32,
    pub(crate) lifetime: u32,
}

/// Of the 10,000 most popular of a million names, the last one is asked for ten times in the last tenth of 150 seconds
/// at this rate, so that hardly any is left out.
const IN_FULL: Scale = Scale { keys: 1_000_000, queries: 500_000, rounds: 5, rate: 100_000, lifetime: 150 };
const IN_SHORT: Scale = Scale { keys: 2000, queries: 2000, rounds: 1, rate: 2000, lifetime: 2 };

type Table = fn(&Names, Scale);
const TABLES: [(&str, Table); 3] =
    [("memory", memory::memory), ("restart", restart::restart), ("zipf", zipf::zipf)];

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    match &arguments[..] {
        [flag, settings @ ..] if flag == key_server::FLAG => return network::serve(settings),
        [flag] if flag == echo::FLAG => return echo::serve(),
        _ => {}
    }
    let choice = Choice::read();
    let mut scale = if choice.in_full { IN_FULL } else { IN_SHORT };
    let number = |name: &str, default: u32| {
        let mut values = arguments.iter().filter_map(|argument| argument.strip_prefix(name));
        values.next().map_or(default, |value| value.parse().expect("a number"))
    };
    scale.keys = number("--keys=", scale.keys);
    scale.rate = number("--rate=", scale.rate);
    scale.lifetime = number("--lifetime=", scale.lifetime);

    let names = Names::derive(scale.keys);
    for (name, table) in TABLES {
        if choice.wants(name) {
            table(&names, scale);
        }
    }
}
