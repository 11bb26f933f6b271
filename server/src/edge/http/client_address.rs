//! Who asks, when a proxy stands between: `X-Forwarded-For` and `Forwarded` (RFC 7239), or a header that the operator names.

use std::net::{IpAddr, SocketAddr};

use axum::http::{HeaderMap, HeaderName, header};

use crate::base::access::TrustedProxies;

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// Two headers name different clients. One of them is forged, since every proxy on the way extends the one that it
/// knows; which one, we cannot tell.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Contradiction;

/// The client of a request whose connection comes from `peer`: the right-most hop that is no trusted proxy. What is
/// left of it may be anybody's invention. Where all are trusted, the left-most of them. `None` where a trusted proxy
/// names nobody.
pub(super) fn client_address(
    peer: IpAddr,
    headers: &HeaderMap,
    trusted: &TrustedProxies,
) -> Result<Option<IpAddr>, Contradiction> {
    if !trusted.contains(peer) {
        return Ok(Some(peer));
    }
    if let Some(header) = trusted.header() {
        // Whoever extends it instead of replacing it lets the client write what comes before.
        let last = headers.get_all(header).iter().next_back();
        let last = last.and_then(|value| value.to_str().ok()?.rsplit(',').next());
        return Ok(last.and_then(|text| address(text.trim())));
    }
    let hops = |name: &HeaderName, read: fn(&str) -> Option<IpAddr>| {
        let mut last = None;
        let values = headers.get_all(name).iter().rev();
        // What is no text or no address is as far as we can see.
        let elements = values.flat_map(|value| value.to_str().unwrap_or_default().rsplit(','));
        for element in elements {
            let Some(hop) = read(element.trim()) else { break };
            last = Some(hop);
            if !trusted.contains(hop) {
                break;
            }
        }
        last
    };
    match (hops(&X_FORWARDED_FOR, address), hops(&header::FORWARDED, forwarded_for)) {
        (Some(one), Some(other)) if one != other => Err(Contradiction),
        (one, other) => Ok(one.or(other)),
    }
}

/// Whether somebody on the way has written that the request is another's. Whoever is not trusted may have made that up, but then
/// only says so of itself.
pub(super) fn is_forwarded(headers: &HeaderMap) -> bool {
    let names = ["x-forwarded-for", "forwarded", "x-real-ip", "via", "cf-connecting-ip", "true-client-ip"];
    names.into_iter().any(|name| headers.contains_key(name))
}

/// The `for` of one element of `Forwarded`.
fn forwarded_for(element: &str) -> Option<IpAddr> {
    let node = element.split(';').find_map(|pair| {
        let (name, value) = pair.trim().split_once('=')?;
        name.trim().eq_ignore_ascii_case("for").then(|| value.trim())
    })?;
    address(node.strip_prefix('"').and_then(|node| node.strip_suffix('"')).unwrap_or(node))
}

