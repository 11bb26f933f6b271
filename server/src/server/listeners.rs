//! Every address that is listened on.

use std::{net::SocketAddr, thread::available_parallelism};

use tokio::net::TcpListener;
use tracing::{info, warn};

use crate::{
    config::Config,
    transport::{self, BindError, UdpSockets},
};

/// What is bound, by what is spoken there.
pub(super) struct Listeners {
    pub(super) dns: Vec<DnsListener>,
    pub(super) tls: StreamListeners,
    pub(super) https: StreamListeners,
    pub(super) http: StreamListeners,
    pub(super) metrics: StreamListeners,
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
    pub(super) fn bind(config: &Config) -> Result<Self, BindError> {
        let (doh, dot) = (&config.doh, &config.dot);
        let if_enabled = |enabled: bool, addresses| {
            if enabled { StreamListeners::bind(addresses) } else { StreamListeners::bind(&[]) }
        };
        Ok(Self {
            dns: bind_dns(&config.listen)?,
            tls: if_enabled(dot.enabled, &dot.listen)?,
            https: if_enabled(doh.enabled, &doh.listen)?,
            http: StreamListeners::bind(&doh.plain_listen)?,
            metrics: StreamListeners::bind(&config.metrics.listen)?,
        })
    }

    pub(super) fn dns_addresses(&self) -> Vec<SocketAddr> {
        self.dns.iter().map(|listener| listener.address).collect()
    }

    /// Where the server can be reached, as `udp 127.0.0.1:53`.
    pub(super) fn described(&self) -> Vec<String> {
        let dns = self.dns_addresses();
        let dns =
            dns.iter().flat_map(|address| ["udp", "tcp"].map(|protocol| format!("{protocol} {address}")));
        let streams =
            [("tls", &self.tls), ("https", &self.https), ("http", &self.http), ("metrics", &self.metrics)];
        let of_kind = |(protocol, listeners): (&str, &StreamListeners)| {
            listeners
                .addresses()
                .into_iter()
                .map(move |address| format!("{protocol} {address}"))
                .collect::<Vec<_>>()
        };
        dns.chain(streams.into_iter().flat_map(of_kind)).collect()
    }

    /// Says where the server can be reached.
    pub(super) fn log(&self) {
        self.described().iter().for_each(|listening| info!("listening {listening}"));
    }
}

impl StreamListeners {
    /// As for questions: a family that the machine lacks is no reason not to start.
    fn bind(addresses: &[SocketAddr]) -> Result<Self, BindError> {
        let mut listeners = Vec::new();
        for address in addresses {
            match transport::bind_tcp(*address) {
                Ok(listener) => listeners.push((listener.local_addr().unwrap_or(*address), listener)),
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
fn bind_dns(addresses: &[SocketAddr]) -> Result<Vec<DnsListener>, BindError> {
    let sockets = available_parallelism().map_or(1, usize::from);
    let mut listeners = Vec::new();
    let mut missing = None;
    for address in addresses {
        match transport::bind(*address, sockets) {
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
