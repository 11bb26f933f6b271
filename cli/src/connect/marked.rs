//! Files of ours among those of the system. The first line says so, with a digest of the rest: so it is seen whether somebody
//! has edited them, without a record elsewhere that may be lost.

use std::{
    fs::{self, File},
    io::{self, ErrorKind, Read, Write},
    path::{Path, PathBuf},
};

use sha2::{Digest, Sha256};

/// How the first line begins. All programs whose files are written take such a line for a comment.
const MARK: &str = "# pkdns-cli connect wrote this file, and pkdns-cli connect --undo takes it away";

/// Says that the directory was made as well.
const WITH_DIRECTORY: &str = " with its directory";

/// Such files have some hundred bytes. More is not ours.
const MOST: u64 = 64 * 1024;

/// What there is at a path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Found {
    Nothing,
    /// As it was written. This is the text without the mark.
    Ours(String),
    /// Written by us, and by somebody else since.
    Edited,
    Foreign,
}

/// What is at `path`.
pub(super) fn look(path: &Path) -> io::Result<Found> {
    let mut bytes = Vec::new();
    // Ours never is one, and where it leads may be outside of an image.
    if path.is_symlink() {
        return Ok(Found::Foreign);
    }
    match File::open(path) {
        Ok(file) => file.take(MOST).read_to_end(&mut bytes)?,
        // A file in the place of a directory is not ours either.
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::NotADirectory) => {
            return Ok(Found::Nothing);
        }
        Err(error) => return Err(error),
    };
    let text = String::from_utf8_lossy(&bytes);
    let (first, rest) = text.split_once('\n').unwrap_or((&text, ""));
    match first.strip_prefix(MARK) {
        None => Ok(Found::Foreign),
        Some(told) if told.strip_prefix(WITH_DIRECTORY).unwrap_or(told) == in_brackets(rest) => {
            Ok(Found::Ours(rest.to_owned()))
        }
        Some(_) => Ok(Found::Edited),
    }
}

/// Whether the directory of `path`, which may not be there yet, is below `root` once links are followed.
pub(super) fn is_inside(root: &Path, path: &Path) -> bool {
    let there = path.ancestors().skip(1).find(|path| path.symlink_metadata().is_ok());
    let there = there.and_then(|path| path.canonicalize().ok());
    there.zip(root.canonicalize().ok()).is_some_and(|(there, root)| there.starts_with(root))
}

/// Writes a file as a whole, under its mark, and its directory where there is none. A file of ours that is there keeps what its
/// mark says about the directory.
pub(super) fn write(path: &Path, text: &str) -> io::Result<()> {
    let directory = path.parent().ok_or(ErrorKind::InvalidInput)?;
    let is_new = !directory.is_dir();
    if is_new {
        fs::create_dir(directory)?;
    }
    let with_directory = if is_new || made_directory(path) { WITH_DIRECTORY } else { "" };
    let content = format!("{MARK}{with_directory}{}\n{text}", in_brackets(text));
    // Some programs read every file of the directory, so that this one must not last, nor end as those do.
    let temporary = temporary(path);
    // One may be left from before. What somebody else puts there, such as a link to another file, is not written to.
    let _ = fs::remove_file(&temporary);
    let written = File::create_new(&temporary).and_then(|mut file| {
        file.write_all(content.as_bytes())?;
        file.sync_all()
    });
    let written = written.and_then(|()| fs::rename(&temporary, path));
    if written.is_err() {
        let _ = fs::remove_file(&temporary);
        if is_new {
            let _ = fs::remove_dir(directory);
        }
    }
    written
}

/// Removes files of ours, and the directories that were made with them and where nothing else is.
///
/// # Errors
///
/// The first file that cannot be removed, and why.
pub(super) fn remove(paths: &[PathBuf]) -> Result<(), (&Path, io::Error)> {
    let made: Vec<_> =
        paths.iter().filter(|path| made_directory(path)).filter_map(|path| path.parent()).collect();
    let removed =
        paths.iter().try_for_each(|path| fs::remove_file(path).map_err(|error| (path.as_path(), error)));
    // Others may have put something there.
    made.iter().for_each(|directory| drop(fs::remove_dir(directory)));
    removed
}

