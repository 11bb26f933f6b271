//! What a new user does who follows docs/publish.md: its blocks as they stand, with other ports, up to a page in a
//! browser.

use std::{
    fs,
    net::{TcpListener, UdpSocket},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    time::Instant,
};

use pkdns::{config::Config, server::Server};
use pkdns_testing::{
    chromium, dyndns,
    programs::{self, tell},
    shell::block,
    wait,
};
use tempfile::TempDir;
use tokio_util::sync::{CancellationToken, DropGuard};

const DOCUMENT: &str = include_str!("../../../docs/publish.md");

/// What the page says.
const PAGE: &str = "served by a key";

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
        let ports = vec![("6882", udp), ("8000", tcp()), ("8453", tcp()), ("5310", tcp())];
        Self { directory: tempfile::tempdir().unwrap(), ports, shells: Vec::new() }
    }

    /// `None` where a program is missing.
    fn find() -> Option<Self> {
        programs::find("chromium", |_| true, "chromium")?;
        programs::find("certutil", |_| true, "libnss3-tools")?;
        programs::find("python3", |_| true, "python3")?;
        Some(Self::new())
    }

    /// The DHT, and the web server with its page.
    fn begin_a_page(&mut self) {
        self.begin(&self.block("a DHT and a page"));
        self.when("site/index.html", |page| page.contains(PAGE));
    }

    /// Starts the resolver and the browser, which must show the page.
    fn open_the_page(&self) {
        let _resolver = self.resolver(&self.block("a resolver"));
        let browser = self.block("a browser");
        let program = "chromium --user-data-dir";
        assert!(browser.contains(program), "{browser}");
        let headless = format!("timeout 60 chromium {} --user-data-dir", chromium::FLAGS.join(" "));
        let shown = self.run(&browser.replace(program, &headless));
        let log = fs::read_to_string(self.path().join("web.log")).unwrap_or_default();
        assert!(shown.contains(PAGE), "{shown}\n{log}");
        assert!(log.contains("\"GET / HTTP/1.1\" 200"), "{log}");
    }

    /// What a file holds, once that fulfils the condition.
    #[track_caller]
    fn when(&self, name: &str, condition: impl Fn(&str) -> bool) -> String {
        wait::found(|| {
            let text = fs::read_to_string(self.path().join(name)).unwrap_or_default();
            if condition(&text) { Ok(text) } else { Err(format!("{name}: {text}")) }
        })
    }

    fn path(&self) -> &Path {
        self.directory.path()
    }

    /// A block of the document.
    fn block(&self, title: &str) -> String {
        self.with_ports(&block(DOCUMENT, "sh", &format!("# {title}")))
    }

    fn with_ports(&self, commands: &str) -> String {
        // In two steps, for a port that is free may hold the digits of one that is to be replaced.
        let marked =
            |text: String, (at, (port, _)): (usize, &(&str, String))| text.replace(port, &format!("<{at}>"));
        let text = self.ports.iter().enumerate().fold(commands.to_string(), marked);
        let free =
            |text: String, (at, (_, free)): (usize, &(&str, String))| text.replace(&format!("<{at}>"), free);
        self.ports.iter().enumerate().fold(text, free)
    }

    fn shell(&self, commands: &str) -> Command {
        let program = programs::built("pkdns-cli");
        let path = std::env::var("PATH").unwrap_or_default();
        let mut shell = Command::new("bash");
        shell.current_dir(self.path()).args(["-euo", "pipefail", "-c", commands]);
        shell
            .env("PATH", format!("{}:{path}:/usr/sbin", program.parent().unwrap().display()))
            .stdin(Stdio::null());
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
    let Some(mut home) = Home::find() else { return };
    let began = Instant::now();
    home.begin_a_page();
    let said = home.run(&home.block("a key and its zone"));
    assert!(said.contains("published for the first time"), "{said}");
    home.open_the_page();
    tell(&format!("a new user's page is open in Chromium after {:.1?}", began.elapsed()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_router_puts_a_page_online() {
    for (client, title, command) in [
        ("ddclient", "/etc/ddclient.conf", "ddclient -file $PWD/conf -cache $PWD/cache -daemon=0 -verbose"),
        ("inadyn", "/etc/inadyn.conf", "inadyn -n -1 --force -l debug -f $PWD/conf --cache-dir $PWD"),
    ] {
        let Some(_) = programs::find(client, |_| true, client) else { return };
        let Some(mut home) = Home::find() else { return };
        let began = Instant::now();
        home.begin_a_page();
        home.run("pkdns-cli generate --out home.seed && cp home.seed my.seed");
        fs::write(home.path().join("home.zone"), "@ 300 IN A {external_ipv4}\n").unwrap();
        let hash = home.run(&block(dyndns::DOCUMENT, "sh", "# a password"));
        let (password, hash) = hash.trim().split_once('\n').unwrap();
        let config = block(dyndns::DOCUMENT, "toml", "# publisher.toml");
        let old = config.split('"').find(|text| text.starts_with("$argon2id$")).unwrap();
        // The router of a test is on this machine.
        let config = config.replace(old, hash).replace("192.168.1.20:8245", "127.0.0.1:0");
        let config = config.replace("[dyndns]", "[dyndns]\nallow_private = true");
        fs::write(home.path().join("publisher.toml"), format!("state = 'state'\n{config}")).unwrap();
        home.begin(&home.with_ports("pkdns-cli --bootstrap 127.0.0.1:6882 serve 2> serve.log &"));
        let log = home.when("serve.log", |log| log.contains("routers may update at "));
        let server = log.split_once("http://").unwrap().1.split_once('/').unwrap().0;
        let key = home.run("pkdns-cli publickey home.seed");
        let config = dyndns::from_document(title, server, password, key.trim(), "127.0.0.1");
        fs::write(home.path().join("conf"), config).unwrap();
        let said = home.run(&format!("chmod 600 conf && {command}"));
        assert!(said.contains("good 127.0.0.1"), "{said}");
        home.when("serve.log", |log| log.contains("stored on"));
        home.open_the_page();
        tell(&format!(
            "a page whose address {client} told is open in Chromium after {:.1?}",
            began.elapsed()
        ));
    }
}
