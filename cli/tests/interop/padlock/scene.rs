//! The machines of the document: the site's, the resolver's and the visitor's are one, with an address for each.

use std::{
    fs,
    net::Ipv4Addr,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use pkdns::{config::Config, server::Server};
use pkdns_dht::simulator::Simulator;
use pkdns_testing::{
    namespace,
    shell::{self, Shells},
};
use serde_json::Value;
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{
    browser::{Way, make_private},
    site::Site,
};

const DOCUMENT: &str = include_str!("../../../../docs/https.md");

/// What the documents call the addresses of the site and of the operator; and one of somebody else.
const SITE: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 10);
const OPERATOR: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 1);
const THIEF: Ipv4Addr = Ipv4Addr::new(203, 0, 113, 20);

/// Another address of the operator. Chromium asks for such addresses only where there is a way to all of them.
pub(crate) const IPV6: &str = "2001:db8:1::1";

/// The address of DNS over HTTPS that a browser is given.
pub(crate) const DOH: &str = "https://203.0.113.1/dns-query";

/// Longest that anything here takes.
const LIMIT: Duration = Duration::from_secs(60);

pub(crate) struct Scene {
    pub(crate) shells: Shells,
    network: Simulator,
    site: Site,
    server: Option<DropGuard>,
}

impl Scene {
    /// With the web server that the site's owner has. `None`: a program is not installed, and that is to be accepted.
    pub(crate) async fn start() -> Option<Self> {
        for address in [SITE, OPERATOR, THIEF] {
            namespace::run("ip", ["address", "add", &format!("{address}/32"), "dev", "lo"]);
        }
        let network = Simulator::with_nodes(20).unwrap();
        let shells = Shells::new(network.bootstrap().swap_remove(0));
        let site = Site::start(shells.path(), 8080)?;
        // What `trust` changes is of this machine.
        for place in ["/etc/ssl/certs", "/usr/local/share/ca-certificates"] {
            make_private(place, shells.path());
        }
        let resolv_conf = shells.path().join("resolv.conf");
        fs::write(&resolv_conf, format!("nameserver {OPERATOR}\n")).unwrap();
        namespace::run("mount", ["--bind".as_ref(), resolv_conf.as_os_str(), "/etc/resolv.conf".as_ref()]);
        Some(Self { shells, network, site, server: None })
    }

    pub(crate) fn path(&self) -> &Path {
        self.shells.path()
    }

    pub(crate) fn site(&self) -> &Site {
        &self.site
    }

    /// What a page tells that is opened under this name.
    #[track_caller]
    pub(crate) fn report(&self, host: &str) -> Value {
        self.site.report(host).unwrap_or_else(|| {
            let read = |log: &str| fs::read_to_string(self.path().join(log)).unwrap_or_default();
            panic!("no report from {host}: {}{}", read("log"), read("browser.log"))
        })
    }

    /// The key of the document.
    pub(crate) fn key(&self) -> String {
        self.shells.run("pkdns-cli publickey my.seed").trim().to_owned()
    }

    /// All that the document says to the owner of a site.
    pub(crate) fn follow_the_site_owner(&mut self) {
        self.shells.run(&block("sh", "# a key and its zone"));
        fs::write(self.path().join("publisher.toml"), block("toml", "# publisher.toml")).unwrap();
        let serve = block("sh", "# publish the zone and serve the site");
        self.shells.begin(&serve);
        let key = self.key();
        let resolve = format!("pkdns-cli resolve {key}");
        self.shells.wait_until("the zone is published", |shells| shells.succeeds(&resolve));
    }

    /// The zone stays as it is, and somebody with another key has the address.
    pub(crate) fn replace_the_key_of_the_site(&mut self) {
        self.shells.end();
        self.shells.begin(
            "pkdns-cli generate --out other.seed >other.log\nsed s/my.seed/other.seed/ publisher.toml >other.toml\n\
             pkdns-cli serve --config other.toml",
        );
        let connects = format!("echo >/dev/tcp/{SITE}/443");
        self.shells.wait_until("another site is there", |shells| shells.succeeds(&connects));
    }

    /// The configuration of the document, for this machine or for others.
    pub(crate) fn follow_the_operator(&mut self, way: Way) {
        let title = match way {
            Way::PlainDns => "# /etc/pkdns/pkdns.toml",
            Way::DnsOverHttps => "# /etc/pkdns/pkdns.toml, for others",
        };
        self.serve(toml::from_str(&block("toml", title)).unwrap());
    }

