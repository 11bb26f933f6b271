//! dnsmasq, Unbound and BIND's named on a free port of 127.0.0.1.

use std::{
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream, UdpSocket},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{process::Killed, programs, wait};

/// How long a daemon may take to start.
const LIMIT: Duration = Duration::from_secs(10);

/// How often a port that somebody else took meanwhile is replaced by another.
const ATTEMPTS: usize = 3;

/// What stands around a recipe so that it runs without rights and out of the way. `PORT`, `DIRECTORY` and `OPTIONS` are
/// replaced.
const UNBOUND: &str = "\
server:
    interface: 127.0.0.1
    port: PORT
    directory: \"DIRECTORY\"
    chroot: \"\"
    username: \"\"
    pidfile: \"\"
    use-syslog: no
    logfile: \"\"
    val-log-level: 2
remote-control:
    control-enable: no
";
const NAMED: &str = "\
options {
    directory \"DIRECTORY\";
    managed-keys-directory \"DIRECTORY\";
    listen-on port PORT { 127.0.0.1; };
    listen-on-v6 { none; };
    pid-file none;
    session-keyfile none;
OPTIONS};
controls {};
";

/// A running daemon, which ends with this.
pub struct Daemon {
    pub address: SocketAddr,
    child: Killed,
    directory: TempDir,
}

/// An installed program.
pub struct Program(PathBuf);

impl Program {
    /// `None`: it is not installed, and that is to be accepted.
    pub fn dnsmasq() -> Option<Self> {
        programs::find("dnsmasq", |_| true, "Debian's dnsmasq-base").map(Self)
    }

    /// `None`: it is not installed, and that is to be accepted.
    pub fn unbound() -> Option<Self> {
        programs::find("unbound", |_| true, "Debian's unbound").map(Self)
    }

    /// `None`: it is not installed, and that is to be accepted.
    pub fn named() -> Option<Self> {
        programs::find("named", |_| true, "Debian's bind9").map(Self)
    }

    /// Runs dnsmasq with `configuration`.
    pub fn run_dnsmasq(&self, configuration: &str) -> Daemon {
        self.run("", configuration, |command, file, port| {
            // Not another user, even if this one has the right.
            command.args([
                "--keep-in-foreground",
                "--log-facility=-",
                "--pid-file=",
                "--user=root",
                "--no-hosts",
            ]);
            command.args(["--listen-address=127.0.0.1", "--bind-interfaces", &format!("--port={port}")]);
            command.arg(format!("--conf-file={}", file.display()));
        })
    }

    /// Runs Unbound with `configuration`.
    pub fn run_unbound(&self, configuration: &str) -> Daemon {
        self.run(UNBOUND, configuration, |command, file, _| {
            command.arg("-d").arg("-c").arg(file);
        })
    }

    /// Runs named with `options` and `zones`, and waits until these are loaded.
    pub fn run_named(&self, options: &str, zones: &str) -> Daemon {
        let daemon = self.run(&NAMED.replace("OPTIONS", options), zones, |command, file, _| {
            // In the foreground, with what it says on the terminal.
            command.arg("-g").arg("-c").arg(file);
        });
        wait::until_or_show(|| daemon.log().contains("all zones loaded"), || daemon.log());
        daemon
    }

    fn run(&self, frame: &str, configuration: &str, arguments: impl Fn(&mut Command, &Path, u16)) -> Daemon {
        for _ in 1..ATTEMPTS {
            if let Ok(daemon) = self.attempt(frame, configuration, &arguments) {
                return daemon;
            }
        }
        self.attempt(frame, configuration, &arguments).unwrap_or_else(|log| panic!("{log}\n{configuration}"))
    }

    /// An error is what the daemon said before it ended.
    fn attempt(
        &self,
        frame: &str,
        configuration: &str,
        arguments: impl Fn(&mut Command, &Path, u16),
    ) -> Result<Daemon, String> {
        let directory = tempfile::tempdir().unwrap();
        let port = free_port();
        let path = directory.path().join("daemon.conf");
        let frame = frame.replace("PORT", &port.to_string());
        let frame = frame.replace("DIRECTORY", directory.path().to_str().unwrap());
        fs::write(&path, frame + configuration).unwrap();
        let log = File::create(directory.path().join("log")).unwrap();
        let mut command = Command::new(&self.0);
        arguments(&mut command, &path, port);
        let child = command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap();
        let mut daemon =
            Daemon { address: (Ipv4Addr::LOCALHOST, port).into(), child: Killed(child), directory };
        let start = Instant::now();
        while TcpStream::connect(daemon.address).is_err() {
            let has_ended = daemon.child.try_wait().unwrap().is_some();
            if has_ended || start.elapsed() > LIMIT {
                return Err(daemon.log());
            }
            thread::sleep(Duration::from_millis(20));
        }
        Ok(daemon)
    }
}

impl Daemon {
    /// What it has said so far.
    pub fn log(&self) -> String {
        fs::read_to_string(self.directory.path().join("log")).unwrap()
    }
}

/// A port that is free for UDP and TCP at this moment.
fn free_port() -> u16 {
    loop {
        let tcp = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = tcp.local_addr().unwrap();
        if UdpSocket::bind(address).is_ok() {
            return address.port();
        }
    }
}
