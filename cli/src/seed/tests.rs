use std::{fs, path::Path};

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

fn file(content: &[u8]) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("seed");
    fs::write(&path, content).unwrap();
    (directory, path)
}

#[test]
fn both_forms_of_a_seed_give_the_key_that_other_implementations_give() {
    for (seed, key) in VECTORS {
        for text in [seed.to_string(), format!("{seed}\n"), format!(" \t{}\r\n\n", seed.to_uppercase())] {
            let (_directory, path) = file(text.as_bytes());
            assert_eq!(read(&path).unwrap().secret_key.public_key().to_z32(), key, "{text:?}");
        }
    }
}

#[test]
fn a_seed_that_was_written_reads_back_and_only_its_owner_can_read_it() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("new");
    let secret_key = random().unwrap();
    write_new(&path, &secret_key).unwrap();

    let content = fs::read(&path).unwrap();
    assert_eq!(content.len(), 65);
    assert_eq!(content.last(), Some(&b'\n'));
    let seed = read(&path).unwrap();
    assert_eq!(seed.secret_key.secret(), secret_key.secret());
    assert_eq!(seed.warning, None);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    }
}

#[test]
fn a_key_without_a_seed_is_written_and_read_in_its_expanded_form() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("new");
    let mut expanded = [0x5a; 64];
    expanded[0] = 8;
    let secret_key = SecretKey::from_expanded(&expanded).unwrap();
    write_new(&path, &secret_key).unwrap();
    assert_eq!(fs::read_to_string(&path).unwrap(), format!("08{}\n", "5a".repeat(63)));
    let read_back = read(&path).unwrap().secret_key;
    assert_eq!(read_back.secret(), expanded);
    assert_eq!(read_back.public_key(), secret_key.public_key());
}

#[test]
fn a_seed_file_is_never_overwritten() {
    let (_directory, path) = file(b"something dear");
    let error = write_new(&path, &random().unwrap()).unwrap_err();
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
        format!("{hex}{}", " ".repeat(2000)),
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
    assert!(matches!(read(&path), Err(SeedError::Invalid { .. })));
}

#[test]
fn a_seed_given_in_place_of_a_file_is_not_repeated() {
    for (seed, _) in VECTORS {
        let message = read(Path::new(seed)).unwrap_err().to_string();
        assert!(!message.contains(seed), "{message}");
        assert!(message.contains("looks like a seed"), "{message}");
    }
}

#[test]
fn debug_output_of_a_seed_holds_no_secret() {
    let (_directory, path) = file(VECTORS[0].0.as_bytes());
    let text = format!("{:?}", read(&path).unwrap());
    assert!(!text.contains(&VECTORS[0].0[..8]), "{text}");
}

#[cfg(unix)]
#[test]
fn the_owner_of_a_seed_file_that_others_can_read_is_told() {
    use std::os::unix::fs::PermissionsExt;
    let (_directory, path) = file(VECTORS[0].0.as_bytes());
    for (mode, warns) in [(0o600, false), (0o400, false), (0o640, true), (0o604, true), (0o777, true)] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        assert_eq!(read(&path).unwrap().warning.is_some(), warns, "{mode:o}");
    }
}
