//! To which addresses we send because others have named them. Pure.

use std::net::{IpAddr, SocketAddr};

use super::{BOOTSTRAP, address::is_private};

/// Below are the ports of services such as DNS and SNMP, which have no use for what we would send them.
const LOWEST_PORT: u16 = 1024;

/// Whether a node at `from` is to be believed that there is one at `named`. One out in the world must not make us send
/// anything into our own network, nor anyone to where no node can be.
pub(super) fn may_name(from: SocketAddr, named: SocketAddr) -> bool {
    let are_inner = is_private(from.ip()) && is_private(named.ip());
    from.is_ipv4() == named.is_ipv4() && (is_public(named) || (are_inner && is_of_a_host(named)))
}

/// Whether there may be a node of the network that is joined through `bootstrap` where a file or the DNS says so.
/// Inner networks, and any port, are for operators to name; nobody but them decides about those names.
pub(super) fn may_be_joined_through(bootstrap: &[String], node: SocketAddr) -> bool {
    let public = BOOTSTRAP;
    let is_of_operator = bootstrap.iter().any(|written| !public.contains(&written.as_str()));
    is_public(node) || (is_of_operator && is_of_a_host(node))
}

/// Whether a node of the public DHT can be there.
fn is_public(address: SocketAddr) -> bool {
    !is_private(address.ip()) && address.port() >= LOWEST_PORT
}

/// Whether it is one host's at all.
fn is_of_a_host(address: SocketAddr) -> bool {
    let ip = address.ip().to_canonical();
    let is_broadcast = matches!(ip, IpAddr::V4(ip) if ip.is_broadcast());
    !(ip.is_unspecified() || ip.is_multicast() || is_broadcast)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    #[test]
    fn a_node_out_in_the_world_names_no_addresses_of_our_own_network() {
        for (from, named, may) in [
            ("8.8.8.8:6881", "9.9.9.9:6881", true),
            ("8.8.8.8:6881", "192.168.1.1:6881", false),
            ("8.8.8.8:6881", "127.0.0.1:6881", false),
            ("8.8.8.8:6881", "0.0.0.0:6881", false),
            ("8.8.8.8:6881", "0.1.2.3:6881", false),
            ("8.8.8.8:6881", "100.64.0.1:6881", false),
            ("8.8.8.8:6881", "198.18.0.1:6881", false),
            ("8.8.8.8:6881", "224.0.0.1:6881", false),
            ("8.8.8.8:6881", "240.0.0.1:6881", false),
            ("127.0.0.1:1", "255.255.255.255:1", false),
            ("127.0.0.1:1", "127.0.0.2:1", true),
            ("127.0.0.1:1", "8.8.8.8:6881", true),
            ("192.168.1.1:1", "192.168.1.2:1", true),
            ("100.64.0.1:6881", "100.64.0.2:6881", true),
            ("[2001:4860::1]:6881", "[2001:4860::2]:6881", true),
            ("[2001:4860::1]:6881", "[::1]:6881", false),
            ("[2001:4860::1]:6881", "[fec0::1]:6881", false),
            ("[2001:4860::1]:6881", "[::10.0.0.1]:6881", false),
            ("[2001:4860::1]:6881", "[64:ff9b::10.0.0.1]:6881", false),
            ("[2001:4860::1]:6881", "[64:ff9b::8.8.8.8]:6881", true),
            ("[2001:4860::1]:6881", "[2002:a00:1::1]:6881", false),
            ("[2001:4860::1]:6881", "8.8.8.8:6881", false),
            ("[::1]:1", "[ff02::1]:1", false),
            ("[::1]:1", "[::2]:1", true),
        ] {
            assert_eq!(may_name(address(from), address(named)), may, "{from} names {named}");
        }
    }

    #[test]
    fn a_public_node_is_never_sought_at_a_port_of_services() {
        for from in ["8.8.8.8:6881", "127.0.0.1:6881"] {
            for (port, may) in [(53, false), (161, false), (1023, false), (1024, true), (1900, true)] {
                let named = SocketAddr::from(([9, 9, 9, 9], port));
                assert_eq!(may_name(address(from), named), may, "{from} names {named}");
            }
        }
    }

    #[test]
    fn inner_nodes_are_those_of_operators_who_have_named_whom_to_join_through() {
        let public = BOOTSTRAP.map(String::from);
        let own = [&public[..], &["testnet.lan:6881".to_string()]].concat();
        for (node, in_public, in_own) in [
            ("8.8.8.8:6881", true, true),
            ("8.8.8.8:53", false, true),
            ("127.0.0.1:6881", false, true),
            ("100.64.0.1:6881", false, true),
            ("[fd00::1]:1", false, true),
            ("224.0.0.1:6881", false, false),
        ] {
            assert_eq!(may_be_joined_through(&public, address(node)), in_public, "{node}");
            assert_eq!(may_be_joined_through(&own, address(node)), in_own, "{node}");
        }
    }
}
