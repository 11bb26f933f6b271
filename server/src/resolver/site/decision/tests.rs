//! Packets, and the site that they lead to.

use std::{collections::HashMap, time::Duration};

use hickory_proto::{
    rr::{RData, rdata::CNAME},
    serialize::binary::{BinEncodable, BinEncoder},
};

use super::*;
use crate::{
    message::absolute_name,
    packets::Found,
    resolver::zone::Zone,
    signed_packet::{Keypair, SignedPacket},
};

const HASH: &str = "d2abde240d7cd3ee6b4b28c54df034b97983a1d16e8a410e4561cb106618e971";

fn keypair(name: &str) -> Keypair {
    let mut seed = [0; 32];
    seed[..name.len()].copy_from_slice(name.as_bytes());
    Keypair::from_secret_key(&seed)
}

/// Replaces `{alice}` with the key of that name, and `{hash}`.
fn filled(text: &str) -> String {
    let mut parts = text.split('{');
    let first = parts.next().unwrap_or_default().to_string();
    parts.fold(first, |text, part| {
        let (name, rest) = part.split_once('}').unwrap();
        let value = if name == "hash" { HASH.into() } else { keypair(name).public_key().to_z32() };
        text + &value + rest
    })
}

/// The other way round, for keys of these names.
fn named(text: &str) -> String {
    ["alice", "bob", "carol"].iter().fold(text.to_string(), |text, name| {
        text.replace(&keypair(name).public_key().to_z32(), &format!("{{{name}}}"))
    })
}

/// Reads `OWNER TTL TYPE DATA`.
fn record(line: &str, zone: &Name) -> Record {
    let mut words = line.splitn(4, ' ').map(str::trim);
    let mut word = || words.next().unwrap();
    let (owner, ttl, record_type, data) = (word(), word(), word(), word());
    let owner = match owner {
        "@" => zone.clone(),
        owner => Name::from_ascii(owner).unwrap().append_domain(zone).unwrap(),
    };
    let data = match record_type {
        "CNAME" => RData::CNAME(CNAME(absolute_name(data).unwrap())),
        other => RData::try_from_str(other.parse().unwrap(), data).unwrap(),
    };
    Record::from_rdata(owner, ttl.parse().unwrap(), data)
}

/// What there is in the world: `key NAME`, with the records of its packet below it, and lines `outside NAME ADDRESS…`.
#[derive(Default)]
struct World {
    packets: HashMap<[u8; 32], Arc<KnownZone>>,
    denied: Vec<[u8; 32]>,
    outside: HashMap<Name, OutsideAddresses>,
}

impl World {
    fn read(text: &str) -> Self {
        let mut world = Self::default();
        let mut keys: Vec<(&str, Vec<String>)> = Vec::new();
        for line in text.lines().map(str::trim).filter(|line| !line.is_empty()) {
            match line.split_once(' ').unwrap() {
                ("key", name) => keys.push((name, Vec::new())),
                ("denied", name) => world.denied.push(keypair(name).public_key().to_bytes()),
                ("outside", rest) => {
                    let mut words = rest.split(' ');
                    let name = absolute_name(words.next().unwrap()).unwrap();
                    let addresses = words.map(|word| word.parse().unwrap()).collect();
                    world.outside.insert(name, OutsideAddresses { addresses, ttl: 50 });
                }
                _ => keys.last_mut().unwrap().1.push(filled(line)),
            }
        }
        for (name, lines) in keys {
            let keypair = keypair(name);
            let zone = absolute_name(&keypair.public_key().to_z32()).unwrap();
            let records: Vec<Record> = lines.iter().map(|line| record(line, &zone)).collect();
            let mut dns = Vec::new();
            let mut encoder = BinEncoder::new(&mut dns);
            encoder.emit_vec(&[0, 0, 0x80, 0, 0, 0, 0, records.len() as u8, 0, 0, 0, 0]).unwrap();
            records.iter().for_each(|record| record.emit(&mut encoder).unwrap());
            let packet = SignedPacket::sign(&keypair, 1_700_000_000_000_000, &dns).unwrap();
            let zone = Zone::parse(&packet);
            let (age, fresh_for, refresh_in) = (Duration::ZERO, Duration::from_secs(300), Duration::MAX);
            let found = Found { packet, age, fresh_for, refresh_in, stale: None };
            world.packets.insert(keypair.public_key().to_bytes(), Arc::new(KnownZone { zone, found }));
        }
        world
    }

