use bytes::Bytes;
use domain::base::Name;
use pkdns_dht::signed_packet::PublicKey;

use super::*;
use crate::{
    packet,
    records::{self, TextRecord},
    testing::key,
};

mod includes;
mod properties;
mod service_binding;
mod substitution;

fn parse(text: &[u8], key: &PublicKey) -> Result<Vec<ZoneRecord>, ZoneFileError> {
    from_bytes(text)?.records(key, &ExternalAddresses::default())
}

/// What a zone file comes to, as its records are shown.
fn shown(text: &str) -> Vec<String> {
    zone(text).iter().map(TextRecord::to_string).collect()
}

fn zone(text: &str) -> Vec<TextRecord> {
    let records = parse(text.as_bytes(), &key()).unwrap_or_else(|error| panic!("{error}: {text}"));
    records::read(&packet::compose(&records, &key()).unwrap(), &key())
}

fn error(text: &str) -> String {
    parse(text.as_bytes(), &key()).expect_err(text).to_string()
}

#[test]
fn a_zone_file_with_everything_that_rfc_1035_allows_is_read() {
    let key = key();
    let text = format!(
        "; a comment\n\
         $ORIGIN {key}.\n\
         $TTL 300\n\
         @ IN A 192.0.2.1 ; the key itself\n\
         \tTXT \"one string\" two \"a \\\"quote\\\"; no comment\" back\\\\slash \\065\n\
         www 60 IN CNAME @\n\
         mail IN 120 MX ( 10\n\
         \x20   mx.example. ) ; two lines\n\
         * AAAA 2001:db8::1\n\
         \n\
         $ORIGIN deep.{key}.\n\
         host TXT \"\"\n\
         in.zone.{key}. A 192.0.2.2\n"
    );
    assert_eq!(
        shown(&text),
        [
            "@ 300 A 192.0.2.1".to_string(),
            "@ 300 TXT \"one string\" \"two\" \"a \\\"quote\\\"; no comment\" \"back\\\\slash\" \"A\""
                .to_string(),
            format!("www 60 CNAME {key}."),
            "mail 120 MX 10 mx.example.".to_string(),
            "* 300 AAAA 2001:db8::1".to_string(),
            "host.deep 300 TXT \"\"".to_string(),
            "in.zone 300 A 192.0.2.2".to_string(),
        ]
    );
}

