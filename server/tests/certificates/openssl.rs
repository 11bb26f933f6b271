//! Whom the authorities of our own convince, by a program that is not ours and reads certificates strictly.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::SystemTime,
};

use pkdns::edge::certificates::BridgeAuthority;
use pkdns_testing::programs;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};

fn is_there(program: &Path) -> bool {
    let mut version = Command::new(program);
    version
        .arg("version")
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .is_ok_and(|status| status.success())
}

/// Whether `openssl verify` takes the certificate for that of `name`.
fn is_verified(openssl: &Path, root: &Path, leaf: &Path, name: &str) -> bool {
    let mut command = Command::new(openssl);
    command.args(["verify", "-x509_strict", "-purpose", "sslserver", "-verify_hostname", name, "-CAfile"]);
    command.arg(root).arg(leaf).stdout(Stdio::null()).stderr(Stdio::null());
    command.status().unwrap().success()
}

fn pem(der: &[u8]) -> String {
    use base64::{Engine, prelude::BASE64_STANDARD};
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", BASE64_STANDARD.encode(der))
}

/// As somebody signs who has stolen the key of the bridge's authority.
fn thief(directory: &Path) -> Issuer<'static, KeyPair> {
    let stolen = fs::read_to_string(directory.join("bridge-ca.key")).unwrap();
    let mut authority = CertificateParams::default();
    authority.distinguished_name = DistinguishedName::new();
    authority.distinguished_name.push(DnType::CommonName, "pkdns bridge authority");
    Issuer::new(authority, KeyPair::from_pem(&stolen).unwrap())
}

fn forged(name: &str, issuer: &Issuer<'_, KeyPair>) -> String {
    let mut leaf = CertificateParams::new([name.to_owned()]).unwrap();
    leaf.use_authority_key_identifier_extension = true;
    leaf.signed_by(&KeyPair::generate().unwrap(), issuer).unwrap().pem()
}

#[test]
fn openssl_takes_leaves_of_the_bridge_and_nothing_else_that_its_key_signs() {
    let directory = tempfile::tempdir().unwrap();
    let directory = directory.path();
    let now = SystemTime::now();
    let authority = BridgeAuthority::open(directory, &["key".to_owned()], now).unwrap();
    let (root, leaf, bad) =
        (authority.certificate_path(), directory.join("leaf.pem"), directory.join("bad.pem"));
    let Some(openssl) = programs::find("openssl", is_there, "Debian's openssl") else { return };
    let key = "8pinxxgqs41n4aididenw5apqp1urfmzdztr8jt4abrkdn435ewo";
    for name in [format!("{key}.key"), format!("www.{key}.key")] {
        fs::write(&leaf, pem(&authority.leaf(&name, now).unwrap().cert[0])).unwrap();
        assert!(is_verified(&openssl, &root, &leaf, &name), "{name}");
        assert!(!is_verified(&openssl, &root, &leaf, "example.com"), "{name}");
    }
    let thief = thief(directory);
    fs::write(&bad, forged("x.key", &thief)).unwrap();
    assert!(is_verified(&openssl, &root, &bad, "x.key"), "forged well");
    for name in ["example.com", "monkey"] {
        fs::write(&bad, forged(name, &thief)).unwrap();
        assert!(!is_verified(&openssl, &root, &bad, name), "{name}");
    }
    // Nor is there another authority below it, not even for a name of its own.
    let mut between = CertificateParams::default();
    between.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    between.use_authority_key_identifier_extension = true;
    between.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    between.distinguished_name = DistinguishedName::new();
    between.distinguished_name.push(DnType::CommonName, "accomplice");
    let key = KeyPair::generate().unwrap();
    let chain = between.signed_by(&key, &thief).unwrap().pem();
    fs::write(&bad, forged("x.key", &Issuer::new(between, key)) + &chain).unwrap();
    let mut command = Command::new(&openssl);
    command.args(["verify", "-x509_strict", "-purpose", "sslserver", "-show_chain", "-CAfile"]).arg(&root);
    let output = command.arg("-untrusted").arg(&bad).arg(&bad).output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(!output.status.success() && said.contains("path length constraint exceeded"), "{said}");
}
