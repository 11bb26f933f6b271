//! The certificates of HTTPS and DNS over TLS: where they come from, and that the newest is the one that is shown.

mod files;

use std::{
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::Duration,
};

use thiserror::Error;
use tokio::time::sleep;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        self, ServerConfig,
        crypto::ring,
        pki_types::pem,
        server::{ClientHello, ResolvesServerCert},
        sign::CertifiedKey,
    },
};
use tokio_util::sync::CancellationToken;

use files::Files;

/// How often files are looked at. Renewals come weeks before the end.
const LOOK_INTERVAL: Duration = Duration::from_secs(5);

/// A certificate with its private key, replaced while it is in use. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Certificates {
    shown: Arc<Shown>,
    files: Arc<Files>,
}

/// Why there is no certificate to show.
#[derive(Debug, Error)]
pub enum CertificateError {
    /// A file cannot be read, or does not hold what it should.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: pem::Error,
    },
    /// A file without a certificate.
    #[error("{} holds no certificate in PEM", .0.display())]
    Empty(PathBuf),
    /// The key is of an unknown kind, or is not that of the certificate.
    #[error("{}: {source}", path.display())]
    Unusable {
        /// The file of the key.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// The TLS library refuses its own defaults.
    #[error("TLS cannot be used: {0}")]
    Tls(rustls::Error),
}

impl Certificates {
    /// The certificate chain and key of two PEM files.
    ///
    /// # Errors
    ///
    /// When they cannot be read or do not belong together.
    pub fn from_files(certificate: &Path, key: &Path) -> Result<Self, CertificateError> {
        let files = Files::new(certificate, key);
        let shown = Arc::new(Shown { current: RwLock::new(files.load()?) });
        Ok(Self { shown, files: Arc::new(files) })
    }

    /// TLS with whatever certificate is the newest when a client comes, for clients that speak one of `protocols`
    /// (ALPN), or do not say what they speak.
    ///
    /// # Errors
    ///
    /// Only if the TLS library refuses its own defaults.
    pub fn acceptor(&self, protocols: &[&[u8]]) -> Result<TlsAcceptor, CertificateError> {
        // Named, because rustls panics when it has to choose between two providers.
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(CertificateError::Tls)?
            .with_no_client_auth()
            .with_cert_resolver(self.shown.clone());
        config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        // Sessions are resumed by tickets, so that they cost the client memory and not us. 0-RTT stays off: what is
        // sent in it can be sent again by anyone.
        config.ticketer = ring::Ticketer::new().map_err(CertificateError::Tls)?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// Shows new certificates as they come, until `stop` is cancelled.
    pub async fn watch(self, stop: CancellationToken) {
        let mut seen = self.files.stamp().await;
        while stop.run_until_cancelled(sleep(LOOK_INTERVAL)).await.is_some() {
            let stamp = self.files.stamp().await;
            if stamp == seen {
                continue;
            }
            match self.files.load() {
                Ok(certificate) => {
                    tracing::info!("new certificate: {}", self.files);
                    self.shown.show(certificate);
                    seen = stamp;
                }
                // Maybe half of the two is written: the old one is shown until both fit.
                Err(error) => {
                    if stamp != seen {
                        tracing::warn!("the certificate stays as it is: {error}");
                    }
                    seen = stamp;
                }
            }
        }
    }
}

/// What clients are shown.
#[derive(Debug)]
struct Shown {
    current: RwLock<Arc<CertifiedKey>>,
}

impl Shown {
    fn show(&self, certificate: Arc<CertifiedKey>) {
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = certificate;
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.current.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}
