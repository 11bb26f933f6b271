//! Every address that is listened on.

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsFd, OwnedFd},
    thread::available_parallelism,
};

use tokio::net::TcpListener;
use tracing::{info, warn};

use super::web::SharedPort;
use crate::{
    base::config::Config,
    edge::transport::{self, BindError, Ending, Heirloom, Inherited, Purpose, UdpSockets},
};

/// An address as the configuration has it, or whoever has bound it for us, and what is spoken there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) purpose: Purpose,
    pub(super) address: SocketAddr,
    /// Whether a service manager says so, in place of the configuration.
    pub(super) is_assigned: bool,
}

/// An address that is bound.
pub(super) struct Listener {
    pub(super) wanted: Wanted,
    /// The address in fact, with the real port.
    pub(super) address: SocketAddr,
    pub(super) sockets: Sockets,
}

pub(super) enum Sockets {
    Dns(UdpSockets, TcpListener),
    Stream(TcpListener),
}

/// An address that is served.
#[derive(Debug, Clone)]
pub(super) struct Open {
    pub(super) wanted: Wanted,
    pub(super) address: SocketAddr,
    /// Of what is served there.
    pub(super) ending: Ending,
    /// Where it is a listener of HTTPS: whether the bridge is there as well.
    pub(super) shared: Option<SharedPort>,
}

/// Every address that a configuration asks for. What `assigned` has for a purpose takes the place of what is configured.
pub(super) fn wanted(config: &Config, assigned: impl Fn(Purpose) -> Vec<SocketAddr>) -> Vec<Wanted> {
    let (doh, dot) = (&config.doh, &config.dot);
    let plain_bridge = plain_bridge_addresses(config);
    let enabled = [
        (Purpose::Dns, true, &config.listen),
        (Purpose::Tls, dot.enabled, &dot.listen),
        (Purpose::Https, doh.enabled, &doh.listen),
        (Purpose::Http, true, &doh.plain_listen),
        (Purpose::Metrics, true, &config.metrics.listen),
        (Purpose::Bridge, config.bridge.is_enabled(), &config.bridge.listen),
        (Purpose::BridgePlain, config.bridge.is_enabled(), &plain_bridge),
    ];
    let mut all = Vec::new();
    for (purpose, _, configured) in enabled.into_iter().filter(|(_, enabled, _)| *enabled) {
        let assigned = assigned(purpose);
        let is_assigned = !assigned.is_empty();
        let addresses = if is_assigned { assigned } else { configured.clone() };
        all.extend(addresses.into_iter().map(|address| Wanted { purpose, address, is_assigned }));
    }
    let https: Vec<_> = all.iter().copied().filter(|wanted| wanted.purpose == Purpose::Https).collect();
    let has_port_of_its_own =
        |bridge: &Wanted| https.iter().all(|https| !covers(https.address, bridge.address));
    all.retain(|wanted| {
        wanted.purpose != Purpose::Bridge || wanted.is_assigned || has_port_of_its_own(wanted)
    });
    all
}

/// Whether the bridge is on, and shares this address of HTTPS.
pub(super) fn is_shared(config: &Config, wanted: &Wanted) -> bool {
    let mut bridges = config.bridge.listen.iter();
    wanted.purpose == Purpose::Https && bridges.any(|bridge| covers(wanted.address, *bridge))
}

/// The bridge is on ports of HTTPS from now on as `config` says, or is no more.
pub(super) fn share_ports(config: &Config, open: &[Open]) {
    let bridge = Purpose::Bridge.name();
    for Open { wanted, address, shared, .. } in open {
        let Some(shared) = shared else { continue };
        let is_on = is_shared(config, wanted);
        match (shared.switch(is_on), is_on) {
            (false, true) => info!("listening {bridge} {address}"),
            (true, false) => info!("no longer listening {bridge} {address}"),
            _ => {}
        }
    }
}

/// Whether connections to `address` come to a socket at `bound`.
fn covers(bound: SocketAddr, address: SocketAddr) -> bool {
    let is_wider = bound.ip().is_unspecified()
        && bound.is_ipv4() == address.is_ipv4()
        && bound.port() == address.port()
        && bound.port() != 0;
    bound == address || is_wider
}

/// Those of the bridge for HTTP in the clear. Where nothing is said of them, they give way to a listener of `[doh]`.
fn plain_bridge_addresses(config: &Config) -> Vec<SocketAddr> {
    let mut addresses = config.bridge.plain_addresses();
    if config.bridge.plain_listen.is_none() {
        let others = &config.doh.plain_listen;
        addresses.retain(|address| !others.iter().any(|other| covers(*other, *address)));
    }
    addresses
}

/// The same, but for an address that is held already: one that has been given its port, where any would have done, and whose port
/// is named now. Bound anew, it would be in its own way.
pub(super) fn recognised(wanted: Vec<Wanted>, open: &[Open]) -> Vec<Wanted> {
    let held = |new: &Wanted| {
        let is_same = |open: &&Open| open.wanted.purpose == new.purpose && open.address == new.address;
        open.iter().find(is_same).map(|open| open.wanted).filter(|held| !wanted.contains(held))
    };
    let is_open = |new: &Wanted| open.iter().any(|open| open.wanted == *new);
    wanted.iter().map(|new| if is_open(new) { *new } else { held(new).unwrap_or(*new) }).collect()
}

/// Where a purpose is served because a service manager says so.
pub(super) fn assigned(open: &[Open], purpose: Purpose) -> Vec<SocketAddr> {
    let assigned = open.iter().map(|open| open.wanted);
    let assigned = assigned.filter(|wanted| wanted.is_assigned && wanted.purpose == purpose);
    assigned.map(|wanted| wanted.address).collect()
}

