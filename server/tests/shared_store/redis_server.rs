//! Redis servers that run as long as a test holds them.

use std::{
    net::{Ipv4Addr, TcpListener},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use pkdns_testing::{process::Killed, programs};
use redis::{Connection, FromRedisValue};

/// Longest that a test waits for what must come.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// How often one is started on other ports when somebody else took them meanwhile.
const ATTEMPTS: usize = 3;

/// A redis-server ended by itself.
#[derive(Debug)]
struct Ended;

/// A `redis-server` on loopback, with nothing in it.
pub(crate) struct RedisServer {
    child: Killed,
    program: PathBuf,
    pub(crate) port: u16,
    pub(crate) directory: tempfile::TempDir,
    arguments: Vec<String>,
}

impl RedisServer {
    /// Starts one with `arguments` besides. `None` where the program is missing.
    pub(crate) fn start(arguments: &[&str]) -> Option<Self> {
        Self::start_with(|| owned(arguments))
    }

    /// As [`RedisServer::start`], with arguments that are made anew for each attempt, as they may name a free port: somebody
    /// else may have taken it meanwhile.
    pub(crate) fn start_with(arguments: impl Fn() -> Vec<String>) -> Option<Self> {
        let program = find()?;
        let mut attempts = (0..ATTEMPTS).map(|_| Self::attempt(&program, free_port(), arguments()));
        Some(attempts.find_map(Result::ok).expect("a redis-server that does not end"))
    }

    /// As [`RedisServer::start`], on `port`.
    pub(crate) fn start_on(port: u16, arguments: &[&str]) -> Option<Self> {
        Some(Self::attempt(&find()?, port, owned(arguments)).unwrap())
    }

    fn attempt(program: &Path, port: u16, arguments: Vec<String>) -> Result<Self, Ended> {
        let directory = tempfile::tempdir().unwrap();
        let child = spawn(program, port, directory.path(), &arguments);
        let mut server = Self { child, program: program.to_owned(), port, directory, arguments };
        server.wait()?;
        Ok(server)
    }

    /// Where it is found without a password.
    pub(crate) fn url(&self) -> String {
        format!("redis://127.0.0.1:{}", self.port)
    }

    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// After [`RedisServer::kill`], on the same port, empty.
    pub(crate) fn restart(&mut self) {
        self.child = spawn(&self.program, self.port, self.directory.path(), &self.arguments);
        self.wait().unwrap();
    }

    /// Stops it from answering, without closing anything.
    pub(crate) fn freeze(&self) {
        self.child.signal("STOP");
    }

    /// After [`RedisServer::freeze`].
    pub(crate) fn thaw(&self) {
        self.child.signal("CONT");
    }

    pub(crate) fn connection(&self) -> Connection {
        redis::Client::open(self.url()).unwrap().get_connection().unwrap()
    }

    /// What it replies to a command of words.
    pub(crate) fn say<T: FromRedisValue>(&self, words: &[&[u8]]) -> T {
        let mut command = redis::Cmd::new();
        words.iter().for_each(|word| {
            command.arg(*word);
        });
        command.query(&mut self.connection()).unwrap()
    }

    fn wait(&mut self) -> Result<(), Ended> {
        let end = Instant::now() + PATIENCE;
        let is_up = || std::net::TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)).is_ok();
        while !is_up() {
            if self.child.try_wait().unwrap().is_some() {
                return Err(Ended);
            }
            assert!(Instant::now() < end, "redis-server does not listen");
            sleep(Duration::from_millis(20));
        }
        Ok(())
    }
}

fn find() -> Option<PathBuf> {
    programs::find("redis-server", |_| true, "redis-server")
}

fn owned(arguments: &[&str]) -> Vec<String> {
    arguments.iter().map(|argument| (*argument).to_owned()).collect()
}

fn spawn(program: &Path, port: u16, directory: &Path, arguments: &[String]) -> Killed {
    let port = port.to_string();
    let mut command = Command::new(program);
    command.args(["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--dir"]);
    Killed(command.arg(directory).args(arguments).stdout(Stdio::null()).spawn().unwrap())
}

/// One that nobody has at the moment; redis-server takes no port 0.
pub(crate) fn free_port() -> u16 {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap().port()
}
