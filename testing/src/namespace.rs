//! A machine of a test's own, and an internet at the other end of its cable: network namespaces.

use std::{
    env,
    ffi::OsStr,
    fs,
    future::Future,
    path::Path,
    process::{Command, Stdio},
};

use crate::{process::Killed, programs, wait};

/// Set for the test that runs in there.
const INSIDE: &str = "PKDNS_TEST_NAMESPACE";

/// Whoever may not make a network may make one as another user.
const WAYS: [&[&str]; 2] = [&["--net", "--mount"], &["--user", "--map-root-user", "--net", "--mount"]];

/// Runs `test`, which is that of the test `name`, on a machine that has loopback and nothing else.
pub fn on_a_machine_of_its_own(name: &str, test: impl Future<Output = ()>) {
    if is_inside(name) {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.unwrap().block_on(test);
    }
}

/// Runs the test `name` of this program once more, on a machine that has loopback and nothing else. True in there, which is
/// where the test goes on.
pub fn is_inside(name: &str) -> bool {
    if env::var_os(INSIDE).is_some() {
        run("ip", ["link", "set", "lo", "up"]);
        return true;
    }
    let works = |unshare: &Path, way: &[&str]| {
        let mut attempt = Command::new(unshare);
        attempt.args(way).args(["ip", "link", "add", "type", "veth"]);
        let attempt = attempt.stdout(Stdio::null()).stderr(Stdio::null());
        attempt.status().is_ok_and(|status| status.success())
    };
    let is_there = |program: &Path| {
        let mut version = Command::new(program);
        version.arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok()
    };
    let found = [("ip", "Debian's iproute2"), ("unshare", "Debian's util-linux")]
        .map(|(program, package)| programs::find(program, is_there, package));
    let [Some(_), Some(unshare)] = found else { return false };
    let Some(way) = WAYS.iter().find(|way| works(&unshare, way)) else {
        // No package gives the right to do so, which many containers withhold.
        programs::skip("this user may not make network namespaces");
        return false;
    };
    let mut again = Command::new(unshare);
    again.args(*way).arg(env::current_exe().unwrap()).args(["--exact", &full_name(name), "--nocapture"]);
    let status = again.env(INSIDE, "1").status().unwrap();
    assert!(status.success(), "{name} on a machine of its own: see above");
    false
}

/// The name of the test with the modules that it is in.
fn full_name(name: &str) -> String {
    let list =
        Command::new(env::current_exe().unwrap()).args(["--list", "--format", "terse"]).output().unwrap();
    let list = String::from_utf8(list.stdout).unwrap();
    let tests = list.lines().filter_map(|line| line.strip_suffix(": test"));
    let is_it = |test: &&str| *test == name || test.ends_with(&format!("::{name}"));
    match tests.filter(is_it).collect::<Vec<_>>()[..] {
        [test] => test.to_owned(),
        ref tests => panic!("{name} is to be one of the tests, not {tests:?}"),
    }
}

/// Runs a program to its end, which has to be a good one.
pub fn run<A: AsRef<OsStr>>(program: &str, arguments: impl IntoIterator<Item = A>) {
    succeed(Command::new(program).args(arguments));
}

fn succeed(command: &mut Command) {
    let status = command.status().unwrap();
    assert!(status.success(), "{command:?}: {status}");
}

/// What is at the other end of the cable. Ends with this.
pub struct Internet {
    /// Has the namespace.
    holder: Killed,
}

impl Internet {
    /// Gives the machine that it is called on the address `own`, and the internet `others` and that of the `router`, all of
    /// one family.
    pub fn connect(own: &str, router: &str, others: &[&str]) -> Self {
        let holder = Command::new("unshare").args(["--net", "sleep", "infinity"]).spawn().unwrap();
        let internet = Self { holder: Killed(holder) };
        let network_of = |process: &str| fs::read_link(format!("/proc/{process}/ns/net")).unwrap();
        let pid = internet.holder.0.id().to_string();
        wait::until("it has no network of its own", || network_of(&pid) != network_of("self"));
        let (length, bits) = if own.contains(':') { (64, 128) } else { (24, 32) };
        // Nobody else has these addresses, which would take a second to find out.
        let flags: &[&str] = if own.contains(':') { &["nodad"] } else { &[] };
        run("ip", ["link", "add", "uplink", "type", "veth", "peer", "name", "cable", "netns", &pid]);
        run("ip", [&["address", "add", &format!("{own}/{length}"), "dev", "uplink"], flags].concat());
        run("ip", ["link", "set", "uplink", "up"]);
        let there = |words: &[&str]| succeed(internet.command("ip").args(words));
        there(&["link", "set", "lo", "up"]);
        there(&["link", "set", "cable", "up"]);
        let all = others.iter().map(|other| format!("{other}/{bits}")).chain([format!("{router}/{length}")]);
        for address in all {
            there(&[&["address", "add", &address, "dev", "cable"], flags].concat());
        }
        run("ip", ["route", "add", "default", "via", router, "dev", "uplink"]);
        there(&["route", "add", "default", "via", own, "dev", "cable"]);
        internet
    }

    /// A program to run there.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{}/ns/net", self.holder.0.id())).arg("--").arg(program);
        command
    }
}
