//! A process that is a DHT: prints its nodes, then obeys lines.

use std::{
    io::{BufRead, BufReader, Write},
    process::{ChildStdin, ChildStdout, Command, Stdio},
};

use tokio::task::block_in_place;

use crate::process::Killed;

/// A process full of DHT nodes, which ends with this.
pub struct NetworkProcess {
    _child: Killed,
    commands: ChildStdin,
    replies: BufReader<ChildStdout>,
    bootstrap: Vec<String>,
}

impl NetworkProcess {
    /// Waits until its nodes know each other.
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let commands = child.stdin.take().unwrap();
        let replies = BufReader::new(child.stdout.take().unwrap());
        let mut network = Self { _child: Killed(child), commands, replies, bootstrap: Vec::new() };
        loop {
            let line = network.reply();
            if line.is_empty() {
                return network;
            }
            network.bootstrap.push(line);
        }
    }

    /// Its nodes, `HOST:PORT`.
    pub fn bootstrap(&self) -> Vec<String> {
        self.bootstrap.clone()
    }

    /// The sequence number and the value, in hexadecimal, that its own client finds; or `none`.
    pub fn get(&mut self, key: &[u8]) -> String {
        self.run(&format!("get {}", hex(key)))
    }

    /// Obeys a command of the script.
    pub fn run(&mut self, command: &str) -> String {
        writeln!(self.commands, "{command}").unwrap();
        self.reply()
    }

    /// The scripts give up by themselves when their nodes are slow, which ends this too.
    fn reply(&mut self) -> String {
        let mut line = String::new();
        let size = block_in_place(|| self.replies.read_line(&mut line)).unwrap();
        assert!(size > 0, "the process with the nodes has ended");
        line.trim_end().to_owned()
    }
}

/// Bytes as the scripts take and print them.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
