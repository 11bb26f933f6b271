//! A libtorrent client, driven over its standard input and output.

use std::{
    io::{BufRead, BufReader, Write},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use pkdns_dht::simulator::Simulator;

use crate::{
    askers::{Asker, came},
    row::Came,
    zones::Zone,
};

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/benches/dht/libtorrent_client.py");

/// A client, joined. Ends with its standard input.
pub(crate) struct Libtorrent {
    child: Child,
    commands: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Libtorrent {
    /// `None`: it is not installed, which is said.
    pub(crate) fn join(simulator: &Simulator) -> Option<Self> {
        let mut command = Command::new("/usr/bin/python3");
        command.arg(SCRIPT).args(simulator.bootstrap());
        let child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
        let started = child.ok().and_then(|mut child| {
            let (commands, answers) = (child.stdin.take()?, BufReader::new(child.stdout.take()?));
            let mut started = Self { child, commands, answers };
            (started.answer()?.first()? == "ready").then_some(started)
        });
        if started.is_none() {
            println!("SKIPPED: no libtorrent module for /usr/bin/python3 (Debian: python3-libtorrent)");
        }
        started
    }

    /// Publishes under the key of this seed. How many nodes took it, and how long that took.
    pub(crate) fn put(&mut self, zone: &Zone, value: &[u8]) -> (u32, Duration) {
        let [seed, key] =
            [zone.keypair.secret_key(), *zone.keypair.public_key().as_bytes()].map(|it| hex(&it));
        writeln!(self.commands, "put {key} {seed} {}", hex(value)).unwrap();
        let answer = self.answer().unwrap();
        (answer[1].parse().unwrap(), microseconds(&answer[2]))
    }

    fn answer(&mut self) -> Option<Vec<String>> {
        let mut line = String::new();
        self.answers.read_line(&mut line).ok()?;
        let words: Vec<_> = line.split_whitespace().map(str::to_owned).collect();
        (!words.is_empty()).then_some(words)
    }
}

impl Asker for Libtorrent {
    fn ask(&mut self, zones: &[Zone], at_once: usize, each: &mut dyn FnMut(usize)) -> Vec<(Came, Duration)> {
        let keys: Vec<_> = zones.iter().map(|zone| hex(zone.keypair.public_key().as_bytes())).collect();
        let mut replies = Vec::new();
        let mut next = keys.iter();
        let mut ask = |commands: &mut ChildStdin| {
            next.next().into_iter().for_each(|key| writeln!(commands, "get {key}").unwrap());
        };
        (0..at_once).for_each(|_| ask(&mut self.commands));
        while replies.len() < zones.len() {
            let answer = self.answer().expect("libtorrent answers");
            let place = keys.iter().position(|key| *key == answer[0]).unwrap();
            each(place);
            replies.push((came(&zones[place], answer[1].parse().ok()), microseconds(&answer[2])));
            ask(&mut self.commands);
        }
        replies
    }
}

impl Drop for Libtorrent {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn microseconds(text: &str) -> Duration {
    Duration::from_micros(text.parse().unwrap())
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
