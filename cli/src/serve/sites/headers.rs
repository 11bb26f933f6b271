//! What of a request goes on to the web server behind us, and what of its response to the client. Pure.

use std::net::IpAddr;

use http::{
    HeaderMap, HeaderName, HeaderValue, Method, Uri, Version,
    header::{
        CONNECTION, CONTENT_LENGTH, COOKIE, EXPECT, FORWARDED, HOST, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION,
        TE, TRAILER, TRANSFER_ENCODING, UPGRADE,
    },
    request, uri,
};

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// All headers of which the web server takes the word of a proxy have such a name.
const X_FORWARDED: &str = "x-forwarded-";

/// The same, of single names. Some web servers know them with underscores only, which are read as hyphens here.
const OF_PROXIES: [&str; 11] = [
    "forwarded",
    "x-real-ip",
    "x-client-ip",
    "x-cluster-client-ip",
    "true-client-ip",
    "cf-connecting-ip",
    "cf-connecting-ipv6",
    "fastly-client-ip",
    "x-original-host",
    "x-original-url",
    "x-rewrite-url",
];

/// What is about one connection alone, besides what `Connection` names (RFC 9110 section 7.6.1).
const OF_THE_CONNECTION: [HeaderName; 7] =
    [CONNECTION, PROXY_AUTHENTICATE, PROXY_AUTHORIZATION, TE, TRAILER, TRANSFER_ENCODING, UPGRADE];
const OF_OLD_CONNECTIONS: [&str; 3] = ["keep-alive", "proxy-connection", "http2-settings"];

/// The only protocol that a connection may become.
const WEBSOCKET: HeaderValue = HeaderValue::from_static("websocket");

/// Why a request is not passed on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Unfit {
    /// There is no host, or more than one.
    Host,
    /// It names a host that is none of this site.
    OtherHost,
    /// It says two lengths.
    Length,
    /// It asks for something else than a page of this site.
    Method,
}

/// Makes the head of a request one for the web server: of HTTP/1.1, from `client`, and with nothing in it that only a proxy may
/// say. Returns whether the client wants to speak WebSocket.
pub(super) fn for_backend(head: &mut request::Parts, client: IpAddr) -> Result<bool, Unfit> {
    if head.method == Method::CONNECT {
        return Err(Unfit::Method);
    }
    let host = host(head).ok_or(Unfit::Host)?;
    let is_websocket = head.version == Version::HTTP_11 && is_websocket(&head.headers);
    clean(&mut head.headers);
    remove(&mut head.headers, |name| {
        let name = name.replace('_', "-");
        name.starts_with(X_FORWARDED) || OF_PROXIES.contains(&name.as_str())
    });
    // The one who is asked to go on is this server.
    head.headers.remove(EXPECT);
    join_cookies(&mut head.headers);
    join_lengths(&mut head.headers)?;
    let address = HeaderValue::from_str(&client.to_string()).map_err(|_| Unfit::Host)?;
    let forwarded = match client {
        IpAddr::V4(client) => format!("for={client}"),
        // RFC 7239 section 6.
        IpAddr::V6(client) => format!("for=\"[{client}]\""),
    };
    let forwarded = format!("{forwarded};host=\"{}\";proto=https", host.to_str().map_err(|_| Unfit::Host)?);
    head.headers.insert(FORWARDED, HeaderValue::from_str(&forwarded).map_err(|_| Unfit::Host)?);
    head.headers.insert(X_FORWARDED_FOR, address);
    head.headers.insert(X_FORWARDED_PROTO, HeaderValue::from_static("https"));
    head.headers.insert(X_FORWARDED_HOST, host.clone());
    head.headers.insert(HOST, host);
    if is_websocket {
        upgrade(&mut head.headers);
    }
    head.uri = target(&head.uri);
    head.version = Version::HTTP_11;
    Ok(is_websocket)
}

/// Makes the head of a response one for the client.
pub(super) fn for_client(headers: &mut HeaderMap) {
    clean(headers);
}

/// Says that the connection becomes one of WebSocket.
pub(super) fn upgrade(headers: &mut HeaderMap) {
    headers.insert(CONNECTION, HeaderValue::from_static("upgrade"));
    headers.insert(UPGRADE, WEBSOCKET);
}

/// Whether a response agrees to that.
pub(super) fn is_websocket(headers: &HeaderMap) -> bool {
    headers.get(UPGRADE).is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(WEBSOCKET.as_bytes()))
}

