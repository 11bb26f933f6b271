//! The authorities that a system believes, as its distribution keeps them: a directory of files, and a program that makes
//! bundles of them.

use std::{
    fs, io,
    path::{Path, PathBuf},
    process::Command,
};

use nix::unistd::{AccessFlags, access};
use pkdns::{certificates::AuthorityReading, private_file};

use super::{
    name::StoredName,
    store::{Obstacle, pem, program, run},
};

/// Directory, program and its arguments: of Debian, Ubuntu, Alpine and Gentoo; of openSUSE; of Fedora and its relatives; of
/// Arch.
const KNOWN: [(&str, &str, &[&str]); 4] = [
    ("/usr/local/share/ca-certificates", "update-ca-certificates", &[]),
    ("/etc/pki/trust/anchors", "update-ca-certificates", &[]),
    ("/etc/pki/ca-trust/source/anchors", "update-ca-trust", &["extract"]),
    ("/etc/ca-certificates/trust-source/anchors", "update-ca-trust", &["extract"]),
];

/// A certificate in a file has some hundred bytes.
const MAX_SIZE: u64 = 1 << 16;

/// A directory and the program that reads it.
#[derive(Debug)]
pub(super) struct SystemStore {
    directory: PathBuf,
    program: PathBuf,
    arguments: &'static [&'static str],
}

impl SystemStore {
    /// That of this system, if it is one that we know.
    pub(super) fn find() -> Option<Self> {
        let is_there = |(directory, name, arguments): (&str, &str, &'static [&'static str])| {
            let (directory, program) = (PathBuf::from(directory), program(name)?);
            directory.is_dir().then_some(Self { directory, program, arguments })
        };
        KNOWN.into_iter().find_map(is_there)
    }

    pub(super) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(super) fn obstacle(&self) -> Option<Obstacle> {
        access(&self.directory, AccessFlags::W_OK | AccessFlags::X_OK).err().map(|_| Obstacle::NoRight)
    }

    pub(super) fn names(&self) -> Result<Vec<StoredName>, String> {
        let entries = fs::read_dir(&self.directory).map_err(|error| fault(&self.directory, &error))?;
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<_> = names.filter_map(|name| StoredName::parse_file_name(&name)).collect();
        names.sort();
        Ok(names)
    }

    pub(super) fn holds(&self, name: &StoredName, authority: &AuthorityReading) -> Result<bool, String> {
        let path = self.directory.join(name.file_name());
        if !fs::metadata(&path).is_ok_and(|file| file.len() <= MAX_SIZE) {
            return Ok(false);
        }
        let text = fs::read(&path).map_err(|error| fault(&path, &error))?;
        Ok(AuthorityReading::of_pem(&text).iter().any(|held| held.der == authority.der))
    }

    pub(super) fn add(&self, name: &StoredName, authority: &AuthorityReading) -> Result<(), String> {
        let path = self.directory.join(name.file_name());
        private_file::replace_readable(&path, pem(authority).as_bytes()).map_err(|error| fault(&path, &error))
    }

    pub(super) fn remove(&self, name: &StoredName) -> Result<(), String> {
        let path = self.directory.join(name.file_name());
        fs::remove_file(&path).map_err(|error| fault(&path, &error))
    }

    /// Makes the bundles anew.
    pub(super) fn finish(&self) -> Result<(), String> {
        run(Command::new(&self.program).args(self.arguments), b"").map(drop)
    }
}

fn fault(path: &Path, error: &io::Error) -> String {
    format!("{}: {error}", path.display())
}
