//! HTTP/1.1 and HTTP/2 listeners, in the clear or over TLS. The only place that names axum.

mod activity;
mod body;
mod client_address;
mod connection;
mod dns;
mod health;
mod host;
mod json;
mod listen;
mod metrics;
mod negotiate;
mod pages;
mod refusal;
mod relay;
mod request_body;
mod requests;
mod sample_site;
mod streams;
#[cfg(test)]
mod tests;
mod write_limit;

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::SystemTime,
};

use arc_swap::ArcSwap;
use axum::{
    BoxError, Router,
    body::{Body, HttpBody},
    http::{HeaderMap, Request, Response, StatusCode, header},
    response::IntoResponse,
};
use bytes::Bytes;
use http_body_util::BodyExt;
use tokio::time::timeout;
use tokio_util::task::TaskTracker;
use tower_service::Service;
use tracing::warn;

pub use super::{HttpLimits as Limits, transport::HTTP_PROTOCOLS as PROTOCOLS};
pub use body::SiteBody;
pub use dns::{DNS_PATH, JSON_PATH};
pub use health::Health;
pub use host::Hosts;
pub use listen::{serve, serve_shared};
pub use metrics::metrics_routes;
pub use pages::{About, Notices, StatusPage, Zones, pages};
pub use relay::Relay;
pub use sample_site::SampleSite;

use crate::{
    base::{
        access::{AccessList, TrustedProxies},
        metrics::{ConnectionMetrics, Metrics, Reason, Refusals},
    },
    edge::{
        certificates::Challenges,
        held::Permit,
        transport::{Admission, Entrance},
    },
    service::Respond,
};
use client_address::client_address;
use connection::Origin;
use dns::{Dns, Waiting};
use refusal::Refusal;

/// Where the files of ACME challenges are (RFC 8555 section 8.3).
const CHALLENGE_PATH: &str = "/.well-known/acme-challenge/";

/// What a request takes while it is answered, and a response until it is taken, besides bodies: its task, its headers, the
/// stream of HTTP/2. Measured, with 12,700 of them: 2.4 to 3 kB.
const RESPONSE_COST: usize = 3 << 10;

/// What is served on a set of listeners.
pub struct Site<R> {
    dns: Option<Dns<R>>,
    content: ArcSwap<Content>,
    refusals: Refusals,
    health: Option<Health>,
    status: Option<StatusPage>,
    entrance: Entrance,
    limits: Limits,
    has_noted_silent_proxy: AtomicBool,
}

/// What a site says, and to whom. May change while it is served.
#[derive(Debug, Clone)]
pub struct Content {
    /// What is there besides answers to questions.
    pub pages: Router,
    /// Who is served.
    pub access: AccessList,
    /// Whose word about clients is taken.
    pub trusted: TrustedProxies,
    /// The names that the site goes by. They matter only where not everybody is served: what everybody may ask, a page of
    /// anybody may.
    pub hosts: Hosts,
    /// What an ACME authority wants to see, wherever it is.
    pub challenges: Arc<Challenges>,
    /// What everybody may read, whether served or not.
    pub notices: Option<Notices>,
    /// What there is, in place of all else, under the name of the sample key.
    pub sample_site: Option<SampleSite>,
    /// Who may see how the server does.
    pub status_access: AccessList,
}

impl Content {
    fn admission(&self, refusals: &Refusals, connections: &ConnectionMetrics) -> Admission {
        Admission {
            access: self.access.clone(),
            trusted: self.trusted.clone(),
            answers_strangers: false,
            refusals: refusals.clone(),
            connections: connections.clone(),
        }
    }

    /// Whether a page from anywhere may read what is here.
    fn is_for_everybody(&self) -> bool {
        self.access.is_public()
    }

    /// The site of the sample key, where the request is for that.
    fn sample_site<B>(&self, request: &Request<B>) -> Option<&SampleSite> {
        self.sample_site.as_ref().filter(|site| site.is_meant(request.uri(), request.headers()))
    }

    /// Whether the request may be for the host that it names. Over TLS our certificate has said so, but for a name of a key, which the
    /// bridge has vouched for. A trusted proxy decides itself which hosts it serves, and need not pass on their names.
    fn is_meant<B>(&self, visitor: Visitor, request: &Request<B>) -> bool {
        let (uri, headers) = (request.uri(), request.headers());
        match visitor.is_tls {
            true => !self.hosts.are_of_a_key(uri, headers),
            false => visitor.is_encrypted || self.is_for_everybody() || self.hosts.are_meant(uri, headers),
        }
    }
}

/// Who asks. Pages find it in the extensions of a request.
#[derive(Debug, Clone, Copy)]
pub struct Visitor {
    /// The client, as the limits count it.
    pub address: IpAddr,
    /// Whether nobody on the way can read along: we speak TLS, or a trusted proxy does.
    pub is_encrypted: bool,
    /// Whether it is we who speak TLS.
    pub is_tls: bool,
    /// Whether the address may be that of a proxy, and somebody else behind it.
    pub may_be_a_proxy: bool,
}