/// Each type of the contract, as it is written and as it is shown.
const TYPES: [(&str, &str); 49] = [
    ("A 192.0.2.1", "A 192.0.2.1"),
    ("AAAA 2001:DB8:0::1", "AAAA 2001:db8::1"),
    ("TXT v=1", "TXT \"v=1\""),
    ("CNAME www", "CNAME www.KEY."),
    ("MX 10 .", "MX 10 ."),
    ("NS ns.example.", "NS ns.example."),
    ("SRV 1 2 443 host.example.", "SRV 1 2 443 host.example."),
    ("PTR a\\.b.example.", "PTR a\\.b.example."),
    ("SOA ns hostmaster 1 7200 900 1209600 300", "SOA ns.KEY. hostmaster.KEY. 1 7200 900 1209600 300"),
    ("DNAME other.example.", "DNAME other.example."),
    ("CAA 0 issue \"ca.example\"", "CAA 0 issue \"ca.example\""),
    ("TLSA 3 1 1 ( 0123456789abcdef 00 )", "TLSA 3 1 1 0123456789ABCDEF00"),
    ("SSHFP 4 2 0123456789abcdef", "SSHFP 4 2 0123456789ABCDEF"),
    (
        "NAPTR 100 10 \"S\" \"SIP+D2U\" \"!^.*$!sip:a@example!\" _sip._udp.example.",
        "NAPTR 100 10 \"S\" \"SIP+D2U\" \"!^.*$!sip:a@example!\" _sip._udp.example.",
    ),
    ("HTTPS 0 host.example.", "HTTPS 0 host.example."),
    ("HTTPS 1 . port=8443 ipv4hint=127.0.0.1", "HTTPS 1 . port=8443 ipv4hint=127.0.0.1"),
    ("HTTPS 1 . alpn=\"h2,h3\" no-default-alpn", "HTTPS 1 . alpn=h2,h3 no-default-alpn"),
    ("HTTPS 10 localhost. key65280=abc", "HTTPS 10 localhost. key65280=\"abc\""),
    ("SVCB 2 svc.example. mandatory=port port=53", "SVCB 2 svc.example. mandatory=port port=53"),
    ("SVCB 1 . ipv6hint=2001:db8::1,::1", "SVCB 1 . ipv6hint=2001:db8::1,::1"),
    ("HINFO PC \"any thing\"", "HINFO \"PC\" \"any thing\""),
    ("RP admin.example. text", "RP admin.example. text.KEY."),
    (
        "DS 60485 5 1 2BB183AF5F22588179A53B0A98631FAD1A292118",
        "DS 60485 5 1 2BB183AF5F22588179A53B0A98631FAD1A292118",
    ),
    (
        "DNSKEY 256 3 5 ( AQPSKmynfzW4kyBv015MUG2DeIQ3 Cbl+BBZH4b/0PY1kxkmvHjcZc8no )",
        "DNSKEY 256 3 5 AQPSKmynfzW4kyBv015MUG2DeIQ3Cbl+BBZH4b/0PY1kxkmvHjcZc8no",
    ),
    ("OPENPGPKEY aGVs bG8=", "OPENPGPKEY aGVsbG8="),
    ("SMIMEA 3 1 1 ( 01234567 89ABCDEF )", "SMIMEA 3 1 1 0123456789ABCDEF"),
    ("CERT PGP 0 0 aGVsbG8=", "CERT PGP 0 0 aGVsbG8="),
    ("CERT 65 1 8 aGVsbG8=", "CERT 65 1 8 aGVsbG8="),
    ("LOC 52 22 23 N 4 53 32 E -2m", "LOC 52 22 23.000 N 4 53 32.000 E -2.00m 1.00m 10000.00m 10.00m"),
    ("URI 10 1 \"https://example.com/a;b?c=\\\"d\\\"\"", "URI 10 1 \"https://example.com/a;b?c=\\\"d\\\"\""),
    ("SPF \"v=spf1\" -all", "SPF \"v=spf1\" \"-all\""),
    ("AFSDB 1 afs", "AFSDB 1 afs.KEY."),
    ("RT 10 relay.example.", "RT 10 relay.example."),
    ("KX 10 kx.example.", "KX 10 kx.example."),
    ("PX 10 a b.example.", "PX 10 a.KEY. b.example."),
    ("LP 10 l64.example.", "LP 10 l64.example."),
    (
        "DHCID AAIBY2/AuCccgoJbsaxcQc9TUapptP69lOjxfNuVAA2kjEA=",
        "DHCID AAIBY2/AuCccgoJbsaxcQc9TUapptP69lOjxfNuVAA2kjEA=",
    ),
    ("EUI48 00-00-5E-00-53-2a", "EUI48 00-00-5e-00-53-2a"),
    ("EUI64 00-00-5e-ef-10-00-00-2a", "EUI64 00-00-5e-ef-10-00-00-2a"),
    ("CDS 0 0 0 00", "CDS 0 0 0 00"),
    ("CDNSKEY 0 3 0 AA==", "CDNSKEY 0 3 0 AA=="),
    ("NSEC next.example. A TXT RRSIG", "NSEC next.example. A TXT RRSIG"),
    ("ZONEMD 1 1 1 0123456789abcdef01234567", "ZONEMD 1 1 1 0123456789ABCDEF01234567"),
    (
        "IPSECKEY 10 1 2 192.0.2.38 AQNRU3mG7TVTO2BkR47usntb102uFJtugbo6BSGvgqt4",
        "IPSECKEY 10 1 2 192.0.2.38 AQNRU3mG7TVTO2BkR47usntb102uFJtugbo6BSGvgqt4",
    ),
    ("URI \\# 5 000a000161", "URI 10 1 \"a\""),
    ("TYPE65280 \\# 4 0A000001", "TYPE65280 \\# 4 0a 00 00 01"),
    ("TYPE65280 \\# 0", "TYPE65280 \\# 0"),
    ("TYPE1 \\# 4 0A000001", "A 10.0.0.1"),
    ("type65281 \\# 3 ab cd ef", "TYPE65281 \\# 3 ab cd ef"),
];

