use proptest::prelude::*;

use super::*;

const KEY: &str = "csjbhp9jpbomwh3m5eyrj1py41m8sjpkzzqmzpj5madsi7sc4mto";

fn reported(text: &str) -> Report {
    let key = PublicKey::try_from(KEY).unwrap();
    report(&zone_file::from_bytes(text.as_bytes()).unwrap(), Some(key)).unwrap()
}

/// The answers, a line each.
fn answers(text: &str) -> Vec<String> {
    let line = |answer: Answer| {
        let ttl = answer.ttl.map_or_else(|| "-".to_string(), |ttl| ttl.to_string());
        format!("{} {} {ttl} {}", answer.name, answer.record_type, answer.answer)
    };
    reported(text).answers.into_iter().map(line).collect()
}

fn warnings(text: &str) -> Vec<String> {
    reported(text).warnings
}

#[test]
fn the_weights_of_the_records_come_to_the_size_of_the_packet() {
    let report = reported(&format!(
        "@ A 192.0.2.1\nwww CNAME @\nmail.{KEY}. MX 10 mx.example.\n_x TXT \"some text\" more\nwww2 SPF x\n"
    ));
    let weights: Vec<usize> = report.records.iter().map(|record| record.bytes).collect();
    assert_eq!(weights.iter().sum::<usize>() + HEADER_SIZE, report.size);
    // Owner, fixed fields and data; names after the first one take a pointer of two bytes.
    assert_eq!(weights.get(..2), Some([54 + 10 + 4, 4 + 2 + 10 + 2].as_slice()));
}

#[test]
fn answers_are_those_of_a_resolver() {
    let text = "$TTL 300\n@ A 192.0.2.1\n@ A 192.0.2.2\n@ TXT a\nwww 60 CNAME @\napi CNAME www\nx.deep AAAA ::1\n\
                *.app A 192.0.2.9\nb.app CNAME any.thing.app\nout CNAME Host.example.\n\
                loop CNAME loop\ngone CNAME nowhere\nsub NS ns.example.\nsub NS ns.sub\nns.sub A 192.0.2.3\n";
    assert_eq!(
        answers(text),
        [
            "@ A 300 192.0.2.1, 192.0.2.2",
            "@ TXT 300 \"a\"",
            "api A 60 CNAME www, CNAME @, 192.0.2.1, 192.0.2.2",
            "api TXT 60 CNAME www, CNAME @, \"a\"",
            "*.app A 300 192.0.2.9",
            "b.app A 300 CNAME any.thing.app, 192.0.2.9",
            "x.deep AAAA 300 ::1",
            "gone any 300 CNAME nowhere, NXDOMAIN: the target does not exist",
            "loop any 300 CNAME loop, SERVFAIL: the chain of CNAME records has no end",
            "out any 300 CNAME Host.example., what host.example. has",
            "sub NS 300 ns.example., ns.sub",
            "sub any other - what ns.example. or ns.sub says",
            "ns.sub A 300 192.0.2.3",
            "ns.sub any other - what ns.example. or ns.sub says",
            "www A 60 CNAME @, 192.0.2.1, 192.0.2.2",
            "www TXT 60 CNAME @, \"a\"",
            "any other any - NXDOMAIN",
        ]
    );
    assert_eq!(answers("* A 192.0.2.1"), ["* A 3600 192.0.2.1"]);
    assert_eq!(answers("@ NS ns.example.").last().unwrap(), "any other any - what ns.example. says");
    // What stands beside a CNAME of the key itself is answered, and all else follows the CNAME.
    assert_eq!(
        answers("@ CNAME host.example.\n@ TXT a"),
        [
            "@ TXT 3600 \"a\"",
            "@ any other 3600 CNAME host.example., what host.example. has",
            "any other any - NXDOMAIN"
        ]
    );
}

