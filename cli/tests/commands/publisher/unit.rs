//! The systemd unit: what it starts exists, and systemd understands it.

use std::{collections::BTreeSet, fs, process::Command};

use pkdns_testing::{program, programs};

use super::world;

const UNIT: &str = include_str!("../../../../contrib/pkdns-publisher.service");
const SERVER_UNIT: &str = include_str!("../../../../contrib/pkdns.service");
const PROGRAM: &str = "/usr/local/bin/pkdns-cli";

/// Worst exposure that `systemd-analyze security` may find, from 0 to 100.
const MOST_EXPOSURE: &str = "20";

fn value<'a>(name: &str) -> impl Iterator<Item = &'a str> {
    let prefix = format!("{name}=");
    UNIT.lines().filter_map(move |line| line.strip_prefix(prefix.as_str()))
}

#[tokio::test(flavor = "multi_thread")]
async fn the_unit_starts_what_the_program_understands() {
    let world = world().await;
    let config = "state = 'state'\n[[identity]]\nseed = 'seed'\nrecords = '@ 300 A 192.0.2.1'\n";
    world.file("publisher.toml", config);
    let command = value("ExecStart").next().unwrap();
    let (program, arguments) = command.split_once(' ').unwrap();
    assert_eq!(program, PROGRAM);
    let mut arguments: Vec<&str> = arguments.split(' ').collect();
    let path = arguments.iter_mut().find(|argument| argument.ends_with("/publisher.toml")).unwrap();
    *path = "publisher.toml";
    arguments.push("--check");
    let checked = program::run(world.path(), &arguments);
    assert_eq!((checked.code, checked.out.as_str()), (0, "1 identity can be published\n"), "{}", checked.err);
    // What sd_notify is for, and a directory for the state.
    for (name, expected) in [("Type", "notify"), ("StateDirectory", "pkdns-publisher")] {
        assert_eq!(value(name).collect::<Vec<_>>(), [expected], "{name}");
    }
    assert_eq!(value("WatchdogSec").count(), 1);
    assert!(value("ExecReload").any(|command| command.contains("-HUP $MAINPID")));
}

#[test]
fn the_unit_is_hardened_as_that_of_the_server() {
    // Those of the server that are of no use here: a user without files of its own, and files that a group may read.
    let others = ["DynamicUser", "LimitNOFILE", "UMask"];
    let hardening = SERVER_UNIT.split_once("DynamicUser=").unwrap().1.split_once("[Install]").unwrap().0;
    let lines = hardening.lines().skip(1).filter(|line| line.contains('='));
    let wanted: BTreeSet<&str> =
        lines.filter(|line| !others.contains(&line.split_once('=').unwrap().0)).collect();
    assert!(wanted.len() > 8, "{wanted:?}");
    let present: BTreeSet<&str> = UNIT.lines().collect();
    assert_eq!(wanted.difference(&present).collect::<Vec<_>>(), Vec::<&&str>::new());
    assert!(present.contains("UMask=0077"));
}

#[test]
fn systemd_understands_the_unit_and_finds_little_to_harden() {
    let Some(analyze) = programs::find("systemd-analyze", |_| true, "systemd") else { return };
    let directory = tempfile::tempdir().unwrap();
    let unit = directory.path().join("pkdns-publisher.service");
    fs::write(&unit, UNIT.replace(PROGRAM, env!("CARGO_BIN_EXE_pkdns-cli"))).unwrap();
    let run = |arguments: &[&str]| {
        let output = Command::new(&analyze).args(arguments).arg(&unit).output().unwrap();
        let said = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
        (output.status.success(), said)
    };
    let (is_valid, said) = run(&["verify", "--man=no"]);
    let about_ours: Vec<&str> = said.lines().filter(|line| line.contains("pkdns-publisher")).collect();
    assert!(is_valid && about_ours.is_empty(), "{said}");
    let (is_hard, said) = run(&["security", "--no-pager", "--offline=yes", "--threshold", MOST_EXPOSURE]);
    assert!(is_hard, "{said}");
}
