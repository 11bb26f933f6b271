//! In place of the packets in a Redis where they are left out. A configuration that asks for them is refused.

use std::time::Duration;

use pkdns_dht::signed_packet::PublicKey;

use super::Stored;
use crate::base::{config::RedisUrl, metrics::SharedMetrics};

/// Keeps nothing.
#[derive(Debug, Clone)]
pub struct SharedStore;

impl SharedStore {
    pub fn new<T>(_: &RedisUrl, _: T, _: Duration, _: SharedMetrics) -> Self {
        Self
    }

    pub async fn get(&self, _: &PublicKey) -> Option<Stored> {
        None
    }

    pub fn set_max_age(&self, _: Duration) {}

    pub fn has_failed(&self) -> bool {
        true
    }

    pub fn put(&self, _: Stored) {}
}
