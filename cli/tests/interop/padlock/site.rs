//! The web server of the site's owner: `site.py`, and what it has said.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use pkdns_testing::{process::Killed, programs};
use serde_json::Value;

const PROGRAM: &str = include_str!("site.py");

/// A browser starts, loads 20 MB both ways and registers a worker, on a machine that is busy with other tests.
const LIMIT: Duration = Duration::from_secs(120);

/// A web server in the clear. Ends with this.
pub(crate) struct Site {
    said: Arc<Mutex<Vec<Value>>>,
    _process: Killed,
}

impl Site {
    /// On a port of loopback. `None`: Python or a part of it is not installed, and that is to be accepted.
    pub(crate) fn start(directory: &Path, port: u16) -> Option<Self> {
        let has_aiohttp = |python: &Path| {
            let mut import = Command::new(python);
            import
                .args(["-c", "import aiohttp"])
                .stderr(Stdio::null())
                .status()
                .is_ok_and(|status| status.success())
        };
        // Not the one of a version manager, which has none of Debian's packages.
        let python = programs::find("/usr/bin/python3", has_aiohttp, "python3-aiohttp")?;
        let program = directory.join("site.py");
        fs::write(&program, PROGRAM).unwrap();
        let mut command = Command::new(python);
        command.arg(program).arg(port.to_string()).stdout(Stdio::piped());
        let mut process = Killed(command.spawn().unwrap());
        let said = Arc::new(Mutex::new(Vec::new()));
        let (lines, keeps) = (BufReader::new(process.0.stdout.take().unwrap()).lines(), said.clone());
        thread::spawn(move || {
            for line in lines.map_while(Result::ok) {
                keeps.lock().unwrap().push(serde_json::from_str(&line).unwrap());
            }
        });
        Some(Self { said, _process: process })
    }

    /// Waits for what a page tells that was opened under this name.
    pub(crate) fn report(&self, host: &str) -> Option<Value> {
        let start = Instant::now();
        while start.elapsed() < LIMIT {
            let said = self.said.lock().unwrap().clone();
            let is_it = |said: &Value| said["report"].is_object() && said["Host"] == host;
            if let Some(report) = said.into_iter().find(is_it) {
                return Some(report);
            }
            thread::sleep(Duration::from_millis(100));
        }
        None
    }

    /// How often its page was asked for.
    pub(crate) fn pages(&self) -> usize {
        self.said.lock().unwrap().iter().filter(|said| said["page"].is_string()).count()
    }
}
