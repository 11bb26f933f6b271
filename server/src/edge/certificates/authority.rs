//! An authority of our own: its key, the certificate that people import, and what both have in common that sign with one.

use std::{
    fs, io,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, SerialNumber,
};
use tokio_rustls::rustls::{
    crypto::ring::sign::any_supported_type,
    pki_types::{CertificateDer, PrivatePkcs8KeyDer},
    sign::SigningKey,
};
use x509_parser::pem::parse_x509_pem;

use super::{CertificateError, constraints::Constraints};
use crate::base::private_file;

pub(super) const DAY: Duration = Duration::from_secs(86_400);

/// Importing a new one is work for people.
pub(super) const AUTHORITY_LIFETIME: Duration = DAY.saturating_mul(3650);

/// Nothing that an authority signs lives longer: phones take no certificate that lives longer than 398 days.
pub(super) const LONGEST_LEAF: Duration = DAY.saturating_mul(90);

/// Clocks of clients are late.
pub(super) const BACKDATE: Duration = DAY;

/// No clock is right that says it is earlier: this is from before there was this server. Small computers start at zero, and
/// what they make then would be over before their clock is set.
pub(super) const EARLIEST: Duration = Duration::from_secs(1_748_736_000);

/// What tells the authorities of a server from each other.
#[derive(Debug)]
pub(super) struct Kind {
    /// The file that clients import.
    pub(super) certificate_name: &'static str,
    /// The file that nobody else may read.
    pub(super) key_name: &'static str,
    /// How it is called in lists of authorities.
    pub(super) common_name: &'static str,
    /// Whether a certificate is good that may sign for anything, as earlier releases made them.
    pub(super) may_sign_anything: bool,
    /// What those refuse who have imported a certificate that does not permit all that is required.
    pub(super) is_refused: &'static str,
}

/// Signs certificates.
#[derive(Debug)]
pub(super) struct Authority {
    kind: &'static Kind,
    directory: PathBuf,
    key: KeyPair,
    pem: AuthorityCertificate,
    /// What its certificate has to permit.
    required: Vec<String>,
}

/// The certificate of an authority of our own, PEM, for whoever shows it: it may be replaced while the server runs. Cheap to
/// clone.
#[derive(Debug, Clone)]
pub struct AuthorityCertificate(Arc<Mutex<Arc<str>>>);

impl AuthorityCertificate {
    /// As it is now.
    pub fn pem(&self) -> Arc<str> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    fn replace(&self, pem: &str) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = pem.into();
    }
}

impl From<&str> for AuthorityCertificate {
    fn from(pem: &str) -> Self {
        Self(Arc::new(Mutex::new(pem.into())))
    }
}

/// What is known of the certificate that is held.
struct Held {
    /// From when to when it is valid, in seconds since 1970.
    validity: RangeInclusive<i64>,
    /// `None` where it may sign for anything.
    constraints: Option<Constraints>,
}

