//! What an authority wants to see before it believes that a name is ours.

use std::{fmt, net::IpAddr, sync::Arc};

use instant_acme::{ChallengeHandle, ChallengeType};
use rcgen::{CertificateParams, CustomExtension, KeyPair};
use tokio_rustls::rustls::{crypto::ring, pki_types::PrivatePkcs8KeyDer, sign::CertifiedKey};

use super::{AcmeError, CertificateError};
use crate::base::config::AcmeChallenge;

/// How an authority sees that a name is ours.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Challenge {
    /// It connects to port 443 over TLS (RFC 8737).
    TlsAlpn01,
    /// It fetches a file from port 80 (RFC 8555 section 8.3).
    Http01,
    /// It looks up a TXT record (RFC 8555 section 8.4): the only one that proves wildcards.
    Dns01,
}

/// What is to be shown for one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Proof {
    /// The name, in lower case and without the `*.` of a wildcard; or an address.
    pub name: String,
    /// Names the file of http-01.
    pub token: String,
    /// What that file holds.
    pub authorization: String,
    /// What the TXT record of dns-01 at `_acme-challenge.<name>` holds.
    pub record: String,
    /// SHA-256 of `authorization`.
    digest: [u8; 32],
}

/// Lets an authority see that names are ours.
pub trait Prover: Sync {
    /// Shows all of `proofs`, and returns when an authority can see them. Whoever ordered takes them away afterwards, also
    /// where this was given up.
    ///
    /// # Errors
    ///
    /// Why they cannot be shown, and what to do, for people.
    fn show(&self, proofs: &[Proof]) -> impl Future<Output = Result<(), String>> + Send;

    /// Told what is being done, for people who wait.
    fn note(&self, _step: &str) {}
}

impl Challenge {
    pub(super) fn kind(self) -> ChallengeType {
        match self {
            Self::TlsAlpn01 => ChallengeType::TlsAlpn01,
            Self::Http01 => ChallengeType::Http01,
            Self::Dns01 => ChallengeType::Dns01,
        }
    }
}

impl fmt::Display for Challenge {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::TlsAlpn01 => "tls-alpn-01",
            Self::Http01 => "http-01",
            Self::Dns01 => "dns-01",
        })
    }
}

impl From<AcmeChallenge> for Challenge {
    fn from(challenge: AcmeChallenge) -> Self {
        match challenge {
            AcmeChallenge::TlsAlpn01 => Self::TlsAlpn01,
            AcmeChallenge::Http01 => Self::Http01,
        }
    }
}

impl Proof {
    pub(super) fn of(challenge: &ChallengeHandle<'_>) -> Result<Self, AcmeError> {
        let name = challenge.identifier().identifier.authorized(false).to_string().to_ascii_lowercase();
        let authorization = challenge.key_authorization();
        let digest = authorization.digest().as_ref().try_into().map_err(|_| AcmeError::NotACertificate)?;
        Ok(Self {
            name,
            token: challenge.token.clone(),
            authorization: authorization.as_str().to_owned(),
            record: authorization.dns_value(),
            digest,
        })
    }

    /// The name that stands in the handshake of tls-alpn-01 (RFC 8738 section 6 for addresses).
    pub(in crate::edge::certificates) fn server_name(&self) -> String {
        match self.name.parse::<IpAddr>() {
            Ok(IpAddr::V4(address)) => {
                let [a, b, c, d] = address.octets();
                format!("{d}.{c}.{b}.{a}.in-addr.arpa")
            }
            Ok(IpAddr::V6(address)) => {
                let nibbles = address.octets().into_iter().rev().flat_map(|byte| [byte & 15, byte >> 4]);
                nibbles.map(|nibble| format!("{nibble:x}.")).collect::<String>() + "ip6.arpa"
            }
            Err(_) => self.name.to_ascii_lowercase(),
        }
    }

    /// The certificate that is shown there (RFC 8737 section 3).
    pub(in crate::edge::certificates) fn certificate(&self) -> Result<Arc<CertifiedKey>, CertificateError> {
        let mut parameters = CertificateParams::new([self.name.clone()]).map_err(CertificateError::Make)?;
        parameters.custom_extensions = vec![CustomExtension::new_acme_identifier(&self.digest)];
        let key = KeyPair::generate().map_err(CertificateError::Make)?;
        let certificate = parameters.self_signed(&key).map_err(CertificateError::Make)?;
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        let key = ring::sign::any_supported_type(&key.into()).map_err(CertificateError::Tls)?;
        // Unchecked, because the check refuses a critical extension that it does not know.
        Ok(Arc::new(CertifiedKey::new(vec![certificate.der().clone()], key)))
    }

    #[cfg(test)]
    pub(in crate::edge::certificates) fn of_name(name: &str) -> Self {
        let (token, authorization) = (format!("token-{name}"), format!("token-{name}.thumb"));
        Self { name: name.to_owned(), token, authorization, record: "record".to_owned(), digest: [7; 32] }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::edge::certificates::end;

    #[test]
    fn an_address_is_named_by_its_reverse_name() {
        for (host, name) in [
            ("Dns.Example", "dns.example".to_owned()),
            ("192.0.2.7", "7.2.0.192.in-addr.arpa".to_owned()),
            ("2001:db8::1", format!("1.{}8.b.d.0.1.0.0.2.ip6.arpa", "0.".repeat(23))),
        ] {
            assert_eq!(Proof::of_name(host).server_name(), name);
        }
    }

    #[test]
    fn the_certificate_of_a_challenge_is_for_its_name_and_says_what_is_to_be_seen() {
        for host in ["dns.example", "192.0.2.7"] {
            let certificate = Proof::of_name(host).certificate().unwrap();
            let (_, parsed) = x509_parser::parse_x509_certificate(&certificate.cert[0]).unwrap();
            let extension = parsed
                .extensions()
                .iter()
                .find(|extension| extension.oid.to_id_string() == "1.3.6.1.5.5.7.1.31");
            let extension = extension.expect("acmeIdentifier");
            assert!(extension.critical);
            assert_eq!(extension.value, [&[4, 32], &[7; 32][..]].concat());
            assert!(end::read(&certificate).unwrap().names.contains(&host.to_owned()));
        }
    }
}
