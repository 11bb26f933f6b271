//! The program: SIGHUP, a file that changes, and flags that go on to win.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::SocketAddr,
    path::Path,
    process::{Command, Stdio},
    sync::{Arc, Mutex},
    thread,
    time::{Duration, Instant},
};

use hickory_proto::rr::RecordType;
use pkdns_testing::{process::Killed, server::query, wait};
use tempfile::TempDir;

use super::probes::over_udp;

/// The options that are seen to act here.
pub(crate) const SEEN: [&str; 2] = ["verbose", "reload_on_change"];

/// Files are looked at every five seconds, and the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(60);

const QUIET: &str = "fallback_dns = '127.0.0.1:9'\nlisten = '127.0.0.1:0'\n";

/// The program, which does not outlive its test.
struct Program {
    child: Killed,
    directory: TempDir,
    log: Arc<Mutex<Vec<String>>>,
}

impl Program {
    fn start(text: &str, flags: &[&str]) -> Self {
        let directory = tempfile::tempdir().unwrap();
        let file = directory.path().join("pkdns.toml");
        fs::write(&file, text).unwrap();
        let mut child = Command::new(env!("CARGO_BIN_EXE_pkdns"))
            .arg("--pkdns-dir")
            .arg(directory.path())
            .args(flags)
            .env_remove("RUST_LOG")
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let (log, errors) =
            (Arc::<Mutex<Vec<String>>>::default(), BufReader::new(child.stderr.take().unwrap()));
        let lines = log.clone();
        thread::spawn(move || {
            errors.lines().map_while(Result::ok).for_each(|line| lines.lock().unwrap().push(line))
        });
        Self { child: Killed(child), directory, log }
    }

    fn write(&self, text: &str) {
        // As editors do.
        let new = self.directory.path().join("new");
        fs::write(&new, text).unwrap();
        fs::rename(new, self.file()).unwrap();
    }

    fn file(&self) -> std::path::PathBuf {
        Path::join(self.directory.path(), "pkdns.toml")
    }

    fn hang_up(&self) {
        self.child.signal("HUP");
    }

    fn lines(&self) -> usize {
        self.log.lock().unwrap().len()
    }

    /// The first line after `from` that contains `part`.
    fn line(&self, from: usize, part: &str) -> String {
        wait::found(|| {
            let log = self.log.lock().unwrap();
            log.iter()
                .skip(from)
                .find(|line| line.contains(part))
                .cloned()
                .ok_or_else(|| (part.to_owned(), log.clone()))
        })
    }

    fn address(&self) -> SocketAddr {
        self.line(0, "listening udp ").rsplit(' ').next().unwrap().parse().unwrap()
    }

    /// Asks the program; its answer to a special name needs nobody.
    fn ask(&self, name: &str) -> String {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.block_on(over_udp(self.address(), &query(name, RecordType::A)))
    }
}

#[test]
fn sighup_takes_the_file_anew_and_a_bad_one_changes_nothing() {
    let off = format!("{QUIET}dht.enabled = false\n");
    let program = Program::start(&off, &[]);
    assert_eq!(program.ask("localhost"), "NoError 127.0.0.1");

    let from = program.lines();
    program.write(&format!(
        "{off}local.records = ['nas.lan A 192.168.1.9']\ndht.max_nodes = 512\nverbose = true\n"
    ));
    program.hang_up();
    let line = program.line(from, "reloaded: ");
    assert!(line.contains("reloaded: local.records, verbose"), "{line}");
    assert!(program.line(from, "needs a restart").contains("dht.max_nodes needs a restart"));
    assert_eq!(program.ask("nas.lan"), "NoError 192.168.1.9");
    program.line(from, "nas.lan.");

    let from = program.lines();
    program.write(&format!("{off}cache.redis = 'redis://:secret@127.0.0.1'\nverbos = true\n"));
    program.hang_up();
    let line = program.line(from, "not reloaded");
    assert!(line.contains("pkdns.toml:5: there is no option `verbos`") && !line.contains("secret"), "{line}");
    assert_eq!(program.ask("nas.lan"), "NoError 192.168.1.9");

    // As while somebody moves it about. The defaults would be another server.
    let from = program.lines();
    fs::remove_file(program.file()).unwrap();
    program.hang_up();
    let line = program.line(from, "not reloaded");
    assert!(line.contains("pkdns.toml: "), "{line}");
    assert_eq!(program.ask("nas.lan"), "NoError 192.168.1.9");

    let from = program.lines();
    program.write(&format!("{off}cache.redis = 'redis://:secret@127.0.0.1'\n"));
    program.hang_up();
    let line = program.line(from, "reloaded: ");
    assert!(line.contains("reloaded: local.records, verbose"), "{line}");
    assert!(!program.line(from, "cache.redis needs a restart").contains("secret"));
    let from = program.lines();
    assert_eq!(program.ask("localhost"), "NoError 127.0.0.1");
    program.hang_up();
    program.line(from, "nothing has changed");
    assert!(
        !program.log.lock().unwrap().iter().skip(from).any(|line| line.contains("localhost.")),
        "verbose no more"
    );
}

#[test]
fn a_file_that_changes_is_taken_anew_where_it_says_so() {
    let off = format!("{QUIET}dht.enabled = false\n");
    let program = Program::start(&off, &[]);
    program.address();
    program.write(&format!("{off}identity.id = 'one'\nreload_on_change = true\n"));
    program.hang_up();
    program.line(0, "reloaded: identity.id, reload_on_change");
    let from = program.lines();
    program.write(&format!("{off}local.records = ['nas.lan A 192.168.1.9']\nreload_on_change = true\n"));
    program.line(from, "reloaded: identity.id, local.records");
    assert_eq!(program.ask("nas.lan"), "NoError 192.168.1.9");
    let from = program.lines();
    program.write("nonsense");
    program.line(from, "not reloaded");
    assert_eq!(program.ask("nas.lan"), "NoError 192.168.1.9");
    program.write(&off);
    program.line(from, "reloaded: local.records, reload_on_change");
    assert!(!program.log.lock().unwrap().iter().skip(from).any(|line| line.contains("SIGHUP")));
}

#[test]
fn flags_and_the_testnet_win_after_a_reload_as_before() {
    let program = Program::start("verbose = false\n", &["--testnet", "-l", "127.0.0.1:0", "-v"]);
    program.line(0, "listening udp ");
    let key = pkdns::program::testnet::sample_keypair().public_key().to_z32();
    let start = Instant::now();
    while program.ask(&key) != program.ask(&key) || !program.ask(&key).starts_with("NoError ") {
        assert!(start.elapsed() < PATIENCE, "the sample zone is not found");
    }
    let from = program.lines();
    program.write("listen = '127.0.0.1:1'\nfallback_dns = '127.0.0.1:9'\nverbose = false\nidentity.id = 'one'\ndht.bootstrap = ['127.0.0.1:9']\n");
    program.hang_up();
    let line = program.line(from, "reloaded: ");
    assert!(line.ends_with("reloaded: identity.id"), "{line}");
    assert!(program.ask("example.com").starts_with("NoError "), "the stand-in answers");
    assert!(!program.log.lock().unwrap().iter().any(|line| line.contains("needs a restart")));
}
