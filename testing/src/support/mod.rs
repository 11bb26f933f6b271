//! Clients, name servers and records for a server whose packets and upstreams a test decides.

pub mod client;
pub mod name_server;
pub mod records;

use pkdns_dht::signed_packet::Keypair;

/// The key pair that always goes by `name`.
pub fn keypair(name: &str) -> Keypair {
    let mut secret = [0; 32];
    secret[..name.len()].copy_from_slice(name.as_bytes());
    Keypair::from_secret_key(&secret)
}
