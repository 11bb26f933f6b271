//! What `pkdns status` gets to see, and the program itself.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Output, Stdio},
};

use pkdns::{
    edge::status::{AskError, ask, table},
    program::testnet::sample_keypair,
};
use pkdns_dht::simulator::{Simulator, World};
use pkdns_testing::{process::Killed, server::Upstream, wait};

use crate::server::{Seen, status, with_everything};

#[tokio::test]
async fn the_status_shows_what_the_server_did() {
    let server = with_everything();
    let key = sample_keypair().to_z32();
    for name in [&key, &key, "absent.example"] {
        server.code(name).await;
    }
    let status = server.status().await;
    assert_eq!(status.version, env!("CARGO_PKG_VERSION"));
    assert_eq!(status.process_id, std::process::id());
    assert!(status.ready && status.missing.is_empty(), "{status:?}");
    assert!(status.listening.contains(&format!("udp {}", server.address)), "{:?}", status.listening);
    assert_eq!((status.queries["udp"]["NOERROR"], status.queries["udp"]["NXDOMAIN"]), (2, 1));
    assert_eq!((status.caches.answer_hits, status.caches.answer_misses), (1, 2));
    assert_eq!((status.caches.packets_in_memory, status.caches.disk_failed), (1, false));
    assert!(status.caches.packets_on_disk.is_some() && status.caches.shared_store_failed.is_some());
    let [upstream] = &status.upstreams[..] else { panic!("one upstream") };
    assert_eq!((upstream.state.as_str(), upstream.zone.as_str()), ("in use", "."));
    assert!(upstream.requests["answered"] >= 1 && upstream.latency_ms.is_some(), "{upstream:?}");
    let [certificate] = &status.certificates[..] else { panic!("one certificate") };
    assert_eq!(certificate.names, ["dns.example"]);
    assert!((80..=90).contains(&certificate.days_left), "{certificate:?}");
    assert!(status.process.resident_bytes.is_some_and(|bytes| bytes > 1 << 20));
    assert_eq!(status.dht, None, "a network of tests is no DHT");
    let page = table(&status);
    assert!(page.lines().all(|line| line.chars().count() <= 80), "{page}");
    assert!(page.contains("2 NOERROR, 1 NXDOMAIN") && page.contains("dns.example: until "), "{page}");
}

#[tokio::test]
async fn a_server_that_hears_the_dht_is_ready_and_shows_which_part_of_it_replies() {
    let simulator = Simulator::start(World { nodes: 100, ..World::default() }).unwrap();
    let upstream = crate::health::silent();
    let server = Seen::start_in_dht(&[&upstream], simulator.bootstrap());
    server.wait_until_ready(server.pages(), "/readyz").await;
    server.wait_until_ready(server.http(), "/readyz").await;
    server.wait_for(server.pages(), "/readyz?all", &format!("- the upstream {} has", upstream.address)).await;
    let dht = server.status().await.dht.expect("there is one");
    assert!(dht.nodes > 0 && dht.requests > 0, "{dht:?}");
    assert!(dht.reply_share.is_some_and(|share| share > 0.5) && dht.round_trip_ms.is_some(), "{dht:?}");
    let all = server.get(server.pages(), "/readyz?all").await.1;
    assert!(!all.contains("DHT"), "{all}");
}

#[tokio::test]
async fn the_socket_is_for_its_user_alone_and_goes_with_the_server() {
    let upstream = Upstream::denying();
    let server = Seen::start(&[&upstream], |_| ());
    server.status().await;
    assert_eq!(fs::metadata(&server.socket).unwrap().permissions().mode() & 0o777, 0o600);
    let socket = server.socket.clone();
    server.stop().await;
    assert!(matches!(ask(&socket), Err(AskError::Absent(_))));
}

#[tokio::test]
async fn a_server_that_takes_over_has_the_socket_once_the_other_has_stopped() {
    let upstream = Upstream::denying();
    let first = Seen::start(&[&upstream], |_| ());
    first.status().await;
    let path = first.socket.clone();
    let second = Seen::start(&[&upstream], |config| config.status.path = Some(path.clone()));
    second.wait_until_ready(second.pages(), "/readyz").await;
    let shown = first.status().await;
    assert!(shown.listening.contains(&format!("udp {}", first.address)), "{:?}", shown.listening);
    first.stop().await;
    let shown = status(&path).await;
    assert!(shown.listening.contains(&format!("udp {}", second.address)), "{:?}", shown.listening);
}

#[tokio::test]
async fn without_a_path_there_is_no_socket_and_one_that_cannot_be_made_costs_nothing_else() {
    let upstream = Upstream::denying();
    for path in ["", "/proc/nowhere/status.sock"] {
        let server = Seen::start(&[&upstream], |config| config.status.path = Some(path.into()));
        assert_eq!(server.code("localhost").await, 0);
        assert!(!server.socket.exists());
    }
}

fn pkdns(directory: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_pkdns"));
    command.arg("--pkdns-dir").arg(directory).args(arguments);
    command.env_remove("RUST_LOG").env_remove("RUNTIME_DIRECTORY");
    command
}

fn said(output: &Output) -> (Option<i32>, String, String) {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    (output.status.code(), text(&output.stdout), text(&output.stderr))
}

#[test]
fn the_program_shows_the_status_of_the_one_that_runs() {
    let directory = tempfile::tempdir().unwrap();
    let text = "listen = '127.0.0.1:0'\nfallback_dns = '127.0.0.1:9'\n[dht]\nenabled = false\n";
    fs::write(directory.path().join("pkdns.toml"), text).unwrap();
    let status = |arguments: &[&str]| {
        let arguments: Vec<_> = ["status"].iter().chain(arguments).copied().collect();
        said(&pkdns(directory.path(), &arguments).output().unwrap())
    };
    let (code, _, message) = status(&[]);
    assert_eq!(code, Some(1));
    assert!(message.starts_with("error: no pkdns runs with this directory: there is no "), "{message}");

    let mut server = Killed(pkdns(directory.path(), &[]).stderr(Stdio::null()).spawn().unwrap());
    wait::until("the server answers", || status(&[]).0 == Some(0));
    let (_, shown, _) = status(&[]);
    let process = server.id();
    assert!(
        shown.starts_with(&format!("pkdns         {}, process {process}, ", env!("CARGO_PKG_VERSION"))),
        "{shown}"
    );
    let json: serde_json::Value = serde_json::from_str(&status(&["--json"]).1).unwrap();
    assert_eq!(json["process_id"], process);
    // Port 9 has no resolver.
    let (code, _, message) = status(&["--ready"]);
    assert_eq!(code, Some(1));
    assert!(message.contains("error: not ready\n  the upstream 127.0.0.1:9 has not answered"), "{message}");
    // A server that has not come to its end leaves its socket behind.
    server.kill().unwrap();
    server.wait().unwrap();
    let (code, _, message) = status(&[]);
    assert_eq!(code, Some(1));
    assert!(message.contains("was left behind by one that was killed"), "{message}");
}
