//! `doctor` behind the resolvers of docs/lan-resolvers.md, which run as that says, and with a line missing.
//!
//! Needs `dnsmasq` and `unbound`. Without them the tests say so and pass, unless `CI=true`.

use std::{net::SocketAddr, process::Stdio};

use pkdns::{
    config::{Cache, Config, Dht},
    program::testnet::SampleUpstream,
    server::Server,
};
use pkdns_testing::{daemon::Program, program::World, signed_root};
use serde_json::Value;
use tokio_util::sync::{CancellationToken, DropGuard};

const DOCUMENT: &str = include_str!("../../../docs/lan-resolvers.md");
const PUBLIC_ANCHORS: &str = "conf-file=/usr/share/dnsmasq-base/trust-anchors.conf";

/// A DHT, and a pkdns on this machine.
struct Network {
    world: World,
    pkdns: SocketAddr,
    upstream: SocketAddr,
    _stop: DropGuard,
}

impl Network {
    async fn start() -> Self {
        let (world, upstream) = (World::new().await, signed_root::start().await.address);
        let config = Config {
            listen: vec![([127, 0, 0, 1], 0).into()],
            fallback_dns: vec![upstream.into()],
            dht: Dht { bootstrap: world.bootstrap(), ..Dht::default() },
            cache: Cache { path: None, ..Cache::default() },
            ..Config::default()
        };
        let server = Server::bind(config).unwrap();
        let pkdns = server.addresses()[0];
        let stop = CancellationToken::new();
        tokio::spawn(server.run(stop.clone()));
        Self { world, pkdns, upstream, _stop: stop.drop_guard() }
    }

    /// The recipe of this title, with the address of this pkdns.
    fn recipe(&self, title: &str) -> String {
        let mut blocks = DOCUMENT.split("```conf\n").skip(1).map(|rest| rest.split_once("```").unwrap().0);
        let recipe = blocks.find(|block| block.starts_with(&format!("# {title}\n"))).unwrap();
        let port = self.pkdns.port();
        recipe
            .replace("127.0.0.1#5300", &format!("127.0.0.1#{port}"))
            .replace("127.0.0.1@5300", &format!("127.0.0.1@{port}"))
            .replace(PUBLIC_ANCHORS, signed_root::DNSMASQ_ANCHOR)
    }

    /// What `doctor` finds on that address: the lines `server` and `answer`.
    fn doctor(&self, server: SocketAddr) -> [String; 2] {
        let [server, forward] = [server, self.upstream].map(|address| address.to_string());
        let arguments =
            ["doctor", "--json", "--server", &server, "--forward", &forward, "--clock", "http://127.0.0.1:9"];
        let mut command = self.world.command(&arguments);
        let output = command.env("HOME", self.world.path()).stdin(Stdio::null()).output().unwrap();
        let report: Value = serde_json::from_slice(&output.stdout).unwrap();
        ["server", "answer"].map(|check| {
            let mut findings = report["checks"].as_array().unwrap().iter();
            let finding = findings.find(|finding| finding["check"] == check).unwrap();
            let text = |field: &str| finding[field].as_str().unwrap_or_default();
            format!("{}: {} -> {}", text("verdict"), text("seen"), text("advice"))
        })
    }
}

