//! Programs that tests run, and what becomes of a test whose program is missing.

use std::{
    env,
    io::{self, Write},
    path::{Path, PathBuf},
    process::{ChildStdin, Command, Stdio},
    sync::{LazyLock, Mutex, PoisonError},
};

/// Finds `program`, a name or a path, where `is_usable` says so. `None`: it is not installed, and that is to be accepted; unless
/// `CI=true`, where the test fails. `package` is what to install.
pub fn find(program: &str, is_usable: impl Fn(&Path) -> bool, package: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    // Debian keeps servers in /usr/sbin, where not every user looks.
    let directories = env::split_paths(&path).chain(["/usr/bin".into(), "/usr/sbin".into()]);
    let found =
        directories.map(|directory| directory.join(program)).find(|path| path.is_file() && is_usable(path));
    if found.is_none() {
        let missing = format!("no usable {program}: install {package}");
        assert!(env::var("CI").as_deref() != Ok("true"), "{missing}");
        skip(&missing);
    }
    found
}

/// The path of a program of the package whose tests or benchmarks run: Cargo has built it into the directory above theirs.
pub fn built(program: &str) -> PathBuf {
    let directory = env::current_exe().unwrap();
    let path = directory.parent().and_then(Path::parent).unwrap().join(program);
    assert!(path.is_file(), "{} has not been built", path.display());
    path
}

/// Tells whoever runs the tests what was measured.
pub fn tell(measured: &str) {
    // Not through `eprintln!`, which is only shown when a test fails.
    io::stderr().write_all(format!("MEASURED: {measured}\n").as_bytes()).unwrap();
}

/// Says why a test does nothing: now, and once more when all tests of this program have ended.
pub fn skip(reason: &str) {
    // Not through `eprintln!`, which is only shown when a test fails.
    io::stderr().write_all(format!("SKIPPED: {reason}\n").as_bytes()).unwrap();
    // Tests that failed while they held it have written whole lines.
    let mut summary = SUMMARY.lock().unwrap_or_else(PoisonError::into_inner);
    let _ = writeln!(summary, "{reason}");
}

/// Takes what was skipped. Nothing of a program with tests runs at its end, but another process sees that nobody writes any more.
static SUMMARY: LazyLock<Mutex<ChildStdin>> = LazyLock::new(|| {
    let mut shell = Command::new("sh");
    shell.args(["-c", "sort | uniq -c | sed 's/^ *\\([0-9]*\\) /SKIPPED in all: \\1 x /' >&2"]);
    #[allow(clippy::zombie_processes, reason = "it ends after this process, which cannot wait for it")]
    let shell = shell.stdin(Stdio::piped()).stdout(Stdio::null()).spawn().unwrap();
    Mutex::new(shell.stdin.unwrap())
});
