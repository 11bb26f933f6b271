//! The handle of the server's process, which takes commands on its standard input.

use std::{
    env,
    io::{BufRead, BufReader, Lines, Write},
    ops::Sub,
    process::{ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use pkdns_testing::benchmark::Process;

use crate::zones::Names;

/// Makes this program the server. Settings follow.
pub(crate) const FLAG: &str = "--serve-keys";

#[derive(Debug, Clone)]
pub(crate) struct Settings {
    pub(crate) keys: u32,
    /// TTL of every record, and seconds that a packet is fresh.
    pub(crate) lifetime: u32,
    /// Whether the network keeps what it has signed. That takes time from no lookup but the first, and memory.
    pub(crate) keeps_packets: bool,
    /// Where packets are kept on disk; empty for nowhere.
    pub(crate) directory: String,
    /// Whether the network can be asked.
    pub(crate) is_reachable: bool,
}

impl Settings {
    /// All keys there are, in memory only.
    pub(crate) fn of(names: &Names, lifetime: u32, keeps_packets: bool) -> Self {
        Self { keys: names.count(), lifetime, keeps_packets, directory: String::new(), is_reachable: true }
    }

    pub(crate) fn parse(arguments: &[String]) -> Self {
        let [keys, lifetime, keeps_packets, directory, is_reachable] = arguments else {
            panic!("{arguments:?}")
        };
        Self {
            keys: keys.parse().unwrap(),
            lifetime: lifetime.parse().unwrap(),
            keeps_packets: keeps_packets.parse().unwrap(),
            directory: directory.clone(),
            is_reachable: is_reachable.parse().unwrap(),
        }
    }
}

pub(crate) struct KeyServer {
    pub(crate) process: Process,
    orders: ChildStdin,
    replies: Lines<BufReader<ChildStdout>>,
}

/// What has been counted since the start.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counts {
    /// Of packets, in the network.
    pub(crate) lookups: u64,
    /// Queries that were answered from the answer cache, and those that were not.
    pub(crate) hits: u64,
    pub(crate) misses: u64,
}

impl Sub for Counts {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self {
            lookups: self.lookups - other.lookups,
            hits: self.hits - other.hits,
            misses: self.misses - other.misses,
        }
    }
}

/// Bytes that a process occupies.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Memory {
    pub(crate) resident: f64,
    /// Without mapped files, of which the program is one.
    pub(crate) anonymous: f64,
}

impl KeyServer {
    pub(crate) fn start(names: &Names, settings: &Settings) -> Self {
        let Settings { keys, lifetime, keeps_packets, directory, is_reachable } = settings;
        let mut command = Command::new(env::current_exe().unwrap());
        command.args([FLAG, &keys.to_string(), &lifetime.to_string(), &keeps_packets.to_string()]);
        command.args([directory, &is_reachable.to_string()]);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().expect("pkdns starts");
        let mut orders = child.stdin.take().unwrap();
        orders.write_all(names.keys[..*keys as usize].as_flattened()).unwrap();
        let mut replies = BufReader::new(child.stdout.take().unwrap()).lines();
        let address = replies.next().unwrap().unwrap().parse().unwrap();
        Self { process: Process::new(child, address, None), orders, replies }
    }

    /// How long the network takes from now on.
    pub(crate) fn set_latency(&mut self, latency: Duration) {
        writeln!(self.orders, "latency {}", latency.as_millis()).unwrap();
    }

    pub(crate) fn counts(&mut self) -> Counts {
        writeln!(self.orders, "count all").unwrap();
        let line = self.replies.next().unwrap().unwrap();
        let counts: Vec<u64> = line.split(' ').map(|count| count.parse().unwrap()).collect();
        let [lookups, hits, misses] = counts[..] else { panic!("{line}") };
        Counts { lookups, hits, misses }
    }

    pub(crate) fn memory(&self) -> Memory {
        let status = self.process.proc_file("status");
        let bytes = |name| {
            let size = status.lines().find_map(|line| line.strip_prefix(name)).unwrap();
            size.trim().trim_end_matches(" kB").parse::<f64>().unwrap() * 1024.0
        };
        Memory { resident: bytes("VmRSS:"), anonymous: bytes("RssAnon:") }
    }
}
