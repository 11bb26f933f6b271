//! Runs the program, and a DHT for it.

use std::{
    fs,
    io::Write,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{
        Arc,
        mpsc::{RecvTimeoutError, Sender, channel},
    },
    thread,
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use nix::{
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use pkdns_dht::simulator::Simulator;
use pkdns_dht::{
    Dht, DhtSettings,
    signed_packet::{Keypair, PublicKey, SignedPacket},
};
use serde_json::Value;
use tempfile::TempDir;

use crate::{process::Process, programs};

/// A seed in its older form, in its newer form, and its key: test vectors of PKARR.
pub const Z32: &str = "a3kco17a6mqawd9jewgwijrd64gb1rmrer1zptxgire7buufk3hy";
pub const HEX: &str = "c654c84bb8f2dd8a0fe9450d4aa483f68c191164412576c5e6a911d0ce655678";
pub const KEY: &str = "csjbhp9jpbomwh3m5eyrj1py41m8sjpkzzqmzpj5madsi7sc4mto";

/// After which a program that does not end is killed. None of those that tests wait for takes nearly as long.
const LIMIT: Duration = Duration::from_secs(300);

/// A directory of files, and a network to publish them to.
pub struct World {
    directory: TempDir,
    network: Simulator,
}

impl World {
    pub async fn new() -> Self {
        Self { directory: directory(), network: Simulator::with_nodes(10).unwrap() }
    }

    /// Runs the program on the local network.
    pub fn run(&self, arguments: &[&str]) -> Finished {
        let bootstrap = self.network.bootstrap();
        run(self.path(), &[&["--bootstrap", bootstrap[0].as_str()], arguments].concat())
    }

    /// The program on the local network, to be started.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let bootstrap = self.network.bootstrap();
        command(self.path(), &[&["--bootstrap", bootstrap[0].as_str()], arguments].concat())
    }

    /// Starts the program on the local network.
    pub fn start(&self, arguments: &[&str]) -> Process {
        Process::start(self.command(arguments))
    }

    /// Nodes to join through, `HOST:PORT`.
    pub fn bootstrap(&self) -> Vec<String> {
        self.network.bootstrap()
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    pub fn file(&self, name: &str, content: &str) {
        file(&self.directory, name, content);
    }

    /// A look at the network from inside.
    pub async fn dht(&self) -> Dht {
        let settings = DhtSettings::on_loopback(self.network.bootstrap());
        let dht = Dht::start(settings, Arc::new(|_| Box::pin(async { Vec::new() }))).unwrap();
        dht.ready(Duration::from_secs(10)).await.unwrap();
        dht
    }

    /// Publishes an empty zone as another machine would.
    pub async fn publish_elsewhere(&self, keypair: &Keypair, timestamp: u64) {
        let dht = self.dht().await;
        let empty = [0, 0, 0x80, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let packet = SignedPacket::sign(keypair, timestamp, &empty).unwrap();
        assert!(dht.put(&packet, None).await.unwrap() > 0);
    }
}

/// What a run of the program came to.
pub struct Finished {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Finished {
    #[track_caller]
    pub fn json(&self) -> Value {
        assert_eq!((self.code, self.out.lines().count()), (0, 1), "{}{}", self.out, self.err);
        serde_json::from_str(&self.out).unwrap()
    }

    /// The messages of a run with `--json`, one for each line on standard error.
    #[track_caller]
    pub fn messages(&self) -> Vec<String> {
        let message =
            |line: &str| serde_json::from_str::<Value>(line).unwrap()["message"].as_str().map(String::from);
        self.err.lines().map(|line| message(line).unwrap()).collect()
    }

    #[track_caller]
    pub fn assert_failed(&self, code: i32, message: &str) {
        assert_eq!(self.code, code, "{}{}", self.out, self.err);
        assert!(self.err.contains(message), "{}", self.err);
        assert_eq!(self.out, "");
    }
}

pub fn run(directory: &Path, arguments: &[&str]) -> Finished {
    run_with_input(directory, arguments, "")
}

/// Runs the program to its end, and holds it to keeping secrets.
#[track_caller]
pub fn run_with_input(directory: &Path, arguments: &[&str], input: &str) -> Finished {
    let mut child = command(directory, arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    // A program that failed before it read its input has closed it.
    let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
    let running = limited(&child);
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    drop(running);
    let [out, err] = [stdout, stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    // Whatever happens, no command repeats a seed (mistake 30).
    for seed in [Z32, HEX] {
        for part in [&seed[..10], &seed[20..30], &seed[seed.len() - 10..]] {
            assert!(!out.contains(part) && !err.contains(part), "{arguments:?} repeats the seed: {out}{err}");
        }
    }
    assert!(status.code().is_some(), "{arguments:?} did not end by itself: {out}{err}");
    Finished { code: status.code().unwrap(), out, err }
}

/// Kills a program after some time, unless what is returned is dropped before.
pub fn limited(child: &Child) -> Sender<()> {
    let pid = Pid::from_raw(child.id().try_into().unwrap());
    let (running, end) = channel();
    thread::spawn(move || {
        if end.recv_timeout(LIMIT) == Err(RecvTimeoutError::Timeout) {
            let _ = kill(pid, Signal::SIGKILL);
        }
    });
    running
}

pub fn command(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(programs::built("pkdns-cli"));
    command.args(arguments).current_dir(directory);
    command
}

pub fn directory() -> TempDir {
    tempfile::tempdir().unwrap()
}

pub fn file(directory: &TempDir, name: &str, content: &str) -> PathBuf {
    let path = directory.path().join(name);
    fs::write(&path, content).unwrap();
    path
}

/// Microseconds since 1970.
pub fn now() -> u64 {
    u64::try_from(SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_micros()).unwrap()
}

/// The bytes of the seed.
pub fn secret() -> [u8; 32] {
    let mut secret = [0; 32];
    for (at, byte) in secret.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&HEX[2 * at..2 * at + 2], 16).unwrap();
    }
    assert_eq!(Keypair::from_secret_key(&secret).public_key(), PublicKey::try_from(KEY).unwrap());
    secret
}
