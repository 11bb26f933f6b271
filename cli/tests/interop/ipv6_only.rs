//! The commands on a machine that has IPv6 alone, whose resolver is a pkdns as it comes.
//!
//! Needs `unshare` and `ip`, `dnsmasq` and the `libtorrent` module of Python. Without them the test says so and passes, unless
//! `CI=true`; without the right to make network namespaces it always does.

use std::process::Stdio;

use pkdns::{config::Config, server::Server};
use pkdns_testing::{internet::Ipv6Internet, namespace, program};
use serde_json::Value;
use tokio_util::sync::CancellationToken;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commands_need_no_ipv4() {
    if !namespace::is_inside("commands_need_no_ipv4") {
        return;
    }
    let Some(_internet) = Ipv6Internet::start() else { return };
    let directory = program::directory();
    let resolver = program::file(&directory, "resolv.conf", "nameserver ::1\n");
    namespace::run("mount", ["--bind", resolver.to_str().unwrap(), "/etc/resolv.conf"]);
    let stop = CancellationToken::new();
    let server = Server::bind(Config::default()).unwrap();
    tokio::spawn(server.run(stop.clone()));
    let _stop = stop.drop_guard();

    program::file(&directory, "my.zone", "@ 300 AAAA 2001:db8::7\n");
    let run = |arguments: &[&str]| program::run(directory.path(), arguments);
    assert_eq!(run(&["generate", "--out", "my.seed"]).code, 0);
    let published = run(&["publish", "my.seed", "my.zone", "--json"]).json();
    assert!(published["nodes"].as_u64() > Some(2), "{published}");
    let resolved = run(&["resolve", "--seed", "my.seed", "--json"]).json();
    assert!(resolved.to_string().contains("2001:db8::7"), "{resolved}");

    let mut doctor = program::command(directory.path(), &["doctor", "--json"]);
    let output = doctor.env("HOME", directory.path()).stdin(Stdio::null()).output().unwrap();
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!((output.status.code(), report["ok"].as_bool()), (Some(0), Some(true)), "{report:#}");
    for (check, verdict, part) in [
        ("server", "ok", "over UDP and TCP"),
        ("upstream", "skipped", "no route to 8.8.8.8:53"),
        ("upstream", "ok", "[2001:4860:4860::8888]:53 answers"),
        ("dht", "ok", "nodes answered"),
        ("address", "ok", "2"),
        ("round trip", "ok", "found again on"),
        ("answer", "ok", "found the new key in"),
    ] {
        let is_it = |finding: &Value| {
            finding["check"] == check
                && finding["verdict"] == verdict
                && finding["seen"].as_str().is_some_and(|seen| seen.contains(part))
        };
        assert!(report["checks"].as_array().unwrap().iter().any(is_it), "{check}: {part}\n{report:#}");
    }
}
