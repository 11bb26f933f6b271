//! Zones copied from Knot DNS.

use std::{
    fs::{self, File},
    net::TcpListener,
    path::Path,
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use pkdns_testing::{
    process::Killed,
    program::{HEX, KEY, World, directory, run},
    programs,
};

/// For Knot to start and to sign.
const DEADLINE: Duration = Duration::from_secs(60);

const ZONE: &str = "\
@ 300 SOA ns.example.com. hostmaster 1 7200 900 1209600 300
@ 300 NS ns.example.com.
@ 300 NS ns.example.net.
@ 300 A 192.0.2.1
@ 300 MX 10 mail
@ 300 TXT \"v=spf1 mx -all\" \"with \\\"quotes\\\"\"
ns 300 A 192.0.2.53
mail 300 AAAA 2001:db8::25
www 60 CNAME @
*.app 60 A 192.0.2.9
_sip._tcp 300 SRV 1 2 5060 mail
@ 300 HTTPS 1 www.example.com. alpn=h2
@ 300 CAA 0 issue \"ca.example\"
place 300 LOC 52 22 23 N 4 53 32 E -2m
old 300 DNAME new.example.com.
sub 300 NS ns.sub
ns.sub 300 A 192.0.2.54
";

/// The zone in a packet, sorted.
const COPIED: [&str; 14] = [
    "*.app 60 IN A 192.0.2.9",
    "@ 300 IN A 192.0.2.1",
    "@ 300 IN CAA 0 issue \"ca.example\"",
    "@ 300 IN HTTPS 1 www alpn=h2",
    "@ 300 IN MX 10 mail",
    "@ 300 IN TXT \"v=spf1 mx -all\" \"with \\\"quotes\\\"\"",
    "_sip._tcp 300 IN SRV 1 2 5060 mail",
    "mail 300 IN AAAA 2001:db8::25",
    "ns 300 IN A 192.0.2.53",
    "ns.sub 300 IN A 192.0.2.54",
    "old 300 IN DNAME new",
    "place 300 IN LOC 52 22 23.000 N 4 53 32.000 E -2.00m 1.00m 10000.00m 10.00m",
    "sub 300 IN NS ns.sub",
    "www 60 IN CNAME @",
];

/// Knot DNS with a zone that may be copied, example.com, and one that may not, example.net.
struct Knot {
    child: Killed,
    address: String,
}

impl Knot {
    /// `None` where it is not installed, unless in CI. `options` are those of the zone that may be copied.
    fn start(folder: &Path, options: &str) -> Option<Self> {
        let program = programs::find("knotd", |_| true, "knot")?;
        let log = || fs::read_to_string(folder.join("log")).unwrap();
        // Knot cannot tell which port it got. One that is free now will do, or else another.
        for _ in 0..10 {
            let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            let path = folder.display();
            let configuration = format!(
                "server:\n  listen: 127.0.0.1@{}\n  rundir: \"{path}\"\n\
                 database:\n  storage: \"{path}/db\"\n\
                 log:\n  - target: stderr\n    any: info\n\
                 acl:\n  - id: all\n    address: 127.0.0.1\n    action: transfer\n\
                 template:\n  - id: default\n    storage: \"{path}\"\n    zonefile-sync: -1\n\
                 zone:\n  - domain: example.com\n    file: zone\n    acl: all\n{options}\
                 \x20 - domain: example.net\n    file: zone\n",
                address.port()
            );
            fs::create_dir_all(folder.join("db")).unwrap();
            fs::write(folder.join("zone"), ZONE).unwrap();
            fs::write(folder.join("knot.conf"), configuration).unwrap();
            let output = File::create(folder.join("log")).unwrap();
            let child = Command::new(&program)
                .arg("--config")
                .arg(folder.join("knot.conf"))
                .stdout(output.try_clone().unwrap())
                .stderr(output)
                .stdin(Stdio::null())
                .spawn()
                .unwrap();
            let mut knot = Self { child: Killed(child), address: address.to_string() };
            let began = Instant::now();
            while knot.child.try_wait().unwrap().is_none() {
                // It listens before it has loaded its zones.
                if run(folder, &knot.copy("example.com")).code == 0 {
                    return Some(knot);
                }
                assert!(began.elapsed() < DEADLINE, "{}", log());
                sleep(Duration::from_millis(50));
            }
        }
        panic!("Knot does not start: {}", log());
    }

    fn copy<'a>(&'a self, origin: &'a str) -> [&'a str; 5] {
        ["zone", "--from-server", &self.address, "--origin", origin]
    }
}

fn sorted(zone_file: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = zone_file.lines().filter(|line| !line.starts_with(';')).collect();
    lines.sort_unstable();
    lines
}

#[tokio::test(flavor = "multi_thread")]
async fn a_zone_of_a_name_server_is_copied_and_published() {
    let world = World::new().await;
    let Some(knot) = Knot::start(world.path(), "") else { return };
    let copied = world.run(&knot.copy("Example.com."));
    assert_eq!(copied.code, 0, "{}", copied.err);
    assert!(copied.out.starts_with(&format!("; example.com. from {}\n", knot.address)), "{}", copied.out);
    assert_eq!(sorted(&copied.out), COPIED);
    assert!(copied.err.contains("left out: 1 SOA record"), "{}", copied.err);
    assert!(copied.err.contains("left out: 2 NS records of the zone itself"), "{}", copied.err);

    world.file("copied", &copied.out);
    world.file("seed", HEX);
    let published = world.run(&["publish", "seed", "copied"]);
    assert_eq!(published.code, 0, "{}", published.err);
    let resolved = world.run(&["resolve", KEY, "--json"]);
    world.file("resolved", &resolved.out);
    assert_eq!(sorted(&world.run(&["zone", "--from-json", "resolved"]).out), COPIED);

    for origin in ["example.net", "example.org"] {
        let refused =
            format!("cannot copy {origin} from {}: the server answers NOTAUTH: it must", knot.address);
        world.run(&knot.copy(origin)).assert_failed(1, &refused);
    }
}

#[test]
fn signatures_are_left_out_of_a_copied_zone() {
    let directory = directory();
    let Some(knot) = Knot::start(directory.path(), "    dnssec-signing: on\n") else { return };
    let began = Instant::now();
    loop {
        let copied = run(directory.path(), &knot.copy("example.com"));
        assert_eq!(sorted(&copied.out), COPIED);
        // The first copy may have been made before the signatures.
        if copied.err.contains("DNSSEC records: the packet is signed as a whole") {
            break;
        }
        assert!(began.elapsed() < DEADLINE, "no signatures: {}", copied.err);
        sleep(Duration::from_millis(50));
    }
}
