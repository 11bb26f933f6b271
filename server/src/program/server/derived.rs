//! What follows from a configuration: who may connect, what is served over HTTP. Made at the start, and at each reload.

use std::{net::SocketAddr, sync::Arc};

use tracing::warn;

use super::{StartError, encrypted::EncryptedListeners, listeners::addresses_of};
use crate::{
    base::{
        access::{Forwarders, TrustedProxies},
        config::Config,
        metrics::Metrics,
    },
    edge::{
        certificates::AuthorityCertificate,
        http::{self, Content},
        transport::{Admission, Purpose},
    },
    resolver::{denied::DeniedKeys, origin::Origins},
    service::Service,
    sources::packets::Packets,
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
fn trusted(config: &Config, proxy_protocol: Option<bool>) -> TrustedProxies {
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

/// Who may come to the bridge.
pub(super) fn bridge_admission(config: &Config, metrics: &Metrics) -> Admission {
    Admission {
        access: config.access.list(),
        trusted: trusted(config, config.doh.proxy_protocol),
        answers_strangers: false,
        refusals: metrics.refusals.clone(),
        connections: metrics.connections.clone(),
    }
}

/// Where one is wanted.
pub(super) fn relay(
    config: &Config,
    forwarders: &Forwarders,
    packets: &Packets,
    denied: &DeniedKeys,
    metrics: &Metrics,
) -> Option<http::Relay> {
    let settings = &config.relay;
    let (packets, denied, metrics) = (packets.clone(), denied.clone(), metrics.relay.clone());
    settings.enabled.then(|| http::Relay::new(settings, forwarders, packets, denied, metrics))
}

/// What is served over HTTPS and HTTP besides answers. `bound` has the ports that there are.
pub(super) fn site(
    bound: &Config,
    service: &Arc<Service>,
    encryption: &EncryptedListeners,
    bridge_authority: Option<AuthorityCertificate>,
    relay: Option<http::Relay>,
    packets: &Packets,
) -> Content {
    let (shown, authorities) = (encryption.dot_certificates.clone(), encryption.authority.iter().cloned());
    let own_zone = service.resolver().own_zone().clone();
    let mut about = http::About::new(bound, own_zone, shown, authorities.collect());
    about.bridge_authority = bridge_authority;
    let mut pages = http::pages(about, Some(http::Zones::new(service.clone())));
    if let Some(relay) = relay {
        pages = pages.merge(relay.routes());
    }
    Content {
        pages,
        access: bound.access.list(),
        trusted: trusted(bound, bound.doh.proxy_protocol),
        hosts: http::Hosts::new(bound),
        challenges: encryption.challenges.clone().unwrap_or_default(),
        notices: http::Notices::new(bound),
        sample_site: http::SampleSite::new(bound, packets),
        status_access: bound.status.list(),
    }
}

/// What is served to those who look at the metrics.
pub(super) fn metrics_site(config: &Config, metrics: &Metrics) -> Content {
    Content {
        pages: http::metrics_routes(metrics.clone()),
        access: config.access.list(),
        trusted: trusted(config, None),
        hosts: http::Hosts::new(config),
        challenges: Arc::default(),
        notices: None,
        sample_site: None,
        status_access: config.status.list(),
    }
}
