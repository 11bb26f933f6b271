//! The bridge between clients and sites, with sites and clients that a test decides.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail where it stands")]

mod bytes;
mod hostile;
mod names;
mod plain;
mod refused;
mod site;
mod stage;
mod whole;
