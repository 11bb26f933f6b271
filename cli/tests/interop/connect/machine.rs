//! A machine with a resolver on port 53, and a pkdns on port 5300.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr, TcpStream, UdpSocket},
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::Command,
};

use pkdns::{
    config::{Cache, Config, Dht},
    program::testnet::SampleUpstream,
    server::Server,
};
use pkdns_testing::{
    dig::{Dig, Reply},
    namespace,
    program::{self, Finished, World},
    programs, signed_root, wait,
};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

const RESOLVER: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 53);

/// The sample key has no packet in this DHT, which is told with its zone.
const KEY: &str = "8qhdp5s8jjmxmqam3bpg9kzeg7x8teztuwrfgxw5ikn9z5bt15uy";

/// Runs a daemon as a service manager does. It goes on in a session of its own.
const SERVICE: &str = "#!/bin/sh
[ \"$2\" = restart ] || exit 0
[ -e FAILS ] && { echo \"$1: no such service)\" >&2; exit 1; }
[ -e PID ] && kill \"$(cat PID)\" && while kill -0 \"$(cat PID)\" 2>/dev/null; do sleep 0.05; done
setsid DAEMON >>LOG 2>&1 </dev/null &
echo $! >PID
for i in $(seq 400); do (echo >/dev/tcp/127.0.0.1/53) 2>/dev/null && exit 0; sleep 0.05; done
exit 1
";

pub(crate) struct Machine {
    world: World,
    dig: Dig,
    stop: CancellationToken,
    pkdns: Option<JoinHandle<()>>,
    _upstream: SampleUpstream,
}

impl Machine {
    /// Whose dnsmasq reads the files of its directory or not. `None`: a program is not installed, and that is to be accepted.
    pub(crate) async fn with_dnsmasq(reads_directory: bool) -> Option<Self> {
        let dnsmasq = programs::find("dnsmasq", |_| true, "Debian's dnsmasq-base")?;
        let (mut machine, _) = Self::new().await?;
        let port = machine._upstream.address().port();
        let directory = if reads_directory { "conf-dir=/etc/dnsmasq.d/,*.conf\n" } else { "" };
        fs::write("/etc/dnsmasq.conf", format!("no-resolv\nserver=127.0.0.1#{port}\n{directory}")).unwrap();
        fs::create_dir_all("/etc/dnsmasq.d").unwrap();
        let options = "--keep-in-foreground --log-facility=- --pid-file= --user=root --no-hosts \
                       --listen-address=127.0.0.1 --bind-interfaces";
        machine.start(&format!("{} {options}", dnsmasq.display()), "dnsmasq");
        Some(machine)
    }

    /// Whose Unbound knows the key of the root. `None`: a program is not installed, and that is to be accepted.
    pub(crate) async fn with_unbound() -> Option<Self> {
        let unbound = programs::find("unbound", |_| true, "Debian's unbound")?;
        let (mut machine, root) = Self::new().await?;
        let text = format!(
            "server:\n interface: 127.0.0.1\n chroot: \"\"\n username: \"\"\n pidfile: \"\"\n use-syslog: no\n\
             \x20logfile: \"\"\n trust-anchor: \"{}\"\nremote-control:\n control-enable: no\n\
             server:\n do-not-query-localhost: no\nforward-zone:\n name: \".\"\n forward-addr: 127.0.0.1@{}\n\
             include: \"/etc/unbound/unbound.conf.d/*.conf\"\n",
            signed_root::UNBOUND_ANCHOR,
            root.port()
        );
        let directory = Path::new("/etc/unbound/unbound.conf.d");
        let _ = fs::remove_dir_all(directory);
        fs::create_dir_all(directory).unwrap();
        fs::write("/etc/unbound/unbound.conf", text).unwrap();
        machine.start(&format!("{} -d", unbound.display()), "unbound");
        Some(machine)
    }

    /// Without a resolver. The address is that of a signed root.
    async fn new() -> Option<(Self, SocketAddr)> {
        let dig = Dig::find()?;
        let world = World::new().await;
        // What is changed in there is not changed on the machine of the test.
        let etc = world.path().join("etc");
        let _ =
            Command::new("cp").arg("-a").arg("/etc").arg(&etc).stderr(std::process::Stdio::null()).status();
        namespace::run("mount", ["--bind".as_ref(), etc.as_os_str(), "/etc".as_ref()]);
        fs::remove_file("/etc/resolv.conf").unwrap();
        fs::write("/etc/resolv.conf", "nameserver 127.0.0.1\n").unwrap();
        let _ = fs::remove_dir_all("/etc/NetworkManager");
        // Whether systemd runs on that machine is seen there.
        namespace::run("mount", ["-t", "tmpfs", "tmpfs", "/run"]);
        let (root, upstream) = (signed_root::start().await.address, SampleUpstream::start().await.unwrap());
        let config = Config {
            listen: vec![([127, 0, 0, 1], 5300).into()],
            fallback_dns: vec![root.into()],
            dht: Dht { bootstrap: world.bootstrap(), ..Dht::default() },
            cache: Cache { path: None, ..Cache::default() },
            ..Config::default()
        };
        let stop = CancellationToken::new();
        let server = Server::bind(config).unwrap();
        let stopped = stop.clone();
        let pkdns = tokio::spawn(server.run(stopped));
        Some((Self { world, dig, stop, pkdns: Some(pkdns), _upstream: upstream }, root))
    }

    fn start(&mut self, daemon: &str, name: &str) {
        let here = |file: &str| self.world.path().join(file).to_str().unwrap().to_owned();
        let script = [
            ("FAILS", here("fails")),
            ("PID", here("pid")),
            ("DAEMON", daemon.to_owned()),
            ("LOG", here("log")),
        ]
        .iter()
        .fold(SERVICE.replace("#!/bin/sh", "#!/bin/bash"), |script, (word, value)| {
            script.replace(word, value)
        });
        let path = self.world.path().join("service");
        fs::write(&path, script).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
        let status = Command::new(&path).args([name, "restart"]).status().unwrap();
        assert!(status.success(), "{}", self.log());
        wait::until_or_show(|| TcpStream::connect(RESOLVER).is_ok(), || self.log());
    }

    fn log(&self) -> String {
        fs::read_to_string(self.world.path().join("log")).unwrap_or_default()
    }

    /// Runs the program there.
    pub(crate) fn run(&self, arguments: &[&str]) -> Finished {
        let path = std::env::var("PATH").unwrap_or_default();
        let mut command = program::command(self.world.path(), arguments);
        command.env("PATH", format!("{}:{path}:/usr/sbin", self.world.path().display()));
        let output = command.stdin(std::process::Stdio::null()).output().unwrap();
        let [out, err] = [output.stdout, output.stderr].map(|bytes| String::from_utf8(bytes).unwrap());
        Finished { code: output.status.code().unwrap(), out, err }
    }

    /// Runs it, and it has to fail with these words.
    #[track_caller]
    pub(crate) fn fails(&self, arguments: &[&str], part: &str) {
        let finished = self.run(arguments);
        assert_eq!(finished.code, 1, "{}{}", finished.out, finished.err);
        assert!(finished.err.contains(part), "{}\n{}", finished.err, self.log());
    }

    pub(crate) fn ask(&self, question: &str) -> Reply {
        self.dig.ask(RESOLVER, question)
    }

    /// Whether the resolver sends a name of a key to pkdns. Never the same one, which would be remembered.
    pub(crate) fn finds_keys(&self) -> bool {
        let nonce = program::now();
        let reply = self.ask(&format!("n{nonce}.{KEY}.key A"));
        reply.authority().iter().any(|record| record.contains(KEY))
    }

    pub(crate) async fn stop_pkdns(&mut self) {
        self.stop.cancel();
        if let Some(pkdns) = self.pkdns.take() {
            pkdns.await.unwrap();
        }
        assert!(UdpSocket::bind(("127.0.0.1", 5300)).is_ok());
    }

    /// From now on.
    pub(crate) fn let_restarts_fail(&self) {
        fs::write(self.world.path().join("fails"), "").unwrap();
    }

    /// All files of the resolver, with what is in them.
    pub(crate) fn files(&self) -> Vec<(PathBuf, String)> {
        let mut files = Vec::new();
        for directory in [
            "/etc/dnsmasq.d",
            "/etc/unbound/unbound.conf.d",
            "/etc/resolver",
            "/etc/systemd",
            "/etc/NetworkManager",
        ] {
            list(Path::new(directory), &mut files);
        }
        files
    }
}

pub(crate) fn list(directory: &Path, files: &mut Vec<(PathBuf, String)>) {
    let entries = fs::read_dir(directory).into_iter().flatten().filter_map(Result::ok);
    let mut paths: Vec<_> = entries.map(|entry| entry.path()).collect();
    paths.sort();
    for path in paths {
        if path.is_dir() && !path.is_symlink() {
            list(&path, files);
        } else {
            files.push((path.clone(), fs::read_to_string(&path).unwrap_or_default()));
        }
    }
}

impl Drop for Machine {
    fn drop(&mut self) {
        if let Ok(pid) = fs::read_to_string(self.world.path().join("pid")) {
            let _ = Command::new("kill").arg(pid.trim()).status();
        }
    }
}
