//! A program that dies leaves no core file, in which its secrets would be.

use std::{
    fs,
    os::unix::process::ExitStatusExt,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use pkdns_testing::program::{HEX, directory};

use super::private;

/// How long a test waits for what must come. A program that waits for a busy disk cannot be killed before that ends.
const LIMIT: Duration = Duration::from_secs(240);

/// Kills a program that has been allowed core files. Returns what it left in its folder, and whether Linux dumped it.
fn killed(command: &str, signal: &str, is_ready: impl Fn(&Child) -> bool) -> (Vec<String>, bool) {
    let directory = directory();
    private(&directory, "seed", HEX);
    let mut shell = Command::new("sh");
    shell
        // Whoever is started in the background of a script ignores QUIT, and so would all that it starts.
        .args(["-c", &format!("ulimit -S -c $(ulimit -H -c); exec env --default-signal=QUIT {command}")])
        .current_dir(directory.path());
    // It reads the seed, and then waits for the zone on standard input.
    let mut child = shell.stdin(Stdio::piped()).spawn().unwrap();
    let end = Instant::now() + LIMIT;
    while !is_ready(&child) {
        assert!(Instant::now() < end, "{command} did not begin");
        thread::sleep(Duration::from_millis(20));
    }
    // Again and again, as the runtime of Rust takes the first SEGV for a full stack. Standard input stays open.
    let status = loop {
        let _ = Command::new("kill").args([format!("-{signal}"), child.id().to_string()]).status();
        if let Some(status) = child.try_wait().unwrap() {
            break status;
        }
        assert!(Instant::now() < end, "{command} lives on");
        thread::sleep(Duration::from_millis(20));
    };
    assert!(status.signal().is_some(), "{status}");
    let mut files: Vec<_> = fs::read_dir(directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    files.sort();
    (files, status.core_dumped())
}

#[test]
fn no_core_file_is_left_of_a_program_that_holds_a_secret() {
    let program = env!("CARGO_BIN_EXE_pkdns-cli");
    for signal in ["SEGV", "ABRT", "QUIT"] {
        let left = killed(&format!("{program} publish seed -"), signal, |child| {
            let limits = fs::read_to_string(format!("/proc/{}/limits", child.id())).unwrap();
            let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
            let limits: Vec<_> = core.split_whitespace().skip(4).take(2).collect();
            // Asleep, it has read the seed and waits for the zone.
            let status = fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
            (limits == ["1", "1"] || limits == ["0", "0"]) && status.contains("State:\tS")
        });
        assert_eq!(left, (vec!["seed".to_string()], false), "{signal}");
    }
}
