//! The store of the system: real `update-ca-certificates`, on copies of its directories that only this test sees.

use std::{
    fs,
    path::Path,
    process::{Command, Stdio},
    time::SystemTime,
};

use pkdns_testing::{namespace, programs};

use super::{User, pages::Pkdns, tree};

/// Where Debian keeps what was added, and what programs read.
const ADDED: &str = "/usr/local/share/ca-certificates";
const READ: &str = "/etc/ssl/certs";

/// Puts a copy of a directory in its place.
fn shadow(directory: &str, copies: &Path) {
    let copy = copies.join(directory.replace('/', "_"));
    namespace::run("cp", ["-a", directory, copy.to_str().unwrap()]);
    namespace::run("mount", ["--bind", copy.to_str().unwrap(), directory]);
}

fn succeeds(command: &mut Command) -> bool {
    command.stdout(Stdio::null()).stderr(Stdio::null()).status().unwrap().success()
}

#[test]
fn programs_of_the_system_believe_what_is_installed_and_nothing_is_left_when_it_is_removed() {
    let name =
        "system::programs_of_the_system_believe_what_is_installed_and_nothing_is_left_when_it_is_removed";
    if !namespace::is_inside(name) {
        return;
    }
    let find = |program, package| programs::find(program, |_| true, package);
    let found =
        [("update-ca-certificates", "Debian's ca-certificates"), ("curl", "curl"), ("openssl", "openssl")]
            .map(|(program, package)| find(program, package));
    if found.iter().any(Option::is_none) || !Path::new(ADDED).is_dir() {
        return;
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let _entered = runtime.enter();
    let (user, copies) = (User::new(), tempfile::tempdir().unwrap());
    let server = Pkdns::start(&user);
    for directory in [ADDED, READ] {
        shadow(directory, copies.path());
    }
    // Brings the bundle up to date, and is what comes back in the end.
    namespace::run("update-ca-certificates", [""; 0]);
    let before = [ADDED, READ].map(|directory| tree(Path::new(directory)));

    let url = format!("https://localhost:{}/", server.https.port());
    let is_believed = || succeeds(Command::new("curl").args(["--silent", "--max-time", "20", &url]));
    let leaf = user.path("leaf.pem");
    let signed = user.bridge.leaf("www.a.key", SystemTime::now()).unwrap();
    fs::write(&leaf, pem(&signed.cert[0])).unwrap();
    let is_verified = || {
        let mut verify = Command::new("openssl");
        verify.args([
            "verify",
            "-verify_hostname",
            "www.a.key",
            "-CAfile",
            "/etc/ssl/certs/ca-certificates.crt",
        ]);
        succeeds(verify.arg(&leaf))
    };
    assert!(!is_believed() && !is_verified());
    let said = user.trust(&["install", "--only", "system"]);
    assert!(said.code == 0 && said.out.matches("added  ").count() == 2, "{}{}", said.out, said.err);
    assert!(is_believed() && is_verified(), "{}", said.out);
    let said = user.trust(&["install", "--only", "system"]);
    assert!(said.code == 0 && said.out.matches("unchanged").count() == 2, "{}{}", said.out, said.err);

    let said = user.trust(&["remove", "--only", "system"]);
    assert!(said.code == 0 && said.out.matches("removed").count() == 2, "{}{}", said.out, said.err);
    assert!(!is_believed() && !is_verified(), "{}", said.out);
    let after = [ADDED, READ].map(|directory| tree(Path::new(directory)));
    assert!(after == before, "byte for byte as before");
}

#[test]
fn who_may_not_change_the_system_is_told_the_command_for_it() {
    let name = "system::who_may_not_change_the_system_is_told_the_command_for_it";
    if !namespace::is_inside(name) || !Path::new(ADDED).is_dir() {
        return;
    }
    let user = User::new();
    // Root may write everywhere but there.
    namespace::run("mount", ["--bind", ADDED, ADDED]);
    namespace::run("mount", ["-o", "remount,bind,ro", ADDED]);
    let said = user.trust(&["install", "--only", "system"]);
    let place = user.path(".pkdns").display().to_string();
    assert!(said.code == 0 && said.out.starts_with("skipped "), "{}{}", said.out, said.err);
    assert!(
        said.out.contains("-> sudo ")
            && said.out.contains(&format!("trust install --only system --server {place}")),
        "{}",
        said.out
    );
}

fn pem(der: &[u8]) -> String {
    use base64::{Engine, prelude::BASE64_STANDARD};
    format!("-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n", BASE64_STANDARD.encode(der))
}
