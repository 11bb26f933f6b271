//! Ways around a crowd of nodes beside the target. Pure.
//!
//! Every node names the nearest nodes that it knows. Where a crowd is nearest, nobody names those behind it, on which the
//! value lies. Asked for a target beside the real one, which differs in a single bit, honest nodes name those near
//! there. The bits are those in which the nodes of the neighbourhood differ from the target.

use std::{net::SocketAddr, time::Instant};

use crate::krpc::Id;

/// Parts of the neighbourhood that are asked about: those that hold the 32 nearest nodes.
const PARTS: usize = 6;

/// Nodes asked about each part. Some of them may be in league with the crowd.
const NODES_PER_PART: usize = 3;

/// Questions about other targets, to nodes that have answered.
#[derive(Debug, Default)]
pub(super) struct Detours {
    /// How many nodes were asked about each part.
    asked: [usize; PARTS],
    under_way: Vec<Detour>,
}

#[derive(Debug)]
struct Detour {
    address: SocketAddr,
    /// It is not waited for any longer.
    late: Instant,
}

impl Detours {
    /// A target about which more nodes are to be asked. `spacing`: share of the key space per node.
    pub(super) fn next_target(&self, target: &Id, spacing: f64) -> Option<(usize, Id)> {
        // The bit in which the nearest node is the first to differ, and those before it.
        let nearest = (-spacing.log2()).clamp(0.0, 150.0) as usize;
        let parts = self.asked.iter().enumerate().take(nearest + 1);
        let (part, _) =
            parts.filter(|(_, asked)| **asked < NODES_PER_PART).min_by_key(|(_, asked)| **asked)?;
        Some((part, flipped(target, nearest - part)))
    }

    /// A node is being asked about the part.
    pub(super) fn ask(&mut self, part: usize, address: SocketAddr, late: Instant) {
        if let Some(asked) = self.asked.get_mut(part) {
            *asked += 1;
        }
        self.under_way.push(Detour { address, late });
    }

    /// Whether the node at `address` was asked and has now answered.
    pub(super) fn answered(&mut self, address: SocketAddr) -> bool {
        let place = self.under_way.iter().position(|detour| detour.address == address);
        place.map(|place| self.under_way.swap_remove(place)).is_some()
    }

    /// Whether the node at `address` is being asked.
    pub(super) fn is_asked(&self, address: SocketAddr) -> bool {
        self.under_way.iter().any(|detour| detour.address == address)
    }

    /// Whether answers are to be expected.
    pub(super) fn are_under_way(&self, now: Instant) -> bool {
        self.under_way.iter().any(|detour| now < detour.late)
    }

    /// When the next of those that are waited for is late.
    pub(super) fn wake_at(&self, now: Instant) -> Option<Instant> {
        self.under_way.iter().map(|detour| detour.late).filter(|late| *late > now).min()
    }
}

/// The target with its bit number `bit`, counted from the first, turned around.
fn flipped(target: &Id, bit: usize) -> Id {
    let mut bytes = *target.as_bytes();
    if let Some(byte) = bytes.get_mut(bit / 8) {
        *byte ^= 0x80 >> (bit % 8);
    }
    Id::from(bytes)
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, time::Duration};

    use super::*;

    #[test]
    fn each_part_of_the_neighbourhood_is_asked_about_at_a_few_nodes() {
        let (target, now) = (Id::from([0; 20]), Instant::now());
        let mut detours = Detours::default();
        let mut asked: HashMap<Id, usize> = HashMap::new();
        for last in 0..100 {
            // One node in 1024.
            let Some((part, displaced)) = detours.next_target(&target, 1.0 / 1024.0) else { break };
            *asked.entry(displaced).or_default() += 1;
            let address = SocketAddr::from(([127, 0, 0, last], 1));
            detours.ask(part, address, now + Duration::from_millis(100));
            assert!(detours.is_asked(address));
        }
        assert_eq!(asked.len(), PARTS);
        assert!(asked.values().all(|nodes| *nodes == NODES_PER_PART));
        // The first of the bits is that in which 1 of 32 nodes does not differ.
        let mut first = [0; 20];
        first[0] = 0x80 >> 5;
        assert!(asked.contains_key(&Id::from(first)), "{asked:?}");
        assert!(detours.are_under_way(now) && !detours.are_under_way(now + Duration::from_millis(100)));
        assert!(detours.answered(SocketAddr::from(([127, 0, 0, 0], 1))));
        assert!(!detours.answered(SocketAddr::from(([127, 0, 0, 0], 1))));
    }

    #[test]
    fn a_network_of_a_few_nodes_has_no_more_parts_than_bits() {
        let mut detours = Detours::default();
        for last in 0..100 {
            let Some((part, _)) = detours.next_target(&Id::from([0; 20]), 0.3) else { break };
            detours.ask(part, SocketAddr::from(([127, 0, 0, last], 1)), Instant::now());
        }
        assert_eq!(detours.asked, [NODES_PER_PART, NODES_PER_PART, 0, 0, 0, 0]);
    }
}