/// The host that is asked, which HTTP/2 and requests to proxies name in the address (RFC 9112 section 3.2.2).
fn host(head: &request::Parts) -> Option<HeaderValue> {
    let mut named = head.headers.get_all(HOST).iter();
    let (first, second) = (named.next(), named.next());
    let of_address = head.uri.authority().map(uri::Authority::as_str);
    let host = match (of_address, first, second) {
        (_, _, Some(_)) | (None, None, _) => return None,
        (Some(authority), _, None) => HeaderValue::from_str(authority).ok()?,
        (None, Some(host), None) => host.clone(),
    };
    // Nothing but a name and a port, in brackets or not: it goes into other headers.
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b".-_:[]%~".contains(byte);
    (!host.is_empty() && host.as_bytes().iter().all(is_plain)).then_some(host)
}

/// Where on the web server. The client that passes it on wants a whole address, of which only the path is sent.
fn target(uri: &Uri) -> Uri {
    let path = uri.path_and_query().cloned().unwrap_or_else(|| uri::PathAndQuery::from_static("/"));
    let mut parts = uri::Parts::default();
    parts.scheme = Some(uri::Scheme::HTTP);
    parts.authority = Some(uri::Authority::from_static("backend"));
    parts.path_and_query = Some(path);
    Uri::from_parts(parts).unwrap_or_default()
}