/// Recipe, what is put before it, what is taken out of it, and the beginnings and parts of both lines.
type Row = (&'static str, &'static str, &'static str, [&'static str; 2], [&'static str; 2]);

const FOUND: [&str; 2] = ["ok: ", "found the new key"];
const NOT_ASKED: [&str; 2] = ["skipped: ", "pkdns does not answer"];

#[track_caller]
fn assert_found(what: &str, found: &[String; 2], [server, answer]: [[&str; 2]; 2], log: &str) {
    for (line, [begin, part]) in found.iter().zip([server, answer]) {
        assert!(line.starts_with(begin) && line.contains(part), "{what}: {line}\n{log}");
        assert!(!line.to_lowercase().contains("dht"), "{what}: {line}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_names_the_trap_of_each_dnsmasq() {
    let Some(dnsmasq) = Program::dnsmasq() else { return };
    let (network, present) = (Network::start().await, SampleUpstream::start().await.unwrap());
    let rows: [Row; 7] = [
        ("dnsmasq.conf", "", "", ["ok: ", "is dnsmasq-"], FOUND),
        ("dnsmasq.conf", "domain-needed\n", "", ["warning: ", "domain-needed"], FOUND),
        ("dnsmasq-dnssec.conf", "", "", ["warning: ", "www.KEY is SERVFAIL"], FOUND),
        ("dnsmasq-dnssec.conf", "", "server=/", ["failed: ", "server=/key/127.0.0.1#5300"], NOT_ASKED),
        ("dnsmasq-rebind.conf", "", "", ["ok: ", "is dnsmasq-"], FOUND),
        (
            "dnsmasq-rebind.conf",
            "",
            "rebind-domain-ok",
            ["ok: ", "is dnsmasq-"],
            ["warning: ", "rebind-domain-ok=/key/"],
        ),
        (
            "dnsmasq-keys-only.conf",
            "no-resolv\nserver=UPSTREAM\n",
            "",
            ["warning: ", "www.KEY is NXDOMAIN"],
            FOUND,
        ),
    ];
    for (title, more, without, server, answer) in rows {
        let more = more.replace("UPSTREAM", &format!("127.0.0.1#{}", present.address().port()));
        let recipe = format!("{more}{}", network.recipe(title));
        let is_left = |line: &&str| without.is_empty() || !line.starts_with(without);
        let daemon = dnsmasq.run_dnsmasq(&recipe.split_inclusive('\n').filter(is_left).collect::<String>());
        let found = network.doctor(daemon.address);
        assert_found(&format!("{title} {more}without {without}"), &found, [server, answer], &daemon.log());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_names_the_trap_of_each_unbound() {
    let Some(unbound) = Program::unbound() else { return };
    let network = Network::start().await;
    let validating = format!("server:\n    trust-anchor: \"{}\"\n", signed_root::UNBOUND_ANCHOR);
    let strict = format!("{validating}    private-address: 192.168.0.0/16\n");
    let rows = [
        ("unbound.conf", &strict, "", ["warning: ", "cannot be exempted in Unbound"], FOUND),
        ("unbound.conf", &strict, "    domain-insecure", ["failed: ", "domain-insecure: \"key\""], NOT_ASKED),
        (
            "unbound.conf",
            &strict,
            "    private-domain",
            ["warning: ", "KEY.key is answered"],
            ["warning: ", "private-domain: \"key\""],
        ),
        ("unbound-bare-keys.conf", &validating, "", ["ok: ", "is unbound "], FOUND),
    ];
    for (title, before, without, server, answer) in rows {
        let recipe = format!("{before}{}", network.recipe(title));
        let is_left = |line: &&str| without.is_empty() || !line.starts_with(without);
        let daemon = unbound.run_unbound(&recipe.split_inclusive('\n').filter(is_left).collect::<String>());
        let found = network.doctor(daemon.address);
        assert_found(&format!("{title} without {without}"), &found, [server, answer], &daemon.log());
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn doctor_sends_on_to_a_pkdns_that_is_not_there() {
    let Some(dnsmasq) = Program::dnsmasq() else { return };
    let network = Network::start().await;
    let recipe = network.recipe("dnsmasq.conf").replace(&format!("#{}", network.pkdns.port()), "#9");
    let daemon = dnsmasq.run_dnsmasq(&recipe);
    let [server, _] = network.doctor(daemon.address);
    assert!(server.starts_with("failed: "), "{server}\n{}", daemon.log());
    assert!(server.contains(" is dnsmasq-") && server.contains("doctor --server"), "{server}");
    assert!(!server.contains("is pkdns") && !server.contains("dht"), "{server}");
}
