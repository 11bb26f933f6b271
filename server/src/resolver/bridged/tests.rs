use super::*;

const KEY: &str = "8qhdp5s8jjmxmqam3bpg9kzeg7x8teztuwrfgxw5ikn9z5bt15uy";
const OTHER: &str = "csjbhp9jpbomwh3m5eyrj1py41m8sjpkzzqmzpj5madsi7sc4mto";

fn rules(settings: &str) -> BridgeRules {
    BridgeRules::new(&toml::from_str(settings).unwrap(), &Suffixes::new(["key", "pk.example.net"]))
}

#[test]
fn a_key_exempts_all_names_below_it_and_a_name_those_below_itself() {
    let respelled = format!("{}b", &KEY[..51]);
    for (exempt, name, expected) in [
        (KEY.to_string(), format!("{KEY}.key"), true),
        (KEY.into(), format!("a.b.{KEY}.pk.example.net"), true),
        (KEY.into(), format!("{OTHER}.key"), false),
        (format!("{KEY}.key"), format!("www.{KEY}.pk.example.net"), true),
        (format!("pk:{KEY}"), format!("www.{KEY}.key"), true),
        (KEY.into(), format!("www.{respelled}.key"), true),
        (format!("ssh.{KEY}"), format!("ssh.{KEY}.key"), true),
        (format!("ssh.{KEY}"), format!("a.ssh.{KEY}.key"), true),
        (format!("ssh.{KEY}"), format!("{KEY}.key"), false),
        (format!("ssh.{KEY}"), format!("xssh.{KEY}.key"), false),
        (format!("a.ssh.{KEY}"), format!("ssh.{KEY}.key"), false),
        (format!("ssh.{KEY}"), format!("ssh.{OTHER}.key"), false),
    ] {
        let name = absolute_name(&name).unwrap();
        let Route::PublicKey(asked) = Suffixes::new(["key", "pk.example.net"]).classify(&name) else {
            panic!("{name}");
        };
        let rules = rules(&format!("exempt = ['{exempt}']"));
        assert_eq!(rules.is_exempt(&asked, &name), expected, "{exempt} {name}");
    }
}

#[test]
fn the_bridge_is_never_told_to_connect_to_itself() {
    for (settings, address, expected) in [
        ("listen = '192.0.2.1'", "192.0.2.1:443", true),
        ("listen = '192.0.2.1'", "192.0.2.1:80", true),
        // A server of another kind on the same machine.
        ("listen = '192.0.2.1'", "192.0.2.1:6287", false),
        ("listen = '192.0.2.1'", "192.0.2.2:443", false),
        ("listen = '192.0.2.1:8443'", "192.0.2.1:8443", true),
        // A router sends on what comes to the usual port.
        ("listen = '192.168.1.2:8443'\naddresses = '192.0.2.1'", "192.0.2.1:443", true),
        ("listen = '192.168.1.2:8443'\naddresses = '192.0.2.1'", "192.0.2.1:8443", true),
        ("listen = '0.0.0.0'\naddresses = '192.0.2.1'", "127.0.0.1:443", true),
        ("listen = '0.0.0.0'\naddresses = '192.0.2.1'", "127.0.0.1:6287", false),
        ("listen = '0.0.0.0'\naddresses = '192.0.2.1'", "192.0.2.9:443", false),
        ("listen = '[::]'\naddresses = '2001:db8::1'", "[::1]:443", true),
        ("", "192.0.2.1:443", false),
    ] {
        assert_eq!(rules(settings).is_own(address.parse().unwrap()), expected, "{settings} {address}");
    }
}

#[test]
fn each_family_gets_its_addresses_and_https_what_browsers_can_use() {
    let rules = rules("listen = '0.0.0.0'\naddresses = ['192.0.2.1', '2001:db8::1', '192.0.2.2']");
    let name = absolute_name("www.example").unwrap();
    let said = |record_type| -> Vec<String> {
        let records = rules.records(&name, record_type, 77);
        records.iter().map(|record| format!("{} {} {}", record.name, record.ttl, record.data)).collect()
    };
    assert_eq!(said(RecordType::A), ["www.example. 77 192.0.2.1", "www.example. 77 192.0.2.2"]);
    assert_eq!(said(RecordType::AAAA), ["www.example. 77 2001:db8::1"]);
    assert_eq!(said(RecordType::HTTPS), ["www.example. 77 1 . alpn=h2,http/1.1,"]);
}
