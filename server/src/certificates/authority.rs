//! An authority of our own, for a LAN: its clients import its certificate once.

use std::{
    fs, io,
    net::IpAddr,
    ops::RangeInclusive,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime},
};

use nix::{ifaddrs::getifaddrs, unistd::gethostname};
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData,
};
use tokio_rustls::rustls::sign::CertifiedKey;
use x509_parser::pem::parse_x509_pem;

use super::{CertificateError, files::certified_key};
use crate::private_file;

/// What clients import.
const CERTIFICATE_NAME: &str = "ca.pem";

/// What nobody else may read.
const KEY_NAME: &str = "ca.key";

const DAY: Duration = Duration::from_secs(86_400);

/// Importing a new one is work for people.
const AUTHORITY_LIFETIME: Duration = DAY.saturating_mul(3650);

/// Phones take no certificate that lives longer than 398 days.
const LIFETIME: Duration = DAY.saturating_mul(90);

/// A certificate is replaced this long after it was made.
const RENEW_AFTER: Duration = DAY.saturating_mul(60);

/// Clocks of clients are late.
const BACKDATE: Duration = DAY;

/// No clock is right that says it is earlier: this is from before there was this server. Small computers start at zero, and
/// what they make then would be over before their clock is set.
const EARLIEST: Duration = Duration::from_secs(1_748_736_000);

/// Signs certificates for this server.
#[derive(Debug)]
pub(super) struct Authority {
    directory: PathBuf,
    key: KeyPair,
    pem: AuthorityCertificate,
    /// As configured; empty for whatever this machine is called.
    names: Vec<String>,
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

/// A certificate of this authority.
#[derive(Debug, Clone)]
pub(super) struct Issued {
    pub(super) certificate: Arc<CertifiedKey>,
    names: Vec<String>,
    not_before: SystemTime,
    renew_at: SystemTime,
}

impl Authority {
    /// The authority in `directory`, made anew if there is none. Its certificate is replaced where it is of no use: by
    /// another one of the same key, so that whoever has imported one that is still valid goes on believing.
    pub(super) fn open(
        directory: &Path,
        names: &[String],
        now: SystemTime,
    ) -> Result<Self, CertificateError> {
        let state = |name: &str| {
            let path = directory.join(name);
            move |source| CertificateError::State { path, source }
        };
        let key_path = directory.join(KEY_NAME);
        let key = match fs::read_to_string(&key_path) {
            Ok(text) => KeyPair::from_pem(&text).map_err(|_| CertificateError::NoKey(key_path))?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let key = KeyPair::generate().map_err(CertificateError::Make)?;
                private_file::replace(&key_path, key.serialize_pem().as_bytes()).map_err(state(KEY_NAME))?;
                key
            }
            Err(error) => return Err(state(KEY_NAME)(error)),
        };
        let held = fs::read_to_string(directory.join(CERTIFICATE_NAME)).ok();
        let pem = held.filter(|text| validity(text, &key).is_some()).as_deref().unwrap_or_default().into();
        let authority = Self { directory: directory.to_owned(), key, pem, names: names.to_vec() };
        authority.renew(now)?;
        Ok(authority)
    }

    /// Replaces its certificate if that is of no use: made by a clock that was wrong, or at its end.
    pub(super) fn renew(&self, now: SystemTime) -> Result<(), CertificateError> {
        let before = self.pem.pem();
        let held = validity(&before, &self.key);
        if held.as_ref().is_some_and(|held| is_of_use(held, now)) {
            return Ok(());
        }
        let text = parameters(now).self_signed(&self.key).map_err(CertificateError::Make)?.pem();
        let path = self.certificate_path();
        private_file::replace(&path, text.as_bytes())
            .map_err(|source| CertificateError::State { path: path.clone(), source })?;
        if held.is_some() {
            tracing::warn!(
                "the certificate of our own authority was not valid at this time and has been made anew: import {} where \
                 the old one was imported",
                path.display()
            );
        }
        self.pem.replace(&text);
        Ok(())
    }

    /// Its certificate.
    pub(super) fn certificate(&self) -> &AuthorityCertificate {
        &self.pem
    }

    pub(super) fn certificate_path(&self) -> PathBuf {
        self.directory.join(CERTIFICATE_NAME)
    }

