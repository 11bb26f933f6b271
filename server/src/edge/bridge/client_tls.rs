//! What clients are shown: a certificate for the name that they ask for, and the protocol that their site speaks.

use std::{fmt, sync::Arc};

use tokio_rustls::rustls::{
    self, ServerConfig,
    crypto::ring,
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

/// HTTP/2, as clients and sites name it in a handshake (ALPN).
pub const HTTP2: &[u8] = b"h2";

/// HTTP/1.1, likewise.
pub const HTTP1: &[u8] = b"http/1.1";

/// Makes a certificate for a name, or says in the log why there is none.
pub type Leaf = Arc<dyn Fn(&str) -> Option<Arc<CertifiedKey>> + Send + Sync>;

/// Handshakes with clients, by what is spoken after them.
#[derive(Clone)]
pub struct ClientTls {
    http2: Arc<ServerConfig>,
    http1: Arc<ServerConfig>,
    /// For a site that has not said what it speaks.
    unnamed: Arc<ServerConfig>,
}

struct Leaves(Leaf);

impl ClientTls {
    /// With certificates from `leaf`.
    ///
    /// # Errors
    ///
    /// Only if the TLS library refuses its own defaults, or the system has no randomness.
    pub fn new(leaf: Leaf) -> Result<Self, rustls::Error> {
        let leaves: Arc<dyn ResolvesServerCert> = Arc::new(Leaves(leaf));
        // Tickets hold the name, and are taken for no other. 0-RTT stays off: what is sent in it can be sent again by anyone.
        let ticketer = ring::Ticketer::new()?;
        let speaking = |protocol: Option<&[u8]>| {
            let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
                .with_safe_default_protocol_versions()?
                .with_no_client_auth()
                .with_cert_resolver(leaves.clone());
            config.alpn_protocols = protocol.into_iter().map(<[u8]>::to_vec).collect();
            config.ticketer = ticketer.clone();
            Ok::<_, rustls::Error>(Arc::new(config))
        };
        Ok(Self { http2: speaking(Some(HTTP2))?, http1: speaking(Some(HTTP1))?, unnamed: speaking(None)? })
    }

    /// For a client whose site has chosen `protocol`.
    pub(super) fn speaking(&self, protocol: Option<&[u8]>) -> &Arc<ServerConfig> {
        match protocol {
            Some(HTTP2) => &self.http2,
            Some(_) => &self.http1,
            None => &self.unnamed,
        }
    }
}

impl fmt::Debug for ClientTls {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ClientTls").finish_non_exhaustive()
    }
}

impl fmt::Debug for Leaves {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Leaves").finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Leaves {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        (self.0)(&hello.server_name()?.to_ascii_lowercase())
    }
}

/// Of what a client offers, what can be passed on to a site.
pub(super) fn passable(offered: Option<Vec<Vec<u8>>>) -> Vec<Vec<u8>> {
    let mut offered = offered.unwrap_or_default();
    offered.retain(|protocol| [HTTP2, HTTP1].contains(&protocol.as_slice()));
    offered.truncate(2);
    offered
}

/// What an error page is sent over to a client that offers this.
pub(super) fn for_error_page(offered: &[Vec<u8>]) -> Option<&'static [u8]> {
    let offers = |protocol: &[u8]| offered.iter().any(|offered| offered == protocol);
    match () {
        () if offered.is_empty() => None,
        () if offers(HTTP2) && !offers(HTTP1) => Some(HTTP2),
        () => Some(HTTP1),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offers(protocols: &[&str]) -> Vec<Vec<u8>> {
        protocols.iter().map(|protocol| protocol.as_bytes().to_vec()).collect()
    }

    #[test]
    fn only_http_is_passed_on_and_an_error_page_takes_the_simplest_that_is_offered() {
        assert_eq!(passable(Some(offers(&["grease", "h2", "http/1.1", "h3"]))), offers(&["h2", "http/1.1"]));
        assert_eq!(passable(Some(offers(&["h2"; 1000]))).len(), 2);
        assert!(passable(None).is_empty());
        assert_eq!(for_error_page(&offers(&["h2", "http/1.1"])), Some(HTTP1));
        assert_eq!(for_error_page(&offers(&["h2"])), Some(HTTP2));
        assert_eq!(for_error_page(&[]), None);
    }
}
