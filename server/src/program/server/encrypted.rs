//! What HTTPS and DNS over TLS are encrypted with.

use std::{path::Path, sync::Arc};

use tokio_rustls::TlsAcceptor;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{StartError, parts::resolve_host};
use crate::{
    base::config::Config,
    edge::{
        certificates::{AuthorityCertificate, CertificateError, Certificates, Challenges, Connections},
        transport::{self, SharedTls, tcp},
    },
    sources::forward::{Forwarder, TlsClient},
};

/// The handshakes of the encrypted listeners, and the certificates that they show.
pub(super) struct EncryptedListeners {
    https: Option<TlsAcceptor>,
    dot: Option<TlsAcceptor>,
    /// What HTTPS shows.
    https_certificates: Option<Certificates>,
    /// What DNS over TLS shows.
    pub(super) dot_certificates: Option<Certificates>,
    /// What clients have to import, if it is ours.
    pub(super) authority: Option<AuthorityCertificate>,
    /// What an ACME authority may want to see over HTTP.
    pub(super) challenges: Option<Arc<Challenges>>,
    certificates: Vec<Certificates>,
    /// Those that clients are shown.
    pub(super) shown: Vec<Certificates>,
}

impl EncryptedListeners {
    /// Whether they would be others under `new`. What their files hold is watched in any case.
    pub(super) fn differ(old: &Config, new: &Config) -> bool {
        let settings = |config: &Config| {
            let (doh, dot) = (config.doh.clone(), config.dot.clone());
            let files = [doh.cert_path, doh.key_path, dot.cert_path, dot.key_path];
            (doh.enabled, dot.enabled, files, config.certificate.clone(), config.acme.clone())
        };
        settings(old) != settings(new)
    }

    /// DNS over TLS shows the certificate of HTTPS unless it has files of its own.
    pub(super) fn new(config: &Config, forwarder: &Arc<Forwarder>) -> Result<Self, StartError> {
        let (doh, dot) = (&config.doh, &config.dot);
        let common = match doh.enabled || dot.enabled {
            true => certificates(config, forwarder)?,
            false => None,
        };
        let own = match dot.enabled && (dot.cert_path.is_some() || dot.key_path.is_some()) {
            true => from_files(
                dot.cert_path.as_deref().or(doh.cert_path.as_deref()),
                dot.key_path.as_deref().or(doh.key_path.as_deref()),
            )?,
            false => None,
        };
        let https = common.as_ref().filter(|_| doh.enabled);
        let tls = own.as_ref().or(common.as_ref()).filter(|_| dot.enabled);
        let is_common_shown = https.is_some() || (tls.is_some() && own.is_none());
        let shown = [common.as_ref().filter(|_| is_common_shown), own.as_ref()];
        Ok(Self {
            shown: shown.into_iter().flatten().cloned().collect(),
            https: https.map(|shown| shown.acceptor(&transport::HTTP_PROTOCOLS)).transpose()?,
            dot: tls.map(|shown| shown.acceptor(&tcp::PROTOCOLS)).transpose()?,
            https_certificates: https.cloned(),
            dot_certificates: tls.cloned(),
            authority: common.as_ref().and_then(Certificates::authority),
            challenges: common.as_ref().map(|shown| shown.challenges().clone()),
            certificates: [common, own].into_iter().flatten().collect(),
        })
    }

    /// Encrypts new connections of DNS over TLS.
    pub(super) fn encrypt_dot(&self, shared: &mut Option<SharedTls>) {
        replace(shared, self.dot.as_ref());
    }

    /// Encrypts new connections of HTTPS.
    #[cfg(feature = "http")]
    pub(super) fn encrypt_https(&self, shared: &mut Option<SharedTls>) {
        replace(shared, self.https.as_ref());
    }

    /// The certificate that HTTPS shows now, DER.
    pub(super) fn https_certificate(&self) -> Option<Vec<u8>> {
        self.https_certificates.as_ref()?.current()
    }

    /// Starts to look for new certificates.
    pub(super) fn watch(&self, stop: &CancellationToken, tasks: &TaskTracker) {
        for certificates in &self.certificates {
            tasks.spawn(certificates.clone().watch(stop.clone()));
        }
    }
}

/// Connections that are open stay with what they began with.
fn replace(shared: &mut Option<SharedTls>, acceptor: Option<&TlsAcceptor>) {
    match (&shared, acceptor) {
        (Some(shared), Some(acceptor)) => shared.replace(acceptor.clone()),
        (_, acceptor) => *shared = acceptor.cloned().map(SharedTls::from),
    }
}

/// Files that are named come first, then an authority that speaks ACME, then one of our own.
fn certificates(config: &Config, forwarder: &Arc<Forwarder>) -> Result<Option<Certificates>, StartError> {
    if let Some(files) = from_files(config.doh.cert_path.as_deref(), config.doh.key_path.as_deref())? {
        return Ok(Some(files));
    }
    if config.acme.enabled {
        let tls = TlsClient::new(config.acme.ca_path.as_deref())?.for_tls();
        let connections = Connections { tls: (*tls).clone(), resolve_host: resolve_host(forwarder) };
        return Ok(Some(Certificates::from_acme(&config.certificate, &config.acme, connections)?));
    }
    let made = config.certificate.self_signed.then(|| Certificates::self_signed(&config.certificate));
    Ok(made.transpose()?)
}

fn from_files(
    certificate: Option<&Path>,
    key: Option<&Path>,
) -> Result<Option<Certificates>, CertificateError> {
    let files = certificate.zip(key);
    files.map(|(certificate, key)| Certificates::from_files(certificate, key)).transpose()
}
