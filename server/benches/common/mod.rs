//! Servers as processes of their own, on a core of their own.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::{Ipv4Addr, SocketAddr},
    ops::{AddAssign, Sub},
    process::{Child, Command, Stdio},
    sync::OnceLock,
};

use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};
use tempfile::TempDir;

/// Ticks of `/proc/<pid>/stat` in a second: part of the interface of Linux, whatever the kernel's own clock.
const TICKS_PER_SECOND: f64 = 100.0;

/// Seconds that a process has computed for itself, and that the kernel has for it.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct CpuTime {
    pub(crate) user: f64,
    pub(crate) system: f64,
}

impl CpuTime {
    pub(crate) fn total(&self) -> f64 {
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

/// A server that does not outlive the benchmark.
pub(crate) struct Process {
    child: Child,
    address: SocketAddr,
    /// Its directory, removed at the end.
    _directory: Option<TempDir>,
}

impl Process {
    /// A program that has started and serves at `address`.
    pub(crate) fn new(child: Child, address: SocketAddr, directory: Option<TempDir>) -> Self {
        Self { child, address, _directory: directory }
    }

    /// Starts pkdns with this configuration.
    pub(crate) fn pkdns(configuration: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("pkdns.toml"), configuration).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_pkdns"))
            .arg("--pkdns-dir")
            .arg(directory.path())
            .env_remove("RUST_LOG")
            .stderr(Stdio::piped())
            .spawn()
            .expect("pkdns starts");
        let log = child.stderr.take().unwrap();
        let mut lines = BufReader::new(log).lines().map_while(Result::ok);
        let port = lines
            .find_map(|line| line.split_once("listening udp ")?.1.trim().rsplit(':').next()?.parse().ok())
            .expect("pkdns listens");
        let address = (Ipv4Addr::LOCALHOST, port).into();
        // Nobody reads on: the server must not wait for that.
        std::thread::spawn(move || lines.for_each(drop));
        Self::new(child, address, Some(directory))
    }

    /// What the kernel says of it in `/proc/<pid>/<file>`.
    pub(crate) fn proc_file(&self, file: &str) -> String {
        fs::read_to_string(format!("/proc/{}/{file}", self.child.id())).unwrap()
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// What all its threads have used so far.
    pub(crate) fn cpu_time(&self) -> CpuTime {
        let stat = self.proc_file("stat");
        // The second field is the program's name in parentheses; utime and stime are the fields 14 and 15.
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        let mut ticks = fields.split(' ').skip(11).map(|field| field.parse::<f64>().unwrap());
        let mut seconds = || ticks.next().unwrap() / TICKS_PER_SECOND;
        CpuTime { user: seconds(), system: seconds() }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The core of the servers and that of the client; the same one when there is no other.
pub(crate) fn cores() -> (usize, usize) {
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
pub(crate) fn on_core<T>(server_core: usize, client_core: usize, servers: impl FnOnce() -> T) -> T {
    pin(&[server_core]);
    let started = servers();
    pin(&[client_core]);
    started
}

/// Keeps the calling thread, and what it starts from now on, on these cores.
pub(crate) fn pin(cores: &[usize]) {
    let mut set = CpuSet::new();
    for core in cores {
        set.set(*core).unwrap();
    }
    sched_setaffinity(Pid::from_raw(0), &set).unwrap();
}
