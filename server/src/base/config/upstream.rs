//! Resolvers to forward to, as people write them: an address, `tls://…` or `https://…`.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    str::FromStr,
};

use http::uri::PathAndQuery;
use rustls_pki_types::ServerName;
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};
use thiserror::Error;

use super::{AddressError, DNS_PORT, HTTPS_PORT, TLS_PORT, address::parse_address, presets::UnknownPreset};

const DEFAULT_PATH: &str = "/dns-query";

/// A resolver to forward to. Its text form is what [`FromStr`] reads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum UpstreamAddress {
    /// Over UDP and TCP: `ADDR` or `ADDR:PORT`.
    Plain(SocketAddr),
    /// Over TLS (RFC 7858): `tls://ADDR` or `tls://NAME@ADDR`, each with `:PORT` if it is not 853.
    Tls {
        /// Whom the certificate has to be for: a name or an address.
        name: ServerName<'static>,
        /// Where to connect to.
        address: SocketAddr,
    },
    /// Over HTTPS (RFC 8484): as over TLS, then the path, `/dns-query` if there is none. The port is 443.
    Https {
        /// Whom the certificate has to be for: a name or an address.
        name: ServerName<'static>,
        /// Where to connect to.
        address: SocketAddr,
        /// What to ask for.
        path: PathAndQuery,
    },
}

/// Why a text is not a resolver to forward to.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[non_exhaustive]
pub enum UpstreamError {
    /// It is not an address, or has a scheme that nobody serves.
    #[error(transparent)]
    Address(#[from] AddressError),
    /// The name would have to be looked up, through the system's resolver, which may be this server.
    #[error(
        "`{0}`: add the address, which cannot be looked up before there is a resolver: \
         write `tls://NAME@ADDRESS` or `https://NAME@ADDRESS/dns-query`"
    )]
    AddressMissing(String),
    /// What stands before `@` cannot be in a certificate.
    #[error("`{0}`: the part before @ is not the name of a server")]
    Name(String),
    /// A word that no public resolver goes by.
    #[error("{0}")]
    Preset(UnknownPreset),
    /// The path cannot be asked for.
    #[error("`{0}`: what follows the host is not a path; write it as in `https://9.9.9.9/dns-query`")]
    Path(String),
}

impl UpstreamAddress {
    /// Where its datagrams or connections go.
    pub fn socket_address(&self) -> SocketAddr {
        match self {
            Self::Plain(address) | Self::Tls { address, .. } | Self::Https { address, .. } => *address,
        }
    }

    /// The address, where it is asked over UDP and TCP.
    pub fn plain(&self) -> Option<SocketAddr> {
        match self {
            Self::Plain(address) => Some(*address),
            Self::Tls { .. } | Self::Https { .. } => None,
        }
    }
}

impl From<SocketAddr> for UpstreamAddress {
    fn from(address: SocketAddr) -> Self {
        Self::Plain(address)
    }
}

impl FromStr for UpstreamAddress {
    type Err = UpstreamError;

    fn from_str(text: &str) -> Result<Self, UpstreamError> {
        let text = text.trim();
        let Some((scheme, rest)) = text.split_once("://") else {
            return Ok(Self::Plain(parse_address(text, DNS_PORT)?));
        };
        match scheme.to_ascii_lowercase().as_str() {
            "tls" => {
                let (name, address) = parse_server(text, rest.strip_suffix('/').unwrap_or(rest), TLS_PORT)?;
                Ok(Self::Tls { name, address })
            }
            "https" => {
                let (server, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
                let (name, address) = parse_server(text, server, HTTPS_PORT)?;
                let path = if matches!(path, "" | "/") { DEFAULT_PATH } else { path };
                // A fragment would never be sent.
                let path = Some(path).filter(|path| !path.contains('#')).and_then(|path| path.parse().ok());
                let path = path.ok_or_else(|| UpstreamError::Path(text.into()))?;
                Ok(Self::Https { name, address, path })
            }
            _ => Err(AddressError::Scheme(text.into()).into()),
        }
    }
}

impl fmt::Display for UpstreamAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Plain(address) => write!(f, "{address}"),
            Self::Tls { name, address } => write!(f, "tls://{}{address}", Prefix(name, *address)),
            Self::Https { name, address, path } => {
                write!(f, "https://{}{address}{path}", Prefix(name, *address))
            }
        }
    }
}

impl<'de> Deserialize<'de> for UpstreamAddress {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(de::Error::custom)
    }
}

impl Serialize for UpstreamAddress {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// `NAME@`, unless the certificate is for the address itself.
struct Prefix<'a>(&'a ServerName<'static>, SocketAddr);

impl fmt::Display for Prefix<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if *self.0 == ServerName::from(self.1.ip()) { Ok(()) } else { write!(f, "{}@", self.0.to_str()) }
    }
}

