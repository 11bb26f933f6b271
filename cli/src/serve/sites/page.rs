//! What a visitor reads when there is no page of the site.

use http::{
    HeaderValue, Response, StatusCode,
    header::{CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER},
};

use super::{body, headers::Unfit};

/// Why there is no page. Visitors are strangers: where the web server is stands in the log alone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum NoPage {
    /// The web server takes no connections.
    Down,
    /// It takes none in time, or says nothing for too long.
    Late,
    /// What it says is no HTTP, or ends in the middle.
    Broken,
    /// There are too many requests.
    Busy,
    /// The rest of the request comes too slowly.
    Slow,
    /// The rest of the request is not what HTTP says.
    BadBody,
    /// The request itself is wrong.
    Unfit(Unfit),
}

impl NoPage {
    fn words(self) -> (StatusCode, &'static str, &'static str) {
        match self {
            Self::Down => (
                StatusCode::BAD_GATEWAY,
                "The site is not running",
                "You have reached the right machine, and its web server does not answer. Its owner has to start it: the log \
                 of pkdns-cli serve says where it is expected.",
            ),
            Self::Late => (
                StatusCode::GATEWAY_TIMEOUT,
                "The site does not answer",
                "You have reached the right machine, and its web server takes too long to answer. Try again in a few minutes.",
            ),
            Self::Broken => (
                StatusCode::BAD_GATEWAY,
                "The site has stopped in the middle",
                "You have reached the right machine, and its web server has ended the connection without an answer. Try \
                 again; if it stays like this, its owner has to look at the log of the web server.",
            ),
            Self::Busy => (
                StatusCode::SERVICE_UNAVAILABLE,
                "The site is busy",
                "More is asked of this site than it can answer at once. Try again in a moment.",
            ),
            Self::Slow => (
                StatusCode::REQUEST_TIMEOUT,
                "The request was too slow",
                "What was sent to this site came too slowly to wait for its end. Try again over a better connection.",
            ),
            Self::BadBody => (
                StatusCode::BAD_REQUEST,
                "No such request",
                "What was sent to this site broke off, or was not sent as HTTP has it.",
            ),
            Self::Unfit(Unfit::OtherHost) => (
                StatusCode::MISDIRECTED_REQUEST,
                "Another site",
                "The request names a host that is not on this site. Open that one by its own address.",
            ),
            Self::Unfit(Unfit::Length) => (
                StatusCode::BAD_REQUEST,
                "No such request",
                "The request says two different lengths of what it sends.",
            ),
            Self::Unfit(Unfit::Host) => (
                StatusCode::BAD_REQUEST,
                "No such request",
                "The request names no host, or more than one, or one that cannot be a name.",
            ),
            Self::Unfit(Unfit::Method) => (
                StatusCode::METHOD_NOT_ALLOWED,
                "No such request",
                "This is a site and not a proxy: CONNECT is not understood here.",
            ),
        }
    }

    pub(super) fn response(self) -> Response<body::Reply> {
        let (status, title, text) = self.words();
        let page = format!(
            "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><meta name=\"viewport\" \
             content=\"width=device-width\"><title>{title}</title>\n<body style=\"font-family: sans-serif; max-width: 40em; \
             margin: 3em auto; padding: 0 1em\">\n<h1>{title}</h1>\n<p>{text}</p>\n"
        );
        let mut response = Response::new(body::text(page));
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/html; charset=utf-8"));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        if self == Self::Busy {
            headers.insert(RETRY_AFTER, HeaderValue::from_static("5"));
        }
        response
    }
}
