//! `[doh]`, and the certificates that it and `[dot]` need.

use std::{
    net::{Ipv4Addr, SocketAddr},
    path::PathBuf,
};

use ipnet::IpNet;
use serde::{Deserialize, Serialize};

use super::{Config, HTTPS_PORT, NO_PORT, address, check::Faults};

/// What decides whether there is a certificate for who speaks TLS.
const CERTIFICATE_OPTIONS: &[&str] = &[
    "doh.enabled",
    "doh.cert_path",
    "doh.key_path",
    "dot.enabled",
    "dot.cert_path",
    "dot.key_path",
    "certificate.self_signed",
    "acme.enabled",
];

/// DNS over HTTPS, and plain HTTP for a proxy that speaks HTTPS in front of this server.
#[derive(Debug, Clone, PartialEq, Deserialize, Serialize)]
#[serde(deny_unknown_fields, default)]
pub struct Doh {
    /// Whether HTTPS is served.
    pub enabled: bool,
    /// Addresses of HTTPS. The file may say `port` instead, with a number.
    #[serde(alias = "port", deserialize_with = "address::list_or_port::<HTTPS_PORT, _>")]
    pub listen: Vec<SocketAddr>,
    /// Certificate chain, PEM.
    pub cert_path: Option<PathBuf>,
    /// Private key of the certificate, PEM.
    pub key_path: Option<PathBuf>,
    /// Addresses of plain HTTP, with or without `enabled`.
    #[serde(deserialize_with = "address::list::<NO_PORT, _>")]
    pub plain_listen: Vec<SocketAddr>,
    /// Peers whose word about the client's address is taken, over HTTP, TLS and TCP.
    #[serde(deserialize_with = "address::ranges")]
    pub trusted_proxies: Vec<IpNet>,
    /// Header in which they write the client's address alone, in lower case, in place of `X-Forwarded-For` and
    /// `Forwarded`.
    #[serde(deserialize_with = "address::header")]
    pub client_address_header: Option<String>,
    /// Whether their connections begin with the header of the PROXY protocol.
    pub proxy_protocol: Option<bool>,
    /// Names that requests over plain HTTP may be for, besides those of `[certificate]` and of the local network. Asked
    /// where `[access]` does not serve everybody.
    #[serde(deserialize_with = "address::hosts")]
    pub hosts: Vec<String>,
    /// Most connections over HTTP and HTTPS at once.
    pub max_connections: usize,
    /// Most of them for one client, where that is not as elsewhere. The file may say `max_connections_per_client`.
    #[serde(alias = "max_connections_per_client")]
    pub connections_per_client: Option<usize>,
}

impl Default for Doh {
    fn default() -> Self {
        Self {
            enabled: false,
            listen: vec![(Ipv4Addr::UNSPECIFIED, HTTPS_PORT).into()],
            cert_path: None,
            key_path: None,
            plain_listen: Vec::new(),
            trusted_proxies: Vec::new(),
            client_address_header: None,
            proxy_protocol: None,
            hosts: Vec::new(),
            max_connections: 20_000,
            connections_per_client: None,
        }
    }
}

impl Config {
    pub(super) fn check_certificates(&self, faults: &mut Faults) {
        let (doh, dot, made) = (&self.doh, &self.dot, self.certificate.self_signed || self.acme.enabled);
        let advice = "is missing; name the PEM file, or let [certificate] or [acme] make one";
        // A certificate and its key are named together, or neither is.
        let has_files =
            |enabled: bool, cert: bool, key: bool| !enabled || (cert && key) || (!cert && !key && made);
        for (certificate_key, private_key, sound, has_certificate) in [
            (
                "doh.cert_path",
                "doh.key_path",
                has_files(doh.enabled, doh.cert_path.is_some(), doh.key_path.is_some()),
                doh.cert_path.is_some(),
            ),
            (
                "dot.cert_path",
                "dot.key_path",
                has_files(
                    dot.enabled,
                    dot.cert_path.is_some() || doh.cert_path.is_some(),
                    dot.key_path.is_some() || doh.key_path.is_some(),
                ),
                dot.cert_path.is_some() || doh.cert_path.is_some(),
            ),
        ] {
            let key = if has_certificate { private_key } else { certificate_key };
            faults.add_with_if(!sound, key, CERTIFICATE_OPTIONS, advice);
        }
        faults.add_with_if(
            self.acme.enabled && self.certificate.names.is_empty(),
            "acme.enabled",
            &["certificate.names"],
            "there is nothing to ask a certificate for; write the host name of this server into certificate.names",
        );
        let advice = "is empty; write \"0.0.0.0:443\"";
        faults.add_with_if(doh.enabled && doh.listen.is_empty(), "doh.listen", &["doh.enabled"], advice);
        for (key, number) in [
            ("doh.max_connections", Some(doh.max_connections)),
            ("connections_per_client", Some(self.connections_per_client)),
            ("dot.connections_per_client", dot.connections_per_client),
            ("doh.connections_per_client", doh.connections_per_client),
        ] {
            faults.add_if(number == Some(0), key, "is 0, so nobody could connect; write a number above it");
        }
        let advice = "is empty; write \"0.0.0.0:853\"";
        faults.add_with_if(dot.enabled && dot.listen.is_empty(), "dot.listen", &["dot.enabled"], advice);
    }
}
