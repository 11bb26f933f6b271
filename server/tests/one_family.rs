//! Machines that have one family of addresses only, IPv6 or IPv4, and pkdns on them as it comes: without a configuration.
//!
//! Needs `unshare` and `ip`, the right to make network namespaces, `dig`, `dnsmasq` and the `libtorrent` module of Python.
//! Without them the tests say so and pass, unless `CI=true`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the helpers of tests may fail them"
)]

#[allow(dead_code, reason = "other tests look at more of it")]
#[path = "interop/dig.rs"]
mod dig;
#[path = "interop/internet.rs"]
mod internet;
#[allow(dead_code, reason = "other tests start more than one on an address")]
#[path = "interop/libtorrent.rs"]
mod libtorrent;
#[path = "interop/namespace.rs"]
mod namespace;
#[allow(dead_code, reason = "other tests look at more of it")]
#[path = "interop/network_process.rs"]
mod network_process;
#[path = "interop/programs.rs"]
mod programs;

use std::{
    io::{BufRead, BufReader},
    net::{Ipv4Addr, Ipv6Addr},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use dig::Dig;
use internet::{Ipv6Internet, Resolver};
use network_process::hex;
use pkdns::{
    signed_packet::Keypair,
    testnet::{SAMPLE_SECRET, sample_packet},
};
use tempfile::TempDir;

const DNS_PORT: u16 = 53;

/// How long anything here may take that mostly takes a second.
const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn a_machine_without_ipv4_resolves_names_and_keys_as_it_comes() {
    let name = "a_machine_without_ipv4_resolves_names_and_keys_as_it_comes";
    if !namespace::is_inside(name) {
        return;
    }
    let (Some(dig), Some(mut internet)) = (Dig::find(), Ipv6Internet::start()) else { return };
    let keypair = Keypair::from_secret_key(&SAMPLE_SECRET);
    let packet = sample_packet(&keypair, 1).unwrap();
    let [seed, key, value] = [&SAMPLE_SECRET[..], packet.key().as_bytes(), packet.dns()].map(hex);
    assert_ne!(internet.nodes().run(&format!("put {seed} {key} {value}")), "0", "nodes that store it");

    let pkdns = Program::start();
    let server = (Ipv6Addr::LOCALHOST, DNS_PORT).into();
    assert_eq!(dig.ask(server, "example.com AAAA").data(), ["AAAA 2001:db8::1"]);
    let question = format!("{}.key AAAA", packet.key().to_z32());
    let begun = Instant::now();
    while dig.ask(server, &question).data() != ["AAAA ::1"] {
        assert!(begun.elapsed() < LIMIT, "{:?}\n{:#?}", dig.ask(server, &question), pkdns.stop());
    }
    let log = pkdns.stop();
    assert!(log.iter().any(|line| line.contains("joined the DHT")), "{log:#?}");
    assert_quiet(&log);
}

#[test]
fn a_machine_without_ipv6_says_nothing_of_it() {
    if !namespace::is_inside("a_machine_without_ipv6_says_nothing_of_it") {
        return;
    }
    let hosts = [("192.0.2.1", "example.com")];
    let (Some(dig), Some(resolver)) = (Dig::find(), Resolver::start_on_ipv4(&hosts)) else { return };
    let pkdns = Program::start();
    let server = (Ipv4Addr::LOCALHOST, DNS_PORT).into();
    // Another resolver may know better than one that refuses. There is none that could be asked.
    for number in 0..10 {
        assert_eq!(dig.ask(server, &format!("nowhere{number}.example TXT")).status(), "REFUSED");
    }
    assert_eq!(dig.ask(server, "example.com A").data(), ["A 192.0.2.1"]);
    drop(resolver);
    assert_quiet(&pkdns.stop());
}

/// Nothing is said of what this machine lacks.
#[track_caller]
fn assert_quiet(log: &[String]) {
    let is_odd = |line: &&String| line.contains("upstream") || line.contains("ERROR");
    let odd: Vec<_> = log.iter().filter(is_odd).collect();
    assert!(odd.is_empty(), "{odd:#?}");
}

/// pkdns, listening. Ends with this.
struct Program {
    child: Child,
    log: Receiver<String>,
    _directory: TempDir,
}

impl Program {
    /// Without a configuration, and with nothing from an earlier run.
    fn start() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let mut command = Command::new(env!("CARGO_BIN_EXE_pkdns"));
        command.arg("--pkdns-dir").arg(directory.path()).env_remove("RUST_LOG");
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines().map_while(Result::ok);
        let (listening, is_listening) = channel();
        let (sender, log) = channel();
        thread::spawn(move || {
            for line in lines {
                if line.contains("listening tcp [::]:53") {
                    let _ = listening.send(());
                }
                let _ = sender.send(line);
            }
        });
        is_listening.recv_timeout(LIMIT).expect("it listens");
        Self { child, log, _directory: directory }
    }

    /// Returns what it has said.
    fn stop(mut self) -> Vec<String> {
        namespace::run("kill", ["-TERM", &self.child.id().to_string()]);
        self.child.wait().unwrap();
        self.log.iter().collect()
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
