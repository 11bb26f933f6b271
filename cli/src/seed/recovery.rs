//! Recovery files of Pubky: a line that names the format, then the seed under XSalsa20-Poly1305 with a key that
//! Argon2id makes of the passphrase.
//!
//! All of these files share one salt, so that a table of passphrases serves against all of them. They are read and
//! written because others do so; age files are the better ones.

use argon2::Argon2;
use crypto_secretbox::{AeadInPlace, KeyInit, Nonce, Tag, XSalsa20Poly1305};
use zeroize::Zeroizing;

use super::SeedError;
use crate::secret_key::SecretKey;

const HEADER: &[u8] = b"pubky.org/recovery\n";
const OLDER_HEADER: &[u8] = b"pkarr.org/recovery\n";
const SALT: &[u8] = b"recovery";

const NONCE_SIZE: usize = 24;
const TAG_SIZE: usize = 16;
const SEED_SIZE: usize = 32;

/// A recovery file as it is read, before its passphrase is known.
pub(super) struct Encrypted<'a> {
    nonce: &'a [u8; NONCE_SIZE],
    tag: &'a [u8; TAG_SIZE],
    ciphertext: &'a [u8; SEED_SIZE],
}

/// Whether the format is named at the beginning.
pub(super) fn is_recovery_file(bytes: &[u8]) -> bool {
    bytes.starts_with(HEADER) || bytes.starts_with(OLDER_HEADER)
}

impl<'a> Encrypted<'a> {
    /// `None`: it is not as long as such a file is.
    pub(super) fn parse(bytes: &'a [u8]) -> Option<Self> {
        let rest = bytes.strip_prefix(HEADER).or_else(|| bytes.strip_prefix(OLDER_HEADER))?;
        let (nonce, rest) = rest.split_first_chunk()?;
        let (tag, ciphertext) = rest.split_first_chunk()?;
        Some(Self { nonce, tag, ciphertext: ciphertext.try_into().ok()? })
    }

    /// `None`: the passphrase is another one, or the file was changed.
    pub(super) fn decrypt(&self, passphrase: &[u8]) -> Option<SecretKey> {
        let cipher = cipher(passphrase)?;
        let mut seed = Zeroizing::new(*self.ciphertext);
        let (nonce, tag) = (Nonce::from_slice(self.nonce), Tag::from_slice(self.tag));
        cipher.decrypt_in_place_detached(nonce, b"", seed.as_mut(), tag).ok()?;
        Some(SecretKey::from_seed(&seed))
    }
}

/// The recovery file of a key.
pub(super) fn encrypt(seed: &[u8; SEED_SIZE], passphrase: &[u8]) -> Result<Vec<u8>, SeedError> {
    let mut nonce = [0; NONCE_SIZE];
    getrandom::fill(&mut nonce).map_err(|error| SeedError::Random(error.to_string()))?;
    let mut ciphertext = Zeroizing::new(*seed);
    let tag = cipher(passphrase)
        .and_then(|cipher| {
            cipher.encrypt_in_place_detached(Nonce::from_slice(&nonce), b"", ciphertext.as_mut()).ok()
        })
        .ok_or(SeedError::Passphrase)?;
    Ok([HEADER, &nonce, &tag, ciphertext.as_ref()].concat())
}

/// `None`: the passphrase is longer than Argon2 takes.
fn cipher(passphrase: &[u8]) -> Option<XSalsa20Poly1305> {
    let mut key = Zeroizing::new([0; 32]);
    Argon2::default().hash_password_into(passphrase, SALT, key.as_mut()).ok()?;
    Some(XSalsa20Poly1305::new(crypto_secretbox::Key::from_slice(key.as_ref())))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_recovery_file_is_read_with_its_passphrase_and_either_header() {
        let mut file = encrypt(&[7; 32], b"correct horse").unwrap();
        let secret = |file: &[u8], passphrase: &[u8]| {
            Encrypted::parse(file).unwrap().decrypt(passphrase).map(|key| key.secret().to_vec())
        };
        assert_eq!(secret(&file, b"correct horse"), Some(vec![7; 32]));
        assert_eq!(secret(&file, b"correct hors"), None);
        file[..HEADER.len()].copy_from_slice(OLDER_HEADER);
        assert_eq!(secret(&file, b"correct horse"), Some(vec![7; 32]));
        for at in HEADER.len()..file.len() {
            // Argon2 takes its time, so not each of them.
            if at % 9 == 0 {
                file[at] ^= 1;
                assert_eq!(secret(&file, b"correct horse"), None, "byte {at}");
                file[at] ^= 1;
            }
        }
    }

    #[test]
    fn a_recovery_file_of_another_length_is_none() {
        let file = encrypt(&[7; 32], b"correct horse").unwrap();
        assert_eq!(file.len(), HEADER.len() + 72);
        for length in 0..file.len() {
            assert!(Encrypted::parse(&file[..length]).is_none(), "{length}");
        }
        assert!(Encrypted::parse(&[file.as_slice(), b"\n"].concat()).is_none());
    }
}