    /// Decides until nothing is missing; returns what was decided, and what was needed for it.
    fn decide(&self, wanted: Wanted, name: &str) -> (Result<Decided, SiteError>, Vec<Need>) {
        let (mut at_hand, mut needs) = (AtHand::default(), Vec::new());
        let (name, suffixes) = (absolute_name(&filled(name)).unwrap(), Suffixes::new(["key"]));
        let may_dial = |address: SocketAddr| !crate::access::is_private(address.ip());
        loop {
            let need = match decide(wanted, &name, &at_hand, &suffixes, &may_dial) {
                Ok(decided) => return (Ok(decided), needs),
                Err(Undecided::No(error)) => return (Err(error), needs),
                Err(Undecided::Needs(need)) => need,
            };
            assert!(!needs.contains(&need), "{need:?} is asked for again");
            needs.push(need.clone());
            match need {
                Need::Key(asked) => {
                    let bytes = asked.key.to_bytes();
                    let standing = match self.packets.get(&bytes) {
                        _ if self.denied.contains(&bytes) => Standing::Denied,
                        Some(known) => Standing::Known(known.clone()),
                        None => Standing::Absent,
                    };
                    at_hand.add_key(asked.key, standing);
                }
                Need::Addresses(name) => {
                    let found = self.outside.get(&name).cloned().unwrap_or_default();
                    at_hand.add_outside(name, found);
                }
            }
        }
    }

    fn say(&self, wanted: Wanted, name: &str) -> String {
        match self.decide(wanted, name).0 {
            Err(error) => format!("{error:?}"),
            Ok(Decided { site, ttl, by_others }) => {
                let addresses: Vec<String> = site.addresses.iter().map(ToString::to_string).collect();
                let key = site.proof.key.map(|key| format!(" key {key}")).unwrap_or_default();
                let certificates = match site.proof.certificates.len() {
                    0 => String::new(),
                    count => format!(" tlsa {count}"),
                };
                let others = if by_others { " others" } else { "" };
                let end_point = site.end_point.to_ascii();
                let said =
                    format!("{end_point} {}{key}{certificates} ttl {ttl}{others}", addresses.join(" "));
                named(&said)
            }
        }
    }
}

/// Checks a table of a world, a name in it, and what is decided about that.
fn check(wanted: Wanted, table: &[(&str, &str, &str)]) {
    for (world, name, expected) in table {
        assert_eq!(World::read(world).say(wanted, name), *expected, "{name}\n{world}");
    }
}

