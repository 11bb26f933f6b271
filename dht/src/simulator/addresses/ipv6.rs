//! Addresses of the internet of IPv6.

use std::net::Ipv6Addr;

use crate::simulator::{binding::NetworkBinding, permutation::Permutation, random::Random};

/// First numbers of addresses that registries have given to networks. None is in a special one.
const BLOCKS: [u16; 10] = [0x2400, 0x2405, 0x2600, 0x2603, 0x2607, 0x2804, 0x2a00, 0x2a01, 0x2a02, 0x2c0f];

/// The first number of those who are no nodes: the client, attackers, and those that hostile nodes make up.
const OTHERS: u16 = 0x2a10;
const CLIENTS: u16 = 1;
const ATTACKING: u16 = 2;
const INVENTED: u16 = 3;

/// Of so many nodes, one is at a hoster who has so many in its /48.
const HOSTED: u32 = 16;
const HOSTED_TOGETHER: usize = 200;

/// Of so many, these are in homes to which their provider gives less than a /48 (RFC 6177), so that some of the homes in
/// a /48 have nodes. All others have a /48 of their own.
const IN_HOMES: std::ops::Range<u32> = 1..6;
const HOMES_TOGETHER: usize = 4;

/// How often a network is drawn in which an id would be valid. One in eight is; who finds none gets one of its own.
const ATTEMPTS: u64 = 64;

/// What a number is drawn for.
#[derive(Debug, Clone, Copy)]
enum Draw {
    Network = 30,
    Site,
    Host,
}

/// How a node is connected.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Site {
    Hoster,
    Homes,
    Own,
}

/// The addresses of nodes. The last 32 bits of each are its index, in another order, so that there is nothing to look up.
/// The number of sites that nodes share follows from the number of nodes.
#[derive(Debug)]
pub(in crate::simulator) struct Ipv6Internet {
    seed: u64,
    order: Permutation,
    hosters: usize,
    homes: usize,
    binding: NetworkBinding,
}

impl Ipv6Internet {
    pub(super) fn new(seed: u64, nodes: usize) -> Self {
        let sites = |of_all: usize, together: usize| (nodes * of_all / HOSTED as usize / together).max(1);
        Self {
            seed,
            order: Permutation::of(u32::MAX, &[seed, 6]),
            hosters: sites(1, HOSTED_TOGETHER),
            homes: sites(IN_HOMES.len(), HOMES_TOGETHER),
            binding: NetworkBinding::new(),
        }
    }

    pub(in crate::simulator) fn at(&self, index: u32) -> Ipv6Addr {
        self.address(index, self.network(index, 0))
    }

    /// The index of an address, if it is that of a node: it may also be no node's.
    pub(in crate::simulator) fn index(&self, address: Ipv6Addr) -> u32 {
        self.order.invert(address.to_bits() as u32)
    }

    /// Where ids that begin like this are valid (BEP 42), and the last three bits that they have there.
    pub(in crate::simulator) fn bound(&self, index: u32, class: u32) -> (Ipv6Addr, u8) {
        let attempts = if site(index) == Site::Own { 0 } else { ATTEMPTS };
        let shared = (0..attempts).find_map(|it| self.binding.within_site(self.network(index, it), class));
        let own = || self.binding.anywhere(self.network_of_its_own(index), class);
        let (network, last) = shared.unwrap_or_else(own);
        (self.address(index, network), last)
    }

    /// A /64 for the node with this index.
    fn network(&self, index: u32, attempt: u64) -> u64 {
        let mut random = Random::of(&[self.seed, Draw::Network as u64, index.into(), attempt]);
        let sites = match site(index) {
            Site::Hoster => self.hosters,
            Site::Homes => self.homes,
            Site::Own => return self.network_of_its_own(index),
        };
        let number = random.below(sites) as u64;
        self.site(site(index), number) | (random.next() & 0xffff)
    }

    fn network_of_its_own(&self, index: u32) -> u64 {
        let mut random = Random::of(&[self.seed, Draw::Network as u64, index.into()]);
        self.site(Site::Own, index.into()) | (random.next() & 0xffff)
    }

    /// A /48.
    fn site(&self, site: Site, number: u64) -> u64 {
        let mut random = Random::of(&[self.seed, Draw::Site as u64, site as u64, number]);
        let block = BLOCKS.get(random.below(BLOCKS.len())).copied().unwrap_or(OTHERS);
        u64::from(block) << 48 | (random.next() & 0xffff_ffff) << 16
    }

    fn address(&self, index: u32, network: u64) -> Ipv6Addr {
        let host = Random::of(&[self.seed, Draw::Host as u64, index.into()]).next();
        let host = host << u32::BITS | u64::from(self.order.apply(index));
        Ipv6Addr::from_bits(u128::from(network) << 64 | u128::from(host))
    }
}

fn site(index: u32) -> Site {
    match index % HOSTED {
        0 => Site::Hoster,
        part if IN_HOMES.contains(&part) => Site::Homes,
        _ => Site::Own,
    }
}

pub(super) fn of_client() -> Ipv6Addr {
    other(CLIENTS, 0, 1)
}

/// Each of these networks is a /48.
pub(super) fn of_attacker(network: u8, host: u8) -> Ipv6Addr {
    other(ATTACKING, network, host)
}

pub(super) fn of_invented(network: u8, host: u8) -> Ipv6Addr {
    other(INVENTED, network, host)
}

fn other(kind: u16, network: u8, host: u8) -> Ipv6Addr {
    Ipv6Addr::new(OTHERS, kind, network.into(), 0, 0, 0, 0, host.into())
}
