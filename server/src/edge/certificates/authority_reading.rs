//! What is to be known of an authority before it is trusted. Pure.

use std::time::{Duration, SystemTime};

use sha2::{Digest, Sha256};
use tokio_rustls::rustls::pki_types::{CertificateDer, pem::PemObject};
use x509_parser::parse_x509_certificate;

use super::constraints::Constraints;

/// Certificates that are read from one text.
const MAX_CERTIFICATES: usize = 64;

/// The certificate of an authority, as people judge it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AuthorityReading {
    /// Who it says that it is, in one line.
    pub subject: String,
    /// What it may sign for; `None` where that is any host name or any address.
    pub constraints: Option<Constraints>,
    /// When it begins.
    pub from: SystemTime,
    /// When it ends.
    pub to: SystemTime,
    /// Whether it is one that signs others at all.
    pub is_authority: bool,
    /// SHA-256 of the certificate.
    pub fingerprint: [u8; 32],
    /// The certificate.
    pub der: Vec<u8>,
}

impl AuthorityReading {
    /// Those of a text in PEM, 64 at most. Whatever is no certificate is passed over.
    pub fn of_pem(text: &[u8]) -> Vec<Self> {
        let certificates = CertificateDer::pem_slice_iter(text).take(MAX_CERTIFICATES).flatten();
        certificates.filter_map(|der| Self::of_der(&der)).collect()
    }

    fn of_der(der: &[u8]) -> Option<Self> {
        let (_, certificate) = parse_x509_certificate(der).ok()?;
        let time = |seconds: i64| {
            SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(u64::try_from(seconds).ok()?))
        };
        let common_name = certificate.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
        Some(Self {
            subject: common_name.map_or_else(|| certificate.subject().to_string(), str::to_owned),
            constraints: Constraints::of_certificate(&certificate),
            from: time(certificate.validity().not_before.timestamp())?,
            to: time(certificate.validity().not_after.timestamp())?,
            is_authority: certificate.is_ca(),
            fingerprint: Sha256::digest(der).into(),
            der: der.to_vec(),
        })
    }

    /// The fingerprint as other programs show it: `AB:CD:…`.
    pub fn fingerprint_text(&self) -> String {
        self.fingerprint.map(|byte| format!("{byte:02X}")).join(":")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::certificates::{BridgeAuthority, lan_authority::LanAuthority};

    #[test]
    fn both_authorities_are_read_as_what_they_are_and_whatever_else_is_in_the_text_is_passed_over() {
        let directory = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        let bridge = BridgeAuthority::open(directory.path(), &["key".to_owned()], now).unwrap();
        let lan = LanAuthority::open(directory.path(), &["dns.example".to_owned()], now).unwrap();
        let broken = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
        let text = format!("x\n{broken}{}\n{}", bridge.certificate().pem(), lan.certificate().pem());
        let read = AuthorityReading::of_pem(text.as_bytes());
        let subjects: Vec<_> = read.iter().map(|read| &read.subject[..]).collect();
        assert_eq!(subjects, ["pkdns bridge authority", "pkdns local authority"]);
        let words = |read: &AuthorityReading| read.constraints.as_ref().unwrap().to_string();
        assert_eq!(words(&read[0]), "names under .key only");
        assert!(
            words(&read[1]).starts_with("names under .dns.example and .localhost, and addresses of local")
        );
        for read in &read {
            assert!(
                read.is_authority && read.from < now && read.to > now + Duration::from_secs(9 * 365 * 86_400)
            );
        }
        assert_eq!(read[0].fingerprint_text().len(), 95);
        assert_ne!(read[0].fingerprint, read[1].fingerprint);
        let leaf = rcgen::generate_simple_self_signed(["a.example".to_owned()]).unwrap().cert.pem();
        let [leaf] = &AuthorityReading::of_pem(leaf.as_bytes())[..] else { panic!("one") };
        assert!(!leaf.is_authority && leaf.constraints.is_none());
    }
}
