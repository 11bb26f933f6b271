use std::{fs, os::unix::fs::PermissionsExt, path::Path};

use super::*;

/// Seeds and keys of other implementations' tests.
const VECTORS: [(&str, &str); 6] = [
    (
        "292bbfb6a5bc1ec3f6d01a7c8e3fac1782d364ca41a1847497e9e3bc949dbb9a",
        "8qhdp5s8jjmxmqam3bpg9kzeg7x8teztuwrfgxw5ikn9z5bt15uy",
    ),
    (
        "a3kco17a6mqawd9jewgwijrd64gb1rmrer1zptxgire7buufk3hy",
        "csjbhp9jpbomwh3m5eyrj1py41m8sjpkzzqmzpj5madsi7sc4mto",
    ),
    (
        "c654c84bb8f2dd8a0fe9450d4aa483f68c191164412576c5e6a911d0ce655678",
        "csjbhp9jpbomwh3m5eyrj1py41m8sjpkzzqmzpj5madsi7sc4mto",
    ),
    (
        "6kfe1u5jyqxg644eqfgk1cp4w9yjzwq51rn11ftysuo6xkpc64by",
        "cb7xxx6wtqr5d6yqudkt47drqswxk57dzy3h7qj3udym5puy9cso",
    ),
    (
        "yyyu4xsmmw4bbxjjsqccz6mspwq5yydpz475m8pkqjixfibpis6y",
        "pkdnsuds3gpyn4c9rsjypbts7u38fd44skonpf53bpked9b7dngo",
    ),
    (
        "0000000000000000000000000000000000000000000000000000000000000000",
        "8pinxxgqs41n4aididenw5apqp1urfmzdztr8jt4abrkdn435ewo",
    ),
];

fn read(path: &Path) -> Result<SecretKey, Failure> {
    secret_key_unattended(path, None)
}

fn file(content: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("seed");
    file::write_new(&path, content).unwrap();
    (directory, path)
}

#[test]
fn both_forms_of_a_seed_give_the_key_that_other_implementations_give() {
    for (seed, key) in VECTORS {
        for text in [seed.to_string(), format!("{seed}\n"), format!(" \t{}\r\n\n", seed.to_uppercase())] {
            let (_directory, path) = file(text.as_bytes());
            assert_eq!(read(&path).unwrap().public_key().to_z32(), key, "{text:?}");
        }
    }
}

#[test]
fn a_seed_that_was_written_reads_back_and_only_its_owner_can_read_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("new");
    let secret_key = random().unwrap();
    write_new(&path, &secret_key, None).unwrap();

    let content = fs::read(&path).unwrap();
    assert_eq!(content.len(), 65);
    assert_eq!(content.last(), Some(&b'\n'));
    assert_eq!(read(&path).unwrap().secret(), secret_key.secret());
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
}

#[test]
fn a_key_without_a_seed_is_written_and_read_in_its_expanded_form() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("new");
    let mut expanded = [0x5a; 64];
    expanded[0] = 8;
    let secret_key = SecretKey::from_expanded(&expanded).unwrap();
    write_new(&path, &secret_key, None).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("08{}\n", "5a".repeat(63)));
    let read_back = read(&path).unwrap();
    assert_eq!(read_back.secret(), expanded);
    assert_eq!(read_back.public_key(), secret_key.public_key());
}

#[test]
fn a_seed_file_is_never_overwritten() {
    let (_directory, path) = file(b"something dear");
    let error = write_new(&path, &random().unwrap(), None).unwrap_err();
    assert!(matches!(error, SeedError::Exists { .. }), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"something dear");
}

#[test]
fn what_is_not_a_seed_is_refused_without_repeating_any_of_it() {
    let (hex, z32) = (VECTORS[0].0, VECTORS[1].0);
    let near_misses = [
        String::new(),
        hex[1..].to_string(),
        format!("{hex}0"),
        hex.replace('2', "g"),
        z32[1..].to_string(),
        z32.replace('a', "l"),
        format!("{hex} {hex}"),
        format!("{hex}{hex}"),
        format!("{hex}{}", " ".repeat(5000)),
    ];
    for text in near_misses {
        let (_directory, path) = file(text.as_bytes());
        let message = read(&path).unwrap_err().to_string();
        assert!(message.contains("does not hold a seed"), "{message}");
        for part in text.as_bytes().chunks(6).filter_map(|part| std::str::from_utf8(part).ok()) {
            assert!(part.trim().len() < 6 || !message.contains(part), "{message}");
        }
    }
    let (_directory, path) = file(&[0xff; 64]);
    assert!(read(&path).unwrap_err().to_string().contains("does not hold a seed"));
}

