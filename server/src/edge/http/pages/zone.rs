//! `/zone/<key>`: what this server finds of a key, for people and for programs.

use std::{sync::Arc, time::SystemTime};

use axum::{
    Extension, Router,
    body::Body,
    extract::{Path, RawQuery, State, rejection::PathRejection},
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    response::{IntoResponse, Response},
    routing,
};
use pkdns_dht::signed_packet::PublicKey;

use super::{
    super::{Visitor, json::parameter},
    About, Origin,
    search::{NoKey, key_in},
    zone_html,
    zone_json::ZoneJson,
};
use crate::{
    resolver::{
        error::ResolveError,
        inspection::{Inspected, Inspection},
    },
    service::Service,
};

/// The form to look up a key.
pub(super) const FIND: &str = include_str!("find.html");

/// When to try again, in seconds: after the DHT could not be asked, and after a quota was spent.
const RETRY_UNREACHABLE: &str = "5";
const RETRY_QUOTA: &str = "60";

/// Looks up zones for pages. Cheap to clone.
#[derive(Clone)]
pub struct Zones(Arc<Service>);

/// What was found of a key, or why nothing can be said.
#[derive(Debug)]
pub(super) enum Outcome {
    Packet(Box<Inspected>),
    Absent,
    Denied(&'static str),
    Failed(ResolveError),
}

impl Outcome {
    pub(super) fn status(&self) -> StatusCode {
        match self {
            Self::Packet(_) => StatusCode::OK,
            Self::Absent => StatusCode::NOT_FOUND,
            // RFC 7725, as the relay says it.
            Self::Denied(_) => StatusCode::UNAVAILABLE_FOR_LEGAL_REASONS,
            Self::Failed(ResolveError::LookupQuota | ResolveError::QueryQuota) => {
                StatusCode::TOO_MANY_REQUESTS
            }
            Self::Failed(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// One word for programs.
    pub(super) fn word(&self) -> &'static str {
        match self {
            Self::Packet(inspected) if inspected.is_readable => "found",
            Self::Packet(_) => "unreadable",
            Self::Absent => "absent",
            Self::Denied(_) => "denied",
            Self::Failed(ResolveError::LookupQuota | ResolveError::QueryQuota) => "over_quota",
            Self::Failed(_) => "unreachable",
        }
    }
}

/// What handlers of this page have in common.
#[derive(Clone)]
struct Shared {
    zones: Zones,
    about: Arc<About>,
}

impl Zones {
    /// Looks up with the resolver that `service` has at the time.
    pub fn new(service: Arc<Service>) -> Self {
        Self(service)
    }

    pub(super) fn routes(self, about: Arc<About>) -> Router<Arc<About>> {
        Router::new()
            .route("/zone", routing::get(find))
            .route("/zone/{key}", routing::get(show).post(count))
            .route("/zone/{key}/packet", routing::get(packet))
            .with_state(Shared { zones: self, about })
    }

    async fn look(&self, key: &PublicKey, visitor: Visitor) -> Outcome {
        // Whoever looks at a zone asks a question, and the search is one more of its lookups.
        if !self.0.admit_page(visitor.address) {
            return Outcome::Failed(ResolveError::QueryQuota);
        }
        match self.0.resolver().inspect(key, visitor.address).await {
            Ok(Inspection::Packet(inspected)) => Outcome::Packet(inspected),
            Ok(Inspection::Absent) => Outcome::Absent,
            Ok(Inspection::Denied(denial)) => Outcome::Denied(denial.text()),
            Err(error) => Outcome::Failed(error),
        }
    }

    async fn count(&self, key: &PublicKey, visitor: Visitor) -> Result<(), ResolveError> {
        match self.0.admit_page(visitor.address) {
            true => self.0.resolver().count_holders(key, visitor.address).await,
            false => Err(ResolveError::QueryQuota),
        }
    }
}

/// Whatever was typed leads to the page of the key in it.
async fn find(State(Shared { about, .. }): State<Shared>, RawQuery(query): RawQuery) -> Response {
    // Forms write a space as a plus sign.
    let query = query.unwrap_or_default().replace('+', " ");
    match parameter(&query, "name") {
        None => about.page(
            "Look up a key · pkdns",
            "",
            &find_page("<p class=\"lead\">Write or paste a key, or an address under one.</p>"),
        ),
        Some(name) => match key_in(&name) {
            Ok(key) => see(&key),
            Err(fault) => not_found_in(&about, &fault),
        },
    }
}

fn find_page(above: &str) -> String {
    format!("<h1 class=\"plain\">Look up a key</h1>{above}{FIND}")
}

fn not_found_in(about: &About, fault: &NoKey) -> Response {
    let main = find_page(&format!("<p class=\"warning\" role=\"alert\">{}</p>", fault.advice()));
    let mut page = about.page("No key in this · pkdns", "", &main);
    *page.status_mut() = StatusCode::BAD_REQUEST;
    page
}

fn see(key: &PublicKey) -> Response {
    let location = format!("/zone/{}", key.to_z32());
    (StatusCode::SEE_OTHER, [(header::LOCATION, location)]).into_response()
}

/// The key in a path, or the response to what is there instead: its one address, or why it is none.
fn key_of(path: Result<Path<String>, PathRejection>, about: &About) -> Result<PublicKey, Box<Response>> {
    let text = path.map(|Path(text)| text).unwrap_or_default();
    let key = key_in(&text).map_err(|fault| Box::new(not_found_in(about, &fault)))?;
    if key.to_z32() == text { Ok(key) } else { Err(Box::new(see(&key))) }
}

async fn show(
    State(Shared { zones, about }): State<Shared>,
    Extension(visitor): Extension<Visitor>,
    key: Result<Path<String>, PathRejection>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let key = match key_of(key, &about) {
        Ok(key) => key,
        Err(response) => return *response,
    };
    let outcome = zones.look(&key, visitor).await;
    let mut response = match wants_json(&headers) {
        true => json(&key, &outcome),
        false => {
            let origin = Origin::of(visitor, &uri, &headers);
            let page = zone_html::Page { about: &about, origin: &origin, key: &key, now: SystemTime::now() };
            let title = format!("{}… · pkdns", key.to_z32().chars().take(8).collect::<String>());
            about.page(&title, "", &page.html(&outcome))
        }
    };
    *response.status_mut() = outcome.status();
    let headers = response.headers_mut();
    headers.insert(header::VARY, HeaderValue::from_static("accept"));
    // Else a form of ours is of the origin `null`, as one of anybody's may be. Others still hear of nothing.
    headers.insert(header::REFERRER_POLICY, HeaderValue::from_static("same-origin"));
    if let Outcome::Failed(error) = &outcome {
        let is_quota = matches!(error, ResolveError::LookupQuota | ResolveError::QueryQuota);
        let seconds = if is_quota { RETRY_QUOTA } else { RETRY_UNREACHABLE };
        headers.insert(header::RETRY_AFTER, HeaderValue::from_static(seconds));
    }
    response
}

fn json(key: &PublicKey, outcome: &Outcome) -> Response {
    let text = serde_json::to_string(&ZoneJson::of(key, outcome, SystemTime::now())).unwrap_or_default();
    ([(header::CONTENT_TYPE, "application/json")], text + "\n").into_response()
}

/// Asks the nodes anew, for a visitor who comes from the page itself.
async fn count(
    State(Shared { zones, about }): State<Shared>,
    Extension(visitor): Extension<Visitor>,
    key: Result<Path<String>, PathRejection>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    if !comes_from_here(&headers, &Origin::of(visitor, &uri, &headers)) {
        return (StatusCode::FORBIDDEN, "The nodes can be counted from the page of the key alone.\n")
            .into_response();
    }
    let key = match key_of(key, &about) {
        Ok(key) => key,
        Err(response) => return *response,
    };
    match zones.count(&key, visitor).await {
        Ok(()) => see(&key),
        Err(error) => {
            let outcome = Outcome::Failed(error);
            let origin = Origin::of(visitor, &uri, &headers);
            let page = zone_html::Page { about: &about, origin: &origin, key: &key, now: SystemTime::now() };
            let mut response = about.page("Not counted · pkdns", "", &page.html(&outcome));
            *response.status_mut() = outcome.status();
            response
        }
    }
}

/// Whether a page of ours sent the request, or no page. Browsers say so in one of two headers.
fn comes_from_here(headers: &HeaderMap, origin: &Origin) -> bool {
    if let Some(site) = headers.get("sec-fetch-site") {
        return site == "same-origin";
    }
    // A page that keeps its referrers to itself is of the origin `null`, and that may be ours or anybody's.
    headers.get(header::ORIGIN).is_none_or(|from| from.as_bytes() == origin.url().as_bytes())
}

/// The packet as relays give it.
async fn packet(
    State(Shared { zones, about }): State<Shared>,
    Extension(visitor): Extension<Visitor>,
    key: Result<Path<String>, PathRejection>,
) -> Response {
    let key = match key_of(key, &about) {
        Ok(key) => key,
        Err(response) => return *response,
    };
    let outcome = zones.look(&key, visitor).await;
    let Outcome::Packet(inspected) = &outcome else {
        return (outcome.status(), format!("There is no packet to download: {}.\n", outcome.word()))
            .into_response();
    };
    let mut response = Response::new(Body::from(inspected.found.packet.to_payload()));
    let headers = response.headers_mut();
    let name = format!("attachment; filename=\"{}.pkarr\"", key.to_z32());
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("application/pkarr.org/relays#payload"));
    if let Ok(name) = HeaderValue::try_from(name) {
        headers.insert(header::CONTENT_DISPOSITION, name);
    }
    response
}

/// Whether a program asks, which names JSON and no HTML.
pub(super) fn wants_json(headers: &HeaderMap) -> bool {
    let accept = headers.get(header::ACCEPT).and_then(|value| value.to_str().ok()).unwrap_or_default();
    accept.contains("application/json") && !accept.contains("text/html")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_page_itself_and_programs_may_have_nodes_counted() {
        let origin = Origin {
            scheme: "https",
            host: "dns.example".into(),
            port: None,
            authority: "dns.example".into(),
        };
        for (headers, is_allowed) in [
            (&[][..], true),
            (&[("sec-fetch-site", "same-origin")], true),
            (&[("sec-fetch-site", "cross-site")], false),
            (&[("sec-fetch-site", "same-site")], false),
            (&[("sec-fetch-site", "none")], false),
            (&[("origin", "https://dns.example")], true),
            (&[("origin", "https://dns.example.evil.example")], false),
            (&[("origin", "http://dns.example")], false),
            (&[("origin", "null")], false),
            (&[("origin", "https://dns.example"), ("sec-fetch-site", "cross-site")], false),
        ] {
            let map = headers.iter().map(|&(name, value)| {
                (header::HeaderName::from_static(name), HeaderValue::from_static(value))
            });
            assert_eq!(comes_from_here(&map.collect(), &origin), is_allowed, "{headers:?}");
        }
    }
}
