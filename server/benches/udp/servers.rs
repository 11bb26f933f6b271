//! The processes that are measured: pkdns, and a program that sends every datagram back.

use std::{
    env, fs,
    io::{BufRead, BufReader, Write},
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    ops::{AddAssign, Sub},
    process::{Child, Command, Stdio},
    time::Duration,
};

use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};
use tempfile::TempDir;

use crate::load::Replies;

/// Makes this program the echo server.
pub(crate) const ECHO_FLAG: &str = "--serve-echo";

/// The echo server ends after so long without a datagram, should nobody be left to end it.
const ECHO_IDLE: Duration = Duration::from_secs(300);

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
    replies: Replies,
    /// Its directory, removed at the end.
    _directory: Option<TempDir>,
}

impl Process {
    pub(crate) fn echo() -> Self {
        let child = Command::new(env::current_exe().unwrap())
            .arg(ECHO_FLAG)
            .stdout(Stdio::piped())
            .spawn()
            .expect("the echo server starts");
        let mut process = Self::new(child, Replies::Echo, None);
        let output = process.child.stdout.take().unwrap();
        process.address = BufReader::new(output).lines().next().unwrap().unwrap().parse().unwrap();
        process
    }

    /// pkdns with quotas off and no DHT, listening on `listen`.
    pub(crate) fn pkdns(listen: &str, upstream: SocketAddr) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let configuration = format!(
            "listen = '{listen}'\nfallback_dns = '{upstream}'\n[dht]\nenabled = false\n\
             [rate_limit]\nrequests_per_minute = 0\ndht_requests_per_minute = 0\n"
        );
        fs::write(directory.path().join("pkdns.toml"), configuration).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_pkdns"))
            .arg("--pkdns-dir")
            .arg(directory.path())
            .env_remove("RUST_LOG")
            .stderr(Stdio::piped())
            .spawn()
            .expect("pkdns starts");
        let log = child.stderr.take().unwrap();
        let mut process = Self::new(child, Replies::Answer, Some(directory));
        let mut lines = BufReader::new(log).lines().map_while(Result::ok);
        let port = lines
            .find_map(|line| line.split_once("listening udp ")?.1.trim().rsplit(':').next()?.parse().ok())
            .expect("pkdns listens");
        process.address = (Ipv4Addr::LOCALHOST, port).into();
        // Nobody reads on: the server must not wait for that.
        std::thread::spawn(move || lines.for_each(drop));
        process
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn replies(&self) -> Replies {
        self.replies
    }

    /// What all its threads have used so far.
    pub(crate) fn cpu_time(&self) -> CpuTime {
        let stat = fs::read_to_string(format!("/proc/{}/stat", self.child.id())).unwrap();
        // The second field is the program's name in parentheses; utime and stime are the fields 14 and 15.
        let (_, fields) = stat.rsplit_once(") ").unwrap();
        let mut ticks = fields.split(' ').skip(11).map(|field| field.parse::<f64>().unwrap());
        let mut seconds = || ticks.next().unwrap() / TICKS_PER_SECOND;
        CpuTime { user: seconds(), system: seconds() }
    }

    fn new(child: Child, replies: Replies, directory: Option<TempDir>) -> Self {
        let address = (Ipv4Addr::UNSPECIFIED, 0).into();
        Self { child, address, replies, _directory: directory }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Sends every datagram back to where it came from.
pub(crate) fn echo() {
    let socket = UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    socket.set_read_timeout(Some(ECHO_IDLE)).unwrap();
    let mut output = std::io::stdout();
    writeln!(output, "{}", socket.local_addr().unwrap()).unwrap();
    output.flush().unwrap();
    let mut buffer = [0; 4096];
    while let Ok((length, client)) = socket.recv_from(&mut buffer) {
        let _ = socket.send_to(&buffer[..length], client);
    }
}

/// The core of the servers and that of the client; the same one when there is no other.
pub(crate) fn cores() -> (usize, usize) {
    let allowed = sched_getaffinity(Pid::from_raw(0)).unwrap();
    let mut cores = (0..CpuSet::count()).filter(|core| allowed.is_set(*core).unwrap());
    let first = cores.next().unwrap();
    (first, cores.next().unwrap_or(first))
}

/// Starts `servers` on one core, for good, and goes on on the other. A server that may use one core starts one
/// thread for its work and opens one socket.
pub(crate) fn on_core<T>(server_core: usize, client_core: usize, servers: impl FnOnce() -> T) -> T {
    pin(server_core);
    let started = servers();
    pin(client_core);
    started
}

fn pin(core: usize) {
    let mut cores = CpuSet::new();
    cores.set(core).unwrap();
    sched_setaffinity(Pid::from_raw(0), &cores).unwrap();
}
