use std::os::unix::fs::PermissionsExt;

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;

fn directory() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state/nodes");
    (directory, path)
}

fn bootstrap() -> Vec<String> {
    ["router.example:6881", "dht.example:25401"].map(str::to_owned).to_vec()
}

/// Evenly over the key space, every other one of IPv6.
fn nodes(count: u32) -> Vec<(Id, SocketAddr)> {
    let node = |number: u32| {
        let mut id = [7; 20];
        id[..4].copy_from_slice(&(number * (u32::MAX / count)).to_be_bytes());
        let address = match number % 2 {
            0 => SocketAddr::from((number.to_be_bytes(), 6881)),
            _ => format!("[2001:db8::{:x}]:1", number & 0xffff).parse().unwrap(),
        };
        (Id::from(id), address)
    };
    (0..count).map(node).collect()
}

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_700_000_000)
}

fn load_text(text: impl AsRef<[u8]>) -> Result<Vec<(Id, SocketAddr)>, LoadError> {
    let (_directory, path) = directory();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, text).unwrap();
    load(&path, &bootstrap(), now())
}

#[test]
fn nodes_are_loaded_as_they_were_saved() {
    let (_directory, path) = directory();
    for count in [0, 1, 300] {
        save(&path, &bootstrap(), nodes(count.max(1)).into_iter().take(count as usize), now()).unwrap();
        assert_eq!(load(&path, &bootstrap(), now()).unwrap(), nodes(count.max(1))[..count as usize]);
    }
}

#[test]
fn a_missing_file_holds_no_nodes() {
    let (_directory, path) = directory();
    assert_eq!(load(&path, &bootstrap(), now()).unwrap(), []);
}

#[test]
fn nodes_of_another_network_are_not_used() {
    let (_directory, path) = directory();
    save(&path, &bootstrap(), nodes(9).into_iter(), now()).unwrap();
    for other in [vec![], vec!["127.0.0.1:6881".to_owned()], bootstrap()[..1].to_vec()] {
        assert_eq!(load(&path, &other, now()).unwrap(), []);
    }
    let same: Vec<_> = bootstrap().iter().rev().map(|host| host.to_uppercase()).collect();
    assert_eq!(load(&path, &same, now()).unwrap().len(), 9);
}

#[test]
fn nodes_of_last_week_are_not_used_whatever_the_clock_said_then() {
    let (_directory, path) = directory();
    save(&path, &bootstrap(), nodes(9).into_iter(), now()).unwrap();
    let after = |age| load(&path, &bootstrap(), now() + age).unwrap().len();
    assert_eq!(after(MAX_AGE), 9);
    assert_eq!(after(MAX_AGE + Duration::from_secs(1)), 0);
    assert_eq!(load(&path, &bootstrap(), UNIX_EPOCH).unwrap().len(), 9);
}

#[test]
fn only_so_many_are_saved_and_they_are_spread_over_the_key_space() {
    let (_directory, path) = directory();
    save(&path, &bootstrap(), nodes(16_384).into_iter(), now()).unwrap();
    let loaded = load(&path, &bootstrap(), now()).unwrap();
    assert_eq!(loaded.len(), MAX_NODES);
    for part in 0..=255u8 {
        let in_part = loaded.iter().filter(|(id, _)| id.as_bytes()[0] == part).count();
        assert!((7..=8).contains(&in_part), "{in_part} begin with {part}");
    }
}

#[test]
fn the_largest_file_that_is_saved_can_be_loaded() {
    let (_directory, path) = directory();
    let address = "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff%4294967295]:65535".parse().unwrap();
    let nodes = (0..MAX_NODES).map(|_| (Id::random(), address));
    save(&path, &vec!["n".repeat(260); 100], nodes, now()).unwrap();
    assert_eq!(load(&path, &["n".repeat(260)], now()).unwrap().len(), MAX_NODES);
}

#[test]
fn only_the_user_may_read_the_file_and_no_other_is_left() {
    let (_directory, path) = directory();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    // Left by a crash, open to all, and a link elsewhere.
    let elsewhere = path.with_file_name("elsewhere");
    fs::write(&elsewhere, "untouched").unwrap();
    std::os::unix::fs::symlink(&elsewhere, path.with_file_name("nodes.tmp")).unwrap();
    fs::write(&path, "an older file").unwrap();
    save(&path, &bootstrap(), nodes(9).into_iter(), now()).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "untouched");
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 2);
}

#[test]
fn a_file_that_cannot_be_replaced_stays_and_the_error_names_it() {
    let (_directory, path) = directory();
    fs::create_dir_all(path.join("is a directory")).unwrap();
    let error = save(&path, &bootstrap(), nodes(9).into_iter(), now()).unwrap_err();
    assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "a temporary file was left");
    assert!(path.join("is a directory").is_dir());
    let error = load(&path, &bootstrap(), now()).unwrap_err();
    assert!(matches!(error, LoadError::Unreadable { .. }), "{error}");
}

#[test]
fn a_damaged_file_is_an_error_that_names_the_line() {
    let good = format(&bootstrap(), &nodes(3), now());
    assert_eq!(load_text(&good).unwrap().len(), 3);
    let id = "a".repeat(40);
    for (text, line) in [
        (String::new(), 1),
        ("pkdns DHT nodes, version 2\n".to_owned(), 1),
        (format!("{HEADER}\n"), 2),
        (format!("{HEADER}\nsaved -1\n"), 2),
        (format!("{good}x"), 8),
        (good[..good.len() - 5].to_owned(), 7),
        (format!("{good}{id}\n"), 8),
        (format!("{good}{id} 1.2.3.4\n"), 8),
        (format!("{good}{id} 1.2.3.4:65536\n"), 8),
        (format!("{good}{}a 1.2.3.4:5\n", id), 8),
        (format!("{good}+f{} 1.2.3.4:5\n", &id[2..]), 8),
        (format!("{good}é{} 1.2.3.4:5\n", &id[2..]), 8),
        (format!("{good}aé{} 1.2.3.4:5\n", &id[3..]), 8),
        (format!("{good}{}", format!("{id} 1.2.3.4:5\n").repeat(MAX_NODES)), 8 + MAX_NODES - 3),
    ] {
        match load_text(&text) {
            Err(LoadError::Damaged { line: found, .. }) => assert_eq!(found, line, "{text}"),
            other => panic!("{other:?} from {text}"),
        }
    }
}

#[test]
fn a_file_without_end_is_not_read_to_its_end() {
    let error = load_text(vec![b'\n'; MAX_BYTES as usize + 1]).unwrap_err();
    assert!(matches!(error, LoadError::TooLarge { .. }), "{error}");
    let (_directory, path) = directory();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
    let error = load(&path, &bootstrap(), now()).unwrap_err();
    assert!(matches!(error, LoadError::Unreadable { .. }), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(10_000))]

    #[test]
    fn no_file_makes_the_parser_panic(
        tail: Vec<u8>,
        node in "[0-9a-fA-F+é]{0,42} ?[0-9.:\\[\\]%]{0,20}",
        header: bool,
    ) {
        let mut text = if header { format(&bootstrap(), &nodes(1), now()) } else { String::new() };
        text.push_str(&node);
        text.push_str(&String::from_utf8_lossy(&tail));
        if let Ok(nodes) = parse(&text, &bootstrap(), now()) {
            prop_assert!(nodes.len() <= MAX_NODES);
        }
    }
}