impl<R: Respond> Site<R> {
    /// `pages` alone.
    pub fn new(pages: Router, access: AccessList, trusted: TrustedProxies, limits: Limits) -> Self {
        let (hosts, challenges) = (Hosts::default(), Arc::default());
        let (notices, sample_site) = (None, None);
        let status_access = AccessList::new(Vec::new(), Vec::new());
        let content =
            Content { pages, access, trusted, hosts, challenges, notices, sample_site, status_access };
        Self::with_content(content, limits, &Metrics::default())
    }

    /// Counts in `metrics` who connects and who is turned away.
    pub fn with_content(content: Content, limits: Limits, metrics: &Metrics) -> Self {
        let Metrics { refusals, connections, .. } = metrics.clone();
        let admission = content.admission(&refusals, &connections);
        let entrance = Entrance::new(limits.connections, limits.connections_per_client, admission)
            .with_forwarders(&limits.forwarders);
        let has_noted_silent_proxy = AtomicBool::new(false);
        let content = ArcSwap::from_pointee(content);
        Self {
            dns: None,
            content,
            refusals,
            health: None,
            status: None,
            entrance,
            limits,
            has_noted_silent_proxy,
        }
    }

    /// Says something else from now on, also on connections that are open, and takes other numbers of connections.
    pub fn reload(&self, content: Content, connections: usize, connections_per_client: usize) {
        let admission = content.admission(&self.refusals, self.entrance.metrics());
        self.entrance.reload(connections, connections_per_client, admission);
        self.content.store(Arc::new(content));
        // What was said of a proxy may hold no more.
        self.has_noted_silent_proxy.store(false, Ordering::Relaxed);
    }

    /// Says to everybody whether the server is there and ready, whom it serves or not.
    #[must_use]
    pub fn with_health(self, health: Health) -> Self {
        Self { health: Some(health), ..self }
    }

    /// Shows how the server does, to those whom `status_access` allows.
    #[must_use]
    pub fn with_status(self, status: StatusPage) -> Self {
        Self { status: Some(status), ..self }
    }

    /// Answers questions at [`DNS_PATH`] and [`JSON_PATH`] as well. Lookups whose client has left go on in `tasks`.
    #[must_use]
    pub fn with_dns(self, responder: Arc<R>, tasks: &TaskTracker) -> Self {
        let dns = Dns::new(responder, &self.limits, tasks.clone());
        Self { dns: Some(dns), ..self }
    }

