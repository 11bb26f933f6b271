//! Where an answer came from.

pub use crate::base::metrics::Source;

use crate::service::answer_cache::Hit;

impl Source {
    /// Of what the answer cache had.
    pub fn of(hit: Hit) -> Self {
        if hit.is_stale { Self::Stale } else { Self::Cache }
    }
}
