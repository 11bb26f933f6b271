//! Files that a passphrase encrypts, in the format of age (C2SP, "The age file encryption format", version 1), so that
//! `age -d` opens them. Of that format there is here what a seed file needs: one passphrase, and one chunk of payload.
//! The crate `age` brings eighty others along, for translations and for recipients that are not needed here.

mod armor;

use base64::{Engine, engine::general_purpose::STANDARD_NO_PAD};
use chacha20poly1305::{AeadInPlace, ChaCha20Poly1305, KeyInit, Nonce};
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use sha2::Sha256;
use zeroize::Zeroizing;

use super::SeedError;

const VERSION: &[u8] = b"age-encryption.org/v1\n";
const SALT_LABEL: &[u8] = b"age-encryption.org/v1/scrypt";
const MAC_PREFIX: &[u8] = b"---";

/// Logarithm of the cost of scrypt, where it is written: 128 MiB, as is recommended at least. More than that would
/// not fit into a small router that has many other things to do.
const WORK_FACTOR: u8 = 17;

/// The highest one that is read: 512 MiB, and some seconds. `age` writes 18.
const MAX_WORK_FACTOR: u8 = 19;

const TAG_SIZE: usize = 16;
const FILE_KEY_SIZE: usize = 16;
const NONCE_SIZE: usize = 16;
const SALT_SIZE: usize = 16;

/// Number of the first chunk and mark of the last one: there is only one.
const CHUNK_NONCE: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];

/// Why a file cannot be decrypted, whatever its passphrase.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    /// It is not in the format.
    Damaged,
    /// It is encrypted for the holders of keys.
    NoPassphrase,
    /// It asks for more memory than it gets.
    TooCostly,
}

/// A file as it is read, before its passphrase is known.
#[derive(Debug, PartialEq, Eq)]
pub struct Encrypted {
    salt: [u8; SALT_SIZE],
    work_factor: u8,
    wrapped_key: [u8; FILE_KEY_SIZE + TAG_SIZE],
    /// What the MAC authenticates.
    header: Vec<u8>,
    mac: [u8; 32],
    nonce: [u8; NONCE_SIZE],
    payload: Vec<u8>,
}

/// Whether the format is named at the beginning.
pub fn is_age(bytes: &[u8]) -> bool {
    bytes.starts_with(VERSION) || armor::is_armored(bytes)
}

impl Encrypted {
    pub fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        if armor::is_armored(bytes) {
            Self::parse_binary(&armor::decode(bytes).ok_or(Refusal::Damaged)?)
        } else {
            Self::parse_binary(bytes)
        }
    }

    fn parse_binary(bytes: &[u8]) -> Result<Self, Refusal> {
        let rest = bytes.strip_prefix(VERSION).ok_or(Refusal::Damaged)?;
        let (stanza, rest) = line(rest)?;
        // With a passphrase there is one recipient only, so the first one tells.
        let arguments = stanza.strip_prefix(b"-> ").ok_or(Refusal::Damaged)?;
        let arguments = arguments.strip_prefix(b"scrypt ").ok_or(Refusal::NoPassphrase)?;
        let mut arguments = arguments.splitn(2, |&byte| byte == b' ');
        let (salt, work_factor) = arguments.next().zip(arguments.next()).ok_or(Refusal::Damaged)?;
        let work_factor = work_factor_of(work_factor)?;
        let (wrapped_key, rest) = line(rest)?;
        let authenticated = bytes.len().saturating_sub(rest.len()).saturating_add(MAC_PREFIX.len());
        let header = bytes.get(..authenticated).ok_or(Refusal::Damaged)?.to_vec();
        let (mac, rest) = line(rest)?;
        let mac = mac.strip_prefix(MAC_PREFIX).and_then(|mac| mac.strip_prefix(b" "));
        let (nonce, payload) = rest.split_first_chunk().ok_or(Refusal::Damaged)?;
        Ok(Self {
            salt: decode(salt)?,
            work_factor,
            wrapped_key: decode(wrapped_key)?,
            header,
            mac: decode(mac.ok_or(Refusal::Damaged)?)?,
            nonce: *nonce,
            payload: payload.to_vec(),
        })
    }

    /// `None`: the passphrase is another one, or the file was changed.
    pub fn decrypt(&self, passphrase: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
        let wrapping = wrapping_cipher(passphrase, &self.salt, self.work_factor)?;
        let file_key = open(&wrapping, [0; 12], &self.wrapped_key)?;
        header_mac(&file_key, &self.header)?.verify_slice(&self.mac).ok()?;
        open(&payload_cipher(&file_key, &self.nonce)?, CHUNK_NONCE, &self.payload)
    }

    /// Its binary form.
    pub fn encode(&self) -> Vec<u8> {
        let mac = STANDARD_NO_PAD.encode(self.mac);
        [self.header.as_slice(), b" ", mac.as_bytes(), b"\n", &self.nonce, &self.payload].concat()
    }
}

/// Encrypts `text` to a file in text form.
pub(super) fn encrypt(text: &[u8], passphrase: &[u8]) -> Result<Vec<u8>, SeedError> {
    let mut random = Zeroizing::new([0; SALT_SIZE + FILE_KEY_SIZE + NONCE_SIZE]);
    getrandom::fill(random.as_mut()).map_err(|error| SeedError::Random(error.to_string()))?;
    let encrypted = seal(text, passphrase, WORK_FACTOR, &random).ok_or(SeedError::Passphrase)?;
    Ok(armor::encode(&encrypted.encode()))
}

