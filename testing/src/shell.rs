//! Shells in which the commands of the documents are typed as they stand.

use std::{
    env, fs,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Output, Stdio},
};

use tempfile::TempDir;

use crate::{programs, wait};

/// A directory, which is also the home of whoever types, and the shells there that go on. These end with this.
pub struct Shells {
    directory: TempDir,
    /// A node to join the DHT through, `HOST:PORT`.
    bootstrap: String,
    running: Vec<Child>,
}

impl Shells {
    /// Of somebody who may do everything, and whose `pkdns-cli` joins the DHT through this node.
    pub fn new(bootstrap: String) -> Self {
        Self { directory: tempfile::tempdir().unwrap(), bootstrap, running: Vec::new() }
    }

    pub fn path(&self) -> &Path {
        self.directory.path()
    }

    /// Runs commands to their end, which has to be a good one, and returns what they print.
    #[track_caller]
    pub fn run(&self, commands: &str) -> String {
        let Output { status, stdout, stderr } = self.shell(commands).output().unwrap();
        let [said, errors] = [&stdout, &stderr].map(|bytes| String::from_utf8_lossy(bytes).into_owned());
        assert!(status.success(), "{said}{errors}");
        said
    }

    /// Whether commands end well.
    pub fn succeeds(&self, commands: &str) -> bool {
        self.shell(commands).output().unwrap().status.success()
    }

    /// Runs commands that go on.
    pub fn begin(&mut self, commands: &str) {
        let mut shell = self.shell(commands);
        let log = fs::File::create(self.path().join("log")).unwrap();
        shell.stdout(log.try_clone().unwrap()).stderr(log).process_group(0);
        self.running.push(shell.spawn().unwrap());
    }

    /// What the last of those has said.
    pub fn log(&self) -> String {
        fs::read_to_string(self.path().join("log")).unwrap_or_default()
    }

    /// Ends them, with all that they run.
    pub fn end(&mut self) {
        for mut shell in self.running.drain(..) {
            let group = format!("-{}", shell.id());
            let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
            let _ = shell.wait();
        }
    }

    #[track_caller]
    pub fn wait_until(&self, what: &str, is_so: impl Fn(&Self) -> bool) {
        wait::until_or_show(|| is_so(self), || format!("{what}: {}", self.log()));
    }

    fn shell(&self, commands: &str) -> Command {
        let program = programs::built("pkdns-cli");
        let path = env::var("PATH").unwrap_or_default();
        let around = format!(
            "sudo() {{ \"$@\"; }}\npkdns-cli() {{ command pkdns-cli --bootstrap {} \"$@\"; }}\n",
            self.bootstrap
        );
        let mut shell = Command::new("bash");
        shell.current_dir(self.path()).args(["-euo", "pipefail", "-c", &(around + commands)]);
        shell.env("PATH", format!("{}:{path}:/usr/sbin", program.parent().unwrap().display()));
        for home in ["HOME", "XDG_DATA_HOME", "XDG_CONFIG_HOME"] {
            shell.env(home, self.path());
        }
        shell.stdin(Stdio::null());
        shell
    }
}

impl Drop for Shells {
    fn drop(&mut self) {
        self.end();
    }
}

/// The fenced block of this language in a document whose first line is the title.
#[track_caller]
pub fn block(document: &str, language: &str, title: &str) -> String {
    let fence = format!("```{language}\n{title}\n");
    let (_, rest) = document.split_once(&fence).unwrap_or_else(|| panic!("there is no {title}"));
    format!("{title}\n{}", rest.split_once("```").unwrap().0)
}
