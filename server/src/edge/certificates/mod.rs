//! The certificates of HTTPS and DNS over TLS: where they come from, and that the newest is the one that is shown.

#[cfg(feature = "acme")]
pub mod acme;
mod authority;
mod authority_reading;
mod bridge_authority;
mod constraints;
mod end;
mod files;
mod lan_authority;
mod look;
#[cfg(not(feature = "acme"))]
mod no_acme;
mod shown;
mod trust;
mod visit;

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use pkdns_dht::HostResolver;
use thiserror::Error;
use tokio::time::sleep;
use tokio_rustls::{
    TlsAcceptor,
    rustls::{self, ClientConfig, ServerConfig, crypto::ring},
};
use tokio_util::sync::CancellationToken;

pub use authority::AuthorityCertificate;
pub use authority_reading::AuthorityReading;
pub use bridge_authority::BridgeAuthority;
pub use constraints::Constraints;
pub use look::{Look, look, trusting_anyone, trusting_only};
pub use shown::Challenges;
pub use visit::{SiteAnswer, Visit, visit};

use crate::base::{config, metrics::CertificateReading, private_file, watched_files};
#[cfg(feature = "acme")]
use acme::Acme;
use files::{Contents, Files};
use lan_authority::{Issued, LanAuthority};
#[cfg(not(feature = "acme"))]
use no_acme::{self as acme, Acme};
use shown::{ACME_PROTOCOL, Shown};

/// How often a certificate of our own is looked at: it is renewed by the day, and with the addresses of the machine.
const OWN_INTERVAL: Duration = Duration::from_secs(60);

/// A certificate with its private key, replaced while it is in use. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Certificates {
    shown: Arc<Shown>,
    source: Arc<Source>,
}

/// Where the certificate comes from.
#[derive(Debug)]
enum Source {
    Files {
        files: Files,
        first: Contents,
    },
    Own {
        authority: LanAuthority,
        first: Issued,
    },
    /// Until the first one is there, one of our own is shown, if that is wanted.
    Acme {
        acme: Box<Acme>,
        stand_in: Option<(LanAuthority, Issued)>,
    },
}

/// How an ACME authority is reached.
pub struct Connections {
    /// Whom its server has to be certified by.
    pub tls: ClientConfig,
    /// Who resolves its name.
    pub resolve_host: HostResolver,
}

/// Why there is no certificate to show.
#[derive(Debug, Error)]
pub enum CertificateError {
    /// A file cannot be read.
    #[error("{}: {source}", path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file without a certificate.
    #[error("{} holds no certificate in PEM", .0.display())]
    NoCertificate(PathBuf),
    /// A file without a key.
    #[error("{} holds no private key in PEM", .0.display())]
    NoKey(PathBuf),
    /// A key that only its passphrase opens.
    #[error(
        "{} is encrypted with a passphrase, which nobody is there to type: decrypt it with openssl pkey -in FILE -out NEW", .0.display()
    )]
    Encrypted(PathBuf),
    /// The key is of an unknown kind, or is not that of the certificate.
    #[error("{} {}", path.display(), key_fault(source))]
    Unusable {
        /// The file of the key.
        path: PathBuf,
        /// Why.
        source: rustls::Error,
    },
    /// What has to outlive a restart cannot be kept.
    #[error("{}: {source}; check certificate.path and that pkdns may write there", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A certificate of our own cannot be made.
    #[error("cannot make a certificate: {0}; check certificate.names and names.suffixes")]
    Make(rcgen::Error),
    /// The bridge has been asked for a certificate for a name that it may not sign for.
    #[error(
        "{0} is no name below a suffix of names.suffixes, and the authority of the bridge signs for no other"
    )]
    NotBelowASuffix(String),
    /// The TLS library refuses its own defaults.
    #[error("TLS cannot be used: {0}")]
    Tls(rustls::Error),
}

/// What is wrong with a key, for people.
fn key_fault(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InconsistentKeys(_) => {
            "is the key of another certificate: name the one that belongs to it".to_string()
        }
        rustls::Error::General(_) => {
            "holds a key that cannot be used: make one of ECDSA P-256, Ed25519, or RSA with 2048 bits or more"
                .to_string()
        }
        other => format!("holds a key that cannot be used: {other}"),
    }
}

