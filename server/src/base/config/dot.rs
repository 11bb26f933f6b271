//! `[dot]`: DNS over TLS.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use serde::{Deserialize, Serialize};

use super::{TLS_PORT, address};

/// DNS over TLS.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Dot {
    /// Whether it is served.
    pub enabled: bool,
    /// Its addresses.
    #[serde(deserialize_with = "address::list::<TLS_PORT, _>")]
    pub listen: Vec<SocketAddr>,
    /// Certificate chain, PEM. That of `[doh]` when absent.
    pub cert_path: Option<PathBuf>,
    /// Private key of the certificate, PEM. That of `[doh]` when absent.
    pub key_path: Option<PathBuf>,
    /// Most connections of one client, where that is not as elsewhere.
    pub connections_per_client: Option<usize>,
    /// Whether connections of `doh.trusted_proxies` begin with the header of the PROXY protocol.
    pub proxy_protocol: Option<bool>,
}

impl Default for Dot {
    fn default() -> Self {
        Self {
            enabled: false,
            listen: vec![(Ipv4Addr::UNSPECIFIED, TLS_PORT).into()],
            cert_path: None,
            key_path: None,
            connections_per_client: None,
            proxy_protocol: None,
        }
    }
}
