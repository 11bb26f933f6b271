//! Who says which address a request came from.

use std::{fmt, str::FromStr};

use http::Uri;

use crate::http_client::web_address;

/// A service that answers a request with the address of whoever asks, as text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Service(pub(super) Uri);

impl FromStr for Service {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if text.starts_with("stun:") {
            return Err("STUN is not asked any more: name a service such as https://icanhazip.com instead"
                .to_string());
        }
        web_address(text).map(Self)
    }
}

impl fmt::Display for Service {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
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
    fn what_is_no_service_is_refused_and_stun_is_told_what_to_write_instead() {
        for text in ["https://icanhazip.com/", "http://127.0.0.1:80/ip"] {
            assert_eq!(text.parse::<Service>().unwrap().to_string(), text);
        }
        for text in ["", "ftp://host/", "host", "/path", "https:///"] {
            assert!(text.parse::<Service>().unwrap_err().contains("expected https://HOST/PATH"), "{text}");
        }
        for text in ["stun:stun.example:3478", "stun:"] {
            assert!(text.parse::<Service>().unwrap_err().contains("https://icanhazip.com"), "{text}");
        }
    }
}
