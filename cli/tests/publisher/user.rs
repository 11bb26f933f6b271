//! What a new user does who follows docs/publish.md: its blocks as they stand, with other ports, up to a page in a
//! browser.

use std::{
    fs,
    net::{TcpListener, UdpSocket},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use pkdns::{config::Config, server::Server};
use tempfile::TempDir;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{LIMIT, block, programs, tell};

pub(crate) const DOCUMENT: &str = include_str!("../../../docs/publish.md");

/// What the page says.
const PAGE: &str = "served by a key";

/// Headless, and without any habit that needs a network or a desktop.
const FLAGS: &str = "--headless=new --no-sandbox --disable-gpu --disable-quic --no-first-run \
    --disable-background-networking --disable-component-update --disable-sync --no-proxy-server \
    --virtual-time-budget=10000 --dump-dom";

/// A home directory in which the document is followed.
struct Home {
    directory: TempDir,
    /// Of the document, and what is free here instead.
    ports: Vec<(&'static str, String)>,
    shells: Vec<Child>,
}

impl Home {
    fn new() -> Self {
        let tcp = || TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port().to_string();
        let ports = vec![("6881", udp), ("8000", tcp()), ("8443", tcp()), ("5300", tcp())];
        Self { directory: tempfile::tempdir().unwrap(), ports, shells: Vec::new() }
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A block of the document.
    fn block(&self, title: &str) -> String {
        let text = block(DOCUMENT, "sh", title);
        self.ports.iter().fold(text, |text, (port, free)| text.replace(port, free))
    }

    fn shell(&self, commands: &str) -> Command {
        let programs = Path::new(env!("CARGO_BIN_EXE_pkdns-cli")).parent().unwrap();
        let path = std::env::var("PATH").unwrap_or_default();
        let mut shell = Command::new("bash");
        shell.current_dir(self.path()).args(["-euo", "pipefail", "-c", commands]);
        shell.env("PATH", format!("{}:{path}:/usr/sbin", programs.display())).stdin(Stdio::null());
        shell
    }

    /// Runs commands that leave programs running, which end with this.
    fn begin(&mut self, commands: &str) {
        let mut shell = self.shell(&format!("{commands}\nwait"));
        self.shells.push(shell.process_group(0).spawn().unwrap());
    }

    fn run(&self, commands: &str) -> String {
        let output = self.shell(commands).output().unwrap();
        let said =
            String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{commands}: {said}");
        said
    }

    /// The server of the block that makes its configuration. The program itself is of another package.
    fn resolver(&self, block: &str) -> DropGuard {
        let (_, rest) = block.split_once("<<'END'\n").unwrap();
        let (text, command) = rest.split_once("END\n").unwrap();
        assert_eq!(command.trim_end(), "pkdns --pkdns-dir . > pkdns.log 2>&1 &");
        let mut config: Config = toml::from_str(text).unwrap();
        // Where the program keeps them whose directory is this one.
        config.certificate.path = Some(self.path().join("certificates"));
        let stop = CancellationToken::new();
        tokio::spawn(Server::bind(config).unwrap().run(stop.clone()));
        stop.drop_guard()
    }
}

impl Drop for Home {
    fn drop(&mut self) {
        for shell in &mut self.shells {
            let group = format!("-{}", shell.id());
            let _ = Command::new("kill").args(["-KILL", "--", &group]).status();
            let _ = shell.wait();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_new_user_opens_a_page_by_its_key() {
    let Some(_) = programs::find("chromium", |_| true, "chromium") else { return };
    let Some(_) = programs::find("certutil", |_| true, "libnss3-tools") else { return };
    let Some(_) = programs::find("python3", |_| true, "python3") else { return };
    let began = Instant::now();
    let mut home = Home::new();
    home.begin(&home.block("a DHT and a page"));
    let page = home.path().join("site/index.html");
    while !page.exists() {
        assert!(began.elapsed() < LIMIT);
        thread::sleep(Duration::from_millis(50));
    }
    let said = home.run(&home.block("a key and its zone"));
    assert!(said.contains("published for the first time"), "{said}");
    let _resolver = home.resolver(&home.block("a resolver"));
    let browser = home.block("a browser");
    let program = "chromium --user-data-dir";
    assert!(browser.contains(program), "{browser}");
    let headless = format!("timeout 60 chromium {FLAGS} --user-data-dir");
    let shown = home.run(&browser.replace(program, &headless));
    let key = home.run("pkdns-cli publickey my.seed");
    let log = fs::read_to_string(home.path().join("web.log")).unwrap_or_default();
    assert!(shown.contains(PAGE), "{shown}\n{log}");
    assert!(log.contains("\"GET / HTTP/1.1\" 200"), "{key}: {log}");
    tell(&format!("a new user's page is open in Chromium after {:?}", began.elapsed()));
}
