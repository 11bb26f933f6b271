//! pkdns where it has to take itself for a container: what is published is reached through a proxy, which speaks for anybody.
//!
//! Needs `unshare`, `ip` and `dig`. Without them the test says so and passes, unless `CI=true`; without the right to make
//! network namespaces it always does.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::{fs, path::Path, process::Command};

use pkdns_testing::{dig::Dig, namespace, process::Process};

/// The network of a container. Those of the proxy and of another container are here as well, so that they can ask.
const NETWORK: [&str; 6] = [
    "link add uplink type veth peer name other",
    "address add 172.17.0.2/16 dev uplink",
    "link set uplink up",
    "route add default via 172.17.0.1 dev uplink",
    "address add 172.17.0.1/32 dev lo",
    "address add 172.17.0.3/32 dev lo",
];

/// Answers without asking anybody: `localhost` is its own.
const QUIET: &str = "listen = '0.0.0.0:53'\nfallback_dns = '127.0.0.1:9'\n[dht]\nenabled = false\n";

#[test]
fn strangers_behind_the_proxy_of_a_container_are_no_neighbours_and_are_warned_of() {
    let name = "strangers_behind_the_proxy_of_a_container_are_no_neighbours_and_are_warned_of";
    if !namespace::is_inside(name) {
        return;
    }
    let Some(dig) = Dig::find() else { return };
    NETWORK.iter().for_each(|words| namespace::run("ip", words.split(' ')));
    namespace::run("mount", ["-t", "tmpfs", "tmpfs", "/run"]);
    let directory = tempfile::tempdir().unwrap();
    let check = |access: &str| {
        fs::write(directory.path().join("pkdns.toml"), format!("{QUIET}{access}")).unwrap();
        let output = pkdns(directory.path()).arg("--check").output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    fs::write("/run/.containerenv", "").unwrap();
    for (access, is_warned) in [
        ("", true),
        ("[access]\nallow = '172.16.0.0/12'\n", true),
        ("[access]\nallow = ['172.16.0.0/12', '172.17.0.1/32']\n", false),
        ("[access]\ndeny = '172.17.0.1'\n", false),
        ("[access]\nallow = 'connected'\n", false),
    ] {
        let said = check(access);
        assert_eq!(said.contains("172.17.0.1 is served"), is_warned, "{access}: {said}");
    }

    // The last of them is in place: neighbours are served, and the proxy is none.
    let server = start(directory.path());
    for (client, status) in [("172.17.0.3", "NOERROR"), ("172.17.0.1", "REFUSED")] {
        let reply = dig.ask("172.17.0.2:53".parse().unwrap(), &format!("-b {client} localhost A"));
        assert_eq!(reply.status(), status, "{client}");
    }
    drop(server);
}

fn pkdns(directory: &Path) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pkdns"));
    command.arg("--pkdns-dir").arg(directory).env_remove("RUST_LOG");
    command
}

/// Returns once it listens.
fn start(directory: &Path) -> Process {
    let mut server = Process::start(pkdns(directory));
    server.wait_for("listening tcp 0.0.0.0:53");
    server
}
