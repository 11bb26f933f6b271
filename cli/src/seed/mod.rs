//! Seed files: the secret half of a key, in any form in which people keep one. Whatever goes wrong, no message holds any
//! part of one.

pub mod age;
mod file;
mod passphrase;
mod recovery;
mod text;
mod words;

use std::{
    fmt, fs,
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use clap::Args;
use thiserror::Error;
use zeroize::Zeroizing;

use crate::{failure::Failure, secret_key::SecretKey, terminal};
pub(crate) use passphrase::{EncryptionArguments, PassphraseArguments, Source, read_password};
pub(crate) use text::looks_like_a_secret;
use text::{EXPANDED_LENGTH, HEX_LENGTH, Z32_LENGTH};
use words::NoPhrase;

/// More than any form of a secret and the white space around it, in bytes.
const MAX_FILE_SIZE: usize = 4096;

/// What stands in zone files and in no form of a secret.
const WORDS_OF_ZONES: [&str; 10] =
    ["$TTL", "$ORIGIN", "IN", "A", "AAAA", "CNAME", "HTTPS", "MX", "NS", "TXT"];

/// A seed file, as the one argument of a command or after `--seed`, as `publish` has it.
#[derive(Args)]
#[group(required = true, multiple = false)]
pub(crate) struct SeedArguments {
    /// Seed file, in any form that import reads; "-" reads standard input
    #[arg(value_name = "SEEDFILE")]
    seed_file: Option<PathBuf>,
    /// The same, as an option
    #[arg(long, value_name = "FILE")]
    seed: Option<PathBuf>,
}

impl SeedArguments {
    /// The file that was given in the one way or the other.
    pub(crate) fn file(&self) -> Result<&Path, Failure> {
        let file = self.seed.as_deref().or(self.seed_file.as_deref());
        file.ok_or_else(|| Failure::Failed("a seed file is needed: name it after --seed".to_string()))
    }
}

/// Why there is no secret key.
#[derive(Debug, Error)]
pub(crate) enum SeedError {
    #[error("cannot read the seed file {file}: {error}; check its name and who may read it")]
    Read { file: FileName, error: io::Error },
    #[error(
        "{file} does not hold a seed: expected {HEX_LENGTH} hexadecimal or {Z32_LENGTH} z-base-32 characters, 12 or 24 \
         words, an age file, a Pubky recovery file, or {EXPANDED_LENGTH} hexadecimal characters of a key without a \
         seed, and nothing else"
    )]
    Invalid { file: FileName },
    #[error("the words in {file} belong to no key: {reason}")]
    Words { file: FileName, reason: NoPhrase },
    #[error(
        "{file} holds a zone, and stands where the seed file belongs: name the seed file, or swap the two"
    )]
    Zone { file: FileName },
    #[error("{file} is damaged: take another copy of it")]
    Damaged { file: FileName },
    #[error(
        "{file} is not encrypted with a passphrase: decrypt it with age first, as pkdns-cli has no keys for it"
    )]
    NoPassphrase { file: FileName },
    #[error(
        "{file} wants more memory for its passphrase than is sensible: open it with age -d, and encrypt it again with \
         pkdns-cli import --encrypt"
    )]
    TooCostly { file: FileName },
    #[error("the passphrase does not open {file}, or the file is damaged: try again")]
    WrongPassphrase { file: FileName },
    #[error("nothing can be encrypted with this passphrase: choose another")]
    Passphrase,
    #[error(
        "a Pubky recovery file holds a seed, and this key has none: keep a copy of its seed file instead"
    )]
    NoSeed,
    #[error("cannot write {file}: {error}; choose another place")]
    Write { file: FileName, error: io::Error },
    #[error("{file} exists already, and no file is ever overwritten with a secret: choose another name")]
    Exists { file: FileName },
    #[error("a secret is only ever written to a file: name one")]
    StandardOutput,
    #[error("cannot get random bytes from the operating system: {0}")]
    Random(String),
}

/// The name of a file in a message. Someone who passes the seed itself in place of a file must not find it in the
/// terminal or in a log.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct FileName(String);

impl FileName {
    pub(crate) fn of(path: &Path) -> Self {
        let text = Zeroizing::new(path.display().to_string());
        // A configuration names files relative to its own folder.
        let is_secret = path.iter().any(|part| part.to_str().is_some_and(looks_like_a_secret));
        Self(match text.as_str() {
            "-" => "standard input".to_string(),
            text if is_secret || looks_like_a_secret(text) => {
                "(this looks like a seed, not like the name of a file)".to_string()
            }
            name => format!("\"{name}\""),
        })
    }
}

impl fmt::Display for FileName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl From<SeedError> for Failure {
    fn from(error: SeedError) -> Self {
        Self::Failed(error.to_string())
    }
}

/// Reads the secret key of a seed file, or of standard input where the path is `-`. Warns its owner if others can read
/// it too.
pub(crate) fn secret_key(path: &Path, passphrase: Source<'_>) -> Result<SecretKey, Failure> {
    if path == Path::new("-") && passphrase == Source::File(path) {
        return Err(Failure::Failed(
            "standard input cannot be both the seed file and the passphrase: name a file".to_string(),
        ));
    }
    let name = || FileName::of(path);
    let (bytes, warning) =
        file::read(path, MAX_FILE_SIZE).map_err(|error| SeedError::Read { file: name(), error })?;
    let secret_key = from_bytes(&bytes, passphrase, name)?;
    // Of a file that holds no secret, everybody may read what there is.
    if let Some(warning) = warning {
        terminal::note(&warning);
    }
    Ok(secret_key)
}

