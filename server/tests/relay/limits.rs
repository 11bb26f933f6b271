//! Quotas, the access list, and bodies that are too long or never end.

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    time::timeout,
};

use super::*;

/// Longest wait for a response.
const PATIENCE: Duration = Duration::from_secs(20);

#[tokio::test]
async fn reads_and_writes_have_quotas_of_their_own() {
    let server = start_with(|config| {
        config.relay.reads_per_minute = 2;
        config.relay.read_burst_size = 2;
        config.relay.writes_per_minute = 1;
        config.relay.write_burst_size = 1;
    });
    assert_eq!(put(&server, &packet(1, SIGNED, 1)).await.status, 204);
    for version in VERSIONS {
        let body = packet(1, SIGNED + 1, 1).to_payload();
        let reply = server.request(version, Method::PUT, &path_of(1), &[], &body).await;
        assert_eq!((reply.status, reply.header("retry-after")), (429, "60"));
        assert_eq!(server.request(version, Method::GET, &path_of(1), &[], &[]).await.status, 200);
    }
    let reply = get(&server, &path_of(1)).await;
    assert_eq!((reply.status, reply.header("retry-after")), (429, "30"));
    // Whoever asks whether it may ask has not asked yet.
    assert_eq!(server.request(Version::HTTP_2, Method::OPTIONS, &path_of(1), &[], &[]).await.status, 200);
    assert_eq!(octet_of(&server, 1).await, Some(1), "questions have another");
}

#[tokio::test]
async fn a_quota_belongs_to_the_client_that_a_trusted_proxy_names() {
    let server = start_with(|config| {
        config.relay.reads_per_minute = 1;
        config.relay.read_burst_size = 1;
        config.doh.trusted_proxies = vec!["127.0.0.1/32".parse().unwrap()];
        config.access.deny = vec!["10.9.9.9/32".parse().unwrap()];
    });
    for (client, status) in [("10.0.0.1", 404), ("10.0.0.1", 429), ("10.0.0.2", 404), ("10.9.9.9", 403)] {
        let headers = [("x-forwarded-for", client)];
        let reply = server.request(Version::HTTP_11, Method::GET, &path_of(1), &headers, &[]).await;
        assert_eq!(reply.status, status, "{client}");
    }
}

/// Sends `head`, and `body` as long as somebody takes it; returns what comes back.
async fn raw(server: &TestServer, head: &str, body: &[u8]) -> String {
    let mut stream = TcpStream::connect(server.http()).await.unwrap();
    let head = format!("PUT {} HTTP/1.1\r\nhost: relay\r\n{head}\r\n", path_of(1));
    stream.write_all(head.as_bytes()).await.unwrap();
    let _ = stream.write_all(body).await;
    let mut reply = vec![0; 4096];
    let size = timeout(PATIENCE, stream.read(&mut reply)).await.expect("a response").unwrap();
    String::from_utf8_lossy(&reply[..size]).into_owned()
}

#[tokio::test]
async fn what_says_that_it_is_too_long_is_refused_before_a_byte_of_it_is_read() {
    let server = start();
    let reply = raw(&server, "content-length: 1105\r\nexpect: 100-continue\r\n", b"").await;
    assert!(reply.starts_with("HTTP/1.1 413 "), "{reply}");
}

#[tokio::test]
async fn what_does_not_say_how_long_it_is_is_read_as_far_as_a_packet_goes() {
    let server = start();
    let chunked = "transfer-encoding: chunked\r\n";
    let body = [b"450\r\n", &[0; 0x450][..], b"\r\n1\r\n0\r\n"].concat();
    let reply = raw(&server, chunked, &[&body[..], b"1\r\n0\r\n"].concat()).await;
    assert!(reply.starts_with("HTTP/1.1 413 "), "{reply}");
    let bytes = packet(1, SIGNED, 1).to_payload();
    let body = [format!("{:x}\r\n", bytes.len()).as_bytes(), &bytes, b"\r\n0\r\n\r\n"].concat();
    let reply = raw(&server, chunked, &body).await;
    assert!(reply.starts_with("HTTP/1.1 204 "), "{reply}");
}

#[tokio::test]
async fn a_body_that_does_not_come_is_given_up() {
    let server = start();
    let reply = raw(&server, "content-length: 200\r\n", b"a part").await;
    assert!(reply.starts_with("HTTP/1.1 408 "), "{reply}");
}
