//! Names of the own network.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod forward_zones;
mod local_records;

use hickory_proto::rr::{Name, Record};
use pkdns_testing::support::records::record;

/// The records of these lines.
fn zone(lines: &str) -> Vec<Record> {
    let lines = lines.lines().map(str::trim).filter(|line| !line.is_empty());
    lines.map(|line| record(line, &Name::root()).unwrap()).collect()
}
