//! Starts servers as processes of their own, on a core of their own.

pub mod batches;
pub mod names;
pub mod random;
pub mod upstream;

use std::{
    env, fs,
    io::{BufRead, BufReader},
    net::{Ipv4Addr, SocketAddr},
    ops::{AddAssign, Sub},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, OnceLock},
    time::Duration,
};

use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};
use tempfile::TempDir;

use crate::{process::Killed, programs};

/// What the command line of a benchmark asks for: short rounds where it is run as a test, and some of its tables.
pub struct Choice {
    pub in_full: bool,
    wanted: Vec<String>,
}

impl Choice {
    /// Says so if the figures mean nothing.
    pub fn read() -> Self {
        let (flags, wanted): (Vec<_>, Vec<_>) = env::args().skip(1).partition(|word| word.starts_with('-'));
        let in_full = flags.iter().any(|flag| flag == "--bench");
        if !in_full {
            println!("Short rounds: the figures mean nothing.");
        }
        Self { in_full, wanted }
    }

    /// Whether this table was named, or none.
    pub fn wants(&self, table: &str) -> bool {
        self.wanted.is_empty() || self.names(table)
    }

    /// Whether this table was named.
    pub fn names(&self, table: &str) -> bool {
        self.wanted.iter().any(|wanted| wanted == table)
    }
}

/// Ticks of `/proc/<pid>/stat` in a second: part of the interface of Linux, whatever the kernel's own clock.
const TICKS_PER_SECOND: f64 = 100.0;

/// Seconds that a process has computed for itself, and that the kernel has for it.
#[derive(Debug, Default, Clone, Copy)]
pub struct CpuTime {
    pub user: f64,
    pub system: f64,
}

impl CpuTime {
    pub fn total(&self) -> f64 {
        self.user + self.system
    }
}

impl AddAssign for CpuTime {
    fn add_assign(&mut self, other: Self) {
        self.user += other.user;
        self.system += other.system;
    }
}

impl Sub for CpuTime {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self { user: self.user - other.user, system: self.system - other.system }
    }
}

/// Lines of a log that are kept.
pub const MAX_LOG: usize = 100_000;

fn port_in(line: &str, protocol: &str) -> Option<u16> {
    line.split_once(&format!("listening {protocol} "))?.1.trim().rsplit(':').next()?.parse().ok()
}

/// A variable of the environment, and its value.
pub type Variable = (&'static str, &'static str);

/// A server that does not outlive the benchmark.
pub struct Process {
    child: Killed,
    address: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
    /// Its directory, removed at the end.
    directory: Option<TempDir>,
    variables: Vec<Variable>,
}

impl Process {
    /// A program that has started and serves at `address`.
    pub fn new(child: Child, address: SocketAddr, directory: Option<TempDir>) -> Self {
        Self { child: Killed(child), address, log: Arc::default(), directory, variables: Vec::new() }
    }

    /// Starts pkdns with this configuration.
    pub fn pkdns(configuration: &str) -> Self {
        Self::pkdns_with(configuration, &[], |_| ())
    }

    /// The same with these variables, in a directory that `prepare` has put something into.
    pub fn pkdns_with(configuration: &str, variables: &[Variable], prepare: impl FnOnce(&Path)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("pkdns.toml"), configuration).unwrap();
        prepare(directory.path());
        Self::start(directory, variables.to_vec())
    }

    /// Stops it as an operator does, and starts it again.
    pub fn restart(mut self) -> Self {
        self.child.signal("TERM");
        self.child.wait().unwrap();
        let variables = std::mem::take(&mut self.variables);
        Self::start(self.directory.take().expect("it has a directory"), variables)
    }

    fn start(directory: TempDir, variables: Vec<Variable>) -> Self {
        let mut child = Command::new(programs::built("pkdns"))
            .arg("--pkdns-dir")
            .arg(directory.path())
            .env_remove("RUST_LOG")
            .envs(variables.iter().copied())
            .stderr(Stdio::piped())
            .spawn()
            .expect("pkdns starts");
        let log = child.stderr.take().unwrap();
        let mut lines = BufReader::new(log).lines().map_while(Result::ok);
        let port = lines.find_map(|line| port_in(&line, "udp")).expect("pkdns listens");
        let address = (Ipv4Addr::LOCALHOST, port).into();
        let mut process = Self::new(child, address, Some(directory));
        process.variables = variables;
        let log = process.log.clone();
        // The server must not wait for a reader.
        std::thread::spawn(move || {
            for line in lines {
                let mut log = log.lock().unwrap();
                if log.len() < MAX_LOG {
                    log.push(line);
                }
            }
        });
        process
    }

    /// Lines that it has logged since it listens, at most [`MAX_LOG`].
    pub fn log(&self) -> Vec<String> {
        self.log.lock().unwrap().clone()
    }

    /// The port of its first listener for `protocol`, as its log says it. UDP has none here: see [`Process::address`].
    pub fn port(&self, protocol: &str) -> u16 {
        let port = || self.log().iter().find_map(|line| port_in(line, protocol));
        let wait = |_: &u32| {
            std::thread::sleep(Duration::from_millis(20));
            port().is_some()
        };
        (0..250).find(wait).unwrap_or_else(|| panic!("nobody listens for {protocol}"));
        port().unwrap()
    }

    /// Bytes of memory that it has now.
    pub fn memory(&self) -> u64 {
        let status = self.proc_file("status");
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() * 1024
    }

    /// What the kernel says of it in `/proc/<pid>/<file>`.
    pub fn proc_file(&self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).unwrap()
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// What all its threads have used so far.
    pub fn cpu_time(&self) -> CpuTime {
        let stat = self.proc_file("stat");
        // The second field is the program's name in parentheses; utime and stime are the fields 14 and 15.
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        let mut ticks = fields.split(' ').skip(11).map(|field| field.parse::<f64>().unwrap());
        let mut seconds = || ticks.next().unwrap() / TICKS_PER_SECOND;
        CpuTime { user: seconds(), system: seconds() }
    }
}

/// The core of the servers and that of the client; the same one when there is no other.
pub fn cores() -> (usize, usize) {
    // Asked once: later this process keeps to one of them.
    static CORES: OnceLock<(usize, usize)> = OnceLock::new();
    *CORES.get_or_init(|| {
        let allowed = sched_getaffinity(Pid::from_raw(0)).unwrap();
        let mut cores = (0..CpuSet::count()).filter(|core| allowed.is_set(*core).unwrap());
        let first = cores.next().unwrap();
        (first, cores.next().unwrap_or(first))
    })
}

/// Starts `servers` on one core, for good, and goes on on the other. A server that may use one core starts one
/// thread for its work and opens one socket.
pub fn on_core<T>(server_core: usize, client_core: usize, servers: impl FnOnce() -> T) -> T {
    pin(&[server_core]);
    let started = servers();
    pin(&[client_core]);
    started
}

/// Keeps the calling thread, and what it starts from now on, on these cores.
pub fn pin(cores: &[usize]) {
    let mut set = CpuSet::new();
    for core in cores {
        set.set(*core).unwrap();
    }
    sched_setaffinity(Pid::from_raw(0), &set).unwrap();
}
