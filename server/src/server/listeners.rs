//! Every address that is listened on.

use std::{
    io,
    net::SocketAddr,
    os::fd::{AsFd, OwnedFd},
    thread::available_parallelism,
};

use tokio::net::TcpListener;
use tracing::{info, warn};

use crate::{
    config::Config,
    transport::{self, BindError, Heirloom, Inherited, Purpose, UdpSockets},
};

/// What is bound, by what is spoken there.
pub(super) struct Listeners {
    pub(super) dns: Vec<DnsListener>,
    pub(super) tls: StreamListeners,
    pub(super) https: StreamListeners,
    pub(super) http: StreamListeners,
    pub(super) metrics: StreamListeners,
    /// What is served where a service manager says, and not where the configuration does.
    assigned: Vec<Purpose>,
}

/// UDP and TCP on one address.
pub(super) struct DnsListener {
    address: SocketAddr,
    pub(super) udp: UdpSockets,
    pub(super) tcp: TcpListener,
}

/// Listeners for connections of one kind, with the addresses that they have in fact.
pub(super) struct StreamListeners(Vec<(SocketAddr, TcpListener)>);

impl Listeners {
    /// What is inherited for an address is taken, and the rest is bound.
    pub(super) fn bind(config: &Config, mut inherited: Inherited) -> Result<Self, BindError> {
        let (doh, dot) = (&config.doh, &config.dot);
        let mut assigned = Vec::new();
        let mut addresses = |purpose, configured: &[SocketAddr], is_enabled| {
            let instead = if is_enabled { inherited.assigned(purpose) } else { Vec::new() };
            if instead.is_empty() {
                return if is_enabled { configured.to_vec() } else { Vec::new() };
            }
            assigned.push(purpose);
            instead
        };
        let dns = addresses(Purpose::Dns, &config.listen, true);
        let tls = addresses(Purpose::Tls, &dot.listen, dot.enabled);
        let https = addresses(Purpose::Https, &doh.listen, doh.enabled);
        let http = addresses(Purpose::Http, &doh.plain_listen, true);
        let metrics = addresses(Purpose::Metrics, &config.metrics.listen, true);
        let listeners = Self {
            dns: bind_dns(&dns, &mut inherited)?,
            tls: StreamListeners::bind(&tls, Purpose::Tls, &mut inherited)?,
            https: StreamListeners::bind(&https, Purpose::Https, &mut inherited)?,
            http: StreamListeners::bind(&http, Purpose::Http, &mut inherited)?,
            metrics: StreamListeners::bind(&metrics, Purpose::Metrics, &mut inherited)?,
            assigned,
        };
        inherited.close();
        Ok(listeners)
    }

    pub(super) fn dns_addresses(&self) -> Vec<SocketAddr> {
        self.dns.iter().map(|listener| listener.address).collect()
    }

    /// Further descriptors of all sockets, for another process.
    pub(super) fn heirlooms(&self) -> io::Result<Vec<Heirloom>> {
        let mut heirlooms = Vec::new();
        let mut add = |purpose: Purpose, socket: OwnedFd| {
            let is_assigned = self.assigned.contains(&purpose);
            heirlooms.push(Heirloom { socket, name: purpose.name().to_owned(), is_assigned });
        };
        for DnsListener { udp, tcp, .. } in &self.dns {
            udp.duplicates()?.into_iter().for_each(|socket| add(Purpose::Dns, socket));
            add(Purpose::Dns, tcp.as_fd().try_clone_to_owned()?);
        }
        for (purpose, listeners) in self.streams() {
            for (_, listener) in &listeners.0 {
                add(purpose, listener.as_fd().try_clone_to_owned()?);
            }
        }
        Ok(heirlooms)
    }

    fn streams(&self) -> [(Purpose, &StreamListeners); 4] {
        [
            (Purpose::Tls, &self.tls),
            (Purpose::Https, &self.https),
            (Purpose::Http, &self.http),
            (Purpose::Metrics, &self.metrics),
        ]
    }

    /// Says where the server can be reached.
    pub(super) fn log(&self) {
        for address in self.dns_addresses() {
            for protocol in ["udp", "tcp"] {
                info!("listening {protocol} {address}");
            }
        }
        for (purpose, listeners) in self.streams() {
            for address in listeners.addresses() {
                info!("listening {} {address}", purpose.name());
            }
        }
    }
}

impl StreamListeners {
    /// As for questions: a family that the machine lacks is no reason not to start.
    fn bind(
        addresses: &[SocketAddr],
        purpose: Purpose,
        inherited: &mut Inherited,
    ) -> Result<Self, BindError> {
        let mut listeners = Vec::new();
        for address in addresses {
            let address = inherited.find(purpose, *address).unwrap_or(*address);
            let bound = match inherited.take_tcp(purpose, address)? {
                Some(listener) => Ok(listener),
                None => transport::bind_tcp(address),
            };
            match bound {
                Ok(listener) => listeners.push((listener.local_addr().unwrap_or(address), listener)),
                Err(error @ BindError::FamilyUnavailable { .. }) => warn!("{error}"),
                Err(error) => return Err(error),
            }
        }
        Ok(Self(listeners))
    }

    pub(super) fn addresses(&self) -> Vec<SocketAddr> {
        self.0.iter().map(|(address, _)| *address).collect()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(super) fn into_listeners(self) -> impl Iterator<Item = TcpListener> {
        self.0.into_iter().map(|(_, listener)| listener)
    }
}

/// Binds all addresses. Where the machine lacks IPv6 (or IPv4), the addresses of the other family are enough.
fn bind_dns(addresses: &[SocketAddr], inherited: &mut Inherited) -> Result<Vec<DnsListener>, BindError> {
    let mut listeners = Vec::new();
    let mut missing = None;
    for address in addresses {
        match bind_both(*address, inherited) {
            Ok((udp, tcp)) => listeners.push(DnsListener { address: udp.local_address(), udp, tcp }),
            Err(error @ BindError::FamilyUnavailable { .. }) => {
                warn!("{error}");
                missing = Some(error);
            }
            Err(error) => return Err(error),
        }
    }
    match missing {
        Some(error) if listeners.is_empty() => Err(error),
        _ => Ok(listeners),
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
