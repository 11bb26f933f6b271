//! A file that lines are added to, and that may be moved away at any time.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
};

use nix::fcntl::OFlag;

/// Rights of a file that is made: programs of the group may read it.
const MODE: u32 = 0o640;

/// A file that lines are added to.
pub(super) struct LogFile {
    path: PathBuf,
    open: Option<Open>,
}

struct Open {
    file: File,
    /// Device and inode.
    id: (u64, u64),
    /// Whether the last line was written in part.
    is_torn: bool,
}

impl LogFile {
    /// The file at `path`, which is made when there is something to write.
    pub(super) fn new(path: &Path) -> Self {
        Self { path: path.to_owned(), open: None }
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// Adds whole lines. Looks first whether the file is still the one at its path, and opens the one that is there now
    /// otherwise: that costs less than the write, and a rotation needs no signal.
    ///
    /// # Errors
    ///
    /// When they cannot be written, or not all of them.
    pub(super) fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let open = self.current()?;
        let mut file = &open.file;
        if open.is_torn {
            file.write_all(b"\n")?;
            open.is_torn = false;
        }
        let mut left = lines;
        while !left.is_empty() {
            let written = match file.write(left) {
                Ok(0) => Err(io::ErrorKind::WriteZero.into()),
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                written => written,
            };
            match written {
                Ok(count) => left = left.get(count..).unwrap_or_default(),
                Err(error) => {
                    let before = lines.len() - left.len();
                    open.is_torn = before > 0 && lines.get(before - 1) != Some(&b'\n');
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    fn current(&mut self) -> io::Result<&mut Open> {
        let there = match fs::metadata(&self.path) {
            Ok(found) => Some((found.dev(), found.ino())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            // Who may not look goes on with what is open.
            Err(_) => self.open.as_ref().map(|open| open.id),
        };
        let open = match self.open.take().filter(|open| Some(open.id) == there) {
            Some(open) => open,
            None => open_file(&self.path)?,
        };
        Ok(self.open.insert(open))
    }
}

fn open_file(path: &Path) -> io::Result<Open> {
    if let Some(directory) = path.parent().filter(|directory| !directory.as_os_str().is_empty()) {
        fs::create_dir_all(directory)?;
    }
    // A pipe that nobody reads is an error, and holds nobody up.
    let flags = OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file =
        OpenOptions::new().append(true).create(true).mode(MODE).custom_flags(flags.bits()).open(path)?;
    let found = file.metadata()?;
    Ok(Open { file, id: (found.dev(), found.ino()), is_torn: false })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn lines_go_to_the_file_that_is_at_the_path() {
        let directory = tempfile::tempdir().unwrap();
        let (path, moved) = (directory.path().join("queries.log"), directory.path().join("queries.log.1"));
        let mut log = LogFile::new(&path);
        assert!(!path.exists());
        log.write(b"one\n").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o027, 0);
        // As logrotate does it, with and without `create`.
        fs::rename(&path, &moved).unwrap();
        log.write(b"two\n").unwrap();
        assert_eq!((fs::read(&moved).unwrap(), fs::read(&path).unwrap()), (b"one\n".into(), b"two\n".into()));
        fs::rename(&path, &moved).unwrap();
        fs::write(&path, "new\n").unwrap();
        log.write(b"three\n").unwrap();
        // With `copytruncate`.
        assert_eq!(fs::read(&path).unwrap(), b"new\nthree\n");
        File::create(&path).unwrap();
        log.write(b"four\n").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"four\n");
        // What was there before a start stays.
        LogFile::new(&path).write(b"five\n").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"four\nfive\n");
    }

    #[test]
    fn what_cannot_be_written_is_an_error_and_the_next_line_is_whole() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("queries.log");
        assert!(LogFile::new(Path::new("/dev/full")).write(b"one\n").is_err());
        let mut log = LogFile::new(&path);
        log.write(b"one\n").unwrap();
        // As a full disk leaves it.
        log.write(b"tw").unwrap();
        log.open.as_mut().unwrap().is_torn = true;
        log.write(b"three\n").unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"one\ntw\nthree\n");
        assert!(LogFile::new(&path.join("below")).write(b"one\n").is_err());
    }

    #[test]
    fn a_pipe_that_nobody_reads_holds_nobody_up() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pipe");
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(LogFile::new(&path).write(b"one\n").is_err());
        let reader =
            OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(&path).unwrap();
        let mut log = LogFile::new(&path);
        let line = [b"x".repeat(4095), b"\n".to_vec()].concat();
        let error = (0..1000).find_map(|_| log.write(&line).err()).unwrap();
        assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
        drop(reader);
    }
}
