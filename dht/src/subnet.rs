//! Networks that are likely to belong to one operator. Pure.

use std::net::IpAddr;

use super::{address::is_private, internet_of_tests};

/// The part of the internet that an address shares with those that the same operator can take on at no cost: a /24 of
/// IPv4, a /48 of IPv6. A site is given up to a /48 (RFC 6177), so that counting /64s would set no limit to its owner.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) struct Subnet(u64);

impl Subnet {
    /// `None` for addresses that nobody on the internet can send from.
    pub(super) fn of(ip: IpAddr) -> Option<Self> {
        let ip = ip.to_canonical();
        if let Some(subnet) = internet_of_tests::subnet(ip) {
            return Some(Self(u64::from(subnet) << 1));
        }
        match ip {
            ip if is_private(ip) => None,
            // The lowest bit keeps the families apart.
            IpAddr::V4(ip) => Some(Self(u64::from(ip.to_bits() >> 8) << 1)),
            IpAddr::V6(ip) => {
                let [first, second, third, ..] = ip.segments().map(u64::from);
                Some(Self((((first << 32) | (second << 16) | third) << 1) | 1))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn subnet(ip: &str) -> Option<Subnet> {
        Subnet::of(ip.parse().unwrap())
    }

    #[test]
    fn neighbours_share_a_subnet() {
        for (one, other, shared) in [
            ("203.0.113.1", "203.0.113.254", true),
            ("203.0.113.1", "203.0.112.1", false),
            ("203.0.113.1", "::ffff:203.0.113.9", true),
            ("2001:db8:1:2::1", "2001:db8:1:ffff::1", true),
            ("2001:db8:1::1", "2001:db8:2::1", false),
            ("203.0.113.1", "2001:db8:1::1", false),
        ] {
            assert_eq!(subnet(one) == subnet(other), shared, "{one} and {other}");
        }
    }

    #[test]
    fn addresses_of_test_networks_and_lans_have_none() {
        let local = [
            "127.1.2.3",
            "10.0.0.1",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.1.1",
            "::1",
            "fd00::1",
            "fe80::1",
            "::ffff:127.0.0.1",
            "100.64.0.1",
            "2002:a00:1::1",
        ];
        assert!(local.iter().all(|ip| subnet(ip).is_none()));
        let public = ["172.32.0.1", "8.8.8.8", "2001:4860::1"];
        assert!(public.iter().all(|ip| subnet(ip).is_some()));
    }
}
