//! What is written about queries, by whole servers.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail where it stands")]

mod dnstap;
mod server;

use std::{fs, path::Path};

use http::StatusCode;
use pkdns::{
    config::{Config, QueryLogFormat, QueryLogLevel},
    program::testnet::sample_keypair,
};
use pkdns_testing::{
    server::{keypair, with_edns},
    wait::eventually,
};
use server::{Logging, lines, query};

fn log_to(path: &Path, level: QueryLogLevel) -> impl FnOnce(&mut Config) {
    let path = path.to_owned();
    move |config| {
        config.query_log.level = level;
        config.query_log.path = Some(path);
    }
}

/// The line without its time and its duration, which differ each time.
fn steady(line: &str) -> String {
    let is_steady = |field: &&str| !field.starts_with("time=") && !field.starts_with("microseconds=");
    line.split(' ').filter(is_steady).collect::<Vec<_>>().join(" ")
}

#[tokio::test]
async fn every_transport_and_every_way_to_end_is_a_line() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("queries.log");
    let server = Logging::start(log_to(&path, QueryLogLevel::Truncated)).await;
    let key = sample_keypair().to_z32();
    let mut expected = Vec::new();
    let mut expect = |line: String| expected.push(line);

    let size = server.send(&query(&key)).await.len();
    expect(format!(
        "client=127.0.0.0/24 transport=udp name={key}. type=A code=NOERROR source=key bytes={size}"
    ));
    let again = server.send_tcp(&query(&key.to_uppercase())).await.len();
    expect(format!(
        "client=127.0.0.0/24 transport=tcp name={key}. type=A code=NOERROR source=cache bytes={again}"
    ));
    assert_eq!(server.http(&query("nothing.example.com")).await, StatusCode::OK);
    expect(
        "client=127.0.0.0/24 transport=doh name=nothing.example.com. type=A code=NXDOMAIN source=upstream"
            .into(),
    );
    server.ask_over_tls(&query(&key));
    expect(format!("client=fd00:1:2::/48 transport=dot name={key}. type=A code=NOERROR source=cache"));
    server.send(&query("localhost")).await;
    expect("client=127.0.0.0/24 transport=udp name=localhost. type=A code=NOERROR source=special".into());
    let unknown = keypair(9).to_z32();
    server.send(&with_edns(query(&unknown), false)).await;
    expect(format!(
        "client=127.0.0.0/24 transport=udp name={unknown}. type=A code=SERVFAIL extended_error=22 source=failed"
    ));
    // A zone transfer, and a request that ends within its question.
    let mut transfer = query(&key);
    let at = transfer.len() - 3;
    transfer[at] = 252;
    server.send_tcp(&transfer).await;
    expect(format!("client=127.0.0.0/24 transport=tcp name={key}. type=AXFR code=REFUSED source=refused"));
    server.send(&query("example.com")[..20]).await;
    expect("client=127.0.0.0/24 transport=udp code=FORMERR source=refused".into());

    let lines = lines(&path, expected.len()).await;
    for (line, expected) in lines.iter().zip(&expected) {
        assert!(line.starts_with("time=2") && line.contains(" microseconds="), "{line}");
        assert!(steady(line).starts_with(expected), "{line}\n{expected}");
    }
    assert_eq!(lines.len(), expected.len());
    assert_eq!(server.dropped(), 0);
}

#[tokio::test]
async fn whoever_is_refused_has_a_line_too() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("queries.log");
    let server = Logging::start(|config| {
        log_to(&path, QueryLogLevel::Full)(config);
        config.access.deny = vec!["127.0.0.1/32".parse().unwrap()];
    })
    .await;
    server.send(&query("example.com")).await;
    assert_eq!(server.http(&query("example.com")).await, StatusCode::FORBIDDEN);
    let lines = lines(&path, 2).await;
    let refused = "code=REFUSED source=refused bytes=";
    assert!(
        steady(&lines[0])
            .starts_with(&format!("client=127.0.0.1 transport=udp name=example.com. type=A {refused}"))
    );
    assert_eq!(steady(&lines[1]), format!("client=127.0.0.1 transport=doh {refused}0"));
}

#[tokio::test]
async fn what_is_over_quota_and_gets_no_reply_has_a_line() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("queries.log");
    let server = Logging::start(|config| {
        log_to(&path, QueryLogLevel::Full)(config);
        (config.rate_limit.requests_per_minute, config.rate_limit.burst_size) = (1, 1);
    })
    .await;
    server.send(&query("example.com")).await;
    let socket = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    socket.send_to(&query("example.com"), server.address).unwrap();
    let lines = lines(&path, 2).await;
    let expected = "client=127.0.0.1 transport=udp name=example.com. type=A code=none source=refused bytes=0";
    assert_eq!(steady(&lines[1]), expected);
}

#[tokio::test]
async fn counts_tell_neither_names_nor_clients() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("queries.log");
    let server = Logging::start(|config| {
        log_to(&path, QueryLogLevel::Counts)(config);
        config.query_log.format = QueryLogFormat::Json;
    })
    .await;
    for name in ["example.com", "example.com", "nothing.example.com"] {
        server.send(&query(name)).await;
    }
    // What is left is written at the stop.
    server.stop().await;
    let text = fs::read_to_string(&path).unwrap();
    let mut counts = Vec::new();
    for line in text.lines() {
        let count: serde_json::Value = serde_json::from_str(line).unwrap();
        let text = |name: &str| count[name].as_str().unwrap().to_owned();
        counts.push((text("code"), text("source"), count["queries"].as_u64().unwrap()));
        assert_eq!(count.as_object().unwrap().len(), 5, "{line}");
    }
    let count = |code: &str, source: &str, queries| (code.to_owned(), source.to_owned(), queries);
    assert_eq!(
        counts,
        [count("NOERROR", "cache", 1), count("NOERROR", "upstream", 1), count("NXDOMAIN", "upstream", 1)]
    );
}

#[tokio::test]
async fn a_file_that_is_moved_away_is_left_at_once() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("queries.log");
    let server = Logging::start(log_to(&path, QueryLogLevel::Full)).await;
    server.send(&query("example.com")).await;
    lines(&path, 1).await;
    let moved = directory.path().join("queries.log.1");
    fs::rename(&path, &moved).unwrap();
    server.send(&query("example.org")).await;
    assert!(lines(&path, 1).await[0].contains("name=example.org."));
    assert_eq!(lines(&moved, 1).await.len(), 1);
    // All is written when the server has stopped.
    for _ in 0..50 {
        server.send(&query("example.org")).await;
    }
    server.stop().await;
    assert_eq!(fs::read_to_string(&path).unwrap().lines().count(), 51);
}

#[tokio::test]
async fn a_full_disk_costs_lines_and_no_answer() {
    let server = Logging::start(log_to(Path::new("/dev/full"), QueryLogLevel::Full)).await;
    for _ in 0..3 {
        assert_eq!(server.send(&query("example.com")).await[3] & 0x0f, 0);
    }
    eventually("lost lines are counted", async || server.dropped() == 3).await;
}

#[tokio::test]
async fn nothing_is_written_unless_it_is_asked_for() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("queries.log");
    let server = Logging::start(log_to(&path, QueryLogLevel::Off)).await;
    server.send(&query("example.com")).await;
    server.stop().await;
    assert!(!path.exists());
}
