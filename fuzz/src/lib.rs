//! What the fuzz targets do with one input. `server/tests/corpus.rs` does the same with the inputs that are kept, so
//! these files are written for both crates.

pub mod classify;
pub mod client_hello;
pub mod decode;
pub mod doh;
pub mod krpc;
pub mod zone;
