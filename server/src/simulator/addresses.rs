//! Where nodes are.

use std::net::Ipv4Addr;

use super::{permutation::Permutation, random::Random};

/// The second number of loopback addresses that no node has, left to those that hostile nodes make up.
pub(super) const INVENTED: u8 = 255;

/// Loopback addresses for nodes: all but 127.0.0.0 and those left to invented ones.
pub(super) const ON_LOOPBACK: u32 = ((INVENTED as u32) << 16) - 1;

/// Addresses of the internet for nodes, more than are ever needed.
const ON_THE_INTERNET: u32 = 64 << 24;

/// From here on, before they are spread. None is in a special network.
const FIRST: u32 = 11 << 24;

/// Neighbours in number are far from each other in address, by the golden section. A prime to their count.
const STEP: u64 = 0x9e_3779;
const STEP_BACK: u64 = 2_993_629;

/// First octets in which whole networks are private, reserved or for documentation.
const SPECIAL: [u8; 9] = [0, 10, 100, 127, 169, 172, 192, 198, 203];

/// Which addresses there are, each with an index. They take no memory.
#[derive(Debug)]
pub(super) enum Addresses {
    /// Of this machine. The first is 127.0.0.1; others are spread, because clients may trust few nodes of one network.
    Loopback,
    /// Of the whole internet, mostly one in a /24. Only for who sends nothing.
    Internet(Permutation),
}

impl Addresses {
    pub(super) fn of_internet(seed: u64) -> Self {
        Self::Internet(Permutation::of(u32::MAX, &[seed, 6]))
    }

    /// How many there are.
    pub(super) fn count(&self) -> u32 {
        match self {
            Self::Loopback => ON_LOOPBACK,
            Self::Internet(_) => ON_THE_INTERNET,
        }
    }

    pub(super) fn at(&self, index: u32) -> Ipv4Addr {
        match self {
            Self::Loopback => {
                let spread = u64::from(index) * STEP % u64::from(ON_LOOPBACK);
                Ipv4Addr::from_bits((127 << 24) | (1 + spread as u32))
            }
            Self::Internet(order) => Ipv4Addr::from_bits(order.apply_within(FIRST + index, is_ordinary)),
        }
    }

    /// The index of an address; `None`: it is none of these.
    pub(super) fn index(&self, address: Ipv4Addr) -> Option<u32> {
        let index = match self {
            Self::Loopback => {
                let spread = address.to_bits().checked_sub((127 << 24) | 1).filter(|it| *it < ON_LOOPBACK)?;
                (u64::from(spread) * STEP_BACK % u64::from(ON_LOOPBACK)) as u32
            }
            Self::Internet(order) => {
                let bits = address.to_bits();
                is_ordinary(bits).then(|| order.invert_within(bits, is_ordinary))?.checked_sub(FIRST)?
            }
        };
        (index < self.count()).then_some(index)
    }

    /// Where nobody is, or not anybody who matters.
    pub(super) fn of_nobody(&self, taken: u32, random: &mut Random) -> Ipv4Addr {
        let free = self.count().saturating_sub(taken) as usize;
        self.at(taken.min(self.count() - 1) + random.below(free) as u32)
    }
}

/// Whether an address is none of a special network.
fn is_ordinary(bits: u32) -> bool {
    let [first, ..] = bits.to_be_bytes();
    first < 224 && !SPECIAL.contains(&first)
}
