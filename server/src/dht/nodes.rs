//! Our nodes of the DHT, as one.

use std::{
    hash::{BuildHasher, RandomState},
    sync::Arc,
    time::Duration,
};

use tokio::{
    sync::{Notify, watch},
    time::timeout,
};
use tracing::warn;

use super::{
    NetworkError,
    node::{Node, NodeFailed},
};
use crate::signed_packet::PublicKey;

/// Our nodes that have joined.
pub(super) struct Nodes {
    joined: watch::Sender<Arc<[Arc<Node>]>>,
    /// Rung when a node has failed.
    failed: Notify,
    /// Divides the keys in a way that nobody outside can foresee, so that nobody can crowd one node.
    shards: RandomState,
}

impl Default for Nodes {
    fn default() -> Self {
        Self { joined: watch::Sender::new(Arc::new([])), failed: Notify::new(), shards: RandomState::new() }
    }
}

impl Nodes {
    /// Drops the nodes that have failed or know nobody, and returns how many are left.
    pub(super) async fn retain_healthy(&self, patience: u32) -> usize {
        let mut healthy = Vec::new();
        for node in self.all().iter() {
            if node.is_healthy(patience).await {
                healthy.push(node.clone());
            } else {
                warn!(address = %node.address(), "replacing a DHT node that failed or lost the network");
            }
        }
        let count = healthy.len();
        self.joined.send_if_modified(|joined| {
            let modified = joined.len() != count;
            if modified {
                *joined = healthy.into();
            }
            modified
        });
        count
    }

    /// Adds one that has joined.
    pub(super) fn add(&self, node: Arc<Node>) {
        self.joined.send_modify(|joined| {
            *joined = joined.iter().cloned().chain([node]).collect();
        });
    }

    /// Waits until a node fails, for `limit` at most.
    pub(super) async fn failure(&self, limit: Duration) {
        let _ = timeout(limit, self.failed.notified()).await;
    }

    /// All that have joined.
    pub(super) fn all(&self) -> Arc<[Arc<Node>]> {
        self.joined.borrow().clone()
    }

    /// Waits until one has joined.
    pub(super) async fn any(&self) {
        // The sender is a field of this, and so never gone.
        let _ = self.joined.subscribe().wait_for(|nodes| !nodes.is_empty()).await;
    }

    /// The node that looks after `key`.
    pub(super) fn of(&self, key: &PublicKey) -> Result<Arc<Node>, NetworkError> {
        let nodes = self.all();
        let shard = self.shards.hash_one(key.as_bytes());
        let count = u64::try_from(nodes.len()).unwrap_or(u64::MAX);
        let index = shard.checked_rem(count).and_then(|index| usize::try_from(index).ok());
        index.and_then(|index| nodes.get(index)).cloned().ok_or(NetworkError::NotReady)
    }

    /// Has `node` replaced if its calls failed.
    pub(super) fn checked<T>(&self, node: &Node, result: Result<T, NodeFailed>) -> Result<T, NetworkError> {
        result.map_err(|NodeFailed| {
            node.fail();
            self.failed.notify_one();
            NetworkError::Unreachable
        })
    }
}
