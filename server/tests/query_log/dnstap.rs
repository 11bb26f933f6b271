//! dnstap, as the collector of fstrm and the reader of ldns take it.

use std::{
    path::Path,
    process::{Child, Command, Stdio},
};

use http::StatusCode;
use pkdns::{
    config::{Config, DnstapClients, DnstapTarget},
    program::testnet::sample_keypair,
};
use pkdns_testing::{programs, wait::eventually};

use super::server::{Logging, query};

/// The collector. It is stopped when dropped.
struct Collector(Child);

impl Collector {
    /// Listens where `listen` says, and writes what comes to `path`.
    fn start(listen: &[&str], path: &Path) -> Option<Self> {
        let program = programs::find("fstrm_capture", |_| true, "fstrm-bin")?;
        let mut command = Command::new(program);
        command.args(["-t", "protobuf:dnstap.Dnstap", "-w"]).arg(path).args(listen);
        Some(Self(command.stdin(Stdio::null()).spawn().unwrap()))
    }

    /// Has it write all that it has.
    fn stop(mut self) {
        self.end();
    }

    fn end(&mut self) {
        let _ = Command::new("sh").arg("-c").arg(format!("kill -TERM {}", self.0.id())).status();
        let _ = self.0.wait();
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.end();
    }
}

fn tap_to(to: DnstapTarget, clients: DnstapClients) -> impl FnOnce(&mut Config) {
    move |config| {
        config.dnstap.to = Some(to);
        config.dnstap.clients = clients;
        config.dnstap.identity = "resolver-one".into();
    }
}

/// What was captured: a line for each message.
fn read(path: &Path) -> Option<Vec<String>> {
    let program = programs::find("dnstap-ldns", |_| true, "dnstap-ldns")?;
    let output = Command::new(program).arg("-r").arg(path).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    Some(String::from_utf8(output.stdout).unwrap().lines().map(String::from).collect())
}

#[tokio::test]
async fn a_collector_sees_queries_and_replies() {
    let directory = tempfile::tempdir().unwrap();
    let (socket, capture) = (directory.path().join("dnstap.sock"), directory.path().join("capture"));
    let Some(collector) = Collector::start(&["-u", socket.to_str().unwrap()], &capture) else { return };
    eventually("the collector listens", async || socket.exists()).await;
    let target = DnstapTarget::Unix(socket);
    let server = Logging::start(tap_to(target, DnstapClients::Truncated)).await;
    let key = sample_keypair().to_z32();
    server.send(&query(&key)).await;
    server.send(&query(&key)).await;
    server.send_tcp(&query("example.com")).await;
    assert_eq!(server.http(&query("localhost")).await, StatusCode::OK);
    assert_eq!(server.dropped(), 0);
    server.stop().await;
    collector.stop();
    let Some(lines) = read(&capture) else { return };
    let expected = [
        ("CQ", "UDP", key.as_str()),
        ("CR", "UDP", &key),
        ("CQ", "UDP", &key),
        ("CR", "UDP", &key),
        ("CQ", "TCP", "example.com"),
        ("CR", "TCP", "example.com"),
        ("CQ", "DOH", "localhost"),
        ("CR", "DOH", "localhost"),
    ];
    assert_eq!(lines.len(), expected.len(), "{lines:#?}");
    for (line, (kind, protocol, name)) in lines.iter().zip(expected) {
        let has = |part: &str| line.contains(part);
        assert!(has(&format!(" {kind} ")) && has(&format!("\"{name}.\" IN A")), "{line}");
        // A reader that is older than DNS over HTTPS shows its number.
        assert!(has(protocol) || protocol == "DOH", "{line}");
        assert!(has("127.0.0.0") && !has("127.0.0.1"), "{line}");
    }
}

#[tokio::test]
async fn a_collector_may_be_reached_over_tcp() {
    let directory = tempfile::tempdir().unwrap();
    let capture = directory.path().join("capture");
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let listen = ["-a", "127.0.0.1", "-p", &port.to_string()];
    let Some(collector) = Collector::start(&listen, &capture) else { return };
    eventually("the collector listens", async || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok())
        .await;
    let target = DnstapTarget::Tcp(([127, 0, 0, 1], port).into());
    let server = Logging::start(tap_to(target, DnstapClients::Full)).await;
    server.send(&query("example.com")).await;
    server.stop().await;
    collector.stop();
    let Some(lines) = read(&capture) else { return };
    assert!(lines.len() == 2 && lines.iter().all(|line| line.contains("127.0.0.1")), "{lines:?}");
}

#[tokio::test]
async fn a_collector_that_is_not_there_holds_nobody_up() {
    let directory = tempfile::tempdir().unwrap();
    let target = DnstapTarget::Unix(directory.path().join("nobody"));
    let server = Logging::start(tap_to(target, DnstapClients::Truncated)).await;
    for _ in 0..20 {
        assert_eq!(server.send(&query("example.com")).await[3] & 0x0f, 0);
    }
    server.stop().await;
}
