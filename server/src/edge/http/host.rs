//! Which names a request may be for, where only some clients are served.
//!
//! A web page from anywhere runs in the browser of a client that is served. When its own name leads to an address of ours
//! (DNS rebinding), the browser takes us for its server and lets it read every answer. The request still tells the name.

use std::{collections::HashSet, net::IpAddr};

use axum::http::{HeaderMap, Uri, header};

use crate::{
    base::{config::Config, message::absolute_name},
    resolver::name::Suffixes,
};

/// Top-level domains that the public DNS does not have (RFC 2606, 6761, 6762 and its appendix G, 8375), so that nobody
/// outside can make a name below them lead anywhere.
const LOCAL_DOMAINS: [&str; 10] = [
    "local",
    "localhost",
    "localdomain",
    "lan",
    "home",
    "internal",
    "intranet",
    "private",
    "corp",
    "home.arpa",
];

/// Characters of a key: whoever has it decides where its names lead, under whatever suffix.
const KEY_LENGTH: usize = 52;

/// The names that a server goes by, besides those that nobody outside can make lead to it: addresses, names of the local
/// network, names without a dot.
#[derive(Debug, Clone, Default)]
pub struct Hosts {
    names: HashSet<String>,
    /// Behind which names of keys are.
    suffixes: Suffixes,
}

impl Hosts {
    /// As configured, and as this machine calls itself.
    pub fn new(config: &Config) -> Self {
        let own = nix::unistd::gethostname().ok().and_then(|name| name.into_string().ok());
        let configured = config.doh.hosts.iter().chain(&config.certificate.names).cloned();
        let names = configured.chain(own).map(|name| name.to_ascii_lowercase()).collect();
        Self { names, suffixes: Suffixes::new(config.names.suffixes.iter().map(String::as_str)) }
    }

    /// Whether a request may be for the host that it names. One that names none comes from no browser.
    pub(super) fn are_meant(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        match (named(uri, headers), headers.contains_key(header::HOST)) {
            (Some(host), _) => self.include(host),
            (None, is_named) => !is_named,
        }
    }

    /// Whether a request is for a name of a key that the server does not go by. The bridge has a certificate for such a name, so that over
    /// TLS as well whoever has the key could lead its pages here.
    pub(super) fn are_of_a_key(&self, uri: &Uri, headers: &HeaderMap) -> bool {
        // Nearly every name of a server is shorter than a key, and is read no further: every request over TLS comes by here.
        let long_enough = named(uri, headers).filter(|host| host.len() >= KEY_LENGTH);
        let Some(host) = long_enough.map(canonical) else { return false };
        !self.names.contains(&host)
            && absolute_name(&host).is_some_and(|name| self.suffixes.reads_as_key(&name))
    }

    fn include(&self, host: &str) -> bool {
        let host = canonical(host);
        let address = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(&host);
        if address.parse::<IpAddr>().is_ok() || self.names.contains(&host) {
            return true;
        }
        let is_below = |domain: &&str| {
            host.strip_suffix(*domain).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
        };
        let is_of_a_key = host.split('.').any(|label| label.len() == KEY_LENGTH);
        !is_of_a_key && (!host.contains('.') || LOCAL_DOMAINS.iter().any(is_below))
    }
}

fn canonical(host: &str) -> String {
    host.strip_suffix('.').unwrap_or(host).to_ascii_lowercase()
}

/// The host that a request names, if it names one that is text. The authority of the address counts more than the header.
pub(super) fn named<'a>(uri: &'a Uri, headers: &'a HeaderMap) -> Option<&'a str> {
    let authority = match uri.authority() {
        Some(authority) => authority.as_str(),
        None => headers.get(header::HOST)?.to_str().ok()?,
    };
    Some(host_of(authority))
}

/// Without the port, and without what no browser sends.
fn host_of(authority: &str) -> &str {
    let host = authority.rsplit_once('@').map_or(authority, |(_, host)| host);
    match host.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => host,
    }
}

