//! Whoever types, and the server that they have installed.

use std::{
    fs,
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use pkdns::{
    config::{Config, ConfigFile},
    server::{Server, check_files},
};
use pkdns_testing::{
    namespace,
    program::{HEX, World},
    programs,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// Longest that a daemon takes to start.
const LIMIT: Duration = Duration::from_secs(20);

/// Runs dnsmasq as a service manager does, with the file that Pi-hole writes for its own.
const SERVICE: &str = "#!/bin/bash
[ -e DIR/pid ] && kill \"$(cat DIR/pid)\" && while kill -0 \"$(cat DIR/pid)\" 2>/dev/null; do sleep 0.05; done
setsid dnsmasq --keep-in-foreground --log-facility=- --pid-file= --user=root --listen-address=127.0.0.1 --bind-interfaces \
--conf-file=DIR/dnsmasq.conf >>DIR/log 2>&1 </dev/null &
echo $! >DIR/pid
for i in $(seq 400); do (echo >/dev/tcp/127.0.0.1/53) 2>/dev/null && exit 0; sleep 0.05; done
exit 1
";

/// A machine whose `/etc` is its own, with a DHT at the other end of the network.
pub(crate) struct Machine {
    pub(crate) world: World,
}

impl Machine {
    pub(crate) async fn new() -> Self {
        let world = World::new().await;
        let etc = world.path().join("etc");
        let _ = Command::new("cp").arg("-a").arg("/etc").arg(&etc).stderr(Stdio::null()).status();
        namespace::run("mount", ["--bind".as_ref(), etc.as_os_str(), "/etc".as_ref()]);
        namespace::run("mount", ["-t", "tmpfs", "tmpfs", "/run"]);
        fs::remove_file("/etc/resolv.conf").unwrap();
        fs::write("/etc/resolv.conf", "nameserver 127.0.0.1\n").unwrap();
        let _ = fs::remove_dir_all("/etc/NetworkManager");
        fs::create_dir_all("/etc/pkdns").unwrap();
        let service = SERVICE.replace("DIR", world.path().to_str().unwrap());
        fs::write(world.path().join("dnsmasq-service"), service).unwrap();
        fs::set_permissions(world.path().join("dnsmasq-service"), fs::Permissions::from_mode(0o755)).unwrap();
        Self { world }
    }

    /// Publishes a zone with this address.
    pub(crate) fn publish(&self, address: &str) {
        self.world.file("seed", HEX);
        fs::set_permissions(self.world.path().join("seed"), fs::Permissions::from_mode(0o600)).unwrap();
        self.world.file("zone", &format!("@ 300 A {address}\n"));
        let published = self.world.run(&["publish", "seed", "zone", "--yes"]);
        assert_eq!(published.code, 0, "{}", published.err);
    }

    /// Types commands, and says what came on both outputs, and whether the last one was content.
    pub(crate) fn types(&self, commands: &str) -> (String, bool) {
        let program = programs::built("pkdns-cli");
        let path = std::env::var("PATH").unwrap_or_default();
        let around = format!(
            "sudo() {{ \"$@\"; }}\npkdns-cli() {{ command pkdns-cli --bootstrap {} \"$@\"; }}\n{}\n",
            self.world.bootstrap()[0],
            fs::read_to_string(self.world.path().join("functions")).unwrap_or_default(),
        );
        let mut shell = Command::new("bash");
        shell.args(["-uo", "pipefail", "-c", &format!("{{ {around}{commands}\n}} 2>&1")]);
        shell.current_dir(self.world.path()).stdin(Stdio::null()).env("HOME", self.world.path());
        shell.env("PATH", format!("{}:{path}:/usr/sbin", program.parent().unwrap().display()));
        let output = shell.output().unwrap();
        (String::from_utf8_lossy(&output.stdout).into_owned(), output.status.success())
    }

    /// The same, and it has to be well.
    #[track_caller]
    pub(crate) fn does(&self, commands: &str) -> String {
        let (said, is_well) = self.types(commands);
        assert!(is_well, "{commands}\n{said}");
        said
    }

    /// A mistake that says what to do.
    #[track_caller]
    pub(crate) fn is_told(&self, mistake: &str, commands: &str, parts: &[&str]) {
        let (said, is_well) = self.types(commands);
        assert!(!is_well || commands.ends_with("|| true"), "{mistake}: {said}");
        for part in parts {
            assert!(said.contains(part), "{mistake}: {part} in\n{said}");
        }
    }

    pub(crate) fn log(&self) -> String {
        fs::read_to_string(self.world.path().join("log")).unwrap_or_default()
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Ok(pid) = fs::read_to_string(self.world.path().join("pid")) {
            let _ = Command::new("kill").arg(pid.trim()).status();
        }
    }
}

/// What `pkdns --check` says of a configuration: mistakes, or warnings.
pub(crate) fn checked(text: &str) -> Result<Vec<String>, String> {
    let file = ConfigFile::parse(Path::new("pkdns.toml"), text).map_err(|error| error.to_string())?;
    let config = file.check().map_err(|error| error.to_string())?;
    let faults = check_files(&config);
    match faults.mistakes.is_empty() {
        true => Ok(faults.warnings.into_iter().chain(config.open_resolver()).collect()),
        false => Err(faults.mistakes.join("\n")),
    }
}

/// A server that runs.
pub(crate) struct Running {
    stop: CancellationToken,
    task: JoinHandle<()>,
}

impl Running {
    /// Starts it, or says why that cannot be.
    pub(crate) fn start(config: Config) -> Result<Self, String> {
        let server = Server::bind(config).map_err(|error| error.to_string())?;
        let stop = CancellationToken::new();
        let task = tokio::spawn(server.run(stop.clone()));
        Ok(Self { stop, task })
    }

    pub(crate) async fn stop(self) {
        self.stop.cancel();
        self.task.await.unwrap();
    }
}

/// Waits until something is so.
#[track_caller]
pub(crate) fn wait(what: &str, is_so: impl Fn() -> bool) {
    let start = Instant::now();
    while !is_so() {
        assert!(start.elapsed() < LIMIT, "{what}");
        thread::sleep(Duration::from_millis(100));
    }
}

/// The fenced block of this language in a document whose text has `part`.
pub(crate) fn block(document: &str, language: &str, part: &str) -> String {
    let fence = format!("```{language}\n");
    let blocks = document.split(&fence).skip(1).map(|rest| rest.split_once("```").unwrap().0);
    let mut blocks = blocks.filter(|block| block.contains(part));
    blocks.next().unwrap_or_else(|| panic!("no {part}")).to_owned()
}