#[test]
fn a_site_is_where_an_https_record_leads_to_a_key() {
    check(
        Wanted::Tls,
        &[
            // What a Pubky homeserver publishes.
            (
                "key alice
                 @ 3600 HTTPS 1 . port=6287
                 @ 300 A 192.0.2.1
                 @ 3600 HTTPS 10 homeserver.example.com. key65280=abc",
                "{alice}.key",
                "{alice}. 192.0.2.1:6287 key {alice} ttl 300",
            ),
            (
                "key alice
                 @ 3600 HTTPS 1 . port=6287 ipv4hint=192.0.2.7",
                "{alice}.key",
                "{alice}. 192.0.2.7:6287 key {alice} ttl 3600",
            ),
            // Both families in turn, and the hints only where there are none.
            (
                "key alice
                 @ 200 HTTPS 1 . ipv4hint=192.0.2.7
                 @ 100 A 192.0.2.1
                 @ 100 A 192.0.2.2
                 @ 90 AAAA 2001:db8::1",
                "{alice}.key",
                "{alice}. 192.0.2.1:443 [2001:db8::1]:443 192.0.2.2:443 key {alice} ttl 90",
            ),
            // A name below the key, a wildcard, and a record for another name of the key.
            (
                "key alice
                 * 60 HTTPS 1 . port=8443
                 * 60 A 192.0.2.1",
                "shop.{alice}.key",
                "shop.{alice}. 192.0.2.1:8443 key {alice} ttl 60",
            ),
            (
                "key alice
                 @ 60 HTTPS 1 web.{alice}.key. port=8443
                 web 60 A 192.0.2.1",
                "{alice}.key",
                "web.{alice}. 192.0.2.1:8443 key {alice} ttl 60",
            ),
            // What stands in a packet comes before an alias, also for what the alias would lead to.
            (
                "key alice
                 @ 60 HTTPS 1 .
                 @ 60 CNAME home.example.com
                 outside home.example.com 192.0.2.9",
                "{alice}.key",
                "{alice}. 192.0.2.9:443 key {alice} ttl 50 others",
            ),
        ],
    );
}

#[test]
fn a_cold_key_leads_to_a_hot_one_by_any_alias() {
    let hot = "key bob
               @ 3600 HTTPS 1 . port=6287
               @ 200 A 192.0.2.1";
    for (alias, name, expected) in [
        ("@ 100 CNAME {bob}", "{alice}.key", "{bob}. 192.0.2.1:6287 key {bob} ttl 100"),
        ("@ 100 CNAME {bob}.key", "{alice}.key", "{bob}. 192.0.2.1:6287 key {bob} ttl 100"),
        ("@ 100 HTTPS 0 {bob}.", "{alice}.key", "{bob}. 192.0.2.1:6287 key {bob} ttl 100"),
        ("_pubky 100 HTTPS 0 {bob}.", "_pubky.{alice}.key", "{bob}. 192.0.2.1:6287 key {bob} ttl 100"),
        ("@ 100 HTTPS 1 {bob}.", "{alice}.key", "{bob}. 192.0.2.1:6287 key {bob} ttl 100"),
        // The first record that names a port is about the service that was asked for.
        ("@ 100 HTTPS 1 {bob}. port=8443", "{alice}.key", "{bob}. 192.0.2.1:8443 key {bob} ttl 100"),
    ] {
        let world = format!("{hot}\nkey alice\n{alias}");
        assert_eq!(World::read(&world).say(Wanted::Tls, name), expected, "{alias}");
    }
    check(
        Wanted::Tls,
        &[
            // The hot key has an address alone: the record of the cold one says that the service is there.
            (
                "key alice
                 @ 100 HTTPS 1 {bob}. port=8443
                 key bob
                 @ 200 A 192.0.2.1",
                "{alice}.key",
                "{bob}. 192.0.2.1:8443 key {bob} ttl 100",
            ),
            // An alias to it says nothing of the kind.
            (
                "key alice
                 @ 100 HTTPS 0 {bob}.
                 key bob
                 @ 200 A 192.0.2.1",
                "{alice}.key",
                "NoTls",
            ),
            // A chain of three, each in its own way.
            (
                "key alice
                 www 300 CNAME web.{bob}
                 key bob
                 web 200 HTTPS 0 {carol}.
                 key carol
                 @ 100 HTTPS 1 .
                 @ 400 A 192.0.2.3",
                "www.{alice}.key",
                "{carol}. 192.0.2.3:443 key {carol} ttl 100",
            ),
            // The addresses are those of another key, and the proof is not.
            (
                "key alice
                 @ 300 HTTPS 1 .
                 @ 300 CNAME {bob}
                 key bob
                 @ 70 A 192.0.2.3",
                "{alice}.key",
                "{alice}. 192.0.2.3:443 key {alice} ttl 70",
            ),
        ],
    );
}