#[cfg(test)]
mod tests {
    use axum::http::HeaderValue;

    use super::*;

    const KEY: &str = "o4dksfbqk85ogzdb5osziw6befigbuxmuxkuxq8434q89uj56uyy";

    fn is_meant(host: &str) -> bool {
        let mut config = Config::default();
        config.doh.hosts = vec!["dns.example.net".into()];
        config.certificate.names = vec!["nas.example.org".into()];
        let hosts = Hosts::new(&config);
        let headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_str(host).unwrap())]);
        hosts.are_meant(&Uri::from_static("/resolve?name=nas.corp"), &headers)
    }

    #[test]
    fn a_server_goes_by_its_addresses_its_names_and_those_of_the_local_network() {
        for host in [
            "192.168.1.10",
            "127.0.0.1:5380",
            "[fd00::1]:80",
            "[::1]",
            "localhost",
            "localhost:5380",
            "pkdns",
            "pkdns.local",
            "PKDNS.Local.:80",
            "nas.home.arpa",
            "pkdns.lan",
            "dns.example.net",
            "Dns.Example.Net:8080",
            "nas.example.org",
        ] {
            assert!(is_meant(host), "{host}");
        }
    }

    #[test]
    fn a_name_that_others_decide_about_is_refused() {
        let keys = [KEY.to_owned(), format!("{KEY}.key"), format!("www.{KEY}.lan"), format!("{KEY}:80")];
        let foreign = [
            "evil.example",
            "evil.example:5380",
            "dns.example.net.evil.example",
            "www.dns.example.net",
            "evillan.example",
            "pkdns.arpa",
            "192.168.1.10.evil.example",
            "localhost@evil.example",
        ];
        for host in foreign.into_iter().map(str::to_owned).chain(keys) {
            assert!(!is_meant(&host), "{host}");
        }
    }

    #[test]
    fn a_name_of_a_key_is_one_behind_a_suffix_or_none_and_those_that_are_configured_are_not() {
        let mut config = Config::default();
        config.names.suffixes = vec!["key".into(), "pk.example.net".into()];
        config.certificate.names = vec![format!("own.{KEY}.key")];
        config.doh.hosts = vec![format!("Doh.{KEY}.key")];
        let hosts = Hosts::new(&config);
        let is_of_a_key = |host: &str| {
            let headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_str(host).unwrap())]);
            hosts.are_of_a_key(&Uri::from_static("/status"), &headers)
        };
        let upper = KEY.to_ascii_uppercase();
        for host in [
            format!("{KEY}.key"),
            format!("{KEY}.key.:8443"),
            format!("www.{upper}.KEY:443"),
            format!("a.b.{KEY}.pk.example.net"),
            KEY.to_owned(),
            format!("www.{KEY}:8443"),
        ] {
            assert!(is_of_a_key(&host), "{host}");
        }
        for host in [
            format!("own.{KEY}.key"),
            format!("doh.{KEY}.key.:443"),
            format!("{KEY}.example.com"),
            "dns.example.net".to_owned(),
            "127.0.0.1:443".to_owned(),
            "[::1]".to_owned(),
        ] {
            assert!(!is_of_a_key(&host), "{host}");
        }
        let authority = format!("https://{KEY}.key:8443/resolve").parse().unwrap();
        assert!(hosts.are_of_a_key(&authority, &HeaderMap::new()));
        assert!(!hosts.are_of_a_key(&Uri::from_static("/"), &HeaderMap::new()));
    }

    #[test]
    fn the_authority_of_the_address_counts_more_than_the_header() {
        let headers = HeaderMap::from_iter([(header::HOST, HeaderValue::from_static("localhost"))]);
        let hosts = Hosts::default();
        assert!(!hosts.are_meant(&Uri::from_static("http://evil.example/"), &headers));
        assert!(hosts.are_meant(&Uri::from_static("/"), &HeaderMap::new()));
    }
}