/// Reads `ADDR[:PORT]` or `NAME@ADDR[:PORT]`; `text` is the whole.
fn parse_server(
    text: &str,
    server: &str,
    default_port: u16,
) -> Result<(ServerName<'static>, SocketAddr), UpstreamError> {
    let (name, address) = match server.rsplit_once('@') {
        Some((name, address)) => (Some(name), address),
        None => (None, server),
    };
    let address = parse_address(address, default_port).map_err(|error| match error {
        AddressError::NotAnAddress(_) => UpstreamError::AddressMissing(text.into()),
        other => other.into(),
    })?;
    let name = match name {
        None => address.ip().into(),
        Some(name) => parse_name(name).ok_or_else(|| UpstreamError::Name(text.into()))?,
    };
    Ok((name, address))
}

fn parse_name(name: &str) -> Option<ServerName<'static>> {
    let inside = name.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    match inside.unwrap_or(name).parse::<IpAddr>() {
        Ok(address) => Some(address.into()),
        Err(_) => ServerName::try_from(name.to_ascii_lowercase()).ok(),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn each_transport_has_its_port_and_https_its_path() {
        for (text, expected) in [
            ("9.9.9.9", "9.9.9.9:53"),
            ("2620:fe::fe", "[2620:fe::fe]:53"),
            ("fe80::1%7", "[fe80::1%7]:53"),
            ("tls://fe80::1%7", "tls://[fe80::1%7]:853"),
            ("https://dns.example@[fe80::1%7]", "https://dns.example@[fe80::1%7]:443/dns-query"),
            ("tls://1.1.1.1", "tls://1.1.1.1:853"),
            ("TLS://1.1.1.1:8853/", "tls://1.1.1.1:8853"),
            ("tls://[2620:fe::fe]", "tls://[2620:fe::fe]:853"),
            ("tls://2620:fe::fe", "tls://[2620:fe::fe]:853"),
            ("tls://dns.Quad9.net@9.9.9.9", "tls://dns.quad9.net@9.9.9.9:853"),
            ("tls://dns.quad9.net@[2620:fe::fe]:443", "tls://dns.quad9.net@[2620:fe::fe]:443"),
            ("tls://1.1.1.1@1.1.1.1", "tls://1.1.1.1:853"),
            ("tls://[2620:fe::9]@[2620:fe::fe]", "tls://2620:fe::9@[2620:fe::fe]:853"),
            ("https://1.1.1.1", "https://1.1.1.1:443/dns-query"),
            ("https://1.1.1.1/", "https://1.1.1.1:443/dns-query"),
            ("https://dns.google@8.8.8.8/resolve", "https://dns.google@8.8.8.8:443/resolve"),
            ("https://dns.google@8.8.8.8:8443/a/b?c=d", "https://dns.google@8.8.8.8:8443/a/b?c=d"),
        ] {
            let upstream: UpstreamAddress = text.parse().expect(text);
            assert_eq!(upstream.to_string(), expected);
            assert_eq!(expected.parse(), Ok(upstream), "{expected}");
        }
    }

    #[test]
    fn a_certificate_is_for_the_name_or_else_for_the_address() {
        let name = |text: &str| match text.parse() {
            Ok(UpstreamAddress::Tls { name, .. } | UpstreamAddress::Https { name, .. }) => name,
            other => panic!("{other:?}"),
        };
        assert_eq!(name("tls://1.1.1.1"), ServerName::from(IpAddr::from([1, 1, 1, 1])));
        assert_eq!(name("https://dns.google@8.8.8.8"), ServerName::try_from("dns.google").expect("a name"));
    }

    #[test]
    fn what_is_not_an_upstream_says_what_to_write() {
        for (text, part) in [
            ("dns.example", "is not an IP address"),
            ("udp://1.1.1.1", "without a scheme"),
            ("quic://1.1.1.1", "without a scheme"),
            ("tls://dns.quad9.net", "add the address"),
            ("https://dns.google/dns-query", "add the address"),
            ("https://9.9.9.9@dns.quad9.net", "add the address"),
            ("tls://", "add the address"),
            ("tls://1.1.1.1/dns-query", "add the address"),
            ("tls://1.1.1.1:99999", "the port must be"),
            ("fe80::1", "add the interface"),
            ("tls://router@fe80::1", "add the interface"),
            ("https://[fe80::1]/dns-query", "add the interface"),
            ("tls://@1.1.1.1", "not the name of a server"),
            ("tls://a b@1.1.1.1", "not the name of a server"),
            ("https://1.1.1.1/a b", "what follows the host is not a path"),
            ("https://1.1.1.1/#", "what follows the host is not a path"),
        ] {
            let error = text.parse::<UpstreamAddress>().expect_err(text).to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }

    proptest! {
        #[test]
        fn what_is_read_is_written_so_that_it_can_be_read_again(
            text in "(tls://|https://|)([a-z.]{0,9}@|)(1.1.1.1|\\[::1\\]|::2|\\PC{0,5})(:[0-9]{0,5}|)(/\\PC{0,9}|)"
        ) {
            if let Ok(upstream) = text.parse::<UpstreamAddress>() {
                prop_assert_eq!(upstream.to_string().parse(), Ok(upstream));
            }
        }
    }
}
