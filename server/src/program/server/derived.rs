//! What follows from a configuration: who may connect, and where. Made at the start, and at each reload.

use std::net::SocketAddr;

use tracing::warn;

use super::{StartError, listeners::addresses_of};
use crate::{
    base::{access::TrustedProxies, config::Config, metrics::Metrics},
    edge::transport::{Admission, Purpose},
    resolver::origin::Origins,
};

/// With the ports that there are: what clients are told, and where the bridge must not connect to.
pub(super) fn with_ports(config: &Config, addresses: &[(Purpose, SocketAddr)]) -> Config {
    let mut bound = config.clone();
    bound.doh.listen = addresses_of(Purpose::Https, addresses.iter().copied());
    bound.dot.listen = addresses_of(Purpose::Tls, addresses.iter().copied());
    bound.doh.plain_listen = addresses_of(Purpose::Http, addresses.iter().copied());
    bound.metrics.listen = addresses_of(Purpose::Metrics, addresses.iter().copied());
    bound.listen = addresses_of(Purpose::Dns, addresses.iter().copied());
    if config.bridge.is_enabled() {
        // What is shown stays as configured.
        bound.bridge.addresses = config.bridge.shown_addresses();
        bound.bridge.plain_listen = Some(addresses_of(Purpose::BridgePlain, addresses.iter().copied()));
        let bridge = addresses_of(Purpose::Bridge, addresses.iter().copied());
        bound.bridge.listen.retain(|address| address.port() != 0 || bridge.is_empty());
        bound.bridge.listen.extend(bridge);
    }
    bound
}

/// The zones of `[[origin]]`, as their files say now.
pub(super) fn origins(config: &Config, addresses: &[(Purpose, SocketAddr)]) -> Result<Origins, StartError> {
    let listening = addresses_of(Purpose::Dns, addresses.iter().copied());
    let origins = Origins::open(config, &listening).map_err(StartError::Origin)?;
    origins.warnings().for_each(|warning| warn!("{warning}"));
    Ok(origins)
}

/// `proxy_protocol`: whether their connections begin with its header.
pub(super) fn trusted(config: &Config, proxy_protocol: Option<bool>) -> TrustedProxies {
    let header = config.doh.client_address_header.as_ref().and_then(|name| name.parse().ok());
    TrustedProxies::new(config.doh.trusted_proxies.clone())
        .with_header(header)
        .with_proxy_protocol(proxy_protocol)
}

/// Who may connect over TCP, and over TLS.
pub(super) fn admissions(config: &Config, metrics: &Metrics) -> [Admission; 2] {
    let over_tcp = (config.proxy_protocol, !config.origin.is_empty());
    [over_tcp, (config.dot.proxy_protocol, false)].map(|(proxy_protocol, answers_strangers)| Admission {
        access: config.access.list(),
        trusted: trusted(config, proxy_protocol),
        answers_strangers,
        refusals: metrics.refusals.clone(),
        connections: metrics.connections.clone(),
    })
}
