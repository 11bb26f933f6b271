//! The command `zone` as its users run it.

#![allow(clippy::unwrap_used, reason = "what the tests share may panic as they may")]

#[allow(dead_code, reason = "other tests use more of it")]
mod program;

use program::{HEX, KEY, directory, file, run, run_with_input};

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
        (vec!["zone", "wrong", "--json"], "error: --json writes names in full: add --key or --seed"),
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
