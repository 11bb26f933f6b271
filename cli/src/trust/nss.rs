//! The stores of browsers that bring their own list of authorities: databases of NSS, which `certutil` changes.

use std::{
    ffi::OsString,
    fs::{self, DirBuilder},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process::Command,
};

use nix::unistd::{AccessFlags, access};
use pkdns::edge::certificates::AuthorityReading;

use super::{
    name::StoredName,
    store::{Obstacle, Store, pem, program, run},
};

/// Where Chromium and its relatives look, in the home of a user. The first one is made where it is not there, because these
/// browsers make it only when somebody imports something.
const OF_CHROMIUM: &str = ".pki/nssdb";
/// Newer ones look here where they do not find that, so that it is not made beside this one, which would then be passed over.
const OF_NEWER_CHROMIUM: &str = ".local/share/pki/nssdb";
const OF_SANDBOXES: [&str; 4] = [
    "snap/chromium/current/.pki/nssdb",
    ".var/app/org.chromium.Chromium/.pki/nssdb",
    ".var/app/com.google.Chrome/.pki/nssdb",
    ".var/app/com.brave.Browser/.pki/nssdb",
];

/// Programs that read the first one.
const BROWSERS: [&str; 8] = [
    "chromium",
    "chromium-browser",
    "google-chrome",
    "google-chrome-stable",
    "brave-browser",
    "microsoft-edge",
    "vivaldi",
    "opera",
];

/// The files of a database.
const FILES: [&str; 3] = ["cert9.db", "key4.db", "pkcs11.txt"];

/// Says that nobody had a database here before us. It holds the number of directories that were made for it.
const MARK: &str = "made-by-pkdns-cli";

/// What to install, by distribution.
const PACKAGES: &str = "install certutil: apt install libnss3-tools (Debian, Ubuntu), dnf install nss-tools (Fedora), \
                        pacman -S nss (Arch), zypper install mozilla-nss-tools (openSUSE), apk add nss-tools (Alpine)";

/// A directory with a database of NSS.
#[derive(Debug)]
pub(super) struct NssStore {
    directory: PathBuf,
    whose: &'static str,
    /// Whether nobody but us may have made it, and nothing else is kept there.
    is_only_for_authorities: bool,
}

impl NssStore {
    pub(super) fn of_chromium(home: &Path) -> Vec<Self> {
        let of = |directory| Self {
            directory,
            whose: "Chromium and its relatives",
            is_only_for_authorities: true,
        };
        let [usual, newer] = [OF_CHROMIUM, OF_NEWER_CHROMIUM].map(|place| home.join(place));
        let first = if has_database(&newer) && !has_database(&usual) { newer.clone() } else { usual };
        let others = OF_SANDBOXES.iter().map(|place| home.join(place)).chain([newer]);
        let others = others.filter(|place| *place != first && has_database(place)).collect::<Vec<_>>();
        [first].into_iter().chain(others).map(of).collect()
    }

    pub(super) fn of_firefox(directory: PathBuf) -> Self {
        Self { directory, whose: "Firefox", is_only_for_authorities: false }
    }

    pub(super) fn of_other(directory: PathBuf) -> Self {
        Self { directory, whose: "named with --nss", is_only_for_authorities: false }
    }

    /// An empty database without a password, as browsers make it.
    fn make(&self) -> Result<(), String> {
        let is_missing = |directory: &&Path| !directory.exists();
        let missing = self.directory.ancestors().take_while(is_missing).count();
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.directory);
        made.map_err(|error| self.fault(&error))?;
        self.certutil("-N", &["--empty-password"], b"")?;
        if self.is_only_for_authorities {
            let mark = self.directory.join(MARK);
            fs::write(mark, format!("{missing}\n")).map_err(|error| self.fault(&error))?;
        }
        Ok(())
    }

    /// Names and trust of all that it holds.
    fn list(&self) -> Result<Vec<(String, String)>, String> {
        if !has_database(&self.directory) {
            return Ok(Vec::new());
        }
        let output = self.certutil("-L", &[], b"")?;
        let entries = output.lines().filter_map(|line| line.trim_end().rsplit_once(char::is_whitespace));
        // The heading has no trust.
        let entries =
            entries.filter(|(_, trust)| trust.matches(',').count() == 2 && !trust.starts_with("SSL"));
        Ok(entries.map(|(name, trust)| (name.trim().to_owned(), trust.to_owned())).collect())
    }

    fn certutil(&self, action: &str, arguments: &[&str], input: &[u8]) -> Result<String, String> {
        let Some(program) = program("certutil") else { return Err(PACKAGES.to_owned()) };
        let mut database = OsString::from("sql:");
        database.push(&self.directory);
        let mut command = Command::new(program);
        command.arg(action).arg("-d").arg(database).args(arguments);
        let output = run(&mut command, input)?;
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    fn fault(&self, error: &io::Error) -> String {
        format!("{}: {error}", self.directory.display())
    }
}

