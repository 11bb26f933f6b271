//! BIND's tools, which sign zones.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use crate::programs;

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Signing {
    None,
    Nsec,
    /// With opt-out (RFC 5155 section 6).
    Nsec3,
    Expired,
}

/// The tools that come with BIND.
pub struct Signer {
    keygen: PathBuf,
    signzone: PathBuf,
}

impl Signer {
    /// `None`: they are not installed, and that is to be accepted.
    pub fn find() -> Option<Self> {
        let find = |program| programs::find(program, |_| true, "Debian's bind9-utils");
        Some(Self { keygen: find("dnssec-keygen")?, signzone: find("dnssec-signzone")? })
    }

    /// Writes a zone and signs it. The DS records of zones that were written before stand in it, where they are delegated.
    /// Returns the file to serve.
    pub fn zone(&self, directory: &Path, name: &str, text: &str, signing: Signing) -> PathBuf {
        let file = directory.join(format!("{name}.zone"));
        fs::write(&file, text).unwrap();
        if signing == Signing::None {
            return file;
        }
        let origin = if name == "." { ".".to_owned() } else { format!("{name}.") };
        let mut keygen = Command::new(&self.keygen);
        run(keygen.args(["-q", "-a", "ECDSAP256SHA256", "-f", "KSK", "-K"]).arg(directory).arg(&origin));
        let signed = directory.join(format!("{name}.signed"));
        let mut command = Command::new(&self.signzone);
        command.args(["-q", "-g", "-z", "-S", "-K"]).arg(directory).arg("-d").arg(directory);
        match signing {
            Signing::Nsec3 => command.args(["-3", "ab", "-H", "1", "-A"]),
            // It would refuse to write what does not verify.
            Signing::Expired => command.args(["-P", "-s", "20190101000000", "-e", "20200101000000"]),
            Signing::None | Signing::Nsec => &mut command,
        };
        run(command.arg("-o").arg(&origin).arg("-f").arg(&signed).arg(&file));
        signed
    }

    /// The file with the public key of a zone.
    pub fn key(&self, directory: &Path, name: &str) -> PathBuf {
        let files = fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().path());
        let is_key = |path: &PathBuf| {
            let file = path.file_name().unwrap().to_str().unwrap();
            file.starts_with(&format!("K{name}+")) && file.ends_with(".key")
        };
        files.into_iter().find(is_key).expect("a key")
    }

    /// Algorithm and digest of a zone's key, as a DS record has them: four fields.
    pub fn delegation_signer(&self, directory: &Path, name: &str) -> [String; 4] {
        let set = fs::read_to_string(directory.join(format!("dsset-{name}"))).unwrap();
        let (_, data) = set.split_once("DS").expect("a record");
        let mut words = data.split_whitespace().map(str::to_owned);
        let [tag, algorithm, kind] = [(); 3].map(|()| words.next().expect("a number"));
        [tag, algorithm, kind, words.collect()]
    }
}

fn run(command: &mut Command) {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{command:?}: {}", String::from_utf8_lossy(&output.stderr));
}
