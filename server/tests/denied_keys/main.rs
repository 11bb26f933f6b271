//! Keys that are not answered for: in every form, over every door, from the moment that a list says so.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail where it stands")]

mod doors;
mod lists;

use std::{fs, process::Command};

use hickory_proto::{
    op::ResponseCode,
    rr::{Name, RData, Record, RecordType, rdata::CNAME},
};
use http::{Method, Version};
use pkdns::config::{Config, Origin};
use pkdns_testing::{
    http_client,
    server::{TestServer, Upstream, address, extended_error, keypair, parse, query, record, with_edns},
    support::client::{Question, Transport},
    wait::eventually,
};

const MANUAL: &str = include_str!("../../../docs/operating.md");

/// Code and extended error of an answer.
type Outcome = (ResponseCode, Option<u16>);

const SERVED: Outcome = (ResponseCode::NoError, None);
const BLOCKED: Outcome = (ResponseCode::NXDomain, Some(15));
const CENSORED: Outcome = (ResponseCode::NXDomain, Some(16));
const FILTERED: Outcome = (ResponseCode::NXDomain, Some(17));

/// A whole server, with three keys: the second is an alias of the first.
struct Stage(TestServer);

impl Stage {
    fn set(change: impl FnOnce(&mut Config)) -> Self {
        // An ICANN name that is an alias of the first key.
        let upstream = Upstream::start(|query, response| {
            let name = query.queries[0].name().clone();
            let target = Name::from_ascii(keypair(1).to_z32() + ".").unwrap();
            response.add_answer(Record::from_rdata(name, 300, RData::CNAME(CNAME(target))));
        });
        let server = TestServer::builder().plain_http().upstream(upstream);
        let server = server.change(|config| config.relay.enabled = true).change(change).start();
        let target = Name::from_ascii(format!("www.{}.", keypair(1).to_z32())).unwrap();
        for seed in [1, 3] {
            let records = ["", "www"].map(|name| record(&keypair(seed), name, 300, address(seed)));
            server.publish(&keypair(seed), 1, &records);
        }
        server.publish(&keypair(2), 1, &[record(&keypair(2), "", 300, RData::CNAME(CNAME(target)))]);
        Self(server)
    }

    async fn ask(&self, name: &str) -> Outcome {
        let question = Question::new(Name::from_ascii(name).unwrap(), RecordType::A);
        let reply = question.ask(self.0.address, Transport::Udp).await.unwrap();
        (reply.code, reply.extended_error)
    }

    async fn of(&self, seed: u8) -> Outcome {
        self.ask(&(keypair(seed).to_z32() + ".")).await
    }

    /// Asks about a key until that is what is said.
    async fn wait_for(&self, seed: u8, expected: Outcome) {
        eventually(&format!("key {seed} is {expected:?}"), async || self.of(seed).await == expected).await;
    }

    fn lookups(&self) -> usize {
        self.0.network.lookups()
    }

    async fn http(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> http_client::Reply {
        self.0.request(Version::HTTP_11, method, path, headers, body).await
    }

    /// A line of the page of metrics.
    fn counts(&self, series: &str) -> bool {
        self.0.metrics.encode().unwrap().lines().any(|line| line == series)
    }
}

fn deny(config: &mut Config, option: &str, lists: &[&str]) {
    let lists: Vec<_> = lists.iter().map(|list| list.parse().unwrap()).collect();
    match option {
        "blocked" => config.denied_keys.blocked = lists,
        "censored" => config.denied_keys.censored = lists,
        _ => config.denied_keys.filtered = lists,
    }
}

fn z32(seed: u8) -> String {
    keypair(seed).to_z32()
}

/// The hash of a key, by the command of the manual.
fn hash_by_the_manual(key: &str) -> String {
    let (_, command) = MANUAL.split_once("```sh\n# the hash of a key").expect("a command");
    let (_, command) = command.split_once('\n').unwrap();
    let command = command.split_once("\n```").unwrap().0;
    let sample = "7fmjpcuuzf54hw18bsgi3zihzyh4awseeuq5tmojefaezjbd64cy";
    assert!(command.contains(sample), "{command}");
    let output = Command::new("sh").args(["-c", &command.replace(sample, key)]).output().unwrap();
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).unwrap()
}

