//! What people see who open the address of the server: what it is, how to use it, and whether they do already.

mod notices;
mod private_dns;
#[cfg(test)]
mod tests;

use std::{
    hash::{DefaultHasher, Hash, Hasher},
    net::IpAddr,
    sync::Arc,
};

use axum::{
    Extension, Router,
    extract::{Path, Request, State},
    http::{HeaderMap, HeaderValue, StatusCode, Uri, header},
    middleware::{self, Next},
    response::{IntoResponse, Response},
    routing,
};

use super::{DNS_PATH, Visitor};
use crate::{
    certificates::{AuthorityCertificate, Certificates},
    config::Config,
    resolver::OwnZone,
};

pub use notices::Notices;

const LANDING: &str = include_str!("landing.html");
const STYLE: &str = include_str!("pkdns.css");
const SCRIPT: &str = include_str!("pkdns.js");
const PROFILE: &str = include_str!("profile.xml");

/// Nothing from elsewhere. The check asks for a name below a key, which no policy can list.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; \
    connect-src 'self' https:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// What the pages tell.
#[derive(Debug, Clone)]
pub struct About {
    /// The zone by which a browser finds out whether it asks here.
    pub own_zone: Arc<OwnZone>,
    /// Behind which keys are found: empty, or a suffix without dots at its ends.
    pub suffix: String,
    /// The port of DNS over TLS, if it is served.
    pub tls_port: Option<u16>,
    /// An address of this server, if its configuration names one.
    pub address: Option<IpAddr>,
    /// Names and addresses of this server, as its configuration has them.
    pub names: Vec<String>,
    /// What DNS over TLS shows, if it is served.
    pub tls_certificates: Option<Certificates>,
    /// The certificate that clients have to import, if it is one of ours.
    pub authority: Option<AuthorityCertificate>,
}

impl About {
    /// As configured; `config` has the ports that are bound in fact.
    pub fn new(
        config: &Config,
        own_zone: Arc<OwnZone>,
        tls_certificates: Option<Certificates>,
        authority: Option<AuthorityCertificate>,
    ) -> Self {
        let tls = config.dot.listen.first().filter(|_| config.dot.enabled);
        Self {
            own_zone,
            suffix: config.names.suffixes.first().cloned().unwrap_or_default(),
            tls_port: tls.map(|address| address.port()),
            address: config.certificate.names.iter().find_map(|name| name.parse().ok()),
            names: config.certificate.names.clone(),
            tls_certificates,
            authority,
        }
    }
}

/// The pages beside the answers.
pub fn pages(about: About) -> Router {
    let text = |kind: &'static str, text: &'static str| {
        routing::get(move || async move { ([(header::CONTENT_TYPE, kind)], text) })
    };
    Router::new()
        .route("/", routing::get(landing))
        .route("/pkdns.css", text("text/css; charset=utf-8", STYLE))
        .route("/pkdns.js", text("text/javascript; charset=utf-8", SCRIPT))
        .route("/pkdns.mobileconfig", routing::get(profile))
        .route("/ca.pem", routing::get(authority))
        .route("/check/{token}", routing::get(check))
        .fallback(async || nothing())
        .layer(middleware::from_fn(harden))
        .with_state(Arc::new(about))
}

/// What is said where there is no page.
pub(super) fn nothing() -> Response {
    let text = "There is nothing here. / says what this server is for.\n";
    with_headers((StatusCode::NOT_FOUND, text).into_response())
}

async fn harden(request: Request, next: Next) -> Response {
    with_headers(next.run(request).await)
}

/// The headers of every page.
pub(super) fn with_headers(mut response: Response) -> Response {
    for (name, value) in [
        (header::CONTENT_SECURITY_POLICY, CONTENT_SECURITY_POLICY),
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        // The address in the pages is that of the request.
        (header::CACHE_CONTROL, "no-store"),
    ] {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    response
}

async fn landing(
    State(about): State<Arc<About>>,
    Extension(visitor): Extension<Visitor>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let Origin { scheme, host, port, authority } = Origin::of(visitor, &uri, &headers);
    let origin = format!("{scheme}://{authority}");
    let suffix = &about.suffix;
    let zone = format!("{}.{suffix}", about.own_zone.name());
    let insecure = match visitor.is_encrypted {
        true => "",
        false => {
            "<p class=\"warning\">You opened this page over plain HTTP. Browsers and phones take an address that \
             begins with https alone: switch on <code>[doh]</code> in the configuration, or put a proxy that speaks \
             HTTPS in front.</p>"
        }
    };
    let ca = match &about.authority {
        None => "",
        Some(_) => {
            "<p class=\"warning\">The certificate of this server is signed by an authority of its own: \
             <a href=\"ca.pem\">download its certificate</a> and import it as a trusted authority first.</p>"
        }
    };
    let convinces =
        |name: &str| about.tls_certificates.as_ref().is_some_and(|shown| shown.convinces_everybody(name));
    let android = private_dns::advice(about.tls_port, &host, &about.names, convinces);
    let address =
        about.address.map_or_else(|| "&lt;address of this server&gt;".to_owned(), |ip| ip.to_string());
    let bracketed = if address.contains(':') { format!("[{address}]") } else { address.clone() };
    let (resolved, dig) = match about.tls_port {
        Some(port) => (
            format!(
                "<p>In <code>/etc/systemd/resolved.conf</code>, then <code>systemctl restart systemd-resolved</code>:</p>\
                 <pre>[Resolve]\nDNS={bracketed}:{port}#{host}\nDNSOverTLS=yes\nDomains=~.\nDNSSEC=no</pre>"
            ),
            format!("-p {port} +tls"),
        ),
        None => (
            "<p>systemd-resolved takes DNS over TLS, which this server does not serve.</p>".to_owned(),
            format!(
                "{}+https{}",
                port.map_or_else(String::new, |port| format!("-p {port} ")),
                if visitor.is_encrypted { "" } else { " +http-plain" }
            ),
        ),
    };
    let page = fill(
        LANDING,
        &[
            ("doh", &format!("{origin}{DNS_PATH}")),
            ("origin", &origin),
            ("host", &host),
            ("zone", &zone),
            ("dotted_suffix", suffix),
            ("insecure", insecure),
            ("authority", ca),
            ("android", &android),
            ("address", &address),
            ("resolved", &resolved),
            ("dig", &dig),
        ],
    );
    ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], page).into_response()
}