fn from_bytes(
    bytes: &[u8],
    passphrase: Source<'_>,
    name: impl Fn() -> FileName,
) -> Result<SecretKey, Failure> {
    if bytes.len() >= MAX_FILE_SIZE {
        return Err(SeedError::Invalid { file: name() }.into());
    }
    if age::is_age(bytes) {
        let encrypted = age::Encrypted::parse(bytes).map_err(|refusal| match refusal {
            age::Refusal::Damaged => SeedError::Damaged { file: name() },
            age::Refusal::NoPassphrase => SeedError::NoPassphrase { file: name() },
            age::Refusal::TooCostly => SeedError::TooCostly { file: name() },
        })?;
        let passphrase = passphrase.passphrase(&name())?;
        let text =
            encrypted.decrypt(&passphrase).ok_or_else(|| SeedError::WrongPassphrase { file: name() })?;
        return Ok(from_text(&text, name)?);
    }
    if recovery::is_recovery_file(bytes) {
        let encrypted =
            recovery::Encrypted::parse(bytes).ok_or_else(|| SeedError::Damaged { file: name() })?;
        let passphrase = passphrase.passphrase(&name())?;
        let secret_key = encrypted.decrypt(&passphrase);
        return Ok(secret_key.ok_or_else(|| SeedError::WrongPassphrase { file: name() })?);
    }
    Ok(from_text(bytes, name)?)
}

/// As [`secret_key`], where nobody can be asked for a passphrase.
pub(crate) fn secret_key_unattended(
    path: &Path,
    passphrase_file: Option<&Path>,
) -> Result<SecretKey, Failure> {
    secret_key(path, passphrase_file.map_or(Source::Nobody, Source::File))
}

fn from_text(text: &[u8], file: impl Fn() -> FileName) -> Result<SecretKey, SeedError> {
    if words::are_words(text) {
        return words::decode(text).map_err(|reason| SeedError::Words { file: file(), reason });
    }
    text::decode(text).ok_or_else(|| match looks_like_a_zone(text) {
        true => SeedError::Zone { file: file() },
        false => SeedError::Invalid { file: file() },
    })
}

/// Whether its first line, but for comments, has a word of zone files.
fn looks_like_a_zone(text: &[u8]) -> bool {
    let mut lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let Some(first) = lines.find(|line| !line.is_empty() && !line.starts_with(b";")) else { return false };
    let mut words = first.split(u8::is_ascii_whitespace).filter_map(|word| std::str::from_utf8(word).ok());
    words.any(|word| WORDS_OF_ZONES.contains(&word))
}

/// Whether there is a seed in a file that is to be something else. Standard input is read once, and so not looked at.
pub(crate) fn is_in(path: &Path) -> bool {
    let is_small = |metadata: fs::Metadata| metadata.is_file() && metadata.len() < MAX_FILE_SIZE as u64;
    fs::metadata(path).is_ok_and(is_small)
        && file::read(path, MAX_FILE_SIZE).is_ok_and(|(bytes, _)| {
            age::is_age(&bytes)
                || recovery::is_recovery_file(&bytes)
                || std::str::from_utf8(&bytes).is_ok_and(looks_like_a_secret)
        })
}

/// Makes a new random key.
pub(crate) fn random() -> Result<SecretKey, SeedError> {
    let mut seed = Zeroizing::new([0; 32]);
    getrandom::fill(seed.as_mut()).map_err(|error| SeedError::Random(error.to_string()))?;
    Ok(SecretKey::from_seed(&seed))
}

/// Makes a new random key of 12 words, and writes these to a new file.
pub(crate) fn random_words(path: &Path) -> Result<SecretKey, SeedError> {
    let (secret_key, words) = words::random()?;
    write_file(path, words.as_bytes())?;
    Ok(secret_key)
}

/// Writes a new seed file, encrypted if there is a passphrase.
pub(crate) fn write_new(
    path: &Path,
    secret_key: &SecretKey,
    passphrase: Option<&[u8]>,
) -> Result<(), SeedError> {
    let text = text::encode(secret_key);
    match passphrase {
        Some(passphrase) => write_file(path, &age::encrypt(&text, passphrase)?),
        None => write_file(path, &text),
    }
}

/// Writes a new recovery file of Pubky.
pub(crate) fn write_recovery_file(path: &Path, seed: &[u8; 32], passphrase: &[u8]) -> Result<(), SeedError> {
    write_file(path, &recovery::encrypt(seed, passphrase)?)
}

/// Fails early, before anybody is asked for a passphrase, where [`write_new`] would fail in the end.
pub(crate) fn refuse_existing(path: &Path) -> Result<(), SeedError> {
    match path.symlink_metadata() {
        _ if path == Path::new("-") => Err(SeedError::StandardOutput),
        Ok(_) => Err(SeedError::Exists { file: FileName::of(path) }),
        Err(_) => Ok(()),
    }
}

/// Where `generate` puts a seed unless told otherwise.
pub(crate) fn default_path(secret_key: &SecretKey) -> PathBuf {
    let key = secret_key.public_key().to_z32();
    PathBuf::from(format!("{}.seed", key.get(..8).unwrap_or(&key)))
}

/// Takes back what was written, after something else failed.
pub(crate) fn remove(path: &Path) {
    // Whoever reads the message of the failure finds the file.
    let _ = fs::remove_file(path);
}

fn write_file(path: &Path, content: &[u8]) -> Result<(), SeedError> {
    file::write_new(path, content).map_err(|error| match error.kind() {
        ErrorKind::AlreadyExists => SeedError::Exists { file: FileName::of(path) },
        _ => SeedError::Write { file: FileName::of(path), error },
    })
}

#[cfg(test)]
mod tests;
