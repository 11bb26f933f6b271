//! "Operator of a public server". The machine has an address on the Internet, to which its name leads, and an authority is there that
//! gives certificates.

use std::{fs, net::SocketAddr, net::TcpListener};

use pkdns::config::{Cache, Config, Dht};
use pkdns_testing::{namespace, pebble::Pebble, program::KEY, programs, signed_root};
use rcgen::generate_simple_self_signed;

use super::shell::{Machine, Running, block, checked, wait};

const DOCUMENT: &str = include_str!("../../../../docs/operating.md");
const FILE: &str = "/etc/pkdns/pkdns.toml";

/// The machine.
const ADDRESS: &str = "203.0.113.53";

#[track_caller]
fn is_told(mistake: &str, outcome: Result<Vec<String>, String>, parts: &[&str]) {
    let said = outcome.map_or_else(|mistakes| mistakes, |warnings| warnings.join("\n"));
    assert!(parts.iter().all(|part| said.contains(part)), "{mistake}: {said}");
}

pub(crate) async fn hour() {
    let installed =
        [("curl", "curl"), ("kdig", "Debian's knot-dnsutils"), ("dnsmasq", "Debian's dnsmasq-base")];
    let installed: Vec<_> = installed
        .iter()
        .filter_map(|(program, package)| programs::find(program, |_| true, package))
        .collect();
    if installed.len() < 3 {
        return;
    }
    let machine = Machine::new().await;
    let path = machine.world.path().to_owned();
    namespace::run("ip", ["address", "add", &format!("{ADDRESS}/32"), "dev", "lo"]);
    // The public DNS: the name of the server, and nothing else.
    fs::write(
        path.join("dnsmasq.conf"),
        format!("no-resolv\nno-hosts\naddress=/dns.example.net/{ADDRESS}\n"),
    )
    .unwrap();
    machine.does("./dnsmasq-service");
    let resolver: SocketAddr = "127.0.0.1:53".parse().unwrap();
    let Some(authority) = Pebble::start_as_public(resolver) else { return };
    let root = signed_root::start().await.address;
    machine.publish("192.0.2.7");

    // What is typed. The program that checks and starts is in this process.
    fs::write(
        path.join("functions"),
        "pkdns() { echo \"pkdns $*\"; }\nsystemctl() { echo \"systemctl $*\"; }\n",
    )
    .unwrap();
    let said = machine.does(&block(DOCUMENT, "sh", "sudo tee /etc/pkdns/pkdns.toml <<'TOML'"));
    assert!(
        said.ends_with("pkdns --config /etc/pkdns/pkdns.toml --check\nsystemctl restart pkdns\n"),
        "{said}"
    );
    let text = fs::read_to_string(FILE).unwrap();
    let own = format!("[certificate]\npath = \"{}\"", path.join("certificates").display());
    let text = text.replace("[certificate]", &own);
    assert_eq!(checked(&text), Ok(Vec::new()));
    // The authority, the DHT and the upstream are those of this test, and port 53 of loopback is taken by its DNS.
    let at_home =
        text.replace("listen = [\"127.0.0.1:53\", \"[::1]:53\"]", "listen = [\"127.0.0.1:5300\"]").replace(
            "[acme]",
            &format!(
                "[acme]\ndirectory = \"{}\"\nca_path = \"{}\"",
                authority.url(),
                authority.ca_path().display()
            ),
        );
    let config = |text: &str| Config {
        fallback_dns: vec![root.into()],
        dht: Dht { bootstrap: machine.world.bootstrap(), ..Dht::default() },
        cache: Cache { path: None, ..Cache::default() },
        ..toml::from_str(text).unwrap()
    };
    let server = Running::start(config(&at_home)).unwrap();
    fs::write(path.join("root.pem"), authority.root().expect("curl")).unwrap();
    let trusting = "curl() { command curl -sS --noproxy '*' --cacert root.pem \"$@\"; }\n";
    let ready = || machine.types(&format!("{trusting}curl -f https://dns.example.net/")).1;
    wait("there is no certificate", ready);
    let questions = block(DOCUMENT, "sh", "curl 'https://dns.example.net/resolve?name=example.com&type=A'");
    let said = machine.does(&format!("{trusting}{questions}"));
    assert!(said.contains("\"data\":\"192.0.2.1\"") && said.matches("\"Status\":").count() == 2, "{said}");
    machine
        .world
        .file("list", "dot dns.example.net:853 Example\ndoh https://dns.example.net/dns-query Example\n");
    machine.does(&format!("pkdns-cli servers check list --key {KEY} --authority-ca root.pem"));
    machine.is_told(
        "1: the certificate is one of a test authority",
        &format!("pkdns-cli servers check list --key {KEY}"),
        &["certificate", "2 of 2 servers do not answer as they should"],
    );
    let busy = Running::start(config(&at_home.replace("127.0.0.1:5300", "127.0.0.1:5301"))).err().unwrap();
    assert!(busy.contains("another socket holds this port"), "2: another web server has port 443: {busy}");
    server.stop().await;

    let private = at_home.replace("allow = [\"0.0.0.0/0\", \"::/0\"]", "allow = [\"10.0.0.0/8\"]");
    let server = Running::start(config(&private)).unwrap();
    wait("there is no certificate", || machine.types(&format!("{trusting}curl https://dns.example.net/")).1);
    let said = machine.does(&format!("{trusting}{questions}"));
    assert!(
        said.contains("this server does not serve this address"),
        "3: access.allow was forgotten: {said}"
    );
    let served = toml::from_str::<Config>(&private).unwrap().served().unwrap();
    assert!(served.contains("answering 10.0.0.0/8 alone") && served.contains("access.allow"), "3: {served}");
    server.stop().await;

    let (made, other) = (
        generate_simple_self_signed(["dns.example.net".to_owned()]).unwrap(),
        generate_simple_self_signed(["dns.example.net".to_owned()]).unwrap(),
    );
    fs::write(path.join("cert.pem"), made.cert.pem()).unwrap();
    fs::write(path.join("key.pem"), other.signing_key.serialize_pem()).unwrap();
    let files = |certificate: &str, key: &str| {
        let lines = format!(
            "[doh]\nenabled = true\ncert_path = \"{}\"\nkey_path = \"{}\"",
            path.join(certificate).display(),
            path.join(key).display()
        );
        let (before, _) = text.split_once("[certificate]").unwrap();
        before.replace("[doh]\nenabled = true", &lines)
    };
    is_told(
        "4: a certificate that is not there",
        checked(&files("nothing.pem", "key.pem")),
        &["doh.cert_path: ", "No such file"],
    );
    is_told(
        "5: the key of another certificate",
        checked(&files("cert.pem", "key.pem")),
        &["is the key of another certificate"],
    );
    is_told(
        "6: the quotas of a home network for everybody",
        checked(&text.replace("requests_per_minute = 1200\n", "").replace("burst_size = 600\n", "")),
        &["everybody is served", "lower rate_limit.requests_per_minute and burst_size"],
    );
    is_told(
        "7: a misspelt option",
        checked(&text.replace("requests_per_minute = 1200", "request_per_minute = 1200")),
        &["did you mean `requests_per_minute`?"],
    );
    is_told(
        "8: no name for the certificate",
        checked(&text.replace("names = [\"dns.example.net\"]", "names = []")),
        &["certificate.names"],
    );
    is_told(
        "9: the file of an older release",
        checked("[general]\nsocket = \"0.0.0.0:53\"\n"),
        &["write `listen` for `socket`"],
    );
    is_told(
        "10: typographic quotes",
        checked(&text.replace("fallback_dns = \"quad9\"", "fallback_dns = “quad9”")),
        &["write the straight one"],
    );
    drop(TcpListener::bind((ADDRESS, 443)).expect("the server is gone"));
}
