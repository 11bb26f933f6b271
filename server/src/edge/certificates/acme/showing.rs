//! Proofs on the listeners of this server.

use std::sync::{Arc, Mutex, PoisonError};

use super::{
    super::{CertificateError, Challenges},
    Challenge, Proof, Prover,
};

impl Challenges {
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
