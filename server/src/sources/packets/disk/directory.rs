//! The directory of the store: its lock, its file, and what to do when the file fails.
//!
//! | File | |
//! |---|---|
//! | `packets.db` | the packets |
//! | `packets.db.damaged` | the last file that could not be read; only here so that somebody can look at it |
//! | `packets.db.older` | the last file that an older program has written, which can have it back |
//! | `packets.db.newer` | the same of a newer program |
//! | `lock` | empty; locked by the process that has the directory |

use std::{
    fs::{self, DirBuilder, File, OpenOptions, TryLockError},
    io::{self, ErrorKind},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use thiserror::Error;
use tracing::warn;

use super::{
    WARN_EVERY,
    checked_file::FORMAT,
    file::{Failure, PacketFile},
};

/// A disk that failed is tried again after this long.
pub(super) const RETRY_AFTER: Duration = Duration::from_secs(2);

/// The same failure is not logged again before this is over: some disks are meant to be read-only.
const REMIND_EVERY: Duration = Duration::from_secs(60 * 60);

const FILE_NAME: &str = "packets.db";
const DAMAGED_NAME: &str = "packets.db.damaged";
const OLDER_NAME: &str = "packets.db.older";
const NEWER_NAME: &str = "packets.db.newer";
const LOCK_NAME: &str = "lock";

/// Why packets cannot be kept on disk.
#[derive(Debug, Error)]
pub enum DiskError {
    /// Two that write to one file would damage it.
    #[error(
        "{} is in use by another pkdns; stop it or give this one another --pkdns-dir or cache.path", .path.display()
    )]
    Locked {
        /// The directory.
        path: PathBuf,
    },
}

/// A directory, with its file open unless that fails.
pub(super) struct Directory {
    path: PathBuf,
    max_bytes: u64,
    /// Held for as long as this exists, from when the directory could be made.
    lock: Option<File>,
    file: Option<PacketFile>,
    /// How often a file has been opened, to tell the file that failed from its successor.
    openings: u64,
    failed: Option<Instant>,
    logged: Option<(Instant, ErrorKind)>,
    /// Another process has it, and is to give it back or not.
    is_lent: bool,
}

