//! Seed files: the secret half of a key, as text. Whatever goes wrong, no message holds any part of one.

use std::{
    fmt,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    path::{Path, PathBuf},
};

use pkdns::signed_packet::Keypair;
use thiserror::Error;
use zeroize::{Zeroize, Zeroizing};

use crate::{failure::Failure, terminal};

/// Length of a seed in hexadecimal, the form that is written.
const HEX_LENGTH: usize = 64;

/// Length of a seed in z-base-32, the form of older versions: 52 characters of 5 bits, the last 4 bits unused.
const Z32_LENGTH: usize = 52;

const Z32_ALPHABET: &[u8; 32] = b"ybndrfg8ejkmcpqxot1uwisza345h769";

/// More than any seed and the white space around it, in bytes.
const MAX_FILE_SIZE: usize = 1024;

/// Why there is no key pair.
#[derive(Debug, Error)]
pub(crate) enum SeedError {
    #[error("cannot read the seed file {file}: {error}; check its name and who may read it")]
    Read { file: FileName, error: io::Error },
    #[error(
        "{file} does not hold a seed: expected {HEX_LENGTH} hexadecimal or {Z32_LENGTH} z-base-32 characters, \
         and nothing else"
    )]
    Invalid { file: FileName },
    #[error("cannot write the seed file {file}: {error}; choose another place with --out")]
    Write { file: FileName, error: io::Error },
    #[error("{file} exists already, and a seed file is never overwritten: choose another with --out")]
    Exists { file: FileName },
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
        let looks_like_a_seed = decode(text.as_bytes()).is_some();
        Self(match text.as_str() {
            "-" => "standard input".to_string(),
            _ if looks_like_a_seed => "(this looks like a seed, not like the name of a file)".to_string(),
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

/// A key pair, and who else may read its seed.
#[derive(Debug)]
pub(crate) struct Seed {
    pub(crate) keypair: Keypair,
    /// What to tell the owner of a file that others can read.
    pub(crate) warning: Option<String>,
}

/// Reads the key pair of a seed file, and warns its owner if others can read it too.
pub(crate) fn keypair(path: &Path) -> Result<Keypair, Failure> {
    let seed = read(path)?;
    if let Some(warning) = seed.warning {
        terminal::note(&warning);
    }
    Ok(seed.keypair)
}

/// As [`keypair`], where nobody can be asked for a passphrase.
pub(crate) fn keypair_unattended(path: &Path, _passphrase_file: Option<&Path>) -> Result<Keypair, Failure> {
    keypair(path)
}

/// Reads a password from standard input.
pub(crate) fn read_password(_prompt: &str) -> Result<Zeroizing<Vec<u8>>, Failure> {
    let mut bytes = Zeroizing::new(vec![0; MAX_FILE_SIZE]);
    let length =
        fill(&mut io::stdin().lock(), &mut bytes).map_err(|error| Failure::Failed(error.to_string()))?;
    bytes.truncate(length);
    let length = bytes.trim_ascii_end().len();
    bytes.truncate(length);
    Ok(bytes)
}

/// Makes a new random key pair.
pub(crate) fn random() -> Result<Keypair, SeedError> {
    let mut secret = Zeroizing::new([0; 32]);
    getrandom::fill(secret.as_mut()).map_err(|error| SeedError::Random(error.to_string()))?;
    Ok(Keypair::from_secret_key(&secret))
}

/// Reads a seed file, or standard input where the path is `-`.
pub(crate) fn read(path: &Path) -> Result<Seed, SeedError> {
    let mut bytes = Zeroizing::new([0; MAX_FILE_SIZE]);
    let (length, warning) = read_source(path, bytes.as_mut())
        .map_err(|error| SeedError::Read { file: FileName::of(path), error })?;
    let secret = bytes
        .get(..length)
        .filter(|bytes| bytes.len() < MAX_FILE_SIZE)
        .and_then(decode)
        .ok_or_else(|| SeedError::Invalid { file: FileName::of(path) })?;
    Ok(Seed { keypair: Keypair::from_secret_key(&secret), warning })
}

/// Writes a new file that only its owner can read.
pub(crate) fn write_new(path: &Path, keypair: &Keypair) -> Result<(), SeedError> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    let fail = |error: io::Error| SeedError::Write { file: FileName::of(path), error };
    let mut file = options.open(path).map_err(|error| match error.kind() {
        io::ErrorKind::AlreadyExists => SeedError::Exists { file: FileName::of(path) },
        _ => fail(error),
    })?;
    write_seed(&mut file, keypair).map_err(|error| {
        // Half a seed is of no use to anyone, and would be in the way of the next attempt.
        let _ = fs::remove_file(path);
        fail(error)
    })
}

/// Where `generate` puts a seed unless told otherwise.
pub(crate) fn default_path(keypair: &Keypair) -> PathBuf {
    let key = keypair.to_z32();
    PathBuf::from(format!("{}.seed", key.get(..8).unwrap_or(&key)))
}

fn write_seed(file: &mut File, keypair: &Keypair) -> io::Result<()> {
    let secret = Zeroizing::new(keypair.secret_key());
    let mut line = Zeroizing::new([b'\n'; HEX_LENGTH + 1]);
    for (pair, byte) in line.chunks_exact_mut(2).zip(secret.iter()) {
        pair.copy_from_slice(&[hex_digit(byte >> 4), hex_digit(byte & 0x0f)]);
    }
    file.write_all(line.as_ref())?;
    file.sync_all()
}

fn hex_digit(value: u8) -> u8 {
    if value < 10 { b'0' + value } else { b'a' + value - 10 }
}

fn read_source(path: &Path, bytes: &mut [u8]) -> io::Result<(usize, Option<String>)> {
    if path == Path::new("-") {
        return Ok((fill(&mut io::stdin().lock(), bytes)?, None));
    }
    let mut file = File::open(path)?;
    let warning = warning(&file, path)?;
    Ok((fill(&mut file, bytes)?, warning))
}

/// Reads until the end or until `bytes` is full, without the copies that a growing buffer leaves behind.
fn fill(source: &mut impl Read, bytes: &mut [u8]) -> io::Result<usize> {
    let mut length = 0;
    while let Some(rest) = bytes.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match source.read(rest) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(length)
}

#[cfg(unix)]
fn warning(file: &File, path: &Path) -> io::Result<Option<String>> {
    use std::os::unix::fs::PermissionsExt;
    let mode = file.metadata()?.permissions().mode() & 0o777;
    let file = FileName::of(path);
    Ok((mode & 0o077 != 0).then(|| {
        format!("warning: {file} is open to other users of this machine (mode {mode:o}): run chmod 600 on it")
    }))
}

#[cfg(not(unix))]
fn warning(_: &File, _: &Path) -> io::Result<Option<String>> {
    Ok(None)
}

/// Either form, in either case, with white space around it.
fn decode(text: &[u8]) -> Option<Zeroizing<[u8; 32]>> {
    let text = text.trim_ascii();
    match text.len() {
        HEX_LENGTH => decode_bits(text, 4, |c| char::from(c).to_digit(16)),
        Z32_LENGTH => decode_bits(text, 5, |c| {
            let c = c.to_ascii_lowercase();
            Z32_ALPHABET.iter().position(|&known| known == c).and_then(|value| u32::try_from(value).ok())
        }),
        _ => None,
    }
}

/// Packs characters of `width` bits into bytes; bits left over at the end mean nothing.
fn decode_bits(text: &[u8], width: u32, value: impl Fn(u8) -> Option<u32>) -> Option<Zeroizing<[u8; 32]>> {
    let mut secret = Zeroizing::new([0; 32]);
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

#[cfg(test)]
mod tests;
