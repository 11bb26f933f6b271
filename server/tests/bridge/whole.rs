//! The whole server: names from packets, sites verified by them, certificates of its authority, ports shared and reloaded.

use std::{fs, net::SocketAddr};

use hickory_proto::rr::{
    Name, RData,
    rdata::{
        A, HTTPS, SVCB, TLSA,
        svcb::{SvcParamKey, SvcParamValue},
        tlsa::{CertUsage, Matching, Selector},
    },
};
use pkdns::{config::Config, metrics::Metrics};
use pkdns_testing::{
    server::{TestServer, any_port, keypair, record},
    tls_client,
    wait::eventually,
};
use sha2::{Digest, Sha256};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::client::TlsStream;

use crate::{
    site::{Manner, TlsSite},
    stage::{PATIENCE, rest},
};

struct Whole {
    server: TestServer,
    host: String,
    site: TlsSite,
}

impl Whole {
    /// The packet says that the site shows `shown`, or what it shows in fact.
    async fn start(change: impl FnOnce(&mut Config), shown: Option<&[u8]>) -> Self {
        let site = TlsSite::start(Manner::Echo, &["http/1.1"]).await;
        let builder = TestServer::builder();
        let directory = builder.directory.path().to_owned();
        let usual = |config: &mut Config| {
            config.fallback_dns = vec!["127.0.0.1:9".parse().unwrap()];
            config.delegation.allow_private = true;
            config.certificate.path = Some(directory);
            config.certificate.self_signed = true;
            config.certificate.names = vec!["dns.test".into()];
            config.bridge.listen = vec![any_port()];
            config.bridge.plain_listen = Some(vec![any_port()]);
        };
        let server = builder.change(usual).change(change).start();
        let owner = keypair(1);
        publish_site(&server, 1, site.address.port(), shown.unwrap_or(&site.certificate));
        Self { server, host: format!("{}.key", owner.to_z32()), site }
    }

    /// A client that trusts the authority in this file.
    async fn connect(
        &self,
        to: SocketAddr,
        host: &str,
        authority: &str,
    ) -> std::io::Result<TlsStream<TcpStream>> {
        let authority = fs::read_to_string(self.server.directory.path().join(authority)).unwrap();
        tls_client::connect(to, host, tls_client::trusting(&authority, &["http/1.1"])).await
    }

    async fn echo(&self, to: SocketAddr) -> std::io::Result<()> {
        let mut stream = self.connect(to, &self.host, "bridge-ca.pem").await?;
        stream.write_all(b"hello").await?;
        let mut echo = [0; 5];
        timeout(PATIENCE, stream.read_exact(&mut echo)).await??;
        assert_eq!(&echo, b"hello");
        Ok(())
    }

    /// What DNS over HTTPS, or its pages, say at `to`.
    async fn page_of_doh(&self, to: SocketAddr) -> String {
        let mut stream = self.connect(to, "dns.test", "ca.pem").await.unwrap();
        stream
            .write_all(b"GET /healthz HTTP/1.1\r\nhost: dns.test\r\nconnection: close\r\n\r\n")
            .await
            .unwrap();
        String::from_utf8(rest(&mut stream).await.0).unwrap()
    }

    async fn request_in_the_clear(&self, host: &str) -> String {
        let mut stream = TcpStream::connect(self.server.plain_bridge()).await.unwrap();
        stream.write_all(format!("GET /x HTTP/1.1\r\nhost: {host}\r\n\r\n").as_bytes()).await.unwrap();
        let mut response = String::new();
        timeout(PATIENCE, stream.read_to_string(&mut response)).await.unwrap().unwrap();
        response
    }
}

/// The packet of a key whose site, on this port of 127.0.0.1, shows a certificate.
fn publish_site(server: &TestServer, seed: u8, port: u16, certificate: &[u8]) {
    let owner = keypair(seed);
    let loopback = || RData::A(A::new(127, 0, 0, 1));
    let service = SVCB::new(1, Name::root(), vec![(SvcParamKey::Port, SvcParamValue::Port(port))]);
    let hash = Sha256::digest(certificate).to_vec();
    let tlsa = TLSA::new(CertUsage::DaneEe, Selector::Full, Matching::Sha256, hash);
    let records = [
        record(&owner, "", 300, loopback()),
        record(&owner, "", 300, RData::HTTPS(HTTPS(service))),
        record(&owner, &format!("_{port}._tcp"), 300, RData::TLSA(tlsa)),
        record(&owner, "plain", 300, loopback()),
    ];
    server.publish(&owner, 1, &records);
}

/// DNS over HTTPS, on a port that the bridge may share.
fn share(config: &mut Config) {
    config.doh.enabled = true;
    config.doh.listen = vec![any_port()];
}

#[tokio::test]
async fn a_site_that_shows_what_its_packet_says_is_bridged_and_the_clear_leads_there() {
    let whole = Whole::start(|_| (), None).await;
    whole.echo(whole.server.bridge()).await.unwrap();
    assert_eq!(whole.server.metrics.bridge.connections.bridged.get(), 1);
    let response = whole.request_in_the_clear(&whole.host).await;
    assert!(response.contains(&format!("location: https://{}/x\r\n", whole.host)), "{response}");
    let response = whole.request_in_the_clear("example.com").await;
    assert!(response.starts_with("HTTP/1.1 421 "), "{response}");
    assert!(fs::exists(whole.server.directory.path().join("bridge-ca.key")).unwrap());
}

