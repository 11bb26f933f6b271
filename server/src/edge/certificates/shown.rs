//! What clients are shown in a handshake.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        server::{ClientHello, ResolvesServerCert},
        sign::CertifiedKey,
    },
};

use super::{CertificateError, end};

/// The protocol of a handshake that only proves whose name it is (RFC 8737 section 6.2).
pub(super) const ACME_PROTOCOL: &[u8] = b"acme-tls/1";

/// The newest certificate, once there is one.
#[derive(Debug, Default)]
pub(super) struct Shown {
    current: RwLock<Option<Arc<CertifiedKey>>>,
    challenges: Arc<Challenges>,
}

/// What an authority wants to see while it has its doubts that a name is ours. There is one for each name at most.
#[derive(Debug, Default)]
pub struct Challenges {
    pub(super) certificates: RwLock<HashMap<String, Arc<CertifiedKey>>>,
    pub(super) files: RwLock<HashMap<String, String>>,
}

impl Shown {
    pub(super) fn show(&self, certificate: Arc<CertifiedKey>) {
        if let Some(reading) = end::read(&certificate) {
            let (names, until) = (reading.title(), end::date(reading.to));
            tracing::info!("showing a certificate for {names}, valid until {until}");
        }
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(certificate);
    }

    pub(super) fn current(&self) -> Option<Arc<CertifiedKey>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn challenges(&self) -> &Arc<Challenges> {
        &self.challenges
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        match is_challenge(&hello) {
            true => self.challenges.resolve(hello),
            false => self.current(),
        }
    }
}

/// Whether nothing but `acme-tls/1` is offered (RFC 8737 section 3).
fn is_challenge(hello: &ClientHello<'_>) -> bool {
    let mut protocols = hello.alpn().into_iter().flatten();
    protocols.next() == Some(ACME_PROTOCOL) && protocols.next().is_none()
}

/// For a listener that has nothing else to show.
impl ResolvesServerCert for Challenges {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().filter(|_| is_challenge(&hello))?.to_ascii_lowercase();
        self.certificates.read().unwrap_or_else(PoisonError::into_inner).get(&name).cloned()
    }
}

impl Challenges {
    /// The file at `/.well-known/acme-challenge/<token>`, while it is wanted.
    pub fn file(&self, token: &str) -> Option<String> {
        self.files.read().unwrap_or_else(PoisonError::into_inner).get(token).cloned()
    }

    /// TLS for a listener on which nothing but challenges is to be seen.
    ///
    /// # Errors
    ///
    /// Only if the TLS library refuses its own defaults.
    pub fn acceptor(self: &Arc<Self>) -> Result<TlsAcceptor, CertificateError> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(CertificateError::Tls)?
            .with_no_client_auth()
            .with_cert_resolver(self.clone());
        config.alpn_protocols = vec![ACME_PROTOCOL.to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }
}
