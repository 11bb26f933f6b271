//! The whole way, with the programs that people use: `pkdns-cli` publishes, the server answers, `dig` asks.
//!
//! Needs `dig`, and one test Python 3 with the `libtorrent` module. Without them the tests say so and pass, unless
//! `CI=true`.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, UdpSocket},
    process::{Command, Output},
    thread,
    time::{Duration, Instant},
};

use pkdns::{
    config::{self, Config},
    program::testnet::SampleUpstream,
    server::Server,
};
use pkdns_dht::signed_packet::{Keypair, PublicKey};
use pkdns_dht::simulator::Simulator;
use pkdns_testing::{
    dig::{Dig, Reply},
    libtorrent,
    silence::silence,
};
use serde_json::Value;
use tempfile::TempDir;
use tokio_util::sync::{CancellationToken, DropGuard};

const CLI: &str = env!("CARGO_BIN_EXE_pkdns-cli");

/// How long a test waits for what must come.
const LIMIT: Duration = Duration::from_secs(20);

/// Least age in seconds before the server asks for a packet again.
const LEAST_AGE: u64 = 1;

const FIRST_ZONE: &str = "\
$TTL 1
@     IN A      192.0.2.7
@     IN TXT    \"first edition\" \"of two\"
@     IN HTTPS  1 . port=8443
www   IN CNAME  @
blog  IN CNAME  www.example.com.
old   IN A      192.0.2.8
long  3600 IN A 192.0.2.9
";

const SECOND_ZONE: &str = "\
$TTL 1
@     IN A      192.0.2.70
@     IN TXT    \"second edition\"
www   IN CNAME  @
new   IN AAAA   2001:db8::7
long  3600 IN A 192.0.2.9
";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_way_ends_well_on_a_dht_of_mainline_nodes() {
    let Some(dig) = Dig::find() else { return };
    let network = Simulator::with_nodes(10).unwrap();
    let bootstrap = network.bootstrap();
    follow_the_way(dig, bootstrap, network, |_, _, _| {}).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_way_ends_well_on_a_dht_of_libtorrent_nodes() {
    let Some(dig) = Dig::find() else { return };
    let Some(network) = libtorrent::start(Ipv4Addr::LOCALHOST.into(), 12, &[]) else { return };
    let bootstrap = network.bootstrap();
    follow_the_way(dig, bootstrap, network, |network, key, timestamp| {
        let found = network.get(key.as_bytes());
        assert!(found.starts_with(&format!("{timestamp} ")), "libtorrent finds {found}, not {timestamp}");
    })
    .await;
}

