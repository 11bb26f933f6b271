//! The bridge of a server: what names lead to by its resolver, and certificates of its authority.

use std::{
    net::{IpAddr, SocketAddr},
    path::PathBuf,
    sync::Arc,
    time::SystemTime,
};

use hickory_proto::rr::Name;
use tokio_util::{sync::CancellationToken, task::TaskTracker};
use tracing::{debug, info};

use super::{StartError, places::Places, web::bridge_admission};
use crate::{
    base::{
        access::{is_neighbour, is_private},
        config::{Config, HTTPS_PORT},
        metrics::Metrics,
    },
    edge::{
        bridge::{Bridge, ClientTls, ConnectError, Connected, Failure, SiteConnector, Sites, Terms},
        certificates::{self, AuthorityCertificate, BridgeAuthority},
        transport::Entrance,
    },
    resolver::{
        Resolver,
        name::Suffixes,
        site::{Site, SiteError},
    },
    service::Service,
};

/// Names by the resolver of now, sites by their records.
pub(super) struct ResolvedSites {
    service: Arc<Service>,
    connector: SiteConnector,
}

/// The authority of the bridge, and what it signs for; nothing of either where there is no bridge.
#[derive(Clone, Default)]
pub(super) struct BridgeCertificates(Option<Signing>);

#[derive(Clone)]
struct Signing {
    authority: Arc<BridgeAuthority>,
    terms: Terms,
}

impl BridgeCertificates {
    /// Opens the authority, or makes it.
    pub(super) fn open(config: &Config) -> Result<Self, StartError> {
        if !config.bridge.is_enabled() {
            return Ok(Self(None));
        }
        let directory = bridge_directory(config);
        let suffixes = &config.names.suffixes;
        let authority = Arc::new(BridgeAuthority::open(&directory, suffixes, SystemTime::now())?);
        let signer = authority.clone();
        let tls = ClientTls::new(Arc::new(move |name| {
            let leaf = signer.leaf(name, SystemTime::now());
            leaf.inspect_err(|error| debug!("no certificate for {name}: {error}")).ok()
        }))
        .map_err(crate::edge::certificates::CertificateError::Tls)?;
        let ports = config.bridge.listen.iter().map(SocketAddr::port);
        let https_port = match ports.clone().any(|port| port == HTTPS_PORT) {
            true => HTTPS_PORT,
            false => ports.clone().next().unwrap_or(HTTPS_PORT),
        };
        let terms = Terms { suffixes: Suffixes::new(suffixes.iter().map(String::as_str)), tls, https_port };
        Ok(Self(Some(Signing { authority, terms })))
    }

    /// Whether they would be others under `new`.
    pub(super) fn differ(old: &Config, new: &Config) -> bool {
        let settings = |config: &Config| {
            (config.bridge.listen.clone(), config.names.suffixes.clone(), config.certificate.path.clone())
        };
        settings(old) != settings(new)
    }

    pub(super) fn terms(&self) -> Option<Terms> {
        self.0.as_ref().map(|signing| signing.terms.clone())
    }

    /// What clients have to import.
    pub(super) fn authority(&self) -> Option<AuthorityCertificate> {
        self.0.as_ref().map(|signing| signing.authority.certificate().clone())
    }

    /// Renews the authority's certificate when that is due, until `stop` is cancelled.
    pub(super) fn watch(&self, stop: &CancellationToken, tasks: &TaskTracker) {
        let Some(Signing { authority, .. }) = &self.0 else { return };
        let path = authority.certificate_path();
        info!("sites under keys are shown under an authority of our own: import {}", path.display());
        tasks.spawn(authority.clone().watch(stop.clone()));
    }
}

/// Where the authority of the bridge is kept.
pub(super) fn bridge_directory(config: &Config) -> PathBuf {
    certificates::directory(&config.certificate)
}

/// The bridge as configured, which takes nobody where it is off.
pub(super) fn bridge(
    config: &Config,
    service: &Arc<Service>,
    certificates: &BridgeCertificates,
    connector: SiteConnector,
    places: &Places,
    metrics: &Metrics,
) -> Arc<Bridge<ResolvedSites>> {
    let admission = bridge_admission(config, metrics);
    let caps = places.bridge;
    let entrance = Entrance::new(caps.connections, caps.connections_per_client, admission)
        .with_forwarders(&places.tcp.forwarders);
    let sites = ResolvedSites { service: service.clone(), connector };
    Arc::new(Bridge::new(
        sites,
        certificates.terms(),
        entrance,
        places.tcp.unread.clone(),
        metrics.bridge.clone(),
    ))
}

impl Sites for ResolvedSites {
    type Responder = Service;

    fn responder(&self) -> Option<&Service> {
        Some(&self.service)
    }

    async fn find(&self, name: &Name, client: IpAddr) -> Result<Site, Failure> {
        self.service.resolver().site(name, client).await.map_err(not_found)
    }

    async fn find_plain(&self, name: &Name, client: IpAddr) -> Result<Site, Failure> {
        self.service.resolver().plain_site(name, client).await.map_err(not_found)
    }

    fn withholds(&self, address: IpAddr) -> bool {
        is_withheld(address)
    }

    async fn connect(&self, site: &Site, protocols: &[Vec<u8>]) -> Result<Connected, Failure> {
        self.connector.connect(site, protocols).await.map_err(not_connected)
    }
}

/// A page of a key may lead its name to one port of a network after the other, and read what the bridge says of each, in the browser of
/// somebody who is in that network.
fn is_withheld(address: IpAddr) -> bool {
    is_private(address) || is_neighbour(address) || Resolver::is_of_this_machine(address)
}

fn not_connected(error: ConnectError) -> Failure {
    let said = error.to_string();
    match error {
        ConnectError::Unreachable(_) => Failure::Unreachable(said),
        ConnectError::NoTls(_) | ConnectError::Refused { .. } => Failure::HandshakeRefused(said),
        ConnectError::AnotherKey { expected, shown, .. } => Failure::AnotherKey { expected, shown },
        ConnectError::Deadline => Failure::TimedOut(said),
    }
}

fn not_found(error: SiteError) -> Failure {
    let said = error.to_string();
    match error {
        SiteError::Unknown | SiteError::NotUnderAKey => Failure::Absent(said),
        SiteError::NoAddress => Failure::NoAddress(said),
        SiteError::Chain => Failure::Chain(said),
        SiteError::Exempt | SiteError::Denied => Failure::Denied(said),
        SiteError::NoTls => Failure::NoTls(said),
        SiteError::Lookup(_) => Failure::Lookup(said),
    }
}

#[cfg(test)]
mod tests {
    use nix::ifaddrs::getifaddrs;

    use super::*;

    #[test]
    fn of_addresses_that_not_everybody_can_reach_nothing_is_told() {
        let is_withheld = |address: &str| is_withheld(address.parse().unwrap());
        for inner in
            ["127.0.0.1", "::1", "0.0.0.0", "10.1.2.3", "::ffff:192.168.1.2", "fe80::1", "64:ff9b::a00:1"]
        {
            assert!(is_withheld(inner), "{inner}");
        }
        let own = getifaddrs().unwrap().filter_map(|interface| interface.address);
        for own in own.filter_map(|own| own.as_sockaddr_in().map(|own| own.ip())) {
            assert!(is_withheld(&own.to_string()), "{own}");
        }
        assert!(!is_withheld("198.51.100.7") && !is_withheld("2001:db8:7::1"));
    }
}
