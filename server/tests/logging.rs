//! The log of the program, on stderr.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test may fail where it stands")]

use std::{
    fs::{self, File},
    net::UdpSocket,
    os::unix::fs::MetadataExt,
    path::Path,
    process::{Child, Command},
    thread,
    time::{Duration, Instant},
};

use pkdns_dht::simulator::Simulator;
use tempfile::TempDir;

/// Longest that a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(30);

const QUIET: &str = "listen = '127.0.0.1:0'\nfallback_dns = '127.0.0.1:9'\n[dht]\nenabled = false\n";

/// The program, with its log in a file. It does not outlive its test.
struct Program {
    child: Child,
    log: std::path::PathBuf,
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

impl Program {
    /// With `in_journal`, the file is what the journal would be.
    fn start(directory: &Path, configuration: &str, in_journal: bool) -> Self {
        fs::write(directory.join("pkdns.toml"), configuration).unwrap();
        let log = directory.join("log");
        let file = File::create(&log).unwrap();
        let found = file.metadata().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_pkdns"));
        command.arg("--pkdns-dir").arg(directory).env_remove("RUST_LOG").env_remove("JOURNAL_STREAM");
        if in_journal {
            command.env("JOURNAL_STREAM", format!("{}:{}", found.dev(), found.ino()));
        }
        Self { child: command.stderr(file).spawn().unwrap(), log }
    }

    fn text(&self) -> String {
        fs::read_to_string(&self.log).unwrap()
    }

    /// Waits for a line with `part` in it, and returns it.
    fn line(&self, part: &str) -> String {
        let start = Instant::now();
        loop {
            let text = self.text();
            let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
            if let Some(line) = whole.lines().find(|line| line.contains(part)) {
                return line.to_owned();
            }
            assert!(start.elapsed() < PATIENCE, "{part} is not in\n{text}");
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// Asks for the address of `localhost`.
    fn ask(&self) {
        let line = self.line("listening udp ");
        let address = line.split("listening udp ").nth(1).unwrap();
        let address: std::net::SocketAddr =
            address.trim_end_matches(|c: char| !c.is_ascii_digit()).parse().unwrap();
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        socket.send_to(b"\0\x01\x01\0\0\x01\0\0\0\0\0\0\x09localhost\0\0\x01\0\x01", address).unwrap();
        socket.recv(&mut [0; 512]).unwrap();
    }

    /// Has it end, and returns its log.
    fn stop(mut self) -> String {
        let status =
            Command::new("sh").arg("-c").arg(format!("kill -TERM {}", self.child.id())).status().unwrap();
        assert!(status.success());
        assert_eq!(self.child.wait().unwrap().code(), Some(0), "{}", self.text());
        self.text()
    }
}

fn directory() -> TempDir {
    tempfile::tempdir().unwrap()
}

#[test]
fn the_journal_has_the_time_and_the_priority_and_the_line_has_neither() {
    let directory = directory();
    // Something to warn of.
    let below = directory.path().join("pkdns.toml/queries.log");
    let configuration = format!("verbose = true\n{QUIET}[query_log]\nlevel = 'full'\npath = {below:?}\n");
    let program = Program::start(directory.path(), &configuration, true);
    program.ask();
    assert!(program.line("pkdns.toml/queries.log: ").starts_with("<4>"));
    let question = program.line("question=");
    assert!(question.starts_with("<7>"), "{question}");
    assert!(question.contains("question=\"localhost. IN A\" code=NOERROR took="), "{question}");
    let text = program.stop();
    assert!(text.lines().all(|line| line.starts_with('<') && line.get(2..3) == Some(">")), "{text}");
    assert!(text.contains("listening udp 127.0.0.1:") && text.contains("\n<6>"), "{text}");
    assert!(!text.contains("INFO") && !text.contains('\u{1b}'), "{text}");
}

#[test]
fn elsewhere_lines_have_times_and_levels() {
    for (format, in_journal) in [("auto", false), ("text", true)] {
        let directory = directory();
        let configuration = format!("{QUIET}[log]\nformat = '{format}'\n[query_log]\nlevel = 'truncated'\n");
        let program = Program::start(directory.path(), &configuration, in_journal);
        program.ask();
        let line = program.line("transport=");
        let (time, rest) = line.split_once("  INFO ").unwrap();
        assert!(time.ends_with('Z') && time.len() == 24, "{line}");
        let expected = "client=127.0.0.0/24 transport=udp name=localhost. type=A code=NOERROR source=special microseconds=";
        assert!(rest.starts_with(expected), "{line}");
        program.stop();
    }
}

#[test]
fn json_has_each_field_for_itself() {
    let directory = directory();
    let configuration = format!("{QUIET}[log]\nformat = 'json'\n[query_log]\nlevel = 'truncated'\n");
    let program = Program::start(directory.path(), &configuration, false);
    program.ask();
    program.line("transport");
    let mut queries = 0;
    for line in program.stop().lines() {
        let value: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(value["timestamp"].is_string() && value["level"].is_string(), "{line}");
        if value["target"] == "pkdns::queries" {
            assert_eq!((&value["name"], &value["type"]), (&"localhost.".into(), &"A".into()), "{line}");
            assert!(value["bytes"].is_u64() && value["client"] == "127.0.0.0/24", "{line}");
            queries += 1;
        }
    }
    assert_eq!(queries, 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn each_start_says_that_the_dht_is_joined() {
    let network = Simulator::with_nodes(8).unwrap();
    let directory = directory();
    let configuration = format!(
        "listen = '127.0.0.1:0'\nfallback_dns = '127.0.0.1:9'\n[dht]\nbootstrap = {:?}\n",
        network.bootstrap()
    );
    for _ in 0..2 {
        let program = Program::start(directory.path(), &configuration, false);
        program.line("joined the DHT");
        let text = program.stop();
        assert_eq!(text.matches("joined the DHT").count(), 1, "{text}");
    }
}

#[test]
fn a_file_with_comments_is_one_to_start_from() {
    let directory = directory();
    let print = |configuration: &str| {
        fs::write(directory.path().join("pkdns.toml"), configuration).unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_pkdns"));
        command.arg("--pkdns-dir").arg(directory.path()).args(["--print-config", "--commented"]);
        String::from_utf8(command.output().unwrap().stdout).unwrap()
    };
    let printed = print("[cache]\nttl_seconds = 7\n");
    let set: Vec<_> =
        printed.lines().filter(|line| !line.is_empty() && !line.starts_with(['#', '['])).collect();
    assert_eq!(set, ["ttl_seconds = 7"]);
    assert!(printed.contains("\n[query_log]\n") && printed.contains("\n# level = \"off\"\n"), "{printed}");
    assert_eq!(print(&printed), printed);
}
