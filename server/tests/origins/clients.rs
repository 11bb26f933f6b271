//! What takes more than one message, and what `dig` makes of the answers.

use std::{fs, net::SocketAddr, process::Command, time::Duration};

use hickory_proto::rr::RecordType;
use pkdns_testing::{
    programs,
    support::client::{Transport, exchange, read_message},
};
use tokio::{io::AsyncWriteExt, net::TcpStream, time::timeout};

use crate::{
    STRANGER, Served, iterative,
    messages::{ask, shown},
    octets,
    world::{KEY, ORIGIN, large, stage},
};

const A: u16 = 1;
const SOA: u16 = 6;
const COOKIE: u16 = 10;

#[tokio::test]
async fn a_cookie_that_comes_back_is_good_also_for_a_stranger() {
    let stage = stage(|config| {
        (config.rate_limit.requests_per_minute, config.rate_limit.burst_size) = (1, 2);
    });
    let server = stage.server.address;
    let first = ask(ORIGIN, SOA).edns(1232).option(COOKIE, &[1, 2, 3, 4, 5, 6, 7, 8]).bytes();
    let reply = exchange(server, &first, Transport::Udp).await.unwrap();
    assert_eq!(shown(&reply), "NOERROR aa an=SOA edns=0 cookie=24");
    let cookie = &reply[reply.len() - 24..];
    assert_eq!(cookie[..8], [1, 2, 3, 4, 5, 6, 7, 8]);
    // Without it, the quota of all who bear this address is used up: they are sent to TCP, or get nothing.
    let plain = ask(ORIGIN, SOA).bytes();
    let mut is_cut = false;
    for _ in 0..60 {
        let reply = timeout(Duration::from_millis(200), exchange(server, &plain, Transport::Udp)).await;
        is_cut = reply.is_ok_and(|reply| reply.is_ok_and(|reply| shown(&reply) == "NOERROR tc"));
        if is_cut {
            break;
        }
    }
    assert!(is_cut);
    let again = ask(ORIGIN, SOA).edns(1232).option(COOKIE, cookie).bytes();
    let reply = exchange(server, &again, Transport::Udp).await.unwrap();
    assert_eq!(shown(&reply), "NOERROR aa an=SOA edns=0 cookie=24");
}

/// RFC 7766 section 6.2.1.1, RFC 1035 section 4.2.2.
#[tokio::test]
async fn one_connection_takes_many_questions_at_once() {
    let stage = stage(|_| ());
    let mut stream = TcpStream::connect(stage.server.address).await.unwrap();
    let key = format!("{}.{ORIGIN}", *KEY);
    let mut bytes = Vec::new();
    for request in [ask(ORIGIN, SOA), ask(&key, A), ask(ORIGIN, SOA).edns(1232)] {
        let request = request.bytes();
        bytes.extend((request.len() as u16).to_be_bytes());
        bytes.extend(request);
    }
    // The length may come in pieces.
    let (head, rest) = bytes.split_at(1);
    stream.write_all(head).await.unwrap();
    stream.flush().await.unwrap();
    stream.write_all(rest).await.unwrap();
    let mut replies = Vec::new();
    for _ in 0..3 {
        replies.push(shown(&read_message(&mut stream).await.unwrap()));
    }
    replies.sort();
    assert_eq!(replies, ["NOERROR aa an=A", "NOERROR aa an=SOA", "NOERROR aa an=SOA edns=0"]);
}

#[tokio::test]
async fn a_zone_file_is_read_again_at_a_reload_and_one_with_a_mistake_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("zone");
    fs::write(&path, "www 60 A 192.0.2.1\n").unwrap();
    let served = Served::start_with(|config| config.origin[0].zone_file = Some(path.clone()));
    let www = || iterative(&format!("www.{ORIGIN}"), RecordType::A);
    assert_eq!(octets(&served.ask(STRANGER, &www()).await), [1]);
    fs::write(&path, "www 60 A 192.0.2.2\n").unwrap();
    assert_eq!(octets(&served.ask(STRANGER, &www()).await), [1], "nobody has asked for it yet");
    served.reload(|_| ()).await;
    assert_eq!(octets(&served.ask(STRANGER, &www()).await), [2]);
    fs::write(&path, "www 60 A 192.0.2\n").unwrap();
    let error = served.reloads.reload(Ok(served.config.clone())).await.unwrap_err().to_string();
    assert!(error.contains("origin.zone_file: ") && error.contains("line 1, column 10"), "{error}");
    assert_eq!(octets(&served.ask(STRANGER, &www()).await), [2]);
}

/// What `dig` prints; `None`: it is not installed.
async fn dig(server: SocketAddr, arguments: &str) -> Option<String> {
    let path = programs::find("dig", |_| true, "Debian's bind9-dnsutils")?;
    let mut command = Command::new(path);
    command.args([&format!("@{}", server.ip()), "-p", &server.port().to_string()]);
    command.args(["-r", "+time=5", "+tries=2"]).args(arguments.split_whitespace());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{arguments}: {text}");
    // Columns are as wide as their longest name.
    Some(text.split_whitespace().collect::<Vec<_>>().join(" "))
}

#[tokio::test]
async fn dig_understands_what_a_stranger_is_told() {
    let stage = stage(|_| ());
    let server = stage.server.address;
    let key = format!("{}.{ORIGIN}", *KEY);
    for (arguments, parts) in [
        (format!("+norec {key} A"), &["flags: qr aa; QUERY: 1, ANSWER: 1, AUTHORITY: 0", " A 192.0.2.1"][..]),
        (format!("+norec +noedns {key} CAA"), &["flags: qr aa;", "CAA 0 issue \"letsencrypt.org\""]),
        (format!("+rec {key} A"), &["flags: qr aa rd;", "recursion requested but not available"]),
        (format!("+norec +dnssec {key} A"), &["flags: do;", " A 192.0.2.1"]),
        (format!("+norec {ORIGIN} NS"), &["ANSWER: 2", "ns1.pk.example.net. 600 IN A 192.0.2.53"]),
        (format!("+norec nothing.{ORIGIN} A"), &["status: NXDOMAIN", "AUTHORITY: 1", " SOA ns1."]),
        (
            format!("+norec x.sub.{ORIGIN} A"),
            &["flags: qr; QUERY: 1, ANSWER: 0, AUTHORITY: 1, ADDITIONAL: 2"],
        ),
        (format!("+norec +edns=1 +noednsneg {key} A"), &["status: BADVERS"]),
        (
            format!("+norec +ednsopt=100 +ednsflags=0x40 {key} A"),
            &["status: NOERROR", "EDNS: version: 0, flags:;"],
        ),
        (format!("+norec +noedns {} TXT", large()), &["Truncated, retrying in TCP mode", "ANSWER: 1"]),
        (format!("+norec +ignore +noedns {} TXT", large()), &["flags: qr aa tc;", "ANSWER: 0"]),
        (format!("+norec +opcode=15 {key} A"), &["status: NOTIMP"]),
        ("+norec www.example.com A".into(), &["status: REFUSED"]),
        (format!("+tcp {ORIGIN} AXFR"), &["Transfer failed."]),
    ] {
        let Some(text) = dig(server, &arguments).await else { return };
        for part in parts {
            assert!(text.contains(part), "{arguments}: no {part:?} in\n{text}");
        }
    }
}
