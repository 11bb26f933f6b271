//! A certificate and its key in PEM files.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
    time::SystemTime,
};

use tokio_rustls::rustls::{
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};

use super::CertificateError;

/// Where a certificate chain and its key are.
#[derive(Debug)]
pub(super) struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

/// What tells one version of the two files from another: length and time of each.
pub(super) type Stamp = [Option<(u64, SystemTime)>; 2];

impl Files {
    pub(super) fn new(certificate: &Path, key: &Path) -> Self {
        Self { certificate: certificate.into(), key: key.into() }
    }

    /// Reads both and sees that they belong together.
    pub(super) fn load(&self) -> Result<Arc<CertifiedKey>, CertificateError> {
        let chain = CertificateDer::pem_file_iter(&self.certificate)
            .and_then(Iterator::collect::<Result<Vec<_>, _>>)
            .map_err(|source| CertificateError::Unreadable { path: self.certificate.clone(), source })?;
        if chain.is_empty() {
            return Err(CertificateError::Empty(self.certificate.clone()));
        }
        let key = PrivateKeyDer::from_pem_file(&self.key)
            .map_err(|source| CertificateError::Unreadable { path: self.key.clone(), source })?;
        CertifiedKey::from_der(chain, key, &ring::default_provider())
            .map(Arc::new)
            .map_err(|source| CertificateError::Unusable { path: self.key.clone(), source })
    }

    pub(super) async fn stamp(&self) -> Stamp {
        let one = |path: &Path| {
            let path = path.to_owned();
            async move {
                let metadata = tokio::fs::metadata(path).await.ok()?;
                Some((metadata.len(), metadata.modified().ok()?))
            }
        };
        [one(&self.certificate).await, one(&self.key).await]
    }
}

impl fmt::Display for Files {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.certificate.display())
    }
}
