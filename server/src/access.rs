//! Who is served.

use std::{net::IpAddr, sync::Arc};

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

    /// Whether everybody is served who is not denied, over IPv4 or IPv6.
    pub fn is_public(&self) -> bool {
        let Ranges { v4, v6 } = &self.allow;
        v4[..] == [(0, u32::MAX)] || v6[..] == [(0, u128::MAX)]
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

/// How many clients' worth a forwarder gets: an office or a school of some hundred machines, few of which are busy at
/// once, and still no more than a network of IPv6 neighbours.
pub const FORWARDER_SHARE: usize = 32;

/// Addresses that many clients share: a Pi-hole, the NAT of an office. They get more than one client does. Cheap to
/// clone.
#[derive(Debug, Clone, Default)]
pub struct Forwarders(Arc<Ranges>);

impl Forwarders {
    /// Nobody when `ranges` is empty.
    pub fn new(ranges: Vec<IpNet>) -> Self {
        Self(Arc::new(Ranges::new(ranges)))
    }

    /// Whether this is one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        !self.0.is_empty() && self.0.contains(address.to_canonical())
    }
}

/// Disjoint ranges in ascending order, first and last address of each as numbers: this is asked with each query.
#[derive(Debug, Clone, Default)]
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

    fn is_empty(&self) -> bool {
        self.v4.is_empty() && self.v6.is_empty()
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

/// Whether an address means nothing on the public Internet, by IANA's registries of special-purpose addresses: of this
/// host, of a private network, or of none. Those of documentation (192.0.2.0/24, 2001:db8::/32 and their like) count as
/// the public ones that they stand for: no network has them, so that nobody is reached there.
pub fn is_private(address: IpAddr) -> bool {
    match address {
        IpAddr::V4(v4) => {
            let [a, b, c, _] = v4.octets();
            v4.is_private()
                || v4.is_loopback()
                || v4.is_link_local()
                || v4.is_multicast()
                || a == 0
                || a >= 240
                || (a == 100 && (64..128).contains(&b))
                || (a == 192 && b == 0 && c == 0)
                // The nearest 6to4 relay, if anybody has one (RFC 7526).
                || (a == 192 && b == 88 && c == 99)
                || (a == 198 && (18..20).contains(&b))
        }
        IpAddr::V6(v6) => {
            let [a, b, c, _, _, _, high, low] = v6.segments();
            let embedded = |high: u16, low: u16| {
                let ([a, b], [c, d]) = (high.to_be_bytes(), low.to_be_bytes());
                is_private(IpAddr::from([a, b, c, d]))
            };
            match v6.to_ipv4_mapped() {
                Some(v4) => is_private(IpAddr::V4(v4)),
                // NAT64 (RFC 6052) and 6to4 (RFC 3056) carry an IPv4 address.
                None if v6.segments()[..6] == [0x64, 0xff9b, 0, 0, 0, 0] => embedded(high, low),
                None if a == 0x2002 => embedded(b, c),
                // Global unicast addresses are given out of 2000::/3 alone. What is outside are those of hosts, links
                // and sites, groups, IPv4 in forms that were given up (::a.b.c.d, ::ffff:0:a.b.c.d), and no network's.
                None => a & 0xe000 != 0x2000 || is_of_a_protocol(a, b, c),
            }
        }
    }
}

/// Within 2001::/23, which is of protocols (RFC 2928): Teredo, which carries addresses behind a NAT, anycast to
/// whatever is near, benchmarks, and names that look like addresses. The registry has those that are reached from
/// everywhere: AMT, AS112, ORCHIDv2 and DRIP.
fn is_of_a_protocol(a: u16, b: u16, c: u16) -> bool {
    let is_reached = b == 3 || (b, c) == (4, 0x112) || (0x20..0x40).contains(&b);
    a == 0x2001 && b < 0x200 && !is_reached
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
    fn a_list_is_public_that_leaves_nobody_out_by_what_it_allows() {
        for allow in [&["0.0.0.0/0", "::/0"][..], &["0.0.0.0/0"], &["::/0"], &["0.0.0.0/1", "128.0.0.0/1"]] {
            assert!(list(allow, &["192.0.2.0/24"]).is_public(), "{allow:?}");
        }
        for allow in [&["0.0.0.0/1"][..], &["10.0.0.0/8", "2000::/3"], &[]] {
            assert!(!list(allow, &[]).is_public(), "{allow:?}");
        }
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

    #[test]
    fn addresses_of_inner_networks_are_private_in_every_disguise() {
        for private in [
            "127.0.0.1",
            "10.1.2.3",
            "172.31.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.0",
            "224.0.0.1",
            "255.255.255.255",
            "198.19.0.1",
            "::",
            "::1",
            "fd00::1",
            "fe80::1",
            "ff02::1",
            "::ffff:10.0.0.1",
            "64:ff9b::a00:1",
            "64:ff9b:1::1",
            "2002:a00:1::1",
        ] {
            assert!(is_private(private.parse().unwrap()), "{private}");
        }
        for public in
            ["8.8.8.8", "172.32.0.1", "100.128.0.1", "2001:4860::1", "2002:808:808::1", "64:ff9b::808:808"]
        {
            assert!(!is_private(public.parse().unwrap()), "{public}");
        }
    }

    #[test]
    fn what_iana_calls_not_globally_reachable_is_private() {
        for private in [
            "0.1.2.3",
            "192.0.0.9",
            "192.88.99.1",
            "240.0.0.1",
            "fec0::1",
            "::10.0.0.1",
            "::8.8.8.8",
            "::ffff:0:10.0.0.1",
            "100::1",
            "100:0:0:1::1",
            "5f00::1",
            "2001::1",
            "2001:1::1",
            "2001:2::1",
            "2001:10::1",
            "2001:1ff::1",
        ] {
            assert!(is_private(private.parse().unwrap()), "{private}");
        }
        for public in [
            "192.0.1.1",
            "192.88.98.1",
            "192.31.196.1",
            "192.52.193.1",
            "192.175.48.1",
            "2001:3::1",
            "2001:4:112::1",
            "2001:20::1",
            "2001:3f::1",
            "2001:200::1",
            "2606:4700::1",
            "2a00::1",
            // They stand for public ones in every example.
            "192.0.2.1",
            "198.51.100.1",
            "203.0.113.1",
            "2001:db8::1",
            "3fff::1",
        ] {
            assert!(!is_private(public.parse().unwrap()), "{public}");
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
