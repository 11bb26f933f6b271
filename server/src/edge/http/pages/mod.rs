//! What people see who open the address of the server: what it is, how to use it, whether they do already, and the zone of any
//! key.

mod footer;
pub(super) mod html;
mod imports;
mod notices;
mod platform;
mod plot;
mod private_dns;
mod profile;
mod qr;
mod search;
mod setup;
mod status;
#[cfg(test)]
mod tests;
mod zone;
mod zone_html;
mod zone_json;

use std::{
    net::{IpAddr, SocketAddr},
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
    base::config::Config,
    edge::certificates::{AuthorityCertificate, Certificates},
    resolver::OwnZone,
};
use html::fill;
use platform::System;
use setup::Setting;

pub use notices::Notices;
pub use status::StatusPage;
pub use zone::Zones;

/// What all pages have around them.
const PAGE: &str = include_str!("page.html");
const LANDING: &str = include_str!("landing.html");
const BRIDGE: &str = include_str!("bridge.html");
const STYLE: &str = include_str!("pkdns.css");
const SCRIPT: &str = include_str!("pkdns.js");
const MARK: &str = include_str!("mark.svg");

/// A lookup is dear, and no robot needs one.
const ROBOTS: &str = "User-agent: *\nAllow: /$\nAllow: /abuse$\nDisallow: /\n";

/// Nothing from elsewhere. The check asks for a name below a key, which no policy can list.
const CONTENT_SECURITY_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; \
    connect-src 'self' https:; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// The key in examples, where the configuration knows no better one.
const EXAMPLE_KEY: &str = "7fmjpcuuzf54hw18bsgi3zihzyh4awseeuq5tmojefaezjbd64cy";

/// What the pages tell.
#[derive(Debug, Clone)]
pub struct About {
    /// The zone by which a browser finds out whether it asks here.
    pub own_zone: Arc<OwnZone>,
    /// Behind which keys are found: empty, or a suffix without dots at its ends.
    pub suffix: String,
    /// The key in examples, which there has to be in the network that is asked.
    pub example: String,
    /// The port of DNS over TLS, if it is served.
    pub tls_port: Option<u16>,
    /// The port of HTTPS, if it is served.
    pub https_port: Option<u16>,
    /// An address of this server, if its configuration names one.
    pub address: Option<IpAddr>,
    /// Names and addresses of this server, as its configuration has them.
    pub names: Vec<String>,
    /// What DNS over TLS shows, if it is served.
    pub tls_certificates: Option<Certificates>,
    /// The certificates that clients have to import, if they are ours. That of the server itself comes first.
    pub authorities: Vec<AuthorityCertificate>,
    /// The authority of the bridge, which they have to import for HTTPS under keys.
    pub bridge_authority: Option<AuthorityCertificate>,
    /// The port at which the bridge takes connections.
    pub bridge_port: Option<u16>,
    /// Whether relays are asked beside the DHT.
    pub has_relays: bool,
    /// Who runs this server and what it writes down, in HTML.
    footer: String,
}

impl About {
    /// As configured; `config` has the ports that are bound in fact.
    pub fn new(
        config: &Config,
        own_zone: Arc<OwnZone>,
        tls_certificates: Option<Certificates>,
        authorities: Vec<AuthorityCertificate>,
    ) -> Self {
        let tls = config.dot.listen.first().filter(|_| config.dot.enabled);
        let https = config.doh.listen.first().filter(|_| config.doh.enabled);
        Self {
            own_zone,
            suffix: config.names.suffixes.first().cloned().unwrap_or_default(),
            example: config.names.example.clone().unwrap_or_else(|| EXAMPLE_KEY.to_owned()),
            tls_port: tls.map(|address| address.port()),
            https_port: https.map(|address| address.port()),
            address: config.certificate.names.iter().find_map(|name| name.parse().ok()),
            names: config.certificate.names.clone(),
            tls_certificates,
            authorities,
            bridge_authority: None,
            bridge_port: config.bridge.listen.first().map(SocketAddr::port),
            has_relays: !config.dht.relays.is_empty(),
            footer: footer::footer(config),
        }
    }

