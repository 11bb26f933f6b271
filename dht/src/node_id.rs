//! Our own id, as BEP 42 wants it: bound to the address that the internet sees us at. Some nodes keep ids that do not
//! fit their address out of their tables or ignore what they store. Pure but for random bytes.

use std::{
    collections::VecDeque,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
};

use super::{internet_of_tests, krpc::Id, subnet::Subnet};

/// Most votes that are kept, one for each subnet.
const VOTES: usize = 20;

/// Votes that decide: more than half, so that two addresses cannot both have them.
const MAJORITY: usize = 11;

/// A new id for a node at `ip`. For loopback, private and link-local addresses, to which BEP 42 does not apply, any.
pub fn for_address(ip: IpAddr) -> Id {
    bind(Id::random(), ip)
}

/// Whether a node at `ip` may have the id. At loopback, private and link-local addresses, always.
pub fn is_valid(id: &Id, ip: IpAddr) -> bool {
    bind(*id, ip) == *id
}

/// Concludes from what other nodes say at which address the internet sees us. Bounded.
#[derive(Debug, Default)]
pub struct AddressVotes {
    votes: VecDeque<Vote>,
}

/// Where other nodes see us, without a majority that is needed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Sighting {
    /// The address that most of them say.
    pub ip: IpAddr,
    /// How many do.
    pub votes: usize,
    /// How many say any address.
    pub voters: usize,
}

#[derive(Debug)]
struct Vote {
    voter: Voter,
    seen: IpAddr,
}

/// Nodes of one subnet have one vote, since one operator can run as many there as it likes.
#[derive(Debug, PartialEq, Eq)]
enum Voter {
    Subnet(Subnet),
    Local(SocketAddr),
}

impl AddressVotes {
    /// The node at `voter` answered us and said that it sees us at `seen`. It replaces what its subnet said before, or
    /// else the oldest vote.
    pub fn observe(&mut self, voter: SocketAddr, seen: IpAddr) {
        let seen = seen.to_canonical();
        if seen.is_unspecified() || seen.is_multicast() {
            return;
        }
        let voter = Subnet::of(voter.ip()).map_or(Voter::Local(voter), Voter::Subnet);
        self.votes.retain(|vote| vote.voter != voter);
        if self.votes.len() >= VOTES {
            self.votes.pop_front();
        }
        self.votes.push_back(Vote { voter, seen });
    }

    /// Our address, once 11 of the last 20 subnets agree on it.
    pub fn external(&self) -> Option<IpAddr> {
        let agree = |seen: IpAddr| self.votes.iter().filter(|vote| vote.seen == seen).count() >= MAJORITY;
        // Of more than half of 20 votes, one is among the first 10.
        self.votes.iter().take(VOTES - MAJORITY + 1).map(|vote| vote.seen).find(|seen| agree(*seen))
    }

    /// The address that most say so far, for people: few may have been heard.
    pub fn sighting(&self) -> Option<Sighting> {
        let count = |seen: IpAddr| self.votes.iter().filter(|vote| vote.seen == seen).count();
        let seen = self.votes.iter().map(|vote| (count(vote.seen), vote.seen));
        seen.max().map(|(votes, ip)| Sighting { ip, votes, voters: self.votes.len() })
    }
}

/// The checksum of which the first 21 bits are those of ids at `ip` that end in these three bits.
pub(crate) fn checksum_v4(ip: Ipv4Addr, last: u8) -> u32 {
    let masked = ip.to_bits() & 0x030f_3fff;
    crc32c(&(masked | (u32::from(last) << 29)).to_be_bytes())
}

/// As [`checksum_v4`], of IPv6: the host has no say in it.
pub(crate) fn checksum_v6(ip: Ipv6Addr, last: u8) -> u32 {
    let masked = (ip.to_bits() >> 64) as u64 & 0x0103_070f_1f3f_7fff;
    crc32c(&(masked | (u64::from(last) << 61)).to_be_bytes())
}

/// Sets the first 21 bits of `id` to those that its last byte and `ip` demand.
fn bind(id: Id, ip: IpAddr) -> Id {
    let ip = internet_of_tests::stand_in(ip.to_canonical());
    if is_exempt(ip) {
        return id;
    }
    let mut bytes = *id.as_bytes();
    let [first, second, third, .., last] = &mut bytes;
    let checksum = match ip {
        IpAddr::V4(ip) => checksum_v4(ip, *last),
        IpAddr::V6(ip) => checksum_v6(ip, *last),
    };
    let prefix = checksum.to_be_bytes();
    (*first, *second, *third) = (prefix[0], prefix[1], (prefix[2] & 0xf8) | (*third & 0x07));
    Id::from(bytes)
}

/// Where BEP 42 does not apply. Other private addresses are not among them.
fn is_exempt(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_loopback() || ip.is_private() || ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_loopback() || ip.is_unique_local() || ip.is_unicast_link_local(),
    }
}

