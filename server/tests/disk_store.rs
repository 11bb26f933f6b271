//! Packets on disk as the server meets them: restarts, kills, damage, a full disk, a second process.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail where it stands")]

use std::{
    env, fs,
    io::{BufRead, BufReader},
    os::unix::fs::{FileExt, PermissionsExt},
    path::{Path, PathBuf},
    process::{self, Child, Command, Stdio},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use nix::sys::resource::{Resource, getrlimit, setrlimit};
use pkdns::{
    packets::{DiskError, DiskStore, Stored},
    signed_packet::{Keypair, PublicKey, SignedPacket},
};
use proptest::prelude::*;
use tokio::runtime::Runtime;

/// More than any test writes.
const PLENTY: u64 = 1_000_000_000;

/// Long after everything that is waited for.
const LONG: Duration = Duration::from_secs(60);

/// Names the directory to a process that a test starts from its own program.
const DIRECTORY: &str = "PKDNS_TEST_DIRECTORY";

fn keypair(number: u32) -> Keypair {
    let mut secret = [5; 32];
    secret[..4].copy_from_slice(&number.to_be_bytes());
    Keypair::from_secret_key(&secret)
}

fn key(number: u32) -> PublicKey {
    keypair(number).public_key()
}

fn seconds(count: u64) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(count)
}

/// Packets with greater numbers are fresh for longer.
fn stored(number: u32, timestamp: u64) -> Stored {
    let dns = [b'x'; 200].map(|byte| byte ^ number.to_be_bytes()[3]);
    Stored {
        packet: SignedPacket::sign(&keypair(number), timestamp, &dns).unwrap(),
        received: seconds(1000),
        fresh_until: seconds(2000 + u64::from(number)),
    }
}

fn open(directory: &Path) -> DiskStore {
    DiskStore::open(directory, PLENTY).unwrap()
}

fn file(directory: &Path) -> PathBuf {
    directory.join("packets.redb")
}

fn damaged(directory: &Path) -> PathBuf {
    directory.join("packets.redb.damaged")
}

/// Keeps the packets that `numbers` stand for.
async fn fill(directory: &Path, numbers: std::ops::Range<u32>) {
    let store = open(directory);
    numbers.for_each(|number| store.put(stored(number, 1)));
    store.close().await;
}

/// Whether the store keeps a packet over a restart, after as many attempts as two failures may cost.
async fn is_usable(directory: &Path) -> bool {
    for attempt in 0..3 {
        let news = stored(1_000_000 + attempt, 1);
        let store = open(directory);
        store.put(news.clone());
        store.close().await;
        if open(directory).get(news.packet.key()).await == Some(news) {
            return true;
        }
    }
    false
}

#[tokio::test]
async fn a_restart_forgets_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("a/b");
    fill(&path, 0..100).await;
    let store = open(&path);
    assert_eq!(store.len(), 100);
    for number in 0..100 {
        assert_eq!(store.get(&key(number)).await, Some(stored(number, 1)));
    }
    assert_eq!(store.get(&key(100)).await, None);
    // Which keys are looked up here is nobody else's business.
    for (path, mode) in [(path.clone(), 0o700), (file(&path), 0o600)] {
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, mode);
    }
}

#[tokio::test]
async fn a_packet_is_found_before_it_is_on_disk_and_gets_there_by_itself() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    store.put(stored(1, 1));
    assert_eq!(store.get(&key(1)).await, Some(stored(1, 1)));
    let begin = Instant::now();
    while store.len() == 0 {
        assert!(begin.elapsed() < LONG);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    assert_eq!(store.get(&key(1)).await, Some(stored(1, 1)));
}

#[tokio::test]
async fn an_older_packet_never_replaces_a_newer_one_and_of_the_same_the_later_times_stay() {
    let later = Stored { fresh_until: seconds(9999), ..stored(1, 2) };
    for is_flushed in [false, true] {
        let directory = tempfile::tempdir().unwrap();
        let store = open(directory.path());
        for (news, expected) in [
            (stored(1, 2), stored(1, 2)),
            (stored(1, 1), stored(1, 2)),
            (later.clone(), later.clone()),
            (stored(1, 2), later.clone()),
            (stored(1, 3), stored(1, 3)),
            (later.clone(), stored(1, 3)),
        ] {
            store.put(news);
            if is_flushed {
                store.flush().await;
            }
            assert_eq!(store.get(&key(1)).await, Some(expected));
        }
        store.close().await;
        assert_eq!(open(directory.path()).get(&key(1)).await, Some(stored(1, 3)));
    }
}

