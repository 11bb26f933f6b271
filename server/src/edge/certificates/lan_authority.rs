//! The authority of our own listeners, for a LAN: its clients import its certificate once.

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use nix::{ifaddrs::getifaddrs, unistd::gethostname};
use rcgen::KeyPair;
use tokio_rustls::rustls::sign::CertifiedKey;

use super::{
    CertificateError,
    authority::{
        self, Authority, AuthorityCertificate, BACKDATE, DAY, Kind, LONGEST_LEAF, Leaf, plausible,
        signing_key,
    },
    constraints::Constraints,
};

const KIND: Kind = Kind {
    certificate_name: "ca.pem",
    key_name: "ca.key",
    common_name: "pkdns local authority",
    may_sign_anything: true,
    is_refused: "this server until then",
};

/// A certificate is replaced this long after it was made.
const RENEW_AFTER: Duration = DAY.saturating_mul(60);

/// Signs certificates for this server.
#[derive(Debug)]
pub(super) struct LanAuthority {
    authority: Authority,
    /// As configured; empty for whatever this machine is called.
    names: Vec<String>,
}

/// A certificate of this authority.
#[derive(Debug, Clone)]
pub(super) struct Issued {
    pub(super) certificate: Arc<CertifiedKey>,
    names: Vec<String>,
    not_before: SystemTime,
    renew_at: SystemTime,
}

impl LanAuthority {
    /// The authority in `directory`, made anew if there is none. It may sign for the names that are configured, and without
    /// any for those of this machine, and for addresses of local networks.
    pub(super) fn open(
        directory: &Path,
        names: &[String],
        now: SystemTime,
    ) -> Result<Self, CertificateError> {
        let authority = Authority::open(&KIND, directory, names, || constraints(names), now)?;
        if authority.constraints().is_none() {
            tracing::warn!(
                "the authority whose certificate is {path} may sign for any name on the Internet, as an earlier release made it: \
                 whoever steals its key can pose as any site to those who have imported it; remove {path} and start pkdns \
                 again to have one made of the same key that may sign for this server alone, import that, and remove the old \
                 one where it was imported",
                path = authority.certificate_path().display()
            );
        }
        Ok(Self { authority, names: names.to_vec() })
    }

    /// Replaces its certificate if that is of no use: made by a clock that was wrong, or at its end.
    pub(super) fn renew(&self, now: SystemTime) -> Result<(), CertificateError> {
        self.authority.renew(|| constraints(&self.names), now)
    }

    /// Its certificate.
    pub(super) fn certificate(&self) -> &AuthorityCertificate {
        self.authority.certificate()
    }

    pub(super) fn certificate_path(&self) -> PathBuf {
        self.authority.certificate_path()
    }

    /// A certificate with a key of its own, which is in memory alone.
    pub(super) fn issue(&self, now: SystemTime) -> Result<Issued, CertificateError> {
        let (names, left_out) = self.names();
        if !left_out.is_empty() {
            tracing::info!(
                "{} does not permit {}, so our certificate does not cover these names: if clients use them for this server, \
                 write them into certificate.names, and import the authority that is made then",
                self.certificate_path().display(),
                left_out.join(", ")
            );
        }
        let key = KeyPair::generate().map_err(CertificateError::Make)?;
        let leaf = Leaf { names: &names, common_name: "pkdns", lifetime: LONGEST_LEAF };
        let signed = self.authority.sign(&leaf, &key, now)?;
        let certificate = Arc::new(CertifiedKey::new(vec![signed], signing_key(&key)?));
        let now = plausible(now);
        Ok(Issued { certificate, names, not_before: now - BACKDATE, renew_at: now + RENEW_AFTER })
    }

    /// Whether `issued` has aged, comes from a clock that was ahead, or this machine has other names now.
    pub(super) fn is_due(&self, issued: &Issued, now: SystemTime) -> bool {
        let now = plausible(now);
        now >= issued.renew_at || now < issued.not_before || self.names().0 != issued.names
    }

    /// Names for a certificate, and those that clients would refuse it for: names that this machine has got since its
    /// authority was made. What is configured is permitted, or the authority would have been made anew.
    fn names(&self) -> (Vec<String>, Vec<String>) {
        let names = if self.names.is_empty() { own_names() } else { self.names.clone() };
        match self.authority.constraints() {
            Some(constraints) => names.into_iter().partition(|name| constraints.permits(name)),
            None => (names, Vec::new()),
        }
    }
}

fn constraints(names: &[String]) -> Constraints {
    if names.is_empty() { Constraints::of_lan(&own_names()) } else { Constraints::of_lan(names) }
}

