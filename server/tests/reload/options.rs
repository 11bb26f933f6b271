//! The table of all options: each is changed, and seen to act or said to need a restart.

use std::collections::BTreeSet;

use hickory_proto::rr::RecordType;
use pkdns::config::{Config, TEMPLATE};

use super::{
    limits, logs,
    probes::{Probe, asks, asks_itself, listening, shows},
    program,
    stage::{Stage, World, key},
    web,
};

/// One change.
pub(crate) struct Row {
    /// The options that it is about.
    pub(crate) options: &'static [&'static str],
    /// What is added to the configuration of the start, and by the reload.
    pub(crate) before: String,
    pub(crate) after: String,
    pub(crate) look: [Probe; 2],
    /// What is seen before and after.
    pub(crate) seen: [&'static str; 2],
}

/// The same look before and after.
pub(crate) fn row(
    options: &'static [&'static str],
    before: impl Into<String>,
    after: impl Into<String>,
    look: impl Fn() -> Probe,
    seen: [&'static str; 2],
) -> Row {
    Row { options, before: before.into(), after: after.into(), look: [look(), look()], seen }
}

/// Changes that need a restart.
const RESTART: [(&str, &str); 18] = [
    ("dht.bootstrap", "dht.bootstrap = ['127.0.0.1:6881']"),
    ("dht.relays", "dht.relays = ['https://relay.example']"),
    ("dht.enabled", "dht.enabled = false"),
    ("dht.max_datagrams_per_second", "dht.max_datagrams_per_second = 7"),
    ("dht.max_nodes", "dht.max_nodes = 512"),
    ("dht.nodes_path", "dht.nodes_path = '{dir}/nodes'"),
    ("cache.path", "cache.path = '{dir}/packets'"),
    ("cache.disk_megabytes", "cache.disk_megabytes = 7"),
    ("cache.redis", "cache.redis = 'redis://127.0.0.1'"),
    (
        "acme.enabled",
        "acme.enabled = true\ncertificate.names = ['dns.example']\ndoh.plain_listen = ['127.0.0.1:0']",
    ),
    ("acme.directory", "acme.directory = 'https://127.0.0.1/directory'"),
    ("acme.contact", "acme.contact = 'mailto:admin@example.com'"),
    ("acme.challenge", "acme.challenge = 'http-01'"),
    ("acme.profile", "acme.profile = 'shortlived'"),
    ("acme.ca_path", "acme.ca_path = '{dir}/authority.pem'"),
    ("log.format", "log.format = 'json'"),
    ("memory.unread_megabytes", "memory.unread_megabytes = 7"),
    ("status.path", "status.path = '{dir}/status.sock'"),
];

/// A bridge. The addresses of documents may be those of the network that this machine is in.
pub(crate) const BRIDGE: &str =
    "certificate.path = '{dir}/bridge'\nbridge.listen = ['127.0.0.1:0']\ndelegation.allow_private = true\n";

/// What no test here sees: a store comes an hour after the question, and a list is fetched again after a minute at least.
/// `packets::tests` and `denied` have their clocks moved by hand.
const ELSEWHERE: [&str; 2] = ["dht.keep_alive_per_hour", "denied_keys.refresh_seconds"];