#[tokio::test]
async fn what_was_put_before_the_end_is_written_and_nothing_after_it() {
    let directory = tempfile::tempdir().unwrap();
    let store = open(directory.path());
    store.put(stored(1, 1));
    store.close().await;
    store.put(stored(2, 1));
    store.flush().await;
    assert_eq!(store.get(&key(1)).await, None);
    // While the first one is still there.
    let next = open(directory.path());
    assert_eq!((next.get(&key(1)).await, next.get(&key(2)).await), (Some(stored(1, 1)), None));
    drop((next, store));
    open(directory.path());
}

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
async fn over_the_bound_the_oldest_go_and_the_file_stays_small() {
    const BOUND: u64 = 2_000_000;
    const COUNT: u32 = 20_000;
    let directory = tempfile::tempdir().unwrap();
    let store = DiskStore::open(directory.path(), BOUND).unwrap();
    for number in 0..COUNT {
        store.put(stored(number, 1));
        if number % 1000 == 999 {
            store.flush().await;
        }
    }
    store.flush().await;
    // A record is of 321 bytes.
    assert!((2000..=3200).contains(&store.len()), "{}", store.len());
    let size = fs::metadata(file(directory.path())).unwrap().len();
    assert!(size <= BOUND * 3 / 2, "{size}");
    let mut kept = [0, 0];
    for number in (0..COUNT).step_by(10) {
        kept[usize::from(number >= COUNT / 2)] += u32::from(store.get(&key(number)).await.is_some());
    }
    assert!(kept[0] * 4 < kept[1], "of the older and of the newer half: {kept:?}");
}

#[tokio::test]
async fn what_is_not_a_packet_of_its_key_is_absent_and_makes_room() {
    let directory = tempfile::tempdir().unwrap();
    fill(directory.path(), 0..10).await;
    let other = stored(3, 1).to_bytes();
    let signature = &other[25..89];
    let bytes = fs::read(file(directory.path())).unwrap();
    let places: Vec<_> =
        (0..bytes.len() - 64).filter(|at| &bytes[*at..at + 64] == signature).map(|at| at as u64).collect();
    assert!(!places.is_empty());
    let disk = fs::OpenOptions::new().write(true).open(file(directory.path())).unwrap();
    for place in places {
        disk.write_all_at(&[0xff], place).unwrap();
    }
    let store = open(directory.path());
    assert_eq!(store.get(&key(3)).await, None);
    assert_eq!(store.get(&key(4)).await, Some(stored(4, 1)));
    store.flush().await;
    assert_eq!(store.len(), 9);
    store.put(stored(3, 1));
    store.close().await;
    assert_eq!(open(directory.path()).get(&key(3)).await, Some(stored(3, 1)));
}

#[tokio::test]
async fn any_other_file_is_set_aside() {
    for content in [&b"not a database"[..], &[0; 100_000], &[0xff; 5000]] {
        let directory = tempfile::tempdir().unwrap();
        fs::write(file(directory.path()), content).unwrap();
        assert!(is_usable(directory.path()).await);
        assert_eq!(fs::read(damaged(directory.path())).unwrap(), content);
    }
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(file(directory.path())).unwrap();
    assert!(is_usable(directory.path()).await);
}

#[tokio::test]
async fn of_files_set_aside_the_last_one_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    for content in ["one", "two"] {
        fs::write(file(directory.path()), content).unwrap();
        open(directory.path());
        assert_eq!(fs::read_to_string(damaged(directory.path())).unwrap(), content);
    }
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 3);
}

/// What happens to files.
#[derive(Debug, Clone)]
enum Damage {
    Bytes(Vec<(f64, u8)>),
    Zeros(f64, f64),
    Garbage(f64, f64),
    Cut(f64),
}

impl Damage {
    fn any() -> impl Strategy<Value = Self> {
        // The head of the file is the part that everything else hangs on.
        let place = || prop_oneof![0.0..1.0, 0.0..0.01];
        prop_oneof![
            prop::collection::vec((place(), any::<u8>()), 1..200).prop_map(Self::Bytes),
            (place(), 0.0..1.0).prop_map(|(from, part)| Self::Zeros(from, part)),
            (place(), 0.0..1.0).prop_map(|(from, part)| Self::Garbage(from, part)),
            place().prop_map(Self::Cut),
        ]
    }

    fn apply(&self, bytes: &mut Vec<u8>) {
        let length = bytes.len();
        let at = |place: f64| (place * length as f64) as usize;
        let part = |from: f64, part: f64| {
            let from = at(from);
            from..from + ((length - from) as f64 * part * part) as usize
        };
        match self {
            Self::Bytes(changes) => changes.iter().for_each(|(place, byte)| bytes[at(*place)] = *byte),
            Self::Zeros(from, size) => bytes[part(*from, *size)].fill(0),
            Self::Garbage(from, size) => {
                let mut state = 1_u32;
                bytes[part(*from, *size)].fill_with(|| {
                    state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                    (state >> 24) as u8
                });
            }
            Self::Cut(place) => bytes.truncate(at(*place)),
        }
    }
}

