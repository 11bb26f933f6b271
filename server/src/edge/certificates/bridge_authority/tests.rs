use std::{fs, os::unix::fs::PermissionsExt};

use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer};
use tempfile::TempDir;
use tokio_rustls::rustls::{
    RootCertStore,
    pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject},
};
use x509_parser::{
    certificate::X509Certificate,
    extensions::{GeneralName, ParsedExtension},
    parse_x509_certificate,
};

use super::*;
use crate::edge::certificates::trust;

fn suffixes(suffixes: &[&str]) -> Vec<String> {
    suffixes.iter().map(|suffix| (*suffix).to_owned()).collect()
}

fn open(directory: &TempDir, of: &[&str], now: SystemTime) -> BridgeAuthority {
    BridgeAuthority::open(directory.path(), &suffixes(of), now).unwrap()
}

/// What a browser says that has imported `pem`.
fn accepts(pem: &str, chain: &[CertificateDer<'static>], name: &str, now: SystemTime) -> Result<(), String> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
    let now = UnixTime::since_unix_epoch(now.duration_since(SystemTime::UNIX_EPOCH).unwrap());
    let name = ServerName::try_from(name.to_owned()).unwrap();
    trust::verify(chain, roots, &name, now).map_err(|error| error.to_string())
}

fn extension<'a>(certificate: &'a X509Certificate<'_>, name: &str) -> (bool, &'a ParsedExtension<'a>) {
    let found = certificate.extensions().iter().find(|extension| extension.oid.to_id_string() == name);
    found.map(|extension| (extension.critical, extension.parsed_extension())).unwrap()
}

#[test]
fn its_certificate_permits_names_under_the_suffixes_and_nothing_else() {
    let directory = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let authority = open(&directory, &["key", "pk"], now);
    let mode = |name: &str| fs::metadata(directory.path().join(name)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("bridge-ca.pem"), mode("bridge-ca.key")), (0o644, 0o600));
    assert_eq!(fs::read_to_string(authority.certificate_path()).unwrap(), *authority.certificate().pem());
    let der = CertificateDer::from_pem_slice(authority.certificate().pem().as_bytes()).unwrap();
    let (_, certificate) = parse_x509_certificate(&der).unwrap();
    let (is_critical, ParsedExtension::BasicConstraints(basic)) = extension(&certificate, "2.5.29.19") else {
        panic!("basic constraints")
    };
    assert!(is_critical && basic.ca && basic.path_len_constraint == Some(0));
    let (is_critical, ParsedExtension::KeyUsage(usage)) = extension(&certificate, "2.5.29.15") else {
        panic!("key usage")
    };
    assert!(is_critical && usage.key_cert_sign() && usage.crl_sign());
    assert!(!usage.digital_signature() && !usage.key_encipherment());
    let (is_critical, ParsedExtension::NameConstraints(names)) = extension(&certificate, "2.5.29.30") else {
        panic!("name constraints")
    };
    let bases = |subtrees: &Option<Vec<x509_parser::extensions::GeneralSubtree<'_>>>| {
        let of = |name: &GeneralName<'_>| match name {
            GeneralName::DNSName(name) => format!("dns {name}"),
            GeneralName::RFC822Name(name) => format!("mail {name}"),
            GeneralName::IPAddress(bytes) => {
                format!("{} bytes, {}", bytes.len(), bytes.iter().max().unwrap())
            }
            other => panic!("{other}"),
        };
        subtrees.iter().flatten().map(|subtree| of(&subtree.base)).collect::<Vec<_>>()
    };
    assert!(is_critical);
    // No dot in front (RFC 5280 section 4.2.1.10).
    assert_eq!(bases(&names.permitted_subtrees), ["dns key", "dns pk", "mail invalid"]);
    assert_eq!(bases(&names.excluded_subtrees), ["8 bytes, 0", "32 bytes, 0"]);
    let years = certificate.validity().not_after.timestamp() - certificate.validity().not_before.timestamp();
    assert_eq!(years / 86_400, 3651);
}

