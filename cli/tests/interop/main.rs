//! The commands beside browsers, resolvers, name servers, authorities and DHT nodes of others, which CONTRIBUTING.md lists.
//!
//! Without those, tests say so and pass, unless `CI=true`. Many run on a machine of their own; without the right to make network
//! namespaces these always pass. What was skipped is listed once more at the end.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the helpers of tests may fail them"
)]

mod certificate;
mod connect;
mod guides;
mod ipv6_only;
mod lan_resolvers;
mod origins;
mod padlock;
mod publish;
mod publish_and_resolve;
mod transfer;
mod trust;
