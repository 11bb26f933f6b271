//! Whether a certificate convinces clients that trust the public authorities and no other.

use std::sync::Arc;

use tokio_rustls::rustls::{
    self, RootCertStore,
    client::{WebPkiServerVerifier, danger::ServerCertVerifier},
    crypto::ring,
    pki_types::{CertificateDer, ServerName, UnixTime},
    sign::CertifiedKey,
};

use super::Certificates;

impl Certificates {
    /// Whether a client that trusts the public authorities alone would take the certificate that is shown now for that of
    /// `host`, a name or an address.
    pub fn convinces_everybody(&self, host: &str) -> bool {
        let roots = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        self.shown.current().is_some_and(|shown| convinces(&shown, roots, host, UnixTime::now()))
    }
}

fn convinces(shown: &CertifiedKey, roots: RootCertStore, host: &str, now: UnixTime) -> bool {
    let Ok(name) = ServerName::try_from(host) else { return false };
    verify(&shown.cert, roots, &name, now).is_ok()
}

/// What a client says of a chain, its own certificate first, that trusts `roots` and looks for `name`.
pub(super) fn verify(
    chain: &[CertificateDer<'_>],
    roots: RootCertStore,
    name: &ServerName<'_>,
    now: UnixTime,
) -> Result<(), rustls::Error> {
    let verifier =
        WebPkiServerVerifier::builder_with_provider(Arc::new(roots), Arc::new(ring::default_provider()));
    let verifier = verifier.build().map_err(|error| rustls::Error::General(error.to_string()))?;
    let [own, others @ ..] = chain else { return Err(rustls::Error::NoCertificatesPresented) };
    verifier.verify_server_cert(own, others, name, &[], now).map(drop)
}

#[cfg(test)]
mod tests {
    use std::time::{Duration, SystemTime};

    use tokio_rustls::rustls::pki_types::{CertificateDer, pem::PemObject};

    use super::*;
    use crate::edge::certificates::lan_authority::LanAuthority;

    #[test]
    fn a_certificate_convinces_those_who_trust_its_authority_of_its_names_and_in_its_time() {
        let directory = tempfile::tempdir().unwrap();
        let now = SystemTime::now();
        let names = ["dns.example".to_owned(), "192.0.2.53".to_owned()];
        let authority = LanAuthority::open(directory.path(), &names, now).unwrap();
        let shown = authority.issue(now).unwrap().certificate;
        let mut roots = RootCertStore::empty();
        let pem = authority.certificate().pem().to_string();
        roots.add(CertificateDer::from_pem_slice(pem.as_bytes()).unwrap()).unwrap();
        let at = |time: SystemTime| {
            UnixTime::since_unix_epoch(time.duration_since(SystemTime::UNIX_EPOCH).unwrap())
        };
        let years_later = now + Duration::from_secs(20 * 365 * 86_400);
        for (host, time, expected) in [
            ("dns.example", now, true),
            ("192.0.2.53", now, true),
            ("other.example", now, false),
            ("dns.example", years_later, false),
            ("not a name", now, false),
        ] {
            assert_eq!(convinces(&shown, roots.clone(), host, at(time)), expected, "{host}");
        }
        let public = RootCertStore { roots: webpki_roots::TLS_SERVER_ROOTS.to_vec() };
        assert!(!convinces(&shown, public, "dns.example", at(now)));
        assert!(!convinces(&shown, RootCertStore::empty(), "dns.example", at(now)));
    }
}
