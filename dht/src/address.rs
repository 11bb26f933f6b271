//! Addresses that mean nothing on the public Internet. Pure.

use std::net::IpAddr;

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
}
