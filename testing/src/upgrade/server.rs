//! A server of the program, whose log is read, and whatever process takes its place.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use super::PATIENCE;
use crate::programs;

/// Its directory, with a link to the program, which can be replaced as an installation does.
pub struct Place(TempDir);

/// A process, and those that took its place. They end with this.
pub struct Server {
    child: Child,
    pub log: Log,
}

/// What all of them have logged.
#[derive(Clone, Default)]
pub struct Log(Arc<(Mutex<Lines>, Condvar)>);

#[derive(Default)]
struct Lines {
    lines: Vec<String>,
    has_ended: bool,
}

impl Place {
    pub fn with(configuration: &str) -> Self {
        let place = Self(tempfile::tempdir().unwrap());
        place.configure(configuration);
        place.install();
        place
    }

    pub fn path(&self) -> &Path {
        self.0.path()
    }

    pub fn configure(&self, configuration: &str) {
        fs::write(self.path().join("pkdns.toml"), configuration).unwrap();
    }

    /// Puts the program there, in the place of the one that may run.
    pub fn install(&self) {
        let (program, built) = (self.program(), programs::built("pkdns"));
        let _ = fs::remove_file(&program);
        if fs::hard_link(&built, &program).is_err() {
            fs::copy(built, &program).unwrap();
        }
    }

    pub fn program(&self) -> PathBuf {
        self.path().join("pkdns")
    }

    /// The program with its arguments.
    pub fn command(&self) -> Command {
        let mut command = Command::new(self.program());
        command.arg("--pkdns-dir").arg(self.path()).env_remove("RUST_LOG").env_remove("NOTIFY_SOCKET");
        command
    }
}

impl Server {
    /// Runs until it listens.
    pub fn start(command: Command) -> Self {
        let server = Self::spawn(command);
        server.log.wait_for("listening tcp");
        server
    }

    pub fn spawn(mut command: Command) -> Self {
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let log = Log::default();
        let (lines, written) = (BufReader::new(child.stderr.take().unwrap()).lines(), log.clone());
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                written.change(|log| log.lines.push(line));
            }
            written.change(|log| log.has_ended = true);
        });
        Self { child, log }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// To the first process.
    pub fn send(&self, signal: &str) {
        send(signal, self.id());
    }

    /// Starts a process in the place of this one, and returns its number when it serves.
    pub fn upgrade(&self) -> u32 {
        self.send("USR2");
        self.log.wait_for_successor(1)
    }

    /// Waits until the first process has ended.
    pub fn wait(&mut self) -> ExitStatus {
        let end = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status;
            }
            assert!(Instant::now() < end, "it does not end: {:#?}", self.log.lines());
            thread::sleep(Duration::from_millis(20));
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        // It has ended already when the test went well.
        let _ = self.child.kill();
        let _ = self.child.wait();
        for line in self.log.lines().iter().filter(|line| line.contains("serves from now on")) {
            send("KILL", number_in(line));
        }
    }
}

impl Log {
    fn change(&self, change: impl FnOnce(&mut Lines)) {
        change(&mut self.lock());
        self.0.1.notify_all();
    }

    pub fn lines(&self) -> Vec<String> {
        self.lock().lines.clone()
    }

    /// The first line with `part` in it.
    pub fn wait_for(&self, part: &str) -> String {
        self.wait(|log| log.lines.iter().find(|line| line.contains(part)).cloned(), part)
    }

    /// The number of the process that was the first, second or a later one to take over.
    pub fn wait_for_successor(&self, ordinal: usize) -> u32 {
        let part = "serves from now on";
        let find = |log: &Lines| {
            log.lines.iter().filter(|line| line.contains(part)).nth(ordinal - 1).map(|line| number_in(line))
        };
        self.wait(find, part)
    }

    /// Until nobody can write to it any more.
    pub fn wait_for_end(&self) {
        self.wait(|log| log.has_ended.then_some(()), "the end");
    }

    /// Where `kind` is listened on, the first of several.
    pub fn address(&self, kind: &str) -> SocketAddr {
        let line = self.wait_for(&format!("listening {kind} "));
        line.rsplit(' ').next().unwrap().parse().unwrap()
    }

    /// Also when a test has failed while it looked.
    fn lock(&self) -> MutexGuard<'_, Lines> {
        self.0.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn wait<T>(&self, find: impl Fn(&Lines) -> Option<T>, what: &str) -> T {
        let end = Instant::now() + PATIENCE;
        let mut lines = self.lock();
        loop {
            if let Some(found) = find(&lines) {
                return found;
            }
            let left = end.saturating_duration_since(Instant::now());
            assert!(!left.is_zero() && !lines.has_ended, "no `{what}` in {:#?}", lines.lines);
            lines = self.0.1.wait_timeout(lines, left).unwrap().0;
        }
    }
}

/// The number of a process in a line of the log.
fn number_in(line: &str) -> u32 {
    line.split("process ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap()
}

/// The process may have ended.
pub fn send(signal: &str, process: u32) {
    let _ = Command::new("sh").arg("-c").arg(format!("kill -{signal} {process}")).status().unwrap();
}