#[test]
fn what_looks_wrong_is_named() {
    for (text, expected) in [
        ("a 5 A 192.0.2.1", "a A: a TTL of 5 s is short"),
        (
            "a 604800 A 192.0.2.1",
            "a A: a TTL of 604800 s is long; some will see a change only after 168 hours",
        ),
        ("a 300 A 192.0.2.1\na 400 A 192.0.2.2", "a A: the TTLs differ, and all count as the lowest, 300 s"),
        ("@ CNAME host.example.", "@ CNAME: a CNAME of the key itself is not understood"),
        ("@ MX 10 mail", "@ MX: mail has no address"),
        ("@ MX 10 mail\nmail TXT a", "@ MX: mail has no address"),
        (
            "@ MX 10 mx.example.com",
            "@ MX: mx.example.com has no address; a name of another zone needs a dot at its end",
        ),
        ("@ MX 10 www\nwww CNAME @\n@ A 192.0.2.1", "@ MX: www is a CNAME"),
        ("_a._tcp SRV 1 1 1 www\nwww CNAME x.example.", "_a._tcp SRV: www is a CNAME"),
        ("sub NS ns", "sub NS: ns has no address"),
        ("@ HTTPS 1 . alpn=h2", "@ HTTPS: @ has no address"),
        ("@ HTTPS 1 svc alpn=h2", "@ HTTPS: svc has no address"),
        ("www CNAME www.example.com", "www CNAME: www.example.com does not exist; a name of another zone"),
        ("a CNAME b\nb CNAME a", "a CNAME: this chain of CNAME records has no end"),
        ("a SPF v=spf1", "a SPF: nobody asks for this type any more"),
        (
            "@ SOA ns.example. h.example. 1 1 1 1 1\n@ A 192.0.2.1",
            "@ SOA: resolvers make one up for a packet",
        ),
        (
            "@ NS ns1.registrar.example.\n@ A 192.0.2.1",
            "@ NS: whatever this zone does not hold is asked of ns1.registrar.example.",
        ),
        ("@ SVCB 1 svc alpn=h2", "@ SVCB: svc has no address"),
        (
            "@ HTTPS 1 svc.example.com ipv4hint=192.0.2.1",
            "@ HTTPS: svc.example.com does not exist; a name of another zone needs a dot at its end",
        ),
        ("a A {external_ipv4}", "{external_ipv4} is shown as 192.0.2.1"),
        ("a HTTPS 1 . ipv6hint={external_ipv6}", "{external_ipv6} is shown as 2001:db8::1"),
        (&format!("{}a A 192.0.2.1\nb A 192.0.2.1", "a.".repeat(40)), "1 records are never answered"),
    ] {
        let found = warnings(text);
        assert!(found.iter().any(|warning| warning.starts_with(expected)), "{text}: {found:?}");
    }
    for text in [
        "@ A 192.0.2.1\n@ HTTPS 1 . alpn=h2\nwww CNAME @\nwww2 HTTPS 1 www",
        "@ HTTPS 1 . ipv4hint=192.0.2.1\n_x HTTPS 0 host.example.\n@ MX 0 .\n_s SRV 0 0 0 .",
        "@ MX 10 mail\nmail AAAA ::1\nx MX 10 mx.example.\nmx.example CNAME host.example.",
        "sub NS ns.sub\n@ MX 10 mail.sub\nns.sub A 192.0.2.1",
        "* A 192.0.2.1\n@ MX 10 mail\na CNAME b",
    ] {
        assert_eq!(warnings(text), Vec::<String>::new(), "{text}");
    }
}

/// Links from `c1` on, with an address behind the last one.
fn chain(links: usize) -> String {
    let links: String = (1..=links).map(|link| format!("c{link} CNAME c{}\n", link + 1)).collect();
    links.clone() + &format!("c{} A 192.0.2.1\n", links.lines().count() + 1)
}

#[test]
fn a_long_chain_is_told_from_one_without_an_end() {
    let first = |text: &str| answers(text).into_iter().find(|line| line.starts_with("c1 ")).unwrap();
    assert!(first(&chain(11)).ends_with("CNAME c12, 192.0.2.1"), "{}", first(&chain(11)));
    let expected = "SERVFAIL: the chain of CNAME records has 12 links, and resolvers follow 11";
    assert!(first(&chain(12)).ends_with(expected), "{}", first(&chain(12)));
    let warned = |text: &str| warnings(text).into_iter().find(|warning| warning.starts_with("c1 CNAME: "));
    assert_eq!(warned(&chain(11)), None);
    assert_eq!(warned(&chain(12)), Some(format!("c1 CNAME: {expected}")));
    let looped = warned("c1 CNAME c2\nc2 CNAME c3\nc3 CNAME c2\n");
    assert_eq!(looped.as_deref(), Some("c1 CNAME: this chain of CNAME records has no end"));
}

#[test]
fn a_name_has_one_spelling_wherever_it_stands() {
    let report = reported("b\u{fc}cher\\@x A 192.0.2.1\n@ MX 10 b\u{fc}cher\\@x\nq MX 10 b\u{fc}ch\n");
    let name = "b\\195\\188cher@x";
    assert_eq!(report.records[0].record.owner, name);
    assert!(report.answers.iter().any(|answer| answer.name == name), "{:?}", report.answers);
    assert!(
        report.answers.iter().any(|answer| answer.answer == format!("10 {name}")),
        "{:?}",
        report.answers
    );
    let missing = "q MX: b\\195\\188ch has no address";
    assert!(report.warnings.iter().any(|warning| warning == missing), "{:?}", report.warnings);
}