/// Binds all of them, but for what is inherited. Where the machine lacks IPv6 (or IPv4), the addresses of the other family are
/// enough; for questions there has to be one, unless `has_dns` says that there is one already.
pub(super) fn bind(
    wanted: &[Wanted],
    has_dns: bool,
    inherited: &mut Inherited,
) -> Result<Vec<Listener>, BindError> {
    let mut listeners: Vec<Listener> = Vec::new();
    let mut missing = None;
    for wanted in wanted.iter().copied() {
        match Listener::bind(wanted, inherited) {
            Ok(listener) => listeners.push(listener),
            Err(error @ BindError::FamilyUnavailable { .. }) => {
                warn!("{error}");
                if wanted.purpose == Purpose::Dns {
                    missing = Some(error);
                }
            }
            Err(error) => return Err(error),
        }
    }
    let has_dns = has_dns || listeners.iter().any(|listener| listener.wanted.purpose == Purpose::Dns);
    match missing {
        Some(error) if !has_dns => Err(error),
        _ => Ok(listeners),
    }
}

impl Listener {
    fn bind(wanted: Wanted, inherited: &mut Inherited) -> Result<Self, BindError> {
        if wanted.purpose == Purpose::Dns {
            let (udp, tcp) = bind_both(wanted.address, inherited)?;
            return Ok(Self { wanted, address: udp.local_address(), sockets: Sockets::Dns(udp, tcp) });
        }
        let address = inherited.find(wanted.purpose, wanted.address).unwrap_or(wanted.address);
        let listener = match inherited.take_tcp(wanted.purpose, address)? {
            Some(listener) => listener,
            None => transport::bind_tcp(address)?,
        };
        let address = listener.local_addr().unwrap_or(address);
        Ok(Self { wanted, address, sockets: Sockets::Stream(listener) })
    }

    /// Further descriptors of its sockets, for another process.
    pub(super) fn heirlooms(&self) -> io::Result<Vec<Heirloom>> {
        let Wanted { purpose, is_assigned, .. } = self.wanted;
        let heirloom = |socket: OwnedFd| Heirloom { socket, name: purpose.name().to_owned(), is_assigned };
        let (udp, tcp) = match &self.sockets {
            Sockets::Dns(udp, tcp) => (udp.duplicates()?, tcp),
            Sockets::Stream(tcp) => (Vec::new(), tcp),
        };
        let tcp = tcp.as_fd().try_clone_to_owned()?;
        Ok(udp.into_iter().chain([tcp]).map(heirloom).collect())
    }

    /// Says where the server can be reached.
    pub(super) fn log(&self) {
        for protocol in self.wanted.purpose.protocols() {
            info!("listening {protocol} {}", self.address);
        }
    }
}

/// As many sockets for datagrams as there are cores, if none are inherited.
fn bind_both(address: SocketAddr, inherited: &mut Inherited) -> Result<(UdpSockets, TcpListener), BindError> {
    let sockets = available_parallelism().map_or(1, usize::from);
    let Some(address) = inherited.find(Purpose::Dns, address) else {
        return transport::bind(address, sockets);
    };
    let udp = match inherited.take_udp(Purpose::Dns, address)? {
        Some(udp) => udp,
        None => transport::bind_udp(address, sockets)?,
    };
    let tcp = match inherited.take_tcp(Purpose::Dns, address)? {
        Some(tcp) => tcp,
        None => transport::bind_tcp(address)?,
    };
    Ok((udp, tcp))
}

/// The addresses of one purpose.
pub(super) fn addresses_of(
    purpose: Purpose,
    all: impl IntoIterator<Item = (Purpose, SocketAddr)>,
) -> Vec<SocketAddr> {
    all.into_iter().filter(|(other, _)| *other == purpose).map(|(_, address)| address).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn listened(text: &str) -> Vec<(&'static str, String, bool)> {
        let config: Config = toml::from_str(text).unwrap();
        let wanted = wanted(&config, |_| Vec::new());
        let wanted = wanted.into_iter().filter(|wanted| wanted.purpose != Purpose::Dns);
        let show =
            |wanted: Wanted| (wanted.purpose.name(), wanted.address.to_string(), is_shared(&config, &wanted));
        wanted.map(show).collect()
    }

    fn row(purpose: &'static str, address: &str, is_shared: bool) -> (&'static str, String, bool) {
        (purpose, address.to_owned(), is_shared)
    }

    #[test]
    fn the_bridge_shares_a_port_that_https_has_and_has_its_own_elsewhere() {
        let doh = |listen: &str| format!("[doh]\nenabled = true\nlisten = {listen}\n[bridge]\n");
        for (text, expected) in [
            ("[bridge]\nlisten = []\nplain_listen = '127.0.0.1'".to_owned(), vec![]),
            (
                doh("'127.0.0.1'") + "listen = ['127.0.0.1', '127.0.0.2:8443']",
                vec![
                    row("https", "127.0.0.1:443", true),
                    row("bridge", "127.0.0.2:8443", false),
                    row("bridge-http", "127.0.0.1:80", false),
                ],
            ),
            (
                doh("['0.0.0.0', '[::1]']") + "listen = ['192.0.2.1', '[2001:db8::1]']\nplain_listen = []",
                vec![
                    row("https", "0.0.0.0:443", true),
                    row("https", "[::1]:443", false),
                    row("bridge", "[2001:db8::1]:443", false),
                ],
            ),
            (
                "[doh]\nlisten = '127.0.0.1'\nplain_listen = '0.0.0.0:80'\n[bridge]\nlisten = '127.0.0.1'"
                    .to_owned(),
                vec![row("http", "0.0.0.0:80", false), row("bridge", "127.0.0.1:443", false)],
            ),
        ] {
            assert_eq!(listened(&text), expected, "{text}");
        }
    }
}
