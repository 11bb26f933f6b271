//! What a program that asked for JSON is told of a failure.

use std::fs;

use pkdns_testing::program::{HEX, KEY, directory, file, run};
use serde_json::Value;

use super::NOBODY;

#[test]
fn what_goes_wrong_is_told_to_a_program_in_json() {
    let directory = directory();
    file(&directory, "seed", HEX);
    let mode = std::os::unix::fs::PermissionsExt::from_mode(0o644);
    fs::set_permissions(directory.path().join("seed"), mode).unwrap();
    file(&directory, "zone", "@ 300 A 192.0.2.1\n@ 300 MX 10 mial\n");
    let told = |arguments: &[&str], code: i32| -> Vec<Value> {
        let finished = run(directory.path(), arguments);
        assert_eq!((finished.code, finished.out.as_str()), (code, ""), "{}", finished.err);
        finished.err.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    };
    let lines = told(&["--bootstrap", NOBODY, "publish", "seed", "zone", "--json"], 4);
    let levels: Vec<_> = lines.iter().map(|line| line["level"].as_str().unwrap()).collect();
    assert_eq!(levels, ["WARN", "WARN", "ERROR"], "{lines:?}");
    let message = |line: &Value| line["message"].as_str().unwrap().to_owned();
    assert!(message(&lines[0]).starts_with("\"seed\" is open to other users"), "{lines:?}");
    assert!(message(&lines[2]).starts_with("the DHT could not be joined"), "{lines:?}");
    assert_eq!((&lines[1]["exit_code"], &lines[2]["exit_code"]), (&Value::Null, &4.into()));

    // Before the command line is understood, and without what people are told of its usage.
    for (arguments, expected) in [
        (&["publish", "--json", "--nonsense"][..], "unexpected argument '--nonsense' found"),
        (&["publish", "--json", "seed"], "a seed file and a zone file are needed"),
        (&["resolve", &KEY[..51], "--json"], "the last label has 51 characters"),
    ] {
        let lines = told(arguments, 2);
        assert_eq!((lines.len(), &lines[0]["exit_code"]), (1, &2.into()), "{lines:?}");
        let message = message(&lines[0]);
        assert!(message.contains(expected) && !message.contains("Usage:"), "{message}");
    }
    run(directory.path(), &["publish", "--nonsense"]).assert_failed(2, "Usage:");
}
