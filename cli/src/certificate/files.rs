//! Where a certificate and its key are kept. All of it is for its user alone.

use std::{
    fs, io,
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
};

use pkdns::{
    base::{private_file, watched_files},
    edge::certificates::{acme::NewCertificate, reading_of},
    metrics::CertificateReading,
};

use crate::{failure::Failure, seed::FileName};

/// Key and chain in one file, so that they are of one age whatever happens: the two below are made of it.
const BOTH: &str = "both.pem";
const CERTIFICATE: &str = "cert.pem";
const KEY: &str = "key.pem";

/// There while the program that shows the certificate has not been told of the newest one.
const UNTOLD: &str = "reload-is-due";

/// Written and removed to see that there is room for a certificate with its key, which take some thousands of bytes.
const PROBE: &str = "probe";
const PROBE_SIZE: usize = 1 << 14;

/// Larger files are not ours. Chains of certificates have some thousands of bytes.
const MAX_SIZE: u64 = 1 << 20;

/// The files of one certificate.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Files(PathBuf);

/// A certificate that has been issued and is not in its files yet, with its key. Authorities count those that they issue, so
/// that it is not to be ordered again where only the disk is at fault.
#[derive(Default)]
pub(crate) struct Issued(Mutex<Option<(String, String)>>);

impl Issued {
    pub(super) fn hold(&self, new: NewCertificate) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((new.key, new.chain));
    }

    /// Puts it into `files`, if there is one.
    ///
    /// # Errors
    ///
    /// When it cannot be written; then it is still held.
    pub(super) fn keep_in(&self, files: &Files) -> Result<Option<CertificateReading>, Failure> {
        let mut held = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((key, chain)) = held.take() else { return Ok(None) };
        let reading = reading_of(chain.as_bytes(), key.as_bytes()).ok_or_else(|| {
            Failure::Failed("the new certificate cannot be read: choose another authority".to_string())
        })?;
        match files.keep(&key, &chain) {
            Ok(()) => Ok(Some(reading)),
            Err(failure) => {
                *held = Some((key, chain));
                Err(failure)
            }
        }
    }
}

impl Files {
    pub(crate) fn new(directory: &Path) -> Self {
        Self(directory.to_owned())
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.0
    }

    /// The certificate and those that certify it.
    pub(crate) fn certificate(&self) -> PathBuf {
        self.0.join(CERTIFICATE)
    }

    pub(crate) fn key(&self) -> PathBuf {
        self.0.join(KEY)
    }

    /// What is kept, if there is any; for whatever names. What a loss of power has left half done is done.
    ///
    /// # Errors
    ///
    /// When files are there that cannot be read, or cannot be written.
    pub(crate) fn held(&self) -> Result<Option<CertificateReading>, Failure> {
        private_file::check_directory(&self.0).map_err(|error| self.failed(&self.0, &error))?;
        let Some(both) = self.read(BOTH)? else { return Ok(None) };
        let Some((key, chain)) = parts(&both) else { return Ok(None) };
        let Some(reading) = reading_of(chain.as_bytes(), key.as_bytes()) else { return Ok(None) };
        for (name, content) in [(KEY, key), (CERTIFICATE, chain)] {
            if self.read(name)?.as_deref() != Some(content) {
                self.write(name, content.as_bytes())?;
            }
        }
        Ok(Some(reading))
    }

    /// Whether a certificate could be kept: before one is ordered, which authorities count.
    ///
    /// # Errors
    ///
    /// When files are there that are not ours, or none can be written.
    pub(crate) fn probe(&self) -> Result<(), Failure> {
        if fs::symlink_metadata(self.0.join(BOTH)).is_err() {
            for name in [KEY, CERTIFICATE] {
                let path = self.0.join(name);
                if fs::symlink_metadata(&path).is_ok() {
                    return Err(Failure::Failed(format!(
                        "{} exists, and pkdns-cli did not write it (there is no {BOTH} beside it): it would be overwritten; \
                         choose another directory, or move the file away",
                        FileName::of(&path)
                    )));
                }
            }
        }
        let is_new = !self.0.exists();
        self.write(PROBE, &[0; PROBE_SIZE])?;
        let path = self.0.join(PROBE);
        fs::remove_file(&path).map_err(|error| self.failed(&path, &error))?;
        if is_new {
            // An order that fails leaves nothing behind. What is in there by now stays.
            let _ = fs::remove_dir(&self.0);
        }
        Ok(())
    }

    /// Puts a new certificate in the place of the old one.
    fn keep(&self, key: &str, chain: &str) -> Result<(), Failure> {
        self.write(UNTOLD, b"")?;
        self.write(BOTH, format!("{key}{chain}").as_bytes())?;
        self.write(KEY, key.as_bytes())?;
        self.write(CERTIFICATE, chain.as_bytes())
    }