    /// The name of a key as every browser takes it.
    fn host_of(&self, key: &str) -> String {
        // A name without a dot is taken for words to search for.
        format!("{key}.{}", self.suffix)
    }

    fn example_host(&self) -> String {
        self.host_of(&self.example)
    }

    /// How else a key may be written, as the end of a list.
    fn below_suffix(&self) -> String {
        match self.suffix.as_str() {
            "" => String::new(),
            suffix => format!(" and <code>&lt;key&gt;.{suffix}</code>"),
        }
    }

    /// Where a visitor who came over plain HTTP finds what needs HTTPS, and `why` to go there.
    fn over_https(&self, origin: &Origin, why: &str) -> String {
        match self.https_port {
            Some(port) => {
                format!("<a href=\"{}\">Open this page over HTTPS</a> {why}.", origin.url_at("https", port))
            }
            None => "The operator of this server makes that possible with <code>[doh]</code> in the configuration, or with a \
                     proxy in front that speaks HTTPS."
                .to_owned(),
        }
    }

    /// The card of the bridge. It sends visitors to where nobody between can change the authority that they import.
    fn bridge_card(&self, origin: &Origin) -> String {
        match (&self.bridge_authority, origin.scheme) {
            (None, _) => String::new(),
            (Some(_), "https") => BRIDGE.to_owned(),
            (Some(_), _) => format!(
                "<section class=\"card\" id=\"bridge\">\n<h2>HTTPS under keys</h2>\n<p>This server leads browsers to sites under \
                 keys over HTTPS, with an authority of its own that has to be imported once. You opened this page over plain \
                 HTTP, where anybody on the way could hand you another one. {}</p>\n</section>\n",
                self.over_https(origin, "to import it")
            ),
        }
    }

    /// A whole page.
    fn page(&self, title: &str, attributes: &str, main: &str) -> Response {
        let values = [
            ("title", title),
            ("attributes", attributes),
            ("mark", MARK.trim_end()),
            ("main", main),
            ("footer", &self.footer),
        ];
        ([(header::CONTENT_TYPE, "text/html; charset=utf-8")], fill(PAGE, &values)).into_response()
    }
}

/// The pages beside the answers.
pub fn pages(about: About, zones: Option<Zones>) -> Router {
    let text = |kind: &'static str, text: &'static str| {
        routing::get(move || async move { ([(header::CONTENT_TYPE, kind)], text) })
    };
    let about = Arc::new(about);
    let mut router = Router::new()
        .route("/", routing::get(landing))
        .route("/pkdns.css", text("text/css; charset=utf-8", STYLE))
        .route("/pkdns.js", text("text/javascript; charset=utf-8", SCRIPT))
        .route("/favicon.svg", text("image/svg+xml", MARK))
        .route("/favicon.ico", text("image/svg+xml", MARK))
        .route("/robots.txt", text("text/plain; charset=utf-8", ROBOTS))
        .route("/pkdns.mobileconfig", routing::get(profile))
        .route("/ca.pem", routing::get(authority))
        .route("/bridge-ca.pem", routing::get(bridge_authority))
        .route("/check/{token}", routing::get(check));
    if let Some(zones) = zones {
        router = router.merge(zones.routes(about.clone()));
    }
    router.fallback(async || nothing()).layer(middleware::from_fn(harden)).with_state(about)
}

/// What is said where there is no page.
pub(super) fn nothing() -> Response {
    let main = "<h1 class=\"plain\">There is nothing here</h1>\n\
        <p class=\"lead\">The address may be misspelt, or out of date.</p>\n\
        <div class=\"actions\"><a class=\"button\" href=\"/\">What this server is for</a>\
        <a class=\"button quiet\" href=\"/zone\">Look up a key</a></div>";
    let values = [
        ("title", "Nothing here · pkdns"),
        ("attributes", ""),
        ("mark", MARK.trim_end()),
        ("main", main),
        ("footer", footer::VERSION),
    ];
    let kind = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
    with_headers((StatusCode::NOT_FOUND, kind, fill(PAGE, &values)).into_response())
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
        // A page may have reasons of its own for another one.
        response.headers_mut().entry(name).or_insert(HeaderValue::from_static(value));
    }
    response
}

