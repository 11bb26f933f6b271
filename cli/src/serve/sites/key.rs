//! TLS with a key of PKARR: raw (RFC 7250), or in a certificate that nobody but the key itself has signed.

use std::{fmt, sync::Arc};

use pkdns::edge::bridge::ED25519_PREFIX;
use pkdns_dht::signed_packet::{PublicKey, Signer as _};
use rcgen::{CertificateParams, DistinguishedName, DnType, PKCS_ED25519, PublicKeyData, SanType};
use tokio_rustls::rustls::{
    self, ServerConfig, SignatureAlgorithm, SignatureScheme,
    crypto::ring,
    pki_types::{CertificateDer, SubjectPublicKeyInfoDer},
    server::{AlwaysResolvesServerRawPublicKeys, CertificateType, ClientHello, ResolvesServerCert},
    sign::{CertifiedKey, Signer, SigningKey, SingleCertAndKey},
    version::TLS13,
};

use crate::{failure::Failure, secret_key::SecretKey};

/// What is spoken over TLS, the best first.
pub(super) const PROTOCOLS: [&[u8]; 2] = [b"h2", b"http/1.1"];

/// A key that ends TLS, in both forms.
pub(in crate::serve) struct TlsKey {
    public_key_info: Vec<u8>,
    #[cfg(test)]
    certificate: CertificateDer<'static>,
    raw: Arc<ServerConfig>,
    certified: Arc<ServerConfig>,
}

impl TlsKey {
    /// The certificate is for `identity`, whichever key it is of. The same key always gives the same one.
    pub(in crate::serve) fn new(secret_key: &Arc<SecretKey>, identity: &PublicKey) -> Result<Self, Failure> {
        let public_key_info = [&ED25519_PREFIX[..], secret_key.public_key().as_bytes()].concat();
        let key = Arc::new(Key(secret_key.clone()));
        let certificate = certificate(&key, identity).map_err(|error| unusable(&error))?;
        let raw = CertifiedKey::new(vec![CertificateDer::from(public_key_info.clone())], key.clone());
        let raw = AlwaysResolvesServerRawPublicKeys::new(Arc::new(raw));
        let certified = SingleCertAndKey::from(CertifiedKey::new(vec![certificate.clone()], key));
        Ok(Self {
            public_key_info,
            #[cfg(test)]
            certificate,
            raw: config(Arc::new(raw))?,
            certified: config(Arc::new(certified))?,
        })
    }

    #[cfg(test)]
    pub(super) fn certificate(&self) -> &[u8] {
        &self.certificate
    }

    /// What TLSA records are about.
    pub(super) fn public_key_info(&self) -> &[u8] {
        &self.public_key_info
    }

    /// In the form that the client would rather have. One that does not say wants a certificate.
    pub(super) fn config_for(&self, hello: &ClientHello<'_>) -> Arc<ServerConfig> {
        let is_known =
            |kind: &&CertificateType| matches!(kind, CertificateType::RawPublicKey | CertificateType::X509);
        match hello.server_cert_types().unwrap_or_default().iter().find(is_known) {
            Some(CertificateType::RawPublicKey) => self.raw.clone(),
            _ => self.certified.clone(),
        }
    }
}

impl fmt::Debug for TlsKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TlsKey").field("public_key_info", &self.public_key_info).finish_non_exhaustive()
    }
}

fn config(resolver: Arc<dyn ResolvesServerCert>) -> Result<Arc<ServerConfig>, Failure> {
    // Named, because rustls panics when it has to choose between two providers. A key without a record speaks TLS 1.3, and
    // whoever knows the key speaks it too.
    let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
        .with_protocol_versions(&[&TLS13])
        .map_err(|error| unusable(&error))?
        .with_no_client_auth()
        .with_cert_resolver(resolver);
    config.alpn_protocols = PROTOCOLS.iter().map(|protocol| protocol.to_vec()).collect();
    // Sessions cost the client memory and not us. 0-RTT stays off: what is sent in it can be sent again by anyone.
    config.ticketer = ring::Ticketer::new().map_err(|error| unusable(&error))?;
    Ok(Arc::new(config))
}

fn unusable(error: &dyn fmt::Display) -> Failure {
    Failure::Failed(format!("TLS cannot be used with this key: {error}"))
}

/// Valid from before there were keys until after there are people who use them: the packet says for how long it counts.
fn certificate(key: &Key, identity: &PublicKey) -> Result<CertificateDer<'static>, rcgen::Error> {
    let name = identity.to_z32();
    let mut parameters = CertificateParams::default();
    parameters.distinguished_name = DistinguishedName::new();
    parameters.distinguished_name.push(DnType::CommonName, name.as_str());
    parameters.subject_alt_names = vec![SanType::DnsName(name.try_into()?)];
    Ok(parameters.self_signed(key)?.der().clone())
}

/// Signs handshakes and its own certificate.
#[derive(Debug, Clone)]
struct Key(Arc<SecretKey>);

impl SigningKey for Key {
    fn choose_scheme(&self, offered: &[SignatureScheme]) -> Option<Box<dyn Signer>> {
        offered.contains(&SignatureScheme::ED25519).then(|| Box::new(self.clone()) as Box<dyn Signer>)
    }

    fn public_key(&self) -> Option<SubjectPublicKeyInfoDer<'_>> {
        let info = [&ED25519_PREFIX[..], self.0.public_key().as_bytes()].concat();
        Some(SubjectPublicKeyInfoDer::from(info))
    }

    fn algorithm(&self) -> SignatureAlgorithm {
        SignatureAlgorithm::ED25519
    }
}

impl Signer for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rustls::Error> {
        Ok(self.0.sign(message).to_vec())
    }

    fn scheme(&self) -> SignatureScheme {
        SignatureScheme::ED25519
    }
}

impl PublicKeyData for Key {
    fn der_bytes(&self) -> &[u8] {
        self.0.public_key_bytes()
    }

    fn algorithm(&self) -> &'static rcgen::SignatureAlgorithm {
        &PKCS_ED25519
    }
}

impl rcgen::SigningKey for Key {
    fn sign(&self, message: &[u8]) -> Result<Vec<u8>, rcgen::Error> {
        Ok(pkdns_dht::signed_packet::Signer::sign(&*self.0, message).to_vec())
    }
}