#[test]
fn certificates_of_a_signed_packet_are_as_good_as_a_key() {
    check(
        Wanted::Tls,
        &[
            (
                "key alice
                 @ 300 A 192.0.2.1
                 _443._tcp 200 TLSA 3 1 1 {hash}",
                "{alice}.key",
                "{alice}. 192.0.2.1:443 tlsa 1 ttl 200",
            ),
            (
                "key alice
                 @ 300 HTTPS 1 . port=8443
                 @ 300 A 192.0.2.1
                 _443._tcp 300 TLSA 3 1 1 {hash}
                 _8443._tcp 100 TLSA 3 1 1 {hash}
                 _8443._tcp 100 TLSA 3 0 1 {hash}
                 _8443._tcp 100 TLSA 2 0 1 {hash}",
                "{alice}.key",
                "{alice}. 192.0.2.1:8443 key {alice} tlsa 2 ttl 100",
            ),
            // None at the end point, so those of the name that was asked for; and the other way round.
            (
                "key alice
                 www 300 CNAME {bob}
                 _443._tcp.www 200 TLSA 3 1 1 {hash}
                 key bob
                 @ 300 A 192.0.2.1",
                "www.{alice}.key",
                "{bob}. 192.0.2.1:443 tlsa 1 ttl 200",
            ),
            (
                "key alice
                 www 300 CNAME {bob}
                 _443._tcp.www 200 TLSA 3 1 1 {hash}
                 key bob
                 @ 300 A 192.0.2.1
                 _443._tcp 250 TLSA 3 1 1 {hash}
                 _443._tcp 250 TLSA 3 0 1 {hash}",
                "www.{alice}.key",
                "{bob}. 192.0.2.1:443 tlsa 2 ttl 250",
            ),
            // They may be those of another name.
            (
                "key alice
                 @ 300 A 192.0.2.1
                 _443._tcp 200 CNAME _dane.{bob}
                 key bob
                 _dane 100 TLSA 3 1 1 {hash}",
                "{alice}.key",
                "{alice}. 192.0.2.1:443 tlsa 1 ttl 100",
            ),
            // Those of ICANN are nobody's.
            (
                "key alice
                 @ 300 A 192.0.2.1
                 _443._tcp 200 CNAME _dane.example.com",
                "{alice}.key",
                "NoTls",
            ),
            (
                "key alice
                 @ 300 A 192.0.2.1
                 _443._tcp 200 TLSA 2 1 1 {hash}",
                "{alice}.key",
                "NoTls",
            ),
        ],
    );
}

#[test]
fn a_name_of_icann_is_a_site_only_with_a_certificate_that_the_key_has_signed() {
    let outside = "outside site.example.com 192.0.2.4 2001:db8::4";
    for (records, expected) in [
        ("@ 300 CNAME site.example.com", "NoTls"),
        ("@ 300 HTTPS 0 site.example.com.", "NoTls"),
        ("@ 300 HTTPS 1 site.example.com. port=8443", "NoTls"),
        (
            "@ 300 CNAME site.example.com\n_443._tcp 200 TLSA 3 1 1 {hash}",
            "{alice}. 192.0.2.4:443 [2001:db8::4]:443 tlsa 1 ttl 50 others",
        ),
        (
            "@ 300 HTTPS 0 site.example.com.\n_443._tcp 200 TLSA 3 1 1 {hash}",
            "{alice}. 192.0.2.4:443 [2001:db8::4]:443 tlsa 1 ttl 50 others",
        ),
        (
            "@ 300 HTTPS 1 site.example.com. port=8443\n_8443._tcp 200 TLSA 3 1 1 {hash}",
            "{alice}. 192.0.2.4:8443 [2001:db8::4]:8443 tlsa 1 ttl 50 others",
        ),
        ("@ 300 CNAME gone.example.com\n_443._tcp 200 TLSA 3 1 1 {hash}", "NoAddress"),
        // Here the service is the key's own, and the second record is for others.
        (
            "@ 300 HTTPS 1 . port=6287\n@ 300 A 192.0.2.1\n@ 300 HTTPS 10 site.example.com.",
            "{alice}. 192.0.2.1:6287 key {alice} ttl 300",
        ),
    ] {
        let world = World::read(&format!("{outside}\nkey alice\n{records}"));
        assert_eq!(world.say(Wanted::Tls, "{alice}.key"), expected, "{records}");
    }
}

