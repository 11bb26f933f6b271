//! Addresses that are filled in.

use super::*;

const BOTH: &str = "@ A {external_ipv4} ; {external_ipv6}\n@ AAAA {external_ipv6}\n";

fn filled(text: &str, addresses: ExternalAddresses) -> Result<Vec<String>, String> {
    let records = from_bytes(text.as_bytes()).and_then(|file| file.records(&key(), &addresses));
    let records = records.map_err(|error| error.to_string())?;
    let shown = records::read(&packet::compose(&records, &key()).unwrap(), &key());
    Ok(shown.iter().map(TextRecord::to_string).collect())
}

fn addresses() -> ExternalAddresses {
    ExternalAddresses {
        ipv4: Some([192, 0, 2, 7].into()),
        ipv6: Some([0x2001, 0xdb8, 0, 0, 0, 0, 0, 7].into()),
    }
}

#[test]
fn macros_are_replaced_in_data_and_nowhere_else() {
    let text = format!(
        "{BOTH}@ HTTPS 1 . ipv4hint={{external_ipv4}},192.0.2.8 port=1\n\
         @ TXT \"{{external_ipv4}}\" \\{{external_ipv4}} ip4:{{external_ipv4}}/32 {{x}} ; {{external_ipv9}}\n"
    );
    let expected = [
        "@ 3600 A 192.0.2.7",
        "@ 3600 AAAA 2001:db8::7",
        "@ 3600 HTTPS 1 . port=1 ipv4hint=192.0.2.7,192.0.2.8",
        "@ 3600 TXT \"{external_ipv4}\" \"{external_ipv4}\" \"ip4:192.0.2.7/32\" \"{x}\"",
    ];
    assert_eq!(filled(&text, addresses()).unwrap(), expected);
}

#[test]
fn a_zone_file_tells_which_addresses_it_needs() {
    let macros = |text: &str| from_bytes(text.as_bytes()).unwrap().macros();
    assert_eq!(macros(BOTH), Macros { ipv4: true, ipv6: true });
    assert_eq!(macros("@ A {external_ipv4} ; {external_ipv6}"), Macros { ipv4: true, ipv6: false });
    assert_eq!(macros("@ HTTPS 1 . ipv6hint={external_ipv6}"), Macros { ipv4: false, ipv6: true });
    assert_eq!(macros("@ TXT \"{external_ipv4}\" \\{external_ipv6}"), Macros::default());
}

#[test]
fn a_macro_without_an_address_is_an_error_that_says_where_to_get_one() {
    let only_v4 = ExternalAddresses { ipv6: None, ..addresses() };
    let message = filled(BOTH, only_v4).unwrap_err();
    assert!(message.starts_with("line 2, column 8: there is no address for {external_ipv6}"), "{message}");
    assert!(message.contains("--detect-ip"), "{message}");
    // One that is not needed is not missed.
    assert!(filled("@ A {external_ipv4}", only_v4).is_ok());
}

#[test]
fn macros_in_other_places_and_of_other_names_are_errors() {
    for (text, expected) in [
        ("@ A {external_ip}", "line 1, column 5: there is no such macro: known are {external_ipv4} and"),
        ("{external_ipv4} A 192.0.2.1", "line 1, column 1: macros are replaced in the data of records only"),
        ("$ORIGIN {external_ipv4}\n@ A 192.0.2.1", "line 1, column 9: macros are replaced in the data"),
        ("@ {external_ipv4} A 192.0.2.1", "line 1, column 3: expected a TTL"),
        ("@ A {external_ipv6}", "line 1, column 5: expected IPv4 address; found \"2001:db8::7\""),
    ] {
        let message = filled(text, addresses()).unwrap_err();
        assert!(message.starts_with(expected), "{message}");
    }
}
