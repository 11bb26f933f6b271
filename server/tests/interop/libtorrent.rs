//! A DHT of libtorrent nodes.

use std::{
    env,
    io::{BufRead, BufReader, Write},
    path::Path,
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use tokio::task::block_in_place;

use crate::programs;

const NODES: &str = "12";
const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../server/tests/interop/libtorrent_network.py");

/// A process full of libtorrent nodes, which ends with this.
pub(crate) struct Libtorrent {
    child: Child,
    commands: ChildStdin,
    replies: BufReader<ChildStdout>,
    bootstrap: Vec<String>,
}

impl Libtorrent {
    /// `None`: there is no libtorrent, and that is to be accepted.
    pub(crate) fn start() -> Option<Self> {
        let has_libtorrent = |python: &Path| {
            let mut import = Command::new(python);
            import.args(["-c", "import libtorrent"]).stdout(Stdio::null()).stderr(Stdio::null());
            import.status().is_ok_and(|status| status.success())
        };
        let package = "the libtorrent module, Debian's python3-libtorrent or PyPI's libtorrent";
        let python = env::var("PYTHON").unwrap_or("python3".into());
        let mut command = Command::new(programs::find(&python, has_libtorrent, package)?);
        command.args([SCRIPT, NODES]).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().unwrap();
        let commands = child.stdin.take().unwrap();
        let replies = BufReader::new(child.stdout.take().unwrap());
        let mut network = Self { child, commands, replies, bootstrap: Vec::new() };
        loop {
            let line = network.reply();
            if line.is_empty() {
                return Some(network);
            }
            network.bootstrap.push(line);
        }
    }

    /// Its nodes, `HOST:PORT`.
    pub(crate) fn bootstrap(&self) -> Vec<String> {
        self.bootstrap.clone()
    }

    /// The sequence number and the value, in hexadecimal, that libtorrent itself finds; or `none`.
    pub(crate) fn get(&mut self, key: &[u8]) -> String {
        self.run(&format!("get {}", hex(key)))
    }

    /// Obeys a command of the script.
    pub(crate) fn run(&mut self, command: &str) -> String {
        writeln!(self.commands, "{command}").unwrap();
        self.reply()
    }

    /// The script gives up by itself when libtorrent is slow, which ends this too.
    fn reply(&mut self) -> String {
        let mut line = String::new();
        let size = block_in_place(|| self.replies.read_line(&mut line)).unwrap();
        assert!(size > 0, "the libtorrent script has ended");
        line.trim_end().to_owned()
    }
}

impl Drop for Libtorrent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Bytes as the script takes and prints them.
pub(crate) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
