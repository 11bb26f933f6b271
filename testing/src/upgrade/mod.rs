//! A server of the program that others take over from, and the clients that it has meanwhile.

pub mod clients;
pub mod load;
pub mod reloads;
pub mod server;

use std::time::Duration;

/// Longest wait for what must come, on a machine that does many other things.
pub const PATIENCE: Duration = Duration::from_secs(60);