#[test]
fn every_type_of_the_contract_is_written_and_shown() {
    for (written, expected) in TYPES {
        let expected = format!("name 3600 {}", expected.replace("KEY.", &format!("{}.", key())));
        assert_eq!(shown(&format!("name IN {written}\n")), [expected], "{written}");
    }
}

#[test]
fn what_is_shown_can_be_published_again() {
    for (written, _) in TYPES {
        let first = zone(&format!("name {written}"));
        let again = zone(&records::table(&first).replacen("NAME", ";", 1));
        assert_eq!(first, again, "{written}");
    }
}

#[test]
fn the_documentation_lists_the_types_that_are_known_by_name() {
    let text = include_str!("../../../../docs/cli.md");
    let list = text.split("These types are known by name: ").nth(1).and_then(|rest| rest.split('.').next());
    let listed: Vec<&str> = list.unwrap().split([',', ' ', '\n']).filter(|word| !word.is_empty()).collect();
    let is_known = |record_type: &String| {
        let error =
            parse(format!("a {record_type} ?").as_bytes(), &key()).err().map(|error| error.to_string());
        let no_data = ["data of this type are written", "cannot be stored in a zone"];
        !record_type.starts_with("TYPE")
            && !error.is_some_and(|error| no_data.iter().any(|reason| error.contains(reason)))
    };
    let types = (0..=u16::MAX).map(|number| domain::base::Rtype::from_int(number).to_string());
    let mut known: Vec<String> = types.filter(is_known).collect();
    known.sort();
    assert_eq!(listed, known);
}

#[test]
fn a_record_without_ttl_class_and_line_end_is_in_for_an_hour() {
    assert_eq!(shown("www A 1.2.3.4"), ["www 3600 A 1.2.3.4"]);
    assert_eq!(shown("$TTL 60\r\nwww A 1.2.3.4\r\n"), ["www 60 A 1.2.3.4"]);
    assert_eq!(pkdns::zone_file::DEFAULT_TTL, 3600);
}

#[test]
fn text_of_any_bytes_is_kept_and_a_mark_of_utf_8_is_not_text() {
    // TXT that is not UTF-8 once brought a publisher down.
    assert_eq!(shown("\u{feff}www TXT \"caf\u{e9}\""), ["www 3600 TXT \"caf\\195\\169\""]);
    assert_eq!(shown("www TXT \"\\255\\000\""), ["www 3600 TXT \"\\255\\000\""]);
    let records = parse(b"www TXT \"\xff\xfe\"", &key()).unwrap();
    let dns = packet::compose(&records, &key()).unwrap();
    assert!(dns.ends_with(b"\x02\xff\xfe"));
}

#[test]
fn the_key_is_known_in_every_spelling_and_written_in_one() {
    let key = key().to_z32();
    // The last character of a key has four bits that mean nothing.
    let other = format!("{}t", &key[..51]);
    let dns = |owner: &str| {
        let records = parse(format!("{owner} A 192.0.2.1").as_bytes(), &self::key()).unwrap();
        packet::compose(&records, &self::key()).unwrap()
    };
    for spelling in [key.to_uppercase(), other] {
        assert_eq!(dns(&format!("WWW.{spelling}.")), dns("www"), "{spelling}");
    }
}

#[test]
fn a_record_that_is_written_twice_is_published_once() {
    assert_eq!(shown("www A 192.0.2.1\nWWW A 192.0.2.1\nwww A 192.0.2.2").len(), 2);
}

