//! What everybody may read of whoever runs the server: how to report a key, and where to write to (RFC 9116).

use std::time::{Duration, SystemTime};

use axum::{
    body::Body,
    http::{HeaderValue, Method, Request, StatusCode, header},
    response::{IntoResponse, Response},
};
use base64::{Engine, prelude::BASE64_STANDARD};
use sha2::{Digest, Sha256};
use time::OffsetDateTime;

use super::{
    MARK, STYLE,
    html::{escape, fill},
    with_headers,
};
use crate::base::config::Config;

const ABUSE_PATH: &str = "/abuse";
const SECURITY_PATH: &str = "/.well-known/security.txt";

const PAGE: &str = include_str!("abuse.html");

/// For so long what is said may be believed. It is said anew each time; RFC 9116 section 2.5.5 wants less than a year.
const VALID_FOR: Duration = Duration::from_secs(90 * 86_400);

/// Two short texts, made once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Notices {
    page: String,
    /// The style is in the page, as whom `[access]` does not serve gets one response for a connection.
    content_security_policy: HeaderValue,
    /// Without the line that says until when it holds.
    security: String,
}

impl Notices {
    /// As configured. `None` where there is nobody to write to.
    pub fn new(config: &Config) -> Option<Self> {
        let operator = &config.operator;
        if operator.contact.is_empty() {
            return None;
        }
        let name = match operator.name.as_str() {
            "" => String::new(),
            name => format!(" of {}", escape(name)),
        };
        let link = |address: &String| {
            let shown = address.strip_prefix("mailto:").unwrap_or(address);
            format!("<li><a href=\"{}\">{}</a></li>", escape(address), escape(shown))
        };
        let contacts: Vec<_> = operator.contact.iter().map(link).collect();
        let policy = match operator.policy.as_str() {
            "" => String::new(),
            page => format!(
                "<p>The rules of this server are <a href=\"{}\">on a page of their own</a>.</p>",
                escape(page)
            ),
        };
        let (passage, bridge_denies) = match config.bridge.is_enabled() {
            true => (
                "what you load from there\ndoes not pass through this server, unless your browser came by its bridge to sites \
                 under keys. The bridge takes what that machine\nsends to whoever asked for it, and keeps no copy.",
                " Its bridge no\nlonger connects to sites of the key either.",
            ),
            false => ("what you load from there\ndoes not pass through this server.", ""),
        };
        let values = [
            ("style", STYLE),
            ("mark", MARK.trim_end()),
            ("contacts", &contacts.join("\n")),
            ("policy", &policy),
            ("operator", &name),
            ("passage", passage),
            ("bridge_denies", bridge_denies),
        ];
        let hash = BASE64_STANDARD.encode(Sha256::digest(STYLE));
        let content_security_policy = format!(
            "default-src 'none'; style-src 'sha256-{hash}'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
        );
        let contacts = operator.contact.iter().map(|address| format!("Contact: {address}\n"));
        let mut security: String = contacts.collect();
        if !operator.policy.is_empty() {
            security += &format!("Policy: {}\n", operator.policy);
        }
        Some(Self {
            page: fill(PAGE, &values),
            content_security_policy: content_security_policy.parse().ok()?,
            security,
        })
    }

    /// Whether a path is one of those that everybody may ask for.
    pub(in crate::edge::http) fn are_at(path: &str) -> bool {
        matches!(path, ABUSE_PATH | SECURITY_PATH)
    }

    /// The answer to a request for one of the two paths.
    pub(in crate::edge::http) fn answer<B>(
        &self,
        request: &Request<B>,
        now: SystemTime,
    ) -> Option<Response<Body>> {
        let path = request.uri().path();
        if !Self::are_at(path) {
            return None;
        }
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            return Some((StatusCode::METHOD_NOT_ALLOWED, [(header::ALLOW, "GET, HEAD")]).into_response());
        }
        if path == SECURITY_PATH {
            let text = format!("{}Expires: {}\n", self.security, date(now + VALID_FOR));
            return Some(with_headers(
                ([(header::CONTENT_TYPE, "text/plain; charset=utf-8")], text).into_response(),
            ));
        }
        let kind = [(header::CONTENT_TYPE, "text/html; charset=utf-8")];
        let mut page = with_headers((kind, self.page.clone()).into_response());
        page.headers_mut().insert(header::CONTENT_SECURITY_POLICY, self.content_security_policy.clone());
        Some(page)
    }
}

