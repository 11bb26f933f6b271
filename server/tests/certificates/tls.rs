//! What a handshake agrees on, and an authority of our own.

use std::{fs, sync::Arc};

use pkdns_testing::{
    server::{TestServer, query},
    support::client::ask_on,
    tls_client::{connect, trusting, trusting_anyone},
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio_rustls::rustls::{
    HandshakeKind, ProtocolVersion,
    version::{TLS12, TLS13},
};

use super::start;

async fn self_signed(directory: &tempfile::TempDir) -> TestServer {
    start(|config| {
        config.certificate.self_signed = true;
        config.certificate.path = Some(directory.path().join("certificates"));
    })
}

#[tokio::test]
async fn clients_that_import_the_authority_trust_the_server_under_each_of_its_names() {
    let directory = tempfile::tempdir().unwrap();
    let server = self_signed(&directory).await;
    let authority = fs::read_to_string(directory.path().join("certificates/ca.pem")).unwrap();
    for name in ["localhost", "127.0.0.1"] {
        connect(server.https(), name, trusting(&authority, &["h2"])).await.expect(name);
        connect(server.tls(), name, trusting(&authority, &["dot"])).await.expect(name);
    }
    assert!(connect(server.https(), "elsewhere.example", trusting(&authority, &["h2"])).await.is_err());
    // The page to download it from.
    let mut page = tokio::net::TcpStream::connect(server.http()).await.unwrap();
    page.write_all(b"GET /ca.pem HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").await.unwrap();
    let mut text = String::new();
    page.read_to_string(&mut text).await.unwrap();
    assert!(text.ends_with(&authority), "{text}");
    drop(server);
    // After a restart the clients need nothing new.
    let server = self_signed(&directory).await;
    connect(server.https(), "localhost", trusting(&authority, &["h2"])).await.unwrap();
}

#[tokio::test]
async fn versions_and_protocols_are_agreed_on() {
    let directory = tempfile::tempdir().unwrap();
    let server = self_signed(&directory).await;
    for (address, offered, agreed) in [
        (server.https(), &["h2", "http/1.1"][..], Some(&b"h2"[..])),
        (server.https(), &["http/1.1", "h2"], Some(b"h2")),
        (server.https(), &["http/1.1"], Some(b"http/1.1")),
        (server.https(), &[], None),
        (server.tls(), &["dot"], Some(b"dot")),
        (server.tls(), &[], None),
    ] {
        for (version, number) in [(&TLS12, ProtocolVersion::TLSv1_2), (&TLS13, ProtocolVersion::TLSv1_3)] {
            let stream = connect(address, "localhost", trusting_anyone(&[version], offered)).await.unwrap();
            let session = stream.get_ref().1;
            assert_eq!(
                (session.protocol_version(), session.alpn_protocol()),
                (Some(number), agreed),
                "{offered:?}"
            );
        }
    }
    for (address, offered) in [(server.https(), "dot"), (server.tls(), "h2"), (server.https(), "acme-tls/1")]
    {
        let config = trusting_anyone(&[&TLS13], &[offered]);
        assert!(connect(address, "localhost", config).await.is_err(), "{offered}");
    }
}

#[tokio::test]
async fn sessions_are_resumed_and_nothing_is_taken_before_the_handshake_ends() {
    let directory = tempfile::tempdir().unwrap();
    let server = self_signed(&directory).await;
    for version in [&TLS12, &TLS13] {
        let mut config = trusting_anyone(&[version], &["dot"]);
        config.enable_early_data = true;
        let config = Arc::new(config);
        let mut kinds = Vec::new();
        for _ in 0..2 {
            let mut stream = connect(server.tls(), "localhost", config.clone()).await.unwrap();
            assert!(!stream.get_ref().1.is_early_data_accepted());
            // Tickets come with the first bytes after the handshake.
            let query = query("www.example.com", hickory_proto::rr::RecordType::A);
            ask_on(&mut stream, &query).await.unwrap();
            kinds.push(stream.get_ref().1.handshake_kind().unwrap());
        }
        assert_eq!(kinds[1], HandshakeKind::Resumed, "{version:?}");
    }
}
