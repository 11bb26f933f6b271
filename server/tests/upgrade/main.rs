//! The program as a service manager and an upgrade meet it: sockets that others have bound, what it says of itself, and the
//! process that takes its place.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail where it stands")]

mod activation;
mod bridge;
mod clients;
mod hand_over;
mod load;
mod reloaded;
mod reloads;
mod server;
mod units;

use std::time::Duration;

/// Longest wait for what must come, on a machine that does many other things.
const PATIENCE: Duration = Duration::from_secs(60);
