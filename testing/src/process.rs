//! A program that goes on, and the lines that it prints.

use std::{
    io::{BufRead, BufReader, Read},
    mem,
    ops::{Deref, DerefMut},
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, Sender, channel},
    thread,
    time::{Duration, Instant},
};

/// How long a test waits for a line. Nothing that goes well takes nearly as long.
const LIMIT: Duration = Duration::from_secs(120);

/// A process that does not outlive this.
pub struct Killed(pub Child);

impl Killed {
    /// Sends a signal by its name, such as `HUP`.
    pub fn signal(&self, name: &str) {
        let sent = Command::new("kill").args([format!("-{name}"), self.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }
}

impl Deref for Killed {
    type Target = Child;

    fn deref(&self) -> &Child {
        &self.0
    }
}

impl DerefMut for Killed {
    fn deref_mut(&mut self) -> &mut Child {
        &mut self.0
    }
}

impl Drop for Killed {
    fn drop(&mut self) {
        // It has ended already where the test ended it.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// It ends with this.
pub struct Process {
    child: Killed,
    lines: Receiver<String>,
    said: Vec<String>,
}

impl Process {
    /// Reads what it says on standard error.
    pub fn start(mut command: Command) -> Self {
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        read(child.stderr.take().unwrap(), sender);
        Self { child: Killed(child), lines, said: Vec::new() }
    }

    /// Reads both of its outputs.
    pub fn start_and_read_all(mut command: Command) -> Self {
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        read(child.stdout.take().unwrap(), sender.clone());
        read(child.stderr.take().unwrap(), sender);
        Self { child: Killed(child), lines, said: Vec::new() }
    }

    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The next line with this in it.
    #[track_caller]
    pub fn wait_for(&mut self, text: &str) -> String {
        let end = Instant::now() + LIMIT;
        loop {
            let left = end.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else {
                panic!("no line with {text:?} among {:#?}", self.said);
            };
            self.said.push(line.clone());
            if line.contains(text) {
                return line;
            }
        }
    }

    /// Sends a signal by its name, such as `HUP`.
    pub fn signal(&self, name: &str) {
        self.child.signal(name);
    }

    /// Waits for its end, and returns the exit code.
    #[track_caller]
    pub fn wait(&mut self) -> Option<i32> {
        let end = Instant::now() + LIMIT;
        loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                return status.code();
            }
            assert!(Instant::now() < end, "it does not end: {:#?}", self.said);
            thread::sleep(Duration::from_millis(10));
        }
    }

    /// All that it has said in the end, which SIGTERM brings about.
    #[track_caller]
    pub fn stop_and_read(mut self) -> Vec<String> {
        self.signal("TERM");
        self.wait();
        self.said.extend(self.lines.iter());
        mem::take(&mut self.said)
    }

    /// The exit code after SIGTERM.
    #[track_caller]
    pub fn stop(mut self) -> Option<i32> {
        self.signal("TERM");
        self.wait()
    }
}

fn read(output: impl Read + Send + 'static, lines: Sender<String>) {
    let output = BufReader::new(output).lines().map_while(Result::ok);
    thread::spawn(move || output.into_iter().try_for_each(|line| lines.send(line)));
}
