//! A server with an origin, to which all of this machine are strangers.

use std::{fs, sync::LazyLock};

use hickory_proto::rr::Name;
use pkdns::config::Config;
use pkdns_dht::testing::FakeNetwork;
use pkdns_testing::{
    server::TestServer,
    support::{keypair, records},
};
use tempfile::TempDir;

pub(crate) const ORIGIN: &str = "pk.example.net";

/// A key with the records of [`PACKET`], one with others, one without a packet, one about which the network says nothing.
pub(crate) static KEY: LazyLock<String> = LazyLock::new(|| keypair("alice").public_key().to_z32());
pub(crate) static OTHER: LazyLock<String> = LazyLock::new(|| keypair("bob").public_key().to_z32());
pub(crate) static ABSENT: LazyLock<String> = LazyLock::new(|| keypair("nobody").public_key().to_z32());
pub(crate) static UNREACHABLE: LazyLock<String> = LazyLock::new(|| keypair("dark").public_key().to_z32());

/// What is there besides keys.
const ZONE_FILE: &str = "\
$TTL 600
@       A      192.0.2.1
@       CAA    0 issue \"letsencrypt.org\"
ns1     A      192.0.2.53
ns1     AAAA   2001:db8::53
www     CNAME  @
blog    CNAME  {alice}.key.
gone    CNAME  nothing
out     CNAME  www.example.com.
*.dev   A      192.0.2.8
a.b.c   A      192.0.2.9
old     DNAME  new.example.com.
sub     NS     ns.sub
ns.sub  A      192.0.2.7
";

const PACKET: [&str; 11] = [
    "@ 300 A 192.0.2.1",
    "@ 300 CAA 0 issue \"letsencrypt.org\"",
    "@ 300 NS ns.example.org.",
    "@ 300 HTTPS 1 . alpn=h2",
    "www 300 CNAME {alice}.",
    "home 300 A 192.168.1.1",
    "_acme-challenge 20 TXT \"token\"",
    "_443._tcp 300 TXT \"x\"",
    "_iroh 30 TXT \"relay=https://relay.example./\"",
    "other 300 CNAME {bob}.key.",
    "far 300 CNAME www.example.com.",
];

/// A server that runs as long as this is held, and its zone file.
pub(crate) struct Stage {
    pub(crate) server: TestServer,
    _directory: TempDir,
}

/// A name in the origin with more than 512 bytes of records.
pub(crate) fn large() -> String {
    format!("large.{}.{ORIGIN}", *OTHER)
}

fn named(text: &str) -> String {
    let key = |name: &str| keypair(name).public_key().to_z32();
    text.replace("{alice}", &key("alice")).replace("{bob}", &key("bob"))
}

fn packet(name: &str, lines: &[String]) -> pkdns_dht::signed_packet::SignedPacket {
    let apex = Name::from_ascii(format!("{}.", keypair(name).public_key().to_z32())).expect("a name");
    let records = lines.iter().map(|line| records::record(&named(line), &apex));
    records::packet(&keypair(name), &records.collect::<Result<Vec<_>, _>>().expect("records"))
}

/// Starts a server. `change` has the last word about its configuration.
pub(crate) fn stage(change: impl FnOnce(&mut Config)) -> Stage {
    let directory = tempfile::tempdir().expect("a directory");
    let path = directory.path().join("zone");
    fs::write(&path, named(ZONE_FILE)).expect("a file");
    let mut config: Config = toml::from_str(&format!(
        "access.allow = ['203.0.113.0/24']\nfallback_dns = '192.0.2.254'\n\
         [[origin]]\nname = '{ORIGIN}'\nname_servers = ['ns1.{ORIGIN}', 'ns2.example.org']\nzone_file = '{}'\n",
        path.display()
    ))
    .expect("a configuration");
    change(&mut config);
    let network = FakeNetwork::default();
    network.publish(packet("alice", &PACKET.map(String::from)));
    let text = format!("large 300 TXT \"{0}\" \"{0}\" \"{0}\"", "x".repeat(230));
    network.publish(packet("bob", &["@ 300 A 192.0.2.2".into(), text]));
    network.cut_off(&keypair("dark").public_key());
    let server = TestServer::builder().config(config).network(network).start();
    Stage { server, _directory: directory }
}