/// The beginning of a day (RFC 3339), so that all answers of one day are the same.
fn date(time: SystemTime) -> String {
    let day = OffsetDateTime::from(time).date();
    format!("{:04}-{:02}-{:02}T00:00:00Z", day.year(), u8::from(day.month()), day.day())
}

#[cfg(test)]
mod tests {
    use std::time::UNIX_EPOCH;

    use http_body_util::BodyExt;

    use super::*;

    const NOW: Duration = Duration::from_secs(1_796_000_000);

    fn notices(text: &str) -> Option<Notices> {
        Notices::new(&toml::from_str(text).unwrap())
    }

    async fn get(notices: &Notices, method: Method, path: &str) -> (StatusCode, String, String) {
        let request = Request::builder().method(method).uri(path).body(()).unwrap();
        let (head, body) = notices.answer(&request, UNIX_EPOCH + NOW).unwrap().into_parts();
        let body = body.collect().await.unwrap().to_bytes().to_vec();
        let policy = head.headers.get(header::CONTENT_SECURITY_POLICY).map(|policy| policy.to_str().unwrap());
        (head.status, policy.unwrap_or_default().to_owned(), String::from_utf8(body).unwrap())
    }

    #[tokio::test]
    async fn security_txt_has_what_the_rfc_wants_and_ends_within_a_year() {
        let text = "operator.contact = ['mailto:abuse@example.net', 'https://example.net/report']\n\
                    operator.policy = 'https://example.net/policy'";
        let (status, _, text) = get(&notices(text).unwrap(), Method::GET, SECURITY_PATH).await;
        assert_eq!(status, StatusCode::OK);
        assert_eq!(
            text,
            "Contact: mailto:abuse@example.net\nContact: https://example.net/report\nPolicy: https://example.net/policy\n\
             Expires: 2027-02-28T00:00:00Z\n"
        );
    }

    #[tokio::test]
    async fn the_page_needs_nothing_from_anywhere_and_shows_names_as_they_are() {
        let notices = notices(
            "operator.contact = 'https://example.net/a?b=c&d'\noperator.name = '<b>\"R&D\"</b> {{policy}}'\n\
             operator.policy = 'https://example.net/p'",
        )
        .unwrap();
        let (status, policy, page) = get(&notices, Method::GET, ABUSE_PATH).await;
        assert_eq!(status, StatusCode::OK);
        assert!(page.contains("of &lt;b&gt;&quot;R&amp;D&quot;&lt;/b&gt; {{policy}}."), "{page}");
        assert!(page.contains("<a href=\"https://example.net/a?b=c&amp;d\">"), "{page}");
        assert!(page.contains("href=\"https://example.net/p\""), "{page}");
        for foreign in ["src=", "<link", "<script", "<form", "<input", "url(", "import "] {
            assert!(!page.contains(foreign), "{foreign}");
        }
        // The hash is of what stands in the page.
        let style = page.split_once("<style>").unwrap().1.split_once("</style>").unwrap().0;
        let hash = BASE64_STANDARD.encode(Sha256::digest(style));
        assert!(
            policy.contains(&format!("style-src 'sha256-{hash}'")) && policy.contains("default-src 'none'")
        );
        assert_eq!(get(&notices, Method::POST, ABUSE_PATH).await.0, StatusCode::METHOD_NOT_ALLOWED);
    }

    #[tokio::test]
    async fn where_there_is_a_bridge_the_page_says_what_passes_through_it_and_that_a_denied_key_closes_it() {
        let contact = "operator.contact = 'mailto:abuse@example.net'";
        for (bridge, is_there) in [("", false), ("\nbridge.listen = ['192.0.2.1:443']", true)] {
            let (_, _, page) =
                get(&notices(&format!("{contact}{bridge}")).unwrap(), Method::GET, ABUSE_PATH).await;
            for part in ["unless your browser came by its bridge", "Its bridge no\nlonger connects"] {
                assert_eq!(page.contains(part), is_there, "{part}: {page}");
            }
            assert_eq!(page.contains("does not pass through this server.\n"), !is_there, "{page}");
            assert!(!page.contains("{{"), "{page}");
        }
    }

    #[test]
    fn without_a_contact_nothing_is_said() {
        assert_eq!(notices("verbose = true"), None);
        let request = Request::builder().uri("/abuse/").body(()).unwrap();
        assert!(notices("operator.contact = 'tel:+1'").unwrap().answer(&request, UNIX_EPOCH).is_none());
    }
}
