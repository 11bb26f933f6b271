//! Real clients, browsers and proxies against DNS over HTTPS and TLS.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail where it stands")]

mod browsers;
mod clients;
mod pages;
mod places;
mod proxies;
mod upgrades;

use std::{
    fs,
    net::Ipv4Addr,
    ops::Deref,
    path::PathBuf,
    process::Command,
    sync::{Arc, Mutex},
};

use hickory_proto::rr::{
    Name, RData, Record, RecordType,
    rdata::{A, CNAME, NS},
};
use pkdns::config::Config;
use pkdns_testing::{
    authority::Authority,
    server::{TestServer, Upstream, keypair, record},
};
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpListener,
};

/// What the page of the key says.
pub(crate) const PAGE: &str = "served by a key";

/// A server with everything, a key whose address is 127.0.0.1, and the web server at that address.
pub(crate) struct Site {
    server: TestServer,
    pub(crate) web: WebServer,
    /// `ca.pem`, `cert.pem`, `key.pem`, and room for more.
    pub(crate) directory: TempDir,
}

impl Deref for Site {
    type Target = TestServer;

    fn deref(&self) -> &TestServer {
        &self.server
    }
}

impl Site {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| ()).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let directory = tempfile::tempdir().unwrap();
        make_certificates(&directory);
        let upstream = Upstream::start(|query, response| {
            let name = query.queries[0].name().clone();
            let data = match query.queries[0].query_type() {
                RecordType::A => RData::A(A::new(192, 0, 2, 53)),
                RecordType::NS => RData::NS(NS(Name::from_ascii("ns.example.com.").unwrap())),
                _ => return,
            };
            response.add_answer(Record::from_rdata(name, 300, data));
        });
        let files = |config: &mut Config| {
            config.doh.cert_path = Some(directory.path().join("cert.pem"));
            config.doh.key_path = Some(directory.path().join("key.pem"));
            config.certificate.names = vec!["localhost".into(), "127.0.0.1".into()];
        };
        let builder = TestServer::builder().plain_http().encrypted().upstream(upstream);
        let server = builder.change(files).change(change).start();
        let owner = keypair(1);
        let apex = Name::from_ascii(format!("{}.", owner.to_z32())).unwrap();
        let records = [
            record(&owner, "", 300, RData::A(A::new(127, 0, 0, 1))),
            record(&owner, "www", 300, RData::CNAME(CNAME(apex))),
        ];
        server.publish(&owner, 1, &records);
        Self { server, web: WebServer::start().await, directory }
    }

    pub(crate) fn key(&self) -> String {
        keypair(1).to_z32()
    }

    /// Publishes another zone of the key, in place of the first.
    pub(crate) fn publish_zone(&self, records: &[(&str, u32, RData)]) {
        let owner = keypair(1);
        let records: Vec<_> =
            records.iter().map(|(name, ttl, data)| record(&owner, name, *ttl, data.clone())).collect();
        self.server.publish(&owner, 1_764_443_000_000_000, &records);
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// Queries that were answered over HTTP, with whatever code.
    pub(crate) fn queries_over_http(&self) -> u64 {
        let page = self.metrics.encode().unwrap();
        let lines = page.lines().filter(|line| line.starts_with("pkdns_queries_total{protocol=\"doh\""));
        lines.map(|line| line.rsplit(' ').next().unwrap().parse::<u64>().unwrap()).sum()
    }
}

fn make_certificates(directory: &TempDir) {
    let authority = Authority::new();
    let (certificate, key) = authority.issue();
    let both = certificate.clone() + &key;
    for (name, text) in
        [("ca.pem", authority.pem), ("cert.pem", certificate), ("key.pem", key), ("both.pem", both)]
    {
        fs::write(directory.path().join(name), text).unwrap();
    }
}

/// A web server of the test that has one page and remembers who asked for it, under which name.
pub(crate) struct WebServer {
    pub(crate) port: u16,
    visits: Arc<Mutex<Vec<String>>>,
}

impl WebServer {
    async fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let visits: Arc<Mutex<Vec<String>>> = Arc::default();
        let seen = visits.clone();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let seen = seen.clone();
                tokio::spawn(async move {
                    let mut request = vec![0; 16 << 10];
                    let size = stream.read(&mut request).await.unwrap_or(0);
                    let request = String::from_utf8_lossy(&request[..size]).into_owned();
                    if request.starts_with("GET / ") {
                        seen.lock().unwrap().push(request);
                    }
                    let page = format!("<!DOCTYPE html><title>key</title><h1>{PAGE}</h1>");
                    let response = format!(
                        "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: {}\r\nConnection: close\r\n\r\n{page}",
                        page.len()
                    );
                    let _ = stream.write_all(response.as_bytes()).await;
                    let _ = stream.shutdown().await;
                });
            }
        });
        Self { port, visits }
    }

    /// Whether somebody with this in the User-Agent asked for the page of `host`.
    pub(crate) fn was_visited(&self, host: &str, agent: &str) -> bool {
        let host = format!("host: {host}:{}\r\n", self.port);
        self.visits.lock().unwrap().iter().any(|visit| {
            let visit = visit.to_lowercase();
            visit.contains(&host) && visit.contains(&agent.to_lowercase())
        })
    }
}

/// Runs a program to its end, off the runtime, and returns what it printed, errors last.
pub(crate) async fn run(mut command: Command) -> String {
    let shown = format!("{command:?}");
    let output = tokio::task::spawn_blocking(move || command.output()).await.unwrap();
    let output = output.unwrap_or_else(|error| panic!("{shown}: {error}"));
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}
