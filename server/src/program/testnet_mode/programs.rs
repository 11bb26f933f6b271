//! How the programs are called in a command that can be pasted.

use std::{
    env,
    ffi::OsStr,
    path::{Path, PathBuf},
};

/// The program `name` as it has to be typed in another terminal.
pub(super) fn shown(name: &str) -> String {
    let own = env::current_exe().unwrap_or_default();
    let path = env::var_os("PATH").unwrap_or_default();
    command(name, &own, &path, |path| path.is_file())
}

/// As [`shown`], for a process that runs `own`.
fn command(name: &str, own: &Path, path: &OsStr, exists: impl Fn(&Path) -> bool) -> String {
    let folder = own.parent().unwrap_or(Path::new(""));
    let on_path = env::split_paths(path).find(|folder| exists(&folder.join(name)));
    let beside = folder.join(name);
    if exists(&beside) && on_path.as_deref() != Some(folder) {
        return quoted(&beside);
    }
    let is_built_by_cargo = folder.parent().is_some_and(|folder| folder.ends_with("target"));
    match on_path {
        None if is_built_by_cargo => format!("cargo run --release -p {name} --"),
        _ => name.to_owned(),
    }
}

/// A path as a shell takes it.
pub(super) fn quoted(path: &Path) -> String {
    let text = path.display().to_string();
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || b"/._-+@:".contains(&byte);
    match text.bytes().all(is_plain) {
        true => text,
        false => format!("'{}'", text.replace('\'', r"'\''")),
    }
}

/// The first of `names` on the PATH, or that is a path itself.
pub(super) fn first(names: &[&str], path: &OsStr, exists: &impl Fn(&Path) -> bool) -> Option<PathBuf> {
    // Joined to a folder, an absolute path stays as it is.
    let candidates =
        names.iter().flat_map(|name| env::split_paths(path).map(move |folder| folder.join(name)));
    candidates.into_iter().find(|path| exists(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_is_named_so_that_it_is_found_from_anywhere() {
        let all = ["/src/target/release/pkdns-cli", "/usr/bin/pkdns-cli", "/my bin/pkdns-cli"];
        for (there, own, path, expected) in [
            (&all[..1], "/src/target/release/pkdns", "/usr/bin", "/src/target/release/pkdns-cli"),
            (&all[..2], "/src/target/release/pkdns", "/usr/bin", "/src/target/release/pkdns-cli"),
            (&all[1..], "/usr/bin/pkdns", "/bin:/usr/bin", "pkdns-cli"),
            (&all[1..2], "/src/target/release/pkdns", "/usr/bin", "pkdns-cli"),
            (&all[2..], "/my bin/pkdns", "/usr/bin", "'/my bin/pkdns-cli'"),
            (&[], "/src/target/release/pkdns", "/usr/bin", "cargo run --release -p pkdns-cli --"),
            (&[], "/opt/pkdns", "/usr/bin", "pkdns-cli"),
        ] {
            let exists = |path: &Path| there.iter().any(|it| Path::new(it) == path);
            assert_eq!(
                command("pkdns-cli", Path::new(own), path.as_ref(), exists),
                expected,
                "{own} {there:?}"
            );
        }
    }

    #[test]
    fn a_path_is_one_word_of_a_shell() {
        assert_eq!(quoted(Path::new("/a/b-c.d")), "/a/b-c.d");
        assert_eq!(quoted(Path::new("/it's/$HOME")), r"'/it'\''s/$HOME'");
    }
}
