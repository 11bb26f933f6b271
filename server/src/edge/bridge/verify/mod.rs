//! Whether what a site shows in its handshake is what the packets of its keys say. Pure.

#[cfg(test)]
mod tests;

use std::{
    fmt::Write,
    sync::{Arc, Mutex, PoisonError},
};

use pkarr::PublicKey;
use sha2::{Digest, Sha256, Sha512};
use tokio_rustls::rustls::{
    CertificateError, DigitallySignedStruct, Error, PeerIncompatible, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
    crypto::{
        CryptoProvider, WebPkiSupportedAlgorithms, verify_tls12_signature,
        verify_tls13_signature_with_raw_key,
    },
    pki_types::{CertificateDer, ServerName, SubjectPublicKeyInfoDer, UnixTime},
    server::ParsedCertificate,
};
use x509_parser::{
    parse_x509_certificate, prelude::FromDer, public_key::PublicKey as ParsedKey, x509::SubjectPublicKeyInfo,
};

use crate::resolver::site::{Matching, Proof, Selector, Tlsa};

/// What stands before the 32 bytes of an Ed25519 key in its SubjectPublicKeyInfo (RFC 8410 section 4).
pub const ED25519_PREFIX: [u8; 12] = [0x30, 0x2a, 0x30, 0x05, 0x06, 0x03, 0x2b, 0x65, 0x70, 0x03, 0x21, 0x00];

/// Bytes of a hash in a text for people: enough to compare by eye.
const SHOWN_BYTES: usize = 16;

/// TLSA records that are told of in a text for people.
const TOLD: usize = 4;

/// In which form a site shows its key. A client of rustls takes one of them in a connection.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Form {
    /// RFC 7250.
    RawKey,
    /// X.509.
    Certificate,
}

/// Another key or certificate than the one that was expected, both in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Mismatch {
    pub(super) expected: String,
    pub(super) shown: String,
}

/// Verifies one connection.
///
/// Names, dates and issuers of certificates are not looked at: the packet that the key has signed says which key may speak for
/// the site, and no authority has a say in that. The signature of the handshake is always verified.
#[derive(Debug)]
pub(super) struct Verifier {
    proof: Proof,
    form: Form,
    algorithms: WebPkiSupportedAlgorithms,
    seen: Mutex<Seen>,
}

#[derive(Debug, Default)]
struct Seen {
    mismatch: Option<Mismatch>,
    /// Whether it was a TLSA record that the site has matched.
    is_by_record: bool,
}

impl Verifier {
    pub(super) fn new(proof: Proof, form: Form, provider: &CryptoProvider) -> Arc<Self> {
        let algorithms = provider.signature_verification_algorithms;
        Arc::new(Self { proof, form, algorithms, seen: Mutex::default() })
    }

    /// Why the site was refused, if it has shown something else than was expected.
    pub(super) fn mismatch(&self) -> Option<Mismatch> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner).mismatch.take()
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let matched = matched(&self.proof, self.form, end_entity);
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        match matched {
            Some(by) => {
                seen.is_by_record = by == By::Record;
                Ok(ServerCertVerified::assertion())
            }
            None => {
                let (expected, shown) = (expected(&self.proof), shown(self.form, end_entity));
                seen.mismatch = Some(Mismatch { expected, shown });
                Err(CertificateError::ApplicationVerificationFailure.into())
            }
        }
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        // A key alone speaks TLS 1.3. This is offered for the sake of TLSA records, which name older servers.
        let is_by_record = self.seen.lock().unwrap_or_else(PoisonError::into_inner).is_by_record;
        if !is_by_record {
            return Err(PeerIncompatible::ServerDoesNotSupportTls12Or13.into());
        }
        // Both readers have to see the same key in it.
        let parsed = ParsedCertificate::try_from(certificate)?;
        if Some(&*parsed.subject_public_key_info()) != public_key(Form::Certificate, certificate) {
            return Err(CertificateError::BadEncoding.into());
        }
        verify_tls12_signature(message, certificate, signature, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        // By the very key that was compared, so that no two readers of certificates can differ about it.
        let key = public_key(self.form, certificate).ok_or(CertificateError::BadEncoding)?;
        let key = SubjectPublicKeyInfoDer::from(key);
        verify_tls13_signature_with_raw_key(message, &key, signature, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }

    fn requires_raw_public_keys(&self) -> bool {
        self.form == Form::RawKey
    }
}

