//! Systems that are not there: the files that they would get, and the commands, are compared with those in `kept`. With `KEEP=1` they
//! are written there anew.

use std::{
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
};

use pkdns_testing::program;
use tempfile::TempDir;

use super::machine::list;

/// A directory, an empty file (or one that is a link, behind an arrow), or `FILE = CONTENT`.
const UBUNTU: &[&str] = &[
    "etc/resolv.conf -> ../run/systemd/resolve/stub-resolv.conf",
    "usr/lib/systemd/libsystemd-shared-255.so",
    "etc/NetworkManager/NetworkManager.conf",
    "etc/systemd/system/",
];
const SERVER: &[&str] = &[
    "etc/resolv.conf -> ../run/systemd/resolve/stub-resolv.conf",
    "usr/lib/x86_64-linux-gnu/systemd/libsystemd-shared-252.so",
    "etc/systemd/system/",
];
const NEWER: &[&str] = &[
    "etc/resolv.conf -> ../run/systemd/resolve/stub-resolv.conf",
    "usr/lib/systemd/libsystemd-shared-258.3-1.so",
    "etc/systemd/",
];
const DESKTOP: &[&str] = &[
    "etc/resolv.conf = nameserver 192.168.1.1",
    "etc/NetworkManager/conf.d/",
    "etc/NetworkManager/dnsmasq.d/",
    "usr/sbin/dnsmasq",
];
const WITH_DNSMASQ: &[&str] =
    &["etc/resolv.conf = nameserver 127.0.0.1", "etc/NetworkManager/NetworkManager.conf = dns=dnsmasq"];
const DEBIAN: &[&str] =
    &["etc/resolv.conf = nameserver 127.0.0.1", "etc/dnsmasq.d/", "usr/lib/systemd/libsystemd-shared-252.so"];
const ALPINE: &[&str] =
    &["etc/resolv.conf = nameserver ::1", "etc/unbound/unbound.conf.d/", "sbin/rc-service"];
const ROUTER: &[&str] = &["etc/resolv.conf = nameserver 9.9.9.9", "etc/dnsmasq.d/"];

/// What is kept under which name, the image, and the arguments.
const KEPT: [(&str, &[&str], &[&str]); 9] = [
    ("systemd-resolved-255", UBUNTU, &["--server", "127.0.0.1:5300"]),
    (
        "systemd-resolved-252",
        SERVER,
        &["--server", "[::1]:5300", "--suffix", "key", "--suffix", "pk.example"],
    ),
    ("systemd-resolved-258", NEWER, &["--server", "192.168.1.2"]),
    ("networkmanager", DESKTOP, &["--server", "127.0.0.1:5300"]),
    ("networkmanager-dnsmasq", WITH_DNSMASQ, &["--server", "192.168.1.2"]),
    ("dnsmasq", DEBIAN, &["--server", "127.0.0.1:5300", "--private-addresses"]),
    ("dnsmasq-of-a-router", ROUTER, &["--server", "[2001:db8::2]:53", "--system", "dnsmasq"]),
    ("unbound", ALPINE, &["--server", "127.0.0.1:5300", "--private-addresses"]),
    ("unbound-elsewhere", ALPINE, &["--server", "192.168.1.2", "--suffix", "key", "--suffix", "pk"]),
];

fn image(entries: &[&str]) -> TempDir {
    let directory = program::directory();
    for entry in entries {
        let (path, link) = entry.split_once(" -> ").map_or((*entry, None), |(path, link)| (path, Some(link)));
        let (path, content) = path.split_once(" = ").unwrap_or((path, ""));
        let target = directory.path().join(path);
        if path.ends_with('/') {
            fs::create_dir_all(&target).unwrap();
            continue;
        }
        fs::create_dir_all(target.parent().unwrap()).unwrap();
        match link {
            Some(link) => symlink(link, &target).unwrap(),
            None => fs::write(&target, format!("{content}\n")).unwrap(),
        }
    }
    directory
}

fn everything(directory: &Path) -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    list(directory, &mut files);
    files
}

