//! An authority that signs certificates for loopback.

use std::{fs, path::Path};

use rcgen::{BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair};

pub struct Authority {
    pub pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    #[allow(clippy::new_without_default, reason = "each has a key of its own")]
    pub fn new() -> Self {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::default();
        // Whoever finds subject and issuer alike takes the certificate for one that signed itself.
        parameters.distinguished_name.push(DnType::CommonName, "authority of a test");
        parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let pem = parameters.self_signed(&key).unwrap().pem();
        Self { pem, issuer: Issuer::new(parameters, key) }
    }

    /// A certificate for loopback and its key, PEM.
    pub fn issue(&self) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let names = ["localhost".to_owned(), "127.0.0.1".to_owned()];
        let certificate = CertificateParams::new(names).unwrap().signed_by(&key, &self.issuer).unwrap();
        (certificate.pem(), key.serialize_pem())
    }

    /// Writes `NAME.pem` and `NAME.key` for a new certificate.
    pub fn issue_to(&self, directory: &Path, name: &str) {
        let (certificate, key) = self.issue();
        fs::write(directory.join(format!("{name}.pem")), certificate).unwrap();
        fs::write(directory.join(format!("{name}.key")), key).unwrap();
    }
}
