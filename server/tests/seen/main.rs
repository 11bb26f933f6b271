//! What is seen of a whole server while it runs: health, status, and what Prometheus and Grafana make of its metrics.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail where it stands")]

mod counts;
mod dashboard;
mod health;
mod metrics;
mod server;
mod status;
