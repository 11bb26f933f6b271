//! One BIND with signed zones, and who asks it: pkdns, Unbound, and each of them behind the other.

use std::{fs, path::Path};

use pkdns::config::Config;
use pkdns_testing::{
    daemon::{Daemon, Program},
    server::TestServer,
    signer::{Signer, Signing},
};
use tempfile::TempDir;

/// The odd names, which stand in each of [`ODD`].
const NAMES: &str = include_str!("zone.txt");

/// The zones with odd names: signed with NSEC, with NSEC3 and opt-out (RFC 5155 section 6), and not signed.
pub(crate) const ODD: [&str; 3] = ["odd", "hashed", "plain"];

/// The zones delegated from each of them, with the greatest time that absence may be believed, in seconds, which is the TTL
/// of their records as well. Signatures of the last have run out; `bare` has none.
const CHILDREN: [(&str, u32); 5] =
    [("child", 120), ("bare", 120), ("never", 0), ("forever", 2_147_483_647), ("expired", 120)];

const CHILD: &str = "\
@       NS      ns
ns      A       127.0.0.1
www     A       192.0.2.30
*.w     TXT     \"in the child\"
a.ent   A       192.0.2.31
";

/// BIND says all that it can say, and asks nobody outside.
const OPTIONS: &str = "\
    recursion yes;
    dnssec-validation no;
    empty-zones-enable no;
    notify no;
    minimal-responses no;
    zero-no-soa-ttl no;
    check-names primary ignore;
    check-integrity no;
    max-records-per-type 0;
";

/// As many records of a name as leave little room in a message, and more than any holds.
const HUGE: u32 = 230;
const CROWD: u32 = 3700;
const BEYOND: u32 = 250;

/// BIND follows eleven aliases (RFC 1034 section 5.2.2 leaves the number open).
const CHAIN: u32 = 20;

/// Sizes, in bytes, of sets about the sizes that datagrams have.
const SIZES: [u32; 18] =
    [300, 400, 450, 480, 500, 900, 1100, 1150, 1180, 1200, 1232, 1400, 1452, 3900, 4000, 4050, 4090, 4200];

/// Everyone who is asked. Daemons end with this.
pub(crate) struct World {
    /// Has the zones, and follows delegations.
    pub(crate) named: Daemon,
    /// Forwards to it.
    pub(crate) pkdns: TestServer,
    /// Forwards to it as well.
    pub(crate) unbound: Daemon,
    /// Forwards to it, and validates.
    pub(crate) validator: Daemon,
    /// Validates, and forwards to pkdns.
    pub(crate) validator_behind_pkdns: Daemon,
    /// Forwards to the validator.
    pub(crate) pkdns_behind_validator: TestServer,
    _zones: TempDir,
}

impl World {
    /// `None`: a program is missing, and that is to be accepted.
    pub(crate) fn start() -> Option<Self> {
        let (named, unbound, signer) = (Program::named()?, Program::unbound()?, Signer::find()?);
        let zones = tempfile::tempdir().unwrap();
        let directory = zones.path();
        // Nothing is sent there, whatever listens on this machine.
        let mut served = String::from("server 127.9.9.9 { bogus yes; };\n");
        let mut serve = |name: &str, file: &Path| {
            served += &format!("zone \"{name}\" {{ type primary; file \"{}\"; }};\n", file.display());
        };
        let generated = directory.join("generated.txt");
        fs::write(&generated, generated_names()).unwrap();
        let names = directory.join("names.txt");
        fs::write(&names, NAMES).unwrap();
        for origin in ODD {
            for (child, ttl) in CHILDREN {
                let name = format!("{child}.{origin}");
                let text = format!("$TTL {ttl}\n{}{CHILD}alias CNAME www.{origin}.\n", soa(ttl));
                let signing = match (origin, child) {
                    ("plain", _) | (_, "bare") => Signing::None,
                    (_, "expired") => Signing::Expired,
                    _ => Signing::Nsec,
                };
                serve(&name, &signer.zone(directory, &name, &text, signing));
            }
            let includes = format!("$INCLUDE {}\n$INCLUDE {}\n", names.display(), generated.display());
            let signing = match origin {
                "plain" => Signing::None,
                "hashed" => Signing::Nsec3,
                _ => Signing::Nsec,
            };
            let text = format!("$TTL 300\n{}{includes}", soa(120));
            serve(origin, &signer.zone(directory, origin, &text, signing));
        }
        let delegations: String =
            ODD.iter().map(|name| format!("{name} NS ns.{name}\nns.{name} A 127.0.0.1\n")).collect();
        let root = format!("$TTL 300\n{}@ NS ns.odd.\n{delegations}", soa(120));
        serve(".", &signer.zone(directory, ".", &root, Signing::Nsec));

        let named = named.run_named(OPTIONS, &served);
        let anchor = format!("    trust-anchor-file: \"{}\"\n", signer.key(directory, ".").display());
        let forward = |modules: &str, anchor: &str, port: u16| {
            unbound.run_unbound(&format!(
                "server:\n    module-config: \"{modules}\"\n    do-not-query-localhost: no\n{anchor}\
                 forward-zone:\n    name: \".\"\n    forward-addr: 127.0.0.1@{port}\n"
            ))
        };
        let pkdns = start_pkdns(&named);
        let validator = forward("validator iterator", &anchor, named.address.port());
        Some(Self {
            unbound: forward("iterator", "", named.address.port()),
            validator_behind_pkdns: forward("validator iterator", &anchor, pkdns.address.port()),
            pkdns_behind_validator: start_pkdns(&validator),
            named,
            pkdns,
            validator,
            _zones: zones,
        })
    }
}

fn start_pkdns(upstream: &Daemon) -> TestServer {
    let mut config = Config { fallback_dns: vec![upstream.address.into()], ..Config::default() };
    config.rate_limit.requests_per_minute = 0;
    TestServer::builder().config(config).start()
}

fn soa(negative_ttl: u32) -> String {
    format!("@ IN SOA ns hostmaster 1 3600 600 604800 {negative_ttl}\n")
}

/// What is too long or too much to be written by hand.
fn generated_names() -> String {
    let mut lines = String::new();
    let mut add = |line: String| lines += &(line + "\n");
    for number in 0..HUGE {
        add(format!("huge TXT \"{number:03}{}\"", "x".repeat(252)));
    }
    for number in 0..CROWD {
        add(format!("crowd A 10.{}.{}.1", number / 256, number % 256));
    }
    for number in 0..BEYOND {
        add(format!("beyond TXT \"{number:03}{}\"", "x".repeat(252)));
    }
    for number in 1..=CHAIN {
        let target = if number < CHAIN { format!("chain-{:02}", number + 1) } else { "type-a".into() };
        add(format!("chain-{number:02} CNAME {target}"));
    }
    for size in SIZES {
        for (number, start) in (0..size).step_by(200).enumerate() {
            // Owner, type, class, TTL and lengths take some 15 bytes of each record.
            let text = "y".repeat((size - start).min(200).saturating_sub(15) as usize);
            add(format!("size-{size} TXT \"{number:02}{text}\""));
        }
    }
    // With labels of more than 40 bytes before it a name has more than 255 (RFC 6672 section 2.2).
    let label = "l".repeat(63);
    add(format!("long DNAME {label}.{label}.{label}.{}", "m".repeat(40)));
    lines
}
