//! What a simulated network is like.

use std::{io, ops::RangeInclusive, time::Duration};

use super::Hostile;

/// Most nodes of a network. Each takes some hundred bytes, and a kilobyte once it is asked.
pub const MAX_NODES: usize = 100_000;

/// Longest round trip, and longest jitter.
const MAX_DELAY: Duration = Duration::from_secs(60);

/// The network to simulate. Shares are parts of one: 0.2 is 20 %.
#[derive(Debug, Clone, PartialEq)]
pub struct World {
    /// How many nodes there are, dead and hostile ones among them; at least one.
    pub nodes: usize,
    /// Each node has a round-trip time of its own, drawn evenly from this range. It is added to that of the machine.
    pub round_trip: RangeInclusive<Duration>,
    /// Up to this much is added to the round trip of each message.
    pub jitter: Duration,
    /// Share of datagrams lost, in each direction.
    pub loss: f64,
    /// Share of nodes that never answer. Others name them all the same, and they count among those nearest to a key.
    pub dead: f64,
    /// Share of the nodes nearest to a key that get the older packet in [`Simulator::store_stale`].
    ///
    /// [`Simulator::store_stale`]: super::Simulator::store_stale
    pub stale: f64,
    /// Kinds of hostile nodes, and their shares of all nodes.
    pub hostile: Vec<(Hostile, f64)>,
    /// Decides ids, roles, tables and round trips: the same number makes the same network.
    pub seed: u64,
    /// UDP port of all nodes. `None` takes any that is free.
    pub port: Option<u16>,
    /// Values that a node keeps. Beyond, it forgets the one that was not asked for the longest.
    pub items_per_node: usize,
    /// Whether messages are counted per target as well.
    pub count_targets: bool,
}

/// A small network without any faults, on any port.
impl Default for World {
    fn default() -> Self {
        Self {
            nodes: 20,
            round_trip: Duration::ZERO..=Duration::ZERO,
            jitter: Duration::ZERO,
            loss: 0.0,
            dead: 0.0,
            stale: 0.0,
            hostile: Vec::new(),
            seed: 1,
            port: None,
            items_per_node: 10_000,
            count_targets: false,
        }
    }
}

impl World {
    /// Refuses what cannot be. The text says what is wrong.
    pub(super) fn check(&self) -> io::Result<()> {
        let refuse = |what: String| Err(io::Error::new(io::ErrorKind::InvalidInput, what));
        if !(1..=MAX_NODES).contains(&self.nodes) {
            return refuse(format!("a network has 1 to {MAX_NODES} nodes, not {}", self.nodes));
        }
        if self.round_trip.is_empty() {
            return refuse("the shortest round trip is longer than the longest".into());
        }
        if *self.round_trip.end() > MAX_DELAY || self.jitter > MAX_DELAY {
            return refuse(format!("round trip and jitter are at most {} s", MAX_DELAY.as_secs()));
        }
        if self.items_per_node == 0 {
            return refuse("a node keeps at least one item".into());
        }
        let hostile = self.hostile.iter().map(|(_, share)| *share);
        let mut shares = [self.loss, self.dead, self.stale].into_iter().chain(hostile.clone());
        if !shares.all(|share| (0.0..=1.0).contains(&share)) {
            return refuse("a share is at least 0 and at most 1".into());
        }
        if self.dead + hostile.sum::<f64>() > 1.0 + f64::EPSILON {
            return refuse("dead and hostile nodes are more than all".into());
        }
        Ok(())
    }
}
