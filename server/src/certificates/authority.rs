//! An authority of our own, for a LAN: its clients import its certificate once.

use std::{
    fs, io,
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
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

/// Signs certificates for this server.
#[derive(Debug)]
pub(super) struct Authority {
    directory: PathBuf,
    key: KeyPair,
    pem: Arc<str>,
    /// As configured; empty for whatever this machine is called.
    names: Vec<String>,
}

/// A certificate of this authority.
#[derive(Debug, Clone)]
pub(super) struct Issued {
    pub(super) certificate: Arc<CertifiedKey>,
    names: Vec<String>,
    renew_at: SystemTime,
}

impl Authority {
    /// The authority in `directory`, made anew if there is none.
    pub(super) fn open(directory: &Path, names: &[String]) -> Result<Self, CertificateError> {
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
        let path = directory.join(CERTIFICATE_NAME);
        let held = fs::read_to_string(&path).ok().filter(|text| is_of(text, &key));
        let pem = match held {
            Some(text) => text,
            None => {
                let text =
                    parameters(SystemTime::now()).self_signed(&key).map_err(CertificateError::Make)?.pem();
                private_file::replace(&path, text.as_bytes()).map_err(state(CERTIFICATE_NAME))?;
                text
            }
        };
        Ok(Self { directory: directory.to_owned(), key, pem: pem.into(), names: names.to_vec() })
    }

    /// Its certificate, PEM.
    pub(super) fn pem(&self) -> &Arc<str> {
        &self.pem
    }

    pub(super) fn certificate_path(&self) -> PathBuf {
        self.directory.join(CERTIFICATE_NAME)
    }

    /// A certificate with a key of its own, which is in memory alone.
    pub(super) fn issue(&self, now: SystemTime) -> Result<Issued, CertificateError> {
        let names = self.names();
        let mut leaf = CertificateParams::new(names.clone()).map_err(CertificateError::Make)?;
        leaf.not_before = (now - BACKDATE).into();
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
        Ok(Issued { certificate, names, renew_at: now + RENEW_AFTER })
    }

    /// Whether `issued` has aged, or this machine has other names now.
    pub(super) fn is_due(&self, issued: &Issued, now: SystemTime) -> bool {
        now >= issued.renew_at || self.names() != issued.names
    }

    fn names(&self) -> Vec<String> {
        if self.names.is_empty() { own_names() } else { self.names.clone() }
    }
}

fn parameters(now: SystemTime) -> CertificateParams {
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

/// Whether this is the certificate of that key.
fn is_of(pem: &str, key: &KeyPair) -> bool {
    let Ok((_, pem)) = parse_x509_pem(pem.as_bytes()) else { return false };
    let certificate = pem.parse_x509();
    certificate.is_ok_and(|certificate| certificate.public_key().raw == key.subject_public_key_info())
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

    use super::*;

    #[test]
    fn the_authority_is_made_once_and_its_key_is_for_its_user_alone() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path().join("certificates");
        let first = Authority::open(&directory, &[]).unwrap().pem().clone();
        assert_eq!(*Authority::open(&directory, &[]).unwrap().pem(), first);
        let mode = fs::metadata(directory.join(KEY_NAME)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        // A certificate that is not of this key is of no use to anyone.
        fs::remove_file(directory.join(KEY_NAME)).unwrap();
        assert_ne!(*Authority::open(&directory, &[]).unwrap().pem(), first);
    }

    #[test]
    fn a_key_that_is_none_is_not_written_over() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join(KEY_NAME), "not a key").unwrap();
        let error = Authority::open(directory.path(), &[]).unwrap_err();
        assert!(matches!(error, CertificateError::NoKey(_)), "{error}");
        assert_eq!(fs::read_to_string(directory.path().join(KEY_NAME)).unwrap(), "not a key");
    }

    #[test]
    fn a_certificate_is_due_with_age_and_with_new_names() {
        let directory = tempfile::tempdir().unwrap();
        let mut authority = Authority::open(directory.path(), &["dns.example".into()]).unwrap();
        let now = SystemTime::now();
        let issued = authority.issue(now).unwrap();
        assert!(!authority.is_due(&issued, now + RENEW_AFTER - DAY));
        assert!(authority.is_due(&issued, now + RENEW_AFTER));
        authority.names.push("192.0.2.1".into());
        assert!(authority.is_due(&issued, now));
        assert!(own_names().contains(&"127.0.0.1".to_owned()), "{:?}", own_names());
    }
}