/// Whether a certificate could be made in this directory, or obtained and kept, without doing either.
///
/// # Errors
///
/// What would keep the server from starting.
pub fn check_directory(settings: &config::Certificate, obtains: bool) -> Result<(), CertificateError> {
    let path = directory(settings);
    if settings.self_signed {
        lan_authority::check(&path)?;
    }
    if obtains {
        acme::check(&path)?;
    }
    private_file::check_directory(&path).map_err(|source| CertificateError::State { path, source })
}

impl Certificates {
    /// The certificate chain and key of two PEM files.
    ///
    /// # Errors
    ///
    /// When they cannot be read or do not belong together.
    pub fn from_files(certificate: &Path, key: &Path) -> Result<Self, CertificateError> {
        let files = Files::new(certificate, key);
        let first = files.read()?;
        let shown = Shown::default();
        shown.show(files.parse(&first)?);
        Ok(Self { shown: Arc::new(shown), source: Arc::new(Source::Files { files, first }) })
    }

    /// From an authority of our own, whose certificate clients have to import.
    ///
    /// # Errors
    ///
    /// When the directory cannot be written to, or holds something else.
    pub fn self_signed(settings: &config::Certificate) -> Result<Self, CertificateError> {
        let authority = open_authority(settings)?;
        let first = authority.issue(SystemTime::now())?;
        let shown = Shown::default();
        shown.show(first.certificate.clone());
        Ok(Self { shown: Arc::new(shown), source: Arc::new(Source::Own { authority, first }) })
    }

