//! What is wrong with a request, for the person who sees it in a browser.

use axum::http::{HeaderValue, Response, StatusCode, header};

use super::SiteBody;

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
    /// `[access]` does not serve the client.
    Denied,
    /// Neither GET nor POST.
    Method,
    /// Nothing that the client takes is there to give.
    NotAcceptable,
    /// The answer takes more in JSON than is held for one.
    TooLongForJson,
    /// The body is longer than questions are.
    TooLarge,
    /// The question in the address is longer than questions are.
    TooLong,
    /// The body is something else than a DNS message.
    MediaType,
    /// The request is for a name that this server does not go by.
    ForeignHost,
    /// The client's quota is spent.
    Quota,
    /// Too many lookups of this client, or of all, are under way.
    Busy,
    /// Too much is held for this client.
    Held,
}

/// What is said, with how to ask behind it. All of it is in the program: a refusal takes no memory.
macro_rules! with_help {
    ($reason:literal) => {
        concat!(
            $reason,
            "\n\n\
This address answers DNS questions over HTTPS (RFC 8484). Programs use it, people set it up once: / explains how.\n\
\n\
  GET  /dns-query?dns=<message in base64url>      accept: application/dns-message\n\
  POST /dns-query                                 content-type: application/dns-message\n\
  GET  /resolve?name=example.com&type=A           in JSON\n"
        )
    };
}

impl Refusal {
    fn status(self) -> StatusCode {
        match self {
            Self::NoQuestion
            | Self::Base64
            | Self::Message
            | Self::Question
            | Self::Body
            | Self::Forwarded => StatusCode::BAD_REQUEST,
            Self::Denied => StatusCode::FORBIDDEN,
            Self::Method => StatusCode::METHOD_NOT_ALLOWED,
            Self::NotAcceptable | Self::TooLongForJson => StatusCode::NOT_ACCEPTABLE,
            Self::TooLarge => StatusCode::PAYLOAD_TOO_LARGE,
            Self::TooLong => StatusCode::URI_TOO_LONG,
            Self::MediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
            Self::ForeignHost => StatusCode::MISDIRECTED_REQUEST,
            Self::Quota | Self::Busy | Self::Held => StatusCode::TOO_MANY_REQUESTS,
        }
    }

    fn text(self) -> &'static str {
        match self {
            Self::NoQuestion => with_help!("There is no question in this request."),
            Self::Base64 => with_help!("The value of dns= is not base64url (RFC 4648 section 5)."),
            Self::Message => with_help!("The question is not a DNS message."),
            Self::Question => with_help!(
                "The value of name= or type= cannot be a question: write name=example.com&type=A, and a name in letters \
                 outside of ASCII as browsers send it: name=xn--bcher-kva.example."
            ),
            Self::Body => with_help!("The body of the request is not complete."),
            Self::Forwarded => with_help!(
                "X-Forwarded-For and Forwarded name different clients. Let the proxy remove the one that it does not set."
            ),
            Self::Denied => {
                "This server does not serve your address. Its operator can allow it in access.allow.\n"
            }
            Self::Method => with_help!("Questions are asked with GET or POST."),
            Self::NotAcceptable => with_help!(
                "Answers are application/dns-message or application/dns-json, and the request accepts neither."
            ),
            Self::TooLongForJson => with_help!(
                "The answer is too long for JSON: accept application/dns-message, which says it in less."
            ),
            Self::TooLarge => with_help!("A question has at most 4096 bytes."),
            Self::TooLong => with_help!("The value of dns= is too long: a question has at most 4096 bytes."),
            Self::MediaType => with_help!("The content-type of a question is application/dns-message."),
            Self::ForeignHost => {
                "This server does not go by the name that the request is for. If it should, its operator adds the name to \
                 doh.hosts, or to certificate.names. Its addresses always work.\n"
            }
            Self::Quota => with_help!("Too many questions: wait a little."),
            Self::Busy => with_help!("Too many questions wait for their answers: wait a little."),
            Self::Held => with_help!(
                "Too many of your replies wait to be read, or too many bodies are on their way: read, then ask again."
            ),
        }
    }

    /// The refusal as a response.
    pub(super) fn response(self) -> Response<SiteBody> {
        let mut response = Response::new(SiteBody::from_program(self.text()));
        *response.status_mut() = self.status();
        let headers = response.headers_mut();
        let mut set = |name, value| headers.insert(name, HeaderValue::from_static(value));
        set(header::CONTENT_TYPE, "text/plain; charset=utf-8");
        set(header::CACHE_CONTROL, "no-store");
        set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
        match self {
            Self::Method => drop(set(header::ALLOW, "GET, HEAD, POST, OPTIONS")),
            Self::Quota | Self::Busy | Self::Held => drop(set(header::RETRY_AFTER, "1")),
            _ => {}
        }
        response
    }
}
