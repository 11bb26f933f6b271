//! A terminal, which `script` makes, and somebody who types passphrases at it.

use std::{
    fs,
    io::{Read, Write},
    path::Path,
    process::{Command, Stdio},
    sync::mpsc::{Receiver, RecvTimeoutError, channel},
    thread,
    time::{Duration, Instant},
};

use pkdns_testing::{
    program::{KEY, directory},
    programs, wait,
};

use super::{PASSPHRASE, every_form};

/// How long a test waits for what must come.
const LIMIT: Duration = Duration::from_secs(60);

/// Runs `program` at a terminal. Each answer is typed when its prompt is there and what is typed is no longer shown.
/// Returns the exit code, and what was to be seen.
pub(crate) fn at_a_terminal(
    script: &Path,
    directory: &Path,
    program: &str,
    answers: &[(&str, &str)],
) -> (i32, String) {
    let _ = fs::remove_file(directory.join("tty"));
    let mut command = Command::new(script);
    command.args(["--quiet", "--return", "--flush", "--echo", "always", "--command"]);
    command.arg(format!("tty > tty; exec {program}")).arg("/dev/null");
    command.env("SHELL", "/bin/sh").current_dir(directory);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
    let mut keyboard = child.stdin.take().unwrap();
    let mut output = child.stdout.take().unwrap();
    let (sender, screen) = channel();
    thread::spawn(move || {
        let mut bytes = [0; 1024];
        while let Ok(length @ 1..) = output.read(&mut bytes) {
            if sender.send(String::from_utf8_lossy(&bytes[..length]).into_owned()).is_err() {
                break;
            }
        }
    });
    let (mut shown, mut seen) = (String::new(), 0);
    for (prompt, answer) in answers {
        look(&screen, &mut shown, |shown| shown[seen..].contains(prompt));
        seen = shown.len();
        wait_until_unseen(directory);
        keyboard.write_all(format!("{answer}\n").as_bytes()).unwrap();
    }
    look(&screen, &mut shown, |_| false);
    // It stayed open until the end: who has hung up would be no terminal.
    drop(keyboard);
    (child.wait().unwrap().code().unwrap(), shown.replace('\r', ""))
}

/// Reads until there is what is looked for, or the end.
#[track_caller]
fn look(screen: &Receiver<String>, shown: &mut String, is_there: impl Fn(&str) -> bool) {
    let end = Instant::now() + LIMIT;
    while !is_there(shown) {
        match screen.recv_timeout(end.saturating_duration_since(Instant::now())) {
            Ok(text) => shown.push_str(&text),
            Err(RecvTimeoutError::Disconnected) => return,
            Err(RecvTimeoutError::Timeout) => panic!("{shown}"),
        }
    }
}

/// What is typed while the terminal still shows it would be seen, whatever the program does a moment later.
#[track_caller]
fn wait_until_unseen(directory: &Path) {
    wait::found(|| {
        let terminal = fs::read_to_string(directory.join("tty")).unwrap_or_default();
        let settings = Command::new("stty").args(["--file", terminal.trim(), "--all"]).output().unwrap();
        let is_unseen = String::from_utf8_lossy(&settings.stdout).contains("-echo ");
        if is_unseen { Ok(()) } else { Err(settings) }
    });
}

pub(crate) fn script() -> Option<std::path::PathBuf> {
    programs::find("script", |_| true, "bsdutils")
}

pub(crate) fn cli(arguments: &str) -> String {
    format!("{} {arguments}", env!("CARGO_BIN_EXE_pkdns-cli"))
}

#[test]
fn a_passphrase_is_asked_for_twice_and_never_shown() {
    let Some(script) = script() else { return };
    let directory = directory();
    let run = |arguments: &str, answers: &[(&str, &str)]| {
        let (code, shown) = at_a_terminal(&script, directory.path(), &cli(arguments), answers);
        assert!(!shown.contains("horse"), "what is typed is shown: {shown}");
        (code, shown)
    };
    let twice = [("New passphrase: ", PASSPHRASE), ("Once more: ", PASSPHRASE)];
    let (code, shown) = run("generate --out seed --encrypt", &twice);
    assert_eq!(code, 0, "{shown}");
    let (code, key) = run("publickey seed", &[("Passphrase of \"seed\": ", PASSPHRASE)]);
    assert!(code == 0 && shown.contains(key.lines().last().unwrap()), "{shown}{key}");
    let (code, shown) = run("publickey seed", &[("Passphrase of \"seed\": ", "another horse")]);
    assert!(code == 1 && shown.contains("the passphrase does not open \"seed\""), "{shown}");

    for (answers, message) in [
        (
            [("New passphrase: ", PASSPHRASE), ("Once more: ", "horse")].as_slice(),
            "the two passphrases differ",
        ),
        (&[("New passphrase: ", "")], "an empty passphrase protects nothing"),
    ] {
        let (code, shown) = run("generate --out other --encrypt", answers);
        assert!(code == 1 && shown.contains(message), "{shown}");
        assert!(!directory.path().join("other").exists());
    }
    let (code, shown) = run("generate --out seed --encrypt", &[]);
    assert!(code == 1 && shown.contains("\"seed\" exists already"), "nobody is asked in vain: {shown}");
    let (code, shown) = run("password", &[("Password for the router: ", "horse"), ("Once more: ", "horse")]);
    assert!(code == 0 && shown.contains("$argon2id$"), "{shown}");
}

#[test]
fn a_code_at_a_terminal_is_black_on_white() {
    let Some(script) = script() else { return };
    let directory = directory();
    every_form(&directory);
    let (code, shown) = at_a_terminal(&script, directory.path(), &cli("publickey hex --qr"), &[]);
    assert!(code == 0 && shown.contains(KEY), "{shown}");
    let coloured =
        shown.lines().filter(|line| line.starts_with("\x1b[38;5;16;48;5;231m") && line.ends_with("\x1b[0m"));
    assert!(coloured.count() > 15, "{shown}");
}
