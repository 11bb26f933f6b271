//! Where Firefox keeps its profiles. The reader of `profiles.ini` is pure.

use std::path::{Path, PathBuf};

use pkdns::base::watched_files;

/// Directories in the home of a user that hold a `profiles.ini`: of packages, of a newer Firefox, of Snap, of Flatpak, and of
/// what is made of Firefox.
const PLACES: [&str; 7] = [
    ".mozilla/firefox",
    ".config/mozilla/firefox",
    "snap/firefox/common/.mozilla/firefox",
    ".var/app/org.mozilla.firefox/.mozilla/firefox",
    ".var/app/org.mozilla.firefox/config/mozilla/firefox",
    ".librewolf",
    ".var/app/io.gitlab.librewolf-community/.librewolf",
];

/// A `profiles.ini` has some hundred bytes for each profile.
const MAX_SIZE: u64 = 1 << 20;

/// Directories of the profiles that are there.
pub(super) fn find(home: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for place in PLACES.map(|place| home.join(place)) {
        let text = watched_files::read(&place.join("profiles.ini"), MAX_SIZE).unwrap_or_default();
        let profiles = read(&String::from_utf8_lossy(&text), &place).into_iter();
        found.extend(profiles.filter(|profile| profile.is_dir()));
    }
    found.sort();
    found.dedup();
    found
}

/// The directories of the profiles in a list that lies in `place`.
fn read(text: &str, place: &Path) -> Vec<PathBuf> {
    let (mut profiles, mut is_profile) = (Vec::new(), false);
    let mut path: Option<&str> = None;
    // Path and IsRelative come in any order; a path that begins with a slash is absolute all the same.
    let mut take = |path: &mut Option<&str>| profiles.extend(path.take().map(|path| place.join(path)));
    for line in text.lines().map(str::trim) {
        if let Some(section) = line.strip_prefix('[') {
            take(&mut path);
            is_profile = section.starts_with("Profile");
        } else if let Some(value) = line.strip_prefix("Path=").filter(|_| is_profile) {
            path = Some(value);
        }
    }
    take(&mut path);
    profiles
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn profiles_are_read_wherever_they_are_and_nothing_else_is() {
        let text = "[Install4F96D1932A9F858E]\nDefault=abc.default\nPath=none\nLocked=1\n\n[Profile1]\nName=other\n\
                    IsRelative=0\nPath=/srv/profile\n\n[Profile0]\r\nName=default\r\nPath=abc.default\r\nIsRelative=1\r\n\n\
                    [General]\nPath=none\nVersion=2\n";
        let expected: Vec<PathBuf> =
            vec!["/srv/profile".into(), "/home/u/.mozilla/firefox/abc.default".into()];
        assert_eq!(read(text, Path::new("/home/u/.mozilla/firefox")), expected);
        assert!(read("", Path::new("/")).is_empty());
    }

    #[test]
    fn only_profiles_that_are_there_are_found_once_each() {
        let home = tempfile::tempdir().unwrap();
        let place = home.path().join("snap/firefox/common/.mozilla/firefox");
        fs::create_dir_all(place.join("a.default")).unwrap();
        let list = "[Profile0]\nPath=a.default\n[Profile1]\nPath=gone\n[Profile2]\nPath=a.default\n";
        fs::write(place.join("profiles.ini"), list).unwrap();
        assert_eq!(find(home.path()), [place.join("a.default")]);
        assert!(find(&home.path().join("nobody")).is_empty());
    }
}
