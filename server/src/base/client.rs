//! Whom quotas, caps and queues count as one client.

use std::{
    net::{IpAddr, Ipv6Addr},
    sync::{LazyLock, PoisonError, RwLock},
};

use ahash::RandomState;

/// How many clients' worth a whole public IPv6 /48 may have: whoever is given one owns 65,536 networks.
pub const SUBSCRIBER_SHARE: usize = 8;

/// How many clients' worth a prefix may have whose addresses count one by one: a host can take any number of them.
pub const NEIGHBOURS_SHARE: usize = 32;

/// One client: an IPv4 address; an IPv6 address of a network that we are part of; elsewhere an IPv6 /64, which is the
/// least that one subscriber has.
///
/// All hosts of a LAN share one /64, and all that ask from link-local addresses share another: there, each is a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClientKey {
    /// An IPv4 address.
    V4(u32),
    /// The upper half of an IPv6 address.
    Subscriber(u64),
    /// An IPv6 address next to us.
    Neighbour(u128),
}

/// The wider network of an IPv6 client, which has a share of its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ClientNetwork {
    /// A public /48, by its upper bits.
    Subscriber(u64),
    /// A /64 whose addresses count one by one, by its upper bits.
    Neighbours(u64),
}

/// Whose line a client waits in. Anybody can write any address on a datagram: what only bears the address of a client waits
/// apart from what that client has shown to be its own.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Line {
    client: ClientKey,
    is_proven: bool,
}

impl Line {
    /// `is_proven` says whether the client has shown that it is at this address.
    pub fn of(address: IpAddr, is_proven: bool) -> Self {
        Self { client: ClientKey::from(address).line(), is_proven }
    }
}

/// The line of a client that came over a connection.
impl From<IpAddr> for Line {
    fn from(address: IpAddr) -> Self {
        Self::of(address, true)
    }
}

impl From<IpAddr> for ClientKey {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::V4(address.to_bits()),
            IpAddr::V6(address) if is_neighbour(address) => Self::Neighbour(address.to_bits()),
            IpAddr::V6(address) => Self::Subscriber(upper_half(address)),
        }
    }
}

impl ClientKey {
    /// `None` for an IPv4 address, which is not to be had in thousands.
    pub fn network(self) -> Option<ClientNetwork> {
        match self {
            Self::V4(_) => None,
            Self::Subscriber(network) => Some(ClientNetwork::Subscriber(network >> 16)),
            Self::Neighbour(address) => Some(ClientNetwork::Neighbours((address >> 64) as u64)),
        }
    }

    /// Whose line this client waits in: its own, or one of the few that its network has.
    fn line(self) -> Self {
        static SECRET: LazyLock<RandomState> = LazyLock::new(RandomState::new);
        let Some(network) = self.network() else { return self };
        let line = SECRET.hash_one(self) as usize % network.share();
        match network {
            ClientNetwork::Subscriber(upper) => Self::Subscriber(upper << 16 | line as u64),
            ClientNetwork::Neighbours(upper) => Self::Neighbour(u128::from(upper) << 64 | line as u128),
        }
    }
}

impl ClientNetwork {
    /// How many clients' worth it may have.
    pub fn share(self) -> usize {
        match self {
            Self::Subscriber(_) => SUBSCRIBER_SHARE,
            Self::Neighbours(_) => NEIGHBOURS_SHARE,
        }
    }
}

/// Networks that this machine's own interfaces are part of: first bits, and which of them count. A fact about the
/// machine, and so one for the whole process.
static OWN_NETWORKS: RwLock<Vec<(u64, u64)>> = RwLock::new(Vec::new());

