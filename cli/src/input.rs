//! Files that the user names, and standard input, as far as they are of a sensible size.

use std::{fs::File, io, path::Path};

use pkdns::{config::text_of, zone_file::read_at_most};

/// Stands for standard input in place of a path.
pub(crate) const STANDARD_INPUT: &str = "-";

/// All of a file, or of standard input, of at most `most` bytes; `None` of a larger one.
pub(crate) fn read(path: &Path, most: usize) -> io::Result<Option<Vec<u8>>> {
    if path.as_os_str() == STANDARD_INPUT {
        return read_at_most(io::stdin().lock(), most);
    }
    read_at_most(File::open(path)?, most)
}

/// As [`read`], of a text.
///
/// # Errors
///
/// `InvalidData` of what is not UTF-8.
pub(crate) fn read_text(path: &Path, most: usize) -> io::Result<Option<String>> {
    let text = read(path, most)?.map(text_of).transpose();
    text.map_err(|line| {
        let message = format!("line {line} is not UTF-8, so save the file as UTF-8");
        io::Error::new(io::ErrorKind::InvalidData, message)
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn what_is_larger_is_told_from_what_fits_and_what_has_no_end_is_not_read_to_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "12345").unwrap();
        assert_eq!(read(&path, 5).unwrap().as_deref(), Some(&b"12345"[..]));
        assert_eq!(read(&path, 4).unwrap(), None);
        assert_eq!(read(Path::new("/dev/zero"), 1000).unwrap(), None);
        assert_eq!(read(&path.join("none"), 5).unwrap_err().kind(), io::ErrorKind::NotADirectory);
    }

    #[test]
    fn a_text_is_utf8_and_its_size_is_judged_first() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        fs::write(&path, "12é").unwrap();
        assert_eq!(read_text(&path, 4).unwrap().as_deref(), Some("12é"));
        assert_eq!(read_text(&path, 3).unwrap(), None);
        fs::write(&path, b"\xff").unwrap();
        assert_eq!(read_text(&path, 3).unwrap_err().kind(), io::ErrorKind::InvalidData);
    }
}
