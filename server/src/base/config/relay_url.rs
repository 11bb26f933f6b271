//! Addresses of PKARR relays as people write them.

use std::{fmt, net::IpAddr, str::FromStr};

use http::Uri;
use rustls_pki_types::ServerName;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

use super::{HTTP_PORT, HTTPS_PORT, address::parse_list, check::is_key_label};

/// Where a PKARR relay is asked: scheme, host, port and the path that the keys stand below.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RelayUrl {
    is_https: bool,
    /// An IPv6 address stands in brackets.
    host: String,
    /// Where it is not that of the scheme.
    port: Option<u16>,
    /// Empty, or begins with a slash and ends with something else.
    path: String,
}

/// Why a text is not the address of a relay.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum RelayUrlError {
    /// It has another scheme, or none.
    #[error("`{0}`: a relay is written https://HOST or http://HOST, with a path if it has one")]
    Scheme(String),
    /// What it holds could not be sent, or would not be.
    #[error("`{0}`: a relay has no user, `?` or `#` in its address")]
    Superfluous(String),
    /// The host is neither a name nor an address.
    #[error("`{0}`: the host is not a name or an IP address")]
    Host(String),
    /// Its name would have to be looked up in the network that it is a way to.
    #[error("`{0}`: a relay cannot be named by a key, because it is asked to find keys")]
    Key(String),
    /// The port is not a number that fits.
    #[error("`{0}`: the port must be a number from 1 to 65535")]
    Port(String),
    /// Anything else.
    #[error("`{0}` is not an address: write it as in `https://relay.example/pkarr`")]
    NotAnAddress(String),
}

impl RelayUrl {
    /// Where `segment`, which needs no escapes, is asked for and stored. `None` if the address has become too long.
    pub fn below(&self, segment: &str) -> Option<Uri> {
        format!("{self}/{segment}").parse().ok()
    }
}

impl FromStr for RelayUrl {
    type Err = RelayUrlError;

    fn from_str(text: &str) -> Result<Self, RelayUrlError> {
        let text = text.trim();
        let quoted = || text.to_owned();
        let (scheme, rest) = text.split_once("://").ok_or_else(|| RelayUrlError::Scheme(quoted()))?;
        let is_https = match scheme.to_ascii_lowercase().as_str() {
            "https" => true,
            "http" => false,
            _ => return Err(RelayUrlError::Scheme(quoted())),
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        if authority.contains('@') || rest.contains(['?', '#']) {
            return Err(RelayUrlError::Superfluous(quoted()));
        }
        let (host, port) = split_port(authority).ok_or_else(|| RelayUrlError::Port(quoted()))?;
        let host = host.to_ascii_lowercase();
        if !is_host(&host) {
            return Err(RelayUrlError::Host(quoted()));
        }
        if host.split('.').any(is_key_label) {
            return Err(RelayUrlError::Key(quoted()));
        }
        let port = port.filter(|&port| port != if is_https { HTTPS_PORT } else { HTTP_PORT });
        let url = Self { is_https, host, port, path: path.trim_end_matches('/').to_owned() };
        // Whatever else cannot be sent. A key is as long as this.
        url.below(&"y".repeat(52)).ok_or_else(|| RelayUrlError::NotAnAddress(quoted()))?;
        Ok(url)
    }
}

impl fmt::Display for RelayUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { is_https, host, port, path } = self;
        write!(f, "{}://{host}", if *is_https { "https" } else { "http" })?;
        if let Some(port) = port {
            write!(f, ":{port}")?;
        }
        f.write_str(path)
    }
}

impl<'de> Deserialize<'de> for RelayUrl {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl Serialize for RelayUrl {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// Reads one relay or a list of them.
pub(super) fn list<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<RelayUrl>, D::Error> {
    parse_list(deserializer, "a relay or a list of relays", str::parse)
}

/// `None` where there is a port that cannot be one.
pub(super) fn split_port(authority: &str) -> Option<(&str, Option<u16>)> {
    // The colons of an IPv6 address stand before the bracket.
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.ends_with(']') => {
            let is_number = port.bytes().all(|byte| byte.is_ascii_digit());
            let port = port.parse().ok().filter(|&port| is_number && port != 0)?;
            Some((host, Some(port)))
        }
        _ => Some((authority, None)),
    }
}

/// Whether this is a name or an IP address, where one of IPv6 stands in brackets.
pub(super) fn is_host(host: &str) -> bool {
    match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
        Some(inside) => inside.parse::<IpAddr>().is_ok_and(|address| address.is_ipv6()),
        // Without brackets the colons of an IPv6 address would be read as the one before a port.
        None => !host.contains(':') && ServerName::try_from(host).is_ok(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_relay_is_a_scheme_a_host_and_perhaps_a_port_and_a_path() {
        for (text, expected) in [
            ("https://relay.example", "https://relay.example/key"),
            ("https://relay.example/", "https://relay.example/key"),
            ("https://dns.iroh.example/pkarr", "https://dns.iroh.example/pkarr/key"),
            (" HTTPS://Relay.Example:443/Pkarr// ", "https://relay.example/Pkarr/key"),
            ("http://127.0.0.1:6881/a/b/", "http://127.0.0.1:6881/a/b/key"),
            ("http://[::1]:8080", "http://[::1]:8080/key"),
            ("http://[::1]", "http://[::1]/key"),
            ("http://relay.example:443", "http://relay.example:443/key"),
            ("http://relay.example:80", "http://relay.example/key"),
        ] {
            let url: RelayUrl = text.parse().expect(text);
            assert_eq!(url.below("key").expect(text).to_string(), expected);
            assert_eq!(url.to_string().parse(), Ok(url), "{text}");
        }
    }

    #[test]
    fn what_is_not_a_relay_says_what_to_write() {
        let key = "8pinxxgqs41n4aididenw5apqp1urfmzdztr8jt4abrkdn435ewo";
        for (text, part) in [
            ("relay.example", "https://HOST"),
            ("relay.example:443", "https://HOST"),
            ("", "https://HOST"),
            ("ftp://relay.example", "https://HOST"),
            ("https://user@relay.example", "no user"),
            ("https://user:word@relay.example/", "no user"),
            ("https://relay.example/?policy=CacheOnly", "no user, `?`"),
            ("https://relay.example?a", "no user, `?`"),
            ("https://relay.example/#a", "no user, `?`"),
            ("https://", "the host is not"),
            ("https:///pkarr", "the host is not"),
            ("https://a b/", "the host is not"),
            ("https://bücher.example/", "the host is not"),
            ("http://[::1", "the host is not"),
            ("http://[::1]x", "the port must be"),
            ("http://[127.0.0.1]", "the host is not"),
            ("http://2001:db8::1:80/", "the host is not"),
            ("https://relay.example:", "the port must be"),
            ("https://relay.example:0", "the port must be"),
            ("https://relay.example:+1", "the port must be"),
            ("https://relay.example:65536", "the port must be"),
            ("https://relay.example/a b", "is not an address"),
            (&format!("https://{key}/"), "named by a key"),
            (&format!("https://relay.{}.key/", key.to_uppercase()), "named by a key"),
        ] {
            let error = text.parse::<RelayUrl>().expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_so_that_it_can_be_read_again(
            text in "(https://|http://|)([a-z.]{0,9}|\\[::1\\]|1.1.1.1|\\PC{0,5})(:[0-9]{0,5}|)(/\\PC{0,9}|)"
        ) {
            if let Ok(url) = text.parse::<RelayUrl>() {
                prop_assert_eq!(url.to_string().parse(), Ok(url));
            }
        }
    }
}
