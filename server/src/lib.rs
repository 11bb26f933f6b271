//! A DNS resolver for public-key domains, as a library. `docs/architecture.md` draws the life of a query and the rooms below.

#[cfg(not(feature = "internal"))]
mod base;
#[cfg(feature = "internal")]
pub mod base;
#[cfg(not(feature = "internal"))]
mod edge;
#[cfg(feature = "internal")]
pub mod edge;
#[cfg(not(feature = "internal"))]
mod program;
#[cfg(feature = "internal")]
pub mod program;
#[cfg(not(feature = "internal"))]
mod resolver;
#[cfg(feature = "internal")]
pub mod resolver;
#[cfg(not(feature = "internal"))]
mod service;
#[cfg(feature = "internal")]
pub mod service;
#[cfg(not(feature = "internal"))]
mod sources;
#[cfg(feature = "internal")]
pub mod sources;

pub use base::{config, message, metrics, zone_file};
pub use edge::request_handler;
pub use program::server;