    /// Whether somebody has still to be told of the newest certificate.
    pub(crate) fn is_untold(&self) -> bool {
        self.0.join(UNTOLD).exists()
    }

    pub(crate) fn told(&self) {
        // Being told once more does no harm.
        let _ = fs::remove_file(self.0.join(UNTOLD));
    }

    fn read(&self, name: &str) -> Result<Option<String>, Failure> {
        let path = self.0.join(name);
        match watched_files::read(&path, MAX_SIZE) {
            Ok(text) => Ok(Some(String::from_utf8_lossy(&text).into_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(self.failed(&path, &error)),
        }
    }

    fn write(&self, name: &str, bytes: &[u8]) -> Result<(), Failure> {
        let path = self.0.join(name);
        private_file::replace(&path, bytes).map_err(|error| self.failed(&path, &error))
    }

    fn failed(&self, path: &Path, error: &io::Error) -> Failure {
        let path = FileName::of(path);
        Failure::Failed(format!("{path}: {error}; give the directory to this user, or choose another"))
    }
}

/// Key and chain, as they were put together.
fn parts(both: &str) -> Option<(&str, &str)> {
    both.find("-----BEGIN CERTIFICATE-----").map(|at| both.split_at(at))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn certificate() -> (String, String) {
        let made = rcgen::generate_simple_self_signed(vec!["a.example".to_owned()]).unwrap();
        (made.signing_key.serialize_pem(), made.cert.pem())
    }

    fn write_both(files: &Files, key: &str, chain: &str) {
        files.write(BOTH, format!("{key}{chain}").as_bytes()).unwrap();
    }

    #[test]
    fn a_loss_of_power_between_two_files_leaves_no_pair_that_does_not_fit() {
        let directory = tempfile::tempdir().unwrap();
        let files = Files::new(&directory.path().join("new"));
        assert_eq!(files.held(), Ok(None));
        let (old, new) = (certificate(), certificate());
        write_both(&files, &old.0, &old.1);
        assert_eq!(files.held().unwrap().unwrap().names, ["a.example"]);
        // The new one has come as far as this.
        write_both(&files, &new.0, &new.1);
        files.write(KEY, new.0.as_bytes()).unwrap();
        files.held().unwrap();
        assert_eq!(fs::read_to_string(files.certificate()).unwrap(), new.1);
        assert_eq!(fs::read_to_string(files.key()).unwrap(), new.0);
        for path in [files.certificate(), files.key(), directory.path().join("new").join(BOTH)] {
            assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600, "{path:?}");
        }
        // Half of one and half of the other is as good as none.
        write_both(&files, &old.0, &new.1);
        assert_eq!(files.held(), Ok(None));
    }

    #[test]
    fn a_directory_that_is_somebody_elses_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        let message = Files::new(&file).held().unwrap_err().to_string();
        assert!(message.contains("file") && message.contains("choose another"), "{message}");
    }

    #[test]
    fn files_that_are_not_ours_are_refused_before_anything_is_ordered() {
        let directory = tempfile::tempdir().unwrap();
        let files = Files::new(&directory.path().join("new"));
        files.probe().unwrap();
        assert!(!files.directory().exists(), "nothing is left behind");
        fs::create_dir(files.directory()).unwrap();
        for path in [files.key(), files.certificate()] {
            fs::write(&path, "of the web server").unwrap();
            let message = files.probe().unwrap_err().to_string();
            assert!(message.contains("choose another directory"), "{message}");
            fs::remove_file(&path).unwrap();
        }
        let (key, chain) = certificate();
        files.keep(&key, &chain).unwrap();
        files.probe().unwrap();
        fs::create_dir_all(files.directory().join(PROBE).join("in the way")).unwrap();
        assert!(files.probe().is_err());
    }

    #[test]
    fn a_certificate_that_cannot_be_written_is_held_until_it_can() {
        let directory = tempfile::tempdir().unwrap();
        let files = Files::new(directory.path());
        let issued = Issued(Mutex::new(Some(certificate())));
        let obstacle = directory.path().join(KEY);
        fs::create_dir(&obstacle).unwrap();
        for _ in 0..2 {
            assert!(issued.keep_in(&files).is_err());
        }
        fs::remove_dir(&obstacle).unwrap();
        assert_eq!(issued.keep_in(&files).unwrap().unwrap().names, ["a.example"]);
        assert_eq!(files.held().unwrap().unwrap().names, ["a.example"]);
        assert_eq!(issued.keep_in(&files), Ok(None));
    }
}
