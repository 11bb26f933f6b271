//! The machines of the document: name servers, resolvers, and the one at which somebody types.

use std::{
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::Path,
};

use pkdns::{config::Config, server::Server};
use pkdns_dht::simulator::Simulator;
use pkdns_testing::{
    chromium,
    lab::{
        internet::{Internet, SERVERS},
        resolvers::{self, Manner, Resolver},
    },
    namespace,
    pebble::Pebble,
    programs,
    shell::{self, Shells},
};
use tokio_util::sync::{CancellationToken, DropGuard};

const DOCUMENT: &str = include_str!("../../../../docs/origins.md");

pub(crate) struct Scene {
    pub(crate) shells: Shells,
    resolvers: Vec<Resolver>,
    _network: Simulator,
    _servers: Vec<DropGuard>,
    _internet: Internet,
}

impl Scene {
    /// With the delegation, and both servers, of the document. `None`: a program is not installed, and that is to be accepted.
    pub(crate) async fn start() -> Option<Self> {
        programs::find("dig", |_| true, "Debian's bind9-dnsutils")?;
        let internet = Internet::start(&block("zone", "; in the zone of example.net"), "")?;
        let network = Simulator::with_nodes(20).unwrap();
        let servers = SERVERS.map(|address| name_server(internet.directory.path(), &network, address));
        let resolvers = resolvers::start(&internet, &[Manner::AsItComes])?;
        let scene = Self {
            shells: Shells::new(network.bootstrap().swap_remove(0)),
            resolvers,
            _network: network,
            _servers: servers.into(),
            _internet: internet,
        };
        let resolv_conf = scene.path().join("resolv.conf");
        fs::write(&resolv_conf, "").unwrap();
        namespace::run("mount", ["--bind".as_ref(), resolv_conf.as_os_str(), "/etc/resolv.conf".as_ref()]);
        scene.resolve_at(0);
        Some(scene)
    }

    pub(crate) fn path(&self) -> &Path {
        self.shells.path()
    }

    /// How many resolvers there are.
    pub(crate) fn resolvers(&self) -> usize {
        self.resolvers.len()
    }

    /// The first of them.
    pub(crate) fn resolver(&self) -> SocketAddr {
        self.resolvers[0].address
    }

    /// From now on the machine asks this resolver.
    pub(crate) fn resolve_at(&self, resolver: usize) {
        let line = format!("nameserver {}\n", self.resolvers[resolver].address.ip());
        fs::write(self.path().join("resolv.conf"), line).unwrap();
    }

    /// Runs a block.
    pub(crate) fn run(&self, title: &str) -> String {
        self.shells.run(&block("sh", &format!("# {title}")))
    }

    /// Runs a block, and compares what it prints with the block of text after it, line by line in any order.
    #[track_caller]
    pub(crate) fn run_and_compare(&self, title: &str) {
        let (_, rest) = DOCUMENT.split_once(&format!("```sh\n# {title}\n")).unwrap();
        let (_, rest) = rest.split_once("```text\n").expect("what it prints");
        let expected = rest.split_once("```").unwrap().0;
        let expected =
            if expected.contains("KEY") { expected.replace("KEY", &self.key()) } else { expected.into() };
        let printed = self.run(title);
        assert_eq!(lines(&printed), lines(&expected), "{title}: {printed}");
    }

    /// The key of the document.
    pub(crate) fn key(&self) -> String {
        self.shells.run("pkdns-cli publickey my.seed").trim().to_owned()
    }

    /// Runs a block whose last command runs Caddy and goes on. Its authority is the one of the test.
    pub(crate) fn begin_with_caddy(&mut self, title: &str, authority: &Pebble) {
        let options = format!(
            "{{\nadmin off\nacme_ca {}\nacme_ca_root {}\n}}\n",
            authority.url(),
            authority.ca_path().display()
        );
        fs::write(self.path().join("options"), options).unwrap();
        let caddy = "caddy() { cat options Caddyfile > with-options; command caddy \"$@\" --adapter caddyfile --config with-options; }";
        self.shells.begin(&format!("{caddy}\n{}", block("sh", &format!("# {title}"))));
    }

