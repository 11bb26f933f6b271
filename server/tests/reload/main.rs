//! Another configuration for a server that runs: each option acts at once or is said to need a restart, a bad one changes
//! nothing, and what did not change goes on.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail where it stands")]

mod bad;
mod carried_over;
mod collector;
mod limits;
mod logs;
mod options;
mod probes;
mod program;
mod stage;
mod thousand;
mod web;
