//! One row for each case.

use hickory_proto::rr::rdata::TXT;
use pkdns_testing::server::packet_message;

use super::*;

/// A request, and what its response must be. `{key}` in a path is the key of [`keypair`]`(1)`.
struct Row {
    what: &'static str,
    method: Method,
    path: String,
    headers: Vec<(&'static str, &'static str)>,
    body: Vec<u8>,
    /// What the network has before.
    published: Option<SignedPacket>,
    status: u16,
    expected: Vec<(&'static str, String)>,
    gives: Vec<u8>,
}

const SECOND_BEFORE: &str = "Tue, 14 Nov 2023 22:13:20 GMT";
const SECOND_AFTER: &str = "Tue, 14 Nov 2023 22:13:21 GMT";
const LAST_DATE: &str = "Fri, 31 Dec 9999 23:59:59 GMT";

fn row(what: &'static str, method: Method, path: &str, status: u16) -> Row {
    let (headers, body, expected) = Default::default();
    let row = Row {
        what,
        method,
        path: path.into(),
        headers,
        body,
        published: None,
        status,
        expected,
        gives: Vec::new(),
    };
    match status {
        200 | 204 | 304 => row,
        _ => row.says("cache-control", "no-store").says("content-type", "text/plain; charset=utf-8"),
    }
}

fn get(what: &'static str, path: &str, status: u16) -> Row {
    row(what, Method::GET, path, status)
}

fn put(what: &'static str, body: impl Into<Vec<u8>>, status: u16) -> Row {
    Row { body: body.into(), ..row(what, Method::PUT, "{key}", status) }
}

impl Row {
    fn with(mut self, name: &'static str, value: &'static str) -> Self {
        self.headers.push((name, value));
        self
    }

    fn says(mut self, name: &'static str, value: impl Into<String>) -> Self {
        self.expected.push((name, value.into()));
        self
    }

    fn after(self, packet: SignedPacket) -> Self {
        Self { published: Some(packet), ..self }
    }

