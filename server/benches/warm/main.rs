//! The cost of a cached answer, compared with a program that only sends the same bytes back, and with unbound. Run it
//! with `cargo bench -p pkdns --bench warm`; `docs/performance.md` explains the tables. Names after `--` choose
//! tables.
//!
//! Servers are processes of their own on one core; the queries come from another core. The benchmark checks no times,
//! only that the answers are right. Without `--bench`, as under `cargo test --all-targets`, there is one short round.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a benchmark fails by panicking")]

mod check;
mod compare;
mod datagrams;
mod echo;
mod servers;
mod streams;
mod tables;
mod threads;

use std::env;

use compare::Scale;
use echo::Echo;
use pkdns_testing::benchmark::Choice;

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let Some(echo) = Echo::wanted(&arguments) {
        return echo.serve();
    }
    let choice = Choice::read();
    let scale = if choice.in_full { Scale::FULL } else { Scale::SHORT };
    for (name, table) in tables::ALL {
        if choice.wants(name) {
            table(scale);
        }
    }
}