fn rows() -> Vec<Row> {
    let www = || asks("www.example", RecordType::A);
    let usual = "NoError 192.0.2.53";
    let key = key().to_z32();
    let of_key = |name: &str| format!("{name}.{key}");
    let delegated = |before: &str| {
        format!(
            "delegation.enabled = true\ndelegation.allow_private = true\ndelegation.port = {{ns_port}}\n{before}"
        )
    };
    let encrypted = "doh.cert_path = '{dir}/a.pem'\ndoh.key_path = '{dir}/a.key'\n";
    let dot = "doh.cert_path = '{dir}/a.pem'\ndoh.key_path = '{dir}/a.key'\ndot.enabled = true\ndot.listen = '127.0.0.1:0'\n";
    let others = "dot.cert_path = '{dir}/b.pem'\ndot.key_path = '{dir}/b.key'";
    let both = "listen = ['127.0.0.1:0', '127.0.0.2:0']";
    let bridge = format!("{BRIDGE}bridge.addresses = ['192.0.2.7']\n");
    let site = || asks(format!("site.{key}.key"), RecordType::A);
    let mut rows = vec![
        row(&["listen"], "", both, || listening("udp"), ["1", "2"]),
        row(&["fallback_dns"], "", "fallback_dns = '{other}'", www, [usual, "NoError 192.0.2.99"]),
        row(
            &["forward"],
            "",
            "forward = [{ zone = 'example', to = '{other}' }]",
            www,
            [usual, "NoError 192.0.2.99"],
        ),
        row(
            &["origin"],
            "",
            "origin = [{ name = 'pk.example', name_servers = 'ns.example' }]",
            || asks(format!("{key}.pk.example"), RecordType::A),
            [usual, "NoError 192.0.2.1"],
        ),
        row(
            &["fallback_ca_path"],
            "fallback_dns = 'tls://localhost@{secure}'",
            "fallback_ca_path = '{dir}/authority.pem'",
            www,
            ["ServFail", "NoError 192.0.2.88"],
        ),
        row(
            &["names.suffixes"],
            "",
            "names.suffixes = ['key', 'pk']",
            || asks(format!("{key}.pk"), RecordType::A),
            [usual, "NoError 192.0.2.1"],
        ),
        row(
            &["names.keep_browsers"],
            "",
            "names.keep_browsers = true",
            || asks("use-application-dns.net", RecordType::A),
            [usual, "NXDomain"],
        ),
        row(
            &["local.records"],
            "",
            "local.records = ['www.example A 192.168.1.9']",
            www,
            [usual, "NoError 192.168.1.9"],
        ),
        row(
            &["local.hosts_file"],
            "",
            "local.hosts_file = '{dir}/hosts'",
            www,
            [usual, "NoError 192.168.1.10"],
        ),
        row(&["local.zone"], "", "local.zone = ['example']", www, [usual, "NXDomain"]),
        row(&["access.allow"], "", "access.allow = ['192.0.2.0/24']", www, [usual, "Refused"]),
        row(&["access.deny"], "", "access.deny = ['127.0.0.0/8']", www, [usual, "Refused"]),
        row(
            &["delegation.enabled"],
            delegated("").replace("enabled = true", "enabled = false"),
            "delegation.enabled = true",
            || asks(of_key("www.sub"), RecordType::A),
            ["NXDomain", "NoError 192.0.2.77"],
        ),
        row(
            &["delegation.port"],
            delegated("").replace("{ns_port}", "9"),
            "delegation.port = {ns_port}",
            || asks(of_key("www.sub"), RecordType::A),
            ["ServFail", "NoError 192.0.2.77"],
        ),
        row(
            &["delegation.allow_private"],
            delegated("").replace("allow_private = true", "allow_private = false"),
            "delegation.allow_private = true",
            || asks(of_key("www.sub"), RecordType::A),
            ["ServFail", "NoError 192.0.2.77"],
        ),
        row(
            &["rebind_protection.icann"],
            "fallback_dns = '{private}'",
            "rebind_protection.icann = true",
            www,
            ["NoError 10.0.0.5", "NoError"],
        ),
        row(
            &["rebind_protection.keys"],
            "",
            "rebind_protection.keys = true",
            || asks(of_key("in"), RecordType::A),
            ["NoError 10.0.0.1", "NoError"],
        ),
        row(
            &["rebind_protection.exempt"],
            "fallback_dns = '{private}'\nrebind_protection.icann = true",
            "rebind_protection.exempt = ['example']",
            www,
            ["NoError", "NoError 10.0.0.5"],
        ),
        row(
            &["identity.version"],
            "",
            "identity.version = 'one'",
            || asks_itself("version.bind"),
            ["Refused", "NoError one"],
        ),
        row(
            &["identity.id"],
            "",
            "identity.id = 'two'",
            || asks_itself("id.server"),
            ["Refused", "NoError two"],
        ),
        row(
            &["doh.enabled"],
            format!("{encrypted}doh.listen = '127.0.0.1:0'"),
            "doh.enabled = true",
            || listening("https"),
            ["0", "1"],
        ),
        row(
            &["doh.listen"],
            format!("{encrypted}doh.enabled = true\ndoh.listen = '127.0.0.1:0'"),
            "doh.listen = ['127.0.0.1:0', '127.0.0.2:0']",
            || listening("https"),
            ["1", "2"],
        ),
        row(
            &["doh.cert_path", "doh.key_path"],
            format!("{encrypted}doh.enabled = true\ndoh.listen = '127.0.0.1:0'"),
            "doh.cert_path = '{dir}/b.pem'\ndoh.key_path = '{dir}/b.key'",
            || shows("https"),
            ["a", "b"],
        ),
        row(
            &["dot.enabled"],
            dot.replace("enabled = true", "enabled = false"),
            "dot.enabled = true",
            || listening("tls"),
            ["0", "1"],
        ),
        row(
            &["dot.listen"],
            dot,
            "dot.listen = ['127.0.0.1:0', '127.0.0.2:0']",
            || listening("tls"),
            ["1", "2"],
        ),
        row(&["dot.cert_path", "dot.key_path"], dot, others, || shows("tls"), ["a", "b"]),
        row(
            &["doh.plain_listen"],
            "",
            "doh.plain_listen = ['127.0.0.1:0']",
            || listening("http"),
            ["0", "1"],
        ),
        row(&["metrics.listen"], "", "metrics.listen = ['127.0.0.1:0']", || listening("metrics"), ["0", "1"]),
        row(
            &["bridge.listen"],
            "certificate.path = '{dir}/bridge'",
            "bridge.listen = ['127.0.0.1:0']",
            || listening("bridge"),
            ["0", "1"],
        ),
        row(
            &["bridge.addresses"],
            &bridge,
            "bridge.addresses = ['192.0.2.8']",
            site,
            ["NoError 192.0.2.7", "NoError 192.0.2.8"],
        ),
        row(
            &["bridge.exempt"],
            &bridge,
            format!("bridge.exempt = ['{key}.key']"),
            site,
            ["NoError 192.0.2.7", "NoError 192.0.2.6"],
        ),
        row(
            &["bridge.clients_of"],
            &bridge,
            "bridge.clients_of = ['https']",
            site,
            ["NoError 192.0.2.7", "NoError 192.0.2.6"],
        ),
        row(
            &["bridge.plain_listen"],
            BRIDGE,
            "bridge.plain_listen = ['127.0.0.1:0']",
            || listening("bridge-http"),
            ["0", "1"],
        ),
    ];
    rows.extend([
        denied(&["denied_keys.blocked"], "blocked"),
        denied(&["denied_keys.censored"], "censored"),
        denied(&["denied_keys.filtered"], "filtered"),
    ]);
    rows.extend(limits::rows());
    rows.extend(logs::rows());
    rows.extend(web::rows());
    rows
}