fn temporary(path: &Path) -> PathBuf {
    path.with_extension("pkdns-new")
}

fn made_directory(path: &Path) -> bool {
    let first = fs::read_to_string(path).unwrap_or_default();
    first
        .lines()
        .next()
        .and_then(|line| line.strip_prefix(MARK))
        .is_some_and(|rest| rest.starts_with(WITH_DIRECTORY))
}

/// The digest of the text, at the end of the mark.
fn in_brackets(text: &str) -> String {
    let digest = Sha256::digest(text.as_bytes());
    let digest: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!(" [{digest}]")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_known_again_until_somebody_edits_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("pkdns.conf");
        assert_eq!(look(&path).unwrap(), Found::Nothing);
        write(&path, "server=/key/127.0.0.1#5300\n").unwrap();
        assert_eq!(look(&path).unwrap(), Found::Ours("server=/key/127.0.0.1#5300\n".to_owned()));
        let written = fs::read_to_string(&path).unwrap();
        for edited in [written.replace("5300", "5301"), written.clone() + "\n", written.replace(" [", " [0")]
        {
            fs::write(&path, edited).unwrap();
            assert_eq!(look(&path).unwrap(), Found::Edited);
        }
        fs::write(&path, "server=/key/127.0.0.1#5300\n").unwrap();
        assert_eq!(look(&path).unwrap(), Found::Foreign);
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1);
    }

    #[test]
    fn a_link_is_neither_followed_nor_written_through() {
        use std::os::unix::fs::symlink;
        let (image, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let other = outside.path().join("other");
        fs::write(&other, "as it was").unwrap();
        symlink(outside.path(), image.path().join("linked")).unwrap();
        symlink(outside.path().join("gone"), image.path().join("dangling")).unwrap();
        fs::create_dir(image.path().join("own")).unwrap();
        symlink("own", image.path().join("within")).unwrap();
        for (path, expected) in [
            ("linked/pkdns.conf", false),
            ("linked/new/pkdns.conf", false),
            ("dangling/pkdns.conf", false),
            ("linked/../../pkdns.conf", false),
            ("own/pkdns.conf", true),
            ("own/new/pkdns.conf", true),
            ("within/pkdns.conf", true),
        ] {
            assert_eq!(is_inside(image.path(), &image.path().join(path)), expected, "{path}");
        }
        let path = image.path().join("own/pkdns.conf");
        symlink(&other, temporary(&path)).unwrap();
        write(&path, "text\n").unwrap();
        assert_eq!(fs::read_to_string(&other).unwrap(), "as it was");
        assert_eq!(look(&path).unwrap(), Found::Ours("text\n".to_owned()));
        let link = image.path().join("own/link.conf");
        symlink(&path, &link).unwrap();
        assert_eq!(look(&link).unwrap(), Found::Foreign);
    }

    #[test]
    fn a_directory_is_taken_away_only_by_whom_made_it() {
        let directory = tempfile::tempdir().unwrap();
        let made = directory.path().join("resolver");
        write(&made.join("key"), "nameserver 127.0.0.1\n").unwrap();
        // Written again, it is still known.
        write(&made.join("key"), "nameserver 127.0.0.2\n").unwrap();
        assert_eq!(look(&made.join("key")).unwrap(), Found::Ours("nameserver 127.0.0.2\n".to_owned()));
        remove(&[made.join("key")]).unwrap();
        assert!(!made.exists());

        write(&made.join("key"), "").unwrap();
        write(&made.join("pk"), "").unwrap();
        remove(&[made.join("key"), made.join("pk")]).unwrap();
        assert!(!made.exists());

        write(&made.join("key"), "").unwrap();
        fs::write(made.join("other"), "").unwrap();
        remove(&[made.join("key")]).unwrap();
        assert!(made.join("other").exists());

        write(&made.join("key"), "").unwrap();
        fs::remove_file(made.join("other")).unwrap();
        remove(&[made.join("key")]).unwrap();
        assert!(made.exists(), "it was there before");
    }
}