impl Directory {
    /// The directory at `path`, which is made if there is none.
    pub(super) fn open(path: &Path, max_bytes: u64) -> Result<Self, DiskError> {
        let mut directory = Self {
            path: path.to_owned(),
            max_bytes,
            lock: None,
            file: None,
            openings: 0,
            failed: None,
            logged: None,
            is_lent: false,
        };
        match directory.open_file() {
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                Err(DiskError::Locked { path: path.to_owned() })
            }
            Err(error) => {
                directory.give_up(&error, Instant::now());
                Ok(directory)
            }
            Ok(()) => Ok(directory),
        }
    }

    /// The file, if it is open, and how often one has been opened.
    pub(super) fn file(&self) -> Option<(&PacketFile, u64)> {
        self.file.as_ref().map(|file| (file, self.openings))
    }

    /// Opens the file if it is not open and was not tried just now.
    pub(super) fn open_if_due(&mut self, now: Instant) {
        let is_due = self.failed.is_none_or(|failed| now.duration_since(failed) >= RETRY_AFTER);
        if self.file.is_none() && is_due && !self.is_lent {
            self.open_or_give_up(now);
        }
    }

    /// Closes the file of an opening because of a failure, and opens it or another one, unless the last failure is
    /// recent: then it stays closed for a while.
    pub(super) fn failed(&mut self, opening: u64, failure: Failure, now: Instant) {
        if self.file.is_none() || self.openings != opening {
            return;
        }
        self.file = None;
        let is_first = self.failed.is_none_or(|failed| now.duration_since(failed) >= RETRY_AFTER);
        let handled = match failure {
            Failure::Damaged(what) => self.set_damaged_aside(&what),
            Failure::OtherFormat(format) => self.set_other_aside(format),
            Failure::Io(error) => Err(error),
        };
        if let Err(error) = handled {
            self.give_up(&error, now);
        }
        if is_first && !self.is_lent {
            self.open_or_give_up(now);
        }
        self.failed = Some(now);
    }

    /// Closes the file and leaves the directory to others.
    pub(super) fn close(&mut self) {
        self.file = None;
        self.lock = None;
    }

    /// Leaves the directory to another process until [`Directory::take_back`].
    pub(super) fn lend(&mut self) {
        self.close();
        self.is_lent = true;
    }

    /// Opens what was lent.
    pub(super) fn take_back(&mut self, now: Instant) {
        self.is_lent = false;
        self.open_or_give_up(now);
    }

    /// Whether another process has the directory.
    pub(super) fn is_lent(&self) -> bool {
        self.is_lent
    }

    fn open_or_give_up(&mut self, now: Instant) {
        match self.open_file() {
            Ok(()) => {}
            Err(error) => self.give_up(&error, now),
        }
    }

    fn give_up(&mut self, error: &io::Error, now: Instant) {
        self.failed = Some(now);
        let is_due = self.logged.is_none_or(|(logged, kind)| {
            now.duration_since(logged) >= if kind == error.kind() { REMIND_EVERY } else { WARN_EVERY }
        });
        if is_due {
            self.logged = Some((now, error.kind()));
            warn!(
                "packets are kept in memory only: {error} in {}; make it a directory that can be written to and has \
                 space, or name another one in cache.path",
                self.path.display()
            );
        }
    }

    fn open_file(&mut self) -> io::Result<()> {
        if self.lock.is_none() {
            DirBuilder::new().recursive(true).mode(0o700).create(&self.path)?;
            self.lock = Some(lock(&self.path.join(LOCK_NAME))?);
        }
        let path = self.path.join(FILE_NAME);
        let mut opened = PacketFile::open(&path, self.max_bytes);
        let is_aside = match &opened {
            Err(Failure::Damaged(what)) => self.set_damaged_aside(what).map(|()| true)?,
            Err(Failure::OtherFormat(format)) => self.set_other_aside(*format).map(|()| true)?,
            _ => false,
        };
        if is_aside {
            opened = PacketFile::open(&path, self.max_bytes);
        }
        self.file = Some(opened.map_err(|failure| match failure {
            Failure::Io(error) => error,
            Failure::Damaged(what) => io::Error::other(what),
            Failure::OtherFormat(format) => io::Error::other(format!("a form of number {format}")),
        })?);
        self.openings += 1;
        Ok(())
    }

    /// In the place of what was set aside before, so that damage does not fill the disk.
    fn set_damaged_aside(&self, what: &str) -> io::Result<()> {
        let damaged = self.path.join(DAMAGED_NAME);
        fs::rename(self.path.join(FILE_NAME), &damaged)?;
        warn!(
            "the packets on disk are damaged ({what}); starting with none, the old file is {} and may be deleted",
            damaged.display()
        );
        Ok(())
    }

    /// The packets in it are found again; that it does not start would be worse than that.
    fn set_other_aside(&self, format: u8) -> io::Result<()> {
        let (age, name) = if format < FORMAT { ("an older", OLDER_NAME) } else { ("a newer", NEWER_NAME) };
        let aside = self.path.join(name);
        fs::rename(self.path.join(FILE_NAME), &aside)?;
        warn!(
            "{age} pkdns has written the packets on disk, in a form (number {format}) that this one does not know; \
             starting with none, its file is {} and may be deleted, or moved back for that one",
            aside.display()
        );
        Ok(())
    }
}

/// The error is of the kind `WouldBlock` if another one has it.
fn lock(path: &Path) -> io::Result<File> {
    // Never written to, so that it also opens on a read-only disk.
    let file =
        OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(path)?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(ErrorKind::WouldBlock.into()),
        Err(TryLockError::Error(error)) => Err(error),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sources::packets::disk::checked_file::pretend_format;

    #[test]
    fn a_file_of_an_older_or_newer_program_is_set_aside_whole() {
        // Files of the first format have a zero where later ones have their number.
        for (written, format, name) in [(0, 1, OLDER_NAME), (FORMAT + 1, FORMAT + 1, NEWER_NAME)] {
            let directory = tempfile::tempdir().unwrap();
            let path = |name| directory.path().join(name);
            drop(PacketFile::open(&path(FILE_NAME), 1_000_000).unwrap());
            pretend_format(&path(FILE_NAME), written);
            let before = fs::read(path(FILE_NAME)).unwrap();
            let opened = Directory::open(directory.path(), 1_000_000).unwrap();
            assert_eq!(opened.file().map(|(file, _)| file.count()), Some(0));
            let aside = PacketFile::open(&path(name), 1_000_000);
            assert!(matches!(aside, Err(Failure::OtherFormat(found)) if found == format), "{name}");
            assert!(fs::read(path(name)).unwrap() == before, "that program can have it back");
            assert!(!path(DAMAGED_NAME).exists());
        }
    }
}