/// An address, with or without port, brackets and the zone of a link-local one (RFC 4007 section 11), which says nothing
/// here.
fn address(text: &str) -> Option<IpAddr> {
    let without_zone = text.split_once('%').map(|(before, rest)| {
        let after = rest.find(']').and_then(|end| rest.get(end..)).unwrap_or_default();
        format!("{before}{after}")
    });
    let text = without_zone.as_deref().unwrap_or(text);
    let bare = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).unwrap_or(text);
    let address = bare.parse::<IpAddr>().ok().or_else(|| Some(text.parse::<SocketAddr>().ok()?.ip()))?;
    Some(address.to_canonical())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const PROXY: &str = "10.0.0.1";

    fn client(peer: &str, headers: &[(&'static str, &str)]) -> Result<IpAddr, Contradiction> {
        let peer = peer.parse().unwrap();
        Ok(named(peer, headers, None)?.unwrap_or(peer))
    }

    fn named(
        peer: IpAddr,
        headers: &[(&'static str, &str)],
        header: Option<&'static str>,
    ) -> Result<Option<IpAddr>, Contradiction> {
        let trusted = TrustedProxies::new(vec!["10.0.0.0/8".parse().unwrap(), "fd00::/8".parse().unwrap()])
            .with_header(header.map(HeaderName::from_static));
        let mut map = HeaderMap::new();
        for (name, value) in headers {
            map.append(*name, value.parse().unwrap());
        }
        client_address(peer, &map, &trusted)
    }

    #[test]
    fn the_header_that_the_operator_names_is_the_only_one_that_is_read() {
        let proxy = PROXY.parse().unwrap();
        let given = [("x-real-ip", "198.51.100.1"), ("x-forwarded-for", "203.0.113.9")];
        let address = |text: &str| Ok(Some(text.parse().unwrap()));
        assert_eq!(named(proxy, &given, Some("x-real-ip")), address("198.51.100.1"));
        assert_eq!(named(proxy, &given[..1], None), Ok(None), "it names nobody");
        assert_eq!(named(proxy, &given[1..], Some("x-real-ip")), Ok(None));
        assert_eq!(named(proxy, &[("x-real-ip", "nonsense")], Some("x-real-ip")), Ok(None));
        let extended = [("x-real-ip", "192.0.2.66, 198.51.100.1")];
        assert_eq!(named(proxy, &extended, Some("x-real-ip")), address("198.51.100.1"));
        let twice = [("x-real-ip", "192.0.2.66"), ("x-real-ip", "198.51.100.1")];
        assert_eq!(named(proxy, &twice, Some("x-real-ip")), address("198.51.100.1"));
        let stranger = "192.0.2.1".parse().unwrap();
        assert_eq!(named(stranger, &given, Some("x-real-ip")), Ok(Some(stranger)));
    }

    fn is(address: &str) -> Result<IpAddr, Contradiction> {
        Ok(address.parse().unwrap())
    }

    #[test]
    fn nobody_but_a_trusted_proxy_is_believed() {
        let forged = [("x-forwarded-for", "198.51.100.1"), ("forwarded", "for=198.51.100.1")];
        assert_eq!(client("192.0.2.1", &forged), is("192.0.2.1"));
        assert_eq!(client(PROXY, &forged), is("198.51.100.1"));
        assert_eq!(client(PROXY, &[]), is(PROXY));
    }

    #[test]
    fn the_right_most_untrusted_hop_is_the_client() {
        for (value, address) in [
            ("198.51.100.1", "198.51.100.1"),
            ("203.0.113.9, 198.51.100.1", "198.51.100.1"),
            ("198.51.100.1, 10.9.9.9,10.0.0.2", "198.51.100.1"),
            ("nonsense, 198.51.100.1", "198.51.100.1"),
            ("198.51.100.1:4711", "198.51.100.1"),
            ("[2001:db8::7]:4711", "2001:db8::7"),
            ("2001:db8::7", "2001:db8::7"),
            ("::ffff:198.51.100.1", "198.51.100.1"),
            ("10.0.0.3, 10.0.0.2", "10.0.0.3"),
            ("fe80::1%eth0", "fe80::1"),
            ("[fe80::1%25eth0]:4711", "fe80::1"),
            ("198.51.100.1, [fe80::1%2]", "fe80::1"),
        ] {
            assert_eq!(client(PROXY, &[("x-forwarded-for", value)]), is(address), "{value}");
        }
    }

    #[test]
    fn what_is_no_address_is_the_end_of_what_we_see() {
        for (value, address) in
            [("198.51.100.1, unknown", PROXY), ("198.51.100.1, unknown, 10.0.0.2", "10.0.0.2"), ("", PROXY)]
        {
            assert_eq!(client(PROXY, &[("x-forwarded-for", value)]), is(address), "{value}");
        }
    }

    #[test]
    fn several_headers_of_a_name_are_one_list() {
        let headers = [("x-forwarded-for", "203.0.113.9"), ("x-forwarded-for", "198.51.100.1, 10.0.0.2")];
        assert_eq!(client(PROXY, &headers), is("198.51.100.1"));
    }

    #[test]
    fn forwarded_is_read_as_rfc_7239_writes_it() {
        for (value, address) in [
            ("for=198.51.100.1", "198.51.100.1"),
            ("For=\"[2001:db8::7]:4711\"", "2001:db8::7"),
            ("for=203.0.113.9;proto=http, proto=https; for=\"198.51.100.1:1\";by=10.0.0.1", "198.51.100.1"),
            ("for=198.51.100.1, for=_hidden", PROXY),
            ("for=198.51.100.1, proto=http", PROXY),
        ] {
            assert_eq!(client(PROXY, &[("forwarded", value)]), is(address), "{value}");
        }
    }

    #[test]
    fn headers_that_contradict_each_other_are_refused() {
        let headers = [("x-forwarded-for", "198.51.100.1"), ("forwarded", "for=203.0.113.9")];
        assert_eq!(client(PROXY, &headers), Err(Contradiction));
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(20_000))]
        #[test]
        fn any_value_is_read_or_passed_over(value in "[ -~]{0,80}") {
            let _ = client(PROXY, &[("x-forwarded-for", &value)]);
            let _ = client(PROXY, &[("forwarded", &value)]);
        }
    }
}
