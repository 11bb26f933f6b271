//! A server whose configuration changes, and those whom it may ask.

use std::{
    collections::BTreeSet,
    fs,
    net::{Ipv4Addr, SocketAddr},
    ops::Deref,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use hickory_proto::rr::{
    Name, RData,
    rdata::{A, HTTPS, NS, SVCB},
};
use pkdns::{
    config::{Config, ConfigError, ConfigFile},
    server::{ReloadError, Reloaded},
};
use pkdns_dht::{signed_packet::Keypair, testing::FakeNetwork};
use pkdns_testing::{
    authority::Authority,
    server::{TestServer, Upstream, any_port, keypair, record, signed},
};
use tempfile::TempDir;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::collector::Collector;

/// Served by every stage unless it says otherwise.
const BASE: &str = "listen = '127.0.0.1:0'\nfallback_dns = '{upstream}'\nnames.suffixes = ['key']";

/// Those whom servers may ask, and files that configurations may name. `{name}` in a configuration stands for one.
pub(crate) struct World {
    upstream: Upstream,
    other: Upstream,
    private: Upstream,
    name_server: Upstream,
    /// An upstream over TLS, certified by an authority of the test.
    secure: TestServer,
    /// By the names of their sockets in the directory, without `.sock`.
    pub(crate) collectors: [(&'static str, Collector); 2],
    pub(crate) directory: TempDir,
    _stop: DropGuard,
}

/// A server in this world.
pub(crate) struct Stage {
    pub(crate) world: Arc<World>,
    server: TestServer,
    listening: Mutex<Vec<(&'static str, SocketAddr)>>,
    /// What the configuration is made of.
    table: Mutex<toml::Table>,
}

impl Deref for Stage {
    type Target = TestServer;

    fn deref(&self) -> &TestServer {
        &self.server
    }
}

/// The key that is published: an address, a private one at `in`, name servers at `sub`, and a site over HTTPS at `site`.
pub(crate) fn key() -> Keypair {
    keypair(1)
}

impl World {
    pub(crate) async fn new() -> Arc<Self> {
        let directory = tempfile::tempdir().unwrap();
        let authority = Authority::new();
        let write = |name: &str, text: &str| fs::write(directory.path().join(name), text).unwrap();
        write("authority.pem", &authority.pem);
        for name in ["a", "b"] {
            authority.issue_to(directory.path(), name);
        }
        write("hosts", "192.168.1.10 www.example\n");
        write("denied", &key().to_z32());
        let stop = CancellationToken::new();
        let path = |name: &str| Some(directory.path().join(name));
        let secure = TestServer::builder().change(|config| {
            (config.dot.enabled, config.dot.listen) = (true, vec![any_port()]);
            (config.dot.cert_path, config.dot.key_path) = (path("a.pem"), path("a.key"));
            config.local.records = vec!["www.example A 192.0.2.88".into()];
        });
        let collector =
            |name| (name, Collector::start(&directory.path().join(format!("{name}.sock")), &stop));
        Arc::new(Self {
            upstream: Upstream::answering(Ipv4Addr::new(192, 0, 2, 53)),
            other: Upstream::answering(Ipv4Addr::new(192, 0, 2, 99)),
            private: Upstream::answering(Ipv4Addr::new(10, 0, 0, 5)),
            name_server: Upstream::answering(Ipv4Addr::new(192, 0, 2, 77)),
            secure: secure.start(),
            collectors: ["one", "two"].map(collector),
            directory,
            _stop: stop.drop_guard(),
        })
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// How often somebody asked the usual upstream.
    pub(crate) fn asked(&self) -> usize {
        self.upstream.asked().len()
    }

    fn fill(&self, text: &str) -> String {
        [
            ("upstream", self.upstream.address.to_string()),
            ("other", self.other.address.to_string()),
            ("private", self.private.address.to_string()),
            ("ns_port", self.name_server.address.port().to_string()),
            ("secure", self.secure.tls().to_string()),
            ("dir", self.directory.path().display().to_string()),
        ]
        .iter()
        .fold(text.to_owned(), |text, (name, value)| text.replace(&format!("{{{name}}}"), value))
    }
}

impl Stage {
    /// `text` is added to what every stage serves.
    pub(crate) async fn set(world: &Arc<World>, text: &str) -> Self {
        let mut table = parse(&world.fill(BASE));
        merge(&mut table, parse(&world.fill(text)));
        let network = FakeNetwork::default();
        publish(&network);
        let server = TestServer::builder().config(config_of(&table).unwrap()).network(network).start();
        let listening = Mutex::new(server.listening.clone());
        Self { world: world.clone(), server, listening, table: Mutex::new(table) }
    }

    /// Adds `text` to the configuration; `-` in place of a value takes an option out.
    pub(crate) async fn reload(&self, text: &str) -> Result<Reloaded, ReloadError> {
        let mut table = self.table.lock().unwrap().clone();
        merge(&mut table, parse(&self.world.fill(text)));
        let reloaded = self.reloads.reload(config_of(&table)).await?;
        *self.table.lock().unwrap() = table;
        self.listening.lock().unwrap().clone_from(&reloaded.listening);
        Ok(reloaded)
    }

    /// Has the server read this text as its configuration.
    pub(crate) async fn reload_text(&self, text: &str) -> Result<Reloaded, ReloadError> {
        let read = ConfigFile::parse(Path::new("pkdns.toml"), text).and_then(ConfigFile::check);
        self.reloads.reload(read).await
    }

    /// What is listened for with this protocol.
    pub(crate) fn all(&self, protocol: &str) -> Vec<SocketAddr> {
        let listening = self.listening.lock().unwrap();
        listening.iter().filter(|(other, _)| *other == protocol).map(|(_, address)| *address).collect()
    }

    pub(crate) fn address(&self, protocol: &str) -> SocketAddr {
        self.all(protocol).first().copied().unwrap_or_else(|| panic!("no {protocol}"))
    }

    pub(crate) fn lookups(&self) -> usize {
        self.network.lookups()
    }
}

fn publish(network: &FakeNetwork) {
    let key = key();
    let server = Name::from_ascii(format!("ns.{}.", key.to_z32())).unwrap();
    let a = |a, b, c, d| RData::A(A::new(a, b, c, d));
    let records = [
        record(&key, "", 300, a(192, 0, 2, 1)),
        record(&key, "in", 300, a(10, 0, 0, 1)),
        record(&key, "sub", 300, RData::NS(NS(server))),
        record(&key, "ns", 300, a(127, 0, 0, 1)),
        record(&key, "site", 300, a(192, 0, 2, 6)),
        record(&key, "site", 300, RData::HTTPS(HTTPS(SVCB::new(1, Name::root(), Vec::new())))),
    ];
    network.publish(signed(&key, 1, &records));
    for (seed, ttl) in [(2, 300), (102, 300), (3, 1), (103, 1)] {
        let key = keypair(seed);
        network.publish(signed(&key, 1, &[record(&key, "", ttl, a(192, 0, 2, seed))]));
    }
}

fn parse(text: &str) -> toml::Table {
    text.parse().unwrap_or_else(|error| panic!("{text}: {error}"))
}

fn config_of(table: &toml::Table) -> Result<Config, ConfigError> {
    ConfigFile::parse(Path::new("pkdns.toml"), &toml::to_string(table).unwrap())?.check()
}

fn merge(table: &mut toml::Table, more: toml::Table) {
    for (name, value) in more {
        match (table.get_mut(&name), value) {
            (_, toml::Value::String(text)) if text == "-" => drop(table.remove(&name)),
            (Some(toml::Value::Table(section)), toml::Value::Table(more)) => merge(section, more),
            (_, value) => drop(table.insert(name, value)),
        }
    }
}

/// The names of all options that a configuration sets.
pub(crate) fn names_of(config: &Config) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for (name, value) in toml::Table::try_from(config).unwrap() {
        match value {
            toml::Value::Table(section) => {
                names.extend(section.keys().map(|option| format!("{name}.{option}")))
            }
            _ => drop(names.insert(name)),
        }
    }
    names
}
