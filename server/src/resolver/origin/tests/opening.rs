//! Origins from their configuration and zone files.

use super::*;

const NAME: &str = "[[origin]]\nname = 'pk.example.net'\n";
const FILE: &str = "[[origin]]\nname = 'pk.example.net'\nzone_file = '{zone}'\n";

fn asked(origins: &Origins, text: &str, record_type: RecordType) -> Vec<String> {
    let asked = name(text);
    lines(&origins.of(&asked).unwrap().from_file(&asked, record_type))
}

#[test]
fn without_name_servers_there_is_one_at_the_addresses_that_are_listened_on() {
    let config = format!("listen = ['192.0.2.1:53', '[2001:db8::1]:53']\n{NAME}");
    let origins = origins(&config, "").unwrap();
    assert_eq!(
        asked(&origins, "pk.example.net", RecordType::NS),
        [
            "NOERROR",
            "pk.example.net. 3600 NS ns.pk.example.net.",
            "additional ns.pk.example.net. 3600 A 192.0.2.1",
            "additional ns.pk.example.net. 3600 AAAA 2001:db8::1",
        ]
    );
    let warnings: Vec<_> = origins.warnings().collect();
    assert_eq!(
        warnings,
        [
            "origin.name_servers: pk.example.net has none, so that it gets ns.pk.example.net at 192.0.2.1 and 2001:db8::1; \
          the zone above has to name the same"
        ]
    );
}

#[test]
fn in_the_place_of_all_addresses_stand_those_that_the_internet_knows_or_an_error_that_names_the_option() {
    // Of the three addresses of this machine one is public.
    let origins = origins(&format!("listen = ['0.0.0.0:53', '[::]:53']\n{NAME}"), "").unwrap();
    let asked = asked(&origins, "ns.pk.example.net", RecordType::A);
    assert_eq!(asked, ["NOERROR", "ns.pk.example.net. 3600 A 192.0.2.53"]);
    for servers in ["", "name_servers = 'ns1.pk.example.net'"] {
        let error = super::origins(&format!("listen = '[::]:53'\n{NAME}{servers}"), "").unwrap_err();
        assert!(error.starts_with("origin.name_servers: ns") && error.contains("`listen`"), "{error}");
        assert!(error.contains("origin.zone_file"), "{error}");
    }
    // Where nobody needs its address there is none.
    let elsewhere = format!("listen = '[::]:53'\n{NAME}name_servers = 'ns.example.org'");
    assert_eq!(super::origins(&elsewhere, "").unwrap().warnings().count(), 0);
}

#[test]
fn what_is_listened_on_at_home_alone_is_warned_of() {
    let origins =
        origins(&format!("listen = '192.168.1.2:53'\n{NAME}name_servers = 'ns1.pk.example.net'"), "");
    let origins = origins.unwrap();
    let warnings: Vec<_> = origins.warnings().collect();
    assert!(matches!(&warnings[..], [one] if one.contains("where the world cannot ask it")), "{warnings:?}");
}

#[test]
fn a_zone_file_has_what_there_is_besides_keys_and_need_not_have_anything() {
    let listen = "listen = '192.0.2.1:53'\n";
    for file in ["", "; nothing yet\n"] {
        let origins = origins(&format!("{listen}{FILE}"), file).unwrap();
        assert_eq!(asked(&origins, "www.pk.example.net", RecordType::A)[0], "NXDOMAIN");
    }
    let file = "$TTL 900\n@ SOA ns1.example.org. admin.example.org. 7 1h 10m 1w 2m\n@ NS ns1.example.org.\n";
    let origins = origins(&format!("{listen}{FILE}"), file).unwrap();
    assert_eq!(origins.warnings().count(), 0);
    let soa = "pk.example.net. 120 SOA ns1.example.org. admin.example.org. 7 3600 600 604800 120";
    assert_eq!(
        asked(&origins, "www.pk.example.net", RecordType::A),
        ["NXDOMAIN", &format!("authority {soa}")]
    );
    assert_eq!(origins.of(&name("pk.example.net")), origins.of(&name("X.PK.example.net")));
    assert_eq!(origins.of(&name("xpk.example.net")), None);
    assert_eq!(origins.of(&name("example.net")), None);
}

