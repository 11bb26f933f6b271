//! What makes a program of the server: its start and its end, logs, the processes before and after it.

#[cfg(feature = "bin")]
mod arguments;
#[cfg(feature = "bin")]
mod reloading;
#[cfg(feature = "bin")]
pub mod run;
pub mod server;
#[cfg(feature = "bin")]
pub mod service_manager;
#[cfg(feature = "bin")]
pub mod shell;
#[cfg(feature = "bin")]
pub mod succession;
#[cfg(feature = "bin")]
pub mod telemetry;
#[cfg(feature = "testnet")]
pub mod testnet;
#[cfg(feature = "bin")]
mod testnet_mode;
#[cfg(feature = "bin")]
mod upgrade;
