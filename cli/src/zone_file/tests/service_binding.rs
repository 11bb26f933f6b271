//! The test vectors of RFC 9460, appendix D.

use domain::base::rdata::ComposeRecordData;

use super::*;

fn wire(data: &str) -> String {
    let records =
        parse(format!("a {data}\n").as_bytes(), &key()).unwrap_or_else(|error| panic!("{data}: {error}"));
    let mut bytes = Vec::new();
    let Ok(()) = records[0].data().compose_rdata(&mut bytes);
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// foo.example.com. and its like.
const FOO_COM: &str = "03666f6f076578616d706c6503636f6d00";
const FOO_ORG: &str = "03666f6f076578616d706c65036f726700";

#[test]
fn the_vectors_of_rfc_9460_are_written_byte_for_byte() {
    for (text, expected) in [
        ("HTTPS 0 foo.example.com.", format!("0000{FOO_COM}")),
        ("SVCB 1 .", "000100".to_string()),
        ("SVCB 16 foo.example.com. port=53", format!("0010{FOO_COM}000300020035")),
        ("SVCB 1 foo.example.com. key667=hello", format!("0001{FOO_COM}029b000568656c6c6f")),
        (
            "SVCB 1 foo.example.com. key667=\"hello\\210qoo\"",
            format!("0001{FOO_COM}029b000968656c6c6fd2716f6f"),
        ),
        (
            "SVCB 1 foo.example.com. ( ipv6hint=\"2001:db8::1,2001:db8::53:1\" )",
            format!("0001{FOO_COM}0006002020010db800000000000000000000000120010db8000000000000000000530001"),
        ),
        (
            "SVCB 1 example.com. ( ipv6hint=\"2001:db8:122:344::192.0.2.33\" )",
            "0001076578616d706c6503636f6d000006001020010db80122034400000000c0000221".to_string(),
        ),
        (
            "SVCB 16 foo.example.org. ( alpn=h2,h3-19 mandatory=ipv4hint,alpn ipv4hint=192.0.2.1 )",
            format!("0010{FOO_ORG}0000000400010004000100090268320568332d313900040004c0000201"),
        ),
        (
            "SVCB 16 foo.example.org. alpn=\"f\\\\\\\\oo\\\\,bar,h2\"",
            format!("0010{FOO_ORG}0001000c08665c6f6f2c626172026832"),
        ),
        (
            "SVCB 16 foo.example.org. alpn=f\\\\\\092oo\\092,bar,h2",
            format!("0010{FOO_ORG}0001000c08665c6f6f2c626172026832"),
        ),
        // Keys with a 9, which the library refuses, and those of later documents.
        ("SVCB 1 . key999=a key9=z", "000100000900017a03e7000161".to_string()),
        (
            "SVCB 1 . ech=AAH+ ohttp dohpath=\"/q{?dns}\"",
            "000100000500030001fe000700082f717b3f646e737d00080000".to_string(),
        ),
    ] {
        assert_eq!(wire(text), expected, "{text}");
    }
}

#[test]
fn what_rfc_9460_has_fail_fails_with_the_reason() {
    for (data, expected) in [
        ("SVCB 1 foo.example.com. ( key123=abc key123=def )", "given twice"),
        ("SVCB 1 foo.example.com. mandatory", "needs a value"),
        ("SVCB 1 foo.example.com. alpn", "needs a value"),
        ("SVCB 1 foo.example.com. port", "needs a value"),
        ("SVCB 1 foo.example.com. ipv4hint", "needs a value"),
        ("SVCB 1 foo.example.com. ipv6hint", "needs a value"),
        ("SVCB 1 foo.example.com. no-default-alpn=abc", "takes no value"),
        ("SVCB 1 foo.example.com. mandatory=key123", "mandatory lists is missing"),
        ("SVCB 1 foo.example.com. mandatory=mandatory", "cannot be in its own list"),
        ("SVCB 1 foo.example.com. ( mandatory=key123,key123 key123=abc )", "lists a parameter twice"),
        ("HTTPS 1 . alpn=h2,,h3", "values with commas between them"),
        ("HTTPS 1 . port=65536", "a number up to 65535"),
        ("HTTPS 1 . ipv4hint=2001:db8::1", "of the family of this parameter"),
        ("HTTPS 1 . ech=???", "expected base64"),
        ("HTTPS 1 . key007=a", "expected a parameter such as port=443"),
        ("HTTPS 1 . Port=443", "expected a parameter such as port=443"),
    ] {
        let message = error(&format!("a {data}\n"));
        assert!(message.contains(expected), "{data}: {message}");
    }
}