/// The directories, too, which are empty at times.
fn directories(directory: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(directory).unwrap().filter_map(Result::ok) {
        if entry.path().is_dir() {
            found.extend(directories(&entry.path()));
            found.push(entry.path());
        }
    }
    found.sort();
    found
}

#[test]
fn each_system_gets_the_files_that_are_kept_and_loses_them_again() {
    let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/interop/connect/kept");
    for (name, entries, arguments) in KEPT {
        let image = image(entries);
        let root = image.path().to_str().unwrap();
        let (before, before_directories) = (everything(image.path()), directories(image.path()));
        let connect = |more: &[&str]| {
            let arguments = [&["connect", "--root", root], arguments, more].concat();
            program::run(image.path(), &arguments)
        };
        let shown = connect(&["--dry-run"]);
        assert_eq!((shown.code, everything(image.path())), (0, before.clone()), "{name}: {}", shown.err);
        let connected = connect(&["--yes"]);
        assert_eq!(connected.code, 0, "{name}: {}", connected.err);
        let mut text = connected.out.replace(root, "");
        for (path, content) in everything(image.path()) {
            if before.iter().all(|(old, _)| *old != path) {
                let path = path.display().to_string().replace(root, "");
                text.push_str(&format!("\n=== {path}\n{content}"));
            }
        }
        let path = kept.join(format!("{name}.txt"));
        if std::env::var_os("KEEP").is_some() {
            fs::write(&path, &text).unwrap();
        }
        assert_eq!(text, fs::read_to_string(&path).unwrap(), "{name}");
        let again = connect(&["--yes"]);
        assert!(again.code == 0 && again.out.contains("nothing was changed"), "{name}: {}", again.out);

        let undone = program::run(image.path(), &["connect", "--root", root, "--undo", "--yes"]);
        assert_eq!(undone.code, 0, "{name}: {}", undone.err);
        assert_eq!(
            (everything(image.path()), directories(image.path())),
            (before, before_directories),
            "{name}"
        );
    }
}

#[test]
fn systems_that_cannot_be_connected_say_what_to_do() {
    for (entries, arguments, part) in [
        (SERVER, ["--server", "192.168.1.2"].as_slice(), "run pkdns on this machine"),
        (
            &["etc/resolv.conf = nameserver 192.168.1.1"],
            &["--server", "127.0.0.1"],
            "install systemd-resolved",
        ),
        (
            &["etc/resolv.conf = nameserver 127.0.0.1", "etc/pihole/pihole.toml"],
            &["--server", "127.0.0.1:5300"],
            "pihole-FTL --config misc.dnsmasq_lines '[\"server=/key/127.0.0.1#5300\"]'",
        ),
        (&["etc/openwrt_release"], &["--server", "192.168.1.2"], "uci add_list"),
        (DEBIAN, &[], "name the address of pkdns with --server"),
        (
            DEBIAN,
            &["--server", "127.0.0.1", "--system", "networkmanager"],
            "there is no /etc/NetworkManager here",
        ),
    ] {
        let image = image(entries);
        let root = image.path().to_str().unwrap();
        let failed = program::run(image.path(), &[&["connect", "--root", root, "--yes"], arguments].concat());
        failed.assert_failed(1, part);
    }
}

#[test]
fn a_machine_that_was_connected_in_one_way_is_not_connected_in_another_besides() {
    let image = image(DEBIAN);
    let root = image.path().to_str().unwrap();
    let connect = |more: &[&str]| {
        let arguments = [&["connect", "--root", root, "--yes", "--server", "127.0.0.1:5300"], more].concat();
        program::run(image.path(), &arguments)
    };
    assert_eq!(connect(&[]).code, 0);
    fs::create_dir_all(image.path().join("etc/unbound/unbound.conf.d")).unwrap();
    connect(&["--system", "unbound"]).assert_failed(1, "dnsmasq was connected before");
    // To another pkdns it is one change.
    let arguments = ["connect", "--root", root, "--yes", "--server", "192.168.1.2"];
    let changed = program::run(image.path(), &arguments);
    assert!(
        changed.out.contains("  - server=/key/127.0.0.1#5300\n  + server=/key/192.168.1.2#53\n"),
        "{}",
        changed.out
    );
}
