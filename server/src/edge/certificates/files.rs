//! A certificate and its key in PEM files that somebody else renews.

use std::{
    fmt,
    path::{Path, PathBuf},
    sync::Arc,
};

use tokio_rustls::rustls::{
    crypto::ring,
    pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject},
    sign::CertifiedKey,
};

use super::CertificateError;
use crate::base::watched_files;

/// Bytes of a certificate chain, or of a key. Longer ones fit no handshake.
const MAX_SIZE: u64 = 1 << 20;

/// Where a certificate chain and its key are.
#[derive(Debug, Clone)]
pub(super) struct Files {
    certificate: PathBuf,
    key: PathBuf,
}

/// What both files hold. Compared as a whole: a new file may have the length and the time of the old one.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Contents {
    certificate: Vec<u8>,
    key: Vec<u8>,
}

impl Files {
    pub(super) fn new(certificate: &Path, key: &Path) -> Self {
        Self { certificate: certificate.into(), key: key.into() }
    }

    pub(super) fn certificate_path(&self) -> &Path {
        &self.certificate
    }

    /// Reads both. Blocks.
    pub(super) fn read(&self) -> Result<Contents, CertificateError> {
        let read = |path: &Path| {
            watched_files::read(path, MAX_SIZE)
                .map_err(|source| CertificateError::Unreadable { path: path.into(), source })
        };
        Ok(Contents { certificate: read(&self.certificate)?, key: read(&self.key)? })
    }

    /// What can be shown of them, if they belong together.
    pub(super) fn parse(&self, contents: &Contents) -> Result<Arc<CertifiedKey>, CertificateError> {
        certified_key(&contents.certificate, &contents.key).map_err(|why| match why {
            Why::Certificate => CertificateError::NoCertificate(self.certificate.clone()),
            Why::Key if is_encrypted(&contents.key) => CertificateError::Encrypted(self.key.clone()),
            Why::Key => CertificateError::NoKey(self.key.clone()),
            Why::Mismatch(source) => CertificateError::Unusable { path: self.key.clone(), source },
        })
    }
}

/// Without the key.
impl fmt::Debug for Contents {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Contents").finish_non_exhaustive()
    }
}

/// By PKCS #8 (RFC 7468 section 11), or by what OpenSSL wrote before.
fn is_encrypted(key: &[u8]) -> bool {
    let has = |words: &[u8]| key.windows(words.len()).any(|window| window == words);
    has(b"ENCRYPTED PRIVATE KEY") || has(b"Proc-Type: 4,ENCRYPTED")
}

/// What is wrong with a certificate and its key.
pub(super) enum Why {
    Certificate,
    Key,
    Mismatch(tokio_rustls::rustls::Error),
}

/// From PEM; both may be in one text.
pub(super) fn certified_key(certificate: &[u8], key: &[u8]) -> Result<Arc<CertifiedKey>, Why> {
    let chain = CertificateDer::pem_slice_iter(certificate).collect::<Result<Vec<_>, _>>();
    let chain = chain.ok().filter(|chain| !chain.is_empty()).ok_or(Why::Certificate)?;
    let key = PrivateKeyDer::from_pem_slice(key).map_err(|_| Why::Key)?;
    CertifiedKey::from_der(chain, key, &ring::default_provider()).map(Arc::new).map_err(Why::Mismatch)
}
