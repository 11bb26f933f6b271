//! What the fuzz targets do with one input. The test of this crate does the same with the inputs that are kept.

pub mod age;
pub mod classify;
pub mod client_hello;
pub mod decode;
pub mod doh;
pub mod dyndns;
pub mod krpc;
pub mod proxy_header;
pub mod redis_url;
pub mod saved_nodes;
pub mod stored_packet;
pub mod zone;
pub mod zone_file;
