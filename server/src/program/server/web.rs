//! What is served over HTTP, and the bridge to sites under keys.

use std::sync::Arc;

use tokio::net::TcpListener;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    StartError,
    bridging::{ResolvedSites, bridge},
    derived,
    places::Places,
    running::{Around, renew},
    seen::Sight,
};
use crate::{
    base::{config::Config, metrics::Metrics},
    edge::{
        bridge::{self, Bridge, SiteConnector},
        certificates::{AuthorityCertificate, CertificateError},
        http::{self, Content, Health, Site, StatusPage},
        transport::{Admission, Ending, Purpose, SharedTls},
    },
    service::Service,
};

pub(super) use super::bridging::BridgeCertificates;
pub(super) use crate::edge::bridge::SharedPort;

/// What is opened before anything is bound.
pub(super) struct WebParts {
    certificates: BridgeCertificates,
    connector: SiteConnector,
}

impl WebParts {
    pub(super) fn open(config: &Config) -> Result<Self, StartError> {
        let certificates = BridgeCertificates::open(config)?;
        let connector = SiteConnector::new().map_err(CertificateError::Tls)?;
        Ok(Self { certificates, connector })
    }
}

/// The sites of a server that runs.
pub(super) struct Web {
    site: Arc<Site<Service>>,
    metrics_site: Arc<Site<Service>>,
    relay: Option<http::Relay>,
    https: Option<SharedTls>,
    bridge: Arc<Bridge<ResolvedSites>>,
    bridge_authority: Option<AuthorityCertificate>,
    /// Ends what watches the certificates of the bridge.
    watch: CancellationToken,
}

impl Web {
    pub(super) fn start(
        parts: WebParts,
        around: &Around<'_>,
        places: &Places,
        sight: &Arc<Sight>,
        ending: &Ending,
        tasks: &TaskTracker,
    ) -> Self {
        let Around { config, service, metrics, .. } = *around;
        let WebParts { certificates, connector } = parts;
        let (relay, bridge_authority) = (relay(around), certificates.authority());
        let content = site(around, bridge_authority.clone(), relay.clone());
        let site = Site::with_content(content, places.web.clone(), metrics)
            .with_health(sight.health())
            .with_status(sight.page());
        let metrics_site = Site::with_content(metrics_site(config, metrics), places.metrics.clone(), metrics)
            .with_health(sight.health().with_reasons())
            .with_status(sight.page());
        let watch = ending.leaving().child_token();
        certificates.watch(&watch, tasks);
        let mut https = None;
        around.encryption.encrypt_https(&mut https);
        Self {
            site: Arc::new(site.with_dns(service.clone(), tasks)),
            metrics_site: Arc::new(metrics_site),
            relay,
            https,
            bridge: bridge(config, service, &certificates, connector, places, metrics),
            bridge_authority,
            watch,
        }
    }

    /// Goes by what is `around` it now. `certificates` are those of the bridge, where they are others.
    pub(super) fn reload(
        &mut self,
        old: &Config,
        around: &Around<'_>,
        places: &Places,
        certificates: Option<&BridgeCertificates>,
        ending: &Ending,
        tasks: &TaskTracker,
    ) {
        let Around { config, metrics, .. } = *around;
        if old.relay != config.relay {
            self.relay = relay(around);
        }
        around.encryption.encrypt_https(&mut self.https);
        if let Some(certificates) = certificates {
            self.bridge_authority = certificates.authority();
            renew(&mut self.watch, ending);
            certificates.watch(&self.watch, tasks);
        }
        let terms = certificates.map(BridgeCertificates::terms);
        self.bridge.reload(terms, places.bridge, bridge_admission(config, metrics));
        let content = site(around, self.bridge_authority.clone(), self.relay.clone());
        let metrics_content = metrics_site(config, metrics);
        for (site, limits, content) in
            [(&self.site, &places.web, content), (&self.metrics_site, &places.metrics, metrics_content)]
        {
            site.reload(content, limits.connections, limits.connections_per_client);
        }
    }

    /// What the bridge may share with a listener.
    pub(super) fn shared_port(&self, purpose: Purpose) -> Option<SharedPort> {
        (purpose == Purpose::Https).then(|| SharedPort::new(self.bridge.clone()))
    }

    /// Answers on a listener, unless it is for something else.
    pub(super) fn serve(
        &self,
        purpose: Purpose,
        listener: TcpListener,
        shared: Option<SharedPort>,
        ending: Ending,
        tasks: &TaskTracker,
    ) {
        match (purpose, self.https.as_ref().zip(shared)) {
            (Purpose::Https, Some((tls, shared))) => {
                http::serve_shared(listener, tls.clone(), shared, self.site.clone(), ending, tasks);
            }
            (Purpose::Http, _) => http::serve(listener, None, self.site.clone(), ending, tasks),
            (Purpose::Metrics, _) => http::serve(listener, None, self.metrics_site.clone(), ending, tasks),
            (Purpose::Bridge, _) => bridge::serve(listener, self.bridge.clone(), ending, tasks),
            (Purpose::BridgePlain, _) => bridge::serve_plain(listener, self.bridge.clone(), ending, tasks),
            // HTTPS is not listened for without a certificate.
            (Purpose::Dns | Purpose::Tls | Purpose::Https, _) => {}
        }
    }
}

impl Sight {
    /// For the listeners of HTTP.
    fn health(self: &Arc<Self>) -> Health {
        let sight = self.clone();
        Health::new(move |all| sight.readiness(all))
    }

    /// For the operator, on the listeners of HTTP.
    fn page(self: &Arc<Self>) -> StatusPage {
        let sight = self.clone();
        StatusPage::new(move || {
            let (short, long) = sight.trends();
            (sight.status(), short, long)
        })
    }
}

/// Who may come to the bridge.
pub(super) fn bridge_admission(config: &Config, metrics: &Metrics) -> Admission {
    Admission {
        access: config.access.list(),
        trusted: derived::trusted(config, config.doh.proxy_protocol),
        answers_strangers: false,
        refusals: metrics.refusals.clone(),
        connections: metrics.connections.clone(),
    }
}

/// Where one is wanted.
fn relay(around: &Around<'_>) -> Option<http::Relay> {
    let Around { config, forwarders, packets, denied, metrics, .. } = *around;
    let settings = &config.relay;
    let (packets, denied, metrics) = (packets.clone(), denied.clone(), metrics.relay.clone());
    settings.enabled.then(|| http::Relay::new(settings, forwarders, packets, denied, metrics))
}

/// What is served over HTTPS and HTTP besides answers.
fn site(
    around: &Around<'_>,
    bridge_authority: Option<AuthorityCertificate>,
    relay: Option<http::Relay>,
) -> Content {
    let Around { bound, service, encryption, packets, .. } = *around;
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
        trusted: derived::trusted(bound, bound.doh.proxy_protocol),
        hosts: http::Hosts::new(bound),
        challenges: encryption.challenges.clone().unwrap_or_default(),
        notices: http::Notices::new(bound),
        sample_site: http::SampleSite::new(bound, packets),
        status_access: bound.status.list(),
    }
}

/// What is served to those who look at the metrics.
fn metrics_site(config: &Config, metrics: &Metrics) -> Content {
    Content {
        pages: http::metrics_routes(metrics.clone()),
        access: config.access.list(),
        trusted: derived::trusted(config, None),
        hosts: http::Hosts::new(config),
        challenges: Arc::default(),
        notices: None,
        sample_site: None,
        status_access: config.status.list(),
    }
}