#[test]
fn a_leaf_is_for_one_name_and_a_week() {
    let directory = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let authority = open(&directory, &["key"], now);
    let pem = authority.certificate().pem();
    let root = CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
    let (_, root) = parse_x509_certificate(&root).unwrap();
    let (_, ParsedExtension::SubjectKeyIdentifier(root_key)) = extension(&root, "2.5.29.14") else {
        panic!("key identifier")
    };
    let mut serials = vec![root.raw_serial().to_vec()];
    for name in ["a.key", "www.a.key", "_x.b-c.key"] {
        let leaf = authority.leaf(&format!("{}.", name.to_uppercase()), now).unwrap();
        let (_, certificate) = parse_x509_certificate(&leaf.cert[0]).unwrap();
        let names = &certificate.subject_alternative_name().unwrap().unwrap().value.general_names;
        assert_eq!(names[..], [GeneralName::DNSName(name)]);
        let usage = certificate.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.server_auth && !usage.any && !usage.client_auth && !certificate.is_ca());
        let (_, ParsedExtension::AuthorityKeyIdentifier(key)) = extension(&certificate, "2.5.29.35") else {
            panic!("key identifier of the authority")
        };
        assert_eq!(key.key_identifier.as_ref(), Some(root_key));
        let seconds =
            |time: SystemTime| time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs() as i64;
        let validity = certificate.validity();
        assert_eq!(validity.not_before.timestamp(), seconds(now - DAY));
        assert_eq!(validity.not_after.timestamp(), seconds(now + 7 * DAY));
        serials.push(certificate.raw_serial().to_vec());
        assert_eq!(leaf.cert.len(), 1);
        assert_eq!(accepts(&pem, &leaf.cert, name, now), Ok(()));
        assert!(accepts(&pem, &leaf.cert, &format!("x{name}"), now).is_err());
        assert!(accepts(&pem, &leaf.cert, name, now + 8 * DAY).is_err());
    }
    // Firefox refuses the second certificate of an authority with a serial number that it has seen.
    serials.sort();
    serials.dedup();
    assert_eq!(serials.len(), 4);
}

#[test]
fn a_name_that_is_not_below_a_suffix_gets_no_certificate() {
    let directory = tempfile::tempdir().unwrap();
    let authority = open(&directory, &["key", "pk.example"], SystemTime::now());
    let long = format!("{}.key", vec!["a"; 128].join("."));
    for name in [
        "",
        ".",
        "key",
        ".key",
        "example.com",
        "monkey",
        "a.key..",
        "a..key",
        "*.key",
        "a b.key",
        "a.key.example",
        "127.0.0.1",
        "pk.example",
        "x.example",
        "ä.key",
        "a\0.key",
        &format!("{}.key", "a".repeat(64)),
        &long,
    ] {
        let error = authority.leaf(name, SystemTime::now()).unwrap_err();
        assert!(matches!(error, CertificateError::NotBelowASuffix(_)), "{name}: {error}");
    }
    for name in ["x.pk.example", &format!("{}.key", "a".repeat(63)), "a.b.c.key"] {
        assert!(authority.leaf(name, SystemTime::now()).is_ok(), "{name}");
    }
}

/// As somebody signs who has stolen the key.
fn thief(directory: &TempDir) -> Issuer<'static, KeyPair> {
    let stolen = fs::read_to_string(directory.path().join("bridge-ca.key")).unwrap();
    let mut of_issuer = CertificateParams::default();
    of_issuer.distinguished_name = rcgen::DistinguishedName::new();
    of_issuer.distinguished_name.push(rcgen::DnType::CommonName, KIND.common_name);
    Issuer::new(of_issuer, KeyPair::from_pem(&stolen).unwrap())
}

