//! No error repeats a secret, and none leaves one where others find it.

use std::{
    fs,
    fs::OpenOptions,
    process::{Command, Stdio},
};

use pkdns_testing::program::{Finished, HEX, Z32, command, directory, run_with_input};
use tempfile::TempDir;

use super::{SEED_OF_WORDS, WORDS, every_form, expanded, private};

/// Nobody answers there.
const NOBODY: &str = "127.0.0.1:9";

/// Holds a failure to its message, and to keeping what it was told to itself.
#[track_caller]
fn assert_silent(arguments: &[&str], finished: &Finished, code: i32, message: &str) {
    finished.assert_failed(code, message);
    let err = &finished.err;
    assert!(err.lines().filter(|line| line.starts_with("error: ")).count() == 1, "{err}");
    let expanded = expanded();
    let parts = [HEX, Z32, SEED_OF_WORDS, &expanded]
        .into_iter()
        .flat_map(|secret| secret.as_bytes().chunks(8))
        .filter(|part| part.len() > 3)
        .map(|part| std::str::from_utf8(part).unwrap());
    for part in parts.chain(["horse", "battery", "abandon", "zoo"]) {
        assert!(!err.contains(part), "{arguments:?} repeats a secret: {err}");
    }
}

#[track_caller]
fn fails(directory: &TempDir, arguments: &[&str], input: &str, code: i32, message: &str) {
    let finished = run_with_input(directory.path(), arguments, input);
    assert_silent(arguments, &finished, code, message);
}

/// Every command that reads a seed file, as it reads this one beside a zone file.
fn readers<'a>(seed: &'a str, zone: &'a str) -> [Vec<&'a str>; 5] {
    [
        vec!["publickey", seed],
        vec!["publish", seed, zone],
        vec!["zone", zone, "--seed", seed],
        vec!["import", seed, "--out", "new"],
        vec!["export", seed, "--recovery-file", "new", "--new-passphrase-file", "passphrase"],
    ]
}

/// And the service, which reads it where its configuration says.
fn configure(directory: &TempDir, seed: &str, passphrase: &str, zone: &str) {
    let identity =
        format!("[[identity]]\nseed = '{seed}'\npassphrase_file = '{passphrase}'\nzone_file = '{zone}'\n");
    private(directory, "publisher.toml", identity);
}

/// Every form of a secret, some zone files, and passphrases that are none.
fn scene() -> TempDir {
    let directory = directory();
    every_form(&directory);
    private(&directory, "words", WORDS);
    private(&directory, "zone", "@ 300 A 192.0.2.1\n");
    private(&directory, "bad zone", "@ 300 A nowhere\n");
    private(&directory, "wrong", "incorrect horse\n");
    private(&directory, "empty", "\nhorse\n");
    private(&directory, "long", "horse".repeat(1000));
    directory
}

fn assert_nothing_new(directory: &TempDir) {
    assert!(!directory.path().join("new").exists());
}

