//! Whatever comes in, and back out again.

use proptest::prelude::*;

use pkdns::zone_file::MAX_TTL;

use super::*;

/// Text that looks enough like a zone file to get deep into the scanner.
fn like_a_zone_file() -> impl Strategy<Value = String> {
    const PIECES: &[&str] = &[
        "@",
        "*",
        "www",
        ".",
        "..",
        "a.b",
        "a.b.",
        " ",
        "  ",
        "\t",
        "\n",
        "\r\n",
        ";",
        "(",
        ")",
        "\"",
        "\\",
        "\\#",
        "\\046",
        "\\999",
        "\\1",
        "$ORIGIN",
        "$TTL",
        "$INCLUDE",
        "$",
        "IN",
        "CH",
        "300",
        "4294967296",
        "A",
        "AAAA",
        "TXT",
        "CNAME",
        "MX",
        "NS",
        "SRV",
        "PTR",
        "SOA",
        "DNAME",
        "CAA",
        "TLSA",
        "SSHFP",
        "NAPTR",
        "HTTPS",
        "SVCB",
        "TYPE65280",
        "TYPE1",
        "NSEC",
        "NSEC3",
        "DNSKEY",
        "DS",
        "RRSIG",
        "IPSECKEY",
        "OPENPGPKEY",
        "HINFO",
        "MINFO",
        "RP",
        "ZONEMD",
        "CDS",
        "OPT",
        "TSIG",
        "ANY",
        "1.2.3.4",
        "2001:db8::1",
        "0",
        "4",
        "10",
        "0a000001",
        "zz",
        "port=",
        "port=1",
        "alpn=h2",
        "alpn=\"h2,h3\"",
        "mandatory=port",
        "ipv4hint=1.2.3.4",
        "ech=AAAA",
        "key1",
        "key65280=\"a b\"",
        "no-default-alpn",
        "dohpath=/q{?dns}",
        "issue",
        "aGVsbG8=",
        "\u{e9}",
        "\0",
        "\u{7f}",
    ];
    proptest::collection::vec(
        prop_oneof![
            9 => proptest::sample::select(PIECES).prop_map(str::to_string),
            1 => any::<char>().prop_map(|character| character.to_string()),
        ],
        0..40,
    )
    .prop_flat_map(|pieces| {
        prop_oneof![
            Just(pieces.concat()),
            Just(pieces.join(" ")),
            Just(format!("www {}\n", pieces.join(" ")))
        ]
    })
}

/// Records of each type with values of their own.
fn record() -> impl Strategy<Value = String> {
    let name = "[a-z]([a-z0-9-]{0,10}[a-z0-9])?(\\.[a-z]{1,6}){0,2}";
    let data = prop_oneof![
        any::<[u8; 4]>().prop_map(|address| format!("A {}", std::net::Ipv4Addr::from(address))),
        any::<[u8; 16]>().prop_map(|address| format!("AAAA {}", std::net::Ipv6Addr::from(address))),
        name.prop_map(|name| format!("CNAME {name}.")),
        (any::<u16>(), name).prop_map(|(preference, name)| format!("MX {preference} {name}.")),
        (any::<[u16; 3]>(), name).prop_map(|([a, b, c], name)| format!("SRV {a} {b} {c} {name}.")),
        (any::<u16>(), name, any::<u16>()).prop_map(|(a, name, b)| format!("HTTPS {a} {name}. port={b}")),
        proptest::collection::vec(any::<u8>(), 0..40).prop_map(|text| {
            format!("TXT \"{}\"", text.iter().map(|byte| format!("\\{byte:03}")).collect::<String>())
        }),
        proptest::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| {
            let text: String = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
            format!("TYPE65400 \\# {} {text}", bytes.len())
        }),
    ];
    (name, 0..=MAX_TTL, data).prop_map(|(name, ttl, data)| format!("{name} {ttl} IN {data}\n"))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn no_text_brings_the_parser_down(text in like_a_zone_file()) {
        if let Ok(records) = parse(text.as_bytes(), &key())
            && let Ok(dns) = packet::compose(&records, &key())
        {
            prop_assert_eq!(records::read(&dns, &key()).len(), records.len());
            prop_assert_eq!(pkdns::message::read_records(&dns).len() <= records.len(), true);
        }
    }

    #[test]
    fn no_bytes_bring_the_parser_down(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = parse(&bytes, &key());
    }
}

/// A packet with one record of the key.
fn message(record_type: u16, data: &[u8]) -> Vec<u8> {
    crate::testing::message(&[key().to_z32().as_bytes()], record_type, data)
}

/// Bytes that are often what a type wants: numbers, names, strings.
fn wire_data() -> impl Strategy<Value = Vec<u8>> {
    let part = prop_oneof![
        any::<u8>().prop_map(|number| vec![number]),
        any::<u16>().prop_map(|number| number.to_be_bytes().to_vec()),
        any::<[u8; 4]>().prop_map(|address| address.to_vec()),
        proptest::collection::vec(any::<u8>(), 1..20).prop_map(|label| [
            &[label.len() as u8],
            label.as_slice(),
            &[0]
        ]
        .concat()),
        proptest::collection::vec(any::<u8>(), 0..20)
            .prop_map(|text| [&[text.len() as u8], text.as_slice()].concat()),
        proptest::collection::vec(any::<u8>(), 0..20).prop_map(|value| [
            &[0, 9, 0, value.len() as u8],
            value.as_slice()
        ]
        .concat()),
        Just(vec![0]),
        // The middle of the earth, near which LOC counts.
        any::<[u8; 3]>().prop_map(|place| [&[0x80], place.as_slice()].concat()),
    ];
    proptest::collection::vec(part, 0..6).prop_map(|parts| parts.concat())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(40_000))]

    #[test]
    fn any_record_that_is_shown_is_read_back_the_same(
        record_type in prop_oneof![8 => 1_u16..110, 1 => 256_u16..264, 1 => any::<u16>()],
        data in wire_data(),
    ) {
        let dns = message(record_type, &data);
        let shown = records::read(&dns, &key());
        let text = shown[0].to_string();
        match parse(text.as_bytes(), &key()) {
            Ok(records) => {
                // What is written as the same text has the same bytes, whether or not names were compressed.
                // What other readers of packets refuse is not published.
                let Ok(again) = packet::compose(&records, &key()) else {
                    return Ok(());
                };
                prop_assert_eq!(&records::read(&again, &key()), &shown);
                let written = records::zone_file(&shown, &key());
                let again_read = parse(written.as_bytes(), &key()).map_err(|error| error.to_string());
                let read = again_read.map(|records| packet::compose(&records, &key()).unwrap());
                prop_assert_eq!(read.as_ref(), Ok(&again), "{}", written);
                if !data.windows(2).any(|pair| pair[0] >= 0xc0) && again.len() == dns.len() {
                    prop_assert_eq!(again, dns);
                }
            }
            Err(error) => {
                // Malformed, or of a type that is in no zone.
                let is_refused = text.contains(" \\# ") || matches!(record_type, 41 | 128..=255);
                prop_assert!(is_refused, "{}: {}", error, text);
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2_000))]

    #[test]
    fn records_survive_the_way_through_a_packet_and_back_into_a_zone_file(
        lines in proptest::collection::vec(record(), 1..6)
    ) {
        // A CNAME takes a name of its own.
        let text: String =
            lines.iter().enumerate().map(|(number, line)| format!("n{number}{line}")).collect();
        let first = zone(&text);
        let again = zone(&records::table(&first).replacen("NAME", ";", 1));
        prop_assert_eq!(&first, &again);
    }
}