    /// A certificate with a key of its own, which is in memory alone.
    pub(super) fn issue(&self, now: SystemTime) -> Result<Issued, CertificateError> {
        let names = self.names();
        let now = plausible(now);
        let not_before = now - BACKDATE;
        let mut leaf = CertificateParams::new(names.clone()).map_err(CertificateError::Make)?;
        leaf.not_before = not_before.into();
        leaf.not_after = (now + LIFETIME).into();
        leaf.distinguished_name = rcgen::DistinguishedName::new();
        leaf.distinguished_name.push(DnType::CommonName, "pkdns");
        leaf.use_authority_key_identifier_extension = true;
        leaf.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        let key = KeyPair::generate().map_err(CertificateError::Make)?;
        let issuer = Issuer::new(parameters(now), &self.key);
        let signed = leaf.signed_by(&key, &issuer).map_err(CertificateError::Make)?;
        let certificate = certified_key(signed.pem().as_bytes(), key.serialize_pem().as_bytes())
            .map_err(|_| CertificateError::Make(rcgen::Error::CouldNotParseCertificate))?;
        Ok(Issued { certificate, names, not_before, renew_at: now + RENEW_AFTER })
    }

    /// Whether `issued` has aged, comes from a clock that was ahead, or this machine has other names now.
    pub(super) fn is_due(&self, issued: &Issued, now: SystemTime) -> bool {
        let now = plausible(now);
        now >= issued.renew_at || now < issued.not_before || self.names() != issued.names
    }

    fn names(&self) -> Vec<String> {
        if self.names.is_empty() { own_names() } else { self.names.clone() }
    }
}

/// The time, or the earliest that it can be.
fn plausible(now: SystemTime) -> SystemTime {
    now.max(SystemTime::UNIX_EPOCH + EARLIEST)
}

fn parameters(now: SystemTime) -> CertificateParams {
    let now = plausible(now);
    let mut parameters = CertificateParams::default();
    parameters.not_before = (now - BACKDATE).into();
    parameters.not_after = (now + AUTHORITY_LIFETIME).into();
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, "pkdns local authority");
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    parameters
}

