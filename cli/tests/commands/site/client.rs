//! A visitor who verifies the site as the bridge does: by the key, or by what its packet says.

use std::net::SocketAddr;

use bytes::Bytes;
use http::{Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use pkdns::{
    edge::bridge::{ConnectError, Connected, SiteConnector},
    resolver::site::{Matching, Proof, Selector, Site, Tlsa},
};
use pkdns_dht::signed_packet::PublicKey;
use pkdns_testing::{program::KEY, wait};
use serde_json::Value;

use super::Scene;

pub(crate) type Body = Full<Bytes>;

/// The key alone: such a site shows it raw.
pub(crate) fn of_key(key: &str) -> Proof {
    Proof { key: Some(PublicKey::try_from(key).unwrap()), certificates: Vec::new() }
}

impl Scene {
    /// What its packet says at the port, once it says something: such a site shows a certificate.
    pub(crate) fn published(&self) -> Proof {
        let owner = format!("_{}._tcp.{KEY}.", self.address.port());
        wait::found(|| {
            let records = self.records();
            match records.iter().find(|record| record[0] == owner && record[1] == "TLSA") {
                Some([.., data]) => Ok(Proof { key: None, certificates: vec![tlsa(data)] }),
                _ => Err(records),
            }
        })
    }

    /// The records of the key on the DHT: name, type and data.
    pub(crate) fn records(&self) -> Vec<[String; 3]> {
        let found = self.world.run(&["resolve", KEY, "--json"]);
        if found.code != 0 {
            return Vec::new();
        }
        let json = found.json();
        let text = |record: &Value, field: &str| record[field].as_str().unwrap().to_string();
        let records = json["records"].as_array().unwrap().iter();
        records.map(|record| ["name", "type", "data"].map(|field| text(record, field))).collect()
    }

    pub(crate) async fn connect(&self, proof: Proof, alpn: &str) -> Result<Connected, ConnectError> {
        connect(self.address, KEY, proof, alpn).await
    }

    pub(crate) async fn http1(&self, proof: Proof) -> http1::SendRequest<Body> {
        let connected = self.connect(proof, "http/1.1").await.unwrap();
        assert_eq!(connected.alpn.as_deref(), Some(&b"http/1.1"[..]));
        let (sender, connection) = http1::handshake(TokioIo::new(connected.stream)).await.unwrap();
        tokio::spawn(connection.with_upgrades());
        sender
    }

    pub(crate) async fn http2(&self, proof: Proof) -> http2::SendRequest<Body> {
        let connected = self.connect(proof, "h2").await.unwrap();
        assert_eq!(connected.alpn.as_deref(), Some(&b"h2"[..]));
        let stream = TokioIo::new(connected.stream);
        let (sender, connection) = http2::handshake(TokioExecutor::new(), stream).await.unwrap();
        tokio::spawn(connection);
        sender
    }
}

/// Connects to the site that is called `name`.
pub(crate) async fn connect(
    address: SocketAddr,
    name: &str,
    proof: Proof,
    alpn: &str,
) -> Result<Connected, ConnectError> {
    let end_point = format!("{name}.").parse().unwrap();
    let site = Site { end_point, addresses: vec![address], proof };
    SiteConnector::new().unwrap().connect(&site, &[alpn.as_bytes().to_vec()]).await
}

fn tlsa(data: &str) -> Tlsa {
    let fields: Vec<&str> = data.split_whitespace().collect();
    assert_eq!(fields[..3], ["3", "1", "1"], "{data}");
    let digits = fields[3..].concat();
    let byte = |at: usize| u8::from_str_radix(&digits[at..at + 2], 16).unwrap();
    let data = (0..digits.len()).step_by(2).map(byte).collect();
    Tlsa { selector: Selector::PublicKey, matching: Matching::Sha256, data }
}

/// A request for the site, by its whole address as HTTP/2 has it.
pub(crate) fn request(method: &str, path: &str, body: impl Into<Bytes>) -> Request<Body> {
    let uri = format!("https://{KEY}.key{path}");
    Request::builder()
        .method(method)
        .uri(uri)
        .header("host", format!("{KEY}.key"))
        .body(Full::new(body.into()))
        .unwrap()
}

pub(crate) async fn text(response: Response<hyper::body::Incoming>) -> String {
    String::from_utf8(response.into_body().collect().await.unwrap().to_bytes().to_vec()).unwrap()
}
