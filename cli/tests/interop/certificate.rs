//! Public certificates for the names of keys in an origin: from pebble, a real ACME authority, whose DNS is the origin.

mod caddy;
mod dns_01;
mod failures;
mod origin;
mod ports;
mod serve;

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpListener},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use pkdns::{edge::certificates::reading_of, metrics::CertificateReading};
use pkdns_testing::{
    pebble::Pebble,
    process::Process,
    program::{Finished, HEX, KEY, World},
};
use serde_json::Value;

use origin::{ORIGIN, Origin};

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

    fn watch(&self, more: &[&str]) -> Process {
        let arguments = self.arguments(&[more, &["--watch", "--json"]].concat());
        let arguments: Vec<_> = arguments.iter().map(String::as_str).collect();
        Process::start_and_read_all(self.world.command(&arguments))
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

/// A port that somebody listens on for as long as this is held.
fn taken_port() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}
