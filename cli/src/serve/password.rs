//! Passwords of routers: kept as hashes, so that who reads the configuration cannot use them.

use argon2::{
    Argon2,
    password_hash::{PasswordHash, PasswordHasher, PasswordVerifier, SaltString},
};

use crate::failure::Failure;

/// Most memory in KiB, and most passes, that a hash in the configuration may ask for.
const MAX_MEMORY: u32 = 64 * 1024;
const MAX_PASSES: u32 = 10;

/// A hash that costs as much to compare with as those that [`hash`] makes, and is of no password.
pub(super) const OF_NOBODY: &str =
    "$argon2id$v=19$m=19456,t=2,p=1$AAAAAAAAAAAAAAAAAAAAAA$AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA";

/// Hashes a password with Argon2id and its recommended costs (19 MiB, two passes).
pub(super) fn hash(password: &[u8]) -> Result<String, Failure> {
    if password.is_empty() {
        return Err(Failure::Failed(
            "an empty password protects nothing: type one, or write it to standard input".to_string(),
        ));
    }
    let mut salt = [0; 16];
    getrandom::fill(&mut salt).map_err(|error| Failure::Failed(format!("no random bytes: {error}")))?;
    let hash = SaltString::encode_b64(&salt)
        .and_then(|salt| Ok(Argon2::default().hash_password(password, &salt)?.to_string()));
    hash.map_err(|error| Failure::Failed(format!("the password cannot be hashed ({error}): choose another")))
}

/// Whether it is a hash that can be compared with at a bearable price.
pub(super) fn is_hash(text: &str) -> bool {
    let Ok(hash) = PasswordHash::new(text) else { return false };
    let within = |name: &str, most: u32| {
        hash.params.get_decimal(name).is_some_and(|number| (1..=most).contains(&number))
    };
    hash.algorithm.as_str().starts_with("argon2")
        && hash.hash.is_some()
        && within("m", MAX_MEMORY)
        && within("t", MAX_PASSES)
        && within("p", 4)
}

/// Whether it is the password of the hash. Takes some 20 ms of a core and up to [`MAX_MEMORY`]: callers take turns.
pub(super) fn verify(password: &[u8], hash: &str) -> bool {
    PasswordHash::new(hash).is_ok_and(|hash| Argon2::default().verify_password(password, &hash).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_hash_tells_its_password_from_others() {
        let hash = hash(b"correct horse").unwrap();
        assert!(is_hash(&hash) && !hash.contains("horse"));
        assert!(verify(b"correct horse", &hash));
        assert!(!verify(b"correct hors", &hash) && !verify(b"", &hash));
        assert!(is_hash(OF_NOBODY) && !verify(b"", OF_NOBODY));
    }

    #[test]
    fn a_hash_that_costs_too_much_is_none() {
        let good = "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ$2tYwmKKLQkwcU1TkIZwD8Q";
        assert!(is_hash(good));
        for (from, to) in
            [("m=19456", "m=4000000"), ("t=2", "t=1000000"), ("p=1", "p=99"), ("argon2id", "md5")]
        {
            assert!(!is_hash(&good.replace(from, to)), "{to}");
        }
        for text in ["", "$", "hunter2", "$argon2id$v=19$m=19456,t=2,p=1$c29tZXNhbHQ"] {
            assert!(!is_hash(text), "{text}");
        }
    }
}
