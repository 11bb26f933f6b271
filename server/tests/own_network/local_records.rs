//! Names of the own network that the server itself knows, with hosts files that change: `[local]`.

use std::{fs, net::Ipv4Addr, path::PathBuf};

use hickory_proto::{
    op::ResponseCode,
    rr::{RData, RecordType},
};
use pkdns::{
    config::{Config, ForwardZone},
    server::check_files,
};
use pkdns_testing::{
    server::TestServer,
    support::{client::Reply, name_server::NameServer},
    wait::eventually,
};

use super::zone;

const DOCUMENT: &str = include_str!("../../../docs/lan-resolvers.md");

struct Stage {
    server: TestServer,
    upstream: NameServer,
}

impl Stage {
    async fn set(mut config: Config) -> Self {
        let records = zone("example.com. 300 SOA ns.example.com. admin.example.com. 1 2 3 4 300");
        let upstream = NameServer::with((Ipv4Addr::LOCALHOST, 0), records).await;
        config.fallback_dns = vec![upstream.address.into()];
        Self { server: TestServer::builder().config(config).start(), upstream }
    }

    async fn ask(&self, name: &str, record_type: RecordType) -> Reply {
        self.server.resolve(name, record_type).await
    }

    /// The data of the first record.
    async fn first(&self, name: &str, record_type: RecordType) -> Option<String> {
        self.ask(name, record_type).await.answers.first().map(|record| record.data.to_string())
    }

    /// Asks until that is the data of the first record.
    async fn wait_for(&self, name: &str, record_type: RecordType, expected: Option<&str>) {
        let is_so = async || self.first(name, record_type).await.as_deref() == expected;
        eventually(&format!("{name} is {expected:?}"), is_so).await;
    }
}

fn hosts_file(config: &mut Config, text: &str) -> (tempfile::TempDir, PathBuf) {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("hosts");
    fs::write(&path, text).unwrap();
    config.local.hosts_file = vec![path.clone()];
    (directory, path)
}

#[tokio::test]
async fn a_hosts_file_is_read_again_and_what_was_answered_before_is_out_of_date() {
    let mut config = Config::default();
    config.local.records = vec!["nas.lan TXT cellar".into(), "printer.lan CNAME desk.example.com".into()];
    let (directory, path) = hosts_file(&mut config, "127.0.1.1 this.example.com\n192.168.1.9 nas.lan nas\n");
    let clock = directory.path().join("clock");
    config.local.hosts_file.push(clock.clone());
    let stage = Stage::set(config).await;
    let (a, ptr) = (RecordType::A, RecordType::PTR);
    assert_eq!(stage.first("nas.lan.", a).await.as_deref(), Some("192.168.1.9"));
    assert_eq!(stage.first("nas.", a).await.as_deref(), Some("192.168.1.9"));
    assert_eq!(stage.first("nas.lan.", RecordType::TXT).await.as_deref(), Some("cellar"));
    assert_eq!(stage.first("9.1.168.192.in-addr.arpa.", ptr).await.as_deref(), Some("nas.lan."));
    assert_eq!(stage.upstream.asked(), []);
    // The machine's own address is nothing to others, who ask for the name as if it were not there.
    assert_eq!(stage.ask("this.example.com.", a).await.code, ResponseCode::NXDomain);
    // Denied for five minutes, and so is what leads to it.
    assert_eq!(stage.ask("desk.example.com.", a).await.code, ResponseCode::NXDomain);
    assert_eq!(stage.ask("printer.lan.", a).await.code, ResponseCode::NXDomain);
    assert_eq!(stage.ask("other.example.com.", a).await.code, ResponseCode::NXDomain);
    let asked = stage.upstream.asked().len();

    fs::write(&path, "nonsense\n192.168.1.10 nas.lan nas\n192.168.1.7 desk.example.com\n").unwrap();
    stage.wait_for("nas.lan.", a, Some("192.168.1.10")).await;
    assert_eq!(stage.first("desk.example.com.", a).await.as_deref(), Some("192.168.1.7"));
    let reply = stage.ask("printer.lan.", a).await;
    assert_eq!((reply.code, reply.answers.len()), (ResponseCode::NoError, 2));
    assert_eq!(stage.ask("9.1.168.192.in-addr.arpa.", ptr).await.code, ResponseCode::NXDomain);
    assert_eq!(stage.first("10.1.168.192.in-addr.arpa.", ptr).await.as_deref(), Some("nas.lan."));
    // Names that nothing was said of keep their answers.
    assert_eq!(stage.ask("other.example.com.", a).await.code, ResponseCode::NXDomain);
    assert_eq!(stage.upstream.asked().len(), asked);

    // A file that is gone changes nothing. Two changes of the other one show that it was looked for in between.
    fs::remove_file(&path).unwrap();
    for address in ["192.168.1.1", "192.168.1.2"] {
        fs::write(&clock, format!("{address} router.lan\n")).unwrap();
        stage.wait_for("router.lan.", a, Some(address)).await;
    }
    assert_eq!(stage.first("nas.lan.", a).await.as_deref(), Some("192.168.1.10"));
    fs::write(&path, "192.168.1.10 other.lan\n").unwrap();
    stage.wait_for("nas.lan.", a, None).await;
    assert_eq!(stage.first("nas.lan.", RecordType::TXT).await.as_deref(), Some("cellar"));
}

