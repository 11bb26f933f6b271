//! The publisher as a service: `publish --watch` and `serve`, on a real DHT, told of addresses by real programs.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the helpers of tests may fail them"
)]

mod detection;
mod dyndns;
mod kills;
mod notices;
mod republish;
mod speed;
mod terminal;
mod unit;
mod user;
mod zones;

use std::{
    io::{self, BufRead, BufReader, Write},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use pkdns_testing::program::{HEX, KEY, World};
use serde_json::Value;

/// How long a test waits for what must come.
pub(crate) const LIMIT: Duration = Duration::from_secs(60);

/// A running program. What it says on standard error can be waited for.
pub(crate) struct Publisher {
    pub(crate) child: Child,
    lines: Receiver<String>,
    said: Vec<String>,
}

impl Publisher {
    pub(crate) fn start(world: &World, arguments: &[&str]) -> Self {
        Self::start_command(world.command(arguments))
    }

    pub(crate) fn start_command(mut command: Command) -> Self {
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        let output = BufReader::new(child.stderr.take().unwrap());
        thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, lines, said: Vec::new() }
    }

    /// The next line with this in it.
    #[track_caller]
    pub(crate) fn wait_for(&mut self, text: &str) -> String {
        let end = Instant::now() + LIMIT;
        loop {
            let rest = end.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(rest) else {
                panic!("no line with {text:?} among {:#?}", self.said);
            };
            self.said.push(line.clone());
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Sends a signal by its name, such as `HUP`.
    pub(crate) fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([format!("-{name}"), self.child.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }

    /// The exit code after SIGTERM.
    pub(crate) fn stop(mut self) -> Option<i32> {
        self.signal("TERM");
        self.child.wait().unwrap().code()
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The records of the key on the DHT as `name type data`, once they fulfil the condition.
#[track_caller]
pub(crate) fn records_when(world: &World, key: &str, condition: impl Fn(&[String]) -> bool) -> Vec<String> {
    let end = Instant::now() + LIMIT;
    loop {
        let found = world.run(&["resolve", key, "--json"]);
        let records = match found.code {
            0 => records(&found.json()),
            _ => Vec::new(),
        };
        if condition(&records) {
            return records;
        }
        assert!(Instant::now() < end, "{records:?}");
        thread::sleep(Duration::from_millis(200));
    }
}

fn records(resolved: &Value) -> Vec<String> {
    let records = resolved["records"].as_array().unwrap().iter();
    let text = |record: &Value, field: &str| record[field].as_str().unwrap().to_string();
    records.map(|record| format!("{} {}", text(record, "type"), text(record, "data"))).collect()
}

pub(crate) async fn world() -> World {
    let world = World::new().await;
    world.file("seed", HEX);
    std::fs::set_permissions(world.path().join("seed"), std::os::unix::fs::PermissionsExt::from_mode(0o600))
        .unwrap();
    world
}

/// The fenced block of this language in a document whose first line is a comment with this title.
#[track_caller]
pub(crate) fn block(document: &str, language: &str, title: &str) -> String {
    let fence = format!("```{language}\n");
    let blocks = document.split(&fence).skip(1).filter_map(|rest| Some(rest.split_once("```")?.0));
    let mut titled = blocks.filter(|block| block.starts_with(&format!("# {title}\n")));
    titled.next().unwrap_or_else(|| panic!("there is no {title}")).to_string()
}

/// Tells whoever runs the tests what was measured.
pub(crate) fn tell(measured: &str) {
    // Not through `eprintln!`, which is only shown when a test fails.
    io::stderr().write_all(format!("MEASURED: {measured}\n").as_bytes()).unwrap();
}

/// When the packet of the key was signed.
pub(crate) fn timestamp(world: &World) -> u64 {
    world.run(&["resolve", KEY, "--json"]).json()["timestamp"].as_u64().unwrap()
}