#[test]
fn what_says_nothing_of_tls_is_no_site() {
    check(
        Wanted::Tls,
        &[
            ("key alice\n@ 300 A 192.0.2.1", "{alice}.key", "NoTls"),
            ("key alice\n@ 300 TXT hello", "{alice}.key", "NoTls"),
            ("key alice\n@ 300 A 192.0.2.1", "www.{alice}.key", "Unknown"),
            ("key bob\n@ 300 A 192.0.2.1", "{alice}.key", "Unknown"),
            ("key alice\n@ 300 NS ns.example.com.", "{alice}.key", "NoTls"),
            ("key alice\n@ 300 HTTPS 0 .\n@ 300 A 192.0.2.1", "{alice}.key", "NoTls"),
            ("key alice\n@ 300 HTTPS 1 . port=0\n@ 300 A 192.0.2.1", "{alice}.key", "NoTls"),
            ("key alice\n@ 300 HTTPS 1 . port=25\n@ 300 A 192.0.2.1", "{alice}.key", "NoTls"),
            ("key alice\n@ 300 HTTPS 1 . mandatory=key7 key7=a\n@ 300 A 192.0.2.1", "{alice}.key", "NoTls"),
            ("key alice\n@ 300 HTTPS 1 .", "{alice}.key", "NoAddress"),
            ("key alice\n@ 300 HTTPS 1 .\n@ 300 A 192.168.1.2", "{alice}.key", "NoAddress"),
            ("key alice\n@ 300 HTTPS 1 .\n@ 300 AAAA ::ffff:192.168.1.2", "{alice}.key", "NoAddress"),
            ("key alice\n@ 300 HTTPS 1 . ipv4hint=127.0.0.1", "{alice}.key", "NoAddress"),
            ("denied bob\nkey alice\n@ 300 CNAME {bob}", "{alice}.key", "Denied"),
            ("denied alice\nkey alice\n@ 300 HTTPS 1 .\n@ 300 A 192.0.2.1", "{alice}.key", "Denied"),
        ],
    );
}

#[test]
fn records_are_tried_by_priority_until_one_leads_to_an_address() {
    check(
        Wanted::Tls,
        &[
            (
                "key alice
                 @ 300 HTTPS 3 c.{alice}.
                 @ 300 HTTPS 1 a.{alice}.
                 @ 300 HTTPS 2 b.{alice}. port=8443
                 a 300 A 10.0.0.1
                 b 300 A 192.0.2.2
                 c 300 A 192.0.2.3",
                "{alice}.key",
                "b.{alice}. 192.0.2.2:8443 key {alice} ttl 300",
            ),
            // Where none does, the reason is that of the first.
            (
                "denied carol
                 key alice
                 @ 300 HTTPS 1 a.{alice}.
                 @ 300 HTTPS 2 {carol}.
                 a 300 A 10.0.0.1",
                "{alice}.key",
                "NoAddress",
            ),
        ],
    );
}