/// Reads the key of the authority in `directory`, if there is one.
pub(super) fn check(directory: &Path) -> Result<(), CertificateError> {
    let path = directory.join(KEY_NAME);
    match fs::read_to_string(&path) {
        Ok(text) => KeyPair::from_pem(&text).map(drop).map_err(|_| CertificateError::NoKey(path)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        Err(source) => Err(CertificateError::State { path, source }),
    }
}

/// From when to when the certificate of that key is valid, in seconds since 1970; `None` if it is none.
fn validity(pem: &str, key: &KeyPair) -> Option<RangeInclusive<i64>> {
    let (_, pem) = parse_x509_pem(pem.as_bytes()).ok()?;
    let certificate = pem.parse_x509().ok()?;
    let is_of_key = certificate.public_key().raw == key.subject_public_key_info();
    let validity = certificate.validity();
    is_of_key.then(|| validity.not_before.timestamp()..=validity.not_after.timestamp())
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
    validity.contains(&seconds(now)) && validity.contains(&seconds(now + LIFETIME))
}

/// What clients on the same network call this machine: its host name, and the addresses of its interfaces that are not
/// bound to a link.
fn own_names() -> Vec<String> {
    let mut names = vec!["localhost".to_owned()];
    let host = gethostname().ok().and_then(|name| name.into_string().ok()).unwrap_or_default();
    let is_name = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
    if !host.is_empty() && host.bytes().all(is_name) {
        names.push(host.to_ascii_lowercase());
    }
    let addresses = getifaddrs().into_iter().flatten().filter_map(|interface| {
        let address = interface.address?;
        let v4 = address.as_sockaddr_in().map(|address| IpAddr::from(address.ip()));
        v4.or_else(|| address.as_sockaddr_in6().map(|address| IpAddr::from(address.ip())))
    });
    let is_local = |address: &IpAddr| match address {
        IpAddr::V4(address) => address.is_link_local(),
        IpAddr::V6(address) => address.is_unicast_link_local(),
    };
    names.extend(addresses.filter(|address| !is_local(address)).map(|address| address.to_string()));
    names.sort();
    names.dedup();
    names
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use tokio_rustls::rustls::{
        RootCertStore,
        client::{WebPkiServerVerifier, danger::ServerCertVerifier},
        crypto::ring,
        pki_types::UnixTime,
    };
    use x509_parser::time::ASN1Time;

    use super::*;

    #[test]
    fn the_authority_is_made_once_and_its_key_is_for_its_user_alone() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path().join("certificates");
        let open = || Authority::open(&directory, &[], SystemTime::now()).unwrap().certificate().pem();
        let first = open();
        assert_eq!(open(), first);
        let mode = fs::metadata(directory.join(KEY_NAME)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        // A certificate that is not of this key is of no use to anyone.
        fs::remove_file(directory.join(KEY_NAME)).unwrap();
        assert_ne!(open(), first);
    }

    #[test]
    fn a_key_that_is_none_is_not_written_over() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(KEY_NAME), "not a key").unwrap();
        let error = Authority::open(directory.path(), &[], SystemTime::now()).unwrap_err();
        assert!(matches!(error, CertificateError::NoKey(_)), "{error}");
        assert_eq!(fs::read_to_string(directory.path().join(KEY_NAME)).unwrap(), "not a key");
    }

    #[test]
    fn a_certificate_is_due_with_age_and_with_new_names() {
        let directory = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        let mut authority = Authority::open(directory.path(), &["dns.example".into()], now).unwrap();
        let issued = authority.issue(now).unwrap();
        assert!(!authority.is_due(&issued, now + RENEW_AFTER - DAY));
        assert!(authority.is_due(&issued, now + RENEW_AFTER));
        authority.names.push("192.0.2.1".into());
        assert!(authority.is_due(&issued, now));
        assert!(own_names().contains(&"127.0.0.1".to_owned()), "{:?}", own_names());
    }
    /// What a client says that has imported `authority`, at `now`.
    fn accepts(authority: &str, issued: &Issued, now: SystemTime) -> bool {
        let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap();
        let (_, pem) = parse_x509_pem(authority.as_bytes()).unwrap();
        let validity = pem.parse_x509().unwrap().validity().clone();
        let at = ASN1Time::from_timestamp(since.as_secs() as i64).unwrap();
        let mut roots = RootCertStore::empty();
        roots.add(pem.contents.into()).unwrap();
        let provider = Arc::new(ring::default_provider());
        let verifier =
            WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider).build().unwrap();
        let (leaf, name) = (&issued.certificate.cert[0], "dns.example".try_into().unwrap());
        let verified = verifier.verify_server_cert(leaf, &[], &name, &[], UnixTime::since_unix_epoch(since));
        validity.is_valid_at(at) && verified.is_ok()
    }

    #[test]
    fn what_a_clock_that_was_wrong_has_made_is_made_anew_with_the_same_key() {
        let year = 365 * DAY;
        let now = SystemTime::UNIX_EPOCH + EARLIEST + 2 * year;
        for wrong in [SystemTime::UNIX_EPOCH, SystemTime::UNIX_EPOCH + 5 * year, now - year, now + 20 * year]
        {
            let directory = tempfile::tempdir().unwrap();
            let open = |now| Authority::open(directory.path(), &["dns.example".into()], now).unwrap();
            let authority = open(wrong);
            let issued = authority.issue(wrong).unwrap();
            let first = authority.certificate().pem();
            // The clock is set while the server runs.
            assert!(authority.is_due(&issued, now), "{wrong:?}");
            authority.renew(now).unwrap();
            let issued = authority.issue(now).unwrap();
            let imported = authority.certificate().pem();
            assert!(accepts(&imported, &issued, now), "{wrong:?}");
            assert_eq!(open(now).certificate().pem(), imported, "and once only");
            // Nobody has to import another one because a clock began at zero.
            assert_eq!(imported == first, wrong < now, "{wrong:?}");
            // What has been imported outlives a clock that goes wrong again.
            let again = open(wrong);
            again.issue(wrong).unwrap();
            let again = open(now);
            assert!(accepts(&imported, &again.issue(now).unwrap(), now), "{wrong:?}");
            assert!(accepts(&again.certificate().pem(), &again.issue(now).unwrap(), now), "{wrong:?}");
        }
    }

    #[test]
    fn an_authority_ends_no_sooner_than_what_it_signs() {
        let directory = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        let open = |now| Authority::open(directory.path(), &[], now).unwrap().certificate().pem();
        let first = open(now);
        assert_eq!(open(now + AUTHORITY_LIFETIME - LIFETIME - DAY), first);
        assert_ne!(open(now + AUTHORITY_LIFETIME - LIFETIME + DAY), first);
    }
}
