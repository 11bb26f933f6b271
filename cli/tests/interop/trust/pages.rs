//! Authorities that are read from the pages of a server which nobody can verify yet.

use std::net::{Ipv4Addr, SocketAddr};

use pkdns::{
    config::{Cache, Config, Dht},
    server::Server,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::{User, has_certutil, impostor::Impostor};

/// A pkdns in this process, whose HTTPS is certified by its own authority.
pub(crate) struct Pkdns {
    pub(crate) https: SocketAddr,
    _stop: DropGuard,
}

impl Pkdns {
    pub(crate) fn start(user: &User) -> Self {
        let any: SocketAddr = (Ipv4Addr::LOCALHOST, 0).into();
        let mut config = Config {
            listen: vec![any],
            dht: Dht { enabled: false, bootstrap: Vec::new(), ..Dht::default() },
            cache: Cache { path: None, ..Cache::default() },
            ..Config::default()
        };
        config.doh.enabled = true;
        config.doh.listen = vec![any];
        config.certificate.self_signed = true;
        config.certificate.names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        config.certificate.path = Some(user.path(".pkdns/certificates"));
        config.bridge.listen = vec![any];
        config.bridge.plain_listen = Some(Vec::new());
        let server = Server::bind(config).unwrap();
        let https = server.https_addresses()[0];
        let stop = CancellationToken::new();
        tokio::spawn(server.run(stop.clone()));
        Self { https, _stop: stop.drop_guard() }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn over_the_network_a_fingerprint_has_to_be_compared_in_full() {
    if !has_certutil() {
        return;
    }
    let (user, visitor) = (User::new(), User::new());
    let server = Pkdns::start(&user);
    let place = format!("https://{}", server.https);
    let shown = visitor.trust(&["show", "--server", &place, "--json"]).json();
    let authorities = shown["authorities"].as_array().unwrap();
    assert!(authorities.iter().all(|authority| authority["certain"] == false), "{shown}");
    let local = authorities.iter().find(|authority| authority["subject"] == "pkdns local authority").unwrap();
    let fingerprint = local["sha256"].as_str().unwrap();
    let install = |fingerprint: &[&str]| {
        visitor.trust(&[&["install", "--only", "browsers", "--server", &place], fingerprint].concat())
    };
    install(&[]).assert_failed(1, "run this again with --fingerprint");
    install(&["--fingerprint", &fingerprint[..32]]).assert_failed(1, "no authority has the fingerprint");
    let said = install(&["--fingerprint", fingerprint]);
    assert!(said.code == 0 && said.out.contains("added         pkdns local "), "{}{}", said.out, said.err);
    // The same certificate that the server keeps.
    let shown = user.trust(&["show", "--json"]).json();
    let shown = shown["authorities"].as_array().unwrap();
    assert!(shown.iter().any(|authority| authority["sha256"] == fingerprint), "{shown:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_fingerprint_brings_the_authority_of_the_bridge_and_none_of_somebody_on_the_way() {
    if !has_certutil() {
        return;
    }
    let (user, visitor) = (User::new(), User::new());
    let server = Pkdns::start(&user);
    let shown = user.trust(&["show", "--json"]).json();
    let shown = shown["authorities"].as_array().unwrap();
    let local = shown.iter().find(|authority| authority["subject"] == "pkdns local authority").unwrap();
    let fingerprint = local["sha256"].as_str().unwrap();
    let install = |place: &str| {
        visitor.trust(&["install", "--only", "browsers", "--server", place, "--fingerprint", fingerprint])
    };
    let genuine = std::fs::read_to_string(user.path(".pkdns/certificates/ca.pem")).unwrap();
    for is_first in [false, true] {
        let impostor = Impostor::start(&genuine, is_first).await;
        install(&impostor.place).assert_failed(1, "more than one certificate");
    }
    // With the genuine certificate alone he cannot certify himself.
    let said = install(&format!("https://{}", server.https));
    assert_eq!(said.code, 0, "{}{}", said.out, said.err);
    for added in ["added         pkdns local ", "added         pkdns bridge "] {
        assert_eq!(said.out.matches(added).count(), 1, "{}", said.out);
    }
    assert!(said.err.contains("may sign for names under .key only"), "{}", said.err);
}
