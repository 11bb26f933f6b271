//! `[cache]`

use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::{RedisUrl, redis_url};

/// What is kept, and for how long.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Cache {
    /// Most packets in memory, and most answers of each kind.
    pub max_entries: usize,
    /// Least age in seconds before a packet is asked for again.
    pub ttl_seconds: u64,
    /// Greatest age in seconds before a packet is asked for again.
    pub max_ttl_seconds: u64,
    /// How long in seconds an absent key stays absent without asking again.
    pub negative_ttl_seconds: u64,
    /// How long in seconds after its time a packet may still be served when the network fails.
    pub max_stale_seconds: u64,
    /// Directory in which packets survive a restart. An empty one stands for none.
    pub path: Option<PathBuf>,
    /// Most that packets take on disk, in megabytes.
    pub disk_megabytes: u64,
    /// A Redis that several servers share. An empty text stands for none.
    #[serde(deserialize_with = "redis_url::optional")]
    pub redis: Option<RedisUrl>,
}

impl Cache {
    /// The directory in which packets survive a restart, if they do.
    pub fn directory(&self) -> Option<&Path> {
        self.path.as_deref().filter(|path| !path.as_os_str().is_empty())
    }
}

impl Default for Cache {
    fn default() -> Self {
        Self {
            max_entries: 50_000,
            ttl_seconds: 300,
            max_ttl_seconds: 86_400,
            negative_ttl_seconds: 60,
            max_stale_seconds: 86_400,
            path: None,
            disk_megabytes: 1024,
            redis: None,
        }
    }
}
