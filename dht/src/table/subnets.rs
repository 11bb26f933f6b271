//! How many nodes of each subnet are known, in two bytes a node: of a million nodes nearly each has a subnet of its own.

use ahash::RandomState;

use super::Subnet;

/// Counters that subnets share by a hash that nobody else knows. Two of them rarely meet, and where they do, each is
/// counted as if it had the other's nodes as well: the bound holds in any case.
#[derive(Debug)]
pub(super) struct Subnets {
    counters: Vec<u8>,
    hasher: RandomState,
    most: u8,
}

impl Subnets {
    /// For a table of `capacity` nodes, in which a subnet has 0.2 %: it takes hundreds of them to matter, while the
    /// busiest hosters of honest nodes lose little. Never below 16, and never above what a counter holds.
    pub(super) fn new(capacity: usize) -> Self {
        let most = u8::try_from((capacity / 512).max(16)).unwrap_or(u8::MAX);
        let counters = vec![0; (capacity * 2).next_power_of_two().max(1024)];
        Self { counters, hasher: RandomState::new(), most }
    }

    pub(super) fn is_crowded(&self, subnet: Subnet) -> bool {
        self.counters.get(self.place(subnet)).is_none_or(|count| *count >= self.most)
    }

    pub(super) fn add(&mut self, subnet: Subnet) {
        let place = self.place(subnet);
        if let Some(count) = self.counters.get_mut(place) {
            *count = count.saturating_add(1);
        }
    }

    pub(super) fn remove(&mut self, subnet: Subnet) {
        let place = self.place(subnet);
        if let Some(count) = self.counters.get_mut(place) {
            *count = count.saturating_sub(1);
        }
    }

    /// Bytes of memory.
    #[cfg(test)]
    pub(super) fn memory(&self) -> usize {
        self.counters.capacity()
    }

    /// Nodes of all subnets, the most of one counter, and the most that is allowed.
    #[cfg(test)]
    pub(super) fn summary(&self) -> (usize, u8, u8) {
        let all = self.counters.iter().map(|count| usize::from(*count)).sum();
        (all, self.counters.iter().copied().max().unwrap_or(0), self.most)
    }

    fn place(&self, subnet: Subnet) -> usize {
        // The number of counters is a power of two.
        usize::try_from(self.hasher.hash_one(subnet)).unwrap_or(0) & (self.counters.len() - 1)
    }
}