/// Settings that an Apple device installs.
async fn profile(Extension(visitor): Extension<Visitor>, uri: Uri, headers: HeaderMap) -> Response {
    let Origin { scheme, host, authority, .. } = Origin::of(visitor, &uri, &headers);
    let doh = format!("{scheme}://{authority}{DNS_PATH}");
    let (profile_id, settings_id) = (identifier("profile", &authority), identifier("settings", &authority));
    let values =
        [("doh", &doh[..]), ("host", &host), ("profile_id", &profile_id), ("settings_id", &settings_id)];
    let headers = [
        (header::CONTENT_TYPE, "application/x-apple-aspen-config"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"pkdns.mobileconfig\""),
    ];
    (headers, fill(PROFILE, &values)).into_response()
}

async fn authority(State(about): State<Arc<About>>) -> Response {
    match &about.authority {
        Some(authority) => {
            let pem = authority.pem().to_string();
            ([(header::CONTENT_TYPE, "application/x-pem-file")], pem).into_response()
        }
        None => {
            let why = "The certificate of this server is not signed by an authority of its own.\n";
            (StatusCode::NOT_FOUND, why).into_response()
        }
    }
}

/// Whether the name that a page made up has been asked for.
async fn check(State(about): State<Arc<About>>, Path(token): Path<String>) -> Response {
    let asked = about.own_zone.was_asked(&token.to_ascii_lowercase());
    ([(header::CONTENT_TYPE, "application/json")], format!("{{\"asked\":{asked}}}\n")).into_response()
}

/// How the visitor reached this server.
struct Origin {
    scheme: &'static str,
    /// Without the port, and without the brackets of an IPv6 address.
    host: String,
    port: Option<String>,
    authority: String,
}

impl Origin {
    /// What a client says of the host goes into pages, so that it has to look like one.
    fn of(visitor: Visitor, uri: &Uri, headers: &HeaderMap) -> Self {
        let from_header = || headers.get(header::HOST).and_then(|host| host.to_str().ok());
        let authority = uri.authority().map(|authority| authority.as_str()).or_else(from_header);
        let is_sound = |text: &&str| {
            let of_host = |byte: u8| byte.is_ascii_alphanumeric() || b".-_:[]".contains(&byte);
            (1..=260).contains(&text.len()) && text.bytes().all(of_host)
        };
        let authority = authority.filter(is_sound).unwrap_or("localhost").to_owned();
        let (host, port) = match authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => (host, Some(port)),
            _ => (&authority[..], None),
        };
        let host = host.trim_matches(['[', ']']).to_owned();
        let port = port.filter(|port| !port.is_empty()).map(str::to_owned);
        Self { scheme: if visitor.is_encrypted { "https" } else { "http" }, host, port, authority }
    }
}

/// Puts the values into the template, in the order of the list.
fn fill(template: &str, values: &[(&str, &str)]) -> String {
    values
        .iter()
        .fold(template.to_owned(), |text, (name, value)| text.replace(&format!("{{{{{name}}}}}"), value))
}

/// A UUID (version 8, RFC 9562) that is the same for the same server, so that a profile replaces its older self.
fn identifier(purpose: &str, authority: &str) -> String {
    let half = |part: u8| {
        let mut hasher = DefaultHasher::new();
        (part, purpose, authority).hash(&mut hasher);
        hasher.finish()
    };
    let (high, low) = (half(0) & !0xf000 | 0x8000, half(1) & !(0xc0 << 56) | 0x80 << 56);
    format!(
        "{:08X}-{:04X}-{:04X}-{:04X}-{:012X}",
        high >> 32,
        high >> 16 & 0xffff,
        high & 0xffff,
        low >> 48,
        low & 0xffff_ffff_ffff
    )
}
