//! Files that hold secrets: read without leaving copies in memory, written for their owner alone.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    os::unix::fs::{OpenOptionsExt, PermissionsExt},
    path::Path,
};

use zeroize::Zeroizing;

use super::FileName;

/// Reads a file, or standard input where the path is `-`, but not more than `most` bytes. Also returns what to tell the
/// owner of a file that others can read.
pub(super) fn read(path: &Path, most: usize) -> io::Result<(Zeroizing<Vec<u8>>, Option<String>)> {
    if path == Path::new("-") {
        return Ok((fill(&mut io::stdin().lock(), most)?, None));
    }
    let mut file = File::open(path)?;
    let warning = warning(&file, path)?;
    Ok((fill(&mut file, most)?, warning))
}

/// Writes a new file that only its owner can read.
///
/// # Errors
///
/// `AlreadyExists` when there is one; nothing is ever overwritten.
pub(super) fn write_new(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(content).and_then(|()| file.sync_all()).inspect_err(|_| {
        // Half a secret is of no use to anyone, and would be in the way of the next attempt.
        let _ = fs::remove_file(path);
    })
}

/// Reads until the end or until there are `most` bytes, without the copies that a growing buffer leaves behind.
fn fill(source: &mut impl Read, most: usize) -> io::Result<Zeroizing<Vec<u8>>> {
    let mut bytes = Zeroizing::new(vec![0; most]);
    let mut length = 0;
    while let Some(rest) = bytes.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match source.read(rest) {
            Ok(0) => break,
            Ok(read) => length += read,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    bytes.truncate(length);
    Ok(bytes)
}

fn warning(file: &File, path: &Path) -> io::Result<Option<String>> {
    let metadata = file.metadata()?;
    let mode = metadata.permissions().mode() & 0o777;
    let file = FileName::of(path);
    // A pipe belongs to whoever made it.
    Ok((metadata.is_file() && mode & 0o077 != 0).then(|| {
        format!("warning: {file} is open to other users of this machine (mode {mode:o}): run chmod 600 on it")
    }))
}