impl Authority {
    /// The authority in `directory`, made anew if there is none, with a certificate that permits all that is `required`.
    /// That is replaced where it is of no use: by another one of the same key, so that whoever has imported one that is
    /// still valid goes on believing what that permits. A new one gets `constraints`.
    pub(super) fn open(
        kind: &'static Kind,
        directory: &Path,
        required: &[String],
        constraints: impl FnOnce() -> Constraints,
        now: SystemTime,
    ) -> Result<Self, CertificateError> {
        let key_path = directory.join(kind.key_name);
        let state = |source| CertificateError::State { path: key_path.clone(), source };
        let key = match fs::read_to_string(&key_path) {
            Ok(text) => KeyPair::from_pem(&text).map_err(|_| CertificateError::NoKey(key_path))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                warn_of_lost_key(kind, directory);
                let key = KeyPair::generate().map_err(CertificateError::Make)?;
                private_file::replace(&key_path, key.serialize_pem().as_bytes()).map_err(state)?;
                key
            }
            Err(error) => return Err(state(error)),
        };
        let held = fs::read_to_string(directory.join(kind.certificate_name)).ok();
        let pem = held.filter(|text| Held::of(text, &key).is_some()).as_deref().unwrap_or_default().into();
        let (directory, required) = (directory.to_owned(), required.to_vec());
        let authority = Self { kind, directory, key, pem, required };
        authority.renew(constraints, now)?;
        Ok(authority)
    }

    /// Replaces its certificate if that is of no use: made by a clock that was wrong, at its end, or without permission for
    /// what is required.
    pub(super) fn renew(
        &self,
        constraints: impl FnOnce() -> Constraints,
        now: SystemTime,
    ) -> Result<(), CertificateError> {
        let held = Held::of(&self.pem.pem(), &self.key);
        let fault = held.as_ref().map(|held| self.fault(held, now));
        if fault == Some(None) {
            return Ok(());
        }
        let parameters = self.parameters(&constraints(), now)?;
        let text = parameters.self_signed(&self.key).map_err(CertificateError::Make)?.pem();
        let path = self.certificate_path();
        private_file::replace_readable(&path, text.as_bytes())
            .map_err(|source| CertificateError::State { path: path.clone(), source })?;
        if let Some(fault) = fault.flatten() {
            let (name, path) = (self.kind.common_name, path.display());
            tracing::warn!("the certificate of {name} {fault}: import {path} where the old one was imported");
        }
        self.pem.replace(&text);
        Ok(())
    }

    /// Why a certificate is of no use and made anew, as the middle of a sentence.
    fn fault(&self, held: &Held, now: SystemTime) -> Option<String> {
        if !is_of_use(&held.validity, now) {
            return Some("was not valid at this time and has been made anew".to_owned());
        }
        let Some(constraints) = &held.constraints else {
            let fault = "could sign for any name and has been made anew".to_owned();
            return (!self.kind.may_sign_anything).then_some(fault);
        };
        let is_missing = |name: &&String| !constraints.permits(name);
        let missing: Vec<_> = self.required.iter().filter(is_missing).map(String::as_str).collect();
        let (names, refused) = (missing.join(", "), self.kind.is_refused);
        let fault = format!(
            "did not permit {names} and has been made anew with the same key; whoever has the old one refuses {refused}"
        );
        (!missing.is_empty()).then_some(fault)
    }

    /// Its certificate.
    pub(super) fn certificate(&self) -> &AuthorityCertificate {
        &self.pem
    }

    pub(super) fn certificate_path(&self) -> PathBuf {
        self.directory.join(self.kind.certificate_name)
    }

    /// What its certificate permits. `None` if that is everything.
    pub(super) fn constraints(&self) -> Option<Constraints> {
        Held::of(&self.pem.pem(), &self.key)?.constraints
    }

    /// A certificate of a server for these names, over the public key of `key`.
    pub(super) fn sign(
        &self,
        leaf: &Leaf<'_>,
        key: &KeyPair,
        now: SystemTime,
    ) -> Result<CertificateDer<'static>, CertificateError> {
        let now = plausible(now);
        let mut parameters = CertificateParams::new(leaf.names).map_err(CertificateError::Make)?;
        parameters.serial_number = Some(serial_number()?);
        parameters.not_before = (now - BACKDATE).into();
        parameters.not_after = (now + leaf.lifetime).into();
        parameters.distinguished_name = common_name(leaf.common_name);
        parameters.use_authority_key_identifier_extension = true;
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        // Of these parameters only name and key are in what is signed.
        let mut of_issuer = CertificateParams::default();
        of_issuer.distinguished_name = common_name(self.kind.common_name);
        of_issuer.key_usages = vec![KeyUsagePurpose::KeyCertSign];
        let signed = parameters.signed_by(key, &Issuer::from_params(&of_issuer, &self.key));
        signed.map(|signed| signed.der().clone()).map_err(CertificateError::Make)
    }

    fn parameters(
        &self,
        constraints: &Constraints,
        now: SystemTime,
    ) -> Result<CertificateParams, CertificateError> {
        let now = plausible(now);
        let mut parameters = CertificateParams::default();
        parameters.serial_number = Some(serial_number()?);
        parameters.not_before = (now - BACKDATE).into();
        parameters.not_after = (now + AUTHORITY_LIFETIME).into();
        parameters.distinguished_name = common_name(self.kind.common_name);
        parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        parameters.name_constraints = Some(constraints.extension());
        Ok(parameters)
    }
}

