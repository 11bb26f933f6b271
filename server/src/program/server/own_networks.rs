//! Which networks this machine is part of: whoever is there is served by default, and each IPv6 address there is a client,
//! and not the /64.

use std::{
    net::{IpAddr, Ipv6Addr},
    time::Duration,
};

use ipnet::IpNet;
use nix::{
    ifaddrs::{InterfaceAddress, getifaddrs},
    sys::socket::SockaddrStorage,
};
use tokio::time::sleep;

use super::container;
use crate::base::{
    access::{set_connected_networks, set_neighbours},
    client::set_own_networks,
};

/// Addresses come and go with the network.
const LOOK_EVERY: Duration = Duration::from_secs(60);

/// A shorter prefix is no network of neighbours: that of 6to4 is a /16 and holds half the Internet.
const SHORTEST_PREFIX: u32 = 48;
const SHORTEST_IPV4_PREFIX: u8 = 16;

/// How the names of interfaces begin that lead to containers and virtual machines. What comes from there may come from
/// anywhere: a proxy that publishes a port of a container has an address of its own there.
const OF_CONTAINERS: [&str; 9] =
    ["docker", "veth", "virbr", "podman", "cni", "lxc", "lxdbr", "flannel", "cali"];

/// Looks at the interfaces again and again. The first look is that of the start, before anybody is answered.
pub(super) async fn watch() {
    loop {
        sleep(LOOK_EVERY).await;
        look();
    }
}

/// Looks at the interfaces. What is known stays when the system does not say.
pub(super) fn look() {
    let Ok(interfaces) = getifaddrs() else { return };
    let interfaces: Vec<InterfaceAddress> = interfaces.collect();
    set_own_networks(interfaces.iter().filter_map(network));
    set_neighbours(interfaces.iter().filter_map(subnet).filter(has_neighbours).collect());
    // In a container, its own network is that of a proxy as well.
    set_connected_networks(interfaces.iter().filter_map(connected).collect(), container::gateway());
}

/// The network of an interface, if whoever is there is a neighbour.
fn connected(interface: &InterfaceAddress) -> Option<IpNet> {
    if is_of_containers(&interface.interface_name) { None } else { subnet(interface) }
}

/// The network of an interface, of containers as well.
fn subnet(interface: &InterfaceAddress) -> Option<IpNet> {
    if let Some((address, length)) = network(interface) {
        return IpNet::new(address.into(), length).ok();
    }
    let ip = |address: &SockaddrStorage| address.as_sockaddr_in().map(|address| address.ip());
    let (address, mask) = (ip(interface.address.as_ref()?)?, ip(interface.netmask.as_ref()?)?);
    let network = IpNet::with_netmask(address.into(), IpAddr::V4(mask)).ok()?;
    (network.prefix_len() >= SHORTEST_IPV4_PREFIX).then_some(network)
}

/// Whether there are others in a network. One of a single address is the machine itself.
fn has_neighbours(network: &IpNet) -> bool {
    network.prefix_len() < network.max_prefix_len()
}

pub(super) fn is_of_containers(name: &str) -> bool {
    // A network of Docker's own has a bridge with twelve digits of its id, while `br-lan` is the LAN of a router.
    let id = name.strip_prefix("br-").filter(|id| id.len() == 12);
    let is_docker_bridge = id.is_some_and(|id| id.bytes().all(|byte| byte.is_ascii_hexdigit()));
    is_docker_bridge || OF_CONTAINERS.iter().any(|start| name.starts_with(start))
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
        let connected: Vec<_> = getifaddrs().unwrap().filter_map(|interface| connected(&interface)).collect();
        assert!(connected.contains(&"::1/128".parse().unwrap()), "{connected:?}");
    }

    #[test]
    fn an_address_without_a_network_has_no_neighbours() {
        for (network, expected) in [
            ("203.0.113.1/32", false),
            ("203.0.113.1/24", true),
            ("2001:db8::1/128", false),
            ("2001:db8::1/64", true),
        ] {
            assert_eq!(has_neighbours(&network.parse().unwrap()), expected, "{network}");
        }
    }

    #[test]
    fn networks_of_containers_are_not_those_of_neighbours() {
        for name in ["docker0", "br-1234567890ab", "veth12ab", "virbr0", "podman1", "cni0"] {
            assert!(is_of_containers(name), "{name}");
        }
        for name in ["eth0", "enp3s0", "wlan0", "br0", "br-lan", "vmbr0", "bond0", "lo"] {
            assert!(!is_of_containers(name), "{name}");
        }
    }
}
