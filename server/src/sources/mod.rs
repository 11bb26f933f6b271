//! Where answers come from: the packets of keys, upstream resolvers, PKARR relays.

pub mod connector;
pub mod forward;
pub mod packets;
pub mod relay_client;
