//! The command `zone` as its users run it.

use pkdns_testing::program::{HEX, KEY, directory, file, run, run_with_input};

#[test]
fn a_zone_file_is_weighed_and_answered() {
    let directory = directory();
    file(&directory, "zone", "$INCLUDE more\n@ 300 A {external_ipv4} ; {external_ipv6}\n@ MX 10 mial\n");
    file(&directory, "more", "mail 300 A 192.0.2.2\n");
    let shown = run(directory.path(), &["zone", "zone"]);
    assert_eq!(shown.code, 0, "{}", shown.err);
    for expected in [
        "KEY\n122 of 1000 bytes, 878 left\n",
        "BYTES  NAME  TTL  TYPE  DATA\n12                      (header)\n",
        "\n@          A     300  192.0.2.1\n",
        "\nwarning: @ MX: mial has no address\n",
    ] {
        assert!(shown.out.contains(expected), "{expected:?}: {}", shown.out);
    }
    let json = run(directory.path(), &["zone", "zone", "--json", "--key", KEY]);
    let value = json.json();
    let records = value["records"].as_array().unwrap();
    let weights: u64 = records.iter().map(|record| record["bytes"].as_u64().unwrap()).sum();
    assert_eq!(value["size"].as_u64(), Some(weights + 12));
    assert_eq!(value["files"].as_array().map(Vec::len), Some(2));
    // Through standard input, and back.
    let written = run_with_input(directory.path(), &["zone", "--from-json", "-"], &json.out);
    assert_eq!(written.out, "mail 300 IN A 192.0.2.2\n@ 300 IN A 192.0.2.1\n@ 300 IN MX 10 mial\n");
    let again = run_with_input(directory.path(), &["zone", "-", "--json", "--key", KEY], &written.out).json();
    assert_eq!(again["records"], value["records"]);
    assert_eq!(again["files"].as_array().map(Vec::len), Some(0));
    // With a seed in place of the key.
    file(&directory, "seed", HEX);
    let with_seed = run(directory.path(), &["zone", "zone", "--json", "--seed", "seed"]).json();
    assert_eq!(with_seed["key"], KEY);
}

#[test]
fn what_is_wrong_is_named_in_one_sentence() {
    let directory = directory();
    file(&directory, "empty", "");
    file(&directory, "wrong", "@ A 192.0.2.1\nwww MX mail\n");
    file(&directory, "large", &format!("a TXT {0} {0} {0} {0}\n", "x".repeat(250)));
    file(&directory, "seed", HEX);
    let record = r#"{"records": [{"name": "www.example.com.", "ttl": 1, "type": "A", "data": "192.0.2.1"}]}"#;
    file(&directory, "other.json", record);
    for (arguments, expected) in [
        (vec!["zone", "missing"], "error: cannot read the zone file \"missing\": No such file"),
        (vec!["zone", "empty"], "error: \"empty\": the zone file holds no records"),
        (vec!["zone", "wrong"], "error: \"wrong\": line 2, column 8: expected a number; found a word of 4"),
        (
            vec!["zone", "large"],
            "error: \"large\": the zone takes 1082 bytes, 82 more than the 1000 of a packet.",
        ),
        (vec!["zone", "seed"], "error: \"seed\": line 1, column 1: "),
        (vec!["zone", "wrong", "--json"], "\"message\":\"--json writes names in full: add --key or --seed\""),
        (vec!["zone", "--from-json", "seed"], "expected JSON as resolve --json and zone --json write it"),
        (vec!["zone", "--from-json", "other.json"], "the key of the zone is not written there: add --key"),
        (
            vec!["zone", "--from-json", "other.json", "--key", KEY],
            "error: \"other.json\": record 1: line 1, column 1: the name is outside",
        ),
        (vec!["zone", "wrong", "--key", &format!("www.{KEY}")], "error: --key needs the key alone"),
        (vec!["publish", "seed", "wrong"], "error: \"wrong\": line 2, column 8: expected a number"),
    ] {
        run(directory.path(), &arguments).assert_failed(1, expected);
    }
    for arguments in [
        vec!["zone"],
        vec!["zone", "wrong", "--from-json", "other.json"],
        vec!["zone", "--from-server", "192.0.2.1"],
        vec!["zone", "--from-server", "ns.example.com", "--origin", "example.com"],
        vec!["zone", "wrong", "--key", "x"],
        vec!["zone", "wrong", "--key", KEY, "--seed", "seed"],
    ] {
        assert_eq!(run(directory.path(), &arguments).code, 2, "{arguments:?}");
    }
}

/// A case of the corpus.
struct Case<'a> {
    title: &'a str,
    zone: Vec<u8>,
    is_accepted: bool,
    expected: Vec<&'a str>,
}

