//! Who is served.

use std::net::IpAddr;

use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Address ranges that are served, less those that are denied. An IPv4-mapped IPv6 address counts as IPv4, and so
/// does a range of such addresses.
#[derive(Debug, Clone)]
pub struct AccessList {
    allow: Ranges,
    deny: Ranges,
}

impl AccessList {
    /// `deny` wins. Nobody is served when `allow` is empty.
    pub fn new(allow: Vec<IpNet>, deny: Vec<IpNet>) -> Self {
        Self { allow: Ranges::new(allow), deny: Ranges::new(deny) }
    }

    /// Whether this client is served. The cost grows with the logarithm of the list.
    pub fn allows(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        self.allow.contains(address) && !self.deny.contains(address)
    }
}

/// Whose word about the client of a connection or request is taken.
#[derive(Debug, Clone)]
pub struct TrustedProxies(Ranges);

impl TrustedProxies {
    /// Nobody when `ranges` is empty.
    pub fn new(ranges: Vec<IpNet>) -> Self {
        Self(Ranges::new(ranges))
    }

    /// Whether this is one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.0.contains(address.to_canonical())
    }
}

/// Disjoint ranges in ascending order, first and last address of each as numbers: this is asked with each query.
#[derive(Debug, Clone)]
struct Ranges {
    v4: Vec<(u32, u32)>,
    v6: Vec<(u128, u128)>,
}

impl Ranges {
    fn new(ranges: Vec<IpNet>) -> Self {
        let (mut v4, mut v6) = (Vec::new(), Vec::new());
        for range in ranges {
            match unmapped(range) {
                IpNet::V4(range) => v4.push(range),
                IpNet::V6(range) => v6.push(range),
            }
        }
        let bounds4 = |range: &Ipv4Net| (range.network().to_bits(), range.broadcast().to_bits());
        let bounds6 = |range: &Ipv6Net| (range.network().to_bits(), range.broadcast().to_bits());
        Self {
            v4: Ipv4Net::aggregate(&v4).iter().map(bounds4).collect(),
            v6: Ipv6Net::aggregate(&v6).iter().map(bounds6).collect(),
        }
    }

    fn contains(&self, address: IpAddr) -> bool {
        match address {
            IpAddr::V4(address) => contains(&self.v4, address.to_bits()),
            IpAddr::V6(address) => contains(&self.v6, address.to_bits()),
        }
    }
}

/// Disjoint and sorted: only the last range that starts at or before the address can hold it.
fn contains<T: Ord>(ranges: &[(T, T)], address: T) -> bool {
    let after = ranges.partition_point(|(first, _)| *first <= address);
    ranges[..after].last().is_some_and(|(_, last)| address <= *last)
}

/// `::ffff:10.0.0.0/104` is `10.0.0.0/8`.
fn unmapped(range: IpNet) -> IpNet {
    let IpNet::V6(mapped) = range else { return range };
    mapped
        .network()
        .to_ipv4_mapped()
        .zip(mapped.prefix_len().checked_sub(96))
        .and_then(|(network, prefix)| Ipv4Net::new(network, prefix).ok())
        .map_or(range, IpNet::V4)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deny_wins_over_allow() {
        let list = list(&["10.0.0.0/8"], &["10.1.0.0/16"]);
        assert!(allows(&list, "10.0.0.1"));
        assert!(!allows(&list, "10.1.0.1"));
        assert!(allows(&list, "10.2.0.0"));
        assert!(!allows(&list, "11.0.0.0"));
    }

    #[test]
    fn an_empty_list_serves_nobody() {
        let list = list(&[], &[]);
        assert!(!allows(&list, "127.0.0.1"));
        assert!(!allows(&list, "::1"));
    }

    #[test]
    fn a_mapped_address_counts_as_ipv4_so_that_it_cannot_walk_around_the_list() {
        let list = list(&["0.0.0.0/0", "::/0"], &["192.0.2.0/24"]);
        assert!(!allows(&list, "::ffff:192.0.2.7"));
        assert!(allows(&list, "::ffff:192.0.3.7"));
        assert!(allows(&list, "2001:db8::1"));
    }

    #[test]
    fn a_range_of_mapped_addresses_counts_as_ipv4() {
        let list = list(&["::ffff:10.0.0.0/104"], &[]);
        assert!(allows(&list, "10.255.255.255"));
        assert!(!allows(&list, "11.0.0.0"));
    }

    #[test]
    fn ranges_that_overlap_touch_or_carry_host_bits_are_found() {
        let list = list(&["10.0.0.7/24", "10.0.0.0/30", "10.0.1.0/24", "172.16.0.0/12", "fe80::1/10"], &[]);
        for inside in ["10.0.0.0", "10.0.0.255", "10.0.1.255", "172.31.255.255", "febf::1"] {
            assert!(allows(&list, inside), "{inside}");
        }
        for outside in ["9.255.255.255", "10.0.2.0", "172.32.0.0", "fec0::", "::"] {
            assert!(!allows(&list, outside), "{outside}");
        }
    }

    #[test]
    fn the_default_list_serves_private_networks_and_nobody_else() {
        let access = crate::config::Access::default();
        let list = AccessList::new(access.allow, access.deny);
        for inside in ["127.0.0.53", "192.168.1.20", "100.64.0.1", "::1", "fd00::1", "fe80::1"] {
            assert!(allows(&list, inside), "{inside}");
        }
        for outside in ["8.8.8.8", "172.15.0.1", "100.128.0.1", "2001:4860:4860::8888", "::2"] {
            assert!(!allows(&list, outside), "{outside}");
        }
    }

    fn list(allow: &[&str], deny: &[&str]) -> AccessList {
        let parse = |ranges: &[&str]| ranges.iter().map(|range| range.parse().unwrap()).collect();
        AccessList::new(parse(allow), parse(deny))
    }

    fn allows(list: &AccessList, address: &str) -> bool {
        list.allows(address.parse().unwrap())
    }
}