/// Reads the key of the authority in `directory`, if there is one.
pub(super) fn check(directory: &Path) -> Result<(), CertificateError> {
    authority::check(&KIND, directory)
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
    use std::{fs, os::unix::fs::PermissionsExt};

    use tokio_rustls::rustls::{
        RootCertStore,
        client::{WebPkiServerVerifier, danger::ServerCertVerifier},
        crypto::ring,
        pki_types::UnixTime,
    };
    use x509_parser::{pem::parse_x509_pem, time::ASN1Time};

    use super::{
        authority::{AUTHORITY_LIFETIME, EARLIEST},
        *,
    };

    #[test]
    fn the_authority_is_made_once_and_its_key_is_for_its_user_alone() {
        let directory = tempfile::tempdir().unwrap();
        let directory = directory.path().join("certificates");
        let open = || LanAuthority::open(&directory, &[], SystemTime::now()).unwrap().certificate().pem();
        let first = open();
        assert_eq!(open(), first);
        let mode = fs::metadata(directory.join("ca.key")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        // A certificate that is not of this key is of no use to anyone.
        fs::remove_file(directory.join("ca.key")).unwrap();
        assert_ne!(open(), first);
    }

    #[test]
    fn a_key_that_is_none_is_not_written_over() {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("ca.key"), "not a key").unwrap();
        let error = LanAuthority::open(directory.path(), &[], SystemTime::now()).unwrap_err();
        assert!(matches!(error, CertificateError::NoKey(_)), "{error}");
        assert_eq!(fs::read_to_string(directory.path().join("ca.key")).unwrap(), "not a key");
    }

    #[test]
    fn a_certificate_is_due_with_age_and_with_new_names() {
        let directory = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        let mut authority = LanAuthority::open(directory.path(), &["dns.example".into()], now).unwrap();
        let issued = authority.issue(now).unwrap();
        assert!(!authority.is_due(&issued, now + RENEW_AFTER - DAY));
        assert!(authority.is_due(&issued, now + RENEW_AFTER));
        authority.names.push("192.168.0.1".into());
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
            let open = |now| LanAuthority::open(directory.path(), &["dns.example".into()], now).unwrap();
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
        let open = |now| LanAuthority::open(directory.path(), &[], now).unwrap().certificate().pem();
        let first = open(now);
        assert_eq!(open(now + AUTHORITY_LIFETIME - LONGEST_LEAF - DAY), first);
        assert_ne!(open(now + AUTHORITY_LIFETIME - LONGEST_LEAF + DAY), first);
    }
    /// Whether a client believes it that has imported `authority`.
    fn accepts_now(authority: &LanAuthority, imported: &str) -> bool {
        let now = SystemTime::now();
        accepts(imported, &authority.issue(now).unwrap(), now)
    }

    fn open(directory: &tempfile::TempDir, names: &[&str]) -> (LanAuthority, String) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let authority = LanAuthority::open(directory.path(), &names, SystemTime::now()).unwrap();
        let pem = authority.certificate().pem().to_string();
        (authority, pem)
    }

    #[test]
    fn it_may_sign_for_the_names_of_this_server_and_for_local_addresses_alone() {
        let directory = tempfile::tempdir().unwrap();
        let (authority, pem) = open(&directory, &["dns.example", "192.0.2.53"]);
        assert!(accepts_now(&authority, &pem));
        let constraints = authority.authority.constraints().unwrap();
        for name in ["dns.example", "192.0.2.53", "localhost", "192.168.1.1", "fd00::1"] {
            assert!(constraints.permits(name), "{name}");
        }
        for name in ["example.com", "example", "192.0.2.54", "2001:db8::1"] {
            assert!(!constraints.permits(name), "{name}");
        }
        // Without names in the configuration, those of the machine.
        let directory = tempfile::tempdir().unwrap();
        let (authority, _) = open(&directory, &[]);
        assert_eq!(authority.names().0, own_names());
    }

    #[test]
    fn a_name_that_is_added_makes_another_certificate_of_the_same_key_and_one_that_is_removed_makes_none() {
        let directory = tempfile::tempdir().unwrap();
        let (_, old) = open(&directory, &["dns.example"]);
        let key = fs::read(directory.path().join("ca.key")).unwrap();
        let (authority, new) = open(&directory, &["dns.example", "other.example"]);
        assert_ne!(new, old);
        assert_eq!(fs::read(directory.path().join("ca.key")).unwrap(), key);
        assert!(accepts_now(&authority, &new) && !accepts_now(&authority, &old));
        let (authority, same) = open(&directory, &["dns.example"]);
        assert_eq!(same, new);
        assert!(accepts_now(&authority, &old), "and those with the old one are served again");
    }

    #[test]
    fn names_that_the_machine_has_got_since_are_left_out_so_that_nobody_is_locked_out() {
        let directory = tempfile::tempdir().unwrap();
        let (_, imported) = open(&directory, &["dns.example"]);
        // As after its host name has changed: that is not among the names which the authority permits.
        let (authority, same) = open(&directory, &[]);
        assert_eq!(same, imported);
        let (names, left_out) = authority.names();
        assert!(
            names.contains(&"localhost".to_owned()) && names.contains(&"127.0.0.1".to_owned()),
            "{names:?}"
        );
        let host = gethostname().unwrap().into_string().unwrap().to_ascii_lowercase();
        assert_eq!(left_out.contains(&host), host != "localhost", "{left_out:?}");
        let issued = authority.issue(SystemTime::now()).unwrap();
        assert!(!authority.is_due(&issued, SystemTime::now()), "and it is not made again and again");
    }

    #[test]
    fn one_that_an_earlier_release_made_stays_valid_until_its_certificate_is_removed() {
        let directory = tempfile::tempdir().unwrap();
        let key = KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::default();
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        parameters.distinguished_name.push(rcgen::DnType::CommonName, KIND.common_name);
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
        let old = parameters.self_signed(&key).unwrap().pem();
        fs::write(directory.path().join("ca.key"), key.serialize_pem()).unwrap();
        fs::write(directory.path().join("ca.pem"), &old).unwrap();
        let (authority, same) = open(&directory, &["dns.example"]);
        assert_eq!((&same, authority.authority.constraints()), (&old, None));
        assert!(accepts_now(&authority, &old));
        fs::remove_file(directory.path().join("ca.pem")).unwrap();
        let (authority, new) = open(&directory, &["dns.example"]);
        assert!(authority.authority.constraints().is_some());
        assert!(accepts_now(&authority, &old) && accepts_now(&authority, &new), "nobody is locked out");
    }
}
