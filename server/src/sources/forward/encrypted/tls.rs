//! Whom encrypted upstreams have to be certified by.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use thiserror::Error;
use tokio_rustls::rustls::{
    self, ClientConfig, RootCertStore,
    crypto::ring,
    pki_types::{
        CertificateDer,
        pem::{self, PemObject},
    },
};

/// Checks the certificates of encrypted upstreams.
#[derive(Debug, Clone)]
pub struct TlsClient {
    roots: Arc<RootCertStore>,
    more: Option<Arc<[u8]>>,
    tls: Arc<ClientConfig>,
    dot: Arc<ClientConfig>,
    https: Arc<ClientConfig>,
}

/// Why encrypted upstreams could not be authenticated.
#[derive(Debug, Error)]
pub enum TlsError {
    /// The file of additional authorities cannot be read.
    #[error("fallback_ca_path: {}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: pem::Error,
    },
    /// The file holds nothing to trust.
    #[error("fallback_ca_path: {} holds no certificate in PEM", .0.display())]
    Empty(PathBuf),
    /// A certificate in the file cannot stand for an authority.
    #[error("fallback_ca_path: {}: {source}", path.display())]
    Certificate {
        /// The file.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// The TLS library refuses its own defaults.
    #[error("TLS cannot be used: {0}")]
    Unusable(rustls::Error),
}

impl TlsClient {
    /// Trusts the public authorities, and those whose certificates are in the PEM file `more`.
    ///
    /// # Errors
    ///
    /// When the file cannot be read or holds no certificate of an authority.
    pub fn new(more: Option<&Path>) -> Result<Self, TlsError> {
        let mut roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        let more = more.map(|path| add(&mut roots, path)).transpose()?;
        let roots = Arc::new(roots);
        // Named, because rustls panics when it has to choose between two providers.
        let tls = ClientConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(TlsError::Unusable)?
            .with_root_certificates(roots.clone())
            .with_no_client_auth();
        let offering = |protocols: &[&[u8]]| {
            let mut tls = tls.clone();
            tls.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
            Arc::new(tls)
        };
        // RFC 7858 registers `dot`. Servers that share port 853 or 443 with other protocols need to be told.
        let (dot, https) = (offering(&[b"dot"]), offering(&[b"h2", b"http/1.1"]));
        Ok(Self { roots, more, dot, https, tls: Arc::new(tls) })
    }

    /// Whether both trust the same authorities.
    pub(in crate::sources::forward) fn trusts_as(&self, other: &Self) -> bool {
        self.roots.roots == other.roots.roots
    }

    /// For any protocol over TLS: names none to agree on (ALPN).
    pub fn for_tls(&self) -> Arc<ClientConfig> {
        self.tls.clone()
    }

    /// The file of the authorities besides the public ones, in PEM.
    pub fn additional_authorities(&self) -> Option<Arc<[u8]>> {
        self.more.clone()
    }

    pub(super) fn for_dot(&self) -> Arc<ClientConfig> {
        self.dot.clone()
    }

    pub(super) fn for_https(&self) -> Arc<ClientConfig> {
        self.https.clone()
    }
}

/// The content of the file.
fn add(roots: &mut RootCertStore, path: &Path) -> Result<Arc<[u8]>, TlsError> {
    let unreadable = |source| TlsError::Unreadable { path: path.into(), source };
    let pem = std::fs::read(path).map_err(|error| unreadable(pem::Error::Io(error)))?;
    let before = roots.len();
    for certificate in CertificateDer::pem_slice_iter(&pem) {
        let added = roots.add(certificate.map_err(unreadable)?);
        added.map_err(|source| TlsError::Certificate { path: path.into(), source })?;
    }
    if roots.len() == before { Err(TlsError::Empty(path.into())) } else { Ok(pem.into()) }
}