/// Castagnoli's CRC (RFC 3720 appendix B.4), bit by bit: it is needed for eight bytes now and then.
fn crc32c(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in bytes {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            let reduce = if crc & 1 == 1 { 0x82f6_3b78 } else { 0 };
            crc = (crc >> 1) ^ reduce;
        }
    }
    !crc
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn public(subnet: u8, host: u8) -> SocketAddr {
        SocketAddr::from(([198, 51, subnet, host], 6881))
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn ids_are_those_of_the_examples_in_bep_42() {
        for (address, id) in [
            ("124.31.75.21", "5fbfbff10c5d6a4ec8a88e4c6ab4c28b95eee401"),
            ("21.75.31.124", "5a3ce9c14e7a08645677bbd1cfe7d8f956d53256"),
            ("65.23.51.170", "a5d43220bc8f112a3d426c84764f8c2a1150e616"),
            ("84.124.73.14", "1b0321dd1bb1fe518101ceef99462b947a01ff41"),
            ("43.213.53.83", "e56f6cbf5b7c4be0237986d5243b87aa6d51305a"),
        ] {
            let id: Id = id.parse().unwrap();
            assert!(is_valid(&id, ip(address)), "{address}");
            let mut other = *id.as_bytes();
            other[2] ^= 0x08;
            assert!(!is_valid(&other.into(), ip(address)), "{address}");
            assert_eq!(bind(other.into(), ip(address)), id);
        }
    }

    #[test]
    fn the_checksum_is_that_of_rfc_3720() {
        assert_eq!(crc32c(b"123456789"), 0xe306_9283);
        assert_eq!(crc32c(&[0; 32]), 0x8a91_36aa);
    }

    #[test]
    fn an_ipv6_id_depends_on_the_network_and_not_on_the_host() {
        let id = for_address(ip("2001:db8:85a3:1::1"));
        assert!(is_valid(&id, ip("2001:db8:85a3:1::1")));
        assert!(is_valid(&id, ip("2001:db8:85a3:1:ffff::1")));
        assert!(!is_valid(&id, ip("2001:db9:85a3:1::1")));
    }

    #[test]
    fn any_id_is_valid_on_loopback_and_in_a_lan() {
        for local in ["127.0.0.1", "192.168.0.7", "10.1.2.3", "::1", "fe80::1"] {
            assert!(is_valid(&Id::random(), ip(local)), "{local}");
        }
        assert_ne!(for_address(ip("127.0.0.1")), for_address(ip("127.0.0.1")));
    }

    #[test]
    fn the_address_is_known_once_a_majority_of_subnets_agrees() {
        let mut votes = AddressVotes::default();
        for subnet in 0..10 {
            votes.observe(public(subnet, 1), ip("203.0.113.7"));
            assert_eq!(votes.external(), None);
        }
        for subnet in 10..19 {
            votes.observe(public(subnet, 1), ip("192.0.2.1"));
            assert_eq!(votes.external(), None);
        }
        votes.observe(public(19, 1), ip("::ffff:203.0.113.7"));
        assert_eq!(votes.external(), Some(ip("203.0.113.7")));
    }

    #[test]
    fn people_are_told_what_most_say_before_it_counts() {
        let mut votes = AddressVotes::default();
        assert_eq!(votes.sighting(), None);
        for (subnet, seen) in [(0, "192.0.2.1"), (1, "203.0.113.7"), (2, "203.0.113.7")] {
            votes.observe(public(subnet, 1), ip(seen));
        }
        assert_eq!(votes.external(), None);
        assert_eq!(votes.sighting(), Some(Sighting { ip: ip("203.0.113.7"), votes: 2, voters: 3 }));
    }

    #[test]
    fn one_subnet_cannot_outvote_the_others() {
        let mut votes = AddressVotes::default();
        for host in 0..200 {
            votes.observe(public(1, host), ip("192.0.2.66"));
        }
        assert_eq!(votes.external(), None);
        for subnet in 0..12 {
            votes.observe(public(subnet, 1), ip("203.0.113.7"));
        }
        for host in 0..200 {
            votes.observe(public(1, host), ip("192.0.2.66"));
        }
        assert_eq!(votes.external(), Some(ip("203.0.113.7")));
    }

    #[test]
    fn a_new_address_wins_once_the_old_votes_are_outnumbered() {
        let mut votes = AddressVotes::default();
        for subnet in 0..40 {
            votes.observe(public(subnet, 1), ip("203.0.113.7"));
        }
        for subnet in 40..50 {
            votes.observe(public(subnet, 1), ip("203.0.113.8"));
        }
        assert_eq!(votes.external(), None);
        votes.observe(public(50, 1), ip("203.0.113.8"));
        assert_eq!(votes.external(), Some(ip("203.0.113.8")));
    }

    #[test]
    fn nodes_of_a_test_network_vote_each_for_themselves() {
        let mut votes = AddressVotes::default();
        for port in 1..12 {
            votes.observe(SocketAddr::from(([127, 0, 0, 1], port)), ip("127.0.0.1"));
        }
        assert_eq!(votes.external(), Some(ip("127.0.0.1")));
    }

    proptest! {
        #[test]
        fn ids_made_for_an_address_are_valid_there(bytes: [u8; 20], v4: [u8; 4], v6: [u8; 16]) {
            for ip in [IpAddr::from(v4), IpAddr::from(v6)] {
                prop_assert!(is_valid(&bind(bytes.into(), ip), ip));
                prop_assert!(is_valid(&for_address(ip), ip));
            }
        }

        #[test]
        fn ids_are_valid_where_mainline_says_so(v4: [u8; 4], bytes: [u8; 20]) {
            let (v4, id) = (v4.into(), Id::from(bytes));
            prop_assert!(is_valid(&Id::from_ipv4(v4), v4.into()));
            prop_assert!(bind(id, v4.into()).is_valid_for_ip(v4));
        }

        #[test]
        fn votes_are_bounded(voters in prop::collection::vec((any::<[u8; 4]>(), any::<[u8; 4]>()), 0..100)) {
            let mut votes = AddressVotes::default();
            for (voter, seen) in voters {
                votes.observe((voter, 1).into(), seen.into());
                prop_assert!(votes.votes.len() <= VOTES);
                prop_assert_eq!(votes.external().is_some(), {
                    let count = |seen| votes.votes.iter().filter(|vote| vote.seen == seen).count();
                    votes.votes.iter().any(|vote| count(vote.seen) >= MAJORITY)
                });
            }
        }
    }
}
