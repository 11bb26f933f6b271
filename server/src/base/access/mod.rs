//! Who is served.

use std::{
    fmt::{self, Display},
    net::IpAddr,
    str::FromStr,
    sync::{Arc, LazyLock, PoisonError, RwLock},
};

use arc_swap::ArcSwap;
use http::HeaderName;
use ipnet::{AddrParseError, IpNet, Ipv4Net, Ipv6Net};
pub use pkdns_dht::internal::is_private;
use serde::{Serialize, Serializer};

/// Address ranges that are served, less those that are denied. An IPv4-mapped IPv6 address counts as IPv4, and so
/// does a range of such addresses.
#[derive(Debug, Clone)]
pub struct AccessList {
    allow: Ranges,
    /// Whether the networks of this machine's interfaces are served as well.
    allows_connected: bool,
    deny: Ranges,
}

/// Who may be served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Allowed {
    /// All addresses of a range.
    Range(IpNet),
    /// Whoever is in a network of one of this machine's interfaces, as they are at the time.
    Connected,
}

/// How [`Allowed::Connected`] is written.
const CONNECTED: &str = "connected";

impl From<IpNet> for Allowed {
    fn from(range: IpNet) -> Self {
        Self::Range(range)
    }
}

impl From<IpAddr> for Allowed {
    fn from(address: IpAddr) -> Self {
        Self::Range(address.into())
    }
}

impl FromStr for Allowed {
    type Err = AddrParseError;

    /// A range, an address or `connected`.
    fn from_str(text: &str) -> Result<Self, AddrParseError> {
        if text == CONNECTED {
            return Ok(Self::Connected);
        }
        text.parse()
            .or_else(|error| text.parse::<IpAddr>().map(IpNet::from).map_err(|_| error))
            .map(Self::Range)
    }
}

impl Display for Allowed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Range(range) => range.fmt(f),
            Self::Connected => CONNECTED.fmt(f),
        }
    }
}

impl Serialize for Allowed {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Networks that this machine's interfaces are part of. A fact about the machine, and so one for the whole process.
static CONNECTED_NETWORKS: LazyLock<RwLock<ConnectedNetworks>> = LazyLock::new(RwLock::default);

#[derive(Debug, Default)]
struct ConnectedNetworks {
    ranges: Ranges,
    /// An address in them that is no neighbour's.
    except: Option<IpAddr>,
}

/// Takes the networks of this machine's interfaces, in place of those before, without the address of a proxy there that
/// speaks for strangers.
pub fn set_connected_networks(networks: Vec<IpNet>, except: Option<IpAddr>) {
    let connected = ConnectedNetworks { ranges: Ranges::new(networks), except };
    *CONNECTED_NETWORKS.write().unwrap_or_else(PoisonError::into_inner) = connected;
}

fn is_connected(address: IpAddr) -> bool {
    let connected = CONNECTED_NETWORKS.read().unwrap_or_else(PoisonError::into_inner);
    connected.ranges.contains(address) && connected.except != Some(address)
}

/// Networks that this machine shares with others by its interfaces, of containers as well.
static NEIGHBOURS: LazyLock<RwLock<Ranges>> = LazyLock::new(RwLock::default);

/// Takes the networks that this machine shares with others, in place of those before.
pub fn set_neighbours(networks: Vec<IpNet>) {
    *NEIGHBOURS.write().unwrap_or_else(PoisonError::into_inner) = Ranges::new(networks);
}

/// Whether an address is in a network that this machine is part of, where it may reach what others cannot: whatever the address
/// is, and that of this machine there as well.
pub fn is_neighbour(address: IpAddr) -> bool {
    NEIGHBOURS.read().unwrap_or_else(PoisonError::into_inner).contains(address.to_canonical())
}

impl AccessList {
    /// `deny` wins. Nobody is served when `allow` is empty.
    pub fn new(allow: Vec<Allowed>, deny: Vec<IpNet>) -> Self {
        let mut ranges = Vec::new();
        let mut allows_connected = false;
        for allowed in allow {
            match allowed {
                Allowed::Range(range) => ranges.push(range),
                Allowed::Connected => allows_connected = true,
            }
        }
        Self { allow: Ranges::new(ranges), allows_connected, deny: Ranges::new(deny) }
    }

