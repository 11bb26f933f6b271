//! What the unit tests of several modules share.

use std::{sync::Arc, time::Duration};

use pkdns_dht::simulator::Simulator;
use pkdns_dht::{
    Dht, DhtSettings,
    signed_packet::{PublicKey, SignedPacket},
};

use crate::{
    packet,
    publisher::Published,
    secret_key::SecretKey,
    zone_file::{self, ExternalAddresses, ZoneRecord},
};

pub(crate) fn secret_key() -> SecretKey {
    SecretKey::from_seed(&[0; 32])
}

/// The key of [`secret_key`].
pub(crate) fn key() -> PublicKey {
    secret_key().public_key()
}

/// The records of a zone of [`key`].
pub(crate) fn records(zone: &str) -> Vec<ZoneRecord> {
    let file = zone_file::from_bytes(zone.as_bytes()).unwrap();
    file.records(&key(), &ExternalAddresses::default()).unwrap()
}

/// The message of a zone.
pub(crate) fn dns(zone: &str) -> Vec<u8> {
    packet::compose(&records(zone), &key()).unwrap()
}

/// The packet of a zone.
pub(crate) fn signed(timestamp: u64, zone: &str) -> SignedPacket {
    SignedPacket::sign(&secret_key(), timestamp, &dns(zone)).unwrap()
}

/// A message with one answer of this owner, type and data.
pub(crate) fn message(owner: &[&[u8]], record_type: u16, data: &[u8]) -> Vec<u8> {
    let mut dns = vec![0, 0, 0x80, 0, 0, 0, 0, 1, 0, 0, 0, 0];
    for label in owner {
        dns.push(label.len() as u8);
        dns.extend_from_slice(label);
    }
    dns.push(0);
    dns.extend_from_slice(&record_type.to_be_bytes());
    dns.extend_from_slice(&[0, 1, 0, 0, 0, 60]);
    dns.extend_from_slice(&(data.len() as u16).to_be_bytes());
    dns.extend_from_slice(data);
    dns
}

pub(crate) fn from_hex(text: &str) -> Vec<u8> {
    (0..text.len()).step_by(2).map(|at| u8::from_str_radix(&text[at..at + 2], 16).unwrap()).collect()
}

/// What was stored on so many nodes of those that were found.
pub(crate) fn published(nodes: u32, found: u32) -> Published {
    Published {
        key: key().to_z32(),
        nodes,
        found,
        relays: Vec::new(),
        size: 80,
        timestamp: 1,
        previous_timestamp: None,
        added: Vec::new(),
        removed: Vec::new(),
    }
}

/// A small DHT, and a node of it.
pub(crate) async fn dht() -> (Simulator, Dht) {
    let network = Simulator::with_nodes(5).unwrap();
    let settings = DhtSettings::on_loopback(network.bootstrap());
    let dht = Dht::start(settings, Arc::new(|_| Box::pin(async { Vec::new() }))).unwrap();
    dht.ready(Duration::from_secs(10)).await.unwrap();
    (network, dht)
}
