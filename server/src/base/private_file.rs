//! Files that only their user may read, and those beside them that everybody may.

use std::{
    fs::{self, Permissions},
    io::{self, Write},
    os::unix::fs::PermissionsExt,
    path::Path,
};

use nix::unistd::{AccessFlags, access};
pub(crate) use pkdns_dht::internal::replace_with;

/// Puts a file with these bytes at `path`, whole or not at all. Its directory is created. Once this has returned, the
/// file outlasts a loss of power.
///
/// # Errors
///
/// When the file cannot be written; what was there before is still there, unless only the directory could not be
/// brought to the disk.
pub fn replace(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_with(path, |file| file.write_all(bytes))
}

/// As [`replace`], but everybody may read the file, whatever the umask says.
///
/// # Errors
///
/// As [`replace`].
pub fn replace_readable(path: &Path, bytes: &[u8]) -> io::Result<()> {
    replace_with(path, |file| {
        file.set_permissions(Permissions::from_mode(0o644))?;
        file.write_all(bytes)
    })
}

/// Whether files could be put into a directory, which is made with those above it where it is not there. Nothing is made or
/// written.
///
/// # Errors
///
/// Why not.
pub fn check_directory(path: &Path) -> io::Result<()> {
    let mut place = path;
    loop {
        match fs::metadata(place) {
            Ok(found) if !found.is_dir() => return Err(io::ErrorKind::NotADirectory.into()),
            Ok(_) => return Ok(access(place, AccessFlags::W_OK | AccessFlags::X_OK)?),
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            Err(error) => {
                place = match place.parent() {
                    Some(above) if !above.as_os_str().is_empty() => above,
                    Some(_) if place != Path::new(".") => Path::new("."),
                    _ => return Err(error),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_is_checked_and_not_made() {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("file");
        fs::write(&file, "").unwrap();
        assert!(check_directory(&directory.path().join("new/below")).is_ok());
        assert!(!directory.path().join("new").exists());
        assert!(check_directory(&file).is_err() && check_directory(&file.join("below")).is_err());
        assert!(check_directory(Path::new("no-such-directory-here")).is_ok());
    }

    #[test]
    fn a_file_is_replaced_as_a_whole_and_is_for_its_user_alone() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("new/file");
        // As a crash leaves it, and where somebody else may have put a link.
        replace(&path, b"first").unwrap();
        let other = directory.path().join("other");
        fs::write(&other, "other").unwrap();
        std::os::unix::fs::symlink(&other, directory.path().join("new/file.tmp")).unwrap();
        replace(&path, b"second").unwrap();
        assert_eq!(
            (fs::read(&path).unwrap(), fs::read(&other).unwrap()),
            (b"second".into(), b"other".into())
        );
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(fs::read_dir(directory.path().join("new")).unwrap().count(), 1);
        replace_readable(&path, b"third").unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o644);
        assert!(replace(&directory.path().join("new"), b"a directory is in the way").is_err());
        assert!(replace(Path::new("/"), b"").is_err());
    }
}