/// What of a proof a site has matched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum By {
    Key,
    Record,
}

fn matched(proof: &Proof, form: Form, shown: &[u8]) -> Option<By> {
    // Without a key that can be read there is none that could have signed.
    let key = public_key(form, shown)?;
    let is_right = |record: &&Tlsa| match (record.selector, form) {
        (Selector::PublicKey, _) => is_matched(record, key),
        (Selector::Certificate, Form::Certificate) => is_matched(record, shown),
        // RFC 7671 section 5.1: there is no certificate.
        (Selector::Certificate, Form::RawKey) => false,
    };
    if proof.certificates.iter().any(|record| is_right(&record)) {
        return Some(By::Record);
    }
    (proof.key.as_ref()?.as_bytes() == ed25519(key)?).then_some(By::Key)
}

fn is_matched(record: &Tlsa, of: &[u8]) -> bool {
    match record.matching {
        Matching::Exact => record.data == of,
        Matching::Sha256 => record.data == Sha256::digest(of).as_slice(),
        Matching::Sha512 => record.data == Sha512::digest(of).as_slice(),
    }
}

/// The SubjectPublicKeyInfo in what was shown.
fn public_key(form: Form, shown: &[u8]) -> Option<&[u8]> {
    match form {
        Form::RawKey => Some(shown),
        Form::Certificate => match parse_x509_certificate(shown) {
            Ok(([], certificate)) => Some(certificate.tbs_certificate.subject_pki.raw),
            Ok(_) | Err(_) => None,
        },
    }
}

/// The key in the SubjectPublicKeyInfo of one of Ed25519, which has no other spelling.
fn ed25519(key: &[u8]) -> Option<&[u8; 32]> {
    key.strip_prefix(&ED25519_PREFIX)?.try_into().ok()
}

fn expected(proof: &Proof) -> String {
    let key = proof.key.iter().map(|key| format!("the key {}", key.to_z32()));
    let records = proof.certificates.iter().take(TOLD).map(|record| {
        let (selector, matching) = (record.selector as u8, record.matching as u8);
        format!("what matches the record TLSA 3 {selector} {matching} {}", hex(&record.data))
    });
    let parts: Vec<String> = key.chain(records).collect();
    match parts.len() {
        0 => "nothing that could be verified".to_string(),
        _ => parts.join(", or "),
    }
}

fn shown(form: Form, shown: &[u8]) -> String {
    let Some(key) = public_key(form, shown) else {
        return "a certificate that cannot be read".to_string();
    };
    let what = match form {
        Form::RawKey => "",
        Form::Certificate => "a certificate with ",
    };
    if let Some(bytes) = ed25519(key) {
        return match PublicKey::try_from(bytes) {
            Ok(key) => format!("{what}the key {}", key.to_z32()),
            Err(_) => format!("{what}no valid Ed25519 key"),
        };
    }
    let kind = kind(key);
    let hash = hex(&Sha256::digest(key));
    let certificate = match form {
        Form::RawKey => String::new(),
        Form::Certificate => format!(", for TLSA 3 0 1 {}", hex(&Sha256::digest(shown))),
    };
    format!("{what}{kind}, for TLSA 3 1 1 {hash}{certificate}")
}

/// The kind of a key, with its article.
fn kind(key: &[u8]) -> &'static str {
    let parsed = SubjectPublicKeyInfo::from_der(key).ok();
    match parsed.as_ref().map(|(_, key)| key.parsed()) {
        Some(Ok(ParsedKey::RSA(_))) => "an RSA key",
        Some(Ok(ParsedKey::EC(_))) => "an ECDSA key",
        _ => "a key of an unknown kind",
    }
}

fn hex(bytes: &[u8]) -> String {
    let mut text = String::new();
    for byte in bytes.iter().take(SHOWN_BYTES) {
        // A String takes whatever is written to it.
        let _ = write!(text, "{byte:02x}");
    }
    if bytes.len() > SHOWN_BYTES {
        text.push('…');
    }
    text
}
