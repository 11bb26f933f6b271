//! Where answers come from: the packets of keys, upstream resolvers, PKARR relays.

#[cfg(feature = "tls")]
pub mod connector;
pub mod forward;
#[cfg(not(feature = "tls"))]
pub mod no_connector;
pub mod packets;
#[cfg(feature = "tls")]
pub mod relay_client;

#[cfg(not(feature = "tls"))]
pub use no_connector as connector;
