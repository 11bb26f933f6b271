//! The commands as their users run them, against a DHT on this machine.
//!
//! Some tests run small programs of others, such as `age` and `ddclient`. Without them they say so and pass, unless `CI=true`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the helpers of tests may fail them"
)]

mod advice;
mod doctor;
mod failures;
mod keys;
mod publish_and_resolve;
mod publisher;
mod relays;
mod republish;
mod servers;
mod shell;
mod site;
mod vanity;
mod zone;
