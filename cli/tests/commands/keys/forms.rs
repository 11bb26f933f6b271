//! Every command that takes a seed file takes every form of one, and forms are made from each other.

use std::fs;

use pkdns_testing::program::{HEX, KEY, World, directory, run, run_with_input};

use super::{SEED_OF_WORDS, WORDS, every_form, expanded, mode, private};

#[test]
fn every_form_of_a_key_is_read() {
    let directory = directory();
    private(&directory, "zone", "@ 300 A 192.0.2.1\n");
    for form in every_form(&directory) {
        let run = |arguments: &[&str]| run(directory.path(), arguments);
        let shown = run(&["publickey", form, "--passphrase-file", "passphrase"]);
        assert_eq!((shown.code, shown.out.trim(), shown.err.as_str()), (0, KEY, ""), "{form}");
        let zone = run(&["zone", "zone", "--seed", form, "--passphrase-file", "passphrase", "--json"]);
        assert_eq!(zone.json()["key"], KEY, "{form}");
        let configuration =
            format!("[[identity]]\nseed = '{form}'\npassphrase_file = 'passphrase'\nzone_file = 'zone'\n");
        private(&directory, "publisher.toml", configuration);
        let checked = run(&["serve", "--check"]);
        assert_eq!((checked.code, checked.out.as_str()), (0, "1 identity can be published\n"), "{form}");
        let copy = format!("copy of {form}");
        let imported = run(&["import", form, "--passphrase-file", "passphrase", "--out", &copy]);
        assert!(imported.code == 0 && imported.out.contains(KEY), "{form}: {}", imported.err);
        let secret = if form == "expanded" { expanded() } else { HEX.to_string() };
        assert_eq!(fs::read_to_string(directory.path().join(&copy)).unwrap(), format!("{secret}\n"));
        assert_eq!(mode(&directory.path().join(&copy)), 0o600);
    }
    for secret in ["age", "recovery"] {
        assert_eq!(mode(&directory.path().join(secret)), 0o600);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zone_is_published_with_a_key_that_has_no_seed_and_with_an_encrypted_one() {
    let world = World::new().await;
    let directory = directory();
    every_form(&directory);
    world.file("zone", "@ 300 A 192.0.2.1\n");
    for form in ["expanded", "age"] {
        let seed = directory.path().join(form);
        let passphrase = directory.path().join("passphrase");
        let [seed, passphrase] = [&seed, &passphrase].map(|path| path.to_str().unwrap());
        let published =
            world.run(&["publish", seed, "zone", "--json", "--passphrase-file", passphrase]).json();
        let resolved = world.run(&["resolve", KEY, "--json"]).json();
        assert_eq!(resolved["timestamp"], published["timestamp"], "{form}");
        assert_eq!(resolved["records"][0]["data"], "192.0.2.1");
    }
}

#[test]
fn words_are_read_from_a_file_and_from_standard_input() {
    let directory = directory();
    private(&directory, "words", format!("{}\n", WORDS.replace(' ', "\n")));
    private(&directory, "seed", SEED_OF_WORDS);
    let key = run(directory.path(), &["publickey", "seed"]).out;
    assert_eq!(run(directory.path(), &["publickey", "words"]).out, key);
    assert_eq!(run_with_input(directory.path(), &["publickey", "-"], WORDS).out, key);
    assert_eq!(run(directory.path(), &["import", "words", "--out", "imported"]).code, 0);
    let imported = fs::read_to_string(directory.path().join("imported")).unwrap();
    assert_eq!(imported, format!("{SEED_OF_WORDS}\n"));
}

#[test]
fn a_new_key_is_encrypted_or_made_of_words_if_that_is_wanted() {
    let directory = directory();
    private(&directory, "passphrase", "correct horse battery\n");
    let arguments = ["generate", "--out", "seed", "--words-file", "words", "--json"];
    let encrypt = ["--encrypt", "--passphrase-file", "passphrase"];
    let made = run(directory.path(), &[arguments.as_slice(), &encrypt].concat()).json();
    assert_eq!((&made["seed_file"], &made["words_file"]), (&"seed".into(), &"words".into()));
    let words = fs::read_to_string(directory.path().join("words")).unwrap();
    assert_eq!((words.split_whitespace().count(), words.lines().count()), (12, 1));
    assert_eq!(mode(&directory.path().join("words")), 0o600);
    let seed = fs::read_to_string(directory.path().join("seed")).unwrap();
    assert!(seed.starts_with("-----BEGIN AGE ENCRYPTED FILE-----\n"), "{seed}");
    let key = made["key"].as_str().unwrap();
    assert_eq!(run(directory.path(), &["publickey", "words"]).out.trim(), key);
    let shown = run(directory.path(), &["publickey", "seed", "--passphrase-file", "passphrase"]);
    assert_eq!(shown.out.trim(), key);

    run(directory.path(), &["generate", "--out", "new", "--words-file", "words"])
        .assert_failed(1, "\"words\" exists already");
    run(directory.path(), &["generate", "--out", "no/such/place", "--words-file", "new words"])
        .assert_failed(1, "cannot write \"no/such/place\"");
    for name in ["new", "new words"] {
        assert!(!directory.path().join(name).exists(), "half of it is left behind: {name}");
    }
}

#[test]
fn a_phone_finds_the_page_of_a_key_by_its_code() {
    // What is drawn is read back beside the code; here, that it is shown at all, and nothing else than the key.
    let directory = directory();
    private(&directory, "seed", HEX);
    let shown = run(directory.path(), &["publickey", "seed", "--qr"]);
    assert_eq!((shown.code, shown.err.as_str()), (0, ""));
    let lines: Vec<_> = shown.out.lines().collect();
    assert_eq!((lines[0], *lines.last().unwrap()), (KEY, format!("http://{KEY}.key/").as_str()));
    assert!(
        lines[2..lines.len() - 1].iter().all(|line| line.chars().all(|c| " ▀▄█".contains(c))),
        "{}",
        shown.out
    );
    let made = run(directory.path(), &["generate", "--out", "other", "--qr"]);
    assert!(made.code == 0 && made.out.contains('▀') && made.out.contains(".key/"), "{}", made.out);
    run(directory.path(), &["publickey", "seed", "--qr", "--json"]).assert_failed(2, "cannot be used with");
}

#[test]
fn nothing_is_overwritten_and_nothing_is_printed() {
    let directory = directory();
    every_form(&directory);
    let run = |arguments: &[&str]| run(directory.path(), arguments);
    let passphrase = ["--new-passphrase-file", "passphrase"];
    run(&["import", "hex", "--out", "age"]).assert_failed(1, "\"age\" exists already");
    run(&["import", "hex", "--out", "-"]).assert_failed(1, "only ever written to a file");
    run(&["import", "hex"]).assert_failed(2, "--out <FILE>");
    run(&["import", "hex", "--out", "new", "--new-passphrase-file", "passphrase"])
        .assert_failed(2, "--encrypt");
    run(&[["export", "hex", "--recovery-file", "hex"].as_slice(), &passphrase].concat())
        .assert_failed(1, "\"hex\" exists already");
    run(&[["export", "hex", "--recovery-file", "-"].as_slice(), &passphrase].concat())
        .assert_failed(1, "only ever written to a file");
    run(&[["export", "expanded", "--recovery-file", "new"].as_slice(), &passphrase].concat())
        .assert_failed(1, "a Pubky recovery file holds a seed, and this key has none");
    assert!(!directory.path().join("new").exists());
}
