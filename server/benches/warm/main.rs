//! The cost of a cached answer, compared with a program that only sends the same bytes back, and with unbound. Run it
//! with `cargo bench -p pkdns --bench warm`; `docs/performance.md` explains the tables. Names after `--` choose
//! tables.
//!
//! Servers are processes of their own on one core; the queries come from another core. The benchmark checks no times,
//! only that the answers are right. Without `--bench`, as under `cargo test --all-targets`, there is one short round.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark may fail where it stands"
)]

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

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    if let Some(echo) = Echo::wanted(&arguments) {
        return echo.serve();
    }
    let in_full = arguments.iter().any(|argument| argument == "--bench");
    let scale = if in_full { Scale::FULL } else { Scale::SHORT };
    if !in_full {
        println!("Short rounds: the figures mean nothing.");
    }
    let wanted: Vec<_> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    for (name, table) in tables::ALL {
        if wanted.is_empty() || wanted.iter().any(|wanted| *wanted == name) {
            table(scale);
        }
    }
}