/// Takes out what is about one connection alone.
fn clean(headers: &mut HeaderMap) {
    let named: Vec<String> = headers
        .get_all(CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(|name| name.trim().to_ascii_lowercase())
        .collect();
    // The length and the host belong to the message. A client that says otherwise would make two readers of it.
    let is_kept = |name: &str| name == CONTENT_LENGTH.as_str() || name == HOST.as_str();
    remove(headers, |name| named.iter().any(|other| other == name) && !is_kept(name));
    for name in OF_THE_CONNECTION {
        headers.remove(name);
    }
    for name in OF_OLD_CONNECTIONS {
        headers.remove(name);
    }
}

fn remove(headers: &mut HeaderMap, is_meant: impl Fn(&str) -> bool) {
    let meant: Vec<HeaderName> = headers.keys().filter(|name| is_meant(name.as_str())).cloned().collect();
    for name in meant {
        headers.remove(name);
    }
}

/// HTTP/2 lets cookies come in pieces, which HTTP/1.1 does not (RFC 9113 section 8.2.3).
fn join_cookies(headers: &mut HeaderMap) {
    let pieces: Vec<&[u8]> = headers.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
    if pieces.len() < 2 {
        return;
    }
    if let Ok(whole) = HeaderValue::from_bytes(&pieces.join(&b"; "[..])) {
        headers.insert(COOKIE, whole);
    }
}

/// Two lengths that are the same are one (RFC 9110 section 8.6). Over HTTP/2 they come through as two.
fn join_lengths(headers: &mut HeaderMap) -> Result<(), Unfit> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let Some(first) = lengths.next().cloned() else { return Ok(()) };
    if lengths.any(|other| other != first) {
        return Err(Unfit::Length);
    }
    headers.insert(CONTENT_LENGTH, first);
    Ok(())
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    const V4: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 7));

    fn head(version: Version, uri: &str, headers: &[(&str, &str)]) -> request::Parts {
        let mut request = Request::builder().version(version).uri(uri);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        request.body(()).unwrap().into_parts().0
    }

    fn passed(version: Version, uri: &str, headers: &[(&str, &str)]) -> Vec<String> {
        let mut head = head(version, uri, headers);
        for_backend(&mut head, V4).unwrap();
        let mut lines: Vec<String> =
            head.headers.iter().map(|(name, value)| format!("{name}: {}", value.to_str().unwrap())).collect();
        lines.sort();
        lines.insert(0, head.uri.path_and_query().unwrap().to_string());
        lines
    }

    const OURS: [&str; 5] = [
        "forwarded: for=192.0.2.7;host=\"a.example\";proto=https",
        "host: a.example",
        "x-forwarded-for: 192.0.2.7",
        "x-forwarded-host: a.example",
        "x-forwarded-proto: https",
    ];

    #[test]
    fn a_client_cannot_say_what_only_a_proxy_may_say() {
        let forged = [
            ("host", "a.example"),
            ("x-forwarded-for", "127.0.0.1"),
            ("X_Forwarded_For", "127.0.0.1"),
            ("x-forwarded-proto", "http"),
            ("x-forwarded-host", "evil.example"),
            ("x-forwarded-prefix", "/admin"),
            ("x-real-ip", "127.0.0.1"),
            ("x_real_ip", "127.0.0.1"),
            ("forwarded", "for=127.0.0.1"),
            ("x-rewrite-url", "/admin"),
            ("x-original-url", "/admin"),
            ("x-original-host", "evil.example"),
            ("true-client-ip", "127.0.0.1"),
            ("cf-connecting-ip", "127.0.0.1"),
        ];
        let expected = [&["/a?b=c"][..], &OURS].concat();
        assert_eq!(passed(Version::HTTP_11, "/a?b=c", &forged), expected);
    }

    #[test]
    fn what_is_about_the_connection_alone_stays_behind() {
        let headers = [
            ("host", "a.example"),
            ("connection", "keep-alive, X-Own, content-length, HOST"),
            ("x-own", "1"),
            ("keep-alive", "timeout=5"),
            ("te", "trailers"),
            ("transfer-encoding", "chunked"),
            ("upgrade", "h2c"),
            ("http2-settings", "AAMAAABk"),
            ("proxy-authorization", "Basic x"),
            ("expect", "100-continue"),
        ];
        assert_eq!(passed(Version::HTTP_11, "/", &headers), [&["/"][..], &OURS].concat());
        let kept = passed(
            Version::HTTP_11,
            "/",
            &[("host", "a.example"), ("accept", "*/*"), ("content-length", "3")],
        );
        assert!(
            kept.contains(&"accept: */*".to_string()) && kept.contains(&"content-length: 3".to_string()),
            "{kept:?}"
        );
    }

    #[test]
    fn the_pieces_of_a_cookie_come_together_and_the_address_names_the_host() {
        let headers = [("cookie", "a=1"), ("cookie", "b=2")];
        let passed = passed(Version::HTTP_2, "https://a.example/", &headers);
        assert!(passed.contains(&"cookie: a=1; b=2".to_string()), "{passed:?}");
        assert!(OURS.iter().all(|line| passed.contains(&(*line).to_string())), "{passed:?}");
        let absolute = head(Version::HTTP_11, "http://a.example/x", &[("host", "b.example")]);
        assert_eq!(host(&absolute).unwrap(), "a.example");
    }

    #[test]
    fn a_request_has_one_host_that_is_one() {
        let fit = |headers: &[(&str, &str)]| for_backend(&mut head(Version::HTTP_11, "/", headers), V4);
        for headers in [
            &[][..],
            &[("host", "")],
            &[("host", "a"), ("host", "b")],
            &[("host", "a\";for=127.0.0.1")],
            &[("host", "a b")],
        ] {
            assert_eq!(fit(headers), Err(Unfit::Host), "{headers:?}");
        }
        assert_eq!(fit(&[("host", "[2001:db8::1]:8443")]), Ok(false));
        let mut connect = head(Version::HTTP_11, "a.example:443", &[("host", "a.example")]);
        connect.method = Method::CONNECT;
        assert_eq!(for_backend(&mut connect, V4), Err(Unfit::Method));
    }

    #[test]
    fn two_lengths_are_one_or_none() {
        let mut twice = [("host", "a.example"), ("content-length", "3"), ("content-length", "3")];
        let once = passed(Version::HTTP_2, "https://a.example/", &twice);
        assert_eq!(once.iter().filter(|line| *line == "content-length: 3").count(), 1, "{once:?}");
        twice[2].1 = "4";
        assert_eq!(for_backend(&mut head(Version::HTTP_11, "/", &twice), V4), Err(Unfit::Length));
    }

    #[test]
    fn only_a_websocket_may_change_what_a_connection_speaks() {
        let asked = |version, protocol| {
            let headers = [("host", "a.example"), ("connection", "Upgrade"), ("upgrade", protocol)];
            let mut head = head(version, "/", &headers);
            let is_websocket = for_backend(&mut head, V4).unwrap();
            (is_websocket, head.headers.contains_key(UPGRADE), head.headers.contains_key(CONNECTION))
        };
        assert_eq!(asked(Version::HTTP_11, "WebSocket"), (true, true, true));
        assert_eq!(asked(Version::HTTP_11, "h2c"), (false, false, false));
        assert_eq!(asked(Version::HTTP_2, "websocket"), (false, false, false));
    }

    #[test]
    fn an_address_of_ipv6_stands_in_brackets() {
        let mut head = head(Version::HTTP_11, "/", &[("host", "a.example")]);
        for_backend(&mut head, "2001:db8::7".parse().unwrap()).unwrap();
        assert_eq!(head.headers["forwarded"], "for=\"[2001:db8::7]\";host=\"a.example\";proto=https");
        assert_eq!(head.headers["x-forwarded-for"], "2001:db8::7");
    }
}