    /// The one for this machine, with a bridge at another address.
    pub(crate) fn follow_the_operator_over_ipv6(&mut self) {
        namespace::run("ip", ["address", "add", &format!("{IPV6}/64"), "dev", "lo", "nodad"]);
        namespace::run("ip", ["-6", "route", "add", "default", "dev", "lo", "src", IPV6]);
        let mut config: Config = toml::from_str(&block("toml", "# /etc/pkdns/pkdns.toml")).unwrap();
        config.bridge.listen = vec![format!("[{IPV6}]:443").parse().unwrap()];
        self.serve(config);
    }

    fn serve(&mut self, mut config: Config) {
        config.dht.bootstrap = self.network.bootstrap();
        config.listen.push((OPERATOR, 53).into());
        config.listen.dedup();
        config.local = toml::from_str(&format!("records = ['example.com 60 A {THIEF}']")).unwrap();
        config.certificate.path = Some(self.path().join("state/certificates"));
        let stop = CancellationToken::new();
        tokio::spawn(Server::bind(config).unwrap().run(stop.clone()));
        self.server = Some(stop.drop_guard());
    }

    /// What the document says to a visitor of that machine, or of another one.
    pub(crate) fn follow_the_visitor(&self, way: Way) {
        let commands = |title| block("sh", title).replace("/var/lib/pkdns", "state");
        match way {
            Way::PlainDns => self.shells.run(&commands("# trust the authorities of this pkdns")),
            Way::DnsOverHttps => {
                let shown = self.shells.run(&commands("# the fingerprint, on the server"));
                let (_, local) = shown.split_once("local authority").unwrap();
                let (_, fingerprint) = local.split_once("SHA-256:").unwrap();
                let fingerprint = fingerprint.split_whitespace().next().unwrap();
                let install = commands("# trust the authorities of another machine");
                self.shells.run(&install.replace("FINGERPRINT", fingerprint))
            }
        };
    }

    /// Serves `example.com` at an address of its own, with a certificate for it that the authority of the bridge has signed.
    pub(crate) fn serve_example_com(&mut self) -> Thief {
        let make = "openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout leaf.key -out leaf.csr -subj /CN=example.com 2>&1\n\
             printf 'subjectAltName=DNS:example.com\\nextendedKeyUsage=serverAuth\\n' >leaf.ext\n\
             openssl x509 -req -in leaf.csr -CA state/certificates/bridge-ca.pem -CAkey state/certificates/bridge-ca.key \
             -CAcreateserial -days 5 -extfile leaf.ext -out leaf.pem 2>&1";
        self.shells.run(make);
        fs::write(self.path().join("thief.py"), THIEF_PROGRAM).unwrap();
        self.shells.begin(&format!("exec /usr/bin/python3 thief.py {THIEF} 2>thief.log"));
        let thief = Thief { log: self.path().join("thief.log") };
        self.shells.wait_until("the thief listens", |_| thief.said().contains("listening"));
        thief
    }

    /// Waits until the machine's resolver has an address of this name.
    #[track_caller]
    pub(crate) fn wait_until_known(&self, name: &str) {
        let look_up = format!("getent ahostsv4 {name}");
        self.shells.wait_until("the resolver answers", |shells| shells.succeeds(&look_up));
    }

    /// A node to join the DHT through, `HOST:PORT`.
    pub(crate) fn bootstrap(&self) -> String {
        self.network.bootstrap().swap_remove(0)
    }
}

/// A server that has a certificate which it should not have.
pub(crate) struct Thief {
    log: std::path::PathBuf,
}

impl Thief {
    fn said(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// How the first handshake ended: with an alert, or with a request.
    #[track_caller]
    pub(crate) fn outcome(&self) -> String {
        let start = Instant::now();
        loop {
            let said = self.said();
            if said.contains("ALERT") || said.contains("request") {
                return said;
            }
            assert!(start.elapsed() < LIMIT, "nobody came: {said}");
            thread::sleep(Duration::from_millis(100));
        }
    }
}

const THIEF_PROGRAM: &str = r#"
import socket, ssl, sys, threading

context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain("leaf.pem", "leaf.key")
listener = socket.create_server((sys.argv[1], 443))

def say(what):
    print(what, file=sys.stderr, flush=True)

def serve(stream):
    say("connection")
    try:
        with context.wrap_socket(stream, server_side=True) as tls:
            if tls.recv(1000):
                say("request")
    except OSError as error:
        say(error)

say("listening")
while True:
    threading.Thread(target=serve, args=(listener.accept()[0],), daemon=True).start()
"#;

fn block(language: &str, title: &str) -> String {
    shell::block(DOCUMENT, language, title)
}
