//! The input is a file that a passphrase encrypts.

use pkdns_cli::seed::age::{Encrypted, is_age};

const VERSION: &str = "age-encryption.org/v1\n";

/// The passphrase of the seeds.
const PASSPHRASE: &[u8] = b"correct horse";

/// The dearest that is decrypted here, as the logarithm of the cost: a megabyte.
const MAX_WORK_FACTOR: u8 = 10;

/// Panics where the module does, or where it breaks a promise.
pub fn check(input: &[u8]) {
    let Ok(encrypted) = Encrypted::parse(input) else { return };
    assert!(is_age(input));
    let binary = encrypted.encode();
    if input.starts_with(VERSION.as_bytes()) {
        assert_eq!(binary, input, "what was read is written differently");
    }
    assert_eq!(Encrypted::parse(&binary), Ok(encrypted), "what was written reads differently");
    if work_factor(&binary).is_none_or(|work_factor| work_factor > MAX_WORK_FACTOR) {
        return;
    }
    let decrypt = |bytes: &[u8], passphrase| Encrypted::parse(bytes).ok()?.decrypt(passphrase);
    let Some(text) = decrypt(&binary, PASSPHRASE) else { return };
    assert!(text.len() < binary.len());
    assert!(decrypt(&binary, b"another").is_none(), "any passphrase opens it");
    let mut changed = binary;
    if let Some(last) = changed.last_mut() {
        *last ^= 1;
    }
    assert!(decrypt(&changed, PASSPHRASE).is_none(), "a file that was changed");
}

/// The third word of the second line.
fn work_factor(binary: &[u8]) -> Option<u8> {
    let rest = binary.strip_prefix(VERSION.as_bytes())?;
    let line = std::str::from_utf8(rest.split(|byte| *byte == b'\n').next()?).ok()?;
    line.split(' ').nth(3)?.parse().ok()
}
