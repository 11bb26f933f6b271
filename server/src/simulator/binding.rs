//! Ids that are bound to addresses (BEP 42), the other way round: ids come first, and nodes are where theirs is valid.
//!
//! The first 21 bits of an id are a checksum of 20 bits of its address and the last 3 of the id. A checksum is linear but
//! for a constant, so that what makes a given one is found as the solution of a system of equations over GF(2).

use std::net::Ipv4Addr;

use crate::dht::node_id::checksum_v4;

/// Bits of an id that are bound.
pub(super) const CLASS_BITS: u32 = 21;

/// Bits of the address that they are bound to.
const GROUP_BITS: u32 = 20;

/// The equations, solved.
#[derive(Debug)]
pub(super) struct Binding {
    /// For each bit of a checksum, in which it is the first: a checksum, and what makes it.
    pivots: [(u32, u32); CLASS_BITS as usize],
    /// What makes no difference.
    kernel: [u32; 2],
    /// The checksum of nothing.
    constant: u32,
}

/// Where an id may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    /// The 20 bits of the address.
    pub(super) group: u32,
    /// The last three bits of the id.
    pub(super) last: u8,
}

impl Binding {
    pub(super) fn new() -> Self {
        let constant = class_of(0);
        let mut binding = Self { pivots: [(0, 0); CLASS_BITS as usize], kernel: [0; 2], constant };
        for bit in 0..GROUP_BITS + 3 {
            let (mut class, mut input) = (class_of(1 << bit) ^ constant, 1 << bit);
            while let Some(pivot) = class.checked_ilog2().and_then(|it| binding.pivots.get_mut(it as usize)) {
                if pivot.0 == 0 {
                    *pivot = (class, input);
                    break;
                }
                (class, input) = (class ^ pivot.0, input ^ pivot.1);
            }
            if class == 0 {
                // There are two more bits than equations.
                binding.kernel = [binding.kernel[1], input];
            }
        }
        binding
    }

    /// One of the places where ids that begin like this may be: always the same.
    pub(super) fn place(&self, class: u32) -> Place {
        let (mut left, mut input) = (class ^ self.constant, 0);
        for (checksum, makes) in self.pivots.iter().rev() {
            if left.checked_ilog2() == checksum.checked_ilog2() && left != 0 {
                (left, input) = (left ^ checksum, input ^ makes);
            }
        }
        // Of the four that there are. Chosen like this, each group is the place of two beginnings.
        let is_chosen =
            |input: u32| input >> (GROUP_BITS + 2) == 0 && (input ^ (input >> GROUP_BITS)) & 1 == 0;
        let [one, other] = self.kernel;
        let chosen = [0, one, other, one ^ other].map(|it| input ^ it).into_iter().find(|it| is_chosen(*it));
        let input = chosen.unwrap_or(input);
        Place { group: input & ((1 << GROUP_BITS) - 1), last: (input >> GROUP_BITS) as u8 }
    }

    /// How those ids begin that have their place in the group.
    pub(super) fn classes(&self, group: u32) -> impl Iterator<Item = u32> + '_ {
        let inputs =
            (0..8).map(move |last| (group | (last << GROUP_BITS), Place { group, last: last as u8 }));
        inputs.filter_map(|(input, place)| {
            let class = class_of(input);
            (self.place(class) == place).then_some(class)
        })
    }
}

/// What the beginning of an id has to be for these bits.
fn class_of(input: u32) -> u32 {
    let group = input & ((1 << GROUP_BITS) - 1);
    checksum_v4(address(group), (input >> GROUP_BITS) as u8) >> (u32::BITS - CLASS_BITS)
}

/// An address of the group: 2, 4, 6 and 8 bits of its four numbers count.
fn address(group: u32) -> Ipv4Addr {
    let bits = ((group >> 18 & 0x03) << 24) | ((group >> 14 & 0x0f) << 16) | ((group >> 8 & 0x3f) << 8);
    Ipv4Addr::from_bits(bits | (group & 0xff))
}

/// The group of an address.
pub(super) fn group(address: Ipv4Addr) -> u32 {
    let [first, second, third, fourth] = address.octets().map(u32::from);
    ((first & 0x03) << 18) | ((second & 0x0f) << 14) | ((third & 0x3f) << 8) | fourth
}
