//! Secrets in every form that the program reads and writes, alone and with programs that other people keep theirs with.

mod core_files;
mod forms;
mod others;
mod secrecy;
mod terminal;

use std::{
    fs,
    io::Write,
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
};

use ed25519_dalek::{Digest, Sha512};
use pkdns_testing::program::{HEX, KEY, Z32, run, secret};
use tempfile::TempDir;

const PASSPHRASE: &str = "correct horse battery";

/// Words of BIP-39's own tests.
const WORDS: &str =
    "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about";

/// The first half of the seed that BIP-39 makes of them.
const SEED_OF_WORDS: &str = "5eb00bbddcf069084889a8ab9155568165f5c453ccb85e70811aaed6f6da5fc1";

/// A file that others cannot read.
pub(crate) fn private(directory: &TempDir, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = directory.path().join(name);
    let mut options = fs::OpenOptions::new();
    let mut file = options.write(true).create(true).truncate(true).mode(0o600).open(&path).unwrap();
    file.write_all(content.as_ref()).unwrap();
    path
}

/// The same key as a file in each form, by name; and `passphrase`, which the encrypted ones need.
pub(crate) fn every_form(directory: &TempDir) -> [&'static str; 5] {
    private(directory, "passphrase", format!("{PASSPHRASE}\n"));
    private(directory, "hex", format!("{HEX}\n"));
    private(directory, "z32", Z32);
    private(directory, "expanded", expanded());
    let imported = ["import", "hex", "--out", "age", "--encrypt", "--new-passphrase-file", "passphrase"];
    let exported = ["export", "hex", "--recovery-file", "recovery", "--new-passphrase-file", "passphrase"];
    for arguments in [imported.as_slice(), &exported] {
        let finished = run(directory.path(), arguments);
        assert!(finished.code == 0 && finished.out.contains(KEY), "{}{}", finished.out, finished.err);
        assert_eq!(finished.err, "");
    }
    ["hex", "z32", "expanded", "age", "recovery"]
}

/// The key's scalar and prefix, as a search finds them.
pub(crate) fn expanded() -> String {
    let mut bytes: [u8; 64] = Sha512::digest(secret()).into();
    bytes[0] &= 0b1111_1000;
    bytes[31] = bytes[31] & 0b0011_1111 | 0b0100_0000;
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

pub(crate) fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}
