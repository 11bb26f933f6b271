//! The units in `contrib`, as systemd reads them.

use std::{fs, path::Path, process::Command};

use pkdns_testing::programs::find;

/// What systemd itself calls a low exposure ends here.
const MOST_EXPOSED: f64 = 2.0;

fn analyze() -> Option<Command> {
    find("systemd-analyze", |_| true, "systemd").map(Command::new)
}

/// A directory with the units, for programs that are there.
fn units() -> tempfile::TempDir {
    let directory = tempfile::tempdir().unwrap();
    let contrib = Path::new(env!("CARGO_MANIFEST_DIR")).join("../contrib");
    for name in ["pkdns.service", "pkdns.socket", "pkdns-publisher.service"] {
        let unit = fs::read_to_string(contrib.join(name)).unwrap();
        let unit = unit
            .replace("/usr/local/bin/pkdns-cli", "/bin/true")
            .replace("/usr/local/bin/pkdns", "/bin/true");
        fs::write(directory.path().join(name), unit).unwrap();
    }
    directory
}

#[test]
fn systemd_finds_nothing_wrong_with_the_units() {
    let Some(mut analyze) = analyze() else { return };
    let directory = units();
    for (name, mistake) in
        [("pkdns.service", None), ("pkdns.socket", None), ("pkdns-publisher.service", None)]
            .into_iter()
            .chain([("pkdns.service", Some("WatchdogSecs=30s"))])
    {
        let path = directory.path().join(name);
        if let Some(mistake) = mistake {
            let unit = fs::read_to_string(&path).unwrap();
            fs::write(&path, unit.replace("WatchdogSec=30s", mistake)).unwrap();
            analyze = Command::new(analyze.get_program());
        }
        let output =
            analyze.args(["verify", "--man=no", "--recursive-errors=no"]).arg(&path).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(said.contains(name), mistake.is_some(), "{name}: {said}");
        analyze = Command::new(analyze.get_program());
    }
}

#[test]
fn the_units_leave_little_to_attack() {
    let Some(analyze) = analyze() else { return };
    let directory = units();
    for name in ["pkdns.service", "pkdns-publisher.service"] {
        let output = Command::new(analyze.get_program())
            .args(["security", "--offline=true", "--no-pager"])
            .arg(directory.path().join(name))
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&output.stdout);
        let exposure = said.split("Overall exposure level for ").nth(1).unwrap().split(": ").nth(1).unwrap();
        let exposure: f64 = exposure.split(' ').next().unwrap().parse().unwrap();
        assert!(exposure < MOST_EXPOSED, "{name}: {said}");
    }
}