    /// The response to a request that came from `peer`, over TLS or not. Takes as long as the request's body and its answer take.
    pub async fn respond<B>(&self, peer: IpAddr, is_tls: bool, request: Request<B>) -> Response<SiteBody>
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        match self.begin(Origin { peer, is_tls, is_stranger: false }, &request) {
            Begun::Answered(response) => response,
            Begun::Dns(waiting) => self.answer(waiting, request.into_body()).await,
            Begun::Page(visitor) => self.page(visitor, request).await,
        }
    }

    /// As far as a request comes without waiting. Questions do not pass axum's router, which costs as much as the answer.
    fn begin<B>(&self, origin: Origin, request: &Request<B>) -> Begun {
        let Origin { peer, is_tls, .. } = origin;
        let content = self.content.load();
        let Ok(named) = client_address(peer, request.headers(), &content.trusted) else {
            return Begun::Answered(Refusal::Forwarded.response());
        };
        let address = named.unwrap_or(peer);
        let is_trusted = content.trusted.contains(peer);
        let may_be_a_proxy =
            named.is_none() || !is_trusted && client_address::is_forwarded(request.headers());
        let visitor = Visitor { address, is_encrypted: is_tls || is_trusted, is_tls, may_be_a_proxy };
        if content.sample_site(request).is_some() {
            return Begun::Page(visitor);
        }
        let path = request.uri().path();
        let is_for_anyone = path.starts_with(CHALLENGE_PATH)
            || health::is_health_path(path)
            || content.notices.is_some() && Notices::are_at(path);
        if !is_for_anyone && !content.is_meant(visitor, request) {
            return Begun::Answered(Refusal::ForeignHost.response());
        }
        match &self.dns {
            Some(dns) if dns::is_dns_path(path) => {
                if named.is_none() {
                    self.note_silent_proxy(peer, request.headers(), &content.trusted);
                }
                match dns.begin(request, visitor, content.is_for_everybody()) {
                    dns::Begun::Answered(response) => Begun::Answered(response),
                    dns::Begun::Waiting(waiting) => Begun::Dns(waiting),
                }
            }
            _ => Begun::Page(visitor),
        }
    }

    /// Says once that a trusted proxy does not say for whom it asks: quotas and `[access]` hold for the proxy then, and
    /// whom the access list denies is served.
    fn note_silent_proxy(&self, proxy: IpAddr, headers: &HeaderMap, trusted: &TrustedProxies) {
        if self.has_noted_silent_proxy.swap(true, Ordering::Relaxed) {
            return;
        }
        let others = ["x-real-ip", "cf-connecting-ip", "true-client-ip"];
        let other = others.into_iter().find(|name| headers.contains_key(*name));
        match (trusted.header(), other) {
            (Some(wanted), _) => warn!(
                "the trusted proxy {proxy} sends no {wanted} with an address, which doh.client_address_header asks for, so \
                 that its clients count as one: let it send that header"
            ),
            (None, Some(other)) => warn!(
                "the trusted proxy {proxy} sends {other} and no X-Forwarded-For, so that its clients count as one: set \
                 client_address_header = \"{other}\" in [doh] if it always replaces what a client wrote there"
            ),
            (None, None) => warn!(
                "the trusted proxy {proxy} does not say for whom it asks, so that its clients count as one: let it send \
                 X-Forwarded-For"
            ),
        }
    }

    /// Leave for a request to wait, or for a response that has none of its own.
    fn leave(&self, client: IpAddr) -> Option<Permit> {
        self.limits.unread.take(client, RESPONSE_COST, Reason::Unread)
    }

    /// The response to a question that has to wait.
    async fn answer<B: HttpBody<Data = Bytes>>(&self, waiting: Waiting, body: B) -> Response<SiteBody> {
        match &self.dns {
            Some(dns) => {
                let any_origin = self.content.load().is_for_everybody();
                dns.finish(waiting, body, any_origin).await
            }
            None => Refusal::Busy.response(),
        }
    }

    /// A page, for those who may see it.
    async fn page<B>(&self, visitor: Visitor, mut request: Request<B>) -> Response<SiteBody>
    where
        B: HttpBody<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let content = self.content.load_full();
        if let Some(site) = content.sample_site(&request) {
            if !content.access.allows(visitor.address) {
                return self.deny(visitor);
            }
            let page = site.answer(visitor.address, &request).await;
            return self.whole(visitor, page).await;
        }
        if let Some(token) = request.uri().path().strip_prefix(CHALLENGE_PATH)
            && let Some(file) = content.challenges.file(token)
        {
            let kind = [(header::CONTENT_TYPE, "application/octet-stream")];
            return self.whole(visitor, (kind, file).into_response()).await;
        }
        if let Some(health) = &self.health
            && let Some(answer) = health.answer(&request, content.access.allows(visitor.address))
        {
            return self.whole(visitor, answer).await;
        }
        if let Some(notices) = &content.notices
            && let Some(answer) = notices.answer(&request, SystemTime::now())
        {
            return self.whole(visitor, answer).await;
        }
        if let Some(status) = &self.status
            && StatusPage::is_at(request.uri().path())
        {
            // Else a page from anywhere could read it through a browser on this machine, by a name that leads here, and
            // everybody could through a proxy on it.
            let is_meant = visitor.is_encrypted || content.hosts.are_meant(request.uri(), request.headers());
            let is_allowed =
                is_meant && !visitor.may_be_a_proxy && content.status_access.allows(visitor.address);
            return self.whole(visitor, status.answer(&request, visitor, is_allowed)).await;
        }
        if !content.access.allows(visitor.address) {
            return self.deny(visitor);
        }
        request.extensions_mut().insert(visitor);
        request.extensions_mut().insert(self.limits.unread.clone());
        let page = content.pages.clone().call(request.map(Body::new)).await;
        self.whole(visitor, page.unwrap_or_else(|never| match never {})).await
    }

    /// What whom `[access]` does not serve is told.
    fn deny(&self, visitor: Visitor) -> Response<SiteBody> {
        self.refusals.note(Reason::Access, visitor.address);
        Refusal::Denied.response()
    }

    /// A page with its body in memory, where it is in any case, and counted.
    async fn whole(&self, visitor: Visitor, page: Response<Body>) -> Response<SiteBody> {
        let (head, body) = page.into_parts();
        let Ok(body) = body.collect().await else { return empty(StatusCode::INTERNAL_SERVER_ERROR) };
        let bytes = body.to_bytes();
        match self.limits.unread.take(visitor.address, bytes.len() + RESPONSE_COST, Reason::Unread) {
            Some(permit) => Response::from_parts(head, SiteBody::new(bytes, permit)),
            None => Refusal::Held.response(),
        }
    }

    /// Ends within `limits.request`. An HTTP/2 stream has that limit from where it runs, which also holds for the time
    /// that its response takes to leave.
    async fn in_time(&self, response: impl Future<Output = Response<SiteBody>>) -> Response<SiteBody> {
        let response = timeout(self.limits.request, response).await;
        response.unwrap_or_else(|_| empty(StatusCode::REQUEST_TIMEOUT))
    }
}

fn empty(status: StatusCode) -> Response<SiteBody> {
    let mut response = Response::new(SiteBody::default());
    *response.status_mut() = status;
    response
}

/// How far a request has come.
enum Begun {
    Answered(Response<SiteBody>),
    Dns(Waiting),
    Page(Visitor),
}
