//! The addresses of this machine's own interfaces.

use std::{
    fs,
    net::{IpAddr, Ipv6Addr},
};

use nix::ifaddrs::getifaddrs;
use pkdns::base::access::is_private;

/// Linux's list of IPv6 addresses.
const LIST: &str = "/proc/net/if_inet6";

/// Flags of an address (linux/if_addr.h).
const TEMPORARY: u32 = 0x01;
const DEPRECATED: u32 = 0x20;
const TENTATIVE: u32 = 0x40;

/// The global scope (RFC 4291 section 2.7), as that list writes it.
const GLOBAL: &str = "00";

/// An address that others can reach and that stays: not one of those that are made up anew each day (RFC 8981).
pub(super) fn ipv6(allow_private: bool) -> Result<Ipv6Addr, String> {
    let list = fs::read_to_string(LIST).map_err(|error| format!("{LIST}: {error}"))?;
    choose(&list, allow_private)
        .ok_or_else(|| "no interface has one that others can reach and that stays".to_string())
}

/// All addresses of all interfaces, in order: another list means that something has changed.
pub(crate) fn addresses() -> Vec<IpAddr> {
    let interfaces = getifaddrs().into_iter().flatten().filter_map(|interface| interface.address);
    let addresses = interfaces.filter_map(|address| {
        let v4 = address.as_sockaddr_in().map(|address| address.ip().into());
        v4.or_else(|| address.as_sockaddr_in6().map(|address| address.ip().into()))
    });
    let mut addresses: Vec<_> = addresses.collect();
    addresses.sort_unstable();
    addresses
}

/// The first of several, in the order of the list.
fn choose(list: &str, allow_private: bool) -> Option<Ipv6Addr> {
    list.lines().find_map(|line| {
        let mut fields = line.split_whitespace();
        let bits = fields.next().and_then(|field| u128::from_str_radix(field, 16).ok())?;
        let (_index, _prefix, scope) = (fields.next()?, fields.next()?, fields.next()?);
        let flags = u32::from_str_radix(fields.next()?, 16).ok()?;
        let address = Ipv6Addr::from_bits(bits);
        let stays = flags & (TEMPORARY | DEPRECATED | TENTATIVE) == 0;
        let is_reachable = scope == GLOBAL && (allow_private || !is_private(address.into()));
        (stays && is_reachable).then_some(address)
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LINES: &str = "\
00000000000000000000000000000001 01 80 10 80       lo
fe800000000000000000000000000001 02 40 20 80     eth0
fd000000000000000000000000000005 02 40 00 80     eth0
20010db8000100000000000000000001 02 40 00 01     eth0
20010db8000100000000000000000002 02 40 00 20     eth0
20010db8000100000000000000000003 02 40 00 40     eth0
20010db8000100000000000000000004 02 40 00 00     eth0
";

    #[test]
    fn an_address_is_chosen_that_others_reach_and_that_stays() {
        assert_eq!(choose(LINES, false), Some("2001:db8:1::4".parse().unwrap()));
        assert_eq!(choose(LINES, true), Some("fd00::5".parse().unwrap()));
        assert_eq!(choose("", true), None);
    }

    proptest! {
        #[test]
        fn any_list_is_read(list in "[0-9a-f \\n]{0,200}") {
            choose(&list, true);
        }
    }
}