/// A key that has been answered for comes on a list.
fn denied(options: &'static [&'static str], reason: &str) -> Row {
    let list = format!("denied_keys.{reason} = '{{dir}}/denied'");
    row(options, "", list, || asks(key().to_z32(), RecordType::A), ["NoError 192.0.2.1", "NXDomain"])
}

/// Every option, whether or not it has a default.
fn all_options() -> BTreeSet<String> {
    let mut names = super::stage::names_of(&Config::default());
    let mut section = "";
    for line in TEMPLATE.lines() {
        if let Some(header) = line.strip_prefix('[') {
            section = header.trim_end_matches(']');
        } else if let Some((name, _)) = line.trim_start_matches("# ").split_once(" = ")
            && !name.contains(' ')
            && let full = if section.is_empty() { name.to_owned() } else { format!("{section}.{name}") }
            // Those of [[forward]] and [[origin]] are their own, and one is an example.
            && ![
                "zone",
                "to",
                "name",
                "name_servers",
                "zone_file",
                "allow_private",
                "lookups_per_minute",
                "doh.port",
            ]
            .contains(&full.as_str())
        {
            names.insert(full);
        }
    }
    names
}

#[test]
fn every_option_is_in_the_table() {
    let acting = rows();
    let listed = acting.iter().flat_map(|row| row.options).chain(&ELSEWHERE).chain(&program::SEEN);
    let listed: BTreeSet<String> =
        listed.copied().chain(RESTART.map(|(option, _)| option)).map(str::to_owned).collect();
    assert_eq!(listed, all_options());
}

#[tokio::test(flavor = "multi_thread")]
async fn each_option_acts_when_it_changes() {
    let world = World::new().await;
    let mut faults = Vec::new();
    for Row { options, before, after, look, seen } in rows() {
        let stage = Stage::set(&world, &before).await;
        let first = look[0](&stage).await;
        let reloaded = stage.reload(&after).await.unwrap_or_else(|error| panic!("{options:?}: {error}"));
        let second = look[1](&stage).await;
        let is_named = options.iter().all(|option| reloaded.changes.at_once.iter().any(|one| one == option));
        if [first.as_str(), second.as_str()] != seen
            || !is_named
            || !reloaded.changes.after_restart.is_empty()
        {
            faults
                .push(format!("{options:?}: {first:?} then {second:?} for {seen:?}; {:?}", reloaded.changes));
        }
    }
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[tokio::test(flavor = "multi_thread")]
async fn each_other_option_is_said_to_need_a_restart_each_time() {
    let world = World::new().await;
    for (option, change) in RESTART {
        let before = "acme.directory = 'https://127.0.0.1/other'\nacme.challenge = 'tls-alpn-01'";
        let stage = Stage::set(&world, before).await;
        for _ in 0..2 {
            let reloaded = stage.reload(change).await.unwrap_or_else(|error| panic!("{option}: {error}"));
            assert_eq!(reloaded.changes.after_restart, [option]);
        }
        // What is as it was at the start needs none.
        let undo = before.lines().find(|line| line.starts_with(option)).map(str::to_owned);
        let undone = stage.reload(&undo.unwrap_or_else(|| format!("{option} = '-'"))).await.unwrap();
        assert_eq!(undone.changes.after_restart, [""; 0], "{option}");
    }
}

/// The manual's list of what needs a restart is that of the function.
#[test]
fn the_manual_tells_what_needs_a_restart() {
    let manual = include_str!("../../../docs/operating.md");
    let section = manual.split("### Reload").nth(1).expect("a section").split("\n## ").next().unwrap();
    let rows =
        section.lines().filter_map(|line| line.strip_prefix("| `")).filter(|row| row.contains("| restart |"));
    let named: BTreeSet<&str> = rows
        .flat_map(|row| row.split(" | ").next().unwrap_or_default().split('`'))
        .filter(|name| name.contains('.'))
        .collect();
    assert_eq!(named, RESTART.iter().map(|(option, _)| *option).collect());
}