#[test]
fn hostile_packets_end_a_decision_and_cost_little() {
    let ring: String = (0..13).map(|at| format!("n{at} 300 CNAME n{}.{{alice}}\n", (at + 1) % 13)).collect();
    let fan: String = (1..12).map(|at| format!("@ 300 HTTPS {at} n{at}.{{bob}}.\n")).collect();
    let here: String = (1..31).map(|at| format!("@ 300 HTTPS {at} . port={at}000\n")).collect();
    let fan_of_fans = |names: &str| -> String {
        names
            .chars()
            .flat_map(|at| names.chars().map(move |to| format!("{at} 300 HTTPS 1 {to}.{{alice}}.\n")))
            .collect()
    };
    let long = format!("{0}.{0}.{0}", "a".repeat(63));
    for (packet, name, expected) in [
        ("@ 300 CNAME {alice}\n".to_string(), "{alice}.key", "Chain"),
        ("@ 300 HTTPS 0 {alice}.\n".into(), "{alice}.key", "Chain"),
        ("a 300 HTTPS 1 b.{alice}.\nb 300 HTTPS 1 a.{alice}.\n".into(), "a.{alice}.key", "Chain"),
        ("a 300 HTTPS 0 b.{alice}.\nb 300 CNAME a.{alice}.\n".into(), "a.{alice}.key", "Chain"),
        (ring, "n0.{alice}.key", "Chain"),
        (format!("{fan}key bob\n@ 300 A 192.0.2.1"), "{alice}.key", "NoAddress"),
        (format!("{here}@ 300 A 10.0.0.1"), "{alice}.key", "NoAddress"),
        (fan_of_fans("abc"), "a.{alice}.key", "NoAddress"),
        // Service where it stands: no circle.
        (
            "@ 300 HTTPS 1 {alice}. port=8443\n@ 300 A 192.0.2.1\n".into(),
            "{alice}.key",
            "{alice}. 192.0.2.1:8443 key {alice} ttl 300",
        ),
        // There is no room for `_443._tcp.` before these names.
        (
            format!("{long} 300 HTTPS 1 .\n{long} 300 A 192.0.2.1\n"),
            &format!("{long}.{{alice}}.key"),
            &format!("{long}.{{alice}}. 192.0.2.1:443 key {{alice}} ttl 300"),
        ),
        (format!("x.{long} 300 A 192.0.2.1\n"), &format!("x.{long}.{{alice}}.key"), "NoTls"),
    ] {
        let world = World::read(&format!("key alice\n{packet}"));
        let (_, needs) = world.decide(Wanted::Tls, name);
        assert!(needs.len() <= 2, "{needs:?}");
        assert_eq!(world.say(Wanted::Tls, name), expected, "{name}\n{packet}");
    }
}

#[test]
fn nothing_is_asked_for_that_is_not_needed() {
    let world = World::read(
        "key alice
         @ 300 HTTPS 1 .
         @ 300 HTTPS 2 {bob}.
         @ 300 HTTPS 3 site.example.com.
         @ 300 A 192.0.2.1",
    );
    assert_eq!(world.decide(Wanted::Tls, "{alice}.key").1.len(), 1);
}

#[test]
fn in_the_clear_a_name_is_where_its_addresses_are() {
    check(
        Wanted::Plain,
        &[
            ("key alice\n@ 300 A 192.0.2.1", "{alice}.key", "{alice}. 192.0.2.1:80 ttl 300"),
            (
                "key alice\nwww 300 CNAME {bob}\nkey bob\n@ 70 AAAA 2001:db8::1",
                "www.{alice}.key",
                "www.{alice}. [2001:db8::1]:80 ttl 70",
            ),
            ("key alice\n@ 300 A 10.0.0.1", "{alice}.key", "NoAddress"),
            ("key alice\n@ 300 TXT a", "{alice}.key", "NoAddress"),
            ("key alice\n@ 300 A 192.0.2.1", "www.{alice}.key", "Unknown"),
            ("denied alice\nkey alice\n@ 300 A 192.0.2.1", "{alice}.key", "Denied"),
            ("key alice\n@ 300 CNAME {alice}", "{alice}.key", "Chain"),
        ],
    );
}