/// Takes the addresses of this machine's interfaces and the lengths of their prefixes, in place of those before. A
/// prefix that is longer than a /64 counts as that /64.
pub fn set_own_networks(networks: impl IntoIterator<Item = (Ipv6Addr, u8)>) {
    let own = networks.into_iter().filter(|(_, length)| *length > 0).map(|(address, length)| {
        let mask = u64::MAX << (64 - u32::from(length.min(64)));
        (upper_half(address) & mask, mask)
    });
    let own = own.collect();
    *OWN_NETWORKS.write().unwrap_or_else(PoisonError::into_inner) = own;
}

/// Link-local (RFC 4291), unique local (RFC 4193) and loopback addresses, and those of our own networks.
fn is_neighbour(address: Ipv6Addr) -> bool {
    let upper = upper_half(address);
    address.is_loopback()
        || address.is_unicast_link_local()
        || address.is_unique_local()
        || OWN_NETWORKS
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .iter()
            .any(|(network, mask)| upper & mask == *network)
}

fn upper_half(address: Ipv6Addr) -> u64 {
    (address.to_bits() >> 64) as u64
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    fn key(address: &str) -> ClientKey {
        address.parse::<IpAddr>().expect("an address").into()
    }

    #[test]
    fn a_public_ipv6_client_is_its_64_and_has_a_48() {
        assert_eq!(key("2001:db8:1:2::1"), key("2001:db8:1:2:ffff::9"));
        assert_ne!(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
        assert_eq!(key("2001:db8:1:2::1").network(), key("2001:db8:1:ffff::1").network());
        assert_ne!(key("2001:db8:1:2::1").network(), key("2001:db8:2:2::1").network());
    }

    #[test]
    fn hosts_of_a_lan_are_clients_of_their_own() {
        for (one, other) in [("fe80::1", "fe80::2"), ("fd00:1::1", "fd00:1::2")] {
            assert_ne!(key(one), key(other));
            assert_eq!(key(one).network(), key(other).network());
            assert_eq!(key(one).network().map(ClientNetwork::share), Some(NEIGHBOURS_SHARE));
        }
    }

    #[test]
    fn hosts_of_our_own_public_network_are_clients_of_their_own() {
        // Nothing else in these tests uses these networks.
        let before = key("2001:db8:f00d:1::1");
        assert_eq!(before, key("2001:db8:f00d:1::2"));
        let own = |address: &str, length| (address.parse().expect("an address"), length);
        set_own_networks([
            own("2001:db8:f00d:1::99", 64),
            own("2001:db8:f00d:3::1", 128),
            own("2001:db8:beef::1", 48),
            own("::", 0),
        ]);
        for (one, other) in [
            ("2001:db8:f00d:1::1", "2001:db8:f00d:1::2"),
            ("2001:db8:f00d:3::1", "2001:db8:f00d:3::2"),
            ("2001:db8:beef:7::1", "2001:db8:beef:7::2"),
        ] {
            assert_ne!(key(one), key(other));
        }
        assert_eq!(key("2001:db8:f00d:2::1"), key("2001:db8:f00d:2::2"));
        set_own_networks([]);
        assert_eq!(key("2001:db8:f00d:1::1"), before);
    }

    #[test]
    fn a_network_has_few_lines_however_many_addresses_it_has() {
        let lines = |text: fn(u16) -> String| (0..5000).map(|n| key(&text(n)).line()).collect::<HashSet<_>>();
        assert_eq!(lines(|n| format!("2001:db8:1:{n:x}::1")).len(), SUBSCRIBER_SHARE);
        assert_eq!(lines(|n| format!("fe80::{n:x}")).len(), NEIGHBOURS_SHARE);
        assert_eq!(key("192.0.2.1").line(), key("::ffff:192.0.2.1"));
    }

    #[test]
    fn what_anybody_can_forge_waits_in_a_line_of_its_own() {
        let line = |address: &str, is_proven| Line::of(address.parse().expect("an address"), is_proven);
        assert_ne!(line("192.0.2.1", false), line("192.0.2.1", true));
        assert_eq!(line("192.0.2.1", true), line("::ffff:192.0.2.1", true));
    }
}
