//! Sites that `serve` ends TLS for, from the packet of the key to the web server behind it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the helpers of tests may fail them"
)]

mod backend;
mod client;
mod configuration;
mod openssl;
mod requests;

use std::{
    fs,
    io::{BufRead, BufReader},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::fs::PermissionsExt,
    process::{Child, Command, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use pkdns_testing::program::{HEX, World};

/// How long a test waits for what must come.
const LIMIT: Duration = Duration::from_secs(120);

/// A key with a site.
struct Scene {
    world: World,
    /// Where its site is.
    address: SocketAddr,
}

impl Scene {
    async fn new() -> Self {
        let world = World::new().await;
        for (name, seed) in [("seed", HEX.to_string()), ("hot", "22".repeat(32))] {
            world.file(name, &seed);
            fs::set_permissions(world.path().join(name), fs::Permissions::from_mode(0o600)).unwrap();
        }
        Self { world, address: free_address() }
    }

    /// Writes the configuration of one identity.
    fn configure(&self, backend: &str, more: &str) {
        let Self { address, .. } = self;
        let text = format!(
            "state = 'state'\n[[identity]]\nseed = 'seed'\nrecords = '@ 300 A 127.0.0.1'\ntls = '{address}'\n\
             backend = '{backend}'\nhttps_record = true\n{more}\n"
        );
        self.world.file("publisher.toml", &text);
    }

    fn start(&self) -> Publisher {
        let mut publisher = Publisher::start(&self.world, &["serve", "--config", "publisher.toml"]);
        publisher.wait_for("https at");
        publisher
    }
}

fn free_address() -> SocketAddr {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap().local_addr().unwrap()
}

/// The running program, and what it says.
struct Publisher {
    child: Child,
    lines: Receiver<String>,
    said: Vec<String>,
}

impl Publisher {
    fn start(world: &World, arguments: &[&str]) -> Self {
        let mut command = world.command(arguments);
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        let output = BufReader::new(child.stderr.take().unwrap());
        thread::spawn(move || output.lines().map_while(Result::ok).try_for_each(|line| sender.send(line)));
        Self { child, lines, said: Vec::new() }
    }

    /// The next line with this in it.
    #[track_caller]
    fn wait_for(&mut self, text: &str) -> String {
        let end = Instant::now() + LIMIT;
        loop {
            let Ok(line) = self.lines.recv_timeout(end.saturating_duration_since(Instant::now())) else {
                panic!("no line with {text:?} among {:#?}", self.said);
            };
            self.said.push(line.clone());
            if line.contains(text) {
                return line;
            }
        }
    }

    fn reload(&self) {
        let sent = Command::new("kill").args(["-HUP", &self.child.id().to_string()]).status();
        assert!(sent.unwrap().success());
    }
}

impl Drop for Publisher {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