/// From a new key to an answer, and on after the network is gone. `look` sees the first packet from inside of the network.
async fn follow_the_way<N>(
    dig: Dig,
    bootstrap: Vec<String>,
    mut network: N,
    look: impl FnOnce(&mut N, &PublicKey, u64),
) {
    let owner = Owner::begin(dig, &bootstrap).await;
    let timestamp = owner.publish_the_first_zone();
    look(&mut network, &owner.key, timestamp);
    owner.every_form_of_the_name_is_answered();
    owner.a_key_that_was_never_published_does_not_exist();
    owner.publish_the_second_zone();
    owner.the_second_zone_is_answered();
    drop(network);
    let _silence = silence(&bootstrap).await;
    owner.the_last_answer_is_served_stale();
    owner.nobody_says_that_another_key_is_absent();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn without_a_dht_a_key_is_a_failure_and_never_absent() {
    let Some(dig) = Dig::find() else { return };
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let silent =
        config::Dht { bootstrap: vec![socket.local_addr().unwrap().to_string()], ..config::Dht::default() };
    let switched_off = config::Dht { enabled: false, ..silent.clone() };
    let owners = [Owner::begin_with(dig.clone(), silent).await, Owner::begin_with(dig, switched_off).await];
    thread::scope(|scope| {
        for owner in &owners {
            scope.spawn(|| owner.nobody_says_that_another_key_is_absent());
        }
    });
    for owner in &owners {
        assert_eq!(owner.ask("example.com A").data(), ["A 192.0.2.1", "A 192.0.2.2"]);
    }
}

/// Somebody with a key, a zone, and a server on the same network.
struct Owner {
    dig: Dig,
    directory: TempDir,
    bootstrap: Vec<String>,
    key: PublicKey,
    server: SocketAddr,
    _upstream: SampleUpstream,
    _stop: DropGuard,
}

impl Owner {
    async fn begin(dig: Dig, bootstrap: &[String]) -> Self {
        Self::begin_with(dig, config::Dht { bootstrap: bootstrap.to_vec(), ..config::Dht::default() }).await
    }

    async fn begin_with(dig: Dig, dht: config::Dht) -> Self {
        let upstream = SampleUpstream::start().await.unwrap();
        let bootstrap = dht.bootstrap.clone();
        let config = Config {
            listen: vec!["127.0.0.1:0".parse().unwrap()],
            fallback_dns: vec![upstream.address().into()],
            dht,
            cache: config::Cache {
                ttl_seconds: LEAST_AGE,
                negative_ttl_seconds: 1,
                ..config::Cache::default()
            },
            ..Config::default()
        };
        let bound = Server::bind(config).unwrap();
        let server = bound.addresses()[0];
        let stop = CancellationToken::new();
        tokio::spawn(bound.run(stop.clone()));

        let directory = tempfile::tempdir().unwrap();
        let mut generate = Command::new(CLI);
        generate.current_dir(&directory).args(["generate", "--json", "--out", "my.seed"]);
        let key = json(&generate.output().unwrap())["key"].as_str().unwrap().parse().unwrap();
        Self { dig, directory, bootstrap, key, server, _upstream: upstream, _stop: stop.drop_guard() }
    }

    /// Returns the packet's timestamp.
    fn publish_the_first_zone(&self) -> u64 {
        let published = json(&self.publish(FIRST_ZONE, &["--json"]));
        assert_eq!(published["key"], self.key.to_z32());
        assert!(published["nodes"].as_u64().unwrap() >= 4, "{published}");
        assert_eq!(published["previous_timestamp"], Value::Null);

        let resolved = json(&self.cli(&["resolve", "--json", &self.key.to_z32()]));
        assert_eq!(resolved["timestamp"], published["timestamp"]);
        assert_eq!(resolved["records"].as_array().unwrap().len(), 7);
        published["timestamp"].as_u64().unwrap()
    }

    fn every_form_of_the_name_is_answered(&self) {
        let key = self.key.to_z32();
        let mixed: String =
            key.char_indices().map(|(at, c)| if at % 2 == 0 { c.to_ascii_uppercase() } else { c }).collect();
        // The server may still be joining.
        eventually(|| self.ask(&format!("{key} A")).status() == "NOERROR");
        for zone in [key.clone(), format!("{key}.key"), mixed.clone(), format!("{mixed}.KeY")] {
            for transport in ["+notcp", "+tcp"] {
                self.the_zone_is_answered(transport, &zone);
            }
        }
    }

    fn the_zone_is_answered(&self, transport: &str, zone: &str) {
        let ask = |question: &str| self.ask(&format!("{transport} {question}"));
        let reply = ask(&format!("{zone} A"));
        assert_eq!(reply.question(), format!("{zone}."));
        assert_eq!(reply.answers(), [format!("{zone}. 1 IN A 192.0.2.7")]);
        assert_eq!(ask(&format!("{zone} TXT")).data(), [r#"TXT "first edition" "of two""#]);
        assert_eq!(ask(&format!("{zone} HTTPS")).data(), ["HTTPS 1 . port=8443"]);

        // The owner is spelled as it was asked for; the target is in the zone that was asked for.
        let reply = ask(&format!("wWw.{zone} A"));
        assert_eq!(reply.question(), format!("wWw.{zone}."));
        assert!(reply.answers()[0].starts_with(&format!("wWw.{zone}. 1 IN CNAME ")), "{reply:?}");
        let data = reply.data().join(", ").to_lowercase();
        assert_eq!(data, format!("a 192.0.2.7, cname {}.", zone.to_lowercase()));

        let chain = ["A 192.0.2.1", "A 192.0.2.2", "CNAME example.com.", "CNAME www.example.com."];
        assert_eq!(ask(&format!("blog.{zone} A")).data(), chain);

        for (question, code) in [(format!("nope.{zone} A"), "NXDOMAIN"), (format!("{zone} MX"), "NOERROR")] {
            let reply = ask(&question);
            assert_eq!((reply.status(), reply.answers().len()), (code, 0), "{reply:?}");
            assert!(has_soa_of(&reply, zone), "{reply:?}");
        }
    }

    fn a_key_that_was_never_published_does_not_exist(&self) {
        let key = Keypair::random().to_z32();
        for zone in [key.clone(), format!("{key}.key")] {
            for name in [zone.clone(), format!("www.{zone}")] {
                let reply = self.ask(&format!("{name} A"));
                assert_eq!(reply.status(), "NXDOMAIN", "{reply:?}");
                assert_eq!((reply.answers().len(), reply.extended_error()), (0, None), "{reply:?}");
                assert!(has_soa_of(&reply, &zone), "{reply:?}");
            }
        }
        let output = self.run_cli(&["resolve", &key]);
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(text(&output.stderr).contains("there is no packet of"), "{output:?}");
    }

    fn publish_the_second_zone(&self) {
        let published = self.publish(SECOND_ZONE, &[]);
        assert!(text(&published.stderr).contains("+ new 1 AAAA 2001:db8::7\n"), "{published:?}");
        assert!(text(&published.stderr).contains("- old 1 A 192.0.2.8\n"), "{published:?}");
        assert!(text(&published.stdout).contains("\npublished with changes: "), "{published:?}");
        assert!(text(&published.stdout).contains(" DHT nodes\n"), "{published:?}");
        let resolved = json(&self.cli(&["resolve", "--json", &format!("new.{}.key", self.key)]));
        assert_eq!(resolved["records"][0]["data"], "2001:db8::7", "{resolved}");
    }

    fn the_second_zone_is_answered(&self) {
        let key = self.key.to_z32();
        // Until the least age has passed, the first one is.
        eventually(|| self.ask(&format!("{key} TXT")).data() == [r#"TXT "second edition""#]);
        assert_eq!(self.ask(&format!("+tcp {key}.key A")).data(), ["A 192.0.2.70"]);
        assert_eq!(self.ask(&format!("new.{key} AAAA")).data(), ["AAAA 2001:db8::7"]);
        assert_eq!(self.ask(&format!("old.{key}.key A")).status(), "NXDOMAIN");
    }

    fn the_last_answer_is_served_stale(&self) {
        let key = self.key.to_z32();
        // It is fresh for another moment.
        eventually(|| self.ask(&format!("{key} A")).extended_error().is_some());
        for (question, data) in [
            (format!("{key} A"), "A 192.0.2.70"),
            (format!("+tcp {key}.key A"), "A 192.0.2.70"),
            (format!("new.{key} AAAA"), "AAAA 2001:db8::7"),
            (format!("long.{key} A"), "A 192.0.2.9"),
        ] {
            let reply = self.ask(&question);
            assert_eq!((reply.status(), reply.extended_error()), ("NOERROR", Some(3)), "{reply:?}");
            assert_eq!(reply.data(), [data]);
            // RFC 8767 section 5: not for longer than half a minute.
            let ttl: u32 = reply.answers()[0].split(' ').nth(1).unwrap().parse().unwrap();
            assert!(ttl <= 30, "{reply:?}");
        }
    }

    /// Neither the server nor the CLI, which cannot publish either. Each waits for a while, so all at once.
    fn nobody_says_that_another_key_is_absent(&self) {
        fs::write(self.directory.path().join("my.zone"), FIRST_ZONE).unwrap();
        let key = Keypair::random().to_z32();
        thread::scope(|scope| {
            for transport in ["+notcp", "+tcp"] {
                for suffix in ["", ".key"] {
                    scope.spawn(move || {
                        let reply =
                            self.ask(&format!("{transport} {}{suffix} A", Keypair::random().to_z32()));
                        assert_eq!(
                            (reply.status(), reply.extended_error()),
                            ("SERVFAIL", Some(22)),
                            "{reply:?}"
                        );
                        assert!(reply.answers().is_empty() && reply.authority().is_empty(), "{reply:?}");
                    });
                }
            }
            for command in [vec!["publish", "my.seed", "my.zone"], vec!["resolve", &key]] {
                scope.spawn(move || {
                    let output = self.run_cli(&command);
                    assert_eq!(output.status.code(), Some(4), "{output:?}");
                    assert!(output.stdout.is_empty(), "{output:?}");
                    assert!(text(&output.stderr).contains("error: the DHT could not be"), "{output:?}");
                });
            }
        });
    }

    fn publish(&self, zone: &str, options: &[&str]) -> Output {
        fs::write(self.directory.path().join("my.zone"), zone).unwrap();
        self.cli(&[&["publish", "my.seed", "my.zone"], options].concat())
    }

    fn ask(&self, question: &str) -> Reply {
        self.dig.ask(self.server, question)
    }

    /// Runs `pkdns-cli` on this network, where it has to succeed.
    fn cli(&self, arguments: &[&str]) -> Output {
        let output = self.run_cli(arguments);
        assert!(output.status.success(), "{arguments:?}: {output:?}");
        output
    }

    fn run_cli(&self, arguments: &[&str]) -> Output {
        let mut command = Command::new(CLI);
        command.current_dir(&self.directory).args(arguments);
        command.args(self.bootstrap.iter().flat_map(|node| ["--bootstrap", node]));
        command.output().unwrap()
    }
}

fn json(output: &Output) -> Value {
    serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {output:?}"))
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).unwrap()
}

/// Whether the authority section is the SOA of `zone`.
fn has_soa_of(reply: &Reply, zone: &str) -> bool {
    let authority = reply.authority();
    let [soa] = authority.as_slice() else { return false };
    soa.to_lowercase().starts_with(&format!("{}. ", zone.to_lowercase())) && soa.contains(" IN SOA ")
}

/// Waits until `condition` holds.
fn eventually(condition: impl Fn() -> bool) {
    let start = Instant::now();
    while !condition() {
        assert!(start.elapsed() < LIMIT, "waited too long");
        thread::sleep(Duration::from_millis(100));
    }
}
