use std::{net::SocketAddr, os::unix::fs::PermissionsExt};

use proptest::prelude::*;
use tempfile::TempDir;

use super::*;
use crate::{krpc::Id, rtt::Rtt};

/// A file of an earlier release.
const OLD: &str = "pkdns DHT nodes, version 1\nsaved 1700000000\nbootstrap dht.example:25401\n\
                   bootstrap router.example:6881\n";

fn directory() -> (TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("state/nodes");
    (directory, path)
}

fn bootstrap() -> Vec<String> {
    ["router.example:6881", "dht.example:25401"].map(str::to_owned).to_vec()
}

/// Evenly over the key space, every other one of IPv6.
fn nodes(count: u32) -> Vec<Contact> {
    let node = |number: u32| {
        let mut id = [7; 20];
        id[..4].copy_from_slice(&(number * (u32::MAX / count)).to_be_bytes());
        let address = match number % 2 {
            0 => SocketAddr::from((number.to_be_bytes(), 6881)),
            _ => format!("[2001:db8::{:x}]:1", number & 0xffff).parse().unwrap(),
        };
        let rtt = (!number.is_multiple_of(3)).then(|| Rtt::unpack([number as u16 & 0xfff, 77]));
        Contact { id: Id::from(id), address, rtt, stores: !number.is_multiple_of(5) }
    };
    (0..count).map(node).collect()
}

fn now() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_700_000_000)
}

fn bytes_of(nodes: &[Contact]) -> Vec<u8> {
    let (_directory, path) = directory();
    save(&path, &bootstrap(), nodes.iter().copied(), now()).unwrap();
    fs::read(path).unwrap()
}

fn load_bytes(bytes: impl AsRef<[u8]>) -> Result<SavedNodes, LoadError> {
    let (_directory, path) = directory();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(&path, bytes).unwrap();
    load(&path, &bootstrap(), now())
}

#[test]
fn nodes_are_loaded_as_they_were_saved() {
    let (_directory, path) = directory();
    for count in [0, 1, 300] {
        save(&path, &bootstrap(), nodes(count.max(1)).into_iter().take(count as usize), now()).unwrap();
        let loaded = load(&path, &bootstrap(), now()).unwrap();
        assert_eq!(loaded.len(), count as usize);
        assert_eq!(loaded.collect::<Vec<_>>(), nodes(count.max(1))[..count as usize]);
    }
}

#[test]
fn a_missing_file_holds_no_nodes() {
    let (_directory, path) = directory();
    assert_eq!(load(&path, &bootstrap(), now()).unwrap().len(), 0);
}

#[test]
fn nodes_of_another_network_are_not_used() {
    let (_directory, path) = directory();
    save(&path, &bootstrap(), nodes(9), now()).unwrap();
    for other in [vec![], vec!["127.0.0.1:6881".to_owned()], bootstrap()[..1].to_vec()] {
        assert_eq!(load(&path, &other, now()).unwrap().len(), 0);
    }
    let same: Vec<_> = bootstrap().iter().rev().map(|host| host.to_uppercase()).collect();
    assert_eq!(load(&path, &same, now()).unwrap().len(), 9);
}

#[test]
fn nodes_of_last_week_are_not_used_whatever_the_clock_said_then() {
    let (_directory, path) = directory();
    save(&path, &bootstrap(), nodes(9), now()).unwrap();
    let after = |age| load(&path, &bootstrap(), now() + age).unwrap().len();
    assert_eq!(after(MAX_AGE), 9);
    assert_eq!(after(MAX_AGE + Duration::from_secs(1)), 0);
    assert_eq!(load(&path, &bootstrap(), UNIX_EPOCH).unwrap().len(), 9);
}

#[test]
fn the_largest_file_that_is_saved_can_be_loaded() {
    let (_directory, path) = directory();
    let address = "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535".parse().unwrap();
    let node = Contact { id: Id::random(), address, rtt: Some(Rtt::first(Duration::MAX)), stores: false };
    let nodes = std::iter::repeat_n(node, MAX_NODES + 1);
    save(&path, &vec!["n".repeat(260); 100], nodes, now()).unwrap();
    assert!(fs::metadata(&path).unwrap().len() <= MAX_BYTES);
    assert_eq!(load(&path, &["n".repeat(260)], now()).unwrap().len(), MAX_NODES);
}

