//! What is wrong with a request, for the person who sees it in a browser.

use axum::{
    http::{HeaderValue, Response, StatusCode, header},
    response::IntoResponse,
};
use bytes::Bytes;
use http_body_util::Full;

use super::dns::ANY_ORIGIN;

/// Why a request gets no answer. Owns its status code and what is said.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Refusal {
    /// There is no question in the request.
    NoQuestion,
    /// `dns` is not base64url.
    Base64,
    /// The question is not a DNS message.
    Message,
    /// The name or type of a question in JSON cannot be one.
    Question,
    /// The body ended before its time.
    Body,
    /// Two headers name different clients.
    Forwarded,
    /// Neither GET nor POST.
    Method,
    /// Nothing that the client takes is there to give.
    NotAcceptable,
    /// The body is longer than a DNS message can be.
    TooLarge,
    /// The question in the address is longer than questions are.
    TooLong,
    /// The body is something else than a DNS message.
    MediaType,
    /// The client's quota is spent.
    Quota,
    /// Too many lookups of this client, or of all, are under way.
    Busy,
}

/// How to ask, behind each refusal.
const HELP: &str = "\n\
This address answers DNS questions over HTTPS (RFC 8484). Programs use it, people set it up once: / explains how.\n\
\n\
  GET  /dns-query?dns=<message in base64url>      accept: application/dns-message\n\
  POST /dns-query                                 content-type: application/dns-message\n\
  GET  /resolve?name=example.com&type=A           in JSON\n";

impl Refusal {
    fn status(self) -> StatusCode {
        match self {
            Self::NoQuestion
            | Self::Base64
            | Self::Message
            | Self::Question
            | Self::Body
            | Self::Forwarded => StatusCode::BAD_REQUEST,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotAcceptable => StatusCode::NOT_ACCEPTABLE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooLong => StatusCode::URI_TOO_LONG,
            Self::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::Quota | Self::Busy => StatusCode::TOO_MANY_REQUESTS,
        }
    }

    fn reason(self) -> &'static str {
        match self {
            Self::NoQuestion => "There is no question in this request.",
            Self::Base64 => "The value of dns= is not base64url (RFC 4648 section 5).",
            Self::Message => "The question is not a DNS message.",
            Self::Question => {
                "The value of name= or type= cannot be a question: write name=example.com&type=A, and a name in letters \
                 outside of ASCII as browsers send it: name=xn--bcher-kva.example."
            }
            Self::Body => "The body of the request is not complete.",
            Self::Forwarded => {
                "X-Forwarded-For and Forwarded name different clients. Let the proxy remove the one that it does not set."
            }
            Self::Method => "Questions are asked with GET or POST.",
            Self::NotAcceptable => {
                "Answers are application/dns-message or application/dns-json, and the request accepts neither."
            }
            Self::TooLarge => "A DNS message has at most 65535 bytes.",
            Self::TooLong => "The value of dns= is too long: ask with POST.",
            Self::MediaType => "The content-type of a question is application/dns-message.",
            Self::Quota => "Too many questions: wait a little.",
            Self::Busy => "Too many questions wait for their answers: wait a little.",
        }
    }

    /// The refusal as a response.
    pub(super) fn response(self) -> Response<Full<Bytes>> {
        let mut response = Response::new(Full::from(format!("{}\n{HELP}", self.reason())));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        let mut set = |name, value| headers.insert(name, HeaderValue::from_static(value));
        set(header::CONTENT_TYPE, "text/plain; charset=utf-8");
        set(header::CACHE_CONTROL, "no-store");
        set(header::ACCESS_CONTROL_ALLOW_ORIGIN, ANY_ORIGIN);
        set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
        match self {
            Self::Method => drop(set(header::ALLOW, "GET, HEAD, POST, OPTIONS")),
            Self::Quota | Self::Busy => drop(set(header::RETRY_AFTER, "1")),
            _ => {}
        }
        response
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> axum::response::Response {
        self.response().map(axum::body::Body::new)
    }
}