#[test]
fn a_ttl_comes_from_the_record_or_from_the_file() {
    // RFC 2308 section 4: `$TTL` is for all that have none. Without it, the last one that was stated (RFC 1035).
    assert_eq!(
        shown("a 60 A 192.0.2.1\nb A 192.0.2.1\n$TTL 1h30m\nc A 192.0.2.1\nd IN 1W2d3s A 192.0.2.1"),
        ["a 60 A 192.0.2.1", "b 60 A 192.0.2.1", "c 5400 A 192.0.2.1", "d 777603 A 192.0.2.1",]
    );
}

#[test]
fn an_owner_outside_of_the_zone_is_an_error_with_its_line() {
    let message = error("@ A 192.0.2.1\n\nwww.example.com. A 192.0.2.1\n");
    assert!(message.starts_with("line 3, column 1: the name is outside of the zone"), "{message}");
    assert!(message.contains(&key().to_z32()), "{message}");
    let message = error("$ORIGIN example.com.\nwww A 192.0.2.1\n");
    assert!(message.starts_with("line 2, column 1: the name is outside of the zone"), "{message}");
    // A label that merely ends in the key is not the key.
    let message = error(&format!("x{}. A 192.0.2.1\n", key()));
    assert!(message.starts_with("line 1, column 1: the name is outside of the zone"), "{message}");
    let message = error(&format!("\n\nwww.{} A 192.0.2.1\n", key()));
    assert!(message.starts_with("line 3, column 1: the name ends in the key twice"), "{message}");
}