fn forge(names: &[&str], issuer: &Issuer<'_, KeyPair>) -> CertificateDer<'static> {
    let leaf = CertificateParams::new(suffixes(names)).unwrap();
    leaf.signed_by(&KeyPair::generate().unwrap(), issuer).unwrap().der().clone()
}

#[test]
fn whoever_steals_its_key_can_pose_as_no_site_of_the_internet() {
    let directory = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let pem = open(&directory, &["key"], now).certificate().pem();
    let thief = thief(&directory);
    assert_eq!(accepts(&pem, &[forge(&["a.key"], &thief)], "a.key", now), Ok(()), "forged well");
    let mut between = CertificateParams::default();
    between.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let between_key = KeyPair::generate().unwrap();
    let other = between.signed_by(&between_key, &thief).unwrap().der().clone();
    let accomplice = Issuer::new(between, between_key);
    for name in ["example.com", "monkey", "key.example", "127.0.0.1", "192.0.2.1", "2001:db8::1"] {
        for names in [&[name][..], &["a.key", name]] {
            let by_another = vec![forge(names, &accomplice), other.clone()];
            for chain in [vec![forge(names, &thief)], by_another] {
                let said = accepts(&pem, &chain, name, now).unwrap_err();
                assert!(said.contains("NameConstraintViolation"), "{name}: {said}");
            }
        }
    }
}

#[test]
fn certificates_are_kept_for_four_days_and_no_more_than_so_many() {
    let directory = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let authority = open(&directory, &["key"], now);
    let first = authority.leaf("a.key", now).unwrap();
    let is_first = |time| Arc::ptr_eq(&first, &authority.leaf("A.key.", time).unwrap());
    assert!(is_first(now) && is_first(now + RENEW_AFTER - Duration::from_secs(1)));
    assert!(!is_first(now + RENEW_AFTER));
    // That one comes from a clock that was ahead.
    assert!(!is_first(now));
    let other = authority.leaf("a.key", now).unwrap();
    assert!(Arc::ptr_eq(&other, &authority.leaf("a.key", now).unwrap()));
    assert!(Arc::ptr_eq(&other.key, &authority.leaf("b.key", now).unwrap().key), "one key for all");
    for number in 0..MAX_LEAVES.get() {
        authority.leaf(&format!("{number}.key"), now).unwrap();
    }
    assert_eq!(authority.leaves.lock().unwrap().len(), MAX_LEAVES.get());
    assert!(!Arc::ptr_eq(&other, &authority.leaf("a.key", now).unwrap()));
}

#[test]
fn a_new_suffix_makes_a_new_certificate_of_the_same_key_and_the_old_one_goes_on_for_the_others() {
    let directory = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    let pem = |authority: &BridgeAuthority| authority.certificate().pem();
    let old = pem(&open(&directory, &["key"], now));
    let key = fs::read(directory.path().join("bridge-ca.key")).unwrap();
    assert_eq!(pem(&open(&directory, &["key"], now)), old, "once only");
    let authority = open(&directory, &["key", "pk"], now);
    let new = pem(&authority);
    assert_ne!(new, old);
    assert_eq!(fs::read(directory.path().join("bridge-ca.key")).unwrap(), key);
    assert_eq!(fs::read_to_string(authority.certificate_path()).unwrap(), *new);
    for (imported, name, expected) in
        [(&old, "a.key", true), (&old, "a.pk", false), (&new, "a.key", true), (&new, "a.pk", true)]
    {
        let leaf = authority.leaf(name, now).unwrap();
        assert_eq!(accepts(imported, &leaf.cert, name, now).is_ok(), expected, "{name}");
    }
    // Nobody has to import another one because there is less to permit.
    let authority = open(&directory, &["pk"], now);
    assert_eq!(pem(&authority), new);
    assert!(authority.leaf("a.key", now).is_err());
}

#[test]
fn a_certificate_of_its_key_that_may_sign_for_anything_is_replaced() {
    let directory = tempfile::tempdir().unwrap();
    let now = SystemTime::now();
    drop(open(&directory, &["key"], now));
    let key =
        KeyPair::from_pem(&fs::read_to_string(directory.path().join("bridge-ca.key")).unwrap()).unwrap();
    let mut parameters = CertificateParams::default();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let open_to_all = parameters.self_signed(&key).unwrap().pem();
    fs::write(directory.path().join("bridge-ca.pem"), &open_to_all).unwrap();
    let authority = open(&directory, &["key"], now);
    assert_ne!(*authority.certificate().pem(), *open_to_all);
    let forged = forge(&["example.com"], &thief(&directory));
    assert!(accepts(&authority.certificate().pem(), &[forged], "example.com", now).is_err());
}

#[tokio::test(start_paused = true)]
async fn a_clock_that_is_set_while_it_runs_makes_it_valid_without_a_restart() {
    let directory = tempfile::tempdir().unwrap();
    let ahead = SystemTime::now() + 20 * 365 * DAY;
    let authority = Arc::new(open(&directory, &["key"], ahead));
    let before = authority.certificate().pem();
    let stop = CancellationToken::new();
    let watching = tokio::spawn(authority.clone().watch(stop.clone()));
    sleep(2 * INTERVAL).await;
    stop.cancel();
    watching.await.unwrap();
    let now = SystemTime::now();
    let after = authority.certificate().pem();
    assert_ne!(after, before);
    assert_eq!(accepts(&after, &authority.leaf("a.key", now).unwrap().cert, "a.key", now), Ok(()));
}

#[test]
fn a_key_that_is_lost_is_warned_of_because_people_have_imported_its_certificate() {
    let directory = tempfile::tempdir().unwrap();
    let opened = || {
        let log = tempfile::NamedTempFile::new().unwrap();
        let writer = Arc::new(log.reopen().unwrap());
        let subscriber = tracing_subscriber::fmt().with_ansi(false).with_writer(writer).finish();
        tracing::subscriber::with_default(subscriber, || open(&directory, &["key"], SystemTime::now()));
        fs::read_to_string(log.path()).unwrap()
    };
    assert_eq!(opened(), "");
    fs::remove_file(directory.path().join("bridge-ca.pem")).unwrap();
    assert_eq!(opened(), "", "the key makes the certificate anew");
    fs::remove_file(directory.path().join("bridge-ca.key")).unwrap();
    let said = opened();
    assert!(
        said.contains("bridge-ca.key is missing") && said.contains("a new pkdns bridge authority"),
        "{said}"
    );
}

#[test]
fn a_key_that_is_none_is_not_written_over() {
    let directory = tempfile::tempdir().unwrap();
    assert!(BridgeAuthority::check(directory.path()).is_ok());
    fs::write(directory.path().join("bridge-ca.key"), "not a key").unwrap();
    let error = BridgeAuthority::open(directory.path(), &suffixes(&["key"]), SystemTime::now()).unwrap_err();
    assert!(matches!(error, CertificateError::NoKey(_)), "{error}");
    assert!(BridgeAuthority::check(directory.path()).is_err());
    assert_eq!(fs::read_to_string(directory.path().join("bridge-ca.key")).unwrap(), "not a key");
}
