//! The program with `--testnet`, until it is dropped.

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::TcpStream,
    path::PathBuf,
    process::{Command, Output, Stdio},
    thread::{self, JoinHandle},
    time::Duration,
};

use pkdns_testing::process::Killed;
use tempfile::TempDir;

/// How long one answer may take.
const LIMIT: Duration = Duration::from_secs(30);

pub(crate) struct Testnet {
    child: Killed,
    log: Option<JoinHandle<String>>,
    temporary: TempDir,
    /// What it printed at its start.
    pub(crate) said: String,
}

pub(crate) fn output_of(output: &Output) -> String {
    [&output.stdout, &output.stderr].map(|bytes| String::from_utf8_lossy(bytes)).concat()
}

impl Testnet {
    pub(crate) fn command(flags: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pkdns"));
        command.args(["--testnet", "--pkdns-dir", "/nonexistent"]).args(flags).env_remove("RUST_LOG");
        command
    }

    /// At ports that are free.
    pub(crate) fn start(flags: &[&str]) -> Self {
        Self::start_at(&[&["--listen", "127.0.0.1:0"], flags].concat())
    }

    /// Where `flags` say, or else at its usual ports.
    pub(crate) fn start_at(flags: &[&str]) -> Self {
        let temporary = tempfile::tempdir().unwrap();
        let mut command = Self::command(flags);
        command.env("TMPDIR", temporary.path());
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut stderr = child.stderr.take().unwrap();
        let log = thread::spawn(move || {
            let mut text = Vec::new();
            stderr.read_to_end(&mut text).unwrap();
            String::from_utf8_lossy(&text).into_owned()
        });
        let mut said = String::new();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines().map_while(Result::ok);
        for line in lines {
            said += &line;
            said.push('\n');
            if line.starts_with("Ctrl-C ends it all") {
                break;
            }
        }
        assert!(said.contains("Ctrl-C ends it all"), "it ended: {said}{}", log.join().unwrap());
        Self { child: Killed(child), log: Some(log), temporary, said }
    }

    /// The command that begins so.
    #[track_caller]
    pub(crate) fn line_of(&self, beginning: &str) -> &str {
        let mut lines = self.said.lines().filter_map(|line| line.strip_prefix("  "));
        lines.find(|line| line.starts_with(beginning)).unwrap_or_else(|| panic!("{}", self.said))
    }

    pub(crate) fn https_port(&self) -> u16 {
        let rest = self.said.split_once(".key:").unwrap().1;
        rest.split_once('/').unwrap().0.parse().unwrap()
    }

    pub(crate) fn dns_port(&self) -> u16 {
        let rest = self.said.split_once("dig @127.0.0.1 -p ").unwrap().1;
        rest.split_once(' ').unwrap().0.parse().unwrap()
    }

    pub(crate) fn http_port(&self) -> u16 {
        self.http().rsplit_once(':').unwrap().1.parse().unwrap()
    }

    fn http(&self) -> &str {
        self.said.split_once("where http://").unwrap().1.split_once('/').unwrap().0
    }

    /// Where it keeps what it needs while it runs.
    pub(crate) fn scratch(&self) -> PathBuf {
        let mut entries = self.temporary.path().read_dir().unwrap().map(|entry| entry.unwrap().path());
        entries.next().unwrap()
    }

    /// The response to a request over plain HTTP.
    pub(crate) fn get(&self, host: &str, path: &str) -> String {
        let mut stream = TcpStream::connect(self.http()).unwrap();
        stream.set_read_timeout(Some(LIMIT)).unwrap();
        write!(stream, "GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n").unwrap();
        let mut response = Vec::new();
        stream.read_to_end(&mut response).unwrap();
        String::from_utf8_lossy(&response).into_owned()
    }

    /// Ends it as Ctrl-C does. Returns its log.
    pub(crate) fn end(&mut self) -> String {
        self.child.signal("INT");
        assert!(self.child.wait().unwrap().success());
        self.log.take().unwrap().join().unwrap()
    }
}
