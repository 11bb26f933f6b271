//! What has to outlive the program, in a directory that only its user can read. A file is there in full or not at all.

use std::{
    fs::{self, File, TryLockError},
    io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    thread,
    time::Duration,
};

use pkdns::base::{private_file, watched_files};
use pkdns_dht::signed_packet::PublicKey;
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{failure::Failure, terminal, zone_file::ExternalAddresses};

/// Whoever asks whether the directory is in use holds its lock for a moment.
const TRIES: u32 = 5;
const PAUSE: Duration = Duration::from_millis(20);

/// Larger files are not ours.
const MAX_SIZE: u64 = 4096;

/// Held by whoever uses the directory.
const LOCK: &str = "lock";

/// Where the state of identities is kept.
#[derive(Debug)]
pub(crate) struct StateDirectory {
    path: PathBuf,
    /// Held for as long as this is used.
    _lock: File,
}

impl StateDirectory {
    /// Makes the directory and sees to it that nobody else uses it.
    pub(crate) fn open(path: &Path) -> Result<Self, Failure> {
        let fail = |error: &dyn std::fmt::Display| {
            Failure::Failed(format!("cannot use the state directory {}: {error}", path.display()))
        };
        let refused =
            |error| fail(&format_args!("{error}; give it to this user, or choose another as state"));
        fs::DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(refused)?;
        let lock = File::create(path.join(LOCK)).map_err(refused)?;
        let mut locked = lock.try_lock();
        for _ in 1..TRIES {
            if !matches!(locked, Err(TryLockError::WouldBlock)) {
                break;
            }
            thread::sleep(PAUSE);
            locked = lock.try_lock();
        }
        match locked {
            Ok(()) => Ok(Self { path: path.to_path_buf(), _lock: lock }),
            Err(TryLockError::WouldBlock) => Err(fail(
                &"another pkdns-cli serve is using it; stop that one, or choose another directory as state",
            )),
            Err(TryLockError::Error(error)) => Err(refused(error)),
        }
    }

    /// Whether somebody uses the directory at `path` now.
    pub(crate) fn is_in_use(path: &Path) -> bool {
        let lock = File::open(path.join(LOCK));
        lock.is_ok_and(|lock| matches!(lock.try_lock_shared(), Err(TryLockError::WouldBlock)))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn timestamp(&self, key: &PublicKey) -> Result<TimestampFile, Failure> {
        let path = self.path.join(format!("{}.published.json", key.to_z32()));
        let last = load::<Signed>(&path)?.map(|signed| signed.timestamp);
        Ok(TimestampFile { path: Some(path), last })
    }

    pub(crate) fn addresses(&self, key: &PublicKey) -> AddressFile {
        AddressFile(self.path.join(format!("{}.addresses.json", key.to_z32())))
    }
}

#[derive(Serialize, Deserialize)]
struct Signed {
    /// Microseconds since 1970.
    timestamp: u64,
}

/// When the last packet of a key was signed.
#[derive(Debug)]
pub(crate) struct TimestampFile {
    path: Option<PathBuf>,
    last: Option<u64>,
}

impl TimestampFile {
    /// Remembered for as long as the program runs.
    pub(crate) fn in_memory() -> Self {
        Self { path: None, last: None }
    }

    pub(crate) fn last(&self) -> Option<u64> {
        self.last
    }

    /// A disk that is full is no reason to let a zone fade: what the DHT holds is read before it is replaced.
    pub(crate) fn set(&mut self, timestamp: u64) {
        self.last = Some(timestamp);
        if let Some(path) = &self.path
            && let Err(failure) = save(path, &Signed { timestamp })
        {
            terminal::note(&format!("warning: {failure}"));
        }
    }
}

/// The addresses that a router has told.
#[derive(Debug, Clone)]
pub(crate) struct AddressFile(PathBuf);

impl AddressFile {
    pub(crate) fn load(&self) -> Result<ExternalAddresses, Failure> {
        Ok(load(&self.0)?.unwrap_or_default())
    }

    pub(crate) fn save(&self, addresses: &ExternalAddresses) -> Result<(), Failure> {
        save(&self.0, addresses)
    }
}

fn load<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, Failure> {
    let fail = |error: &dyn std::fmt::Display| {
        Failure::Failed(format!("{}: {error}; repair or remove this file", path.display()))
    };
    match watched_files::read(path, MAX_SIZE) {
        Ok(bytes) => serde_json::from_slice(&bytes).map(Some).map_err(|error| fail(&error)),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(fail(&error)),
    }
}

fn save<T: Serialize>(path: &Path, value: &T) -> Result<(), Failure> {
    let bytes = serde_json::to_vec(value).map_err(|error| Failure::Failed(error.to_string()))?;
    private_file::replace(path, &bytes).map_err(|error| {
        Failure::Failed(format!(
            "cannot write {}: {error}; make room there, or give it to this user",
            path.display()
        ))
    })
}

#[cfg(test)]
mod tests {
    use pkdns_dht::signed_packet::Keypair;

    use super::*;

    #[test]
    fn what_was_signed_and_told_is_there_after_a_restart() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDirectory::open(&directory.path().join("new")).unwrap();
        let key = Keypair::from_secret_key(&[1; 32]).public_key();
        let addresses = ExternalAddresses { ipv4: Some("192.0.2.1".parse().unwrap()), ipv6: None };
        let mut timestamp = state.timestamp(&key).unwrap();
        assert!(StateDirectory::open(&directory.path().join("new")).is_err(), "it is in use");
        assert!(StateDirectory::is_in_use(&directory.path().join("new")));
        assert_eq!(
            (timestamp.last(), state.addresses(&key).load()),
            (None, Ok(ExternalAddresses::default()))
        );
        timestamp.set(7);
        state.addresses(&key).save(&addresses).unwrap();
        assert_eq!(state.timestamp(&key).unwrap().last(), Some(7));
        assert_eq!(state.addresses(&key).load(), Ok(addresses));
        drop(state);
        for path in ["new", "none"] {
            assert!(!StateDirectory::is_in_use(&directory.path().join(path)), "{path}");
        }
    }

    #[test]
    fn a_file_that_is_not_ours_is_named_and_not_overwritten() {
        let directory = tempfile::tempdir().unwrap();
        let state = StateDirectory::open(directory.path()).unwrap();
        let key = Keypair::from_secret_key(&[1; 32]).public_key();
        let path = directory.path().join(format!("{}.published.json", key.to_z32()));
        fs::write(&path, "{").unwrap();
        let message = state.timestamp(&key).unwrap_err().to_string();
        assert!(message.contains(&path.display().to_string()) && message.contains("remove"), "{message}");
        assert_eq!(fs::read(&path).unwrap(), b"{");
    }
}
