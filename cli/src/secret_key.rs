//! The secret half of a key, in the two forms that can sign.

use std::fmt;

use ed25519_dalek::{
    Sha512, VerifyingKey,
    hazmat::{ExpandedSecretKey, raw_sign},
};
use pkdns_dht::signed_packet::{PublicKey, Signer};
use zeroize::Zeroizing;

/// Signs for a key. Never printed, and wiped when it is dropped.
#[derive(Clone)]
pub(crate) struct SecretKey {
    form: Form,
    public_key: PublicKey,
}

/// On the heap, as a value that moves leaves copies behind.
#[derive(Clone)]
enum Form {
    /// 32 random bytes, of which everything else is made (RFC 8032, section 5.1.5).
    Seed(Box<Zeroizing<[u8; 32]>>),
    /// What is made of a seed: the scalar and the prefix. A search for a key steps from scalar to scalar, so that what
    /// it finds has no seed.
    Expanded(Box<Zeroizing<[u8; 64]>>),
}

impl SecretKey {
    pub(crate) fn from_seed(seed: &[u8; 32]) -> Self {
        let form = Form::Seed(Box::new(Zeroizing::new(*seed)));
        let public_key = VerifyingKey::from(&form.expand()).into();
        Self { form, public_key }
    }

    /// Takes a scalar (little-endian), then a prefix.
    ///
    /// `None` unless the scalar is one that a seed could give: a multiple of 8 with 2^254 for its highest bit. Nor with
    /// a prefix of zeros: whoever knows the prefix can tell the scalar from a single signature.
    pub(crate) fn from_expanded(bytes: &[u8; 64]) -> Option<Self> {
        let (scalar, prefix) = bytes.split_at(32);
        let is_clamped = scalar.first()? & 0b111 == 0 && scalar.last()? >> 6 == 0b01;
        if !is_clamped || prefix.iter().all(|&byte| byte == 0) {
            return None;
        }
        let form = Form::Expanded(Box::new(Zeroizing::new(*bytes)));
        let public_key = VerifyingKey::from(&form.expand()).into();
        Some(Self { form, public_key })
    }

    pub(crate) fn public_key(&self) -> PublicKey {
        self.public_key.clone()
    }

    /// The public key as 32 bytes.
    pub(crate) fn public_key_bytes(&self) -> &[u8; 32] {
        self.public_key.as_bytes()
    }

    /// `None` of a key that was found by a search.
    pub(crate) fn seed(&self) -> Option<&[u8; 32]> {
        match &self.form {
            Form::Seed(seed) => Some(seed),
            Form::Expanded(_) => None,
        }
    }

    /// The seed, or where there is none the 64 bytes of the expanded form.
    pub(crate) fn secret(&self) -> &[u8] {
        match &self.form {
            Form::Seed(seed) => seed.as_slice(),
            Form::Expanded(bytes) => bytes.as_slice(),
        }
    }
}

impl Signer for SecretKey {
    fn public_key(&self) -> PublicKey {
        self.public_key.clone()
    }

    fn sign(&self, text: &[u8]) -> [u8; 64] {
        raw_sign::<Sha512>(&self.form.expand(), text, self.public_key.verifying_key()).to_bytes()
    }
}

impl Form {
    /// Wiped when it is dropped.
    fn expand(&self) -> ExpandedSecretKey {
        match self {
            Self::Seed(seed) => ExpandedSecretKey::from(&***seed),
            Self::Expanded(bytes) => ExpandedSecretKey::from_bytes(bytes),
        }
    }
}

impl fmt::Debug for SecretKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("SecretKey").field(&self.public_key.to_z32()).finish()
    }
}

#[cfg(test)]
mod tests {
    use ed25519_dalek::Digest;
    use pkdns_dht::signed_packet::{Keypair, SignedPacket};
    use proptest::prelude::*;

    use super::*;

    fn expanded(seed: &[u8; 32]) -> [u8; 64] {
        let mut bytes: [u8; 64] = Sha512::digest(seed).into();
        bytes[0] &= 0b1111_1000;
        bytes[31] = bytes[31] & 0b0011_1111 | 0b0100_0000;
        bytes
    }

    proptest! {
        #[test]
        fn both_forms_sign_as_rfc_8032_says(seed: [u8; 32], time in 0..u64::MAX / 2, dns in prop::collection::vec(any::<u8>(), 0..100)) {
            let signed = SignedPacket::sign(&Keypair::from_secret_key(&seed), time, &dns).unwrap();
            for secret_key in [SecretKey::from_seed(&seed), SecretKey::from_expanded(&expanded(&seed)).unwrap()] {
                let packet = SignedPacket::sign(&secret_key, time, &dns).unwrap();
                prop_assert_eq!(&packet, &signed);
            }
        }

        #[test]
        fn what_a_search_finds_signs_what_others_believe(bytes: [[u8; 32]; 2]) {
            let mut bytes = <[u8; 64]>::try_from(bytes.as_flattened()).unwrap();
            bytes[0] &= 0b1111_1000;
            bytes[31] = bytes[31] & 0b0011_1111 | 0b0100_0000;
            prop_assume!(bytes[32..] != [0; 32]);
            let secret_key = SecretKey::from_expanded(&bytes).unwrap();
            prop_assert_eq!(secret_key.secret(), bytes);
            let packet = SignedPacket::sign(&secret_key, 7, b"dns").unwrap();
            let verified = SignedPacket::verify(secret_key.public_key(), 7, *packet.signature(), b"dns");
            prop_assert_eq!(verified, Ok(packet));
        }
    }

    #[test]
    fn what_no_seed_could_give_is_refused() {
        let good = expanded(&[1; 32]);
        assert!(SecretKey::from_expanded(&good).is_some());
        for (index, bit) in [(0, 0), (0, 1), (0, 2), (31, 6), (31, 7)] {
            let mut bytes = good;
            bytes[index] ^= 1 << bit;
            assert!(SecretKey::from_expanded(&bytes).is_none(), "byte {index}, bit {bit}");
        }
        let mut bytes = good;
        bytes[32..].fill(0);
        assert!(SecretKey::from_expanded(&bytes).is_none());
    }

    #[test]
    fn debug_output_holds_the_public_key_and_no_secret() {
        let secret_key = SecretKey::from_seed(&[0; 32]);
        let text = format!("{secret_key:?}");
        assert_eq!(text, "SecretKey(\"8pinxxgqs41n4aididenw5apqp1urfmzdztr8jt4abrkdn435ewo\")");
    }
}
