//! Secrets as text: hexadecimal, and for seeds also z-base-32, as older programs wrote them.

use pkdns::resolver::name::{KEY_LABEL_LENGTH, value_of};
use zeroize::{Zeroize, Zeroizing};

use super::words;
use crate::secret_key::SecretKey;

/// Length of a seed in hexadecimal, the form that is written.
pub(super) const HEX_LENGTH: usize = 64;

/// Length of what a key without a seed has instead of one, in hexadecimal.
pub(super) const EXPANDED_LENGTH: usize = 128;

/// Length of a seed in z-base-32, which has as many bytes as a key.
pub(super) const Z32_LENGTH: usize = KEY_LABEL_LENGTH;

/// Any form, in either case, with white space around it.
pub(super) fn decode(text: &[u8]) -> Option<SecretKey> {
    let text = text.trim_ascii();
    let hex = |c| char::from(c).to_digit(16);
    match text.len() {
        HEX_LENGTH => Some(SecretKey::from_seed(&*decode_bits(text, 4, hex)?)),
        EXPANDED_LENGTH => SecretKey::from_expanded(&*decode_bits(text, 4, hex)?),
        Z32_LENGTH => Some(SecretKey::from_seed(&*decode_bits(text, 5, |c| value_of(c).map(u32::from))?)),
        _ => None,
    }
}

/// The secret in hexadecimal, as one line.
pub(super) fn encode(secret_key: &SecretKey) -> Zeroizing<Vec<u8>> {
    let secret = secret_key.secret();
    let mut line = Zeroizing::new(vec![b'\n'; secret.len() * 2 + 1]);
    for (pair, byte) in line.chunks_exact_mut(2).zip(secret) {
        pair.copy_from_slice(&[hex_digit(byte >> 4), hex_digit(byte & 0x0f)]);
    }
    line
}

/// Whether it could be a secret, or one with a few characters too many or too few. No message repeats such a thing.
pub(crate) fn looks_like_a_secret(text: &str) -> bool {
    let text = text.trim();
    let is_code = text.len() >= Z32_LENGTH - 4 && text.bytes().all(|byte| byte.is_ascii_alphanumeric());
    is_code || words::are_words(text.as_bytes())
}

fn hex_digit(value: u8) -> u8 {
    if value < 10 { b'0' + value } else { b'a' + value - 10 }
}

/// Packs characters of `width` bits into bytes; bits left over at the end mean nothing.
fn decode_bits<const SIZE: usize>(
    text: &[u8],
    width: u32,
    value: impl Fn(u8) -> Option<u32>,
) -> Option<Zeroizing<[u8; SIZE]>> {
    let mut secret = Zeroizing::new([0; SIZE]);
    let mut bytes = secret.iter_mut();
    let (mut bits, mut held) = (0_u32, 0_u32);
    for &character in text {
        bits = (bits << width) | value(character)?;
        held += width;
        if held >= 8 {
            held -= 8;
            if let Some(byte) = bytes.next() {
                *byte = u8::try_from((bits >> held) & 0xff).ok()?;
            }
            bits &= (1 << held) - 1;
        }
    }
    bits.zeroize();
    Some(secret)
}
