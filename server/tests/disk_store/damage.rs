//! Files that are not what was written.

use std::{env, fs, path::Path};

use pkdns::sources::packets::DiskStore;
use proptest::prelude::*;
use tokio::runtime::Runtime;

use super::{damaged, file, fill, is_usable, key, open, stored};

#[tokio::test]
async fn a_packet_with_another_bit_is_absent_and_the_file_is_set_aside() {
    let directory = tempfile::tempdir().unwrap();
    fill(directory.path(), 0..10).await;
    let record = stored(3, 1).to_bytes();
    let mut bytes = fs::read(file(directory.path())).unwrap();
    let places: Vec<_> = bytes.windows(64).enumerate().filter(|(_, part)| *part == &record[25..89]).collect();
    let places: Vec<_> = places.into_iter().map(|(at, _)| at).collect();
    assert!(!places.is_empty());
    places.into_iter().for_each(|at| bytes[at] ^= 1);
    fs::write(file(directory.path()), &bytes).unwrap();
    let store = open(directory.path());
    assert_eq!(store.get(&key(3)).await, None);
    assert!(damaged(directory.path()).exists());
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
    // A dropped store lets go of its directory a moment later, one that is closed at once.
    store.close().await;
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