#[test]
fn errors_say_where_and_what_was_expected() {
    for (text, expected) in [
        ("@ A 192.0.2.1\nwww A 192.0.2.256\n", "line 2, column 7: expected IPv4 address"),
        ("www AAAA 192.0.2.1\n", "line 1, column 10: expected IPv6 address; found \"192.0.2.1\""),
        (
            "www FOO bar\n",
            "line 1, column 5: expected a TTL, the class IN or a record type (one that has no name here is written as TYPE123); found \"FOO\"",
        ),
        ("www 1y A 192.0.2.1\n", "line 1, column 5: expected a TTL, the class IN or a record type"),
        ("www 60 60 A 192.0.2.1\n", "line 1, column 8: expected a record type"),
        ("www IN IN A 192.0.2.1\n", "line 1, column 8: expected a record type"),
        ("$TTL 1x\n", "line 1, column 6: expected a TTL: seconds, or for example 1h30m"),
        ("$TTL\n", "line 1, column 1: expected a TTL behind $TTL"),
        ("$ORIGIN\n", "line 1, column 1: expected a name behind $ORIGIN"),
        ("$ORIGIN a b\n", "line 1, column 11: expected the end of the record"),
        ("www CH TXT x\n", "line 1, column 5: expected the class IN"),
        ("www MX mail\n", "line 1, column 8: expected a number; found a word of 4 characters"),
        ("www SPF\n", "line 1, column 5: expected the data of the record"),
        (
            "www URI 1 1 \"\"\n",
            "line 1, column 13: expected a text that is not empty; found a quoted text of 0",
        ),
        ("www EUI48 00-00-5e-00-53\n", "line 1, column 11: expected bytes such as"),
        ("www CERT X 1 1 aaaa\n", "line 1, column 10: expected a certificate type"),
        ("www SMIMEA 256 1 1 00\n", "line 1, column 12: this number is too large"),
        ("www MX 65536 mail\n", "line 1, column 8: this number is too large"),
        ("www A\n@ A 192.0.2.1\n", "line 1, column 5: expected the data of the record before"),
        ("www\n", "line 1, column 1: expected a record type before the end of the line"),
        ("www MX 10\n", "line 1, column 8: expected more before the end of the line"),
        ("www A 192.0.2.1 192.0.2.2\n", "line 1, column 17: expected the end of the record"),
        ("www A 192.0.2.1 )\n", "line 1, column 17: a parenthesis is closed that was not opened"),
        ("\nwww MX ( 10 mail\n", "line 2, column 8: this parenthesis is never closed"),
        ("www TXT a (\n", "line 1, column 11: this parenthesis is never closed"),
        ("www TXT \"open\n", "line 1, column 9: this quote is not closed on its line"),
        ("www TXT \\256\n", "line 1, column 9: a backslash needs"),
        ("www TXT a\\", "line 1, column 10: a backslash needs"),
        ("www TXT \u{7}\n", "line 1, column 9: expected printable characters"),
        ("www TXT \u{e9}\u{e9} (\n", "line 1, column 12: this parenthesis"),
        (" A 192.0.2.1\n", "line 1, column 2: a line that begins with white space continues the owner"),
        ("$GENERATE 1-2 a A 192.0.2.$\n", "line 1, column 1: expected $ORIGIN, $TTL or $INCLUDE"),
        ("www A \\# 4 0a00\n", "the data are not as long as the number after \\# says"),
        ("www A \\# 3 0a0000\n", "the data do not follow the format of their type"),
        ("www HTTPS \\# 4 000100ff\n", "the data do not follow the format of their type"),
        ("www LOC 1 2 3\n", "line 1, column 13: expected a location such as 52 22"),
        ("www APL 1 2 3\n", "data of this type are written as \\# LENGTH HEXADECIMAL"),
        ("www TYPE65280 abc\n", "data of this type are written as \\# LENGTH HEXADECIMAL"),
        ("www ANY \\# 0\n", "records of this type cannot be stored in a zone"),
        ("a..b A 192.0.2.1\n", "line 1, column 1: expected a domain name without empty labels"),
        ("@ A 192.0.2.1\na CNAME b..c\n", "line 2, column 9: expected a domain name without empty labels"),
        ("a SRV 1 2 3 .b\n", "line 1, column 13: expected a domain name without empty labels"),
        ("a MX 10 \"\"\n", "line 1, column 9: expected a domain name"),
        ("a 2147483648 A 192.0.2.1\n", "line 1, column 3: the TTL is over 2147483647 seconds"),
        ("a 4000w A 192.0.2.1\n", "line 1, column 3: the TTL is over 2147483647 seconds"),
        ("; nothing\n\n", "the zone file holds no records"),
        ("", "the zone file holds no records"),
    ] {
        let message = error(text);
        assert!(message.contains(expected), "{text:?} gave {message:?}, expected {expected:?}");
    }
    let long_label = format!("{} A 192.0.2.1\n", "a".repeat(64));
    assert!(error(&long_label).contains("longer than 63 bytes"), "{}", error(&long_label));
    let long_name = format!("{} A 192.0.2.1\n", "a.".repeat(120));
    assert!(error(&long_name).contains("outside of the zone"), "{}", error(&long_name));
    let long_name = format!("a{} A 192.0.2.1\n", ".a".repeat(110));
    assert!(error(&long_name).contains("longer than 255"), "{}", error(&long_name));
    let long_text = format!("a HINFO {} b\n", "a".repeat(256));
    assert!(error(&long_text).contains("at most 255 bytes"), "{}", error(&long_text));
    assert_eq!(parse(&[b'\n'; MAX_SIZE + 1], &key()), Err(ZoneFileError::too_large(None, LIMITS)));
}

#[test]
fn a_text_of_over_255_bytes_is_written_as_several_strings() {
    let [full, rest] = [255, 145].map(|length| "a".repeat(length));
    for (written, expected) in [
        (format!("TXT {full}{rest}"), format!("TXT \"{full}\" \"{rest}\"")),
        (format!("TXT \"{full}{rest}\" b"), format!("TXT \"{full}\" \"{rest}\" \"b\"")),
        (format!("SPF {full}{rest}"), format!("SPF \"{full}\" \"{rest}\"")),
        (format!("TXT {full} \"\""), format!("TXT \"{full}\" \"\"")),
    ] {
        assert_eq!(shown(&format!("a {written}\n")), [format!("a 3600 {expected}")]);
    }
}

