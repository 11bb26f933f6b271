//! What cold names are promised, held in small worlds: keys that nobody asked for yet are found, and nothing that a
//! network does makes us say what is not so. Limits on time are those of clients, as machines that test may be slow.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

mod hostile_nodes;
mod limits;
mod newest;
mod publish;
mod restart;
mod server;
mod world;
