//! Where nodes can be.

mod ipv6;

use std::net::{IpAddr, Ipv4Addr};

use super::{Family, World, binding, permutation::Permutation};
use crate::internet_of_tests::stand_in_v4;
use ipv6::Ipv6Internet;

/// The second numbers of loopback addresses that no node has: those of nodes that hostile ones make up, and of attackers.
const INVENTED: u8 = 255;
const ATTACKING: u8 = 254;

/// Loopback addresses for nodes: all but 127.0.0.0 and the above.
pub(super) const ON_LOOPBACK: u32 = ((ATTACKING as u32) << 16) - 1;

/// Addresses of the internet for nodes, more than are ever needed.
const ON_THE_INTERNET: u32 = 64 << 24;

/// From here on, before they are spread. None is in a special network.
const FIRST: u32 = 11 << 24;

/// Neighbours in number are far from each other in address, by the golden section. A prime to their count, and its
/// inverse.
const STEP: u64 = 0x9e_3779;
const STEP_BACK: u64 = 5_323_970;

/// The inverse of 1237, for groups of 2944.
const STEP_BACK_IN_GROUP: u32 = 1021;

/// Of the internet, every so many-th address is that of a hoster in 44/8, who has so many in each of its /24.
const HOSTED: u32 = 16;
const HOSTED_TOGETHER: u32 = 200;
const HOSTERS: u32 = 44 << 24;

/// First numbers in which whole networks are private, reserved or for documentation. No node is there; clients and
/// attackers of the internet are in 100/8, and hosters are in 44/8.
const SPECIAL: [u8; 10] = [0, 10, 44, 100, 127, 169, 172, 192, 198, 203];

/// Which addresses there are. They take no memory.
#[derive(Debug)]
pub(super) enum Addresses {
    /// Of this machine. The first is 127.0.0.1; others are spread, because clients may trust few nodes of one network.
    Loopback,
    /// Of the whole internet, mostly one in a /24, and one in 16 nodes at hosters with many. Only for who sends nothing.
    Internet(Permutation),
    /// The same of IPv6, where what is in one hand is a /48.
    Ipv6(Box<Ipv6Internet>),
}

impl Addresses {
    /// Of the internet, in the family of the world.
    pub(super) fn of_internet(world: &World) -> Self {
        match world.family {
            Family::V4 => Self::Internet(Permutation::of(u32::MAX, &[world.seed, 6])),
            Family::V6 => Self::Ipv6(Box::new(Ipv6Internet::new(world.seed, world.nodes))),
        }
    }

    pub(super) fn family(&self) -> Family {
        match self {
            Self::Loopback | Self::Internet(_) => Family::V4,
            Self::Ipv6(_) => Family::V6,
        }
    }

    /// How many there are.
    pub(super) fn count(&self) -> u32 {
        match self {
            Self::Loopback => ON_LOOPBACK,
            Self::Internet(_) | Self::Ipv6(_) => ON_THE_INTERNET,
        }
    }

    pub(super) fn at(&self, index: u32) -> IpAddr {
        let bits = match self {
            Self::Loopback => {
                let spread = u64::from(index) * STEP % u64::from(ON_LOOPBACK);
                (127 << 24) | (1 + spread as u32)
            }
            Self::Internet(_) if index.is_multiple_of(HOSTED) => {
                let (network, host) = (index / HOSTED / HOSTED_TOGETHER, index / HOSTED % HOSTED_TOGETHER);
                HOSTERS | network << 8 | (1 + host)
            }
            Self::Internet(order) => order.apply_within(FIRST.saturating_add(index), is_ordinary),
            Self::Ipv6(internet) => return internet.at(index).into(),
        };
        Ipv4Addr::from_bits(bits).into()
    }

    /// The index of an address; `None`: it is none of these. In IPv6 some that are no node's have one as well.
    pub(super) fn index(&self, address: IpAddr) -> Option<u32> {
        let bits = match address {
            IpAddr::V4(address) => address.to_bits(),
            IpAddr::V6(address) => {
                let Self::Ipv6(internet) = self else { return None };
                return Some(internet.index(address)).filter(|index| *index < self.count());
            }
        };
        let index = match self {
            Self::Ipv6(_) => return None,
            Self::Loopback => {
                let spread = bits.checked_sub((127 << 24) | 1).filter(|it| *it < ON_LOOPBACK)?;
                (u64::from(spread) * STEP_BACK % u64::from(ON_LOOPBACK)) as u32
            }
            Self::Internet(_) if bits & (0xff << 24) == HOSTERS => {
                let (network, host) = (bits >> 8 & 0xffff, (bits & 0xff).checked_sub(1)?);
                (host < HOSTED_TOGETHER).then_some((network * HOSTED_TOGETHER + host) * HOSTED)?
            }
            Self::Internet(order) => {
                let index = is_ordinary(bits).then(|| order.invert_within(bits, is_ordinary))?;
                index.checked_sub(FIRST).filter(|index| !index.is_multiple_of(HOSTED))?
            }
        };
        (index < self.count()).then_some(index)
    }

