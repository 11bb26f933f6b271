//! What clients are shown in a handshake.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError, RwLock},
};

use tokio_rustls::{
    TlsAcceptor,
    rustls::{
        ServerConfig,
        crypto::ring,
        server::{ClientHello, ResolvesServerCert},
        sign::CertifiedKey,
    },
};

use super::{
    CertificateError,
    acme::{Challenge, Proof, Prover},
    end,
};

/// The protocol of a handshake that only proves whose name it is (RFC 8737 section 6.2).
pub(super) const ACME_PROTOCOL: &[u8] = b"acme-tls/1";

/// The newest certificate, once there is one.
#[derive(Debug, Default)]
pub(super) struct Shown {
    current: RwLock<Option<Arc<CertifiedKey>>>,
    challenges: Arc<Challenges>,
}

/// What an authority wants to see while it has its doubts that a name is ours. There is one for each name at most.
#[derive(Debug, Default)]
pub struct Challenges {
    certificates: RwLock<HashMap<String, Arc<CertifiedKey>>>,
    files: RwLock<HashMap<String, String>>,
}

impl Shown {
    pub(super) fn show(&self, certificate: Arc<CertifiedKey>) {
        if let Some(reading) = end::read(&certificate) {
            let (names, until) = (reading.title(), end::date(reading.to));
            tracing::info!("showing a certificate for {names}, valid until {until}");
        }
        *self.current.write().unwrap_or_else(PoisonError::into_inner) = Some(certificate);
    }

    pub(super) fn current(&self) -> Option<Arc<CertifiedKey>> {
        self.current.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    pub(super) fn challenges(&self) -> &Arc<Challenges> {
        &self.challenges
    }
}

impl ResolvesServerCert for Shown {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        match is_challenge(&hello) {
            true => self.challenges.resolve(hello),
            false => self.current(),
        }
    }
}

/// Whether nothing but `acme-tls/1` is offered (RFC 8737 section 3).
fn is_challenge(hello: &ClientHello<'_>) -> bool {
    let mut protocols = hello.alpn().into_iter().flatten();
    protocols.next() == Some(ACME_PROTOCOL) && protocols.next().is_none()
}

/// For a listener that has nothing else to show.
impl ResolvesServerCert for Challenges {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let name = hello.server_name().filter(|_| is_challenge(&hello))?.to_ascii_lowercase();
        self.certificates.read().unwrap_or_else(PoisonError::into_inner).get(&name).cloned()
    }
}

impl Challenges {
    /// The file at `/.well-known/acme-challenge/<token>`, while it is wanted.
    pub fn file(&self, token: &str) -> Option<String> {
        self.files.read().unwrap_or_else(PoisonError::into_inner).get(token).cloned()
    }

    /// TLS for a listener on which nothing but challenges is to be seen.
    ///
    /// # Errors
    ///
    /// Only if the TLS library refuses its own defaults.
    pub fn acceptor(self: &Arc<Self>) -> Result<TlsAcceptor, CertificateError> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(ring::default_provider()))
            .with_safe_default_protocol_versions()
            .map_err(CertificateError::Tls)?
            .with_no_client_auth()
            .with_cert_resolver(self.clone());
        config.alpn_protocols = vec![ACME_PROTOCOL.to_vec()];
        Ok(TlsAcceptor::from(Arc::new(config)))
    }

    fn show(&self, challenge: Challenge, proof: &Proof) -> Result<(), CertificateError> {
        match challenge {
            Challenge::Http01 => {
                let mut files = self.files.write().unwrap_or_else(PoisonError::into_inner);
                files.insert(proof.token.clone(), proof.authorization.clone());
            }
            Challenge::TlsAlpn01 => {
                let certificate = proof.certificate()?;
                let mut certificates = self.certificates.write().unwrap_or_else(PoisonError::into_inner);
                certificates.insert(proof.server_name(), certificate);
            }
            // Nobody who connects sees records.
            Challenge::Dns01 => {}
        }
        Ok(())
    }

    fn hide(&self, proof: &Proof) {
        self.files.write().unwrap_or_else(PoisonError::into_inner).remove(&proof.token);
        self.certificates.write().unwrap_or_else(PoisonError::into_inner).remove(&proof.server_name());
    }
}

/// Shows the proofs of one order where clients connect, until it is dropped.
#[derive(Debug)]
pub struct Showing {
    challenges: Arc<Challenges>,
    challenge: Challenge,
    shown: Mutex<Vec<Proof>>,
}

impl Showing {
    /// On the listeners that look into `challenges`.
    pub fn new(challenges: Arc<Challenges>, challenge: Challenge) -> Self {
        Self { challenges, challenge, shown: Mutex::default() }
    }
}

impl Prover for Showing {
    async fn show(&self, proofs: &[Proof]) -> Result<(), String> {
        self.shown.lock().unwrap_or_else(PoisonError::into_inner).extend_from_slice(proofs);
        let mut shown = proofs.iter().map(|proof| self.challenges.show(self.challenge, proof));
        shown.try_for_each(|shown| shown).map_err(|error| error.to_string())
    }
}

impl Drop for Showing {
    fn drop(&mut self) {
        for proof in self.shown.lock().unwrap_or_else(PoisonError::into_inner).iter() {
            self.challenges.hide(proof);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_one_order_shows_is_taken_away_with_it_and_nothing_else_is() {
        let challenges = Arc::new(Challenges::default());
        let certificates = |name: &str| challenges.certificates.read().unwrap().contains_key(name);
        let [one, two] = ["one.example", "two.example"].map(Proof::of_name);
        let ours = Showing::new(challenges.clone(), Challenge::Http01);
        ours.show(std::slice::from_ref(&one)).await.unwrap();
        let theirs = Showing::new(challenges.clone(), Challenge::TlsAlpn01);
        theirs.show(std::slice::from_ref(&two)).await.unwrap();
        assert_eq!(challenges.file(&one.token), Some(one.authorization.clone()));
        assert!(challenges.file(&two.token).is_none() && certificates("two.example"));
        drop(ours);
        assert!(challenges.file(&one.token).is_none() && certificates("two.example"));
        drop(theirs);
        assert!(!certificates("two.example"));
    }
}
