//! What a server said last, kept on disk so that a restart without it denies the same. Blocks.
//!
//! A file for each list: a line that says what it is, the address, the two validators, the time in seconds since 1970, the
//! number of entries, and behind these lines the entries.

use std::{
    collections::HashSet,
    fs,
    io::{self, ErrorKind, Write},
    path::{Path, PathBuf},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use sha2::{Digest, Sha256};

use super::{
    keys::{ENTRY_SIZE, KeySet},
    reader::MAX_KEYS,
};
use crate::base::{config::ListUrl, private_file, watched_files};

/// In the directory of the packets.
const DIRECTORY: &str = "denied-keys";

const FORMAT: &str = "pkdns denied keys 1";

/// Bytes of the lines before the entries: an address may be long.
const MAX_HEAD_SIZE: usize = 70_000;

/// Which version of a list is known (RFC 9110 section 8.8).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Validators {
    pub(super) etag: Option<String>,
    pub(super) last_modified: Option<String>,
}

/// A list as it came.
#[derive(Debug, PartialEq)]
pub(super) struct Kept {
    pub(super) keys: KeySet,
    pub(super) validators: Validators,
    pub(super) fetched: SystemTime,
}

/// What came last from `url`. `None` where nothing has.
pub(super) fn read(directory: &Path, url: &ListUrl) -> io::Result<Option<Kept>> {
    let limit = (MAX_HEAD_SIZE + MAX_KEYS * ENTRY_SIZE) as u64;
    match watched_files::read(&path_of(directory, url), limit) {
        Ok(bytes) => parse(&bytes, url).ok_or_else(|| ErrorKind::InvalidData.into()).map(Some),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
        Err(error) => Err(error),
    }
}

pub(super) fn write(directory: &Path, url: &ListUrl, copy: &Kept) -> io::Result<()> {
    private_file::replace_with(&path_of(directory, url), |file| {
        file.write_all(head(url, copy).as_bytes())?;
        file.write_all(copy.keys.bytes())
    })
}

/// Removes the copies of other lists than these.
pub(super) fn remove_others<'a>(directory: &Path, urls: impl Iterator<Item = &'a ListUrl>) -> io::Result<()> {
    let kept: HashSet<_> = urls.map(|url| path_of(directory, url)).collect();
    let entries = match fs::read_dir(directory.join(DIRECTORY)) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        entries => entries?,
    };
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "keys") && !kept.contains(&path) {
            fs::remove_file(path)?;
        }
    }
    Ok(())
}

fn path_of(directory: &Path, url: &ListUrl) -> PathBuf {
    let hash = Sha256::digest(url.to_string());
    let name: String = hash.iter().take(16).map(|byte| format!("{byte:02x}")).collect();
    directory.join(DIRECTORY).join(name + ".keys")
}

fn head(url: &ListUrl, Kept { keys, validators, fetched }: &Kept) -> String {
    let [etag, modified] =
        [&validators.etag, &validators.last_modified].map(|text| text.as_deref().unwrap_or_default());
    let seconds = fetched.duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    format!("{FORMAT}\n{url}\n{etag}\n{modified}\n{seconds}\n{}\n", keys.len())
}

/// `None` where it is no whole copy of this list.
fn parse(bytes: &[u8], url: &ListUrl) -> Option<Kept> {
    let mut parts = bytes.splitn(7, |byte| *byte == b'\n');
    let mut line = || str::from_utf8(parts.next()?).ok();
    if line()? != FORMAT || line()? != url.to_string() {
        return None;
    }
    let mut validator = || Some(line()?.to_owned()).map(|text| (!text.is_empty()).then_some(text));
    let validators = Validators { etag: validator()?, last_modified: validator()? };
    let fetched = UNIX_EPOCH.checked_add(Duration::from_secs(line()?.parse().ok()?))?;
    let count: usize = line()?.parse().ok()?;
    let keys = KeySet::from_bytes(parts.next()?).filter(|keys| keys.len() == count)?;
    Some(Kept { keys, validators, fetched })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::base::config::DenyList;

    fn url(text: &str) -> ListUrl {
        match text.parse() {
            Ok(DenyList::Url(url)) => url,
            other => panic!("{other:?}"),
        }
    }

    fn kept(etag: Option<&str>) -> Kept {
        Kept {
            keys: KeySet::new(vec![[b'\n'; ENTRY_SIZE], [0; ENTRY_SIZE], [255; ENTRY_SIZE]]),
            validators: Validators { etag: etag.map(str::to_owned), last_modified: None },
            fetched: UNIX_EPOCH + Duration::from_secs(1_700_000_000),
        }
    }

    #[test]
    fn a_copy_is_what_was_written_and_nobody_else_reads_it() {
        let directory = tempfile::tempdir().unwrap();
        let (one, other) = (url("https://lists.example/keys"), url("https://lists.example/others"));
        assert_eq!(read(directory.path(), &one).unwrap(), None);
        for etag in [Some("\"a\""), None] {
            write(directory.path(), &one, &kept(etag)).unwrap();
            assert_eq!(read(directory.path(), &one).unwrap(), Some(kept(etag)));
        }
        let mode = fs::metadata(path_of(directory.path(), &one)).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o600);
        write(directory.path(), &other, &kept(None)).unwrap();
        remove_others(directory.path(), [&other].into_iter()).unwrap();
        assert_eq!(read(directory.path(), &one).unwrap(), None);
        assert!(read(directory.path(), &other).unwrap().is_some());
        remove_others(&directory.path().join("none"), [].into_iter()).unwrap();
    }

    #[test]
    fn a_copy_that_is_cut_or_of_another_list_is_none() {
        let url = url("https://lists.example/keys");
        let copy = kept(Some("\"a\""));
        let whole = [head(&url, &copy).as_bytes(), copy.keys.bytes()].concat();
        assert_eq!(parse(&whole, &url), Some(copy));
        for length in 0..whole.len() {
            assert_eq!(parse(&whole[..length], &url), None, "{length}");
        }
        let other = "https://lists.example/other".parse().ok().and_then(|list| match list {
            DenyList::Url(url) => Some(url),
            DenyList::File(_) => None,
        });
        assert_eq!(parse(&whole, &other.unwrap()), None);
    }
}
