//! A certificate from an authority that speaks ACME (RFC 8555): ordered, proven, fetched, and renewed in time.

mod client;
mod error;
mod order;
mod proof;
mod schedule;
mod showing;

use std::{
    fmt, fs, io,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use tokio::time::{sleep, timeout};
use tokio_rustls::rustls::sign::CertifiedKey;

use super::{CertificateError, Connections, directory, end, files::certified_key, shown::Shown};
use crate::base::{config, private_file};
pub use error::AcmeError;
pub use order::{AcmeAuthority, NewCertificate};
pub use proof::{Challenge, Proof, Prover};
pub use schedule::{LONGEST_SLEEP, time_left, wait_after};
pub use showing::Showing;

/// Who we are to the authority.
const ACCOUNT_NAME: &str = "acme-account.json";

/// Key and certificate chain, in one file, so that they are of one age.
const CERTIFICATE_NAME: &str = "acme.pem";

/// How long all of it may take.
const ORDER_DEADLINE: Duration = Duration::from_secs(300);

/// Obtains certificates and keeps them.
pub(super) struct Acme {
    names: Vec<String>,
    directory: PathBuf,
    challenge: Challenge,
    authority: AcmeAuthority,
}

impl Acme {
    pub(super) fn new(settings: &config::Certificate, acme: &config::Acme, connections: Connections) -> Self {
        let directory = directory(settings);
        let account = directory.join(ACCOUNT_NAME);
        let authority =
            AcmeAuthority::new(&acme.directory, &acme.contact, &acme.profile, &account, connections);
        Self { names: settings.names.clone(), directory, challenge: acme.challenge.into(), authority }
    }

    /// What was obtained before, whatever its age: an old certificate can be overridden by hand, none cannot.
    pub(super) fn stored(&self) -> Result<Option<Arc<CertifiedKey>>, CertificateError> {
        stored(&self.directory)
    }

    /// Obtains a certificate whenever one is due. Does not end.
    pub(super) async fn run(&self, shown: &Shown) {
        let mut failures = 0;
        let mut held = self.stored().ok().flatten().and_then(|certificate| end::read(&certificate));
        loop {
            let left = time_left(held.as_ref(), &self.names, SystemTime::now());
            if !left.is_zero() {
                sleep(left.min(LONGEST_SLEEP)).await;
                continue;
            }
            let outcome = timeout(ORDER_DEADLINE, self.obtain(shown)).await;
            let error = match outcome.unwrap_or(Err(AcmeError::Deadline(ORDER_DEADLINE))) {
                Ok(certificate) => {
                    tracing::info!("new certificate from {self} for {}", self.names.join(", "));
                    held = end::read(&certificate);
                    shown.show(certificate);
                    if !time_left(held.as_ref(), &self.names, SystemTime::now()).is_zero() {
                        failures = 0;
                        continue;
                    }
                    AcmeError::DueAtOnce
                }
                Err(error) => error,
            };
            let wait = wait_after(failures, error.not_before(), SystemTime::now());
            failures = failures.saturating_add(1);
            tracing::warn!("no certificate from {self}: {error}; trying again in {} s", wait.as_secs());
            sleep(wait).await;
        }
    }

    async fn obtain(&self, shown: &Shown) -> Result<Arc<CertifiedKey>, AcmeError> {
        let showing = Showing::new(shown.challenges().clone(), self.challenge);
        let NewCertificate { key, chain, certified } =
            self.authority.obtain(&self.names, self.challenge, &showing).await?;
        let path = self.directory.join(CERTIFICATE_NAME);
        private_file::replace(&path, format!("{key}{chain}").as_bytes())
            .map_err(|source| CertificateError::State { path, source })?;
        Ok(certified)
    }
}

/// What was obtained before and is kept in `directory`.
fn stored(directory: &Path) -> Result<Option<Arc<CertifiedKey>>, CertificateError> {
    let path = directory.join(CERTIFICATE_NAME);
    match fs::read(&path) {
        Ok(pem) => match certified_key(&pem, &pem) {
            Ok(certificate) => Ok(Some(certificate)),
            Err(_) => Err(CertificateError::NoCertificate(path)),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(CertificateError::State { path, source }),
    }
}

/// Reads what was obtained before, if anything was.
pub(super) fn check(directory: &Path) -> Result<(), CertificateError> {
    stored(directory).map(drop)
}

impl fmt::Display for Acme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.authority.fmt(f)
    }
}

impl fmt::Debug for Acme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Acme")
            .field("names", &self.names)
            .field("authority", &self.authority)
            .finish_non_exhaustive()
    }
}