fn cases(text: &str) -> impl Iterator<Item = Case<'_>> {
    text.split("=== ").skip(1).map(|case| {
        let (title, case) = case.split_once('\n').unwrap();
        let (zone, expectation) = case.split_once("\n--- ").unwrap();
        let (kind, expected) = expectation.split_once('\n').unwrap();
        assert!(["accepted", "refused"].contains(&kind), "{title}: {kind}");
        Case {
            title,
            zone: bytes(zone),
            is_accepted: kind == "accepted",
            expected: expected.lines().collect(),
        }
    })
}

/// A text in which ⟦0d⟧ stands for a byte.
fn bytes(text: &str) -> Vec<u8> {
    let mut parts = text.split('⟦');
    let mut bytes = parts.next().unwrap().as_bytes().to_vec();
    for part in parts {
        let (hexadecimal, rest) = part.split_once('⟧').unwrap();
        bytes.push(u8::from_str_radix(hexadecimal, 16).unwrap());
        bytes.extend_from_slice(rest.as_bytes());
    }
    bytes
}

#[test]
fn zone_files_that_other_programs_stumbled_over_are_read_or_refused_with_the_reason() {
    let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/commands/zone_corpus");
    let directory = directory();
    let mut count = 0;
    let mut wrong = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_none_or(|ending| ending != "txt") {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        for Case { title, zone, is_accepted, expected } in cases(&text) {
            count += 1;
            std::fs::write(directory.path().join("zone"), zone).unwrap();
            let shown = run(directory.path(), &["zone", "zone", "--json", "--key", KEY]);
            let problem = match is_accepted {
                true if shown.code == 0 => differences(&shown.json(), &expected),
                false if shown.code == 1 => {
                    let messages = shown.messages().join("\n");
                    let is_told = |part: &&str| messages.contains(*part);
                    (!expected.iter().all(is_told)).then(|| shown.err.clone())
                }
                _ => Some(format!("exit code {}: {}", shown.code, shown.err)),
            };
            wrong.extend(problem.map(|problem| format!("{title}\n{problem}")));
        }
    }
    assert!(wrong.is_empty(), "{} of {count}:\n\n{}", wrong.len(), wrong.join("\n\n"));
    assert!(count > 80, "{count}");
}

/// What is shown in place of what is expected.
fn differences(shown: &serde_json::Value, expected: &[&str]) -> Option<String> {
    let text = |value: &serde_json::Value, field: &str| value[field].as_str().unwrap().to_string();
    let key = format!("{KEY}.");
    let records = shown["records"].as_array().unwrap().iter().map(|record| {
        let owner = text(record, "name");
        let owner = match owner.strip_suffix(&key).unwrap() {
            "" => "@",
            below => below.strip_suffix('.').unwrap(),
        };
        let (record_type, data) = (text(record, "type"), text(record, "data"));
        format!("{owner} {} {record_type} {}", record["ttl"], data.replace(&key, "KEY."))
    });
    let warnings = shown["warnings"].as_array().unwrap().iter();
    // Whose file it is stands before the line.
    let warnings = warnings.map(|warning| warning.as_str().unwrap().replacen("\"zone\": ", "", 1));
    let lines: Vec<String> = records.chain(warnings.map(|warning| format!("! {warning}"))).collect();
    let is_as_expected = lines.len() == expected.len()
        && lines.iter().zip(expected).all(|(line, expected)| match expected.starts_with("! ") {
            true => line.starts_with(expected),
            false => line == expected,
        });
    (!is_as_expected).then(|| lines.join("\n"))
}

#[test]
fn what_is_hardly_ever_meant_is_said_where_a_zone_is_checked() {
    let directory = directory();
    file(&directory, "seed", HEX);
    file(&directory, "home.zone", "@ 300 A 192.0.2.1\n@ 300 MX 10 mial\n_dmarc 300 TXT v=DMARC1; p=none\n");
    let config = "[[identity]]\nseed = 'seed'\nzone_file = 'home.zone'\n";
    file(&directory, "publisher.toml", config);
    let checked = run(directory.path(), &["serve", "--check"]);
    assert_eq!((checked.code, checked.out.as_str()), (0, "1 identity can be published\n"));
    for expected in
        ["home.zone\": line 3, column 24: the text ends before", "home.zone\": @ MX: mial has no address\n"]
    {
        assert!(checked.err.contains(expected), "{}", checked.err);
    }
    file(&directory, "publisher.toml", "[[identity]]\nseed = 'seed'\nrecords = '@ 300 MX 10 mial'\n");
    let checked = run(directory.path(), &["serve", "--check"]);
    assert!(checked.err.contains("seed\": @ MX: mial has no address\n"), "{}", checked.err);
}
