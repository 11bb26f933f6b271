//! How much harm one client can do to another, and to the machine. Run it with
//! `cargo bench -p pkdns --bench hostile`; `docs/performance.md` explains the tables. Names after `--` choose parts.
//!
//! The server is the real program, in a process of its own on one core, which the flooding client shares; the client
//! whose answers are measured is on the other core. The benchmark checks no times.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a benchmark fails by panicking")]

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

use pkdns_testing::benchmark::Choice;

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
    let choice = Choice::read();
    for (name, part) in PARTS {
        if choice.wants(name) {
            part(choice.in_full);
        }
    }
}
