//! The programs with which other people keep their secrets: `age`, and the Pubky SDK.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use pkdns_testing::{
    program::{HEX, KEY, directory, run},
    programs,
};

use super::{
    PASSPHRASE, every_form, private,
    terminal::{at_a_terminal, script},
};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/commands/keys/recovery_file.js");

/// Where CONTRIBUTING.md installs the packages of npm.
const MODULES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/interop/node_modules");

fn age() -> Option<PathBuf> {
    programs::find("age", |_| true, "age")
}

#[test]
fn age_opens_what_is_encrypted_here() {
    let (Some(age), Some(script)) = (age(), script()) else { return };
    let directory = directory();
    every_form(&directory);
    let decrypt = format!("{} --decrypt --output opened age", age.display());
    let (code, shown) =
        at_a_terminal(&script, directory.path(), &decrypt, &[("Enter passphrase", PASSPHRASE)]);
    assert_eq!(code, 0, "{shown}");
    assert_eq!(fs::read_to_string(directory.path().join("opened")).unwrap(), format!("{HEX}\n"));
}

#[test]
fn what_age_encrypted_is_a_seed_file() {
    let (Some(age), Some(script)) = (age(), script()) else { return };
    let directory = directory();
    private(&directory, "passphrase", PASSPHRASE);
    private(&directory, "hex", HEX);
    for (armor, name) in [("", "binary"), ("--armor", "armored")] {
        let encrypt = format!("{} --passphrase {armor} --output {name} hex", age.display());
        let answers = [("Enter passphrase", PASSPHRASE), ("Confirm passphrase", PASSPHRASE)];
        let (code, shown) = at_a_terminal(&script, directory.path(), &encrypt, &answers);
        assert_eq!(code, 0, "{shown}");
        let shown = run(directory.path(), &["publickey", name, "--passphrase-file", "passphrase"]);
        assert_eq!((shown.code, shown.out.trim()), (0, KEY), "{}", shown.err);
    }
}

#[test]
fn what_age_encrypted_for_a_key_is_refused_with_a_reason() {
    let Some(age) = age() else { return };
    let directory = directory();
    private(&directory, "passphrase", PASSPHRASE);
    private(&directory, "hex", HEX);
    let recipient = "age1ql3z7hjy54pw3hyww5ayyfg7zqgvc7w3j2elw8zmrj2kg5sfn9aqmcac8p";
    let mut encrypt = Command::new(age);
    encrypt.args(["--recipient", recipient, "--output", "age", "hex"]).current_dir(directory.path());
    assert!(encrypt.status().unwrap().success());
    run(directory.path(), &["publickey", "age", "--passphrase-file", "passphrase"])
        .assert_failed(1, "\"age\" is not encrypted with a passphrase: decrypt it with age first");
}

/// Runs the SDK on a recovery file. Returns the key.
fn sdk(node: &Path, directory: &Path, command: &str, file: &str) -> String {
    let modules = Path::new(MODULES).canonicalize().unwrap();
    let mut node = Command::new(node);
    node.arg(SCRIPT).arg(modules).args([command, file, PASSPHRASE]).current_dir(directory);
    let output = node.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap().trim().to_string()
}

#[test]
fn recovery_files_go_to_the_pubky_sdk_and_come_from_it() {
    let is_installed = Path::new(MODULES).join("@synonymdev/pubky/package.json").is_file();
    let package = "Debian's nodejs, and the packages of npm as CONTRIBUTING.md says";
    let Some(node) = programs::find("node", |_| is_installed, package) else { return };
    let directory = directory();
    every_form(&directory);
    assert_eq!(sdk(&node, directory.path(), "read", "recovery"), KEY);

    let key = sdk(&node, directory.path(), "create", "theirs");
    let imported =
        run(directory.path(), &["import", "theirs", "--passphrase-file", "passphrase", "--out", "imported"]);
    assert_eq!(imported.code, 0, "{}", imported.err);
    assert_eq!(run(directory.path(), &["publickey", "imported"]).out.trim(), key);
    // Their older header differs in nothing else.
    let theirs = fs::read(directory.path().join("theirs")).unwrap();
    let rest = theirs.strip_prefix(b"pubky.org/recovery\n").unwrap();
    private(&directory, "older", [b"pkarr.org/recovery\n", rest].concat());
    let shown = run(directory.path(), &["publickey", "older", "--passphrase-file", "passphrase"]);
    assert_eq!((shown.code, shown.out.trim()), (0, key.as_str()), "{}", shown.err);
}
