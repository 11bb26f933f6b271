//! `serve`: its configuration and its state.

use std::{fs, net::TcpListener};

use pkdns_testing::program::{HEX, KEY, Z32};

use super::{PASSWORD, assert_each, assert_failure, place};

const IDENTITY: &str = "[[identity]]\nseed = 'seed'\nzone_file = 'zone'\n";

#[test]
fn mistakes_in_the_configuration_are_told_with_what_to_write() {
    let identity = |rest: &str| format!("{IDENTITY}{rest}");
    let told = format!("address = 'dyndns'\nuser = 'router'\npassword = '{PASSWORD}'\n");
    let files = [
        ("empty", String::new()),
        ("large", "#".repeat((4 << 20) + 1)),
        ("unknown", identity("intervall = '1h'\n")),
        ("unquoted", identity(&format!("password = {PASSWORD}\n"))),
        ("clear", format!("[dyndns]\nlisten = ['127.0.0.1:0']\n{}", identity(&told))),
        ("twice", format!("{IDENTITY}[[identity]]\nseed = 'other'\nzone_file = 'zone'\n")),
        ("seedless", IDENTITY.replace("'seed'", "'missing'")),
        ("zoneless", IDENTITY.replace("'zone'", "'missing'")),
        ("wrong", IDENTITY.replace("'zone'", "'wrong.zone'")),
        ("seed_itself", IDENTITY.replace("'seed'", &format!("'{HEX}'"))),
        ("foreign", format!("[dyndns]\nlisten = ['192.0.2.99:8245']\n{IDENTITY}")),
        ("state", format!("state = 'zone/below'\n{IDENTITY}")),
        (
            "certificate",
            format!(
                "state = 'new'\n[dyndns]\nlisten = ['127.0.0.1:0']\ncert_path = 'missing'\nkey_path = 'seed'\n{IDENTITY}"
            ),
        ),
    ];
    let mut all: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, text.as_str())).collect();
    all.extend([("other", Z32), ("wrong.zone", "@ A nonsense\n")]);
    let directory = place(&all);
    let serve = |file: &'static str| ["serve", "--config", file];
    let check = |file: &'static str| ["serve", "--check", "--config", file];
    assert_each(
        &directory,
        &[
            (&serve("missing"), 1, ["\"missing\": ", "name a configuration"]),
            (&serve("empty"), 1, ["\"empty\": ", "identity"]),
            (&serve("large"), 1, ["\"large\": it is larger than 4194304 bytes", "name a configuration"]),
            (&serve("unknown"), 1, ["there is no option `intervall`", "did you mean `interval`?"]),
            (&serve("unquoted"), 1, ["\"unquoted\": ", "line 4"]),
            (&serve("clear"), 1, ["password is not a hash", "make one with pkdns-cli password"]),
            (&check("twice"), 1, ["hold the same key", "name it once"]),
            (&check("seedless"), 1, ["cannot read the seed file", "check its name"]),
            (&check("zoneless"), 1, ["cannot read the zone file", "check its name"]),
            (&check("wrong"), 1, ["line 1, column 5", "expected IPv4 address"]),
            (&check("seed_itself"), 1, ["cannot read the seed file", "check its name"]),
            (&check("state"), 1, ["state: ", "choose another directory"]),
            (&check("certificate"), 1, ["dyndns: ", "missing: No such file"]),
            (&check("foreign"), 1, ["no interface of this machine has the address 192.0.2.99", "write one"]),
            (&serve("state"), 1, ["cannot use the state directory", "choose another as state"]),
            (&serve("certificate"), 1, ["dyndns: ", "missing: No such file"]),
        ],
    );
}

#[test]
fn a_port_that_is_taken_and_a_state_that_is_broken_are_told() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let directory = place(&[
        ("taken", &format!("state = 'one'\n[dyndns]\nlisten = ['{address}']\n{IDENTITY}")),
        ("broken", &format!("state = 'two'\nbootstrap = ['127.0.0.1:9']\n{IDENTITY}")),
    ]);
    let parts = [format!("cannot listen on {address}"), "stop what listens there".to_string()];
    assert_failure(
        directory.path(),
        &["serve", "--config", "taken"],
        "",
        1,
        &parts.each_ref().map(String::as_str),
    );

    let state = directory.path().join("two");
    fs::create_dir(&state).unwrap();
    for text in ["nonsense", &" ".repeat(5000)] {
        fs::write(state.join(format!("{KEY}.published.json")), text).unwrap();
        let parts = [".published.json: ", "repair or remove this file"];
        assert_failure(directory.path(), &["serve", "--config", "broken"], "", 1, &parts);
    }
    let lock = fs::File::create(state.join("lock")).unwrap();
    lock.lock().unwrap();
    let parts = ["another pkdns-cli serve is using it", "stop that one"];
    assert_failure(directory.path(), &["serve", "--config", "broken"], "", 1, &parts);
}
