//! `trust` with the stores that there are: databases of NSS in a home of the test's own, and the store of the system in a mount
//! namespace.

mod browsers;
mod impostor;
mod pages;
mod system;

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::SystemTime,
};

use pkdns::edge::certificates::BridgeAuthority;
use pkdns_testing::{
    program::{self, Finished},
    programs,
};
use tempfile::TempDir;

/// The home of a user, and the directory of a pkdns in it whose authorities have been made.
struct User {
    home: TempDir,
    bridge: BridgeAuthority,
}

impl User {
    fn new() -> Self {
        let home = tempfile::tempdir().unwrap();
        let certificates = home.path().join(".pkdns/certificates");
        let bridge = BridgeAuthority::open(&certificates, &["key".to_owned()], SystemTime::now()).unwrap();
        Self { home, bridge }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// Beside the bridge's, in the same directory.
    fn write_authority(&self, constraints: Option<rcgen::NameConstraints>) {
        let mut parameters = rcgen::CertificateParams::default();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Constrained(0));
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        parameters.distinguished_name.push(rcgen::DnType::CommonName, "pkdns local authority");
        parameters.name_constraints = constraints;
        let made = parameters.self_signed(&rcgen::KeyPair::generate().unwrap()).unwrap();
        fs::write(self.path(".pkdns/certificates/ca.pem"), made.pem()).unwrap();
    }

    /// Runs `pkdns-cli trust` as this user.
    fn trust(&self, arguments: &[&str]) -> Finished {
        let mut command = program::command(self.home.path(), &[&["trust"], arguments].concat());
        let output = command.env("HOME", self.home.path()).stdin(Stdio::null()).output().unwrap();
        let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        Finished { code: output.status.code().unwrap(), out, err }
    }

    /// What `certutil` says of a database in the home.
    fn certutil(&self, database: &str, arguments: &[&str]) -> String {
        let mut command = Command::new("certutil");
        command.arg(arguments[0]).arg("-d").arg(format!("sql:{}", self.path(database).display()));
        let output = command.args(&arguments[1..]).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    }
}

/// Every file below a directory with what it holds, links with where they lead, and directories.
fn tree(directory: &Path) -> BTreeMap<PathBuf, Vec<u8>> {
    let mut all = BTreeMap::new();
    for entry in fs::read_dir(directory).unwrap().map(|entry| entry.unwrap()) {
        let (path, kind) = (entry.path(), entry.file_type().unwrap());
        if kind.is_symlink() {
            all.insert(path.clone(), fs::read_link(&path).unwrap().into_os_string().into_encoded_bytes());
        } else if kind.is_dir() {
            all.extend(tree(&path));
            all.insert(path, Vec::new());
        } else {
            all.insert(path.clone(), fs::read(&path).unwrap());
        }
    }
    all
}

fn has_certutil() -> bool {
    programs::find("certutil", |_| true, "Debian's libnss3-tools").is_some()
}
