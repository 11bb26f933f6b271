//! What a browser sends, which adds a password that it once learned to whatever a page has it request. Routers, and the
//! programs that stand in for them, send none of these headers. Pure.

use axum::http::{HeaderMap, HeaderName, header};

const SEC_FETCH_SITE: HeaderName = HeaderName::from_static("sec-fetch-site");

/// What browsers send with each request, over plain HTTP as well.
const OF_BROWSERS: [HeaderName; 5] = [
    SEC_FETCH_SITE,
    HeaderName::from_static("sec-fetch-mode"),
    HeaderName::from_static("sec-fetch-dest"),
    header::UPGRADE_INSECURE_REQUESTS,
    header::ACCEPT_LANGUAGE,
];

/// Whether the request comes from a browser.
pub(super) fn is_browser(headers: &HeaderMap) -> bool {
    OF_BROWSERS.iter().any(|name| headers.contains_key(name))
}

/// The header that tells that a page from elsewhere is behind the request, or a link, or that a browser will not say.
/// `host` is the authority that was asked.
pub(super) fn page_from_elsewhere(headers: &HeaderMap, host: Option<&str>) -> Option<HeaderName> {
    let sites = || headers.get_all(SEC_FETCH_SITE).iter();
    // "none" is what somebody typed.
    if !sites().all(|site| matches!(site.as_bytes(), b"same-origin" | b"none")) {
        return Some(SEC_FETCH_SITE);
    }
    let is_foreign = |name: &HeaderName| {
        let pages = headers.get_all(name).iter();
        pages.map(|page| page.to_str().unwrap_or_default()).any(|page| !is_of(page, host))
    };
    if let Some(name) = [header::ORIGIN, header::REFERER].into_iter().find(is_foreign) {
        return Some(name);
    }
    // Without encryption, browsers do not tell where a navigation comes from, and pages can keep back the rest.
    let is_navigation = headers.contains_key(header::UPGRADE_INSECURE_REQUESTS);
    (is_navigation && sites().next().is_none()).then_some(header::UPGRADE_INSECURE_REQUESTS)
}

/// Whether the address is one of the host.
fn is_of(address: &str, host: Option<&str>) -> bool {
    let authority = address.split_once("://").and_then(|(_, rest)| rest.split(['/', '?', '#']).next());
    authority.zip(host).is_some_and(|(authority, host)| authority.eq_ignore_ascii_case(host))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn headers(lines: &[(&'static str, &'static str)]) -> HeaderMap {
        lines.iter().map(|(name, value)| (HeaderName::from_static(name), value.parse().unwrap())).collect()
    }

    #[test]
    fn a_page_cannot_hide_that_it_is_behind_a_request() {
        let host = Some("192.168.1.20:8245");
        for foreign in [
            &[("sec-fetch-site", "cross-site")][..],
            &[("sec-fetch-site", "same-site")],
            &[("sec-fetch-site", "")],
            &[("sec-fetch-site", "none"), ("origin", "https://evil.example")],
            &[("origin", "null")],
            &[("origin", "http://192.168.1.20:8000")],
            &[("origin", "http://evil.example/http://192.168.1.20:8245")],
            &[("referer", "http://evil.example/page")],
            &[("upgrade-insecure-requests", "1")],
        ] {
            assert!(page_from_elsewhere(&headers(foreign), host).is_some(), "{foreign:?}");
        }
        for own in [
            &[][..],
            &[("sec-fetch-site", "none"), ("upgrade-insecure-requests", "1")],
            &[("sec-fetch-site", "same-origin"), ("referer", "http://192.168.1.20:8245/nic/update?x=y")],
            &[("origin", "http://192.168.1.20:8245")],
            &[("user-agent", "Fritz!Box DDNS/1.0.1"), ("accept", "*/*")],
        ] {
            assert_eq!(page_from_elsewhere(&headers(own), host), None, "{own:?}");
        }
        assert!(page_from_elsewhere(&headers(&[("origin", "http://a")]), None).is_some());
        let both =
            HeaderMap::from_iter(["none", "cross-site"].map(|site| (SEC_FETCH_SITE, site.parse().unwrap())));
        assert!(page_from_elsewhere(&both, host).is_some());
    }

    #[test]
    fn browsers_are_told_from_routers_over_plain_http_too() {
        assert!(is_browser(&headers(&[("accept-language", "de"), ("user-agent", "Mozilla/5.0")])));
        assert!(!is_browser(&headers(&[("user-agent", "ddclient/3.11.2"), ("accept", "*/*")])));
    }
}
