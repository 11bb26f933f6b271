//! What HTTPS and DNS over TLS are encrypted with.

use std::path::Path;

use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    certificates::{CertificateError, Certificates},
    config::Config,
    http,
    transport::tcp,
};

/// The handshakes of the encrypted listeners, and the certificates that they show.
pub(super) struct EncryptedListeners {
    pub(super) https: Option<TlsAcceptor>,
    pub(super) dot: Option<TlsAcceptor>,
    certificates: Vec<Certificates>,
}

impl EncryptedListeners {
    /// DNS over TLS shows the certificate of HTTPS unless it has files of its own.
    pub(super) fn new(config: &Config) -> Result<Self, CertificateError> {
        let (doh, dot) = (&config.doh, &config.dot);
        let load = |certificate: &Option<_>, key: &Option<_>| {
            let files: Option<(&Path, &Path)> = Option::zip(certificate.as_deref(), key.as_deref());
            files.map(|(certificate, key)| Certificates::from_files(certificate, key)).transpose()
        };
        let common = if doh.enabled || dot.enabled { load(&doh.cert_path, &doh.key_path)? } else { None };
        let own = match dot.enabled && (dot.cert_path.is_some() || dot.key_path.is_some()) {
            true => load(
                &dot.cert_path.clone().or_else(|| doh.cert_path.clone()),
                &dot.key_path.clone().or_else(|| doh.key_path.clone()),
            )?,
            false => None,
        };
        let https = common.as_ref().filter(|_| doh.enabled);
        let tls = own.as_ref().or(common.as_ref()).filter(|_| dot.enabled);
        Ok(Self {
            https: https.map(|shown| shown.acceptor(&http::PROTOCOLS)).transpose()?,
            dot: tls.map(|shown| shown.acceptor(&tcp::PROTOCOLS)).transpose()?,
            certificates: [common, own].into_iter().flatten().collect(),
        })
    }

    /// Starts to look for new certificates.
    pub(super) fn watch(self, stop: &CancellationToken, tasks: &TaskTracker) {
        for certificates in self.certificates {
            tasks.spawn(certificates.watch(stop.clone()));
        }
    }
}