#[test]
fn no_passphrase_is_repeated() {
    let directory = scene();
    for form in ["age", "recovery"] {
        for (passphrase, message) in [
            ("wrong", "or the file is damaged: try again"),
            ("empty", "an empty passphrase protects nothing: choose another"),
            ("long", "its first line is longer than 1024 bytes"),
            ("missing", "cannot read the passphrase file \"missing\": "),
            ("horse".repeat(12).as_str(), "cannot read the passphrase file (this looks like a seed"),
        ] {
            for reader in readers(form, "zone") {
                let arguments = [reader.as_slice(), &["--passphrase-file", passphrase]].concat();
                fails(&directory, &arguments, "", 1, message);
            }
            // A configuration names files relative to its own folder.
            let message = message.replace("\"missing\"", "").replace(" \": ", "");
            configure(&directory, form, passphrase, "zone");
            fails(&directory, &["serve", "--check"], "", 1, message.trim_end_matches(": "));
        }
        fails(
            &directory,
            &["publickey", form, "--passphrase-file", "-"],
            "horse\n",
            1,
            "the passphrase does not open",
        );
        private(&directory, "publisher.toml", format!("[[identity]]\nseed = '{form}'\nzone_file = 'zone'\n"));
        fails(&directory, &["serve", "--check"], "", 1, "name a file with its passphrase as passphrase_file");
    }
    for (passphrase, message) in [
        ("empty", "an empty passphrase protects nothing"),
        ("long", "its first line is longer"),
        ("missing", "cannot read the passphrase file \"missing\": "),
    ] {
        for writer in [
            ["generate", "--out", "new", "--encrypt", "--passphrase-file", passphrase].as_slice(),
            &["vanity", "y", "--out", "new", "--encrypt", "--passphrase-file", passphrase],
            &["import", "hex", "--out", "new", "--encrypt", "--new-passphrase-file", passphrase],
            &["export", "hex", "--recovery-file", "new", "--new-passphrase-file", passphrase],
        ] {
            fails(&directory, writer, "", 1, message);
        }
    }
    assert_nothing_new(&directory);
}

#[test]
fn no_secret_that_cannot_be_used_is_repeated() {
    let directory = scene();
    private(&directory, "misspelt", WORDS.replace("about", "zoo"));
    let binary = fs::read(directory.path().join("recovery")).unwrap();
    private(&directory, "cut recovery", &binary[..binary.len() - 1]);
    let age = fs::read_to_string(directory.path().join("age")).unwrap();
    private(&directory, "cut age", &age[..age.len() - 40]);
    private(&directory, "cut hex", &HEX[1..]);
    private(&directory, "cut z32", &Z32[..51]);
    private(&directory, "halved", &expanded()[..100]);
    private(&directory, "not clamped", format!("{}1{}", &expanded()[..1], &expanded()[2..]));
    private(&directory, "assigned", format!("seed={HEX}"));
    for (file, message) in [
        ("misspelt", "words in \"misspelt\" belong to no key: all words are in the list of BIP-39"),
        ("cut recovery", "\"cut recovery\" is damaged: take another copy of it"),
        ("cut age", "\"cut age\" is damaged: take another copy of it"),
        ("cut hex", "\"cut hex\" does not hold a seed: expected"),
        ("cut z32", "\"cut z32\" does not hold a seed: expected"),
        ("halved", "\"halved\" does not hold a seed: expected"),
        ("not clamped", "\"not clamped\" does not hold a seed: expected"),
        ("assigned", "\"assigned\" does not hold a seed: expected"),
        (WORDS, "this looks like a seed"),
        (&expanded(), "this looks like a seed"),
        (&HEX[1..], "this looks like a seed"),
        (Z32, "this looks like a seed"),
    ] {
        for reader in readers(file, "zone") {
            fails(&directory, &reader, "", 1, message);
        }
        configure(&directory, file, "passphrase", "zone");
        fails(&directory, &["serve", "--check"], "", 1, message);
    }
    assert_nothing_new(&directory);
}

#[test]
fn no_secret_is_repeated_when_something_else_fails() {
    let directory = scene();
    let with = ["--passphrase-file", "passphrase"];
    for form in ["hex", "z32", "expanded", "age", "recovery", "words"] {
        for (arguments, message) in [
            (["publish", form, "bad zone"].as_slice(), "\"bad zone\": line 1, column 9"),
            (&["zone", "bad zone", "--seed", form], "\"bad zone\": line 1, column 9"),
            (&["import", form, "--out", "no/such/place"], "cannot write \"no/such/place\": "),
            (
                &["import", form, "--out", "new", "--encrypt", "--new-passphrase-file", "empty"],
                "an empty passphrase",
            ),
            (
                &["export", form, "--recovery-file", "no/place", "--new-passphrase-file", "passphrase"],
                if form == "expanded" { "this key has none" } else { "cannot write \"no/place\": " },
            ),
        ] {
            fails(&directory, &[arguments, &with].concat(), "", 1, message);
        }
        configure(&directory, form, "passphrase", "bad zone");
        fails(&directory, &["serve", "--check"], "", 1, "line 1, column 9");

        let arguments = ["publickey", form, with[0], with[1]];
        let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
        let output = command(directory.path(), &arguments).stdout(full).output().unwrap();
        let finished = Finished {
            code: output.status.code().unwrap(),
            out: String::new(),
            err: String::from_utf8(output.stderr).unwrap(),
        };
        assert_silent(&arguments, &finished, 1, "cannot write to standard output");
    }
    assert_nothing_new(&directory);
}

