//! Packets on disk as the server meets them: restarts, kills, damage, a full disk, a second process.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail where it stands")]

mod damage;
mod processes;

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use pkdns::sources::packets::{DiskError, DiskStore, Stored};
use pkdns_dht::signed_packet::{Keypair, PublicKey, SignedPacket};
use pkdns_testing::wait::eventually;

/// More than any test writes.
const PLENTY: u64 = 1_000_000_000;

/// Long after everything that is waited for.
const LONG: Duration = Duration::from_secs(60);

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
    // A program that another test starts holds every lock of this process until it runs code of its own.
    let end = Instant::now() + Duration::from_secs(10);
    loop {
        match DiskStore::open(directory, PLENTY) {
            Err(DiskError::Locked { .. }) if Instant::now() < end => thread::sleep(Duration::from_millis(10)),
            opened => return opened.unwrap(),
        }
    }
}

fn file(directory: &Path) -> PathBuf {
    directory.join("packets.db")
}

fn damaged(directory: &Path) -> PathBuf {
    directory.join("packets.db.damaged")
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
        let again = open(directory);
        let kept = again.get(news.packet.key()).await;
        again.close().await;
        if kept == Some(news) {
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
    eventually("it is on disk", async || !store.is_empty()).await;
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

#[tokio::test]
async fn over_the_bound_the_oldest_go_and_the_file_stays_small() {
    const BOUND: u64 = 3_000_000;
    const COUNT: u32 = 20_000;
    let directory = tempfile::tempdir().unwrap();
    let store = DiskStore::open(directory.path(), BOUND).unwrap();
    for number in 0..COUNT {
        store.put(stored(number, 1));
        if number % 500 == 499 {
            store.flush().await;
        }
    }
    store.flush().await;
    // A record is of 321 bytes.
    assert!((2000..=3200).contains(&store.len()), "{}", store.len());
    let size = fs::metadata(file(directory.path())).unwrap().len();
    assert!(size <= BOUND * 2, "{size}");
    let mut kept = [0, 0];
    for number in (0..COUNT).step_by(10) {
        kept[usize::from(number >= COUNT / 2)] += u32::from(store.get(&key(number)).await.is_some());
    }
    assert!(kept[0] * 4 < kept[1], "of the older and of the newer half: {kept:?}");
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
    eventually("it is on disk", async || !store.is_empty()).await;
    store.close().await;
    assert_eq!(open(&obstacle.join("packets")).get(&key(1)).await, Some(stored(1, 1)));
}