#[test]
fn a_file_of_an_earlier_release_is_read_and_replaced() {
    let (_directory, path) = directory();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    let id = Id::from([0xa5; 20]);
    fs::write(&path, format!("{OLD}{id} 192.0.2.1:6881\n{id} [2001:db8::1]:1\n")).unwrap();
    let loaded: Vec<_> = load(&path, &bootstrap(), now()).unwrap().collect();
    let contact = |address: &str| Contact { id, address: address.parse().unwrap(), rtt: None, stores: true };
    assert_eq!(loaded, [contact("192.0.2.1:6881"), contact("[2001:db8::1]:1")]);
    save(&path, &bootstrap(), loaded.iter().copied(), now()).unwrap();
    assert!(fs::read(&path).unwrap().starts_with(b"pkdns DHT nodes, version 2\n"));
    assert_eq!(load(&path, &bootstrap(), now()).unwrap().collect::<Vec<_>>(), loaded);
}

#[test]
fn nodes_that_stop_coming_leave_the_older_file_as_it_was() {
    let (_directory, path) = directory();
    save(&path, &bootstrap(), nodes(3), now()).unwrap();
    let broken = nodes(9).into_iter().map(Ok).chain([Err(io::ErrorKind::Interrupted.into())]);
    save_while(&path, &bootstrap(), broken, now()).unwrap_err();
    assert_eq!(load(&path, &bootstrap(), now()).unwrap().len(), 3);
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1);
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
    save(&path, &bootstrap(), nodes(9), now()).unwrap();
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(fs::read_to_string(&elsewhere).unwrap(), "untouched");
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 2);
}

#[test]
fn a_file_that_cannot_be_replaced_stays_and_the_error_names_it() {
    let (_directory, path) = directory();
    fs::create_dir_all(path.join("is a directory")).unwrap();
    let error = save(&path, &bootstrap(), nodes(9), now()).unwrap_err();
    assert!(error.to_string().contains(&path.display().to_string()), "{error}");
    assert_eq!(fs::read_dir(path.parent().unwrap()).unwrap().count(), 1, "a temporary file was left");
    assert!(path.join("is a directory").is_dir());
    let error = load(&path, &bootstrap(), now()).unwrap_err();
    assert!(matches!(error, LoadError::Unreadable { .. }), "{error}");
}

#[test]
fn a_damaged_file_of_an_earlier_release_is_an_error_that_names_the_line() {
    let header = "pkdns DHT nodes, version 1";
    let id = "a".repeat(40);
    let node = format!("{id} 1.2.3.4:5\n");
    assert_eq!(load_bytes(format!("{OLD}{node}")).unwrap().len(), 1);
    for (text, line) in [
        (format!("{header}\n"), 2),
        (format!("{header}\nsaved -1\n"), 2),
        (format!("{OLD}x"), 5),
        (format!("{OLD}{node}{id}\n"), 6),
        (format!("{OLD}{id} 1.2.3.4\n"), 5),
        (format!("{OLD}{id} 1.2.3.4:65536\n"), 5),
        (format!("{OLD}{id} 1.2.3.4:0\n"), 5),
        (format!("{OLD}{id}a 1.2.3.4:5\n"), 5),
        (format!("{OLD}+f{} 1.2.3.4:5\n", &id[2..]), 5),
        (format!("{OLD}é{} 1.2.3.4:5\n", &id[2..]), 5),
        (format!("{OLD}aé{} 1.2.3.4:5\n", &id[3..]), 5),
        (format!("{OLD}{}", node.repeat(text::MAX_NODES + 1)), 5 + text::MAX_NODES),
    ] {
        match load_bytes(&text) {
            Err(LoadError::Damaged { place, .. }) => assert_eq!(place, Place::Line(line), "{text}"),
            other => panic!("{other:?} from {text}"),
        }
    }
}