#[test]
fn a_seed_given_in_place_of_a_file_is_not_repeated() {
    let words = "zoo ".repeat(12);
    let expanded = "5a".repeat(64);
    for seed in VECTORS.iter().map(|(seed, _)| *seed).chain([words.as_str(), &expanded, &expanded[..63]]) {
        let message = read(Path::new(seed)).unwrap_err().to_string();
        assert!(!message.contains(seed.trim()), "{message}");
        assert!(message.contains("looks like a seed"), "{message}");
    }
}

#[test]
fn debug_output_of_a_seed_holds_no_secret() {
    let (_directory, path) = file(VECTORS[0].0.as_bytes());
    let text = format!("{:?}", read(&path).unwrap());
    assert!(!text.contains(&VECTORS[0].0[..8]), "{text}");
}

#[test]
fn the_owner_of_a_seed_file_that_others_can_read_is_told() {
    let (_directory, path) = file(VECTORS[0].0.as_bytes());
    for (mode, warns) in [(0o600, false), (0o400, false), (0o640, true), (0o604, true), (0o777, true)] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(file::read(&path, 1024).unwrap().1.is_some(), warns, "{mode:o}");
    }
}

#[test]
fn an_encrypted_file_needs_its_passphrase_and_says_what_is_wrong_without_repeating_it() {
    let directory = tempfile::tempdir().unwrap();
    let [path, right, wrong, empty] =
        ["seed", "right", "wrong", "empty"].map(|name| directory.path().join(name));
    for (path, text) in
        [(&right, "correct horse\r\nbattery"), (&wrong, "correct horses"), (&empty, "\ncorrect horse")]
    {
        file::write_new(path, text.as_bytes()).unwrap();
    }
    let secret_key = random().unwrap();
    let check = |path: &Path| {
        let read = |passphrase: &Path| secret_key_unattended(path, Some(passphrase));
        assert_eq!(read(&right).unwrap().secret(), secret_key.secret());
        for (failure, message) in [
            (read(&wrong).unwrap_err(), "the passphrase does not open"),
            (read(&empty).unwrap_err(), "an empty passphrase protects nothing"),
            (read(&directory.path().join("none")).unwrap_err(), "cannot read the passphrase file"),
            (
                secret_key_unattended(path, None).unwrap_err(),
                "name a file with its passphrase as passphrase_file",
            ),
        ] {
            assert!(failure.to_string().contains(message), "{failure}");
            assert!(!failure.to_string().contains("horse"), "{failure}");
        }
    };
    write_new(&path, &secret_key, Some(b"correct horse")).unwrap();
    assert!(fs::read_to_string(&path).unwrap().starts_with("-----BEGIN AGE ENCRYPTED FILE-----\n"));
    check(&path);
    let recovery = directory.path().join("recovery");
    write_recovery_file(&recovery, secret_key.seed().unwrap(), b"correct horse").unwrap();
    check(&recovery);
}

#[test]
fn words_are_a_form_of_a_seed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("words");
    let secret_key = random_words(&path).unwrap();
    assert_eq!(read(&path).unwrap().secret(), secret_key.secret());
    fs::write(&path, "zoo ".repeat(12)).unwrap();
    let failure = read(&path).unwrap_err().to_string();
    assert!(failure.contains("belong to no key: all words are in") && !failure.contains("zoo"), "{failure}");
    fs::write(&path, "zoo ".repeat(11) + "zooo").unwrap();
    let failure = read(&path).unwrap_err().to_string();
    assert!(failure.contains("no key: word 12 is not in") && !failure.contains("zoo"), "{failure}");
}

#[test]
fn a_zone_in_place_of_a_seed_and_a_seed_in_place_of_something_else_are_told() {
    for zone in ["@ A 192.0.2.1\n", "; mine\n$TTL 300\nwww CNAME @\n"] {
        let (_directory, path) = file(zone.as_bytes());
        assert!(read(&path).unwrap_err().to_string().contains("holds a zone"), "{zone}");
        assert!(!is_in(&path), "{zone}");
    }
    let directory = tempfile::tempdir().unwrap();
    let (secret_key, path) = (random().unwrap(), |name: &str| directory.path().join(name));
    write_new(&path("plain"), &secret_key, None).unwrap();
    write_new(&path("encrypted"), &secret_key, Some(b"horse")).unwrap();
    write_recovery_file(&path("recovery"), secret_key.seed().unwrap(), b"horse").unwrap();
    random_words(&path("words")).unwrap();
    for name in ["plain", "encrypted", "recovery", "words"] {
        assert!(is_in(&path(name)), "{name}");
    }
    assert!(!is_in(directory.path()) && !is_in(&path("none")));
}