impl Store for NssStore {
    fn place(&self) -> String {
        format!("{} ({})", self.directory.display(), self.whose)
    }

    fn obstacle(&self) -> Option<Obstacle> {
        if program("certutil").is_none() {
            return Some(Obstacle::NoProgram(PACKAGES.to_owned()));
        }
        let may_write = access(existing(&self.directory), AccessFlags::W_OK | AccessFlags::X_OK).is_ok();
        (!may_write).then_some(Obstacle::NoRight)
    }

    fn is_idle(&self) -> bool {
        self.is_only_for_authorities
            && !has_database(&self.directory)
            && BROWSERS.iter().all(|name| program(name).is_none())
    }

    fn names(&self) -> Result<Vec<StoredName>, String> {
        let mut names: Vec<_> =
            self.list()?.into_iter().filter_map(|(name, _)| StoredName::parse(&name)).collect();
        names.sort();
        Ok(names)
    }

    fn holds(&self, name: &StoredName, authority: &AuthorityReading) -> Result<bool, String> {
        let name = name.to_string();
        // Who has taken the trust away has to get it back.
        let is_believed = |(listed, trust): &(String, String)| *listed == name && trust.starts_with('C');
        if !self.list()?.iter().any(is_believed) {
            return Ok(false);
        }
        // It prints all of the same subject.
        let output = self.certutil("-L", &["-a", "-n", &name], b"")?;
        Ok(AuthorityReading::of_pem(output.as_bytes()).iter().any(|held| held.der == authority.der))
    }

    /// By the names that we and browsers give them.
    fn believed(&self) -> Result<Vec<u8>, String> {
        let mut text = Vec::new();
        for (name, trust) in self.list()? {
            if name.starts_with("pkdns ") && trust.starts_with('C') {
                text.extend(self.certutil("-L", &["-a", "-n", &name], b"")?.into_bytes());
            }
        }
        Ok(text)
    }

    /// Believed for web servers, and not for mail or programs.
    fn add(&self, name: &StoredName, authority: &AuthorityReading) -> Result<(), String> {
        if !has_database(&self.directory) {
            self.make()?;
        }
        let arguments = ["-a", "-t", "C,,", "-n", &name.to_string()];
        self.certutil("-A", &arguments, pem(authority).as_bytes()).map(drop)
    }

    fn remove(&self, name: &StoredName) -> Result<(), String> {
        self.certutil("-D", &["-n", &name.to_string()], b"").map(drop)
    }

    /// Takes away a database that was made for us alone and is empty again.
    fn finish(&self, _: bool) -> Result<(), String> {
        let mark = self.directory.join(MARK);
        let Some(made) = fs::read_to_string(&mark).ok().and_then(|text| text.trim().parse::<usize>().ok())
        else {
            return Ok(());
        };
        // Where there is none, it fails and says so.
        let has_keys = !self.certutil("-K", &[], b"").is_err_and(|why| why.contains("no keys found"));
        if !self.is_only_for_authorities || has_keys || !self.list()?.is_empty() {
            return Ok(());
        }
        for file in FILES.iter().chain([&MARK]) {
            match fs::remove_file(self.directory.join(file)) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(self.fault(&error)),
                Ok(()) | Err(_) => {}
            }
        }
        // Those in which somebody keeps more stay.
        let _ = self.directory.ancestors().take(made).try_for_each(fs::remove_dir);
        Ok(())
    }
}

fn has_database(directory: &Path) -> bool {
    directory.join(FILES[0]).is_file()
}

/// The directory, or the nearest one above that is there.
fn existing(directory: &Path) -> &Path {
    directory.ancestors().find(|directory| directory.exists()).unwrap_or(Path::new("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_database_is_made_that_hides_the_one_which_chromium_has() {
        let home = tempfile::tempdir().unwrap();
        let make = |place: &str| {
            let place = home.path().join(place);
            fs::create_dir_all(&place).unwrap();
            fs::write(place.join(FILES[0]), "").unwrap();
        };
        let places = || -> Vec<_> {
            let stores = NssStore::of_chromium(home.path());
            stores.iter().map(|store| store.directory.strip_prefix(home.path()).unwrap().to_owned()).collect()
        };
        assert_eq!(places(), [Path::new(OF_CHROMIUM)]);
        make(OF_NEWER_CHROMIUM);
        assert_eq!(places(), [Path::new(OF_NEWER_CHROMIUM)]);
        make(OF_SANDBOXES[0]);
        make(OF_CHROMIUM);
        assert_eq!(places(), [OF_CHROMIUM, OF_SANDBOXES[0], OF_NEWER_CHROMIUM].map(Path::new));
    }
}
