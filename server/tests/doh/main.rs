//! DNS over HTTP as a client sees it: every status, header and Cache-Control, over HTTP/1.1 and HTTP/2 alike.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test may fail where it stands")]

mod blocking;
mod json;
mod large;
mod pages;
mod table;

use std::{
    net::{Ipv4Addr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use base64::{Engine, engine::general_purpose::URL_SAFE_NO_PAD};
use bytes::Bytes;
use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{
        Name, RData, Record, RecordType,
        rdata::{A, CNAME, TXT},
    },
};
use http::{Method, Request, Version};
use pkdns::{config::Config, server::Server};
use pkdns_dht::NetworkError;
use pkdns_testing::{
    common::{HeldNetwork, Upstream, keypair, query, record},
    http_client::{Reply, ask},
};
use tokio_util::sync::CancellationToken;

const MESSAGE: &str = "application/dns-message";
const JSON: &str = "application/dns-json";

const VERSIONS: [Version; 2] = [Version::HTTP_11, Version::HTTP_2];

/// A whole server with plain HTTP, one key and an upstream.
pub(crate) struct Running {
    pub(crate) http: SocketAddr,
    pub(crate) network: Arc<HeldNetwork>,
    stop: CancellationToken,
    _upstream: Upstream,
}

impl Running {
    pub(crate) async fn start() -> Self {
        Self::start_with(|_| ()).await
    }

    pub(crate) async fn start_with(change: impl FnOnce(&mut Config)) -> Self {
        let upstream = Upstream::start(respond).await;
        let any = (Ipv4Addr::LOCALHOST, 0).into();
        let mut config =
            Config { listen: vec![any], fallback_dns: vec![upstream.address.into()], ..Config::default() };
        config.doh.plain_listen = vec![any];
        change(&mut config);
        let network = Arc::new(HeldNetwork::default());
        let owner = keypair(1);
        network.publish(
            &owner,
            1,
            &[
                record(&owner, "", 120, RData::A(A::new(192, 0, 2, 7))),
                record(&owner, "www", 60, RData::CNAME(CNAME(apex()))),
                record(
                    &owner,
                    "text",
                    300,
                    RData::TXT(TXT::new(vec!["say \"hello\"".into(), "world".into()])),
                ),
            ],
        );
        let server = Server::bind_to_network(config, network.clone()).unwrap();
        let (http, stop) = (server.http_addresses()[0], CancellationToken::new());
        tokio::spawn(server.run(stop.clone()));
        Self { http, network, stop, _upstream: upstream }
    }

    pub(crate) async fn get(&self, version: Version, path: &str, headers: &[(&str, &str)]) -> Reply {
        self.send(version, Method::GET, path, headers, &[]).await
    }

    pub(crate) async fn post(&self, version: Version, message: &[u8]) -> Reply {
        self.send(version, Method::POST, "/dns-query", &[("content-type", MESSAGE)], message).await
    }

    pub(crate) async fn send(
        &self,
        version: Version,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: &[u8],
    ) -> Reply {
        let mut request = Request::builder().method(method).uri(path);
        for (name, value) in headers {
            request = request.header(*name, *value);
        }
        ask(self.http, version, request.body(Bytes::copy_from_slice(body)).unwrap()).await
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// `broken.` fails, `nothing.` does not exist, `signed.` has an address that was validated; anything else has one too.
fn respond(query: &Message, response: &mut Message) {
    let question = &query.queries[0];
    let name = question.name().clone();
    let first = name.iter().next().map(|label| label.to_ascii_lowercase()).unwrap_or_default();
    match (&first[..], question.query_type()) {
        (b"broken", _) => response.metadata.response_code = ResponseCode::ServFail,
        (b"nothing", _) => {
            response.metadata.response_code = ResponseCode::NXDomain;
            let soa = hickory_proto::rr::rdata::SOA::new(name.clone(), name.clone(), 1, 2, 3, 4, 77);
            response.add_authority(Record::from_rdata(name.base_name(), 900, RData::SOA(soa)));
        }
        (_, RecordType::A) => {
            response.metadata.authentic_data = first == *b"signed";
            response.add_answer(Record::from_rdata(name, 300, RData::A(A::new(192, 0, 2, 53))));
        }
        _ => {}
    }
}

fn apex() -> Name {
    Name::from_ascii(format!("{}.", keypair(1).to_z32())).unwrap()
}

pub(crate) fn key_name(label: &str) -> String {
    format!("{label}{}", keypair(1).to_z32())
}

/// The path that asks this with GET.
pub(crate) fn path_of(message: &[u8]) -> String {
    format!("/dns-query?dns={}", URL_SAFE_NO_PAD.encode(message))
}

/// With EDNS and an option of padding, which brings the message to 128 bytes.
pub(crate) fn padded(mut query: Vec<u8>) -> Vec<u8> {
    query[11] = 1;
    let padding = 128 - query.len() - 15;
    query.extend_from_slice(&[0, 0, 41, 16, 0, 0, 0, 0, 0, 0, padding as u8 + 4, 0, 12, 0, padding as u8]);
    query.resize(128, 0);
    query
}

#[tokio::test]
async fn the_age_of_an_answer_counts_against_the_time_it_may_be_kept() {
    let server = Running::start().await;
    let path = path_of(&query("www.example.com", RecordType::A));
    let first = server.get(Version::HTTP_2, &path, &[]).await;
    assert_eq!(first.header("cache-control"), "max-age=300");
    tokio::time::sleep(Duration::from_millis(2100)).await;
    let second = server.get(Version::HTTP_2, &path, &[]).await;
    let age: u32 = second.header("cache-control").strip_prefix("max-age=").unwrap().parse().unwrap();
    assert!(age <= 298, "{age}");
    assert_eq!(Message::from_vec(&second.body).unwrap().answers[0].ttl, age);
}

#[tokio::test]
async fn any_id_and_spelling_is_echoed() {
    let server = Running::start().await;
    for version in VERSIONS {
        for id in [0_u16, 1, 0xffff] {
            let mut message = query("wWw.eXample.COM", RecordType::A);
            message[..2].copy_from_slice(&id.to_be_bytes());
            for reply in
                [server.post(version, &message).await, server.get(version, &path_of(&message), &[]).await]
            {
                assert_eq!(reply.body[..2], id.to_be_bytes());
                assert_eq!(reply.body[12..29], message[12..29]);
            }
        }
    }
}

/// Plain HTTP is read by anyone unless a trusted proxy encrypts it.
#[tokio::test]
async fn only_what_travels_encrypted_is_padded() {
    for (proxies, is_padded) in [(vec![], false), (vec!["127.0.0.1/32".parse().unwrap()], true)] {
        let server = Running::start_with(|config| config.doh.trusted_proxies = proxies).await;
        let reply = server.post(Version::HTTP_2, &padded(query("www.example.com", RecordType::A))).await;
        assert_eq!(reply.body.len() % 468 == 0, is_padded, "{} bytes", reply.body.len());
        let reply = server.post(Version::HTTP_2, &query("www.example.com", RecordType::A)).await;
        assert_ne!(reply.body.len() % 468, 0, "who does not pad gets no padding");
    }
}

/// A client over its quota got 200.
#[tokio::test]
async fn who_asks_too_much_is_told_to_wait() {
    let server = Running::start_with(|config| {
        config.rate_limit.requests_per_minute = 1;
        config.rate_limit.burst_size = 2;
    })
    .await;
    let message = query("www.example.com", RecordType::A);
    for _ in 0..2 {
        assert_eq!(server.post(Version::HTTP_2, &message).await.status, 200);
    }
    for version in VERSIONS {
        let reply = server.post(version, &message).await;
        assert_eq!(
            (reply.status, reply.header("retry-after"), reply.header("cache-control")),
            (429, "1", "no-store")
        );
        assert!(reply.text().contains("wait"), "{}", reply.text());
    }
}

#[tokio::test]
async fn who_is_not_served_is_refused_in_dns_and_denied_the_pages() {
    let server =
        Running::start_with(|config| config.access.allow = vec!["192.0.2.0/24".parse().unwrap()]).await;
    let question = query("www.example.com", RecordType::A);
    let reply = server.get(Version::HTTP_2, &path_of(&question), &[]).await;
    assert_eq!((reply.status, reply.header("cache-control")), (200, "no-store"));
    assert_eq!(Message::from_vec(&reply.body).unwrap().metadata.response_code, ResponseCode::Refused);
    // The body of a POST is not read for the sake of a refusal.
    for reply in [server.get(Version::HTTP_11, "/", &[]).await, server.post(Version::HTTP_2, &question).await]
    {
        assert_eq!((reply.status, reply.header("cache-control")), (403, "no-store"));
        assert!(reply.text().contains("access.allow"), "{}", reply.text());
    }
}

#[tokio::test]
async fn a_dht_that_cannot_be_asked_is_not_kept() {
    let server = Running::start().await;
    *server.network.failure.lock().unwrap() = Some(NetworkError::Unreachable);
    let name = keypair(9).to_z32();
    let reply = server.get(Version::HTTP_2, &path_of(&query(&name, RecordType::A)), &[]).await;
    assert_eq!((reply.status, reply.header("cache-control")), (200, "no-store"));
    assert_eq!(Message::from_vec(&reply.body).unwrap().metadata.response_code, ResponseCode::ServFail);
}
