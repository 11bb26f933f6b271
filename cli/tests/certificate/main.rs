//! Public certificates for the names of keys in an origin: from pebble, a real ACME authority, whose DNS is the origin.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "the helpers of tests may fail them"
)]

mod caddy;
mod dns_01;
mod failures;
mod origin;
mod ports;
mod serve;

use std::{
    fs,
    io::{BufRead, BufReader},
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Stdio},
    sync::mpsc::{Receiver, channel},
    thread,
    time::{Duration, Instant},
};

use pkdns::{certificates::reading_of, metrics::CertificateReading};
use pkdns_testing::{
    pebble::Pebble,
    program::{Finished, HEX, KEY, World},
};
use serde_json::Value;

use origin::{ORIGIN, Origin};

/// How long a test waits for what must come.
const LIMIT: Duration = Duration::from_secs(120);

/// A life in seconds that no test sees the end of.
const LONG: u32 = 90 * 86_400;

/// What the key says of its site, which is on this machine.
const ZONE: &str = "$TTL 60\n@ A 127.0.0.1\nwww CNAME @\n@ TXT \"a site\"\n";

/// A key whose site is on this machine, its origin, and an authority that asks this origin.
struct Scene {
    world: World,
    origin: Origin,
    pebble: Pebble,
}

impl Scene {
    /// `None` where there is no pebble.
    async fn start(lifetime: u32) -> Option<Self> {
        let world = World::new().await;
        world.file("seed", HEX);
        fs::set_permissions(world.path().join("seed"), fs::Permissions::from_mode(0o600)).unwrap();
        world.file("zone", ZONE);
        let published = world.run(&["publish", "seed", "zone", "--yes"]);
        assert_eq!(published.code, 0, "{}", published.err);
        let origin = Origin::start(&world);
        let pebble = Pebble::start(lifetime, origin.address)?;
        Some(Self { world, origin, pebble })
    }

    /// The name of the site.
    fn name(&self) -> String {
        format!("{KEY}.{ORIGIN}")
    }

    /// The command line that gets a certificate from this authority into the directory `site`.
    fn arguments(&self, more: &[&str]) -> Vec<String> {
        let [url, origin, ca] =
            [self.pebble.url(), self.origin.address.to_string(), self.pebble.ca_path().display().to_string()];
        let arguments = [
            &["certificate", "--origin", ORIGIN, "--directory", "site", "--authority", &url][..],
            &["--authority-ca", &ca, "--name-server", &origin],
            more,
        ];
        arguments.concat().into_iter().map(String::from).collect()
    }

    fn certificate(&self, more: &[&str]) -> Finished {
        let arguments = self.arguments(more);
        self.world.run(&arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }

    fn watch(&self, more: &[&str]) -> Watching {
        let arguments = self.arguments(&[more, &["--watch", "--json"]].concat());
        Watching::start(&self.world, &arguments.iter().map(String::as_str).collect::<Vec<_>>())
    }

    /// Where the authority looks for http-01, and for tls-alpn-01.
    fn ports(&self) -> [String; 2] {
        [self.pebble.http, self.pebble.https].map(|port| format!("127.0.0.1:{port}"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.world.path().join(name)
    }

    /// The records of the key that are at the DHT, as `owner type`.
    fn published(&self) -> Vec<String> {
        let resolved = self.world.run(&["resolve", KEY, "--json"]).json();
        let records = resolved["records"].as_array().unwrap().iter();
        let text = |record: &Value, field: &str| record[field].as_str().unwrap().to_string();
        records.map(|record| format!("{} {}", text(record, "name"), text(record, "type"))).collect()
    }
}

/// What is kept in a directory, which has to fit together and be for its user alone.
#[track_caller]
fn kept(directory: &Path) -> CertificateReading {
    for entry in fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{entry:?}");
    }
    let read = |name: &str| fs::read(directory.join(name)).unwrap();
    assert_eq!([read("key.pem"), read("cert.pem")].concat(), read("both.pem"));
    reading_of(&read("cert.pem"), &read("key.pem")).expect("a certificate and its key")
}

/// A program that goes on, and what it prints.
struct Watching {
    child: Child,
    lines: Receiver<String>,
    said: Vec<String>,
}

impl Watching {
    fn start(world: &World, arguments: &[&str]) -> Self {
        let mut command = world.command(arguments);
        let mut child =
            command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (sender, lines) = channel();
        let (out, err) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let outputs: [Box<dyn std::io::Read + Send>; 2] = [Box::new(out), Box::new(err)];
        for output in outputs {
            let sender = sender.clone();
            let lines = BufReader::new(output).lines().map_while(Result::ok);
            thread::spawn(move || lines.into_iter().try_for_each(|line| sender.send(line)));
        }
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

    fn signal(&self, name: &str) {
        let sent = std::process::Command::new("kill")
            .args([format!("-{name}"), self.child.id().to_string()])
            .status();
        assert!(sent.unwrap().success());
    }

    /// The exit code after SIGTERM.
    fn stop(mut self) -> Option<i32> {
        self.signal("TERM");
        self.child.wait().unwrap().code()
    }
}

impl Drop for Watching {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// A port that somebody listens on for as long as this is held.
fn taken_port() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}
