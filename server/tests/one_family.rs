//! Machines that have one family of addresses only, IPv6 or IPv4, and pkdns on them as it comes: without a configuration.
//!
//! Needs `unshare` and `ip`, `dig`, `dnsmasq`, `unbound` and the `libtorrent` module of Python. Without them the tests say so and
//! pass, unless `CI=true`; without the right to make network namespaces they always do.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::{
    fs,
    net::{Ipv4Addr, Ipv6Addr, TcpStream},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use pkdns::program::testnet::{SAMPLE_SECRET, sample_packet};
use pkdns_dht::signed_packet::Keypair;
use pkdns_testing::{
    dig::Dig,
    internet::{Ipv6Internet, Resolver},
    namespace::{self, Internet},
    network_process::hex,
    process::{Killed, Process},
    programs,
};
use tempfile::TempDir;

const DNS_PORT: u16 = 53;

/// How long anything here may take that mostly takes a second.
const LIMIT: Duration = Duration::from_secs(30);

#[test]
fn a_machine_without_ipv4_resolves_names_and_keys_as_it_comes() {
    let name = "a_machine_without_ipv4_resolves_names_and_keys_as_it_comes";
    if !namespace::is_inside(name) {
        return;
    }
    let (Some(dig), Some(mut internet)) = (Dig::find(), Ipv6Internet::start()) else { return };
    let keypair = Keypair::from_secret_key(&SAMPLE_SECRET);
    let packet = sample_packet(&keypair, 1).unwrap();
    let [seed, key, value] = [&SAMPLE_SECRET[..], packet.key().as_bytes(), packet.dns()].map(hex);
    assert_ne!(internet.nodes().run(&format!("put {seed} {key} {value}")), "0", "nodes that store it");

    let pkdns = Program::start();
    let server = (Ipv6Addr::LOCALHOST, DNS_PORT).into();
    assert_eq!(dig.ask(server, "example.com AAAA").data(), ["AAAA 2001:db8::1"]);
    let question = format!("{}.key AAAA", packet.key().to_z32());
    let begun = Instant::now();
    while dig.ask(server, &question).data() != ["AAAA ::1"] {
        assert!(begun.elapsed() < LIMIT, "{:?}\n{:#?}", dig.ask(server, &question), pkdns.stop());
    }
    // That the DHT was joined is shown by the answer. The log says so a moment later.
    assert_quiet(&pkdns.stop());
}

#[test]
fn a_machine_without_ipv6_says_nothing_of_it() {
    if !namespace::is_inside("a_machine_without_ipv6_says_nothing_of_it") {
        return;
    }
    let hosts = [("192.0.2.1", "example.com")];
    let (Some(dig), Some(resolver)) = (Dig::find(), Resolver::start_on_ipv4(&hosts)) else { return };
    let pkdns = Program::start();
    let server = (Ipv4Addr::LOCALHOST, DNS_PORT).into();
    // Another resolver may know better than one that refuses. There is none that could be asked.
    for number in 0..10 {
        assert_eq!(dig.ask(server, &format!("nowhere{number}.example TXT")).status(), "REFUSED");
    }
    assert_eq!(dig.ask(server, "example.com A").data(), ["A 192.0.2.1"]);
    drop(resolver);
    assert_quiet(&pkdns.stop());
}

#[test]
fn a_public_resolver_is_asked_by_its_name_and_has_to_be_the_one() {
    if !namespace::is_inside("a_public_resolver_is_asked_by_its_name_and_has_to_be_the_one") {
        return;
    }
    let unbound = programs::find("unbound", |_| true, "Debian's unbound");
    let (Some(dig), Some(unbound)) = (Dig::find(), unbound) else { return };
    let internet = Internet::connect("198.51.100.2", "198.51.100.1", &["9.9.9.9"]);
    for (certified, status) in [("dns.quad9.net", "NOERROR"), ("dns.example", "SERVFAIL")] {
        let directory = tempfile::tempdir().unwrap();
        let path = |name: &str| directory.path().join(name).display().to_string();
        let made = rcgen::generate_simple_self_signed([certified.to_owned()]).unwrap();
        fs::write(path("cert.pem"), made.cert.pem()).unwrap();
        fs::write(path("key.pem"), made.signing_key.serialize_pem()).unwrap();
        let configuration = QUAD9.replace("DIRECTORY", &directory.path().display().to_string());
        fs::write(path("unbound.conf"), configuration).unwrap();
        let child = internet.command(&unbound).args(["-d", "-c", &path("unbound.conf")]).spawn().unwrap();
        let _unbound = Killed(child);
        let begun = Instant::now();
        while TcpStream::connect(("9.9.9.9", 443)).is_err() {
            assert!(begun.elapsed() < LIMIT, "Unbound does not start");
            thread::sleep(Duration::from_millis(20));
        }
        let pkdns = Program::start_with(&format!(
            "fallback_dns = 'quad9'\nfallback_ca_path = '{}'\n[dht]\nenabled = false\n",
            path("cert.pem")
        ));
        let reply = dig.ask((Ipv4Addr::LOCALHOST, DNS_PORT).into(), "example.com A");
        assert_eq!(reply.status(), status, "{certified}: {reply:?}\n{:#?}", pkdns.stop());
    }
}

/// Over HTTPS, as Quad9 is.
const QUAD9: &str = "\
server:
    interface: 9.9.9.9@443
    https-port: 443
    tls-service-pem: DIRECTORY/cert.pem
    tls-service-key: DIRECTORY/key.pem
    access-control: 0.0.0.0/0 allow
    directory: \"DIRECTORY\"
    chroot: \"\"
    username: \"\"
    pidfile: \"\"
    use-syslog: no
    logfile: \"\"
    module-config: \"iterator\"
    local-zone: \"example.com.\" static
    local-data: \"example.com. A 192.0.2.9\"
remote-control:
    control-enable: no
";

/// Nothing is said of what this machine lacks.
#[track_caller]
fn assert_quiet(log: &[String]) {
    let is_odd = |line: &&String| line.contains("upstream") || line.contains("ERROR");
    let odd: Vec<_> = log.iter().filter(is_odd).collect();
    assert!(odd.is_empty(), "{odd:#?}");
}

/// pkdns, listening. Ends with this.
struct Program {
    process: Process,
    _directory: TempDir,
}

impl Program {
    /// Without a configuration, and with nothing from an earlier run.
    fn start() -> Self {
        Self::start_in(tempfile::tempdir().unwrap())
    }

    fn start_with(configuration: &str) -> Self {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("pkdns.toml"), configuration).unwrap();
        Self::start_in(directory)
    }

    fn start_in(directory: TempDir) -> Self {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pkdns"));
        command.arg("--pkdns-dir").arg(directory.path()).env_remove("RUST_LOG");
        let mut process = Process::start(command);
        process.wait_for("listening tcp [::]:53");
        Self { process, _directory: directory }
    }

    /// Returns what it has said.
    fn stop(self) -> Vec<String> {
        self.process.stop_and_read()
    }
}
