//! Finds the answer to any question: classify, then ask the packets, the forwarder or the table of special names.

use std::time::Duration;

/// A query is answered within this time, with SERVFAIL if need be: before stub resolvers give up (5 s).
pub const DEADLINE: Duration = Duration::from_millis(4500);