    /// The address of this rank in a group of those that BEP 42 takes for the same. `None`: there are not so many.
    pub(super) fn in_group(&self, group: u32, rank: u32) -> Option<Ipv4Addr> {
        let [first, second, third] = [group >> 18 & 0x03, group >> 14 & 0x0f, group >> 8 & 0x3f];
        let (size, spread, step, _) = self.groups();
        let place = if rank < spread { (rank * step + group) % spread } else { rank };
        let (upper, within) = match self {
            // The first number of what stands for 127.x is made of the upper bits of x.
            Self::Loopback => (127, ((place >> 2 & 0x03) << 6) | (first << 4) | second),
            Self::Internet(_) => {
                let upper = ordinary_quads().nth((place >> 6) as usize)?;
                (upper << 2 | first, ((place >> 2 & 0x0f) << 4) | second)
            }
            // There it is the other way round: an address is made to suit the id.
            Self::Ipv6(_) => return None,
        };
        let third = (place & 0x03) << 6 | third;
        let address = Ipv4Addr::from_bits(upper << 24 | within << 16 | third << 8 | group & 0xff);
        (rank < size && self.is_for_nodes(address)).then_some(address)
    }

    /// The group of an address, and its rank there.
    pub(super) fn group(&self, address: Ipv4Addr) -> Option<(u32, u32)> {
        if !self.is_for_nodes(address) {
            return None;
        }
        let [first, second, third, _] = address.octets().map(u32::from);
        let within = (second >> 4 << 2) | (third >> 6);
        let (group, place) = match self {
            Self::Loopback => (binding::group(stand_in_v4(address)), (second >> 6 << 2) | (third >> 6)),
            Self::Internet(_) => {
                let upper = ordinary_quads().position(|quad| quad == first >> 2)?;
                (binding::group(address), (upper as u32) << 6 | within)
            }
            Self::Ipv6(_) => return None,
        };
        let (_, spread, _, step_back) = self.groups();
        let rank = || (place + spread - group % spread) % spread * step_back % spread;
        Some((group, if place < spread { rank() } else { place }))
    }

    /// Most addresses in such a group.
    pub(super) fn group_size(&self) -> u32 {
        self.groups().0
    }

    /// How many addresses a group has, of how many of them neighbours in rank are far from each other, and how far, with
    /// the inverse of that. On loopback some groups have no more than those.
    fn groups(&self) -> (u32, u32, u32, u32) {
        match self {
            Self::Loopback => (16, 12, 5, 5),
            Self::Internet(_) | Self::Ipv6(_) => (46 << 6, 46 << 6, 1237, STEP_BACK_IN_GROUP),
        }
    }

    /// Where nobody is and nobody comes.
    pub(super) fn nowhere(&self) -> IpAddr {
        self.of_invented(u8::MAX, 1)
    }

    /// Where clients without sockets are.
    pub(super) fn of_client(&self) -> IpAddr {
        match self {
            Self::Loopback => Ipv4Addr::LOCALHOST.into(),
            Self::Internet(_) => Ipv4Addr::new(100, 20, 0, 1).into(),
            Self::Ipv6(_) => ipv6::of_client().into(),
        }
    }

    /// Where attackers are: the network that they are in, and a number there.
    pub(super) fn of_attacker(&self, network: u8, host: u8) -> IpAddr {
        match self {
            Self::Loopback => Ipv4Addr::new(127, ATTACKING, network, host).into(),
            Self::Internet(_) => Ipv4Addr::new(100, 30, network, host).into(),
            Self::Ipv6(_) => ipv6::of_attacker(network, host).into(),
        }
    }

    /// The network and the number there, if it is the address of an attacker.
    pub(super) fn attacker(&self, address: IpAddr) -> Option<(u8, u8)> {
        let (network, host) = network_and_host(address);
        (self.of_attacker(network, host) == address).then_some((network, host))
    }

    /// Where nodes are that hostile ones make up: two numbers for each.
    pub(super) fn of_invented(&self, one: u8, other: u8) -> IpAddr {
        match self {
            Self::Loopback => Ipv4Addr::new(127, INVENTED, one, other).into(),
            Self::Internet(_) => Ipv4Addr::new(100, 31, one, other).into(),
            Self::Ipv6(_) => ipv6::of_invented(one, other).into(),
        }
    }

    /// The two numbers, if it is such an address.
    pub(super) fn invented(&self, address: IpAddr) -> Option<(u8, u8)> {
        let (one, other) = network_and_host(address);
        (self.of_invented(one, other) == address).then_some((one, other))
    }

    fn is_for_nodes(&self, address: Ipv4Addr) -> bool {
        match self {
            Self::Loopback => self.index(address.into()).is_some(),
            Self::Internet(_) => is_ordinary(address.to_bits()),
            Self::Ipv6(_) => false,
        }
    }
}

/// What tells apart the addresses of those who are no nodes.
fn network_and_host(address: IpAddr) -> (u8, u8) {
    match address {
        IpAddr::V4(address) => {
            let [.., network, host] = address.octets();
            (network, host)
        }
        IpAddr::V6(address) => {
            let [_, _, _, _, _, network, .., host] = address.octets();
            (network, host)
        }
    }
}

/// Whether an address is none of a special network.
fn is_ordinary(bits: u32) -> bool {
    let [first, ..] = bits.to_be_bytes();
    first < 224 && !SPECIAL.contains(&first)
}

/// Four first numbers each, of which none is special: what they have in common.
fn ordinary_quads() -> impl Iterator<Item = u32> {
    (0..56).filter(|quad| SPECIAL.iter().all(|special| u32::from(special >> 2) != *quad))
}