#[test]
fn what_cannot_be_in_a_zone_file_is_told_with_its_name_and_what_to_write() {
    let key = keypair("alice").public_key().to_z32();
    let listen = "listen = '192.0.2.1:53'\n";
    for (more, file, part) in [
        ("", format!("www.{key} A 192.0.2.1"), "the name is a key's, and only its packet says"),
        ("", "www A 192.0.2".into(), "line 1, column 7: "),
        ("", "www.example.com. A 192.0.2.1".into(), "it must end in \"pk.example.net.\""),
        ("", "www.pk.example.net A 192.0.2.1".into(), "it needs a dot at the end"),
        ("", "@ CNAME example.com.".into(), "the name of a zone cannot be an alias"),
        ("", "@ DNAME example.com.".into(), "it would rename all keys"),
        ("", "www SOA . . 1 1 1 1 1".into(), "only the name of the origin has one"),
        ("", "@ SOA . . 1 1 1 1 1\n@ SOA . . 2 1 1 1 1".into(), "there is another one already"),
        ("", "@ NSEC pk.example.net. A".into(), "an origin cannot be signed"),
        ("", "www A {external_ipv4}".into(), "are for the zones of keys: write addresses"),
        ("", "www A 192.0.2.1\nwww CNAME x".into(), "a CNAME must be the only record of its name"),
        ("", "$INCLUDE /etc/passwd".into(), "expected a file in the folder of the zone file"),
        ("", "x".repeat(70_000), "larger than 65536 bytes: delegate names"),
        (
            "name_servers = 'ns1.example.org'",
            "@ NS ns2.example.org.".into(),
            "pk.example.net has other name servers in its zone file",
        ),
        (
            "name_servers = ['ns1.pk.example.net', 'ns2.pk.example.net']",
            "".into(),
            "neither ns1.pk.example.net nor ns2.pk.example.net has an address",
        ),
        ("name_servers = 'ns1.pk.example.net'", "ns1 CNAME www".into(), "ns1.pk.example.net is an alias"),
    ] {
        let error = origins(&format!("{listen}{FILE}{more}"), &file).expect_err(&file);
        assert!(error.starts_with("origin.") && error.contains(part), "{file}\n{error}");
    }
    let missing = format!("{listen}{NAME}zone_file = '/nothing/here'");
    let error = origins(&missing, "").unwrap_err();
    assert!(
        error.starts_with("origin.zone_file: cannot read the zone file /nothing/here: No such file"),
        "{error}"
    );
}

#[test]
fn name_servers_in_the_origin_have_the_addresses_of_the_zone_file() {
    let config = format!(
        "listen = '192.0.2.1:53'\n{FILE}name_servers = ['ns2.pk.example.net', 'ns1.pk.example.net', 'ns.example.org']"
    );
    let origins = origins(&config, "ns2 600 A 192.0.2.2\nns2 AAAA 2001:db8::2\n").unwrap();
    assert_eq!(
        asked(&origins, "pk.example.net", RecordType::NS),
        [
            "NOERROR",
            "pk.example.net. 3600 NS ns2.pk.example.net.",
            "pk.example.net. 3600 NS ns1.pk.example.net.",
            "pk.example.net. 3600 NS ns.example.org.",
            "additional ns2.pk.example.net. 600 A 192.0.2.2",
            "additional ns2.pk.example.net. 600 AAAA 2001:db8::2",
            "additional ns1.pk.example.net. 3600 A 192.0.2.1",
        ]
    );
    // The first is that of the SOA record.
    let soa = &asked(&origins, "pk.example.net", RecordType::SOA)[1];
    assert!(
        soa.starts_with("pk.example.net. 3600 SOA ns2.pk.example.net. hostmaster.pk.example.net. 1 "),
        "{soa}"
    );
}

#[test]
fn a_pipe_in_the_place_of_the_zone_file_is_an_error_and_nothing_waits_for_its_writer() {
    let directory = tempfile::tempdir().unwrap();
    let pipe = directory.path().join("pipe");
    nix::unistd::mkfifo(&pipe, nix::sys::stat::Mode::S_IRWXU).unwrap();
    let error = super::origins(&FILE.replace("{zone}", pipe.to_str().unwrap()), "").unwrap_err();
    assert!(error.starts_with("origin.zone_file: ") && error.contains("it is not a file"), "{error}");
}
