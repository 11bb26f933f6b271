//! `doctor` as its users run it: a DHT, a resolver, a clock and relays on this machine, and each of them missing or wrong.

use std::{
    net::{Ipv4Addr, SocketAddr},
    process::Stdio,
    sync::Mutex,
    time::{Duration, SystemTime},
};

use pkdns::{
    config::{Cache, Config, Dht, Metrics},
    program::testnet::SampleUpstream,
    server::Server,
};
use pkdns_testing::{
    program::{self, Finished, World},
    relay::{Received, Reply, ScriptedRelay},
};
use serde_json::Value;
use tokio_util::sync::{CancellationToken, DropGuard};

/// Nobody answers on this port.
const NOBODY: &str = "127.0.0.1:9";

/// A pkdns in this process, as long as this is held.
struct Pkdns {
    address: SocketAddr,
    metrics: SocketAddr,
    _stop: DropGuard,
}

impl Pkdns {
    fn start(bootstrap: Vec<String>, upstream: SocketAddr) -> Self {
        let any_port = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
        let config = Config {
            listen: vec![any_port],
            metrics: Metrics { listen: vec![any_port] },
            fallback_dns: vec![upstream.into()],
            dht: Dht { bootstrap, ..Dht::default() },
            cache: Cache { path: None, ..Cache::default() },
            ..Config::default()
        };
        let server = Server::bind(config).unwrap();
        let (address, metrics) = (server.addresses()[0], server.metrics_addresses()[0]);
        let stop = CancellationToken::new();
        tokio::spawn(server.run(stop.clone()));
        Self { address, metrics, _stop: stop.drop_guard() }
    }
}

/// A web server whose clock is ahead by so much, and that keeps what is put there as a relay does.
async fn web_server(ahead: i64) -> ScriptedRelay {
    let held = Mutex::new(None);
    ScriptedRelay::start(move |received: &Received| {
        let now = SystemTime::now();
        let span = Duration::from_secs(ahead.unsigned_abs());
        let date = httpdate::fmt_http_date(if ahead < 0 { now - span } else { now + span });
        let date = format!("date: {date}");
        let mut held = held.lock().unwrap();
        match (received.line.split(' ').next(), held.as_ref()) {
            (Some("PUT"), _) => {
                *held = Some(received.body.clone());
                Reply::answer(204, &["pkarr-dht-stored-nodes: 7", &date], b"")
            }
            (Some("GET"), Some(body)) => Reply::answer(200, &[&date], body),
            (Some("HEAD"), _) => Reply::answer(200, &[&date], b""),
            _ => Reply::answer(404, &[&date], b""),
        }
    })
    .await
}

/// Runs `doctor --json` where no configuration is found unless one is named.
fn doctor(world: &World, arguments: &[&str]) -> (Finished, Value) {
    let arguments = [&["doctor", "--json"], arguments].concat();
    let mut command = world.command(&arguments);
    let output = command.env("HOME", world.path()).stdin(Stdio::null()).output().unwrap();
    let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
    let report: Value = serde_json::from_str(&out).unwrap_or_else(|_| panic!("{out}{err}"));
    let finished = Finished { code: output.status.code().unwrap(), out, err };
    // Whatever is seen, somebody who is not well is told what to do.
    for check in report["checks"].as_array().unwrap() {
        let is_ok = check["verdict"] == "ok";
        assert_eq!(is_ok, check.get("advice").is_none(), "{check}");
        assert!(check["seen"].as_str().unwrap().len() > 5, "{check}");
    }
    assert_eq!(report["ok"], finished.code == 0, "{report:#}");
    assert!(report["milliseconds"].as_u64() < Some(60_000), "{report:#}");
    (finished, report)
}

/// The only finding of a check.
#[track_caller]
fn finding<'a>(report: &'a Value, check: &str) -> (&'a str, String) {
    let mut findings =
        report["checks"].as_array().unwrap().iter().filter(|finding| finding["check"] == check);
    let finding = findings.next().unwrap_or_else(|| panic!("no {check} in {report:#}"));
    assert!(findings.next().is_none(), "{report:#}");
    let text = |field: &str| finding[field].as_str().unwrap_or_default();
    (text("verdict"), format!("{} -> {}", text("seen"), text("advice")))
}

