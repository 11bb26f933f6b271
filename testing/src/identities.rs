//! A simulated DHT, the files of many identities, and a running `serve` that keeps them.

use std::{
    collections::HashSet,
    fmt::Write,
    fs,
    io::{BufRead, BufReader},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use pkdns_dht::{
    signed_packet::{Keypair, PublicKey},
    simulator::{Simulator, World},
};
use tempfile::TempDir;

use crate::{process::Killed, programs};

/// Ticks of `/proc/<pid>/stat` in a second: part of the interface of Linux, whatever the kernel's own clock.
const TICKS_PER_SECOND: f64 = 100.0;

/// How long a test waits for what must come. Other tests may have the cores meanwhile.
const LIMIT: Duration = Duration::from_secs(240);

pub struct Scene {
    directory: TempDir,
    pub simulator: Simulator,
    pub keys: Vec<PublicKey>,
}

/// A running `serve`, which does not outlive this.
pub struct Serve {
    child: Killed,
    started: Instant,
    lines: Receiver<(Instant, String)>,
    /// How often it said that something was not stored.
    pub failures: usize,
}

impl Scene {
    /// So many identities, each with a zone file.
    pub fn new(world: World, count: u32) -> Self {
        let simulator = Simulator::start(world).unwrap();
        let mut scene = Self { directory: tempfile::tempdir().unwrap(), simulator, keys: Vec::new() };
        let mut config = "state = 'state'\n".to_string();
        for number in 0..count {
            let secret = secret(number);
            let hex: String = secret.iter().map(|byte| format!("{byte:02x}")).collect();
            scene.private_file(&format!("seed-{number}"), &hex);
            write!(config, "[[identity]]\nseed = 'seed-{number}'\nzone_file = 'zone-{number}'\n").unwrap();
            scene.keys.push(Keypair::from_secret_key(&secret).public_key());
        }
        scene.write_zones(1);
        scene.private_file("publisher.toml", &config);
        scene
    }

    /// Writes all zone files, as those of this version.
    pub fn write_zones(&self, version: u8) {
        for number in 0..self.keys.len() {
            let text = format!(
                "$TTL 300\n@ A 192.0.2.{version}\n@ AAAA 2001:db8::{number:x}\nwww CNAME @\n\
                 @ TXT \"the zone of number {number}\"\n"
            );
            // In one step: what is read is never half of it.
            let beside = self.path().join("beside");
            fs::write(&beside, text).unwrap();
            fs::rename(beside, self.path().join(format!("zone-{number}"))).unwrap();
        }
    }

    pub fn private_file(&self, name: &str, content: &str) {
        let path = self.path().join(name);
        fs::write(&path, content).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o600)).unwrap();
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// The program on the simulated DHT.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(programs::built("pkdns-cli"));
        command.args(["--bootstrap", &self.simulator.bootstrap()[0]]).args(arguments);
        command.current_dir(self.path()).stdin(Stdio::null());
        command
    }

    pub fn serve(&self) -> Serve {
        let mut command = self.command(&["serve"]);
        let started = Instant::now();
        let mut child = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        let output = BufReader::new(child.stderr.take().unwrap());
        thread::spawn(move || {
            let mut lines = output.lines().map_while(Result::ok);
            lines.try_for_each(|line| sender.send((Instant::now(), line)))
        });
        Serve { child: Killed(child), started, lines, failures: 0 }
    }
}

/// That of the identity with this number.
pub fn secret(number: u32) -> [u8; 32] {
    let mut secret = [9; 32];
    secret[..4].copy_from_slice(&number.to_be_bytes());
    secret
}

impl Serve {
    /// Waits until it has said of so many identities, from now on, that they are stored. Returns when the last was.
    #[track_caller]
    pub fn wait_until_stored(&mut self, count: usize) -> Instant {
        let end = Instant::now() + LIMIT;
        let mut stored = HashSet::new();
        let mut last = Instant::now();
        while stored.len() < count {
            let Ok((at, line)) = self.lines.recv_timeout(end.saturating_duration_since(Instant::now()))
            else {
                panic!("{} of {count} were stored, and {} failures were told", stored.len(), self.failures);
            };
            match line.split_once(": ") {
                Some((name, rest)) if rest.starts_with("stored on") => {
                    // Behind the time and the name of the file stands the key.
                    stored.insert(name.rsplit(' ').next().unwrap_or(name).to_string());
                    last = at;
                }
                _ if line.contains("error: ") => self.failures += 1,
                _ => {}
            }
        }
        last
    }

    pub fn since_start(&self, at: Instant) -> Duration {
        at - self.started
    }

    /// Megabytes as `/proc/<pid>/status` says: `VmHWM` for the peak, `VmRSS` for now.
    pub fn megabytes(&self, field: &str) -> f64 {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id())).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix(field)).unwrap();
        let kilobytes: f64 = line.trim_start_matches(':').trim().trim_end_matches(" kB").parse().unwrap();
        kilobytes / 1e3
    }

    /// Seconds that it has computed so far, and that the kernel has for it.
    pub fn cpu_time(&self) -> f64 {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        // The second field is the program's name in parentheses; utime and stime are the fields 14 and 15.
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        fields.split(' ').skip(11).take(2).map(|ticks| ticks.parse::<f64>().unwrap()).sum::<f64>()
            / TICKS_PER_SECOND
    }
}
