//! `[acme]`: certificates from an authority.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A certificate from an authority that speaks ACME (RFC 8555).
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Acme {
    /// Whether one is asked for. This agrees to the authority's terms of service.
    pub enabled: bool,
    /// The authority's directory.
    pub directory: String,
    /// Where the authority may write to, as `mailto:…`. Not told when empty.
    pub contact: String,
    /// How the authority sees that the names are ours.
    pub challenge: AcmeChallenge,
    /// The kind of certificate, for authorities that offer several. That for short lives where a name is an address,
    /// and the authority's default otherwise, when empty.
    pub profile: String,
    /// Certificates of the authorities that may have certified the directory's own server, PEM. The public ones when
    /// absent.
    pub ca_path: Option<PathBuf>,
}

/// How an ACME authority sees that a name is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize, Serialize)]
pub enum AcmeChallenge {
    /// It connects to port 443 over TLS (RFC 8737).
    #[serde(rename = "tls-alpn-01")]
    TlsAlpn01,
    /// It fetches a file from port 80 (RFC 8555 section 8.3).
    #[serde(rename = "http-01")]
    Http01,
}

impl Default for Acme {
    fn default() -> Self {
        Self {
            enabled: false,
            directory: "https://acme-v02.api.letsencrypt.org/directory".into(),
            contact: String::new(),
            challenge: AcmeChallenge::TlsAlpn01,
            profile: String::new(),
            ca_path: None,
        }
    }
}
