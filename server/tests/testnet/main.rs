//! `pkdns --testnet` as a new user meets it: what it prints is typed as it stands.
//!
//! Needs Chromium and Firefox for the tests of browsers. Without them these say so and pass, unless `CI=true`.

#![allow(clippy::unwrap_used, clippy::panic, reason = "the helpers of tests may fail them")]

mod program;
mod readme;

use std::{
    fs,
    net::{TcpListener, UdpSocket},
    path::{Path, PathBuf},
    process::Command,
};

use pkdns_testing::{chromium, programs};
use program::{Testnet, output_of};

const KEY: &str = "8qhdp5s8jjmxmqam3bpg9kzeg7x8teztuwrfgxw5ikn9z5bt15uy";

/// What the site says of itself.
const TITLE: &str = "8qhdp5s8…15uy: a site whose name is a key";

/// Where pictures of the pages are left for people.
fn screenshots() -> PathBuf {
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/screenshots");
    fs::create_dir_all(&directory).unwrap();
    directory.canonicalize().unwrap()
}

/// Runs a printed line with `flags` behind the name of its program.
fn type_line(line: &str, flags: &str) -> String {
    let (program, rest) = line.split_once(' ').unwrap();
    let mut shell = Command::new("bash");
    shell.args(["-c", &format!("timeout 90 {program} {flags} {rest}")]);
    String::from_utf8_lossy(&shell.output().unwrap().stdout).into_owned()
}

#[test]
fn the_line_that_is_printed_opens_the_site_in_chromium() {
    if programs::find("chromium", |_| true, "chromium").is_none() {
        return;
    }
    let testnet = Testnet::start(&[]);
    let line = testnet.line_of("chromium ");
    assert!(line.ends_with(&format!(" https://{KEY}.key:{}/", testnet.https_port())), "{line}");
    let picture = screenshots().join("testnet.png");
    let flags =
        format!("{} --window-size=1000,1250 --screenshot={}", chromium::FLAGS.join(" "), picture.display());
    let page = type_line(line, &flags);
    assert!(page.contains(&format!("<title>{TITLE}</title>")), "{page}");
    assert!(page.contains(&format!("<code>{KEY}.key</code>")), "{page}");
}

#[test]
fn the_line_that_is_printed_has_firefox_ask_this_server() {
    if programs::find("firefox-esr", |_| true, "firefox-esr").is_none() {
        return;
    }
    let mut testnet = Testnet::start(&["--verbose"]);
    let line = testnet.line_of("firefox").to_owned();
    let picture = screenshots().join("testnet-firefox.png");
    type_line(&line, &format!("--headless --screenshot {}", picture.display()));
    let log = testnet.end();
    let asked = log.lines().filter(|line| line.contains(&format!("{KEY}.key")));
    assert!(asked.count() > 0, "{log}");
    assert!(picture.exists());
}

#[test]
fn under_the_sample_key_there_is_its_site_and_nothing_else() {
    let testnet = Testnet::start(&[]);
    for host in [format!("{KEY}.key"), KEY.to_owned(), format!("www.{KEY}.key:80")] {
        let page = testnet.get(&host, "/");
        assert!(page.starts_with("HTTP/1.1 200 ") && page.contains(TITLE), "{host}: {page}");
        for path in [
            "/dns-query?dns=AAABAAABAAAAAAAAB2V4YW1wbGUDY29tAAABAAE",
            "/resolve?name=example.com",
            "/pkdns.js",
        ] {
            assert!(testnet.get(&host, path).starts_with("HTTP/1.1 404 "), "{host}{path}");
        }
    }
    assert!(testnet.get("localhost", "/").contains("pkdns.css"));
    let other = format!("{}.key", "o4dksfbqk85ogzdb5osziw6befigbuxmuxkuxq8434q89uj56uyy");
    assert!(testnet.get(&other, "/").starts_with("HTTP/1.1 4"), "another key is no host of ours");
}

#[test]
fn a_port_that_is_taken_is_answered_with_the_line_to_type_instead() {
    let held = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = held.local_addr().unwrap();
    let output = Testnet::command(&["--listen", &taken.to_string()]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    let said = output_of(&output);
    let line = said
        .lines()
        .find(|line| line.contains(" --testnet --listen 127.0.0.1:"))
        .unwrap_or_else(|| panic!("{said}"));
    let address = line.rsplit_once(' ').unwrap().1;
    assert_ne!(address, taken.to_string());
    UdpSocket::bind(address).unwrap();
    assert!(said.contains("another socket holds this port"), "{said}");
}

#[test]
fn another_address_for_questions_leaves_the_pages_where_they_are() {
    let free = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let testnet = Testnet::start_at(&["--listen", &free.to_string()]);
    assert!(testnet.said.contains(&format!("dig @127.0.0.1 -p {} {KEY}", free.port())), "{}", testnet.said);
    assert!(testnet.said.contains("Over HTTP, where http://127.0.0.1:5"), "{}", testnet.said);
    assert!(testnet.said.contains("at 127.0.0.1:68"), "{}", testnet.said);
}

#[test]
fn nothing_is_left_behind_and_the_nodes_say_nothing() {
    let mut testnet = Testnet::start(&["--verbose"]);
    let scratch = testnet.scratch();
    assert!(scratch.join("certificates/ca.pem").exists(), "{}", scratch.display());
    let log = testnet.end();
    assert!(!scratch.exists(), "{}", scratch.display());
    assert!(!log.contains("mainline"), "{log}");
}
