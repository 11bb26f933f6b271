//! A developer's first hour: the README's lines as they stand, and what is said to whoever errs.

use std::{fs, path::Path, process::Command};

use pkdns_testing::programs;

use crate::{
    KEY,
    program::{Testnet, output_of},
};

/// The shell blocks of the README under a heading.
fn blocks(heading: &str) -> Vec<String> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../README.md");
    let readme = fs::read_to_string(path).unwrap();
    let section = readme.split_once(&format!("\n## {heading}\n")).unwrap().1;
    let section = section.split("\n## ").next().unwrap();
    let blocks = section.split("```sh\n").skip(1).filter_map(|block| block.split_once("\n```"));
    blocks.map(|(block, _)| block.to_owned()).collect()
}

#[test]
fn each_line_of_the_readme_works_as_it_stands() {
    if programs::find("dig", |_| true, "bind9-dnsutils").is_none()
        || programs::find("curl", |_| true, "curl").is_none()
    {
        return;
    }
    let blocks = blocks("Try it");
    assert_eq!(blocks[0], "cargo run --release -p pkdns -- --testnet");
    let testnet = Testnet::start(&[]);
    let [dns, http] = [testnet.dns_port(), testnet.http_port()].map(|port| port.to_string());
    let lines: Vec<_> = blocks[1].lines().filter(|line| !line.starts_with('#')).collect();
    assert_eq!(lines.len(), 7);
    for line in lines {
        let typed = line.replace("5300", &dns).replace("5380", &http);
        let output = Command::new("bash").args(["-c", &typed]).output().unwrap();
        let said = output_of(&output);
        assert!(output.status.success(), "{line}: {said}");
        let is_answered = said.contains("status: NOERROR") && !said.contains("ANSWER: 0,");
        assert!(is_answered || said.contains("\"Status\":0"), "{line}: {said}");
    }
}

/// Ten mistakes that are made in the first hour. Each is answered with what to do.
#[test]
fn whoever_errs_is_told_what_to_do() {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("pkdns.toml"), "liste = '127.0.0.1:0'\n").unwrap();
    let directory = directory.path().to_str().unwrap();
    for (mistake, arguments, advice) in [
        ("a misspelt flag", &["--tesnet"][..], "'--testnet'"),
        ("a port that is a word", &["--listen", "127.0.0.1:dns"], "the port must be"),
        ("an upstream that is a name", &["-f", "dns.example"], "is not an IP address"),
        ("an upstream that is nearly one", &["-f", "goggle"], "did you mean `google`?"),
        (
            "an upstream that is pkdns itself",
            &["-l", "127.0.0.1:5300", "-f", "127.0.0.1:5300"],
            "is this server itself",
        ),
        ("a file that is not there", &["-c", "/absent.toml"], "write another file after --config"),
        ("a misspelt option", &["--check", "-p", directory], "did you mean `listen`?"),
        ("a status of nobody", &["status", "-p", "/absent"], "pkdns"),
    ] {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pkdns"));
        let output = command.args(arguments).env("HOME", directory).output().unwrap();
        let said = output_of(&output);
        assert_eq!(output.status.code(), Some(1), "{mistake}: {said}");
        assert!(said.contains(advice), "{mistake}: {said}");
    }
    let testnet = Testnet::start(&[]);
    for (mistake, host, path, advice) in [
        ("a page that is not there", "localhost", "/page", "What this server is for"),
        ("a question that is left out", "localhost", "/dns-query", "/ explains how"),
        ("another key's name", "o4dksfbqk85ogzdb5osziw6befigbuxmuxkuxq8434q89uj56uyy.key", "/", "hosts"),
        ("another page of the site", &format!("{KEY}.key"), "/about", "The page of this key is at /."),
    ] {
        let said = testnet.get(host, path);
        assert!(said.starts_with("HTTP/1.1 4") && said.contains(advice), "{mistake}: {said}");
    }
}
