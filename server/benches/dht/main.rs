//! Keys that nobody asked for yet: how long they take, and whether any is lost, on a simulated DHT of 5000 nodes. Run
//! it with `cargo bench -p pkdns --bench dht`; `docs/performance.md` explains the tables. Names of tables after `--`
//! run these only; `soak` is run only by name.
//!
//! The server is a process of its own on one core; client and DHT share another. The `mainline` client does the same
//! work in the same run. Nothing is asserted about time. Without `--bench`, as under `cargo test --all-targets`, the
//! worlds are small.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark may fail where it stands"
)]

mod clients;
#[allow(dead_code, reason = "shared with benchmarks that use more of it")]
#[path = "../common/mod.rs"]
mod common;
mod load;
mod soak;
mod tables;
mod zones;

use std::env;

/// How large everything is.
#[derive(Clone, Copy)]
pub(crate) struct Scale {
    pub(crate) nodes: usize,
    pub(crate) keys: u32,
    pub(crate) at_once: usize,
}

const IN_FULL: Scale = Scale { nodes: 5000, keys: 2000, at_once: 1000 };
const IN_SHORT: Scale = Scale { nodes: 300, keys: 40, at_once: 20 };

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let in_full = arguments.iter().any(|argument| argument == "--bench");
    let scale = if in_full { IN_FULL } else { IN_SHORT };
    let wanted: Vec<_> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    for (name, table) in tables::ALL {
        if wanted.is_empty() || wanted.iter().any(|wanted| *wanted == name) {
            table(scale);
        }
    }
    // Takes a quarter of an hour: only when it is asked for.
    if wanted.iter().any(|wanted| *wanted == "soak") {
        soak::soak(scale, if in_full { 1_000_000 } else { 2_000 });
    }
}
