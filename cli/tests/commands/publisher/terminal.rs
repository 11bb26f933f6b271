//! What somebody sees who publishes from a terminal, which `script` makes.

use std::{
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Command, Stdio},
};

use pkdns_testing::{process::Killed, program, programs};

use super::{KEY, World, records_when, world};

/// Runs a command line at a terminal, where somebody types `input`. Returns what is shown.
fn at_a_terminal(script: &Path, directory: &Path, arguments: &[&str], input: &str) -> (i32, String) {
    let program = env!("CARGO_BIN_EXE_pkdns-cli");
    let line = format!("{program} {}", arguments.join(" "));
    let mut command = Command::new(script);
    command.current_dir(directory).args(["--quiet", "--return", "--echo", "never", "--command"]).arg(line);
    command.arg("/dev/null").env("SHELL", "/bin/sh").env("TERM", "xterm").env_remove("NO_COLOR");
    let mut child =
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut keyboard = child.stdin.take().unwrap();
    // It stays open until the end: who has hung up would be no terminal.
    let _ = keyboard.write_all(input.as_bytes());
    let output = child.wait_with_output().unwrap();
    drop(keyboard);
    (output.status.code().unwrap(), String::from_utf8_lossy(&output.stdout).replace('\r', ""))
}

fn publish(script: &Path, world: &World, options: &[&str], input: &str) -> (i32, String) {
    let bootstrap = world.bootstrap();
    let arguments = [&["--bootstrap", &bootstrap[0], "publish", "seed", "zone"], options].concat();
    at_a_terminal(script, world.path(), &arguments, input)
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_at_a_terminal_is_asked_before_records_are_replaced() {
    let Some(script) = programs::find("script", |_| true, "bsdutils") else { return };
    let world = world().await;
    world.file("zone", "@ 300 A 192.0.2.1\n");
    let (code, shown) = publish(&script, &world, &[], "");
    assert!(code == 0 && !shown.contains("[y/N]"), "there is nothing to replace: {shown}");
    let (code, shown) = publish(&script, &world, &[], "");
    assert!(code == 0 && !shown.contains("[y/N]"), "nothing changes: {shown}");
    world.file("zone", "@ 300 A 192.0.2.2\n");
    let (code, shown) = publish(&script, &world, &[], "n\n");
    let (red, green, end) = ("\x1b[31m", "\x1b[32m", "\x1b[0m");
    let changes = format!("{red}- @ 300 A 192.0.2.1{end}\n{green}+ @ 300 A 192.0.2.2{end}\n");
    let changes = shown.find(&changes);
    assert!(changes.is_some() && changes < shown.find("[y/N]"), "{shown}");
    assert!(
        code == 1 && shown.contains("nothing was published, as you said. Answer y, or add --yes"),
        "{shown}"
    );
    records_when(&world, KEY, |records| records == ["A 192.0.2.1"]);
    let (code, shown) = publish(&script, &world, &[], "y\n");
    assert!(code == 0 && shown.contains("published with changes"), "{shown}");
    records_when(&world, KEY, |records| records == ["A 192.0.2.2"]);
    world.file("zone", "@ 300 A 192.0.2.3\n");
    let (code, shown) = publish(&script, &world, &["--yes"], "");
    assert!(code == 0 && !shown.contains("[y/N]"), "{shown}");
    records_when(&world, KEY, |records| records == ["A 192.0.2.3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn somebody_at_a_terminal_sees_how_many_nodes_have_it_so_far() {
    let Some(script) = programs::find("script", |_| true, "bsdutils") else { return };
    let world = world().await;
    world.file("zone", "@ 300 A 192.0.2.1\n");
    let arguments = ["testnet", "--json", "--nodes", "40", "--rtt", "600ms-700ms"];
    let mut command = program::command(world.path(), &arguments);
    let mut network = Killed(command.stdout(Stdio::piped()).spawn().unwrap());
    let mut line = String::new();
    BufReader::new(network.stdout.take().unwrap()).read_line(&mut line).unwrap();
    let started: serde_json::Value = serde_json::from_str(&line).unwrap();
    let bootstrap = started["bootstrap"][0].as_str().unwrap();
    let arguments = ["--bootstrap", bootstrap, "publish", "seed", "zone"];
    let (code, shown) = at_a_terminal(&script, world.path(), &arguments, "");
    assert_eq!(code, 0, "{shown}");
    let counts: Vec<u32> = shown
        .lines()
        .filter_map(|line| line.strip_prefix("stored on ")?.strip_suffix(" of 20 DHT nodes…"))
        .map(|count| count.parse().unwrap())
        .collect();
    assert!(!counts.is_empty() && counts.is_sorted() && counts.iter().all(|count| *count <= 20), "{shown}");
    // A script is not told.
    world.file("zone", "@ 300 A 192.0.2.2\n");
    let silent = program::run(world.path(), &arguments);
    assert!(silent.code == 0 && !silent.err.contains("nodes…"), "{}", silent.err);
}
