//! What clients are shown in a handshake.

use std::{
    collections::HashMap,
    sync::{Arc, PoisonError, RwLock},
};

use tokio_rustls::rustls::{
    server::{ClientHello, ResolvesServerCert},
    sign::CertifiedKey,
};

use super::end;

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
    certificates: RwLock<HashMap<String, Arc<CertifiedKey>>>,
    files: RwLock<HashMap<String, String>>,
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
        let mut protocols = hello.alpn().into_iter().flatten();
        if protocols.next() == Some(ACME_PROTOCOL) && protocols.next().is_none() {
            let name = hello.server_name()?.to_ascii_lowercase();
            let certificates = &self.challenges.certificates;
            return certificates.read().unwrap_or_else(PoisonError::into_inner).get(&name).cloned();
        }
        self.current()
    }
}

impl Challenges {
    /// The file at `/.well-known/acme-challenge/<token>`, while it is wanted.
    pub fn file(&self, token: &str) -> Option<String> {
        self.files.read().unwrap_or_else(PoisonError::into_inner).get(token).cloned()
    }

    pub(super) fn add_file(&self, token: &str, content: &str) {
        let mut files = self.files.write().unwrap_or_else(PoisonError::into_inner);
        files.insert(token.to_owned(), content.to_owned());
    }

    /// `name` as it stands in a handshake.
    pub(super) fn add_certificate(&self, name: String, certificate: Arc<CertifiedKey>) {
        self.certificates.write().unwrap_or_else(PoisonError::into_inner).insert(name, certificate);
    }

    pub(super) fn clear(&self) {
        self.files.write().unwrap_or_else(PoisonError::into_inner).clear();
        self.certificates.write().unwrap_or_else(PoisonError::into_inner).clear();
    }
}
