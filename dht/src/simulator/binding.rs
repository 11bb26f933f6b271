//! Ids that are bound to addresses (BEP 42), the other way round: ids come first, and nodes are where theirs is valid.
//!
//! The first 21 bits of an id are a checksum of 20 bits of its address and the last 3 of the id. A checksum is linear but
//! for a constant, so that what makes a given one is found as the solution of a system of equations over GF(2).

use std::net::{Ipv4Addr, Ipv6Addr};

use crate::node_id::{checksum_v4, checksum_v6};

/// Bits of an id that are bound.
pub(super) const CLASS_BITS: u32 = 21;

/// Bits of the address that they are bound to.
const GROUP_BITS: u32 = 20;

/// In IPv6 ids are bound to 36 of the first 64 bits of an address. The last three bits of the id stand before them, where
/// addresses of the internet are all alike. What may be chosen for an id is these, the subnet at a site, and some of the
/// site's own bits where the node may be anywhere.
const LAST_BITS: u32 = 61;
const IN_SITE: [std::ops::Range<u32>; 2] = [LAST_BITS..64, 0..16];
const OF_SITE: [std::ops::Range<u32>; 2] = [16..22, 24..29];

/// Equations over GF(2), solved: for each bit of a checksum, in which it is the first, a checksum, and what makes it.
#[derive(Debug, Clone, Default)]
struct Equations([(u32, u64); CLASS_BITS as usize]);

impl Equations {
    /// Takes in what makes a checksum. Returns what makes none, if there is already something that makes this one.
    fn add(&mut self, mut class: u32, mut input: u64) -> Option<u64> {
        while let Some(pivot) = class.checked_ilog2().and_then(|it| self.0.get_mut(it as usize)) {
            if pivot.0 == 0 {
                *pivot = (class, input);
                return None;
            }
            (class, input) = (class ^ pivot.0, input ^ pivot.1);
        }
        Some(input)
    }

    /// What makes this checksum, if anything does.
    fn solve(&self, class: u32) -> Option<u64> {
        let (mut left, mut input) = (class, 0);
        for (checksum, makes) in self.0.iter().rev() {
            if left.checked_ilog2() == checksum.checked_ilog2() && left != 0 {
                (left, input) = (left ^ checksum, input ^ makes);
            }
        }
        (left == 0).then_some(input)
    }
}

/// The equations of IPv4.
#[derive(Debug)]
pub(super) struct Binding {
    equations: Equations,
    /// What makes no difference.
    kernel: [u32; 2],
    /// The checksum of nothing.
    constant: u32,
}

/// Those of IPv6, for who is at a given site, and for who may be anywhere.
#[derive(Debug)]
pub(super) struct NetworkBinding {
    within_site: Equations,
    anywhere: Equations,
}

impl NetworkBinding {
    pub(super) fn new() -> Self {
        let constant = class_of_network(0);
        let mut within_site = Equations::default();
        let add = |equations: &mut Equations, bit: u32| {
            equations.add(class_of_network(1 << bit) ^ constant, 1 << bit);
        };
        IN_SITE.into_iter().flatten().for_each(|bit| add(&mut within_site, bit));
        let mut anywhere = within_site.clone();
        OF_SITE.into_iter().flatten().for_each(|bit| add(&mut anywhere, bit));
        Self { within_site, anywhere }
    }

    /// A network at the same site where ids that begin like this are valid, and their last three bits. Only one beginning
    /// in eight has any.
    pub(super) fn within_site(&self, network: u64, class: u32) -> Option<(u64, u8)> {
        Self::bind(&self.within_site, network, class)
    }

    /// The same at a site near by.
    pub(super) fn anywhere(&self, network: u64, class: u32) -> (u64, u8) {
        Self::bind(&self.anywhere, network, class).unwrap_or((network, 0))
    }

    fn bind(equations: &Equations, network: u64, class: u32) -> Option<(u64, u8)> {
        let address = (1 << LAST_BITS) - 1;
        let input = equations.solve(class ^ class_of_network(network & address))?;
        Some((network ^ (input & address), (input >> LAST_BITS) as u8))
    }
}

/// What the beginning of an id has to be for the last three bits of it and the rest of a network.
fn class_of_network(input: u64) -> u32 {
    let address = Ipv6Addr::from_bits(u128::from(input) << 64);
    checksum_v6(address, (input >> LAST_BITS) as u8) >> (u32::BITS - CLASS_BITS)
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
        let mut binding = Self { equations: Equations::default(), kernel: [0; 2], constant };
        for bit in 0..GROUP_BITS + 3 {
            if let Some(input) = binding.equations.add(class_of(1 << bit) ^ constant, 1 << bit) {
                // There are two more bits than equations.
                binding.kernel = [binding.kernel[1], input as u32];
            }
        }
        binding
    }

    /// One of the places where ids that begin like this may be: always the same.
    pub(super) fn place(&self, class: u32) -> Place {
        let input = self.equations.solve(class ^ self.constant).map_or(0, |input| input as u32);
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