/// A certificate without its key is of no use, but people have imported it.
fn warn_of_lost_key(kind: &Kind, directory: &Path) {
    let certificate = directory.join(kind.certificate_name);
    if certificate.exists() {
        tracing::warn!(
            "{key} is missing, but {certificate} is there: a new {name} replaces the one that was imported. Import \
             {certificate} again where the old one was imported, or put the key back from a backup and start pkdns again",
            key = directory.join(kind.key_name).display(),
            certificate = certificate.display(),
            name = kind.common_name,
        );
    }
}

/// A certificate of a server that is to be signed.
pub(super) struct Leaf<'a> {
    pub(super) names: &'a [String],
    /// What people see. No host name: some clients would take it for one more.
    pub(super) common_name: &'static str,
    /// From now on.
    pub(super) lifetime: Duration,
}

/// For handshakes.
pub(super) fn signing_key(key: &KeyPair) -> Result<Arc<dyn SigningKey>, CertificateError> {
    let key = PrivatePkcs8KeyDer::from(key.serialize_der());
    any_supported_type(&key.into()).map_err(CertificateError::Tls)
}

/// The time, or the earliest that it can be.
pub(super) fn plausible(now: SystemTime) -> SystemTime {
    now.max(SystemTime::UNIX_EPOCH + EARLIEST)
}

fn common_name(name: &str) -> rcgen::DistinguishedName {
    let mut names = rcgen::DistinguishedName::new();
    names.push(DnType::CommonName, name);
    names
}

/// Another one for each certificate. Firefox takes no two of an authority with the same number, and one that is made of the
/// key would be the same for all that share one.
fn serial_number() -> Result<SerialNumber, CertificateError> {
    let mut bytes = [0; 16];
    getrandom::fill(&mut bytes).map_err(|_| CertificateError::Make(rcgen::Error::RingUnspecified))?;
    // Neither negative nor with a byte of zeros in front, which strict readers refuse.
    bytes[0] = bytes[0] & 0x7f | 0x40;
    Ok(SerialNumber::from_slice(&bytes))
}

/// Reads the key of the authority in `directory`, if there is one.
pub(super) fn check(kind: &Kind, directory: &Path) -> Result<(), CertificateError> {
    let path = directory.join(kind.key_name);
    match fs::read_to_string(&path) {
        Ok(text) => KeyPair::from_pem(&text).map(drop).map_err(|_| CertificateError::NoKey(path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(CertificateError::State { path, source }),
    }
}

impl Held {
    /// `None` if it is no certificate of that key.
    fn of(pem: &str, key: &KeyPair) -> Option<Self> {
        let (_, pem) = parse_x509_pem(pem.as_bytes()).ok()?;
        let certificate = pem.parse_x509().ok()?;
        let is_of_key = certificate.public_key().raw == key.subject_public_key_info();
        let validity = certificate.validity();
        is_of_key.then(|| Self {
            validity: validity.not_before.timestamp()..=validity.not_after.timestamp(),
            constraints: Constraints::of_certificate(&certificate),
        })
    }
}

/// Whether it is valid now, and for as long as what it signs now. A clock that is wrong for certain has no say: what was
/// made when it was right is not to be thrown away.
fn is_of_use(validity: &RangeInclusive<i64>, now: SystemTime) -> bool {
    let seconds = |time: SystemTime| {
        let since = time.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        i64::try_from(since.as_secs()).unwrap_or(i64::MAX)
    };
    let earliest = seconds(SystemTime::UNIX_EPOCH + EARLIEST);
    if seconds(now) < earliest {
        return *validity.end() > earliest;
    }
    validity.contains(&seconds(now)) && validity.contains(&seconds(now + LONGEST_LEAF))
}
