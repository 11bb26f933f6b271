//! Any page may use a relay (CORS): what it gives is public, and what it takes is signed.

use axum::{
    extract::Request,
    http::{HeaderMap, HeaderName, HeaderValue, Method, header},
    middleware::Next,
    response::{IntoResponse, Response},
};

/// On how many DHT nodes a packet was stored.
pub(super) const STORED_NODES: HeaderName = HeaderName::from_static("pkarr-dht-stored-nodes");

/// The timestamp of what the key has published, where nobody can read it.
pub(super) const INVALID_SEQ: HeaderName = HeaderName::from_static("pkarr-invalid-signed-packet-seq");

/// What the answer depends on.
const VARY: &str = "origin, access-control-request-method, access-control-request-headers";

/// Seconds for which a browser need not ask again whether it may.
const MAX_AGE: &str = "86400";

/// Answers a browser that asks whether a page may, and says so in every other answer.
pub(super) async fn share(request: Request, next: Next) -> Response {
    let origin = request.headers().get(header::ORIGIN).cloned();
    let mut response = match *request.method() {
        Method::OPTIONS => preflight(request.headers()),
        _ => next.run(request).await,
    };
    let headers = response.headers_mut();
    if origin.is_some() {
        // A browser takes this for a named origin only.
        headers.insert(header::ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
    }
    let anyone = HeaderValue::from_static("*");
    headers.insert(header::ACCESS_CONTROL_ALLOW_ORIGIN, origin.unwrap_or(anyone));
    headers.insert(header::VARY, HeaderValue::from_static(VARY));
    if let Ok(exposed) = HeaderValue::try_from(format!("{STORED_NODES}, {INVALID_SEQ}")) {
        headers.insert(header::ACCESS_CONTROL_EXPOSE_HEADERS, exposed);
    }
    response
}

/// Whatever method and headers it asks for. Those that there are not get an answer of their own.
fn preflight(asked: &HeaderMap) -> Response {
    let mut response = ().into_response();
    let headers = response.headers_mut();
    for (question, answer) in [
        (header::ACCESS_CONTROL_REQUEST_METHOD, header::ACCESS_CONTROL_ALLOW_METHODS),
        (header::ACCESS_CONTROL_REQUEST_HEADERS, header::ACCESS_CONTROL_ALLOW_HEADERS),
    ] {
        if let Some(value) = asked.get(question) {
            headers.insert(answer, value.clone());
        }
    }
    headers.insert(header::ALLOW, HeaderValue::from_static("GET, HEAD, PUT, OPTIONS"));
    headers.insert(header::ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static(MAX_AGE));
    response
}