    /// Whether everybody is served who is not denied, over IPv4 or IPv6.
    pub fn is_public(&self) -> bool {
        let Ranges { v4, v6 } = &self.allow;
        v4[..] == [(0, u32::MAX)] || v6[..] == [(0, u128::MAX)]
    }

    /// Whether this client is refused by name, and not only left out.
    pub fn denies(&self, address: IpAddr) -> bool {
        self.deny.contains(address.to_canonical())
    }

    /// Whether this client is served. The cost grows with the logarithm of the list.
    pub fn allows(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        let is_allowed = self.allow.contains(address) || self.allows_connected && is_connected(address);
        is_allowed && !self.deny.contains(address)
    }
}

/// Whose word about the client of a connection or request is taken, and where they write it.
#[derive(Debug, Clone)]
pub struct TrustedProxies {
    ranges: Ranges,
    /// A header that holds the client's address alone. Without one, `X-Forwarded-For` and `Forwarded` are read.
    header: Option<HeaderName>,
    proxy_header: ProxyHeader,
}

/// Whether connections of trusted proxies begin with the header of the PROXY protocol.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum ProxyHeader {
    /// Taken off where it is there. Nothing says so then where it is missing, and a client behind a proxy that does not
    /// write it could write its own: the protocol forbids this, and it is kept for those who have it configured so.
    #[default]
    Detected,
    /// A connection without one is closed.
    Required,
    /// What looks like one is what the client says.
    Absent,
}

impl TrustedProxies {
    /// Nobody when `ranges` is empty.
    pub fn new(ranges: Vec<IpNet>) -> Self {
        Self { ranges: Ranges::new(ranges), header: None, proxy_header: ProxyHeader::default() }
    }

    /// Reads the client's address from this header alone.
    #[must_use]
    pub fn with_header(self, header: Option<HeaderName>) -> Self {
        Self { header, ..self }
    }

    /// `is_expected`: whether connections begin with the header of the PROXY protocol. `None`: it is looked for.
    #[must_use]
    pub fn with_proxy_protocol(self, is_expected: Option<bool>) -> Self {
        let proxy_header = match is_expected {
            None => ProxyHeader::Detected,
            Some(true) => ProxyHeader::Required,
            Some(false) => ProxyHeader::Absent,
        };
        Self { proxy_header, ..self }
    }

    /// Whether this is one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        self.ranges.contains(address.to_canonical())
    }

    /// The one header that is read, if that is set.
    pub fn header(&self) -> Option<&HeaderName> {
        self.header.as_ref()
    }

    /// Whether their connections begin with the header of the PROXY protocol.
    pub fn proxy_header(&self) -> ProxyHeader {
        self.proxy_header
    }
}

/// How many clients' worth a forwarder gets: an office or a school of some hundred machines, few of which are busy at
/// once, and still no more than a network of IPv6 neighbours.
pub const FORWARDER_SHARE: usize = 32;

/// Addresses that many clients share: a Pi-hole, the NAT of an office. They get more than one client does. Cheap to
/// clone; clones change together.
#[derive(Debug, Clone, Default)]
pub struct Forwarders(Arc<ArcSwap<Ranges>>);

impl Forwarders {
    /// Nobody when `ranges` is empty.
    pub fn new(ranges: Vec<IpNet>) -> Self {
        Self(Arc::new(ArcSwap::from_pointee(Ranges::new(ranges))))
    }

    /// Takes others in place of these, for all clones.
    pub fn replace(&self, ranges: Vec<IpNet>) {
        self.0.store(Arc::new(Ranges::new(ranges)));
    }

    /// Whether this is one of them.
    pub fn contains(&self, address: IpAddr) -> bool {
        let ranges = self.0.load();
        !ranges.is_empty() && ranges.contains(address.to_canonical())
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

#[cfg(test)]
mod tests;
