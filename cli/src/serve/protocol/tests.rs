use proptest::prelude::*;

use super::*;

fn addresses(ipv4: Option<&str>, ipv6: Option<&str>) -> ExternalAddresses {
    ExternalAddresses {
        ipv4: ipv4.map(|text| text.parse().unwrap()),
        ipv6: ipv6.map(|text| text.parse().unwrap()),
    }
}

fn families(ipv4: Option<&str>, ipv6: Option<&str>) -> Told {
    let ExternalAddresses { ipv4, ipv6 } = addresses(ipv4, ipv6);
    Told::Families(Families {
        ipv4: ipv4.map_or(Said::Nothing, Said::Address),
        ipv6: ipv6.map_or(Said::Nothing, Said::Address),
        ..Families::default()
    })
}

/// What is meant, as addresses.
fn found(told: Told, client: IpAddr, allow_private: bool) -> Result<ExternalAddresses, ReturnCode> {
    meant(told, client, allow_private).0.map(Change::addresses)
}

fn nonsense(text: &str) -> Told {
    Told::Families(Families { rest: vec![LeftOut::new(text, "is no address")], ..Families::default() })
}

#[test]
fn names_and_addresses_are_read_as_routers_send_them() {
    for (query, told) in [
        ("hostname=a.b&myip=198.51.100.7", families(Some("198.51.100.7"), None)),
        ("myip=198.51.100.7,2001:db8::1&hostname=a.b", families(Some("198.51.100.7"), Some("2001:db8::1"))),
        ("system=dyndns&hostname=a.b&myip=198.51.100.7&wildcard=NOCHG", families(Some("198.51.100.7"), None)),
        ("hostname=a%2Eb&myip=&myipv6=2001%3Adb8%3A%3A1", families(None, Some("2001:db8::1"))),
        ("hostname=a.b&myip=::ffff:198.51.100.7", families(Some("198.51.100.7"), None)),
        ("hostname=a.b", Told::Nothing),
        ("hostname=a.b&myip=", Told::Nothing),
        ("hostname=a.b&myip=1.2.3", nonsense("1.2.3")),
        ("hostname=a.b&myip=198.51.100.7&offline=YES", Told::Offline),
        ("hostname=a.b&offline=NOCHG", Told::Nothing),
        ("hostname=a.b&myipv6=", Told::NothingOfIpv6),
        ("hostname=a.b&myip=&myipv6=", Told::Nothing),
    ] {
        assert_eq!(Update::read(query), Ok(Update { names: vec!["a.b".into()], addresses: told }), "{query}");
    }
    assert_eq!(Update::read("hostname=a,b").unwrap().names, ["a", "b"]);
    for query in ["", "myip=198.51.100.7", "hostname=", "hostname=a,,b"] {
        assert_eq!(Update::read(query), Err(ReturnCode::NotAName), "{query}");
    }
    let names = |count| format!("hostname={}", vec!["a"; count].join(","));
    assert_eq!(Update::read(&names(MAX_NAMES)).unwrap().names.len(), MAX_NAMES);
    assert_eq!(Update::read(&names(MAX_NAMES + 1)), Err(ReturnCode::TooManyNames));
}

#[test]
fn without_an_address_that_of_the_client_is_meant() {
    let client = "198.51.100.9".parse().unwrap();
    assert_eq!(found(Told::Nothing, client, false), Ok(addresses(Some("198.51.100.9"), None)));
    let inner = "192.168.1.1".parse().unwrap();
    assert_eq!(found(Told::Nothing, inner, false), Err(ReturnCode::Private(inner)));
    assert_eq!(found(Told::Nothing, inner, true), Ok(addresses(Some("192.168.1.1"), None)));
    assert_eq!(found(nonsense("x"), client, true), Err(ReturnCode::NoAddress));
    assert_eq!(found(Told::Offline, client, true), Err(ReturnCode::NotOffered));
}

#[test]
fn who_speaks_of_ipv6_alone_does_not_mean_an_address_of_ipv4() {
    let (ipv4, ipv6) = ("198.51.100.9".parse().unwrap(), "2001:db8::9".parse().unwrap());
    assert_eq!(found(Told::NothingOfIpv6, ipv4, false), Err(ReturnCode::NoIpv6));
    assert_eq!(found(Told::NothingOfIpv6, ipv6, false), Ok(addresses(None, Some("2001:db8::9"))));
}

