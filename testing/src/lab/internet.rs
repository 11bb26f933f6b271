//! An internet on loopback: a signed root, a signed top-level domain and a signed domain, each on an address of its own, and
//! in the last an ordinary unsigned delegation to the origin.

use std::{
    fmt::Write,
    fs::{self, File},
    net::{Ipv4Addr, SocketAddr, TcpStream},
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use tempfile::TempDir;

use crate::{
    namespace,
    process::Killed,
    programs,
    signer::{Signer, Signing},
    wait,
};

pub const DNS_PORT: u16 = 53;

/// The origin, and the addresses of its servers.
pub const ORIGIN: &str = "pk.example.net";
pub const SERVERS: [Ipv4Addr; 2] = [Ipv4Addr::new(198, 51, 100, 1), Ipv4Addr::new(198, 51, 100, 2)];

/// A zone with the same records, which BIND has.
pub const LIKE: &str = "like.example.net";
const SERVER_OF_LIKE: &str = "198.51.100.3";

const ROOT: &str = "192.0.2.1";
const TOP: &str = "192.0.2.2";
const DOMAIN: &str = "192.0.2.3";

/// How long a program may take to start.
const LIMIT: Duration = Duration::from_secs(20);

/// The root, and what is delegated from it. Ends with this.
pub struct Internet {
    /// Room for the files of everyone, too.
    pub directory: TempDir,
    /// The root's key, which validators are told: the four fields of a DS record.
    pub anchor: [String; 4],
    _named: Process,
}

impl Internet {
    /// Inside of a network namespace. `delegation` is what the zone above the origin has of it, `like` the zone file of [`LIKE`]
    /// without SOA and NS records. `None`: a program is not installed, and that is to be accepted.
    pub fn start(delegation: &str, like: &str) -> Option<Self> {
        let named = programs::find("named", |_| true, "Debian's bind9")?;
        let signer = Signer::find()?;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        for address in [ROOT, TOP, DOMAIN, SERVER_OF_LIKE].map(|address| address.parse().unwrap()) {
            add_address(address);
        }
        SERVERS.into_iter().for_each(add_address);
        let zones = [
            (SERVER_OF_LIKE, LIKE, format!("@ NS ns\nns A {SERVER_OF_LIKE}\n{like}"), Signing::None),
            (
                DOMAIN,
                "example.net",
                format!(
                    "@ NS ns\nns A {DOMAIN}\nwww A 203.0.113.80\n\
                     like NS ns.like\nns.like A {SERVER_OF_LIKE}\n{delegation}"
                ),
                Signing::Nsec,
            ),
            (DOMAIN, "broken.net", format!("@ NS ns\nns A {DOMAIN}\n"), Signing::None),
            (
                TOP,
                "net",
                format!(
                    "@ NS ns\nns A {TOP}\nexample NS ns.example\nns.example A {DOMAIN}\n\
                     broken NS ns.broken\nns.broken A {DOMAIN}\n"
                ),
                Signing::Nsec3,
            ),
            (
                ROOT,
                ".",
                format!("@ NS a.root.\na.root. A {ROOT}\nnet NS ns.net.\nns.net. A {TOP}\n"),
                Signing::Nsec,
            ),
        ];
        // Nobody has such a key.
        let nobodys = format!("broken.net. IN DS 12345 13 2 {}\n", "00".repeat(32));
        fs::write(path.join("dsset-broken.net."), nobodys).unwrap();
        let mut views = String::new();
        for (address, name, records, signing) in &zones {
            let text = format!("$TTL 300\n@ SOA ns hostmaster 1 3600 600 604800 60\n{records}");
            let file = signer.zone(path, name, &text, *signing);
            let zone = format!("zone \"{name}\" {{ type primary; file \"{}\"; }};\n", file.display());
            // Whoever asks the root is not to hear what another server has.
            let view = format!("match-destinations {{ {address}; }};\n");
            match views.find(&view) {
                Some(at) => views.insert_str(at, &zone),
                None => write!(views, "view v{} {{\n{view}{zone}}};\n", views.len()).unwrap(),
            }
        }
        let anchor = signer.delegation_signer(path, ".");
        fs::write(path.join("hints"), format!(". 3600000 NS a.root.\na.root. 3600000 A {ROOT}\n")).unwrap();
        let configuration = NAMED.replace("DIRECTORY", path.to_str().unwrap()) + &views;
        fs::write(path.join("named.conf"), configuration).unwrap();
        let mut command = Command::new(named);
        command.arg("-g").arg("-c").arg(path.join("named.conf"));
        let named = Process::start(command, path.join("named.log"), ROOT.parse().unwrap());
        named.wait_for("all zones loaded");
        Some(Self { directory, anchor, _named: named })
    }
}

const NAMED: &str = "\
options {
    directory \"DIRECTORY\";
    managed-keys-directory \"DIRECTORY\";
    listen-on port 53 { 192.0.2.0/24; 198.51.100.3; };
    listen-on-v6 { none; };
    pid-file none;
    session-keyfile none;
    recursion no;
    dnssec-validation no;
    empty-zones-enable no;
    notify no;
};
controls {};
";

/// Gives an address to this machine.
pub fn add_address(address: Ipv4Addr) {
    namespace::run("ip", ["address", "add", &format!("{address}/32"), "dev", "lo"]);
}

/// A server, which ends with this.
pub struct Process {
    log: PathBuf,
    _child: Killed,
}

impl Process {
    /// Waits until it takes connections.
    pub fn start(mut command: Command, log: PathBuf, address: Ipv4Addr) -> Self {
        let file = File::create(&log).unwrap();
        let mut child = Killed(command.stdout(file.try_clone().unwrap()).stderr(file).spawn().unwrap());
        let (address, start) = (SocketAddr::from((address, DNS_PORT)), Instant::now());
        while TcpStream::connect(address).is_err() {
            let has_ended = child.0.try_wait().unwrap().is_some();
            assert!(!has_ended && start.elapsed() < LIMIT, "{command:?}: {}", read(&log));
            thread::sleep(Duration::from_millis(20));
        }
        Self { log, _child: child }
    }

    fn wait_for(&self, line: &str) {
        wait::until_or_show(|| self.log().contains(line), || self.log());
    }

    /// What it has said so far.
    pub fn log(&self) -> String {
        read(&self.log)
    }
}

fn read(log: &Path) -> String {
    String::from_utf8_lossy(&fs::read(log).unwrap()).into_owned()
}
