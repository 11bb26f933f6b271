//! How much harm one client can do to another, and to the machine. Run it with
//! `cargo bench -p pkdns --bench hostile`; `docs/performance.md` explains the tables. Names after `--` choose parts.
//!
//! The server is the real program, in a process of its own on one core, which the flooding client shares; the client
//! whose answers are measured is on the other core. The benchmark checks no times.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a benchmark may fail where it stands"
)]

mod memory;
mod mischief;
mod packet_plans;
mod packet_writer;
mod packets;
mod places;
mod questions;
mod setting;
mod spoofed;
mod upstream;

use std::env;

/// A part by its name; `true` means in full, otherwise a short round that only shows that it works.
type Part = (&'static str, fn(bool));

const PARTS: &[Part] = &[
    ("alone", setting::alone),
    ("memory", memory::memory),
    ("mischief", mischief::mischief),
    ("packets", packets::packets),
    ("places", places::places),
    ("spoofed", spoofed::spoofed),
];

fn main() {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let in_full = arguments.iter().any(|argument| argument == "--bench");
    if !in_full {
        println!("Short rounds: the figures mean nothing.");
    }
    let wanted: Vec<_> = arguments.iter().filter(|argument| !argument.starts_with('-')).collect();
    for (name, part) in PARTS {
        if wanted.is_empty() || wanted.iter().any(|wanted| wanted == name) {
            part(in_full);
        }
    }
}
