//! A second process, one that is killed, and one with a full disk.

use std::{
    env, fs,
    io::{BufRead, BufReader},
    path::{Path, PathBuf},
    process::{self, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use pkdns::sources::packets::{DiskError, DiskStore};
use pkdns_testing::{process::Killed, wait::eventually};

use super::{LONG, PLENTY, damaged, key, open, stored};

/// Names the directory to a process that a test starts from its own program.
const DIRECTORY: &str = "PKDNS_TEST_DIRECTORY";

#[test]
fn a_directory_belongs_to_one_store_and_to_one_process() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("packets");
    let store = open(&path);
    let Err(error @ DiskError::Locked { .. }) = DiskStore::open(&path, PLENTY) else { panic!("two stores") };
    let message = error.to_string();
    assert!(
        message.contains("in use by another pkdns; stop it") && message.contains("cache.path"),
        "{message}"
    );

    let settings = "listen = '127.0.0.1:0'\nfallback_dns = '127.0.0.1:9'\n[dht]\nenabled = false\n";
    fs::write(directory.path().join("pkdns.toml"), settings).unwrap();
    let pkdns = || {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pkdns"));
        command.arg("--pkdns-dir").arg(directory.path()).env_remove("RUST_LOG");
        command
    };
    let output = pkdns().output().unwrap();
    let stderr = String::from_utf8(output.stderr).unwrap();
    assert!(output.status.code() == Some(1) && stderr.ends_with(&format!("{message}\n")), "{stderr}");

    assert!(pkdns().arg("--check").status().unwrap().success());
    drop(store);
    fs::remove_dir_all(&path).unwrap();
    assert!(pkdns().arg("--check").status().unwrap().success());
    assert!(!path.exists());
}

#[tokio::test]
async fn a_directory_is_lent_to_another_store_and_taken_back() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("packets");
    let store = open(&path);
    store.put(stored(1, 1));
    store.lend().await;
    let other = open(&path);
    assert_eq!(other.get(&key(1)).await, Some(stored(1, 1)), "what waited is written first");
    other.put(stored(2, 1));
    // From memory, and later on disk.
    store.put(stored(3, 1));
    assert_eq!(store.get(&key(3)).await, Some(stored(3, 1)));
    assert_eq!(store.get(&key(1)).await, None);
    store.flush().await;
    other.close().await;
    store.take_back().await;
    assert!(matches!(DiskStore::open(&path, PLENTY), Err(DiskError::Locked { .. })));
    store.close().await;
    let after = open(&path);
    for number in 1..=3 {
        assert_eq!(after.get(&key(number)).await, Some(stored(number, 1)), "{number}");
    }
}

#[tokio::test]
async fn a_store_that_has_lent_its_directory_ends_without_a_wait() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    store.lend().await;
    store.put(stored(1, 1));
    let begin = Instant::now();
    store.close().await;
    drop(store);
    assert!(begin.elapsed() < LONG);
    assert!(open(directory.path()).is_empty());
}

/// A test of this program, in a process of its own. It may have been killed already.
struct Other(Killed);

impl Other {
    fn start(test: &str, directory: &Path, shell: &str) -> Self {
        let script = format!("{shell} exec \"$0\" --exact {test} --nocapture");
        let mut command = Command::new("sh");
        command.args(["-c", &script]).arg(env::current_exe().unwrap()).env(DIRECTORY, directory);
        Self(Killed(command.stdout(Stdio::piped()).spawn().unwrap()))
    }

    /// The numbers that it prints, each on a line.
    fn numbers(&mut self) -> impl Iterator<Item = u32> + use<> {
        let lines = BufReader::new(self.0.stdout.take().unwrap()).lines().map_while(Result::ok);
        lines.filter_map(|line| line.strip_prefix("on disk: ")?.parse().ok())
    }
}

/// None in a run of all tests: what follows is the part of a process that another test starts.
fn given_directory() -> Option<PathBuf> {
    env::var_os(DIRECTORY).map(PathBuf::from)
}

/// Puts packet after packet, and says how many are on disk.
#[tokio::test]
async fn put_without_end() {
    let Some(directory) = given_directory() else { return };
    let store = open(&directory);
    let mut on_disk = store.len();
    for number in u32::try_from(on_disk).unwrap().. {
        store.put(stored(number, 1));
        if store.len() != on_disk {
            on_disk = store.len();
            println!("on disk: {on_disk}");
        }
        tokio::time::sleep(Duration::from_micros(500)).await;
    }
}

#[tokio::test]
async fn a_kill_loses_nothing_that_was_on_disk_and_damages_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut salt = process::id();
    for _ in 0..6 {
        let mut other = Other::start("processes::put_without_end", directory.path(), "");
        let mut numbers = other.numbers();
        // The moment of the kill is anywhere between two transactions, or in one.
        assert!(numbers.next().is_some());
        salt = salt.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        thread::sleep(Duration::from_micros(u64::from(salt >> 12)));
        other.0.kill().unwrap();
        other.0.wait().unwrap();
        let Some(on_disk) = numbers.last() else { continue };

        let store = open(directory.path());
        let len = u32::try_from(store.len()).unwrap();
        assert!(len >= on_disk && !damaged(directory.path()).exists(), "{len} of {on_disk}");
        for number in 0..len {
            assert_eq!(store.get(&key(number)).await, Some(stored(number, 1)));
        }
    }
}

/// Runs with a limit on the size of files.
#[tokio::test]
async fn fill_the_disk() {
    let Some(directory) = given_directory() else { return };
    let store = open(&directory);
    let mut on_disk = 0;
    for number in 0..10_000 {
        store.put(stored(number, 1));
        if number % 500 == 499 {
            store.flush().await;
            if store.len() == on_disk {
                break;
            }
            on_disk = store.len();
        }
    }
    assert!((500..9000).contains(&on_disk), "{on_disk}");
    // What is there is still served, and so is what waits.
    for number in 0..u32::try_from(on_disk).unwrap() + 100 {
        assert_eq!(store.get(&key(number)).await, Some(stored(number, 1)), "{number}");
    }
    let (_, hard) = getrlimit(Resource::RLIMIT_FSIZE).unwrap();
    setrlimit(Resource::RLIMIT_FSIZE, hard, hard).unwrap();
    eventually("it is on disk", async || store.len() != on_disk).await;
    store.close().await;
    println!("on disk: {}", store.len());
}

#[tokio::test]
async fn a_full_disk_costs_nothing_but_news_and_only_while_it_is_full() {
    let directory = tempfile::tempdir().unwrap();
    // Blocks of 512 bytes; the signal that comes with the error would end the process.
    let mut other =
        Other::start("processes::fill_the_disk", directory.path(), "trap '' XFSZ; ulimit -S -f 4000;");
    let on_disk = other.numbers().last().expect("the test in the other process to succeed");
    let store = open(directory.path());
    assert_eq!(store.len(), on_disk as usize);
    assert!(!damaged(directory.path()).exists());
    for number in 0..on_disk {
        assert_eq!(store.get(&key(number)).await, Some(stored(number, 1)));
    }
}
