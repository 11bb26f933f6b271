use super::*;

const KEY: &str = "8qhdp5s8jjmxmqam3bpg9kzeg7x8teztuwrfgxw5ikn9z5bt15uy";
const OTHER: &str = "csjbhp9jpbomwh3m5eyrj1py41m8sjpkzzqmzpj5madsi7sc4mto";

fn rules(settings: &str) -> BridgeRules {
    let config = Config { bridge: toml::from_str(settings).unwrap(), ..Config::default() };
    BridgeRules::new(&config, &Suffixes::new(["key", "pk.example.net"]))
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
fn the_bridge_is_never_told_to_connect_to_any_listener_of_the_server() {
    let all = |text: &[&str]| text.iter().map(|text| text.parse().unwrap()).collect::<Vec<SocketAddr>>();
    let mut config = Config { listen: all(&["192.0.2.1:53"]), ..Config::default() };
    (config.doh.enabled, config.doh.listen) = (true, all(&["192.0.2.1:8443", "0.0.0.0:4443"]));
    config.doh.plain_listen = all(&["192.0.2.1:8080", "[::1]:8081"]);
    (config.dot.enabled, config.dot.listen) = (true, all(&["[::]:853"]));
    config.metrics.listen = all(&["192.0.2.1:9100"]);
    config.bridge.listen = all(&["192.0.2.1:9443"]);
    config.bridge.plain_listen = Some(all(&["192.0.2.1:9080"]));
    config.bridge.addresses = vec!["192.0.2.77".parse().unwrap()];
    let suffixes = Suffixes::new(["key"]);
    let rules = BridgeRules::new(&config, &suffixes);
    let is_own = |address: &str| rules.is_own(address.parse().unwrap());
    for port in [53, 8443, 8080, 9100, 9443, 9080] {
        assert!(is_own(&format!("192.0.2.1:{port}")), "{port}");
        assert!(is_own(&format!("[::ffff:192.0.2.1]:{port}")), "{port}");
        // A router sends on what comes to the address that is shown.
        assert!(is_own(&format!("192.0.2.77:{port}")), "{port}");
        assert!(!is_own(&format!("192.0.2.2:{port}")), "{port}");
    }
    // All addresses of this machine are those of a listener that takes all.
    for address in ["127.0.0.1:4443", "127.9.9.9:4443", "[::1]:853", "[::ffff:127.0.0.1]:4443", "[::1]:8081"]
    {
        assert!(is_own(address), "{address}");
    }
    let of_interfaces = getifaddrs().unwrap().filter_map(|interface| interface.address);
    for own in of_interfaces.filter_map(|own| own.as_sockaddr_in().map(|own| own.ip())) {
        assert!(is_own(&format!("{own}:4443")), "{own}");
    }
    for address in ["192.0.2.9:4443", "192.0.2.1:6287", "127.0.0.1:8081", "127.0.0.1:6287"] {
        assert!(!is_own(address), "{address}");
    }
    (config.doh.enabled, config.dot.enabled) = (false, false);
    let rules = BridgeRules::new(&config, &suffixes);
    assert!(!rules.is_own("192.0.2.1:8443".parse().unwrap()), "nothing listens there");
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