#[track_caller]
fn assert_found(report: &Value, check: &str, verdict: &str, part: &str) {
    let (is, text) = finding(report, check);
    assert!(is == verdict && text.contains(part), "{check}: {is} {text}\n{report:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn all_is_well_where_everything_is_there() {
    let (world, upstream) = (World::new().await, SampleUpstream::start().await.unwrap());
    let pkdns = Pkdns::start(world.bootstrap(), upstream.address());
    let (clock, relay) = (web_server(0).await, web_server(0).await);
    let [server, forward] = [pkdns.address.to_string(), upstream.address().to_string()];
    let arguments =
        ["--server", &server, "--forward", &forward, "--clock", &clock.url(), "--relay", &relay.url()];
    let (finished, report) = doctor(&world, &arguments);
    assert_eq!(finished.code, 0, "{report:#}");
    for (check, part) in [
        ("configuration", "the defaults hold"),
        ("server", "over UDP and TCP"),
        ("upstream", "over UDP and TCP"),
        ("clock", "right within"),
        ("dht", "nodes answered"),
        ("relay", "stored a packet on 7 DHT nodes"),
        ("round trip", "found again on"),
        ("answer", "found the new key in"),
    ] {
        assert_found(&report, check, "ok", part);
    }
    // The same for people. The right to the port is whatever this machine gives.
    let shown =
        world.command(&[&["doctor"], arguments.as_slice()].concat()).env("HOME", world.path()).output();
    let shown = String::from_utf8(shown.unwrap().stdout).unwrap();
    assert!(shown.contains(&format!("ok       server         {server} is pkdns")), "{shown}");
    assert!(shown.contains("ok       round trip     stored on "), "{shown}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dead_dht_and_a_dead_resolver_are_told_with_what_to_do() {
    let (world, clock) = (World::new().await, web_server(3700).await);
    let arguments = ["--bootstrap", NOBODY, "--forward", NOBODY, "--server", NOBODY, "--relay"];
    let (nobody, clock) = (format!("http://{NOBODY}"), clock.url());
    let arguments = [arguments.as_slice(), &[&nobody, "--clock", &clock]].concat();
    let alone = ["doctor", "--json"].as_slice();
    let mut command = program::command(world.path(), &[alone, &arguments].concat());
    let output = command.env("HOME", world.path()).stdin(Stdio::null()).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    assert_eq!((output.status.code(), report["ok"].as_bool()), (Some(1), Some(false)), "{report:#}");
    assert!(
        err.starts_with("{\"level\":\"ERROR\",") && err.contains("checks failed: do what stands below"),
        "{err}"
    );
    for (check, verdict, part) in [
        ("server", "failed", "nothing listens on 127.0.0.1:9 -> start pkdns"),
        ("upstream", "failed", "over UDP and TCP nothing listens -> check the network"),
        ("clock", "failed", "61 minutes slow by"),
        ("dht", "failed", "no node answered: 127.0.0.1:9 -> check the network connection"),
        ("address", "skipped", "not checked, because"),
        ("relay", "failed", "it cannot be reached"),
        ("round trip", "skipped", "the DHT is not reached"),
        ("answer", "skipped", "pkdns does not answer on 127.0.0.1:9"),
    ] {
        assert_found(&report, check, verdict, part);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_server_lacks_is_told_from_what_this_machine_lacks() {
    let world = World::new().await;
    // Its DHT and its upstream are out of reach, and this machine's are not.
    let pkdns = Pkdns::start(vec![NOBODY.to_string()], NOBODY.parse().unwrap());
    let (upstream, clock) = (SampleUpstream::start().await.unwrap(), web_server(0).await);
    let [server, forward] = [pkdns.address.to_string(), upstream.address().to_string()];
    let arguments =
        ["--server", &server, "--forward", &forward, "--forward", NOBODY, "--clock", &clock.url()];
    let (finished, report) = doctor(&world, &arguments);
    assert_eq!(finished.code, 1);
    assert_found(&report, "server", "failed", "cannot look public keys up");
    assert_found(&report, "dht", "ok", "nodes answered");
    assert_found(&report, "round trip", "ok", "found again on");
    assert_found(&report, "answer", "failed", "SERVFAIL");
    let upstreams = report["checks"].as_array().unwrap().iter().filter(|check| check["check"] == "upstream");
    let verdicts: Vec<_> = upstreams.map(|check| check["verdict"].as_str().unwrap()).collect();
    assert_eq!(verdicts, ["ok", "warning"], "one of two is enough");

    // An ordinary resolver in the place of pkdns.
    let (_, report) = doctor(&world, &["--server", &forward, "--forward", &forward, "--clock", &clock.url()]);
    assert_found(&report, "server", "failed", "is another resolver");
    assert_found(&report, "answer", "skipped", "pkdns does not answer");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_configuration_is_heeded_and_its_mistakes_are_reported() {
    let (world, upstream) = (World::new().await, SampleUpstream::start().await.unwrap());
    let pkdns = Pkdns::start(world.bootstrap(), upstream.address());
    let clock = web_server(0).await;
    let sound = format!(
        "listen = '{}'\nfallback_dns = '{}'\n[metrics]\nlisten = '{}'\n",
        pkdns.address,
        upstream.address(),
        pkdns.metrics
    );
    std::fs::create_dir(world.path().join(".pkdns")).unwrap();
    world.file(".pkdns/pkdns.toml", &sound);
    let (finished, report) = doctor(&world, &["--clock", &clock.url()]);
    assert_eq!(finished.code, 0, "{report:#}");
    assert_found(&report, "configuration", "ok", "pkdns.toml has no mistakes");
    assert_found(&report, "server", "ok", &format!("{} is pkdns", pkdns.address));
    assert_found(&report, "rights", "ok", "already");
    // It has joined a moment ago.
    assert_found(&report, "measured", "skipped", "requests to the DHT");
    assert_found(&report, "upstream", "ok", &upstream.address().to_string());

    // What is wrong may be a password, too.
    world.file("secret.toml", "[cache]\nredis = 'ftp://user:hunter2@redis.example'\n");
    let (finished, report) =
        doctor(&world, &["--config", "secret.toml", "--clock", &clock.url(), "--forward", NOBODY]);
    assert_found(&report, "configuration", "failed", "secret.toml:2: ");
    assert!(!finished.out.contains("hunter2") && !finished.err.contains("hunter2"), "{}", finished.out);

    world.file("wrong.toml", "\nfalback_dns = '192.0.2.53'\n");
    let (server, forward) = (pkdns.address.to_string(), upstream.address().to_string());
    let others = ["--server", &server, "--forward", &forward, "--clock", &clock.url()];
    let (finished, report) = doctor(&world, &[&["--config", "wrong.toml"], others.as_slice()].concat());
    assert_eq!(finished.code, 1);
    assert_found(&report, "configuration", "failed", "wrong.toml:2: ");
    assert_found(&report, "configuration", "failed", "did you mean `fallback_dns`?");
    assert_found(&report, "round trip", "ok", "found again on");
}