/// Every packet that is found is the right one, and the store is of use afterwards.
async fn survives(directory: &Path, store: DiskStore) {
    for number in (0..1000).step_by(7) {
        let found = store.get(&key(number)).await;
        assert!(found.is_none_or(|found| found.packet == stored(number, 1).packet));
    }
    for number in (0..1000).step_by(50) {
        store.put(stored(number, 2));
    }
    store.flush().await;
    drop(store);
    assert!(is_usable(directory).await);
}

#[test]
fn no_damage_ends_the_process_or_yields_a_packet_that_was_never_put() {
    let runtime = Runtime::new().unwrap();
    let original = tempfile::tempdir().unwrap();
    runtime.block_on(fill(original.path(), 0..1000));
    let bytes = fs::read(file(original.path())).unwrap();
    let cases = env::var("PROPTEST_CASES").ok().and_then(|cases| cases.parse().ok()).unwrap_or(48);
    let config =
        ProptestConfig { cases, max_shrink_iters: 20, failure_persistence: None, ..Default::default() };
    proptest!(config, |(damage in Damage::any(), is_open: bool)| {
        let mut bytes = bytes.clone();
        let directory = tempfile::tempdir().unwrap();
        let path = file(directory.path());
        if is_open {
            fs::write(&path, &bytes).unwrap();
            let store = open(directory.path());
            damage.apply(&mut bytes);
            fs::write(&path, &bytes).unwrap();
            runtime.block_on(survives(directory.path(), store));
        } else {
            damage.apply(&mut bytes);
            fs::write(&path, &bytes).unwrap();
            runtime.block_on(survives(directory.path(), open(directory.path())));
        }
    });
}

#[tokio::test]
async fn where_there_is_no_directory_packets_are_kept_as_soon_as_there_is_one() {
    let directory = tempfile::tempdir().unwrap();
    let obstacle = directory.path().join("obstacle");
    fs::write(&obstacle, "").unwrap();
    let store = open(&obstacle.join("packets"));
    store.put(stored(1, 1));
    store.flush().await;
    // Only in memory.
    assert_eq!((store.len(), store.get(&key(1)).await), (0, Some(stored(1, 1))));
    fs::remove_file(&obstacle).unwrap();
    let begin = Instant::now();
    while store.len() == 0 {
        assert!(begin.elapsed() < LONG);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    store.close().await;
    assert_eq!(open(&obstacle.join("packets")).get(&key(1)).await, Some(stored(1, 1)));
}

/// A test of this program, in a process of its own. It may have been killed already.
struct Other(Child);

impl Other {
    fn start(test: &str, directory: &Path, shell: &str) -> Self {
        let script = format!("{shell} exec \"$0\" --exact {test} --ignored --nocapture");
        let mut command = Command::new("sh");
        command.args(["-c", &script]).arg(env::current_exe().unwrap()).env(DIRECTORY, directory);
        Self(command.stdout(Stdio::piped()).spawn().unwrap())
    }

    /// The numbers that it prints, each on a line.
    fn numbers(&mut self) -> impl Iterator<Item = u32> {
        let lines = BufReader::new(self.0.stdout.take().unwrap()).lines().map_while(Result::ok);
        lines.filter_map(|line| line.strip_prefix("on disk: ")?.parse().ok())
    }
}

impl Drop for Other {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn given_directory() -> PathBuf {
    env::var_os(DIRECTORY).expect("to be started by another test").into()
}

/// Puts packet after packet, and says how many are on disk.
#[tokio::test]
#[ignore = "a process that is killed"]
async fn put_without_end() {
    let store = open(&given_directory());
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
        let mut other = Other::start("put_without_end", directory.path(), "");
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
#[ignore = "a process with a full disk"]
async fn fill_the_disk() {
    let store = open(&given_directory());
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
    let begin = Instant::now();
    while store.len() == on_disk {
        assert!(begin.elapsed() < LONG);
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    store.close().await;
    println!("on disk: {}", store.len());
}

#[tokio::test]
async fn a_full_disk_costs_nothing_but_news_and_only_while_it_is_full() {
    let directory = tempfile::tempdir().unwrap();
    // Blocks of 512 bytes; the signal that comes with the error would end the process.
    let mut other = Other::start("fill_the_disk", directory.path(), "trap '' XFSZ; ulimit -S -f 4000;");
    let on_disk = other.numbers().last().expect("the test in the other process to succeed");
    let store = open(directory.path());
    assert_eq!(store.len(), on_disk as usize);
    assert!(!damaged(directory.path()).exists());
    for number in 0..on_disk {
        assert_eq!(store.get(&key(number)).await, Some(stored(number, 1)));
    }
}
