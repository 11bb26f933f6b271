//! What all the rooms stand on.

pub mod access;
pub mod backoff;
pub mod client;
pub mod config;
pub mod fair_flight;
pub mod fair_queue;
pub mod fair_share;
pub mod health;
pub mod message;
pub mod metrics;
pub mod private_file;
pub mod rate_limit;
pub mod revisions;
pub mod single_flight;
pub mod view;
pub mod watched_files;
pub mod zone_file;