#[tokio::test]
async fn a_site_that_shows_something_else_gets_nothing() {
    let whole = Whole::start(|_| (), Some(b"another certificate")).await;
    let mut stream = whole.connect(whole.server.bridge(), &whole.host, "bridge-ca.pem").await.unwrap();
    stream.write_all(b"GET / HTTP/1.1\r\nhost: x\r\ncookie: secret\r\n\r\n").await.unwrap();
    let page = String::from_utf8(rest(&mut stream).await.0).unwrap();
    assert!(page.starts_with("HTTP/1.1 502 ") && page.contains("could not be verified"), "{page}");
    assert!(!page.contains("Expected") && !page.contains("127.0.0.1"), "a port of this machine: {page}");
    assert_eq!(whole.site.received(), 0);
    assert_eq!(whole.server.metrics.bridge.connections.another_key.get(), 1);
}

#[tokio::test]
async fn on_a_port_that_is_shared_names_of_keys_are_the_bridges_and_all_else_is_as_it_was() {
    let whole = Whole::start(share, None).await;
    let port = whole.server.https();
    assert_eq!(whole.server.bridge(), port, "one port for both");
    whole.echo(port).await.unwrap();
    let page = whole.page_of_doh(port).await;
    assert!(page.starts_with("HTTP/1.1 200 "), "{page}");
    // Without a name: by an address, which is none.
    let error = whole.connect(port, "127.0.0.1", "ca.pem").await.unwrap_err();
    assert!(error.to_string().contains("certificate"), "our certificate, which is for another name: {error}");
    assert_eq!(whole.server.metrics.bridge.connections.unknown_name.get(), 0);
    comes_to(&whole.server.metrics, 0).await;
}

#[tokio::test]
async fn a_reload_switches_the_bridge_off_and_on_and_what_is_open_goes_on() {
    let whole = Whole::start(share, None).await;
    let port = whole.server.https();
    let mut open = whole.connect(port, &whole.host, "bridge-ca.pem").await.unwrap();
    let mut off = whole.server.config.clone();
    off.bridge.listen.clear();
    let reloaded = whole.server.reloads.reload(Ok(off)).await.unwrap();
    assert!(reloaded.listening.iter().all(|(protocol, _)| !protocol.starts_with("bridge")), "{reloaded:?}");
    assert!(whole.echo(port).await.is_err(), "DNS over HTTPS has no certificate for this name");
    assert!(TcpStream::connect(whole.server.plain_bridge()).await.is_err());
    open.write_all(b"still").await.unwrap();
    timeout(PATIENCE, open.read_exact(&mut [0; 5])).await.unwrap().unwrap();
    let reloaded = whole.server.reloads.reload(Ok(whole.server.config.clone())).await.unwrap();
    assert!(reloaded.listening.contains(&("bridge", port)), "{reloaded:?}");
    whole.echo(port).await.unwrap();
    assert!(whole.page_of_doh(port).await.starts_with("HTTP/1.1 200 "));
}

#[tokio::test]
async fn the_server_is_no_site_of_a_key_that_names_its_own_ports() {
    let whole = Whole::start(
        |config| {
            share(config);
            config.bridge.listen = vec!["127.0.0.2:0".parse().unwrap()];
        },
        None,
    )
    .await;
    let owner = keypair(2);
    let host = format!("{}.key", owner.to_z32());
    publish_site(&whole.server, 2, whole.server.https().port(), b"whatever it shows");
    let mut stream = whole.connect(whole.server.bridge(), &host, "bridge-ca.pem").await.unwrap();
    stream.write_all(b"GET /status HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let page = String::from_utf8(rest(&mut stream).await.0).unwrap();
    assert!(page.starts_with("HTTP/1.1 502 ") && page.contains("no address"), "{page}");
}

#[tokio::test]
async fn over_tls_dns_over_https_answers_no_request_for_a_name_of_a_key() {
    let share = |config: &mut Config| {
        super::whole::share(config);
        config.doh.hosts = vec![format!("doh.{}.key", keypair(3).to_z32())];
    };
    let whole = Whole::start(share, None).await;
    let status = async |path: &str, host: &str| {
        let mut stream = whole.connect(whole.server.https(), "dns.test", "ca.pem").await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.unwrap();
        let response = String::from_utf8_lossy(&rest(&mut stream).await.0).into_owned();
        response.split(' ').nth(1).unwrap_or_default().to_owned()
    };
    let (key, configured) = (keypair(2).to_z32(), &whole.server.config.doh.hosts[0]);
    for path in ["/", "/status", "/zone", "/resolve?name=a.test", "/dns-query?dns=AAAA"] {
        for host in [format!("{key}.key"), format!("www.{key}.key.:8443"), key.clone()] {
            assert_eq!(status(path, &host).await, "421", "{path} {host}");
        }
        for host in ["dns.test", "127.0.0.1", configured] {
            assert_ne!(status(path, host).await, "421", "{path} {host}");
        }
    }
    assert_eq!(status("/healthz", &key).await, "200", "everybody may know that");
}

/// Of connections over the bridge.
async fn comes_to(metrics: &Metrics, count: i64) {
    eventually("connections end", async || metrics.connections.open.bridge.get() == count).await;
}
