//! Every failure exits with its code and says in one sentence what is wrong and what to do, and none repeats a secret. Tests
//! of single commands have those failures that need their scenes; here are all others.
//!
//! These cannot be brought about from outside:
//! - no random bytes from the operating system, no runtime, no signal handler, no built-in authorities for TLS: the system
//!   refuses none of them to an ordinary process;
//! - no UDP socket for the DHT: without descriptors, the runtime before it fails in another place;
//! - a packet that cannot be signed, a password that cannot be hashed, JSON or a manual page that cannot be made: what they
//!   refuse is refused before;
//! - more records than a message can count: the file may have 16 KiB;
//! - a zone that other implementations cannot read: no record is known that is written so;
//! - no HOME: the system looks the user up;
//! - a transfer that takes longer than its deadline, and more than 100,000 keys: too long for a test;
//! - a lock or a file that fails while it is used: the disk would have to break.

mod json;
mod network;
mod publisher;
mod zones;

use std::{fs::OpenOptions, os::unix::fs::PermissionsExt, path::Path, process::Stdio};

use pkdns_testing::program::{self, Finished, HEX, KEY, Z32, directory, file, run_with_input};
use tempfile::TempDir;

/// Nobody answers on this port.
pub(crate) const NOBODY: &str = "127.0.0.1:9";

/// A password that stands where it should not.
pub(crate) const PASSWORD: &str = "hunter2-Xq7vmbs-Zk9wpt";

/// A command line, its exit code, and what must be said: what is wrong, and what to do.
pub(crate) type Case<'a> = (&'a [&'a str], i32, [&'a str; 2]);

/// A directory with a seed, a zone and other files.
pub(crate) fn place(files: &[(&str, &str)]) -> TempDir {
    let directory = directory();
    for (name, text) in [("seed", HEX), ("zone", "@ A 192.0.2.1\n")].iter().chain(files) {
        let path = file(&directory, name, text);
        // Nobody is to be warned.
        std::fs::set_permissions(path, PermissionsExt::from_mode(0o600)).unwrap();
    }
    directory
}

#[track_caller]
pub(crate) fn assert_each(directory: &TempDir, cases: &[Case<'_>]) {
    for (arguments, code, parts) in cases {
        assert_failure(directory.path(), arguments, "", *code, parts);
    }
}

/// Runs the program to its failure, and holds that to what is asked of all failures.
#[track_caller]
pub(crate) fn assert_failure(place: &Path, arguments: &[&str], input: &str, code: i32, parts: &[&str]) {
    assert_sentence(arguments, &run_with_input(place, arguments, input), code, parts);
}

#[track_caller]
pub(crate) fn assert_sentence(
    arguments: &[&str],
    Finished { code: is, out, err }: &Finished,
    code: i32,
    parts: &[&str],
) {
    assert_eq!((*is, out.as_str()), (code, ""), "{arguments:?}: {err}");
    let sentences: Vec<_> = err.match_indices("error: ").collect();
    assert!(sentences.len() == 1, "{arguments:?}: {err}");
    let (start, _) = sentences[0];
    // What goes on for long says when.
    let before = err[..start].lines().next_back().unwrap_or_default();
    let is_time = before.len() == "2026-11-29T21:44:04Z ".len() && before.ends_with("Z ");
    assert!(start == 0 || err[..start].ends_with('\n') || is_time, "{arguments:?}: {err}");
    for part in parts {
        assert!(part.len() > 4 && err[start..].contains(part), "{arguments:?} lacks {part:?}: {err}");
    }
    for secret in [&PASSWORD[..7], &PASSWORD[8..15], &PASSWORD[16..]] {
        assert!(!err.contains(secret), "{arguments:?} repeats a password: {err}");
    }
    assert!(!err.contains("panicked"), "{arguments:?}: {err}");
}

#[test]
fn a_value_that_is_not_understood_is_named_with_what_is_expected() {
    let directory = place(&[]);
    let publish = |option: &'static str, value: &'static str| ["publish", "seed", "zone", option, value];
    let (every, service) = (publish("--every", "1s"), publish("--ip-service", "ftp://host"));
    assert_each(
        &directory,
        &[
            (&[&every[..], &["--watch"]].concat(), 2, ["--every", "from 1m to 24h"]),
            (&publish("--every", "1h"), 2, ["required arguments", "--watch"]),
            (&service, 2, ["ftp://host", "expected https://HOST/PATH"]),
            (&["publish", "seed", "zone", "--dry-run", "--watch"], 2, ["--dry-run", "cannot be used with"]),
            (&["republish", KEY, "--per-minute", "0"], 2, ["--per-minute", "1..=60000"]),
            (&["republish", KEY, "--every", "1s"], 2, ["--every", "from 1m to 24h"]),
            (
                &["zone", "--from-server", "nowhere", "--origin", "example.com"],
                2,
                ["nowhere", "--from-server"],
            ),
            (
                &["zone", "--from-server", NOBODY, "--origin", "a..b"],
                2,
                ["--origin", "for example example.com"],
            ),
            (
                &["resolve", "ysjbhp9jpbomwh3m5eyrj1py41m8sjpkzzqmzpj5madsi7sc4mtn"],
                2,
                ["not a valid one", "compare it with the original"],
            ),
            (&["testnet", "--port", "0"], 2, ["--port", "1..=65535"]),
            (&["completions", "tcsh"], 2, ["'tcsh'", "possible values: bash"]),
            (&["doctor", "--server", "nowhere"], 2, ["nowhere", "--server"]),
            (&["doctor", "--clock", "nowhere"], 2, ["--clock", "expected https://HOST/PATH"]),
            (&["doctor", "--forward", "nowhere"], 2, ["nowhere", "--forward"]),
        ],
    );
}

#[test]
fn an_output_that_takes_nothing_is_a_failure() {
    // A publisher whose report is lost must not look as if it had told somebody.
    let directory = place(&[]);
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    let mut command = program::command(directory.path(), &["publickey", "seed"]);
    let output = command.stdin(Stdio::null()).stdout(full).output().unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    let finished = Finished { code: output.status.code().unwrap(), out: String::new(), err };
    assert_sentence(&["publickey"], &finished, 1, &["cannot write to standard output", "make room there"]);
}

#[test]
fn pages_that_cannot_be_written_and_passwords_that_protect_nothing_are_refused() {
    let directory = place(&[]);
    assert_each(
        &directory,
        &[
            (&["man", "--out", "zone/below"], 1, ["cannot write \"zone/below\"", "choose a directory"]),
            (&["password"], 1, ["an empty password protects nothing", "type one"]),
        ],
    );
}

#[test]
fn a_secret_in_place_of_a_key_list_or_of_json_is_not_repeated() {
    let list = format!("{KEY}\n{Z32}\n{PASSWORD}\n");
    let directory = place(&[("list", &list), ("json", &format!("{{\"records\": \"{PASSWORD}\"}}"))]);
    assert_each(
        &directory,
        &[
            (&["republish", "--list", "list"], 1, ["\"list\": line 3: ", "must end in a public key"]),
            (
                &["republish", "--list", "seed"],
                1,
                ["\"seed\": line 1: this is not a domain name", "write a public key"],
            ),
            (&["zone", "--from-json", "json"], 1, ["\"json\": line 1, column ", "expected JSON as"]),
            (&["serve", "--config", "seed"], 1, ["\"seed\": line 1: ", "expected"]),
        ],
    );
}
