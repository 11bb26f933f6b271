//! "LAN behind Pi-hole". Pi-hole's resolver is dnsmasq, with the options that Pi-hole writes for it.

use std::{fs, net::SocketAddr};

use pkdns::config::{Cache, Config, Dht};
use pkdns_testing::{dig::Dig, program::KEY, programs, signed_root};

use super::shell::{Machine, Running, block};

const DOCUMENT: &str = include_str!("../../../../docs/lan-resolvers.md");

/// An address as sites at home have it.
const ADDRESS: &str = "192.168.1.9";

/// The command of Pi-hole: it keeps an option, makes a file for dnsmasq of all of them and starts that again.
const PI_HOLE: &str = r#"pihole-FTL() {
    mkdir -p pihole
    printf '%s' "$3" > "pihole/$2"
    list() { [ -e "pihole/$1" ] && tr -d '[]"' < "pihole/$1" | sed 's/, */\n/g' && echo; }
    {
        printf '%s\n' no-resolv localise-queries log-queries bogus-priv cache-size=10000 domain=lan local=/lan/
        printf 'server=/%s/\n' bind onion test localhost invalid
        list dns.upstreams | sed '/^$/d; s/^/server=/'
        [ "$(cat pihole/dns.dnssec 2>/dev/null)" = true ] && printf '%s\n' dnssec 'ANCHOR'
        [ "$(cat pihole/dns.domainNeeded 2>/dev/null)" = true ] && echo domain-needed
        list misc.dnsmasq_lines | sed '/^$/d'
        true
    } > dnsmasq.conf
    ./dnsmasq-service
}
"#;

fn in_document(command: &str) -> String {
    block(DOCUMENT, "sh", command)
}

pub(crate) async fn hour() {
    let (Some(dig), Some(_)) = (Dig::find(), programs::find("dnsmasq", |_| true, "Debian's dnsmasq-base"))
    else {
        return;
    };
    let machine = Machine::new().await;
    let functions = PI_HOLE.replace("ANCHOR", signed_root::DNSMASQ_ANCHOR);
    fs::write(machine.world.path().join("functions"), functions).unwrap();
    fs::create_dir_all("/etc/pihole").unwrap();
    fs::write("/etc/pihole/pihole.toml", "").unwrap();
    machine.publish(ADDRESS);
    let root = signed_root::start().await.address;
    let resolver: SocketAddr = "127.0.0.1:53".parse().unwrap();
    // Nothing in there is asked beyond this machine, and the clock is not looked at.
    let doctor = in_document("# does it work\n").trim_end().replace(
        "pkdns-cli doctor",
        &format!("pkdns-cli doctor --clock http://127.0.0.1:9 --forward {root}"),
    );
    let configuration = block(DOCUMENT, "toml", "# pkdns.toml\n");
    let config = |text: &str| Config {
        fallback_dns: vec![root.into()],
        dht: Dht { bootstrap: machine.world.bootstrap(), ..Dht::default() },
        cache: Cache { path: None, ..Cache::default() },
        ..toml::from_str(text).unwrap()
    };

    machine.is_told("1: nothing runs yet", &doctor, &["nothing listens on 127.0.0.1:53", "start pkdns"]);
    machine.does(&in_document("pihole-FTL --config dns.upstreams"));
    machine.is_told(
        "2: Pi-hole is set up, and pkdns does not run",
        &doctor,
        &["see whether pkdns runs where it sends such names", "pkdns-cli doctor --server"],
    );

    let pkdns = Running::start(config(&configuration)).unwrap();
    let said = machine.types(&doctor).0;
    assert!(
        said.contains("sends names of keys to pkdns") && said.contains("found the new key"),
        "{said}\n{}",
        machine.log()
    );
    for name in [format!("{KEY} A"), format!("{KEY}.key A"), format!("any.{KEY}.key A")] {
        let reply = dig.ask(resolver, &name);
        assert!(reply.status() == "NOERROR" || name.starts_with("any."), "{name}: {reply:?}");
    }
    assert_eq!(dig.ask(resolver, &format!("{KEY}.key A")).data(), [format!("A {ADDRESS}")]);
    assert_eq!(dig.ask(resolver, "example.com A").data(), ["A 192.0.2.1"]);

    machine.is_told(
        "3: \"Never forward non-FQDN queries\" is on",
        &format!("pihole-FTL --config dns.domainNeeded true && {doctor} || true"),
        &["warning", "Never forward non-FQDN queries", "write KEY.key instead of KEY"],
    );
    machine.does("pihole-FTL --config dns.domainNeeded false");
    machine.is_told(
        "4: \"Use DNSSEC\" is on",
        &format!("pihole-FTL --config dns.dnssec true && {doctor}"),
        &["it validates DNSSEC", "server=/key/127.0.0.1#5300"],
    );
    machine.does(&in_document("misc.dnsmasq_lines"));
    let said = machine.types(&doctor).0;
    assert!(said.contains("found the new key"), "{said}");
    assert_eq!(dig.ask(resolver, &format!("{KEY}.key A")).data(), [format!("A {ADDRESS}")]);
    machine.does("pihole-FTL --config dns.dnssec false");

    machine.is_told(
        "5: Pi-hole is told another port",
        &format!("pihole-FTL --config misc.dnsmasq_lines '[]' && pihole-FTL --config dns.upstreams '[\"127.0.0.1#5301\"]' && {doctor}"),
        &["see whether pkdns runs where it sends such names"],
    );
    machine.does(&in_document("pihole-FTL --config dns.upstreams"));
    machine.is_told(
        "6: somebody has switched on protection against rebinding",
        &format!("pihole-FTL --config misc.dnsmasq_lines '[\"stop-dns-rebind\"]' && {doctor} || true"),
        &["rebind-domain-ok=/key/"],
    );
    machine.does("pihole-FTL --config misc.dnsmasq_lines '[]'");
    machine.is_told(
        "7: connect on a machine with Pi-hole",
        "pihole-FTL --config dns.upstreams '[\"127.0.0.1#5399\"]' && pkdns-cli connect --yes --server 127.0.0.1:5300",
        &["this machine runs Pi-hole", "pihole-FTL --config misc.dnsmasq_lines '[\"server=/key/127.0.0.1#5300\"]'"],
    );
    machine.does(&in_document("pihole-FTL --config dns.upstreams"));
    let busy = Running::start(config(&configuration)).err().unwrap();
    assert!(busy.contains("another socket holds this port"), "8: pkdns runs twice: {busy}");
    pkdns.stop().await;

    machine.is_told(
        "9: the upstream of pkdns is Pi-hole",
        &doctor.replace(&format!("--forward {root}"), "--forward 127.0.0.1"),
        &["127.0.0.1:53", "fallback_dns"],
    );
    let looping = Config { fallback_dns: vec![resolver.into()], ..config(&configuration) };
    let pkdns = Running::start(looping).unwrap();
    let reply = dig.ask("127.0.0.1:5300".parse().unwrap(), "example.net A");
    assert_eq!(reply.status(), "SERVFAIL", "9: {reply:?}");
    pkdns.stop().await;

    fs::create_dir_all(machine.world.path().join(".pkdns")).unwrap();
    fs::write(machine.world.path().join(".pkdns/pkdns.toml"), configuration.replace("listen", "listn"))
        .unwrap();
    machine.is_told("10: a misspelt option", &doctor, &["did you mean `listen`?", "pkdns --check"]);
}
