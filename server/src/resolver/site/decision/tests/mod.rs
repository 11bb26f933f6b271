//! Packets, and the site that they lead to.

mod world;

use world::World;

use super::*;

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
                "{bob}. [2001:db8::1]:80 ttl 70",
            ),
            (
                "key alice\nwww 300 CNAME a.{bob}\nkey bob\na 70 CNAME web.example.com\noutside web.example.com 192.0.2.9",
                "www.{alice}.key",
                "www.{alice}. 192.0.2.9:80 ttl 50 others",
            ),
            ("key alice\n@ 300 A 10.0.0.1", "{alice}.key", "NoAddress"),
            ("key alice\n@ 300 TXT a", "{alice}.key", "NoAddress"),
            ("key alice\n@ 300 A 192.0.2.1", "www.{alice}.key", "Unknown"),
            ("denied alice\nkey alice\n@ 300 A 192.0.2.1", "{alice}.key", "Denied"),
            ("key alice\n@ 300 CNAME {alice}", "{alice}.key", "Chain"),
        ],
    );
}