    /// From an authority that speaks ACME. What was obtained before is shown at once, and without it one of our own if
    /// `settings` say so.
    ///
    /// # Errors
    ///
    /// When what was obtained before cannot be read.
    pub fn from_acme(
        settings: &config::Certificate,
        acme: &config::Acme,
        connections: Connections,
    ) -> Result<Self, CertificateError> {
        let shown = Shown::default();
        let acme = Box::new(Acme::new(settings, acme, connections));
        let authority = settings.self_signed.then(|| open_authority(settings)).transpose()?;
        let mut stand_in = None;
        match (acme.stored()?, authority) {
            (Some(stored), _) => shown.show(stored),
            (None, Some(authority)) => {
                let first = authority.issue(SystemTime::now())?;
                shown.show(first.certificate.clone());
                stand_in = Some((authority, first));
            }
            (None, None) => {}
        }
        Ok(Self { shown: Arc::new(shown), source: Arc::new(Source::Acme { acme, stand_in }) })
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
        if matches!(*self.source, Source::Acme { .. }) {
            config.alpn_protocols.push(ACME_PROTOCOL.to_vec());
        }
        // Sessions are resumed by tickets, so that they cost the client memory and not us. 0-RTT stays off: what is
        // sent in it can be sent again by anyone.
        config.ticketer = ring::Ticketer::new().map_err(CertificateError::Tls)?;
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    /// The certificate that clients have to import, if it is one of ours.
    pub fn authority(&self) -> Option<AuthorityCertificate> {
        match &*self.source {
            Source::Own { authority, .. } => Some(authority.certificate().clone()),
            Source::Files { .. } | Source::Acme { .. } => None,
        }
    }

    /// What an ACME authority may want to see over HTTP.
    pub fn challenges(&self) -> &Arc<Challenges> {
        self.shown.challenges()
    }

    /// The certificate that is shown now, DER, without those of authorities.
    pub fn current(&self) -> Option<Vec<u8>> {
        self.shown.current()?.cert.first().map(|certificate| certificate.to_vec())
    }

    /// What is shown now.
    pub fn reading(&self) -> Option<CertificateReading> {
        end::read(&*self.shown.current()?)
    }

    /// Shows new certificates as they come, and complains of those that end soon, until `stop` is cancelled.
    pub async fn watch(self, stop: CancellationToken) {
        let renewed_here = !matches!(*self.source, Source::Files { .. });
        let reminding = end::remind(&self.shown, renewed_here, SystemTime::now);
        stop.run_until_cancelled(async { tokio::join!(reminding, self.keep_new()) }).await;
    }

    async fn keep_new(&self) {
        match &*self.source {
            Source::Files { files, first } => self.watch_files(files, first.clone()).await,
            Source::Own { authority, first } => {
                tracing::info!(
                    "the certificate is signed by an authority of our own: import {}",
                    authority.certificate_path().display()
                );
                self.renew_own(authority, first.clone(), || true).await;
            }
            Source::Acme { acme, stand_in } => {
                if self.shown.current().is_none() {
                    tracing::warn!(
                        "there is no certificate yet: encrypted connections fail until {acme} gives one"
                    );
                }
                let obtaining = acme.run(&self.shown);
                let Some((authority, first)) = stand_in else { return obtaining.await };
                tracing::warn!("a certificate of our own authority is shown until {acme} gives one");
                let is_wanted = || acme.stored().is_ok_and(|stored| stored.is_none());
                // One after the other in this task, so that what has been obtained is not covered again.
                tokio::join!(obtaining, self.renew_own(authority, first.clone(), is_wanted));
            }
        }
    }

    async fn watch_files(&self, files: &Files, first: Contents) {
        let (read_files, files, shown) = (files.clone(), files.clone(), self.shown.clone());
        let read = move || read_files.read().map_err(|error| error.to_string());
        let take = move |contents: &Contents| {
            let certificate = files.parse(contents).map_err(|error| error.to_string())?;
            tracing::info!("new certificate from {}", files.certificate_path().display());
            shown.show(certificate);
            Ok(())
        };
        let complain = |error: &str| tracing::warn!("the certificate stays as it is: {error}");
        watched_files::watch(Ok(first), read, take, complain).await;
    }

    async fn renew_own(&self, authority: &LanAuthority, mut issued: Issued, is_wanted: impl Fn() -> bool) {
        loop {
            sleep(OWN_INTERVAL).await;
            if !is_wanted() {
                return;
            }
            let now = SystemTime::now();
            // The clock may have been set since.
            if let Err(error) = authority.renew(now) {
                tracing::warn!("the certificate of our own authority stays as it is: {error}");
            }
            if !authority.is_due(&issued, now) {
                continue;
            }
            match authority.issue(now) {
                Ok(renewed) => {
                    self.shown.show(renewed.certificate.clone());
                    issued = renewed;
                }
                Err(error) => tracing::warn!("the certificate stays as it is: {error}"),
            }
        }
    }
}

fn open_authority(settings: &config::Certificate) -> Result<LanAuthority, CertificateError> {
    LanAuthority::open(&directory(settings), &settings.names, SystemTime::now())
}

/// The names of a certificate chain in PEM, and from when to when it is valid; `None` where there is none, or `key` is not its
/// key.
pub fn reading_of(chain: &[u8], key: &[u8]) -> Option<CertificateReading> {
    end::read(&*files::certified_key(chain, key).ok()?)
}

/// Where keys and certificates are kept.
pub fn directory(settings: &config::Certificate) -> PathBuf {
    settings.path.clone().unwrap_or_else(|| PathBuf::from("certificates"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::forward::TlsClient;

    #[tokio::test(start_paused = true)]
    async fn what_stands_in_is_made_anew_after_the_clock_was_set_until_there_is_another() {
        for is_obtained in [false, true] {
            let directory = tempfile::tempdir().unwrap();
            let (self_signed, path) = (true, Some(directory.path().to_owned()));
            let names = vec!["dns.example".to_string()];
            let settings = config::Certificate { self_signed, path, names: names.clone() };
            let connections = Connections {
                tls: (*TlsClient::new(None).unwrap().for_tls()).clone(),
                resolve_host: Arc::new(|_| Box::pin(async { Vec::new() })),
            };
            let acme = config::Acme { enabled: true, ..Default::default() };
            let mut certificates = Certificates::from_acme(&settings, &acme, connections).unwrap();
            let Some(Source::Acme { stand_in: Some((authority, first)), .. }) =
                Arc::get_mut(&mut certificates.source)
            else {
                panic!("one of our own stands in")
            };
            // It was made before the clock was set.
            *first = authority.issue(SystemTime::UNIX_EPOCH).unwrap();
            let before = first.certificate.clone();
            let shown = certificates.shown.clone();
            shown.show(before.clone());
            if is_obtained {
                let other = rcgen::generate_simple_self_signed(names).unwrap();
                let pem = other.signing_key.serialize_pem() + &other.cert.pem();
                std::fs::write(directory.path().join("acme.pem"), pem).unwrap();
            }
            let watching = tokio::spawn(certificates.watch(CancellationToken::new()));
            sleep(2 * OWN_INTERVAL).await;
            let now = shown.current().unwrap();
            assert_eq!(now.cert == before.cert, is_obtained, "what has been obtained is not covered");
            watching.abort();
        }
    }
}
