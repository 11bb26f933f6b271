//! A directory for what a testnet needs while it runs.

use std::{
    env, fs, io,
    os::unix::fs::DirBuilderExt,
    path::{Path, PathBuf},
    process,
};

/// A directory that only its user may look into, removed when this is dropped.
pub(super) struct Scratch {
    path: PathBuf,
}

impl Scratch {
    pub(super) fn new() -> io::Result<Self> {
        // Nobody else can have made a directory of that name before, or it is an error.
        let mut random = [0; 4];
        getrandom::fill(&mut random).map_err(io::Error::other)?;
        let name = format!("pkdns-testnet-{}-{:08x}", process::id(), u32::from_ne_bytes(random));
        let path = env::temp_dir().join(name);
        make(&path)?;
        Ok(Self { path })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// A new directory that `program` can look into. A program from a snap has a /tmp of its own and sees no hidden directory
    /// of its user, but has one that is neither.
    pub(super) fn for_program(&self, program: &Path, home: Option<&Path>) -> io::Result<PathBuf> {
        let name = program.file_name().unwrap_or_default();
        let path = match home {
            Some(home) if program.starts_with("/snap/bin") => {
                let common = home.join("snap").join(name).join("common");
                let path = common.join(self.path.file_name().unwrap_or_default());
                fs::create_dir_all(common)?;
                path
            }
            _ => self.path.join(name),
        };
        make(&path)?;
        Ok(path)
    }
}

fn make(path: &Path) -> io::Result<()> {
    fs::DirBuilder::new().mode(0o700).create(path)
}

impl Drop for Scratch {
    fn drop(&mut self) {
        // A browser that still runs may be writing to it.
        let _ = fs::remove_dir_all(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    #[test]
    fn it_is_for_its_user_alone_and_gone_at_the_end() {
        let scratch = Scratch::new().unwrap();
        let path = scratch.path().to_owned();
        let profile = scratch.for_program(Path::new("/usr/bin/chromium"), None).unwrap();
        assert_eq!(profile, path.join("chromium"));
        for path in [&path, &profile] {
            assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o700);
        }
        drop(scratch);
        assert!(!path.exists());
    }

    #[test]
    fn a_snap_gets_a_directory_that_it_can_see() {
        let home = tempfile::tempdir().unwrap();
        let scratch = Scratch::new().unwrap();
        let profile = scratch.for_program(Path::new("/snap/bin/firefox"), Some(home.path())).unwrap();
        assert!(profile.starts_with(home.path().join("snap/firefox/common")), "{}", profile.display());
    }
}