#[test]
fn who_publishes_hears_of_mistakes_and_not_of_times() {
    let text = "@ 5 A 192.0.2.1\n@ 5 MX 10 mial\nx TXT v=DMARC1; p=none\ny A {external_ipv4}\n";
    let key = PublicKey::try_from(KEY).unwrap();
    let found = mistakes(&zone_file::from_bytes(text.as_bytes()).unwrap(), &key).unwrap();
    let cut = "line 3, column 15: the text ends before this semicolon, which begins a comment: put the text in quotes";
    assert_eq!(found, [cut, "@ MX: mial has no address"]);
}

#[test]
fn a_zone_file_that_was_written_reads_the_same() {
    let key = PublicKey::try_from(KEY).unwrap();
    let text = format!(
        "@ 60 A 192.0.2.1\n*.a MX 10 b\nx TXT \"www.{KEY}.\" \"a \\\" b.{KEY}.\"\nx SRV 1 2 3 @\n\\@ A 192.0.2.1\n\
         x\\.y CNAME x\\.{KEY}.\na RP x\\ y.{KEY}. z.example.\nb HTTPS 1 c alpn=x.{KEY}. port=1\n\\$ORIGIN TXT a\n\
         c TYPE65300 \\# 2 abcd\nd NAPTR 1 2 \"s\" \"\" \"!^{KEY}.!!\" @\ne MINFO a\\\"b c\nf\\;\\(g TXT a\n"
    );
    let read = |text: &str| {
        zone_file::from_bytes(text.as_bytes()).unwrap().records(&key, &ExternalAddresses::default()).unwrap()
    };
    let zone = read(&text);
    let written = records::zone_file(&shown(&zone, &key).unwrap(), &key);
    let dns = |zone: &[ZoneRecord]| packet::compose(zone, &key).unwrap();
    assert_eq!(records::read(&dns(&read(&written)), &key), records::read(&dns(&zone), &key), "{written}");
    // Names of the zone are relative, so that any key can take it; text stays.
    assert!(written.contains("*.a 60 IN MX 10 b\n"), "{written}");
    assert!(written.contains(&format!("x 60 IN TXT \"www.{KEY}.\" ")), "{written}");
    assert!(written.contains("x 60 IN SRV 1 2 3 @\n"), "{written}");
}

#[test]
fn a_record_in_json_is_one_record() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("zone.json");
    let from_json = |name: &str, data: &str| {
        let record = serde_json::json!({"name": name, "ttl": 60, "type": "TXT", "data": data});
        std::fs::write(&path, serde_json::json!({"key": KEY, "records": [record]}).to_string()).unwrap();
        conversion::from_json(&path, None).map_err(|failure| failure.to_string())
    };
    assert_eq!(from_json("a", "x").unwrap(), "a 60 IN TXT \"x\"\n");
    for (name, data) in [("a", "x\nb TXT y"), ("$ORIGIN b\na", "x"), ("a", "x\r\n")] {
        let message = from_json(name, data).unwrap_err();
        assert!(message.contains("record 1: expected one line"), "{message}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(3_000))]

    #[test]
    fn no_zone_is_too_odd_for_a_report(
        lines in proptest::collection::vec(
            (
                proptest::sample::select(vec!["@", "a", "b", "b.a", "*", "*.a", "*.b.a", "c.d.e", "\\@"]),
                proptest::sample::select(vec![0, 60, 1 << 30]),
                proptest::sample::select(vec![
                    "A 192.0.2.1", "CNAME a", "CNAME b", "CNAME b.a", "CNAME *.a", "CNAME @", "CNAME x.example.",
                    "MX 10 a", "MX 0 .", "SRV 1 1 1 b", "HTTPS 1 .", "HTTPS 0 b", "HTTPS 1 a ipv4hint=192.0.2.1",
                    "NS a", "NS ns.example.", "DNAME b", "SOA a b 1 1 1 1 1", "TXT x", "SPF x", "DS 1 8 2 00",
                    "TYPE65300 \\# 1 00",
                ]),
            ),
            1..12,
        )
    ) {
        let text: String = lines.iter().map(|(name, ttl, data)| format!("{name} {ttl} {data}\n")).collect();
        let key = PublicKey::try_from(KEY).unwrap();
        let file = zone_file::from_bytes(text.as_bytes()).unwrap();
        // A CNAME may be beside other records.
        let Ok(zone) = file.records(&key, &EXAMPLES) else { return Ok(()) };
        let report = report(&file, Some(key)).unwrap();
        prop_assert_eq!(report.records.len(), zone.len());
        let weights: usize = report.records.iter().map(|record| record.bytes).sum();
        prop_assert_eq!(weights + HEADER_SIZE, report.size);
        let names: std::collections::BTreeSet<_> = report.records.iter().map(|it| &it.record.owner).collect();
        for name in names {
            prop_assert!(report.answers.iter().any(|answer| answer.name == *name), "{}: {}", name, text);
        }
    }
}