async fn landing(
    State(about): State<Arc<About>>,
    Extension(visitor): Extension<Visitor>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    let origin = Origin::of(visitor, &uri, &headers);
    let user_agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok());
    let (system, browser) = platform::of(user_agent.unwrap_or_default());
    // Nobody types commands on a phone.
    let has_terminal = !matches!(system, System::Apple | System::Android);
    let setting = Setting { about: &about, origin: &origin, system, browser };
    let example_address = format!("http://{}/", about.example_host());
    let main = fill(
        LANDING,
        &[
            ("find", zone::FIND),
            ("example", &about.example),
            ("example_address", &example_address),
            ("bridge", &about.bridge_card(&origin)),
            ("setup", &setting.html()),
            ("programs", &setting.programs()),
            ("programs_open", if has_terminal { " open" } else { "" }),
        ],
    );
    let zone = about.host_of(&about.own_zone.name());
    let bridge = about.bridge_authority.as_ref().and(about.bridge_port).filter(|_| visitor.is_encrypted);
    let bridge = bridge.map_or_else(String::new, |port| format!(" data-bridge=\"{port}\""));
    about.page("pkdns: names that nobody can take away", &format!(" data-zone=\"{zone}\"{bridge}"), &main)
}

/// Settings that an Apple device installs. It takes a resolver over HTTPS alone.
async fn profile(
    State(about): State<Arc<About>>,
    Extension(visitor): Extension<Visitor>,
    uri: Uri,
    headers: HeaderMap,
) -> Response {
    if !visitor.is_encrypted {
        let why = "A profile names a resolver over HTTPS, and this page was asked for over HTTP.\n";
        return (StatusCode::NOT_FOUND, why).into_response();
    }
    let origin = Origin::of(visitor, &uri, &headers);
    let doh = format!("{}{DNS_PATH}", origin.url());
    let authorities = about.authorities.iter().chain(&about.bridge_authority);
    let certificates: Vec<_> = authorities.map(AuthorityCertificate::pem).collect();
    let certificates: Vec<&str> = certificates.iter().map(|pem| &**pem).collect();
    let headers = [
        (header::CONTENT_TYPE, "application/x-apple-aspen-config"),
        (header::CONTENT_DISPOSITION, "attachment; filename=\"pkdns.mobileconfig\""),
    ];
    (headers, profile::profile(&doh, &origin.host, &origin.authority, &certificates)).into_response()
}

async fn authority(State(about): State<Arc<About>>) -> Response {
    let why = "The certificate of this server is not signed by an authority of its own.\n";
    to_import(about.authorities.first(), why)
}

async fn bridge_authority(State(about): State<Arc<About>>) -> Response {
    to_import(about.bridge_authority.as_ref(), "This server has no bridge to sites under keys.\n")
}

/// A certificate to be imported, or why there is none.
fn to_import(authority: Option<&AuthorityCertificate>, why_not: &'static str) -> Response {
    match authority {
        Some(authority) => {
            let pem = authority.pem().to_string();
            ([(header::CONTENT_TYPE, "application/x-pem-file")], pem).into_response()
        }
        None => (StatusCode::NOT_FOUND, why_not).into_response(),
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

    /// As a browser writes it, without a path.
    fn url(&self) -> String {
        format!("{}://{}", self.scheme, self.authority)
    }

    /// The same host at another port.
    fn url_at(&self, scheme: &str, port: u16) -> String {
        let host = if self.host.contains(':') { format!("[{}]", self.host) } else { self.host.clone() };
        match port {
            443 => format!("{scheme}://{host}/"),
            port => format!("{scheme}://{host}:{port}/"),
        }
    }
}
