//! The authority of the bridge: signs for names under keys and for nothing else. Browsers import its certificate once.

use std::{
    fmt,
    num::NonZeroUsize,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use ahash::RandomState;
use lru::LruCache;
use rcgen::KeyPair;
use tokio::time::sleep;
use tokio_rustls::rustls::sign::{CertifiedKey, SigningKey};
use tokio_util::sync::CancellationToken;

use super::{
    CertificateError,
    authority::{self, Authority, AuthorityCertificate, BACKDATE, DAY, Kind, Leaf, plausible, signing_key},
    constraints::Constraints,
};

const KIND: Kind = Kind {
    certificate_name: "bridge-ca.pem",
    key_name: "bridge-ca.key",
    common_name: "pkdns bridge authority",
    may_sign_anything: false,
    is_refused: "sites under these names until then",
};

/// Whoever opens a site gets a certificate that is signed anew soon enough, so that a stolen one is of little use.
const LIFETIME: Duration = DAY.saturating_mul(7);

/// A certificate is replaced this long after it was made.
const RENEW_AFTER: Duration = DAY.saturating_mul(4);

/// Sites whose certificates are kept, some 1.5 KB each. One more costs a signature, some 50 µs.
const MAX_LEAVES: NonZeroUsize = NonZeroUsize::new(4096).unwrap();

/// How often its own certificate is looked at: the clock may be set.
const INTERVAL: Duration = Duration::from_secs(60);

/// The longest name (RFC 1035 section 2.3.4), in text and without the dot at its end.
const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

/// Signs certificates for sites under keys, one name each. Nothing of them is on disk.
pub struct BridgeAuthority {
    authority: Authority,
    suffixes: Vec<String>,
    /// The key of all certificates, of this process alone.
    key: KeyPair,
    signing_key: Arc<dyn SigningKey>,
    leaves: Mutex<LruCache<Box<str>, Made, RandomState>>,
}

/// A certificate, and when it may be shown.
struct Made {
    certificate: Arc<CertifiedKey>,
    not_before: SystemTime,
    renew_at: SystemTime,
}

impl BridgeAuthority {
    /// The authority in `directory`, `bridge-ca.key` and `bridge-ca.pem`, made anew if there is none. Its certificate permits
    /// names under these suffixes, which have no dots at their ends. Blocks.
    ///
    /// # Errors
    ///
    /// When the directory cannot be written to, or holds another kind of key.
    pub fn open(directory: &Path, suffixes: &[String], now: SystemTime) -> Result<Self, CertificateError> {
        let constraints = || Constraints::of_suffixes(suffixes);
        let authority = Authority::open(&KIND, directory, suffixes, constraints, now)?;
        let key = KeyPair::generate().map_err(CertificateError::Make)?;
        let signing_key = signing_key(&key)?;
        let leaves = Mutex::new(LruCache::with_hasher(MAX_LEAVES, RandomState::new()));
        let suffixes = suffixes.iter().map(|suffix| suffix.to_ascii_lowercase()).collect();
        Ok(Self { authority, suffixes, key, signing_key, leaves })
    }

    /// Reads the key in `directory`, if there is one, and makes nothing.
    ///
    /// # Errors
    ///
    /// What [`open`](Self::open) would say of the key.
    pub fn check(directory: &Path) -> Result<(), CertificateError> {
        authority::check(&KIND, directory)
    }

    /// What a browser is shown that comes for `name`: a certificate for this name alone, in any case and without the dot at
    /// the end of a host name. From memory, or signed at once.
    ///
    /// # Errors
    ///
    /// When `name` is no host name below a suffix.
    pub fn leaf(&self, name: &str, now: SystemTime) -> Result<Arc<CertifiedKey>, CertificateError> {
        let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
        let now = plausible(now);
        let is_good = |made: &&Made| now < made.renew_at && now >= made.not_before;
        let held = |leaves: &mut LruCache<Box<str>, Made, RandomState>| {
            leaves.get(&name[..]).filter(is_good).map(|made| made.certificate.clone())
        };
        // The lock is not held while a certificate is signed: two who come at once may get one each.
        if let Some(certificate) = held(&mut self.leaves.lock().unwrap_or_else(PoisonError::into_inner)) {
            return Ok(certificate);
        }
        if !self.may_sign_for(&name) {
            return Err(CertificateError::NotBelowASuffix(name));
        }
        let names = [name];
        let leaf = Leaf { names: &names, common_name: "pkdns bridge", lifetime: LIFETIME };
        let signed = self.authority.sign(&leaf, &self.key, now)?;
        let certificate = Arc::new(CertifiedKey::new(vec![signed], self.signing_key.clone()));
        let (not_before, renew_at) = (now - BACKDATE, now + RENEW_AFTER);
        let made = Made { certificate: certificate.clone(), not_before, renew_at };
        let [name] = names;
        self.leaves.lock().unwrap_or_else(PoisonError::into_inner).put(name.into(), made);
        Ok(certificate)
    }

    /// What browsers have to import.
    pub fn certificate(&self) -> &AuthorityCertificate {
        self.authority.certificate()
    }

    /// The file that holds it.
    pub fn certificate_path(&self) -> PathBuf {
        self.authority.certificate_path()
    }

    /// Replaces its certificate if that was made by a clock that was wrong, or is at its end. Blocks.
    ///
    /// # Errors
    ///
    /// When it cannot be written.
    pub fn renew(&self, now: SystemTime) -> Result<(), CertificateError> {
        self.authority.renew(|| Constraints::of_suffixes(&self.suffixes), now)
    }

    /// Keeps its certificate valid until `stop` is cancelled.
    pub async fn watch(self: Arc<Self>, stop: CancellationToken) {
        let renewing = async {
            loop {
                sleep(INTERVAL).await;
                if let Err(error) = self.renew(SystemTime::now()) {
                    tracing::warn!("the certificate of the bridge's authority stays as it is: {error}");
                }
            }
        };
        stop.run_until_cancelled(renewing).await;
    }

    /// Whether it is a host name below a suffix, with a label of its own.
    fn may_sign_for(&self, name: &str) -> bool {
        let of_label = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'_';
        let is_label = |label: &str| (1..=MAX_LABEL).contains(&label.len()) && label.bytes().all(of_label);
        let is_below = |suffix: &String| {
            let rest = name.strip_suffix(suffix.as_str()).and_then(|rest| rest.strip_suffix('.'));
            rest.is_some_and(|rest| rest.split('.').all(is_label))
        };
        name.len() <= MAX_NAME && self.suffixes.iter().any(is_below)
    }
}

/// Without its keys.
impl fmt::Debug for BridgeAuthority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.authority.certificate_path();
        f.debug_struct("BridgeAuthority").field("certificate", &path).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests;
