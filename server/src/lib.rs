//! A DNS resolver for public-key domains. `docs/architecture.md` draws the life of a query and the layers below.

pub mod access;
pub mod answer_cache;
pub mod certificates;
pub mod config;
mod connector;
pub mod dht;
pub mod fair_queue;
pub mod forward;
pub mod health;
pub mod http;
pub mod message;
pub mod metrics;
pub mod packets;
mod private_file;
pub mod rate_limit;
pub mod relay_client;
pub mod request_handler;
pub mod resolver;
pub mod revisions;
pub mod server;
pub mod service;
pub mod signed_packet;
pub mod simulator;
pub mod single_flight;
pub mod telemetry;
pub mod testnet;
pub mod transport;
