//! In place of the packets on disk where they are left out. A configuration that asks for them is refused.

use std::path::Path;

use pkdns_dht::signed_packet::PublicKey;
use thiserror::Error;

use super::Stored;

/// Keeps nothing.
#[derive(Debug, Clone)]
pub struct DiskStore;

/// There is nothing that could fail.
#[derive(Debug, Error)]
pub enum DiskError {}

impl DiskStore {
    pub fn open(_: &Path, _: u64) -> Result<Self, DiskError> {
        Ok(Self)
    }

    pub async fn get(&self, _: &PublicKey) -> Option<Stored> {
        None
    }

    pub fn put(&self, _: Stored) {}

    pub async fn close(&self) {}

    pub fn has_failed(&self) -> bool {
        true
    }

    pub async fn lend(&self) {}

    pub async fn take_back(&self) {}

    pub fn len(&self) -> usize {
        0
    }
}
