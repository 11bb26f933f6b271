//! Who says which address a packet came from.

use std::{fmt, str::FromStr};

use http::Uri;
use pkdns_dht::split_host_port;

/// A service that tells the address of whoever asks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Service {
    /// Answers a request with an address as text.
    Web(Uri),
    /// STUN (RFC 8489).
    Stun { host: String, port: u16 },
}

impl FromStr for Service {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let expected = || "expected https://HOST/PATH or stun:HOST:PORT".to_string();
        if let Some(server) = text.strip_prefix("stun:") {
            let (host, port) = split_host_port(server).ok_or_else(expected)?;
            return Ok(Self::Stun { host: host.to_string(), port });
        }
        let uri: Uri = text.parse().map_err(|_| expected())?;
        let is_web = matches!(uri.scheme_str(), Some("https" | "http")) && uri.host().is_some();
        if is_web { Ok(Self::Web(uri)) } else { Err(expected()) }
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Web(uri) => write!(f, "{uri}"),
            Self::Stun { host, port } if host.contains(':') => write!(f, "stun:[{host}]:{port}"),
            Self::Stun { host, port } => write!(f, "stun:{host}:{port}"),
        }
    }
}

impl<'de> serde::Deserialize<'de> for Service {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        String::deserialize(deserializer)?.parse().map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_written_as_they_are_read() {
        for text in
            ["https://icanhazip.com/", "http://127.0.0.1:80/ip", "stun:stun.example:3478", "stun:[::1]:1"]
        {
            assert_eq!(text.parse::<Service>().unwrap().to_string(), text);
        }
    }

    #[test]
    fn what_is_no_service_is_refused() {
        for text in ["", "stun:", "stun:host", "ftp://host/", "host", "/path", "https:///", "stun:host:x"] {
            assert!(text.parse::<Service>().is_err(), "{text}");
        }
    }
}
