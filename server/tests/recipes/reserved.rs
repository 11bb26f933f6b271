//! Reserved names, asked for by an Unbound that validates behind this server. It has no zones of its own for them here.

use super::*;

/// Those that Unbound would answer by itself.
const BUILT_IN: [&str; 28] = [
    "home.arpa",
    "resolver.arpa",
    "test",
    "invalid",
    "onion",
    "localhost",
    "0.in-addr.arpa",
    "10.in-addr.arpa",
    "127.in-addr.arpa",
    "64.100.in-addr.arpa",
    "254.169.in-addr.arpa",
    "16.172.in-addr.arpa",
    "20.172.in-addr.arpa",
    "31.172.in-addr.arpa",
    "127.100.in-addr.arpa",
    "2.0.192.in-addr.arpa",
    "168.192.in-addr.arpa",
    "100.51.198.in-addr.arpa",
    "113.0.203.in-addr.arpa",
    "255.255.255.255.in-addr.arpa",
    "0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa",
    "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa",
    "d.f.ip6.arpa",
    "8.e.f.ip6.arpa",
    "9.e.f.ip6.arpa",
    "a.e.f.ip6.arpa",
    "b.e.f.ip6.arpa",
    "8.b.d.0.1.0.0.2.ip6.arpa",
];

/// What a validator makes of each name. Of all of them only the reserved zones may be told to others.
const ROWS: [(&str, &str); 50] = [
    // Zones that the public delegates without signing them: what is said in them here needs no signature.
    ("home.arpa SOA", "NOERROR"),
    ("home.arpa A", "NOERROR"),
    ("home.arpa NS", "NOERROR"),
    ("home.arpa DNSKEY", "NOERROR"),
    ("home.arpa DS", "NOERROR"),
    ("nas.home.arpa A", "NXDOMAIN"),
    ("nas.home.arpa DS", "NXDOMAIN"),
    ("10.in-addr.arpa SOA", "NOERROR"),
    ("10.in-addr.arpa DS", "NOERROR"),
    ("1.2.3.10.in-addr.arpa PTR", "NXDOMAIN"),
    ("9.9.20.172.in-addr.arpa PTR", "NXDOMAIN"),
    ("1.1.168.192.in-addr.arpa PTR", "NXDOMAIN"),
    ("resolver.arpa DS", "NOERROR"),
    ("_dns.resolver.arpa SVCB", "NOERROR"),
    // Reverse zones that the public has signed not to exist.
    ("1.0.in-addr.arpa PTR", "NXDOMAIN"),
    ("0.in-addr.arpa A", "NXDOMAIN"),
    ("2.0.0.127.in-addr.arpa PTR", "NXDOMAIN"),
    ("9.254.169.in-addr.arpa PTR", "NXDOMAIN"),
    ("9.9.16.172.in-addr.arpa PTR", "NXDOMAIN"),
    ("9.9.31.172.in-addr.arpa PTR", "NXDOMAIN"),
    ("9.9.64.100.in-addr.arpa PTR", "NXDOMAIN"),
    ("9.9.127.100.in-addr.arpa PTR", "NXDOMAIN"),
    ("1.2.0.192.in-addr.arpa PTR", "NXDOMAIN"),
    ("1.100.51.198.in-addr.arpa PTR", "NXDOMAIN"),
    ("1.113.0.203.in-addr.arpa PTR", "NXDOMAIN"),
    ("255.255.255.255.in-addr.arpa PTR", "NXDOMAIN"),
    ("0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.ip6.arpa PTR", "NXDOMAIN"),
    ("9.c.f.ip6.arpa PTR", "NXDOMAIN"),
    ("9.d.f.ip6.arpa PTR", "NXDOMAIN"),
    ("9.8.e.f.ip6.arpa PTR", "NXDOMAIN"),
    ("9.9.e.f.ip6.arpa PTR", "NXDOMAIN"),
    ("9.a.e.f.ip6.arpa PTR", "NXDOMAIN"),
    ("9.b.e.f.ip6.arpa PTR", "NXDOMAIN"),
    ("9.c.e.f.ip6.arpa PTR", "NXDOMAIN"),
    ("9.d.e.f.ip6.arpa PTR", "NXDOMAIN"),
    ("9.e.e.f.ip6.arpa PTR", "NXDOMAIN"),
    ("9.f.e.f.ip6.arpa PTR", "NXDOMAIN"),
    ("9.8.b.d.0.1.0.0.2.ip6.arpa PTR", "NXDOMAIN"),
    // Top-level names that the root has signed not to exist.
    ("nas.test A", "NXDOMAIN"),
    ("nas.invalid AAAA", "NXDOMAIN"),
    ("nas.local A", "NXDOMAIN"),
    ("nas.onion A", "NXDOMAIN"),
    ("nas.alt HTTPS", "NXDOMAIN"),
    ("nas.internal A", "NXDOMAIN"),
    ("local A", "NXDOMAIN"),
    ("local DS", "NXDOMAIN"),
    ("local NS", "NXDOMAIN"),
    ("local DNSKEY", "NXDOMAIN"),
    // What is said of the machine itself nobody can sign, so that validators have to know it (RFC 6761 section 6.3).
    ("localhost A", "SERVFAIL"),
    ("1.0.0.127.in-addr.arpa PTR", "SERVFAIL"),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_validator_believes_what_is_said_of_reserved_names_and_nobody_else_hears_of_them() {
    let (Some(dig), Some(unbound)) = (Dig::find(), Program::unbound()) else { return };
    let mut failures = Vec::new();
    for (question, expected) in ROWS {
        // What a validator has learnt of one row would answer the next.
        let pkdns = Pkdns::start().await;
        let daemon = unbound.run_unbound(&validating(&pkdns.recipe("unbound.conf")));
        let status = dig.ask(daemon.address, question).status().to_owned();
        if status != expected {
            failures.push(format!("{question}: {status}, {}", daemon.log()));
        }
        let zones = BUILT_IN.iter().chain(&["local", "internal", "alt", "c.f.ip6.arpa", "f.e.f.ip6.arpa"]);
        let is_told = |asked: &&String| {
            let name = asked.split(' ').next().unwrap();
            let is_ours = |zone: &&str| name.strip_suffix(*zone).is_some_and(|rest| rest.ends_with('.'));
            zones.clone().any(is_ours) || asked.ends_with(" A") || asked.ends_with(" PTR")
        };
        let asked = pkdns.root.asked();
        failures.extend(asked.iter().filter(is_told).map(|asked| format!("{question}: told of {asked}")));
    }
    assert!(failures.is_empty(), "{}", failures.join("\n"));
}

/// With names of the own network in zones that are reserved: in those that the public delegates they need nothing more,
/// in those that the root denies the validator has to be told.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_validator_believes_what_the_own_network_says_in_zones_that_are_delegated() {
    let (Some(dig), Some(unbound), Some(dnsmasq)) = (Dig::find(), Program::unbound(), Program::dnsmasq())
    else {
        return;
    };
    let router = dnsmasq.run_dnsmasq(
        "no-resolv\nhost-record=nas.home.arpa,192.168.1.9\nhost-record=nas.local,192.168.1.9\nlocal=/home.arpa/local/\n",
    );
    let own_names = [
        format!(
            "[[forward]]\nzone = ['home.arpa', 'local', '168.192.in-addr.arpa']\nto = '{}'\n",
            router.address
        ),
        "[local]\nrecords = ['nas.home.arpa A 192.168.1.9', 'nas.local A 192.168.1.9', 'home.arpa A 192.168.1.9']\n\
         zone = ['home.arpa', 'local']\n"
            .to_owned(),
    ];
    for own_names in own_names {
        let pkdns = Pkdns::start_with(&own_names).await;
        let recipe = validating(&pkdns.recipe("unbound.conf"));
        let daemon = unbound.run_unbound(&recipe);
        let ask = |question: &str| dig.ask(daemon.address, question);
        assert_eq!(ask("nas.home.arpa A").data(), ["A 192.168.1.9"], "{own_names}{}", daemon.log());
        let reply = ask("9.1.168.192.in-addr.arpa PTR");
        assert_eq!(reply.data(), ["PTR nas.home.arpa."], "{own_names}{}", daemon.log());
        assert_eq!(ask("gone.home.arpa A").status(), "NXDOMAIN", "{own_names}{}", daemon.log());
        assert_eq!(ask("nas.local A").status(), "SERVFAIL", "{own_names}");
        let told = recipe.replace(
            "    domain-insecure: \"key\"",
            "    domain-insecure: \"key\"\n    domain-insecure: \"local\"",
        );
        let daemon = unbound.run_unbound(&told);
        let reply = dig.ask(daemon.address, "nas.local A");
        assert_eq!(reply.data(), ["A 192.168.1.9"], "{own_names}{}", daemon.log());
    }
}

/// A recipe, with the key of the root and without Unbound's own zones.
pub(super) fn validating(recipe: &str) -> String {
    let open = |zone: &&str| format!("    local-zone: \"{zone}.\" nodefault\n");
    let open: String = BUILT_IN.iter().map(open).collect();
    format!("server:\n    trust-anchor: \"{}\"\n{open}{recipe}", signed_root::UNBOUND_ANCHOR)
}