    /// Runs nginx with the server of the document, and another one for port 80.
    pub(crate) fn begin_nginx(&mut self) {
        let around = "pid nginx.pid;\nerror_log stderr;\nevents {}\nhttp {\naccess_log off;\n\
                      server {\nlisten 80;\nroot html;\n}\n";
        let server = self.here(&block("nginx", "# /etc/nginx/conf.d/key.conf"));
        fs::write(self.path().join("nginx.conf"), format!("{around}{server}}}\n")).unwrap();
        self.shells.begin("nginx -p $PWD -c nginx.conf -g 'daemon off;'");
    }

    /// And has it read its files again.
    pub(crate) fn reload_nginx(&self) {
        self.shells.run("nginx -p $PWD -c nginx.conf -s reload");
    }

    /// Runs a block that asks for a certificate. Its authority is the one of the test.
    pub(crate) fn certify(&self, title: &str, authority: &Pebble) {
        let ask = format!(
            "ask() {{ pkdns-cli certificate \"$@\" --authority {} --authority-ca {}; }}",
            authority.url(),
            authority.ca_path().display()
        );
        let asking = self.here(&block("sh", &format!("# {title}"))).replace("pkdns-cli certificate", "ask");
        // Otherwise there is one already that is good for months.
        self.shells.run(&format!("{ask}\nrm -rf ssl\n{asking}"));
    }

    /// With the key, and with directories that are this scene's.
    fn here(&self, text: &str) -> String {
        let directory = self.path().display();
        text.replace("KEY", &self.key())
            .replace("/etc/ssl/pkdns", &format!("{directory}/ssl"))
            .replace("/var/www/html", &format!("{directory}/html"))
    }

    /// Waits until a page is there that `root.pem` certifies.
    pub(crate) fn wait_for_page(&self, url: &str) {
        let ask = format!("curl -fsS --noproxy '*' --cacert root.pem {url}");
        self.shells.wait_until(url, |shells| shells.succeeds(&ask));
    }

    /// The page in a browser that believes `root.pem`.
    pub(crate) fn open(&self, chromium: &Path, url: &str) -> String {
        chromium::believe(&self.path().join("home/.pki/nssdb"), &self.path().join("root.pem"))
            .expect("certutil");
        let (chromium, flags) = (chromium.display(), chromium::FLAGS.join(" "));
        let commands =
            format!("HOME=$PWD/home timeout 60 {chromium} {flags} --user-data-dir=$PWD/profile {url}");
        self.shells.run(&commands)
    }
}

/// The server of the document, on one of the two machines.
fn name_server(directory: &Path, network: &Simulator, address: Ipv4Addr) -> DropGuard {
    let zone_file = directory.join("pk.example.net.zone");
    fs::write(&zone_file, block("zone", "; /etc/pkdns/pk.example.net.zone")).unwrap();
    let text = block("toml", "# /etc/pkdns/pkdns.toml")
        .replace("/etc/pkdns/pk.example.net.zone", zone_file.to_str().unwrap())
        .replace("listen = [\"198.51.100.1", &format!("listen = [\"{address}"));
    // Whoever asks is on this machine, whose own networks are served otherwise.
    let mut config: Config = toml::from_str(&format!("{text}[access]\nallow = ['127.0.0.0/8']\n")).unwrap();
    config.dht.bootstrap = network.bootstrap();
    let stop = CancellationToken::new();
    tokio::spawn(Server::bind(config).unwrap().run(stop.clone()));
    stop.drop_guard()
}

/// The configuration of the server with the part of the document about a relay.
pub(crate) fn with_relay() -> Config {
    let [server, relay] =
        ["# /etc/pkdns/pkdns.toml", "# relay and DNS over HTTPS"].map(|title| block("toml", title));
    toml::from_str(&(server + &relay)).unwrap()
}

fn block(language: &str, title: &str) -> String {
    shell::block(DOCUMENT, language, title)
}

/// Lines of text, with one space between words, in order of the alphabet.
fn lines(text: &str) -> Vec<String> {
    let in_words = |line: &str| line.split_whitespace().collect::<Vec<_>>().join(" ");
    let mut lines: Vec<_> = text.lines().map(in_words).collect();
    lines.sort();
    lines
}
