//! `vanity`: searches for keys, and what can be done with what they find.

use std::{
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::Stdio,
    time::{Duration, Instant},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use pkdns_dht::signed_packet::Keypair;
use pkdns_testing::program::{World, command, directory, limited, run};

/// The file's secret, which nobody else may read and no output may hold.
fn secret(directory: &Path, file: &str, outputs: &[&str]) -> Vec<u8> {
    let path = directory.join(file);
    assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
    let text = fs::read_to_string(path).unwrap();
    let text = text.trim_end();
    for output in outputs {
        for part in [&text[..10], &text[30..40], &text[text.len() - 10..]] {
            assert!(!output.contains(part), "the secret is in {output}");
        }
    }
    (0..text.len() / 2).map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_that_was_found_publishes() {
    let world = World::new().await;
    let found = world.run(&["vanity", "pk", "--json", "--out", "my.seed"]);
    let json = found.json();
    let key = json["key"].as_str().unwrap();
    assert!(key.starts_with("pk"));
    assert_eq!((&json["pattern"], &json["seed_file"]), (&"pk...".into(), &"my.seed".into()));
    assert_eq!(json["portable"], false);
    assert!(json["tries"].as_u64().unwrap() > 0 && json["seconds"].is_number());
    assert!(found.err.contains("searching for pk..."), "{}", found.err);
    assert!(found.err.contains("1024 tries expected"), "{}", found.err);
    assert!(!found.err.contains('\x1b'), "no commands for a terminal where there is none");
    assert_eq!(secret(world.path(), "my.seed", &[&found.out, &found.err]).len(), 64);

    assert_eq!(world.run(&["publickey", "my.seed"]).out.trim(), key);
    world.file("zone.txt", "@ 300 IN A 192.0.2.7\n");
    let published = world.run(&["publish", "my.seed", "zone.txt"]);
    assert_eq!(published.code, 0, "{}", published.err);
    let resolved = world.run(&["resolve", key]);
    assert!(resolved.out.contains("192.0.2.7"), "{}{}", resolved.out, resolved.err);
}

#[test]
fn a_portable_key_has_an_ordinary_seed() {
    let directory = directory();
    let found = run(directory.path(), &["vanity", "y", "b", "--portable", "--json"]);
    let json = found.json();
    let key = json["key"].as_str().unwrap();
    assert!(key.starts_with(['y', 'b']));
    assert_eq!(json["portable"], true);
    let file = json["seed_file"].as_str().unwrap();
    assert_eq!(file, format!("{}.seed", &key[..8]));
    let seed = secret(directory.path(), file, &[&found.out, &found.err]).try_into().unwrap();
    assert_eq!(Keypair::from_secret_key(&seed).to_z32(), key);
}

#[test]
fn the_end_of_a_key_is_found_and_patterns_are_alternatives() {
    let directory = directory();
    let found = run(directory.path(), &["vanity", "--suffix", "OY", "--threads", "1"]);
    assert_eq!(found.code, 0, "{}", found.err);
    assert!(found.err.contains("searching for ...oy on 1 thread: 64 tries expected"), "{}", found.err);
    let line = found.out.lines().next().unwrap();
    assert!(line.starts_with("Public key:  ") && line.ends_with("oy"), "{}", found.out);
    assert!(found.out.contains("for pkdns-cli alone"), "{}", found.out);

    let found = run(
        directory.path(),
        &["vanity", "g", "F", "--suffix", "boy", "--suffix", "goo", "--count", "5", "--json"],
    );
    assert_eq!((found.code, found.out.lines().count()), (0, 5), "{}", found.err);
    for line in found.out.lines() {
        let json: serde_json::Value = serde_json::from_str(line).unwrap();
        let key = json["key"].as_str().unwrap();
        assert!(key.starts_with(['g', 'f']) || key.ends_with("boy") || key.ends_with("goo"), "{key}");
        let file = json["seed_file"].as_str().unwrap();
        assert_eq!(run(directory.path(), &["publickey", file]).out.trim(), key);
    }
}

#[test]
fn what_cannot_be_found_is_refused_before_the_search() {
    let directory = directory();
    fs::write(directory.path().join("there"), "precious").unwrap();
    let run = |arguments: &[&str]| run(directory.path(), &[&["vanity"], arguments].concat());
    for (arguments, code, message) in [
        (&["hello"][..], 2, "keys have no \"l\": try 1 or i"),
        (&["pk", "--suffix", "pkd"], 2, "keys end with y or o, never with \"d\""),
        (&["a b"], 2, "keys have only the characters"),
        (&[""], 2, "at least one character"),
        (&[&"y".repeat(53)], 2, "a key has 52 characters, and this pattern has 53"),
        (&[], 2, "PATTERN"),
        (&["y", "--count", "0"], 2, "--count"),
        (&["y", "--count", "2", "--out", "file"], 2, "--out"),
        (&["y"; 101], 1, "101 patterns are too many: give at most 100"),
        (&["y", "--out", "-"], 1, "a seed is only ever written to a file: name one with --out"),
        (&["y", "--out", "there"], 1, "\"there\" exists already, and no file is ever overwritten"),
        (&["y", "--out", "missing/file"], 1, "cannot write \"missing/file\""),
    ] {
        run(arguments).assert_failed(code, message);
    }
    assert_eq!(fs::read_to_string(directory.path().join("there")).unwrap(), "precious");
    assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 1, "nothing else was left behind");
}

#[test]
fn a_signal_ends_a_search_that_would_take_ages() {
    for signal in [Signal::SIGINT, Signal::SIGTERM] {
        let directory = directory();
        let mut child = command(directory.path(), &["vanity", "yyyyyyyyyyyyyyyy"])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let running = limited(&child);
        let mut lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let forecast =
            lines.by_ref().map(Result::unwrap).find(|line| line.contains("years expected")).unwrap();
        assert!(
            forecast.contains("tries a second") && forecast.contains("each character less"),
            "{forecast}"
        );
        let stopped = Instant::now();
        kill(Pid::from_raw(child.id().try_into().unwrap()), signal).unwrap();
        let output = child.wait_with_output().unwrap();
        drop(running);
        assert!(stopped.elapsed() < Duration::from_secs(20));
        let err = lines.next().unwrap().unwrap();
        assert_eq!((output.status.code(), output.stdout.len()), (Some(1), 0), "{err}");
        assert!(err.contains("tries: no key was found and nothing was written"), "{err}");
        assert!(err.contains("There is nothing to resume"), "{err}");
        assert_eq!(fs::read_dir(directory.path()).unwrap().count(), 0);
    }
}

#[test]
fn what_is_found_is_encrypted_if_asked() {
    let directory = directory();
    fs::write(directory.path().join("passphrase"), "correct horse\n").unwrap();
    let with = ["--passphrase-file", "passphrase"];
    let found = run(
        directory.path(),
        &[&["vanity", "y", "--out", "seed", "--encrypt", "--json"][..], &with].concat(),
    );
    let text = fs::read_to_string(directory.path().join("seed")).unwrap();
    assert!(text.starts_with("-----BEGIN AGE ENCRYPTED FILE-----\n"), "{text}");
    let key = run(directory.path(), &[&["publickey", "seed"][..], &with].concat());
    assert_eq!(found.json()["key"], key.out.trim(), "{}", key.err);
}