#[tokio::test]
async fn a_hosts_file_may_come_later() {
    let mut config = Config::default();
    let (_directory, path) = hosts_file(&mut config, "");
    fs::remove_file(&path).unwrap();
    let stage = Stage::set(config).await;
    assert_eq!(stage.ask("nas.example.com.", RecordType::A).await.code, ResponseCode::NXDomain);
    fs::write(&path, "192.168.1.9 nas.example.com\n").unwrap();
    stage.wait_for("nas.example.com.", RecordType::A, Some("192.168.1.9")).await;
}

#[tokio::test]
async fn the_resolvers_of_a_zone_are_asked_for_what_is_not_local_before_it_is_denied() {
    let router = zone(
        "lan. 300 SOA ns.lan. admin.lan. 1 2 3 4 60
        nas.lan. 300 A 192.168.1.66
        desk.lan. 300 A 192.168.1.7",
    );
    let router = NameServer::with((Ipv4Addr::LOCALHOST, 0), router).await;
    let lan = ForwardZone { zone: vec!["lan".into()], to: vec![router.address.into()] };
    let mut config = Config { forward: vec![lan], ..Config::default() };
    config.local.records = vec!["nas.lan A 192.168.1.9".into()];
    config.local.zone = vec!["lan".into(), "test".into()];
    let stage = Stage::set(config).await;
    assert_eq!(stage.first("nas.lan.", RecordType::A).await.as_deref(), Some("192.168.1.9"));
    assert_eq!(router.asked(), []);
    assert_eq!(stage.first("desk.lan.", RecordType::A).await.as_deref(), Some("192.168.1.7"));
    assert_eq!(stage.ask("gone.lan.", RecordType::A).await.code, ResponseCode::NXDomain);
    assert_eq!(router.asked().len(), 2);
    assert_eq!(stage.upstream.asked(), []);
}

#[test]
fn the_check_tells_the_bad_lines_of_hosts_files_and_starts_all_the_same() {
    let mut config = Config::default();
    let key = "8qhdp5s8jjmxmqam3bpg9kzeg7x8teztuwrfgxw5ikn9z5bt15uy";
    let bad: String = (0..9).map(|number| format!("bad{number}\n")).collect();
    let text = format!("127.0.0.1 localhost\nnas.lan 192.168.1.9\n192.168.1.9 www.{key}.key\n{bad}");
    let (directory, path) = hosts_file(&mut config, &text);
    config.dht.enabled = false;
    config.local.hosts_file.push(directory.path().join("none"));
    let faults = check_files(&config);
    assert_eq!(faults.mistakes, [""; 0]);
    let begin = |line: &str| format!("local.hosts_file: {}:{line}", path.display());
    assert!(faults.warnings[0].starts_with(&begin("2: `nas.lan` is not an IP address")), "{faults:?}");
    assert!(faults.warnings[1].starts_with(&begin(&format!("3: `www.{key}.key` is a key's"))), "{faults:?}");
    assert!(faults.warnings[8].ends_with("hosts: 3 more of this kind"), "{faults:?}");
    assert!(faults.warnings[9].contains("none: No such file"), "{faults:?}");
    assert_eq!(faults.warnings.len(), 10);
}

/// The example of the document, with another hosts file.
#[tokio::test]
async fn the_example_works_as_it_is_pasted() {
    let (_, example) = DOCUMENT.split_once("```toml\n# names of a LAN that pkdns itself knows\n").unwrap();
    let example = example.split_once("```").unwrap().0;
    let mut config: Config = toml::from_str(example).unwrap();
    assert_eq!(config.faults(), []);
    assert_eq!(config.local.hosts_file, [PathBuf::from("/etc/hosts")]);
    let (_directory, _path) = hosts_file(&mut config, "192.168.1.7 desk.lan\n");
    let stage = Stage::set(config).await;
    for (name, record_type, expected) in [
        ("nas.lan.", RecordType::A, "192.168.1.9"),
        ("any.dev.lan.", RecordType::A, "192.168.1.7"),
        ("desk.lan.", RecordType::A, "192.168.1.7"),
        ("printer.lan.", RecordType::CNAME, "nas.lan."),
        ("9.1.168.192.in-addr.arpa.", RecordType::PTR, "nas.lan."),
    ] {
        assert_eq!(stage.first(name, record_type).await.as_deref(), Some(expected), "{name}");
    }
    let reply = stage.ask("printer.lan.", RecordType::A).await;
    let address = reply.answers.last().map(|record| record.data.clone());
    assert_eq!(address, Some(RData::A(Ipv4Addr::new(192, 168, 1, 9).into())));
    assert_eq!(stage.ask("nobody.lan.", RecordType::A).await.code, ResponseCode::NXDomain);
    assert_eq!(stage.upstream.asked(), []);
}