#[test]
fn no_secret_is_repeated_when_the_network_fails() {
    let directory = scene();
    let publish = ["--bootstrap", NOBODY, "publish", "expanded", "zone"];
    fails(&directory, &publish, "", 4, "the DHT could not be joined");
}

#[test]
fn a_secret_on_the_command_line_is_not_repeated() {
    let directory = directory();
    let expanded = expanded();
    for secret in [HEX, Z32, WORDS, &expanded] {
        for arguments in [
            [secret].as_slice(),
            &["publickey", "seed", secret],
            &["publish", "--every", secret, "seed", "zone"],
            &["generate", secret],
            &["export", "seed", "--recovery-file", "new", secret],
            &["vanity", secret],
        ] {
            // Keys have the alphabet of older seeds.
            if arguments[0] != "vanity" || secret == WORDS {
                fails(&directory, arguments, "", 2, "belongs into a file and not on the command line");
            }
        }
        fails(&directory, &["publickey", "--sed", secret], "", 2, "unexpected argument '--sed'");
        // An option that takes a file, and gets what belongs into one.
        for command in [&["publickey"][..], &["resolve"], &["export", "--recovery-file", "new"]] {
            let arguments = [command, &["--seed", secret]].concat();
            fails(&directory, &arguments, "", 1, "this looks like a seed, not like the name of a file");
        }
    }
}

#[test]
fn standard_input_is_one_thing_only() {
    let directory = scene();
    let (passphrase, new) = (["--passphrase-file", "-"], ["--new-passphrase-file", "-"]);
    for (arguments, code, message) in [
        (
            [&["publickey", "-"][..], &passphrase].concat(),
            1,
            "cannot be both the seed file and the passphrase",
        ),
        ([&["publish", "hex", "-"][..], &passphrase].concat(), 2, "both the passphrase and the zone file"),
    ] {
        fails(&directory, &arguments, "horse\n", code, message);
    }
    for file in ["-", "age"] {
        let source = if file == "-" { &[][..] } else { &passphrase };
        for command in [
            ["import", file, "--out", "new", "--encrypt"].as_slice(),
            &["export", file, "--recovery-file", "new"],
        ] {
            let arguments = [command, source, &new].concat();
            fails(&directory, &arguments, HEX, 1, "standard input cannot be both");
        }
    }
    assert_nothing_new(&directory);
}

#[test]
fn a_passphrase_that_nobody_can_be_asked_for_is_a_failure() {
    let directory = directory();
    every_form(&directory);
    for arguments in [
        ["publickey", "age"].as_slice(),
        &["generate", "--out", "new", "--encrypt"],
        &["vanity", "y", "--out", "new", "--encrypt"],
    ] {
        // A session of its own has no terminal.
        let mut command = Command::new("setsid");
        command.args(["--wait", env!("CARGO_BIN_EXE_pkdns-cli")]).args(arguments);
        let output = command.current_dir(directory.path()).stdin(Stdio::null()).output().unwrap();
        let message = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{message}");
        assert!(
            message.contains("there is no terminal to ask at") && message.contains("name a file"),
            "{message}"
        );
    }
    assert_nothing_new(&directory);
}
