//! Lists on this machine. Blocks.

use std::{
    fs::{self, File, Metadata},
    io::{self, Read},
    os::unix::fs::MetadataExt,
    path::Path,
    time::{Duration, SystemTime},
};

use sha2::{Digest, Sha256};

use super::reader::{List, MAX_LIST_SIZE, NoList, Reader};

/// Bytes that are read at once.
const PIECE: usize = 64 << 10;

/// A file that was changed so lately may change again within the same tick of its clock.
const UNSETTLED: Duration = Duration::from_secs(2);

/// What a file holds, as a hash: lists are too large to be kept for comparing them.
pub(super) type Contents = [u8; 32];

/// Reads a file whole.
pub(super) fn read(path: &Path) -> Result<(List, Contents), String> {
    let (mut reader, mut hash) = (Reader::default(), Sha256::new());
    each_piece(path, |piece| {
        hash.update(piece);
        reader.push(piece).map_err(|error| error.to_string())
    })?;
    let list = reader.finish().map_err(|error: NoList| error.to_string())?;
    Ok((list, hash.finalize().into()))
}

/// What a file held when it was last looked at, so that one that has not been touched since is not read.
#[derive(Debug, Default)]
pub(super) struct LastLook(Option<(Stamp, Contents)>);

type Stamp = (u64, u64, u64, i64, i64);

impl LastLook {
    /// What the file holds now.
    pub(super) fn look(&mut self, path: &Path) -> Result<Contents, String> {
        let metadata = fs::metadata(path).map_err(|error| error.to_string())?;
        let stamp = stamp(&metadata);
        if let Some((before, contents)) = &self.0
            && *before == stamp
        {
            return Ok(*contents);
        }
        let mut hash = Sha256::new();
        each_piece(path, |piece| {
            hash.update(piece);
            Ok(())
        })?;
        let contents = hash.finalize().into();
        let is_settled = metadata.modified().is_ok_and(|at| is_old(at) && is_old(changed(&metadata)));
        self.0 = is_settled.then_some((stamp, contents));
        Ok(contents)
    }
}

fn stamp(metadata: &Metadata) -> Stamp {
    (metadata.dev(), metadata.ino(), metadata.len(), metadata.ctime(), metadata.ctime_nsec())
}

fn changed(metadata: &Metadata) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(u64::try_from(metadata.ctime()).unwrap_or(0))
}

/// A time in the future is not old.
fn is_old(time: SystemTime) -> bool {
    SystemTime::now().duration_since(time).is_ok_and(|age| age > UNSETTLED)
}

fn each_piece(path: &Path, mut take: impl FnMut(&[u8]) -> Result<(), String>) -> Result<(), String> {
    let told = |error: io::Error| error.to_string();
    let metadata = fs::metadata(path).map_err(told)?;
    // Opening a named pipe would wait for somebody to write to it.
    if !metadata.is_file() {
        return Err("it is not a file".into());
    }
    let mut file = File::open(path).map_err(told)?.take(MAX_LIST_SIZE.saturating_add(1));
    let mut piece = vec![0; PIECE];
    loop {
        match file.read(&mut piece) {
            Ok(0) => return Ok(()),
            Ok(size) => take(piece.get(..size).unwrap_or_default())?,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(told(error)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_that_was_touched_is_looked_at_again_and_one_that_was_not_is_not_read() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("list");
        let mut last = LastLook::default();
        assert!(last.look(&path).is_err());
        fs::write(&path, "# one\n").unwrap();
        let one = last.look(&path).unwrap();
        // Of the same length, within the same tick.
        fs::write(&path, "# two\n").unwrap();
        let two = last.look(&path).unwrap();
        assert_ne!(one, two);
        assert_eq!(two, read(&path).unwrap().1);
        // What was remembered of a file that has not been touched counts.
        last.0 = Some((stamp(&fs::metadata(&path).unwrap()), one));
        assert_eq!(last.look(&path).unwrap(), one);
        assert!(read(directory.path()).unwrap_err().contains("not a file"));
    }
}
