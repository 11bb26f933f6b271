use http_body_util::BodyExt;
use pkdns_dht::{
    signed_packet::{Keypair, SignedPacket},
    testing::FakeNetwork,
};

use super::*;

const NOW: Duration = Duration::from_secs(1_796_000_000);

fn keypair() -> Keypair {
    Keypair::from_secret_key(&[7; 32])
}

/// A packet with one record of each name and data, of type TXT.
fn packet(records: &[(&[u8], &[u8])]) -> SignedPacket {
    let mut dns = vec![0, 0, 0x84, 0, 0, 0, 0, records.len() as u8, 0, 0, 0, 0];
    for (label, text) in records {
        dns.push(label.len() as u8);
        dns.extend_from_slice(label);
        dns.push(52);
        dns.extend_from_slice(keypair().public_key().to_z32().as_bytes());
        dns.extend_from_slice(b"\0\0\x10\0\x01\0\0\x01\x2c");
        dns.extend_from_slice(&(text.len() as u16 + 1).to_be_bytes());
        dns.push(text.len() as u8);
        dns.extend_from_slice(text);
    }
    let signed = NOW - Duration::from_secs(150);
    SignedPacket::sign(&keypair(), signed.as_micros() as u64, &dns).unwrap()
}

fn site_of(packet: SignedPacket) -> SampleSite {
    let config = Config {
        names: crate::base::config::Names {
            example: Some(keypair().public_key().to_z32()),
            ..Default::default()
        },
        cache: crate::base::config::Cache { max_entries: 16, ..Default::default() },
        dht: crate::base::config::Dht { bootstrap: vec![USUAL_BOOTSTRAP.into()], ..Default::default() },
        ..Config::default()
    };
    let packets = Packets::new(&config.cache, Arc::new(FakeNetwork::holding([packet])));
    SampleSite::new(&config, &packets).unwrap()
}

fn site() -> SampleSite {
    site_of(packet(&[(b"www", b"hello")]))
}

fn is_meant(host: &str) -> bool {
    let host = HeaderValue::from_str(host).unwrap();
    site().is_meant(&Uri::from_static("/"), &HeaderMap::from_iter([(header::HOST, host)]))
}

async fn get(site: &SampleSite, method: Method, path: &str) -> (StatusCode, HeaderMap, String) {
    let host = keypair().public_key().to_z32() + ".key";
    let request = Request::builder().method(method).uri(path).header("host", host).body(()).unwrap();
    let (head, body) = site.answer([127, 0, 0, 1].into(), &request).await.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    (head.status, head.headers, String::from_utf8(body.to_vec()).unwrap())
}

#[tokio::test]
async fn it_is_for_the_key_by_each_of_its_names_and_for_no_other_host() {
    let key = keypair().public_key().to_z32();
    for host in [
        key.clone(),
        format!("{key}."),
        format!("{key}.key"),
        format!("{}.KEY:8443", key.to_uppercase()),
        format!("www.{key}:80"),
        format!("a.b.{key}.key."),
    ] {
        assert!(is_meant(&host), "{host}");
    }
    let other = Keypair::from_secret_key(&[8; 32]).public_key().to_z32();
    for host in [
        other.clone(),
        format!("{other}.key"),
        format!("{key}.example"),
        format!("{key}.key.example"),
        "localhost".into(),
        "127.0.0.1:5380".into(),
        "[::1]".into(),
        String::new(),
    ] {
        assert!(!is_meant(&host), "{host}");
    }
    assert!(!site().is_meant(&Uri::from_static("/"), &HeaderMap::new()));
    let packets = Packets::new(&Config::default().cache, Arc::new(FakeNetwork::holding([packet(&[])])));
    assert!(SampleSite::new(&Config::default(), &packets).is_none(), "without --testnet");
}

#[tokio::test]
async fn the_page_tells_of_the_key_and_its_packet_and_needs_nothing_from_elsewhere() {
    let (status, headers, page) = get(&site(), Method::GET, "/").await;
    assert_eq!(status, StatusCode::OK);
    assert!(!page.contains("{{"), "{page}");
    let key = keypair().public_key().to_z32();
    assert!(page.contains(&format!("<title>{}…{}: a site", &key[..8], &key[48..])), "{page}");
    assert!(page.contains("<td>www</td><td>300</td><td>TXT</td><td class=\"data\">&quot;hello&quot;</td>"));
    assert!(page.contains("pkdns-cli --testnet publish my.seed my.zone"), "{page}");
    assert!(page.contains("has no address any more"), "{page}");
    for foreign in ["src=", "<script", "url(", "import ", "href=\"http"] {
        assert!(!page.contains(foreign), "{foreign}");
    }
    let policy = headers[header::CONTENT_SECURITY_POLICY].to_str().unwrap();
    let style = page.split_once("<style>").unwrap().1.split_once("</style>").unwrap().0;
    let hash = BASE64_STANDARD.encode(Sha256::digest(style));
    assert!(policy.contains(&format!("style-src 'sha256-{hash}'")), "{policy}");
    assert!(policy.starts_with("default-src 'none'"), "{policy}");
}

#[tokio::test]
async fn there_is_nothing_but_the_page() {
    for path in ["/dns-query", "/resolve?name=example.com", "/ca.pem", "/metrics", "/favicon.ico"] {
        assert_eq!(get(&site(), Method::GET, path).await.0, StatusCode::NOT_FOUND, "{path}");
    }
    assert_eq!(get(&site(), Method::POST, "/").await.0, StatusCode::METHOD_NOT_ALLOWED);
}

#[tokio::test]
async fn no_byte_that_a_stranger_signs_means_anything_in_the_page() {
    let clean = get(&site_of(packet(&[(b"a", b"b")])), Method::GET, "/").await.2;
    for byte in 0..=255 {
        let (_, _, page) = get(&site_of(packet(&[(&[byte], &[byte, byte])])), Method::GET, "/").await;
        let is_plain = |page: &str| page.chars().all(|c| matches!(c, '\n' | ' '..='~' | '…'));
        assert!(is_plain(&page), "{byte}: {page}");
        for mark in ["<", ">", "\""] {
            assert_eq!(page.matches(mark).count(), clean.matches(mark).count(), "{byte} {mark}: {page}");
        }
    }
    let (_, _, page) = get(&site_of(packet(&[(b"{{packet}}", b"{{host}}<b>")])), Method::GET, "/").await;
    assert!(page.contains("{{host}}&lt;b&gt;"), "{page}");
}

#[tokio::test]
async fn a_key_that_was_forgotten_has_a_page_that_says_so() {
    let other = SignedPacket::sign(&Keypair::from_secret_key(&[9; 32]), 1, &[0; 12]).unwrap();
    let (status, _, page) = get(&site_of(other), Method::GET, "/").await;
    assert_eq!(status, StatusCode::OK);
    assert!(page.contains("has no packet in this DHT now") && !page.contains("{{"), "{page}");
}

#[test]
fn times_are_told_as_people_tell_them() {
    let words = [0, 1, 119, 120, 7199, 7200, 172_800].map(|seconds| in_words(Duration::from_secs(seconds)));
    assert_eq!(
        words,
        ["0 seconds", "1 second", "119 seconds", "2 minutes", "119 minutes", "2 hours", "2 days"]
    );
}
