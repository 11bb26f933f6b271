//! Cookies as `dig` and `kdig` understand them.

use std::{net::SocketAddr, process::Command};

use pkdns_testing::programs;

use super::{
    CLIENT,
    floods::{flood, start},
};

/// Runs a program against `server` as [`CLIENT`] and returns what it prints; `None`: it is not installed.
async fn run(program: &str, package: &str, server: SocketAddr, arguments: &str) -> Option<String> {
    let path = programs::find(program, |_| true, package)?;
    let client = CLIENT.to_string();
    let mut command = Command::new(path);
    command.args([&format!("@{}", server.ip()), "-p", &server.port().to_string(), "-b", &client]);
    command.args(arguments.split_whitespace());
    let output = tokio::task::spawn_blocking(move || command.output().unwrap()).await.unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{arguments}: {text}");
    Some(text)
}

async fn dig(server: SocketAddr, arguments: &str) -> Option<String> {
    run("dig", "Debian's bind9-dnsutils", server, &format!("-r +time=1 +tries=20 {arguments}")).await
}

async fn kdig(server: SocketAddr, arguments: &str) -> Option<String> {
    run("kdig", "Debian's knot-dnsutils", server, &format!("+time=1 +retry=20 {arguments}")).await
}

/// The cookie that `dig` prints, both parts, if it says that the reply repeats its own.
fn good_cookie(text: &str) -> String {
    let (_, rest) = text.split_once("; COOKIE: ").unwrap_or_else(|| panic!("no cookie: {text}"));
    let (cookie, rest) = rest.split_once(' ').unwrap();
    assert!(rest.starts_with("(good)"), "{text}");
    assert_eq!(cookie.len(), 48, "{text}");
    cookie.to_owned()
}

#[tokio::test]
async fn dig_learns_a_cookie_and_comes_back_with_it_over_quota() {
    let server = start();
    let Some(text) = dig(server.address, "localhost A").await else { return };
    assert!(text.contains("status: NOERROR"), "{text}");
    let cookie = good_cookie(&text);
    let again = dig(server.address, &format!("+cookie={cookie} localhost A")).await.unwrap();
    assert_eq!(good_cookie(&again), cookie);
    let only = dig(server.address, "+header-only").await.unwrap();
    assert!(only.contains("status: NOERROR") && only.contains("QUERY: 0"), "{only}");
    good_cookie(&only);
    assert!(dig(server.address, "+nocookie localhost A").await.unwrap().contains("status: NOERROR"));
    flood(&server, 2000).await;
    let again = dig(server.address, &format!("+tries=1 +cookie={cookie} localhost A")).await.unwrap();
    assert!(again.contains("status: NOERROR") && again.contains("127.0.0.1\n"), "{again}");
    // Without one it is given one after a try or two, and asks again by itself.
    let learned = dig(server.address, "localhost A").await.unwrap();
    assert!(learned.contains("BADCOOKIE, retrying") && learned.contains("127.0.0.1\n"), "{learned}");
    // And without cookies it is sent to TCP.
    let truncated = dig(server.address, "+nocookie localhost A").await.unwrap();
    assert!(truncated.contains("Truncated, retrying in TCP mode"), "{truncated}");
    assert!(truncated.contains("127.0.0.1\n"), "{truncated}");
}

#[tokio::test]
async fn kdig_learns_a_cookie_and_comes_back_with_it_over_quota() {
    let server = start();
    let Some(text) = kdig(server.address, "+cookie localhost A").await else { return };
    assert!(text.contains("status: NOERROR") && text.contains("COOKIE"), "{text}");
    flood(&server, 2000).await;
    let learned = kdig(server.address, "+cookie localhost A").await.unwrap();
    assert!(learned.contains("127.0.0.1\n"), "{learned}");
    let truncated = kdig(server.address, "localhost A").await.unwrap();
    assert!(truncated.contains("127.0.0.1\n"), "{truncated}");
}