#[test]
fn a_seed_file_given_as_zone_file_is_not_repeated() {
    for seed in [
        "292bbfb6a5bc1ec3f6d01a7c8e3fac1782d364ca41a1847497e9e3bc949dbb9a\n",
        "a3kco17a6mqawd9jewgwijrd64gb1rmrer1zptxgire7buufk3hy",
        "jockey ordinary\tskull wrist",
        "@ key shock ordinary",
        "@ TXT \"jockey ordinary\"shock\" jockey\n@ A \"shock ordinary\"",
        "$292bbfb6a5bc1ec3f6d01a7c8e3fac1782d364ca41a1847497e9e3bc949dbb9a",
        "x $a3kco17a6mqawd9jewgwijrd64gb1rmrer1zptxgire7buufk3hy",
    ] {
        let message = error(seed);
        assert!(!message.contains(&seed[2..10]), "{message}");
        assert!(!["jockey", "ordinary", "shock"].iter().any(|word| message.contains(word)), "{message}");
    }
}

#[test]
fn a_cname_stands_alone_except_at_the_key() {
    let expected = "line 3, column 1: a CNAME must be the only record of its name, and this name has another record \
                    in line 1";
    for (first, second) in [("CNAME a.example.", "TXT b"), ("A 192.0.2.1", "CNAME a"), ("CNAME a", "CNAME b")]
    {
        let message = error(&format!("www {first}\nb A 192.0.2.1\nWWW 60 {second}\n"));
        assert!(message.starts_with(expected), "{message}");
    }
    for text in [
        "@ CNAME a\n@ TXT b",
        "www CNAME a\nwww CNAME a",
        "www CNAME a\nwww NSEC a CNAME",
        "www CNAME a\n*.www A 192.0.2.1",
    ] {
        assert!(parse(text.as_bytes(), &key()).is_ok(), "{text}");
    }
    assert!(parse(b"@ CNAME a\n@ CNAME b", &key()).is_err());
}

#[test]
fn a_zone_of_another_name_is_moved_to_the_key() {
    let text = "example.com. 60 MX 10 Mail.Example.COM.\n*.a.example.com. 60 CNAME example.com.\n\
                b.example.com. 60 RP x.example.com. y.example.org.\nb.example.com. 60 AFSDB 1 z.example.com.\n\
                b.example.com. 60 HTTPS 1 c.example.com. port=1\nb.example.com. 60 TXT x.example.com.\n";
    let origin: Name<Bytes> = "example.com.".parse().unwrap();
    let moved = |text: &str| from_bytes(text.as_bytes()).unwrap().moved_records(&origin, &key());
    let expected = "@ 60 MX 10 mail.KEY.\n*.a 60 CNAME KEY.\nb 60 RP x.KEY. y.example.org.\nb 60 AFSDB 1 z.KEY.\n\
                    b 60 HTTPS 1 c.KEY. port=1\nb 60 TXT \"x.example.com.\"";
    let shown = records::read(&packet::compose(&moved(text).unwrap(), &key()).unwrap(), &key());
    let shown: Vec<_> = shown.iter().map(|record| record.to_string().replace("Mail", "mail")).collect();
    assert_eq!(shown.join("\n"), expected.replace("KEY.", &format!("{}.", key())));
    // Names get longer on the way.
    let long = format!("{}example.com. A 192.0.2.1", "a.".repeat(120));
    assert!(moved(&long).unwrap_err().to_string().contains("longer than 255"));
    assert!(moved("www.example.org. A 192.0.2.1").is_err());
}

#[test]
fn lists_that_outgrow_a_message_are_errors() {
    for item in ["ipv6hint=::", "alpn=a", "ipv4hint=1.1.1.1", "mandatory=port"] {
        let (name, value) = item.split_once('=').unwrap();
        let values = vec![value; (MAX_SIZE - 40) / (value.len() + 1)].join(",");
        if let Ok(records) = parse(format!("a HTTPS 1 . port=1 {name}={values}\n").as_bytes(), &key()) {
            assert!(packet::compose(&records, &key()).is_err(), "{item}");
        }
    }
    for data in ["a TXT a\n", "a TYPE65280 \\# 1 00\n"] {
        let many: String = (0..MAX_SIZE / 32).map(|number| format!("{number}{data}")).collect();
        if let Ok(records) = parse(many.as_bytes(), &key()) {
            assert!(packet::compose(&records, &key()).is_err(), "{data}");
        }
    }
}
