//! What makes a program of the server: its start and its end, logs, the processes before and after it.

pub mod server;
pub mod service_manager;
pub mod shell;
pub mod succession;
pub mod telemetry;
pub mod testnet;
