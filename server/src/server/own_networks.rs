//! Which networks this machine is part of: there each IPv6 address is a client, and not the /64.

use std::{net::Ipv6Addr, time::Duration};

use nix::{
    ifaddrs::{InterfaceAddress, getifaddrs},
    sys::socket::SockaddrStorage,
};
use tokio::time::sleep;

use crate::client::set_own_networks;

/// Addresses come and go with the network.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// A shorter prefix is no network of neighbours: that of 6to4 is a /16 and holds half the Internet.
const SHORTEST_PREFIX: u32 = 48;

/// Looks at the interfaces again and again.
pub(super) async fn watch() {
    loop {
        // What is known stays when the system does not say.
        if let Ok(interfaces) = getifaddrs() {
            set_own_networks(interfaces.filter_map(|interface| network(&interface)));
        }
        sleep(LOOK_EVERY).await;
    }
}

/// The address of an interface and the length of its prefix, if it is IPv6. Bridges of containers count as well: what
/// runs in them are hosts like others.
fn network(interface: &InterfaceAddress) -> Option<(Ipv6Addr, u8)> {
    let ip = |address: &SockaddrStorage| address.as_sockaddr_in6().map(|address| address.ip());
    let (address, mask) = (ip(interface.address.as_ref()?)?, ip(interface.netmask.as_ref()?)?);
    prefix(mask).map(|length| (address, length))
}

/// The length of a prefix by its mask, if neighbours share it.
fn prefix(mask: Ipv6Addr) -> Option<u8> {
    let length = mask.to_bits().leading_ones();
    (length >= SHORTEST_PREFIX).then(|| u8::try_from(length).ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn prefixes_of_neighbours_are_taken_and_those_of_half_the_internet_are_not() {
        for (mask, length) in [
            ("ffff:ffff:ffff:ffff::", Some(64)),
            ("ffff:ffff:ffff:ff00::", Some(56)),
            ("ffff:ffff:ffff::", Some(48)),
            ("ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", Some(128)),
            ("ffff:ffff::", None),
            ("ffff::", None),
            ("::", None),
        ] {
            assert_eq!(prefix(mask.parse().unwrap()), length, "{mask}");
        }
    }

    #[test]
    fn loopback_is_found_among_the_interfaces_where_there_is_ipv6() {
        if std::net::UdpSocket::bind("[::1]:0").is_err() {
            return;
        }
        let found: Vec<_> = getifaddrs().unwrap().filter_map(|interface| network(&interface)).collect();
        assert!(found.contains(&(Ipv6Addr::LOCALHOST, 128)), "{found:?}");
    }
}
