//! The program as a service manager and an upgrade meet it: sockets that others have bound, what it says of itself, and the
//! process that takes its place.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail where it stands")]

mod activation;
mod bridge;
mod hand_over;
mod reloaded;
mod units;

use pkdns_testing::upgrade::PATIENCE;
