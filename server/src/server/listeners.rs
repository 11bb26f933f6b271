//! Every address that is listened on.

use std::{net::SocketAddr, thread::available_parallelism};

use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    config::Config,
    transport::{self, BindError, UdpSockets},
};

/// What is spoken on an address.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// DNS over UDP and TCP.
    Dns,
    Tls,
    Https,
    Http,
    Metrics,
}

/// An address as the configuration has it, and what is spoken there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Wanted {
    pub(super) kind: Kind,
    pub(super) address: SocketAddr,
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
    /// Ends what is served there.
    pub(super) stop: CancellationToken,
}

/// Every address that a configuration asks for.
pub(super) fn wanted(config: &Config) -> Vec<Wanted> {
    let (doh, dot) = (&config.doh, &config.dot);
    [
        (Kind::Dns, true, &config.listen),
        (Kind::Tls, dot.enabled, &dot.listen),
        (Kind::Https, doh.enabled, &doh.listen),
        (Kind::Http, true, &doh.plain_listen),
        (Kind::Metrics, true, &config.metrics.listen),
    ]
    .into_iter()
    .filter(|(_, enabled, _)| *enabled)
    .flat_map(|(kind, _, listen)| listen.iter().map(move |address| Wanted { kind, address: *address }))
    .collect()
}

/// Binds all of them. Where the machine lacks IPv6 (or IPv4), the addresses of the other family are enough; for questions
/// there has to be one, unless `has_dns` says that there is one already.
pub(super) fn bind(wanted: &[Wanted], has_dns: bool) -> Result<Vec<Listener>, BindError> {
    let mut listeners: Vec<Listener> = Vec::new();
    let mut missing = None;
    for wanted in wanted.iter().copied() {
        match Listener::bind(wanted) {
            Ok(listener) => listeners.push(listener),
            Err(error @ BindError::FamilyUnavailable { .. }) => {
                warn!("{error}");
                if wanted.kind == Kind::Dns {
                    missing = Some(error);
                }
            }
            Err(error) => return Err(error),
        }
    }
    let has_dns = has_dns || listeners.iter().any(|listener| listener.wanted.kind == Kind::Dns);
    match missing {
        Some(error) if !has_dns => Err(error),
        _ => Ok(listeners),
    }
}

impl Listener {
    fn bind(wanted: Wanted) -> Result<Self, BindError> {
        if wanted.kind == Kind::Dns {
            let sockets = available_parallelism().map_or(1, usize::from);
            let (udp, tcp) = transport::bind(wanted.address, sockets)?;
            return Ok(Self { wanted, address: udp.local_address(), sockets: Sockets::Dns(udp, tcp) });
        }
        let listener = transport::bind_tcp(wanted.address)?;
        let address = listener.local_addr().unwrap_or(wanted.address);
        Ok(Self { wanted, address, sockets: Sockets::Stream(listener) })
    }

    /// Says where the server can be reached.
    pub(super) fn log(&self) {
        for protocol in self.wanted.kind.protocols() {
            info!("listening {protocol} {}", self.address);
        }
    }
}

impl Kind {
    /// As the log has it.
    pub(super) fn protocols(self) -> &'static [&'static str] {
        match self {
            Self::Dns => &["udp", "tcp"],
            Self::Tls => &["tls"],
            Self::Https => &["https"],
            Self::Http => &["http"],
            Self::Metrics => &["metrics"],
        }
    }
}

/// The addresses of one kind.
pub(super) fn addresses_of(kind: Kind, all: impl IntoIterator<Item = (Kind, SocketAddr)>) -> Vec<SocketAddr> {
    all.into_iter().filter(|(other, _)| *other == kind).map(|(_, address)| address).collect()
}