/// `random`: salt, file key and nonce.
fn seal(
    text: &[u8],
    passphrase: &[u8],
    work_factor: u8,
    random: &[u8; SALT_SIZE + FILE_KEY_SIZE + NONCE_SIZE],
) -> Option<Encrypted> {
    let (salt, rest) = random.split_first_chunk::<SALT_SIZE>()?;
    let (file_key, nonce) = rest.split_first_chunk::<FILE_KEY_SIZE>()?;
    let nonce: [u8; NONCE_SIZE] = nonce.try_into().ok()?;
    let wrapped_key = close(&wrapping_cipher(passphrase, salt, work_factor)?, [0; 12], file_key)?;
    let mut header = VERSION.to_vec();
    header.extend_from_slice(
        format!(
            "-> scrypt {} {work_factor}\n{}\n",
            STANDARD_NO_PAD.encode(salt),
            STANDARD_NO_PAD.encode(&wrapped_key)
        )
        .as_bytes(),
    );
    header.extend_from_slice(MAC_PREFIX);
    Some(Encrypted {
        salt: *salt,
        work_factor,
        wrapped_key: wrapped_key.try_into().ok()?,
        mac: header_mac(file_key, &header)?.finalize().into_bytes().into(),
        header,
        nonce,
        payload: close(&payload_cipher(file_key, &nonce)?, CHUNK_NONCE, text)?,
    })
}

/// The line at the beginning, and what follows it.
fn line(bytes: &[u8]) -> Result<(&[u8], &[u8]), Refusal> {
    let end = bytes.iter().position(|&byte| byte == b'\n').ok_or(Refusal::Damaged)?;
    let (line, rest) = bytes.split_at_checked(end).ok_or(Refusal::Damaged)?;
    Ok((line, rest.get(1..).unwrap_or_default()))
}

/// Base64 of as many bytes as expected.
fn decode<const SIZE: usize>(text: &[u8]) -> Result<[u8; SIZE], Refusal> {
    let bytes = STANDARD_NO_PAD.decode(text).map_err(|_| Refusal::Damaged)?;
    bytes.try_into().map_err(|_| Refusal::Damaged)
}

fn work_factor_of(text: &[u8]) -> Result<u8, Refusal> {
    let is_number = text.first().is_some_and(|digit| (b'1'..=b'9').contains(digit));
    if !is_number || !text.iter().all(u8::is_ascii_digit) {
        return Err(Refusal::Damaged);
    }
    let number = std::str::from_utf8(text).ok().and_then(|text| text.parse().ok());
    number.filter(|&number| number <= MAX_WORK_FACTOR).ok_or(Refusal::TooCostly)
}

fn wrapping_cipher(passphrase: &[u8], salt: &[u8], work_factor: u8) -> Option<ChaCha20Poly1305> {
    let parameters = scrypt::Params::new(work_factor, 8, 1, 32).ok()?;
    let mut key = Zeroizing::new([0; 32]);
    scrypt::scrypt(passphrase, &[SALT_LABEL, salt].concat(), &parameters, key.as_mut()).ok()?;
    Some(ChaCha20Poly1305::new(chacha20poly1305::Key::from_slice(key.as_ref())))
}

fn payload_cipher(file_key: &[u8], nonce: &[u8]) -> Option<ChaCha20Poly1305> {
    let key = derive(file_key, nonce, b"payload")?;
    Some(ChaCha20Poly1305::new(chacha20poly1305::Key::from_slice(key.as_ref())))
}

fn header_mac(file_key: &[u8], header: &[u8]) -> Option<Hmac<Sha256>> {
    let key = derive(file_key, b"", b"header")?;
    // The trait is also one of ciphers.
    let mut mac = <Hmac<Sha256> as Mac>::new_from_slice(key.as_ref()).ok()?;
    mac.update(header);
    Some(mac)
}

fn derive(file_key: &[u8], salt: &[u8], purpose: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    let mut key = Zeroizing::new([0; 32]);
    Hkdf::<Sha256>::new(Some(salt), file_key).expand(purpose, key.as_mut()).ok()?;
    Some(key)
}

fn open(cipher: &ChaCha20Poly1305, nonce: [u8; 12], bytes: &[u8]) -> Option<Zeroizing<Vec<u8>>> {
    let (text, tag) = bytes.split_last_chunk::<TAG_SIZE>()?;
    let mut text = Zeroizing::new(text.to_vec());
    cipher.decrypt_in_place_detached(&nonce.into(), b"", &mut text, tag.into()).ok()?;
    Some(text)
}

fn close(cipher: &ChaCha20Poly1305, nonce: [u8; 12], text: &[u8]) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() + TAG_SIZE);
    bytes.extend_from_slice(text);
    let tag = cipher.encrypt_in_place_detached(&Nonce::from(nonce), b"", &mut bytes).ok()?;
    bytes.extend_from_slice(&tag);
    Some(bytes)
}

#[cfg(test)]
mod tests;
