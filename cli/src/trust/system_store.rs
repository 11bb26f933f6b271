//! The authorities that a system believes, as its distribution keeps them: a directory of files, and a program that makes
//! bundles of them.

use std::{
    fs, io,
    os::unix::process::CommandExt,
    path::{Path, PathBuf},
    process::Command,
};

use nix::unistd::{AccessFlags, access};
use pkdns::{
    base::{private_file, watched_files},
    edge::certificates::AuthorityReading,
};

use super::{
    name::StoredName,
    store::{Obstacle, Store, pem, program, run},
};

/// Each has a directory, a program, the arguments of the program, and its arguments after something was removed, which the
/// program of Debian forgets only with them. The first is of Debian, Ubuntu, Alpine and Gentoo, the second of openSUSE, the
/// third of Fedora and its relatives, and the last of Arch.
const KNOWN: [(&str, &str, &[&str], &[&str]); 4] = [
    ("/usr/local/share/ca-certificates", "update-ca-certificates", &[], &["--fresh"]),
    ("/etc/pki/trust/anchors", "update-ca-certificates", &[], &["--fresh"]),
    ("/etc/pki/ca-trust/source/anchors", "update-ca-trust", &["extract"], &["extract"]),
    ("/etc/ca-certificates/trust-source/anchors", "update-ca-trust", &["extract"], &["extract"]),
];

/// What the program makes of them: one file with all authorities, in the order of those above.
const BUNDLES: [&str; 4] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/var/lib/ca-certificates/ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/cert.pem",
];

/// Bytes of such a file, which has some 200 kB.
const MAX_BUNDLE_SIZE: u64 = 16 << 20;

/// A certificate in a file has some hundred bytes.
const MAX_SIZE: u64 = 1 << 16;

/// A directory and the program that reads it.
#[derive(Debug)]
pub(super) struct SystemStore {
    directory: PathBuf,
    program: PathBuf,
    arguments: &'static [&'static str],
    after_removal: &'static [&'static str],
}

impl SystemStore {
    /// That of this system, if it is one that we know.
    pub(super) fn find() -> Option<Self> {
        let is_there = |(directory, name, arguments, after_removal): (&str, &str, _, _)| {
            let (directory, program) = (PathBuf::from(directory), program(name)?);
            directory.is_dir().then_some(Self { directory, program, arguments, after_removal })
        };
        KNOWN.into_iter().find_map(is_there)
    }
}

impl Store for SystemStore {
    fn place(&self) -> String {
        format!("{} (the system)", self.directory.display())
    }

    fn obstacle(&self) -> Option<Obstacle> {
        access(&self.directory, AccessFlags::W_OK | AccessFlags::X_OK).err().map(|_| Obstacle::NoRight)
    }

    fn names(&self) -> Result<Vec<StoredName>, String> {
        let entries = fs::read_dir(&self.directory).map_err(|error| fault(&self.directory, &error))?;
        let names = entries.flatten().filter_map(|entry| entry.file_name().into_string().ok());
        let mut names: Vec<_> = names.filter_map(|name| StoredName::parse_file_name(&name)).collect();
        names.sort();
        Ok(names)
    }

    fn holds(&self, name: &StoredName, authority: &AuthorityReading) -> Result<bool, String> {
        let path = self.directory.join(name.file_name());
        if !path.exists() {
            return Ok(false);
        }
        let text = watched_files::read(&path, MAX_SIZE).map_err(|error| fault(&path, &error))?;
        Ok(AuthorityReading::of_pem(&text).iter().any(|held| held.der == authority.der))
    }

    /// All that programs read, whoever has put it there.
    fn believed(&self) -> Result<Vec<u8>, String> {
        let Some(bundle) = BUNDLES.iter().map(Path::new).find(|path| path.is_file()) else {
            return Err(
                "the file that holds all authorities is not where it is on systems that are known here"
                    .to_owned(),
            );
        };
        watched_files::read(bundle, MAX_BUNDLE_SIZE).map_err(|error| fault(bundle, &error))
    }

    fn add(&self, name: &StoredName, authority: &AuthorityReading) -> Result<(), String> {
        let path = self.directory.join(name.file_name());
        private_file::replace_readable(&path, pem(authority).as_bytes()).map_err(|error| fault(&path, &error))
    }

    fn remove(&self, name: &StoredName) -> Result<(), String> {
        let path = self.directory.join(name.file_name());
        fs::remove_file(&path).map_err(|error| fault(&path, &error))
    }

    /// Makes the bundles anew.
    fn finish(&self, is_removed: bool) -> Result<(), String> {
        let arguments = if is_removed { self.after_removal } else { self.arguments };
        // It is a script that runs other programs, and all of them are killed if they do not end.
        run(Command::new(&self.program).args(arguments).process_group(0), b"").map(drop)
    }
}

fn fault(path: &Path, error: &io::Error) -> String {
    format!("{}: {error}", path.display())
}