    /// The packet that was published.
    fn gives(self) -> Self {
        Self { gives: self.published.as_ref().unwrap().to_payload(), ..self }
    }
}

/// A body of this many bytes: a packet, where one can be so long.
fn of_size(size: usize) -> Vec<u8> {
    let owner = keypair(1);
    let with_text = |length: usize| {
        let text = vec![b'x'; length];
        packet_message(&[record(&owner, "", 600, RData::TXT(TXT::from_bytes(text.chunks(255).collect())))])
    };
    let messages = (1..size).map(with_text);
    let dns = messages.take_while(|dns| dns.len() + 72 <= size).last().unwrap();
    match SignedPacket::sign(&owner, SIGNED, &dns) {
        Ok(packet) if dns.len() + 72 == size => packet.to_payload(),
        _ => vec![0; size],
    }
}

fn unreadable(timestamp: u64) -> SignedPacket {
    SignedPacket::sign(&keypair(1), timestamp, b"not a DNS message").unwrap()
}

fn rows() -> Vec<Row> {
    let signed = packet(1, SIGNED, 1);
    let of_ttl = |ttl| with_ttl(&keypair(1), SIGNED, 1, ttl);
    let forged = {
        let mut body = signed.to_payload();
        body[3] ^= 1;
        body
    };
    let foreign = {
        let dns = packet_message(&[record(&keypair(2), "", 600, address(1))]);
        SignedPacket::sign(&keypair(1), SIGNED, &dns).unwrap()
    };
    vec![
        // GET
        get("none", "{key}", 404),
        get("a packet", "{key}", 200)
            .after(signed.clone())
            .gives()
            .says("cache-control", "public, max-age=600")
            .says("last-modified", SECOND_BEFORE)
            .says("content-length", signed.to_payload().len().to_string()),
        get("a short TTL", "{key}", 200)
            .after(of_ttl(30))
            .gives()
            .says("cache-control", "public, max-age=300"),
        get("a long TTL", "{key}", 200)
            .after(of_ttl(900_000))
            .gives()
            .says("cache-control", "public, max-age=86400"),
        get("a time past the year 9999", "{key}", 200)
            .after(packet(1, 300_000_000_000_000_000, 1))
            .gives()
            .says("last-modified", LAST_DATE),
        get("the last time there is", "{key}", 200)
            .after(packet(1, i64::MAX as u64, 1))
            .gives()
            .says("last-modified", LAST_DATE),
        get("what cannot be read", "{key}", 404)
            .after(unreadable(SIGNED))
            .says("pkarr-invalid-signed-packet-seq", SIGNED.to_string()),
        get("the cache first", "{key}?policy=CacheFirst", 200).after(signed.clone()).gives(),
        get("the network", "{key}?policy=NetworkOnly", 200).after(signed.clone()).gives(),
        get("the network, which has none", "{key}?policy=NetworkOnly", 404),
        get("the cache, which has none", "{key}?policy=CacheOnly", 404).after(signed.clone()),
        get("another policy", "{key}?policy=Whatever", 400),
        get("another parameter", "{key}?colour=red", 200).after(signed.clone()).gives(),
        row("the head of it", Method::HEAD, "{key}", 200)
            .after(signed.clone())
            .says("content-length", signed.to_payload().len().to_string())
            .says("last-modified", SECOND_BEFORE),
        // Conditions. A second is compared with microseconds: who echoes Last-Modified gets the packet.
        get("known since later", "{key}", 304)
            .after(signed.clone())
            .with("if-modified-since", SECOND_AFTER)
            .says("cache-control", "public, max-age=600")
            .says("last-modified", SECOND_BEFORE),
        get("the echo", "{key}", 200).after(signed.clone()).gives().with("if-modified-since", SECOND_BEFORE),
        get("the echo of a whole second", "{key}", 304)
            .after(packet(1, SIGNED - 500_000, 1))
            .with("if-modified-since", SECOND_BEFORE),
        get("the echo of the last date", "{key}", 200)
            .after(packet(1, 300_000_000_000_000_000, 1))
            .gives()
            .with("if-modified-since", LAST_DATE),
        get("no date", "{key}", 200).after(signed.clone()).gives().with("if-modified-since", "yesterday"),
        get("a date as RFC 850 wrote it", "{key}", 304)
            .after(signed.clone())
            .with("if-modified-since", "Tuesday, 14-Nov-23 22:13:21 GMT"),
        get("a date as C writes it", "{key}", 304)
            .after(signed.clone())
            .with("if-modified-since", "Tue Nov 14 22:13:21 2023"),
        get("a condition does not bring back what cannot be read", "{key}", 404)
            .after(unreadable(SIGNED))
            .with("if-modified-since", SECOND_AFTER)
            .says("pkarr-invalid-signed-packet-seq", SIGNED.to_string()),
        // Pages of others
        get("a page", "{key}", 200)
            .after(signed.clone())
            .gives()
            .with("origin", "https://example.com")
            .says("access-control-allow-credentials", "true"),
        get("a page that finds nothing", "{key}", 404)
            .with("origin", "null")
            .says("access-control-allow-credentials", "true"),
        Row {
            headers: vec![("origin", "https://example.com")],
            ..put("a page that publishes", signed.to_payload(), 204)
        }
        .says("access-control-allow-credentials", "true"),
        // Keys
        row("the head of nothing", Method::HEAD, "{key}", 404),
        get("what is no text", "%ff", 404),
        get("no key", "nothing", 404),
        get("a key that was cut short", "ybndrfg8ejkmcpqxot1uwisza345h769ybndrfg8ejkmcpqxot1", 400),
        get("no point of the curve", "c1bkg8tfsyy8wcedtmw4fwhdmm7bbzhgg3z58tf43m5ow8w9mbus", 400),
        get("upper case", "{KEY}", 400),
        get("a scheme before it", "pk:{key}", 400),
        Row { path: "nothing".into(), ..put("no key", signed.to_payload(), 404) },
        // PUT
        put("a packet", signed.to_payload(), 204).says("pkarr-dht-stored-nodes", "20"),
        put("an update", signed.to_payload(), 204)
            .after(packet(1, SIGNED - 1, 9))
            .says("pkarr-dht-stored-nodes", "20"),
        put("the same again", signed.to_payload(), 204).after(signed.clone()),
        put("an older one", signed.to_payload(), 409).after(packet(1, SIGNED + 1, 1)),
        put("another one of the same time", signed.to_payload(), 409).after(packet(1, SIGNED, 0)),
        put("another one of the same time, the greater", signed.to_payload(), 409)
            .after(packet(1, SIGNED, 9)),
        put("one from the far future", packet(1, 300_000_000_000_000_000, 1).to_payload(), 204),
        put("one with names of another key", foreign.to_payload(), 204),
        put("a forged one", forged, 400),
        put("that of another key", packet(2, SIGNED, 1).to_payload(), 400),
        put(
            "a timestamp out of range",
            {
                let mut body = signed.to_payload();
                body[64] = 0x80;
                body
            },
            400,
        ),
        put("what cannot be read", unreadable(SIGNED).to_payload(), 400),
        put("nothing", [], 400),
        put("a part", &signed.to_payload()[..71], 400),
        put("the longest", of_size(1072), 204),
        put("one byte more", of_size(1073), 400),
        put("the longest that is read", of_size(1104), 400),
        put("one byte more than that", of_size(1105), 413),
        put("much more", vec![0; 100_000], 413),
        // The condition of older clients.
        put("the expected one is there", signed.to_payload(), 204)
            .after(packet(1, 17, 1))
            .with("if-match", "17"),
        put("another one is there", signed.to_payload(), 412).after(packet(1, 18, 1)).with("if-match", "17"),
        put("none is there", signed.to_payload(), 204).with("if-match", "17"),
        put("older than what is there", signed.to_payload(), 409)
            .after(packet(1, SIGNED + 1, 1))
            .with("if-match", "*"),
        // Methods
        row("POST", Method::POST, "{key}", 405).says("allow", "GET,HEAD,PUT"),
        row("DELETE", Method::DELETE, "{key}", 405),
        row("a preflight", Method::OPTIONS, "{key}", 200)
            .with("origin", "https://example.com")
            .with("access-control-request-method", "PUT")
            .with("access-control-request-headers", "if-match,x-other")
            .says("access-control-allow-origin", "https://example.com")
            .says("access-control-allow-methods", "PUT")
            .says("access-control-allow-headers", "if-match,x-other")
            .says("access-control-allow-credentials", "true")
            .says("access-control-max-age", "86400")
            .says("allow", "GET, HEAD, PUT, OPTIONS"),
        row("options, for nobody", Method::OPTIONS, "{key}", 200)
            .says("access-control-allow-credentials", "")
            .says("access-control-allow-methods", ""),
    ]
}

#[tokio::test]
async fn every_case_is_answered_as_the_table_says() {
    for (prefix, media_type) in PATHS {
        for version in VERSIONS {
            for mut row in rows() {
                if row.status == 405 {
                    row.expected.retain(|(name, _)| *name == "allow");
                }
                check(row, prefix, media_type, version).await;
            }
        }
    }
}

async fn check(row: Row, prefix: &str, media_type: &str, version: Version) {
    // One server for each row: an earlier one would have left something.
    let server = start();
    if let Some(packet) = &row.published {
        server.network.publish(packet.clone());
    }
    let key = keypair(1).to_z32();
    let path = format!("{prefix}{}", row.path).replace("{key}", &key).replace("{KEY}", &key.to_uppercase());
    let reply = server.request(version, row.method.clone(), &path, &row.headers, &row.body).await;
    let what = format!("{} {} {path} over {version:?}: {}", row.what, row.method, reply.text());
    assert_eq!(reply.status, row.status, "{what}");
    // A path that is no key's is that of a page, which is not there.
    if reply.status == 404 && !reply.header("content-security-policy").is_empty() {
        assert!(row.path == "nothing" || row.path == "%ff", "{what}");
        return;
    }
    for (name, value) in &row.expected {
        assert_eq!(reply.header(name), value, "{name}, {what}");
    }
    let is_packet = reply.status == 200 && row.method != Method::OPTIONS;
    match reply.status {
        _ if is_packet => {
            assert_eq!(reply.header("content-type"), media_type, "{what}");
            assert_eq!(reply.body, row.gives, "{what}");
        }
        200 | 204 | 304 => assert!(reply.body.is_empty(), "{what}"),
        405 => {}
        _ => assert!(row.method == Method::HEAD || reply.text().ends_with(".\n"), "{what}"),
    }
    if is_packet || reply.status == 304 {
        let seen = httpdate::parse_http_date(reply.header("memento-datetime")).expect(&what);
        assert!(seen.elapsed().is_ok_and(|age| age.as_secs() < 600), "{what}");
    }
    // Browsers show what they take for a page, and all of this is somebody else's.
    if is_packet || reply.status >= 400 && reply.status != 405 {
        assert_eq!(reply.header("x-content-type-options"), "nosniff", "{what}");
    }
    // Any page may use it.
    let origin = row.headers.iter().find(|(name, _)| *name == "origin").map_or("*", |(_, origin)| origin);
    assert_eq!(reply.header("access-control-allow-origin"), origin, "{what}");
    assert_eq!(
        reply.header("access-control-expose-headers"),
        "pkarr-dht-stored-nodes, pkarr-invalid-signed-packet-seq",
        "{what}"
    );
    assert!(reply.header("vary").contains("origin"), "{what}");
}

/// Nothing of these is about the packet.
#[tokio::test]
async fn without_a_dht_nothing_is_said_about_a_key() {
    for failure in [NetworkError::Unreachable, NetworkError::NotReady, NetworkError::Disabled] {
        let server = start();
        server.network.fail(failure);
        for policy in ["CacheFirst", "NetworkOnly"] {
            let reply = super::get(&server, &format!("{}?policy={policy}", path_of(1))).await;
            assert_eq!((reply.status, reply.header("retry-after")), (503, "1"), "{failure:?}");
        }
        let reply = super::put(&server, &packet(1, SIGNED, 1)).await;
        assert_eq!(reply.status, 500, "{failure:?}");
        assert!(reply.text().contains(&failure.to_string()), "{}", reply.text());
    }
    let server = start();
    server.network.fail(NetworkError::Busy);
    assert_eq!(super::get(&server, &path_of(1)).await.status, 503);
    let reply = super::put(&server, &packet(1, SIGNED, 1)).await;
    assert_eq!((reply.status, reply.header("retry-after")), (429, "1"));
}