#[tokio::test]
async fn a_denied_key_is_denied_in_every_form_and_never_looked_up() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("list");
    // Another spelling of the key, as somebody would copy it out of a link.
    let (letters, last) = (z32(1)[..51].to_uppercase(), if z32(1).ends_with('y') { 'b' } else { 't' });
    fs::write(&path, hash_by_the_manual(&format!("{letters}{last}"))).unwrap();
    let stage = Stage::set(|config| deny(config, "blocked", &[path.to_str().unwrap()]));
    let key = z32(1);
    for name in [
        format!("{key}."),
        format!("{key}.key."),
        format!("www.{}.", key.to_uppercase()),
        format!("_acme-challenge.www.{key}.key."),
        format!("{letters}{last}."),
    ] {
        assert_eq!(stage.ask(&name).await, BLOCKED, "{name}");
    }
    for (record_type, recursion_desired) in [(RecordType::TXT, true), (RecordType::HTTPS, false)] {
        let name = Name::from_ascii(format!("{key}.")).unwrap();
        let question = Question { recursion_desired, ..Question::new(name, record_type) };
        let reply = question.ask(stage.0.address, Transport::Tcp).await.unwrap();
        assert_eq!((reply.code, reply.extended_error), BLOCKED, "{record_type}");
        assert!(matches!(&reply.authorities[..], [soa] if soa.ttl <= 60), "{reply:?}");
    }
    assert_eq!(stage.lookups(), 0);
    assert!(stage.counts("pkdns_denied_keys 1"));
    assert!(stage.counts("pkdns_denied_lookups_total{reason=\"blocked\"} 7"));
    // What leads to it does not end there, and what does not is served.
    assert_eq!(stage.of(2).await, BLOCKED);
    assert_eq!(stage.ask("alias.example.").await, BLOCKED);
    assert_eq!(stage.of(3).await, SERVED);
    assert_eq!(stage.0.upstream.asked().len(), 1);
    assert_eq!(stage.lookups(), 2, "of the second and the third");
}

#[tokio::test]
async fn each_list_has_its_reason_and_the_first_of_several_counts() {
    let directory = tempfile::tempdir().unwrap();
    let path = |name: &str| directory.path().join(name).display().to_string();
    fs::write(path("censored"), z32(1)).unwrap();
    fs::write(path("filtered"), format!("{}\n{}", z32(1), z32(3))).unwrap();
    let socket = directory.path().join("status.sock");
    let stage = Stage::set(|config| {
        deny(config, "censored", &[&path("censored")]);
        deny(config, "filtered", &[&path("filtered"), &path("none")]);
        config.status.path = Some(socket.clone());
    });
    assert_eq!((stage.of(1).await, stage.of(3).await), (CENSORED, FILTERED));
    assert!(stage.counts("pkdns_denied_lists_failed 1"));
    let ask = move || pkdns::edge::status::ask(&socket).unwrap().1;
    let status = tokio::task::spawn_blocking(ask).await.unwrap();
    assert_eq!((status.denied.lookups["censored"], status.denied.lookups["filtered"]), (1, 1));
    let seen: Vec<_> = status.denied.lists.iter().map(|list| (&list.reason[..], list.keys)).collect();
    assert_eq!(seen, [("censored", 1), ("filtered", 2), ("filtered", 0)]);
    assert!(pkdns::edge::status::table(&status).contains("! the deny list"), "{status:?}");
}

#[tokio::test]
async fn no_answer_of_before_is_given_when_a_list_has_changed() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("list");
    fs::write(&path, "# nothing yet\n").unwrap();
    let stage = Stage::set(|config| deny(config, "blocked", &[path.to_str().unwrap()]));
    for _ in 0..2 {
        assert_eq!([stage.of(1).await, stage.of(2).await, stage.of(3).await], [SERVED; 3]);
        assert_eq!(stage.ask("alias.example.").await, SERVED);
    }
    let (lookups, asked) = (stage.lookups(), stage.0.upstream.asked().len());
    assert_eq!((lookups, asked), (3, 1), "answers come from the cache");
    fs::write(&path, z32(1)).unwrap();
    stage.wait_for(1, BLOCKED).await;
    assert_eq!((stage.of(2).await, stage.ask("alias.example.").await), (BLOCKED, BLOCKED));
    // The denial is kept as well, and ends as soon.
    assert_eq!((stage.of(1).await, stage.of(3).await), (BLOCKED, SERVED));
    fs::write(&path, "").unwrap();
    stage.wait_for(1, SERVED).await;
    assert_eq!((stage.of(2).await, stage.ask("alias.example.").await), (SERVED, SERVED));
    assert_eq!(stage.lookups(), lookups, "packets were there all the time");
}

/// Who has no leave to ask for anything else.
#[tokio::test]
async fn an_origin_denies_a_key_with_its_own_authority() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("list");
    fs::write(&path, z32(1)).unwrap();
    let stage = Stage::set(|config| {
        deny(config, "blocked", &[path.to_str().unwrap()]);
        config.access.allow = vec!["192.0.2.0/24".parse().unwrap()];
        let (name, name_servers) = ("pk.example.net".into(), vec!["ns1.example.com".into()]);
        config.origin = vec![Origin { name, name_servers, ..Origin::default() }];
    });
    let ask = async |seed: u8| {
        let name = format!("www.{}.pk.example.net", z32(seed));
        let request = with_edns(query(&name, RecordType::A), false);
        stage.0.send(&request).await
    };
    let reply = ask(1).await;
    let denied = parse(&reply);
    assert_eq!(denied.metadata.response_code, ResponseCode::NXDomain);
    assert!(denied.metadata.authoritative);
    assert_eq!(denied.authorities[0].name.to_ascii(), "pk.example.net.");
    assert_eq!(extended_error(&reply), Some(15));
    assert_eq!(stage.lookups(), 0);
    assert_eq!(parse(&ask(3).await).metadata.response_code, ResponseCode::NoError);
}