#[test]
fn a_damaged_file_is_an_error_that_says_where() {
    let good = bytes_of(&nodes(3));
    assert_eq!(load_bytes(&good).unwrap().len(), 3);
    let sum = good.len() - 8;
    let cut = |length: usize| good[..length].to_vec();
    let summed = |mut bytes: Vec<u8>| {
        let mut sum = siphasher::sip::SipHasher13::new();
        std::hash::Hasher::write(&mut sum, &bytes);
        bytes.extend_from_slice(&std::hash::Hasher::finish(&sum).to_le_bytes());
        bytes
    };
    let first = 27 + 8 + 2 + 2 + 17 + 2 + 19;
    let mut unknown_flag = cut(sum);
    unknown_flag[first] |= 0x80;
    let mut port_of_nobody = cut(sum);
    port_of_nobody[first + 25..first + 27].fill(0);
    for (bytes, at) in [
        (Vec::new(), 0),
        (b"pkdns DHT nodes, version 3\n".to_vec(), 0),
        (cut(20), 0),
        (cut(27), 19),
        (cut(good.len() - 1), sum - 1),
        ([good.clone(), vec![0]].concat(), sum + 1),
        (summed(cut(30)), 27),
        (summed(cut(sum - 1)), sum - 1),
        (summed([cut(sum), vec![0]].concat()), sum),
        (summed(unknown_flag), first),
        (summed(port_of_nobody), first),
    ] {
        match load_bytes(&bytes) {
            Err(LoadError::Damaged { place, .. }) => assert_eq!(place, Place::Byte(at), "{bytes:?}"),
            other => panic!("{other:?} from {bytes:?}"),
        }
    }
    for byte in 0..good.len() {
        let mut flipped = good.clone();
        flipped[byte] ^= 4;
        assert!(load_bytes(&flipped).is_err(), "byte {byte}");
    }
}

#[test]
fn a_file_without_end_is_not_read_to_its_end() {
    let error = load_bytes(vec![b'\n'; MAX_BYTES as usize + 1]).unwrap_err();
    assert!(matches!(error, LoadError::TooLarge { .. }), "{error}");
    let (_directory, path) = directory();
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::os::unix::fs::symlink("/dev/zero", &path).unwrap();
    let error = load(&path, &bootstrap(), now()).unwrap_err();
    assert!(matches!(error, LoadError::Unreadable { .. }), "{error}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(5000))]

    #[test]
    fn no_file_makes_the_parser_panic(
        start in prop::sample::select(vec![&b""[..], OLD.as_bytes(), b"pkdns DHT nodes, version 2\n"]),
        node in "[0-9a-fA-F+é]{0,42} ?[0-9.:\\[\\]%]{0,20}",
        tail: Vec<u8>,
        is_summed: bool,
    ) {
        let mut bytes = [start, node.as_bytes(), &tail].concat();
        if is_summed {
            let mut sum = siphasher::sip::SipHasher13::new();
            std::hash::Hasher::write(&mut sum, &bytes);
            bytes.extend_from_slice(&std::hash::Hasher::finish(&sum).to_le_bytes());
        }
        if let Ok(nodes) = parse(bytes, &bootstrap(), now()) {
            prop_assert_eq!(nodes.len(), nodes.count());
        }
    }

    #[test]
    fn whatever_is_saved_is_loaded(
        nodes in prop::collection::vec((any::<[u8; 20]>(), any::<std::net::IpAddr>(), 1u16.., any::<Option<[u16; 2]>>(), any::<bool>()), 0..20),
    ) {
        let nodes: Vec<_> = nodes
            .into_iter()
            .map(|(id, ip, port, rtt, stores)| {
                let address = SocketAddr::new(ip, port);
                let rtt = rtt.map(|ticks| Rtt::unpack(ticks.map(|it| it.min(u16::MAX - 1))));
                Contact { id: id.into(), address, rtt, stores }
            })
            .collect();
        let mut bytes = Vec::new();
        binary::write(&mut bytes, 1_700_000_000, &network(&bootstrap()), nodes.iter().copied().map(Ok)).unwrap();
        prop_assert_eq!(parse(bytes, &bootstrap(), now()).unwrap().collect::<Vec<_>>(), nodes);
    }
}
