//! No error repeats a secret, and none leaves one where others find it.

use std::{fs, path::Path, process::Stdio};

use super::{
    PASSPHRASE, WORDS, every_form, expanded, private,
    program::{HEX, Z32, directory, run_with_input},
};

/// Runs the program, which has to fail with this message and to keep what it was told to itself.
#[track_caller]
fn fails(directory: &Path, arguments: &[&str], input: &str, code: i32, message: &str) {
    let finished = run_with_input(directory, arguments, input);
    finished.assert_failed(code, message);
    assert!(finished.err.lines().filter(|line| line.starts_with("error: ")).count() == 1, "{}", finished.err);
    let words = [PASSPHRASE, "horse", "abandon", "zoo"].map(String::from);
    for secret in words
        .into_iter()
        .chain(expanded().as_bytes().chunks(10).map(|part| String::from_utf8(part.into()).unwrap()))
    {
        assert!(
            secret.len() < 4 || !finished.err.contains(&secret),
            "{arguments:?} repeats a secret: {}",
            finished.err
        );
    }
}

#[test]
fn no_error_repeats_a_secret() {
    let directory = directory();
    every_form(&directory);
    private(&directory, "zone", "@ 300 A 192.0.2.1\n");
    private(&directory, "wrong", "incorrect horse\n");
    private(&directory, "empty", "\nhorse\n");
    private(&directory, "long", "horse".repeat(1000));
    private(&directory, "misspelt", WORDS.replace("about", "zoo"));
    let binary = fs::read(directory.path().join("recovery")).unwrap();
    private(&directory, "cut recovery", &binary[..binary.len() - 1]);
    let age = fs::read_to_string(directory.path().join("age")).unwrap();
    private(&directory, "cut age", &age[..age.len() - 40]);
    private(&directory, "halved", &expanded()[..100]);
    private(&directory, "not clamped", format!("{}1{}", &expanded()[..1], &expanded()[2..]));

    let fails = |arguments: &[&str], input: &str, message: &str| {
        fails(directory.path(), arguments, input, 1, message);
    };
    for form in ["age", "recovery"] {
        for command in
            [["publickey", form].as_slice(), &["publish", form, "zone"], &["import", form, "--out", "new"]]
        {
            let with = |file| [command, &["--passphrase-file", file]].concat();
            fails(&with("wrong"), "", "is another one, or the file is damaged: try again");
            fails(&with("empty"), "", "an empty passphrase protects nothing: choose another");
            fails(&with("long"), "", "its first line is longer than 1024 bytes");
            fails(&with("missing"), "", "cannot read the passphrase file \"missing\": ");
            fails(&with("-"), "horse\n", "is another one");
        }
    }
    for (file, message) in [
        ("misspelt", "\"misspelt\" belong to no key: compare their spelling"),
        ("cut recovery", "\"cut recovery\" is damaged"),
        ("cut age", "\"cut age\" is damaged"),
        ("halved", "\"halved\" does not hold a seed"),
        ("not clamped", "\"not clamped\" does not hold a seed"),
        (WORDS, "this looks like a seed"),
        (&expanded(), "this looks like a seed"),
        (&HEX[1..], "this looks like a seed"),
    ] {
        fails(&["publickey", file], "", message);
        fails(&["import", file, "--out", "new"], "", message);
    }
    fails(
        &["publickey", "-", "--passphrase-file", "-"],
        "horse\n",
        "cannot be both the seed file and the passphrase",
    );
    assert!(!directory.path().join("new").exists());
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
        ] {
            fails(directory.path(), arguments, "", 2, "belongs into a file and not on the command line");
        }
        fails(directory.path(), &["publickey", "--seed", secret], "", 2, "unexpected argument '--seed'");
    }
    fails(
        directory.path(),
        &["publish", "seed", "-", "--passphrase-file", "-"],
        "",
        2,
        "both the passphrase and",
    );
}

#[test]
fn a_passphrase_that_nobody_can_be_asked_for_is_a_failure() {
    let directory = directory();
    every_form(&directory);
    // A session of its own has no terminal.
    let mut command = std::process::Command::new("setsid");
    command
        .args(["--wait", env!("CARGO_BIN_EXE_pkdns-cli"), "publickey", "age"])
        .current_dir(directory.path());
    let output = command.stdin(Stdio::null()).output().unwrap();
    let message = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(1), "{message}");
    assert!(
        message.contains("there is no terminal to ask at") && message.contains("name a file"),
        "{message}"
    );
}
