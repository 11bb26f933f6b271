//! Another configuration for a server that runs: each option acts at once or is said to need a restart, a bad one changes
//! nothing, and what did not change goes on.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail where it stands")]

mod bad;
mod carried_over;
#[allow(dead_code, reason = "shared with tests that use more of it")]
#[path = "../certificates/client.rs"]
mod client;
mod collector;
#[allow(dead_code, reason = "shared with tests that use more of it")]
#[path = "../common/mod.rs"]
mod common;
mod limits;
mod logs;
mod options;
mod probes;
mod program;
mod stage;
mod thousand;
mod web;
