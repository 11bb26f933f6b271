//! The resolvers of the world: Unbound, BIND and Knot Resolver begin at the root, dnsmasq forwards to one of them. All of them
//! validate. Nobody tells them of keys.

use std::{
    fmt, fs,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::Command,
};

use super::internet::{DNS_PORT, Internet, Process, add_address};
use crate::programs;

/// How a resolver is set up.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    AsItComes,
    /// Names in mixed case that have to come back (0x20) where it can, as few labels as possible told to each server without
    /// ever falling back (RFC 9156), and 512 bytes to a datagram.
    Strict,
    OverTcp,
}

/// One of them, which ends with this.
pub struct Resolver {
    pub program: &'static str,
    pub manner: Manner,
    pub address: SocketAddr,
    process: Process,
}

/// All of them, or those that a test wants. `None`: a program is not installed, and that is to be accepted.
pub fn start(internet: &Internet, manners: &[Manner]) -> Option<Vec<Resolver>> {
    let find = |name, package| programs::find(name, |_| true, package);
    let unbound = find("unbound", "Debian's unbound")?;
    let named = find("named", "Debian's bind9")?;
    let kresd = find("kresd", "Debian's knot-resolver")?;
    let dnsmasq = find("dnsmasq", "Debian's dnsmasq-base")?;
    let mut resolvers = Vec::new();
    for &manner in manners {
        for (name, program, configuration, options) in [
            ("unbound", &unbound, UNBOUND, options_of_unbound(manner)),
            ("named", &named, NAMED, options_of_named(manner)),
            ("kresd", &kresd, KRESD, options_of_kresd(manner)),
        ] {
            let place = Place::make(internet, resolvers.len());
            let file = place.write(internet, configuration, options);
            let mut command = Command::new(program);
            match name {
                "unbound" => command.args(["-d", "-c", &file]),
                "named" => command.args(["-g", "-n", "1", "-c", &file]),
                _ => command.args(["-n", "-c", &file, &place.directory]),
            };
            resolvers.push(place.run(command, name, manner));
        }
    }
    // To BIND, which has told it nothing but that it validates.
    let upstream = resolvers.iter().find(|resolver| resolver.program == "named")?.address.ip();
    let place = Place::make(internet, resolvers.len());
    let mut command = Command::new(dnsmasq);
    command.args(["--keep-in-foreground", "--log-facility=-", "--pid-file=", "--user=root", "--no-hosts"]);
    command.args(["--conf-file=/dev/null", "--no-resolv", "--bind-interfaces", "--dnssec"]);
    command.args([
        &format!("--listen-address={}", place.address),
        &format!("--server={upstream}@{}", place.address),
        &format!("--trust-anchor=.,{}", internet.anchor.join(",")),
    ]);
    resolvers.push(place.run(command, "dnsmasq", Manner::AsItComes));
    Some(resolvers)
}

const UNBOUND: &str = "\
server:
    interface: ADDRESS
    outgoing-interface: ADDRESS
    access-control: 0.0.0.0/0 allow
    directory: \"DIRECTORY\"
    chroot: \"\"
    username: \"\"
    pidfile: \"\"
    use-syslog: no
    logfile: \"\"
    val-log-level: 2
    root-hints: \"HINTS\"
    trust-anchor: \". DS ANCHOR\"
OPTIONS
remote-control:
    control-enable: no
";

fn options_of_unbound(manner: Manner) -> &'static str {
    match manner {
        Manner::AsItComes => "",
        Manner::Strict => {
            "    use-caps-for-id: yes\n    qname-minimisation-strict: yes\n    harden-referral-path: yes\n    \
             harden-below-nxdomain: yes\n    edns-buffer-size: 512\n"
        }
        Manner::OverTcp => "    tcp-upstream: yes\n",
    }
}

const NAMED: &str = "\
options {
    directory \"DIRECTORY\";
    managed-keys-directory \"DIRECTORY\";
    listen-on port 53 { ADDRESS; };
    listen-on-v6 { none; };
    query-source address ADDRESS;
    pid-file none;
    session-keyfile none;
    recursion yes;
    allow-recursion { any; };
    dnssec-validation yes;
OPTIONS};
controls {};
trust-anchors { \".\" static-ds QUOTED; };
zone \".\" { type hint; file \"HINTS\"; };
";

fn options_of_named(manner: Manner) -> &'static str {
    match manner {
        Manner::AsItComes => "",
        Manner::Strict => "    qname-minimization strict;\n    edns-udp-size 512;\n",
        Manner::OverTcp => "};\nserver 0.0.0.0/0 {\n    tcp-only yes;\n",
    }
}

/// Knot Resolver mixes the case of names by itself.
const KRESD: &str = "\
net.listen('ADDRESS', 53, { kind = 'dns' })
net.outgoing_v4('ADDRESS')
net.ipv6 = false
modules.unload('ta_update')
modules.load('hints > iterate')
cache.open(10 * MB, 'lmdb://DIRECTORY')
hints.root_file('HINTS')
trust_anchors.remove('.')
trust_anchors.add('. IN DS ANCHOR')
OPTIONS
";

fn options_of_kresd(manner: Manner) -> &'static str {
    match manner {
        Manner::AsItComes => "",
        Manner::Strict => "mode('strict')\nnet.bufsize(512)\n",
        Manner::OverTcp => "policy.add(policy.all(policy.FLAGS('TCP')))\n",
    }
}

/// Where a resolver lives.
struct Place {
    address: Ipv4Addr,
    directory: String,
}

impl Place {
    /// On an address that no list of private networks has, as strangers come from.
    fn make(internet: &Internet, number: usize) -> Self {
        let address = Ipv4Addr::new(203, 0, 113, u8::try_from(number).unwrap() + 1);
        add_address(address);
        let directory = internet.directory.path().join(address.to_string());
        fs::create_dir(&directory).unwrap();
        Self { address, directory: directory.to_str().unwrap().to_owned() }
    }

    /// Returns the file.
    fn write(&self, internet: &Internet, configuration: &str, options: &str) -> String {
        let [tag, algorithm, kind, digest] = &internet.anchor;
        let hints = internet.directory.path().join("hints").display().to_string();
        let text = configuration
            .replace("OPTIONS", options)
            .replace("ADDRESS", &self.address.to_string())
            .replace("DIRECTORY", &self.directory)
            .replace("HINTS", &hints)
            .replace("ANCHOR", &internet.anchor.join(" "))
            .replace("QUOTED", &format!("{tag} {algorithm} {kind} \"{digest}\""));
        let file = format!("{}/configuration", self.directory);
        fs::write(&file, text).unwrap();
        file
    }

    fn run(self, command: Command, program: &'static str, manner: Manner) -> Resolver {
        let log = Path::new(&self.directory).join("log");
        let process = Process::start(command, log, self.address);
        Resolver { program, manner, address: (self.address, DNS_PORT).into(), process }
    }
}

impl Resolver {
    pub fn log(&self) -> String {
        self.process.log()
    }
}

impl fmt::Display for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({:?})", self.program, self.manner)
    }
}
