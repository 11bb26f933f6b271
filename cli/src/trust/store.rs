//! Where programs look for the authorities that they believe.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Output},
};

use pkdns::edge::certificates::AuthorityReading;

use super::{firefox_profiles, name::StoredName, nss::NssStore, system_store::SystemStore};
use crate::{child, terminal::printable};

/// Directories with programs for whoever administers a machine, which are not in every user's PATH.
const OF_ADMINISTRATORS: [&str; 3] = ["/usr/local/sbin", "/usr/sbin", "/sbin"];

/// Why nothing can be done with a store, and what to do about it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Obstacle {
    /// It is not for this user.
    NoRight,
    /// A program is missing.
    NoProgram(String),
}

/// What somebody wants to look at.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(super) enum Part {
    /// The store of the system.
    System,
    /// Those of the browsers of this user.
    Browsers,
}

/// A store: of all programs that believe whom the system believes, of Chromium and its relatives, or of one profile of Firefox.
pub(super) trait Store {
    /// Where it is, and whose.
    fn place(&self) -> String;

    /// What keeps us from changing it.
    fn obstacle(&self) -> Option<Obstacle>;

    /// Whether it is of no use to anybody as yet: it is not there, and neither is a program that would read it.
    fn is_idle(&self) -> bool {
        false
    }

    /// Names of what has been put there by us, in order.
    fn names(&self) -> Result<Vec<StoredName>, String>;

    /// Whether exactly this authority is there under this name, and believed.
    fn holds(&self, name: &StoredName, authority: &AuthorityReading) -> Result<bool, String>;

    /// The certificates in PEM of those that are believed there, as far as they may be of a pkdns.
    fn believed(&self) -> Result<Vec<u8>, String>;

    fn add(&self, name: &StoredName, authority: &AuthorityReading) -> Result<(), String>;

    fn remove(&self, name: &StoredName) -> Result<(), String>;

    /// Makes what was added count, or what was removed.
    fn finish(&self, is_removed: bool) -> Result<(), String>;
}

/// Those of this machine and this user. `more` are other directories of NSS, such as profiles of Firefox.
pub(super) fn find(home: Option<&Path>, more: &[PathBuf], only: Option<Part>) -> Vec<Box<dyn Store>> {
    let mut stores: Vec<Box<dyn Store>> = Vec::new();
    if only != Some(Part::Browsers) {
        stores.extend(SystemStore::find().map(|store| Box::new(store) as _));
    }
    if only != Some(Part::System) {
        let chromium = home.map_or_else(Vec::new, NssStore::of_chromium);
        let profiles = home.map_or_else(Vec::new, firefox_profiles::find);
        let firefox = profiles.into_iter().map(NssStore::of_firefox);
        let more = more.iter().cloned().map(NssStore::of_other);
        stores.extend(chromium.into_iter().chain(firefox).chain(more).map(|store| Box::new(store) as _));
    }
    stores
}

/// A program in one of the directories where programs are.
pub(super) fn program(name: &str) -> Option<PathBuf> {
    let of_user = env::var_os("PATH").unwrap_or_default();
    let of_user = env::split_paths(&of_user).filter(|directory| directory.is_absolute());
    let places = of_user.chain(OF_ADMINISTRATORS.map(PathBuf::from));
    places.map(|directory| directory.join(name)).find(|path| path.is_file())
}

/// Runs a program to its end with this input, if that comes within a minute. The error is what it says itself.
pub(super) fn run(command: &mut Command, input: &[u8]) -> Result<Output, String> {
    let name = Path::new(command.get_program()).file_name().unwrap_or_default().display().to_string();
    let output = child::run(command, input, child::DEADLINE)
        .map_err(|error| format!("{name} cannot be run to its end: {error}"))?;
    if output.status.success() {
        return Ok(output);
    }
    // certutil says some of it in the place of what was asked for.
    let said = [output.stderr, output.stdout].concat();
    let said = String::from_utf8_lossy(&said);
    let lines: Vec<_> = said.lines().map(str::trim).filter(|line| !line.is_empty()).collect();
    Err(format!("{name} failed: {}", printable(&lines.join("; "))))
}

/// A certificate for those who read text (RFC 7468).
pub(super) fn pem(authority: &AuthorityReading) -> String {
    use base64::{Engine, prelude::BASE64_STANDARD};

    let text = BASE64_STANDARD.encode(&authority.der);
    let mut pem = "-----BEGIN CERTIFICATE-----\n".to_owned();
    for line in text.as_bytes().chunks(64) {
        pem.push_str(&String::from_utf8_lossy(line));
        pem.push('\n');
    }
    pem + "-----END CERTIFICATE-----\n"
}