#[test]
fn an_address_is_made_of_a_prefix_and_what_stands_behind_it() {
    let client = "198.51.100.9".parse().unwrap();
    for (myipv6, host, expected) in [
        ("2001:db8:1::/64", Some("::20"), Ok(addresses(None, Some("2001:db8:1::20")))),
        ("2001:db8:1:ff00::/56", Some("0:0:0:3::20"), Ok(addresses(None, Some("2001:db8:1:ff03::20")))),
        // Of a whole address, what is behind the prefix.
        ("2001:db8:1::/64", Some("2001:db8:9:9::20"), Ok(addresses(None, Some("2001:db8:1::20")))),
        ("2001:db8::7,2001:db8:1::/64", Some("::20"), Ok(addresses(None, Some("2001:db8:1::20")))),
        ("2001:db8::7,2001:db8:1::/64", None, Ok(addresses(None, Some("2001:db8::7")))),
        ("2001:db8:1::7/64", Some("::20"), Ok(addresses(None, Some("2001:db8:1::7")))),
        ("2001:db8:1::/64", None, Err(ReturnCode::Prefix("2001:db8:1::/64".parse().unwrap()))),
        ("fd00::/64", Some("::20"), Err(ReturnCode::NoAddress)),
        ("no,2001:db8:1::/64", Some("::20"), Ok(addresses(None, Some("2001:db8:1::20")))),
    ] {
        let Update { addresses: told, .. } = Update::read(&format!("hostname=a&myipv6={myipv6}")).unwrap();
        let host = host.map(|host| host.parse().unwrap());
        let change = meant(told, client, false).0.and_then(|change| change.for_host(host));
        assert_eq!(change.map(Change::addresses), expected, "{myipv6} {host:?}");
    }
}

#[test]
fn a_family_that_is_not_told_stays_as_it_was() {
    let known = addresses(Some("198.51.100.1"), Some("2001:db8::1"));
    let Told::Families(Families { ipv4, ipv6, .. }) = families(None, Some("2001:db8::2")) else { panic!() };
    let merged = Change { ipv4, ipv6, prefix: None }.of(known);
    assert_eq!(merged, addresses(Some("198.51.100.1"), Some("2001:db8::2")));
}

#[test]
fn credentials_are_read_from_basic_authentication() {
    let read = credentials("Basic cm91dGVyOmE6Yg==").unwrap();
    assert_eq!((read.user.as_str(), read.password.as_slice()), ("router", &b"a:b"[..]));
    // Also without its padding, or a part of it.
    for header in
        ["basic cm91dGVyOmE6Yg==", "Basic cm91dGVyOmE6Yg", "Basic  cm91dGVyOmE6Yg=", "Basic cm91dGVyOmE6YmM"]
    {
        let read = credentials(header).unwrap_or_else(|| panic!("{header}"));
        assert!(read.user == "router" && read.password.starts_with(b"a:b"), "{header}");
    }
    for header in [
        "",
        "Basic",
        "Basic !",
        "Bearer cm91dGVyOmE6Yg==",
        "Basic cm91dGVy",
        // One character too few for a byte, and bits that no padding leaves.
        "Basic cm91dGVyOmE6Y",
        "Basic cm91dGVyOmE6Yh",
        "Basic cm91dGVyOmE6Yg===",
    ] {
        assert!(credentials(header).is_none(), "{header}");
    }
}

#[test]
fn a_name_is_a_key_or_below_one() {
    let z32 = "8pinxxgqs41n4aididenw5apqp1urfmzdztr8jt4abrkdn435ewo";
    for name in [z32.to_string(), format!("{z32}.key"), format!("www.{z32}."), z32.to_uppercase()] {
        assert_eq!(key(&name).unwrap().to_z32(), z32, "{name}");
    }
    assert_eq!(key("home.example"), Err(ReturnCode::NotAName));
}

proptest! {
    #[test]
    fn any_request_is_read(query in "[-a-z0-9=&,%:.]{0,80}", header in "\\PC{0,40}") {
        let _ = (Update::read(&query), credentials(&header));
    }
}
