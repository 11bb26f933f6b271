//! Sites that are something else.

use super::*;

/// Somebody who speaks HTTP without TLS.
pub(super) async fn plain_http() -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = listener.accept().await {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n").await;
            let _ = stream.read(&mut [0; 1024]).await;
        }
    });
    address
}

async fn refused(site: &Site) -> ConnectError {
    SiteConnector::new().unwrap().connect(site, &alpn()).await.unwrap_err()
}

#[tokio::test]
async fn another_key_is_told_with_both_and_nothing_is_tried_that_could_hide_it() {
    let p256 = KeyPair::generate().unwrap();
    let private_key = PrivatePkcs8KeyDer::from(p256.serialize_der()).into();
    let p256_key = ring::sign::any_supported_type(&private_key).unwrap();
    let (ours, theirs) = (key(1).public_key().to_z32(), key(2).public_key().to_z32());
    let raw = Server::raw(2, 2).await;
    let certified = Server::certified(ed25519_certificate(2), signing_key(2), &TLS13).await;
    let foreign = Server::certified(odd_certificate(&p256), p256_key.clone(), &TLS13).await;
    let old = Server::certified(odd_certificate(&p256), p256_key, &TLS12).await;
    let hash = record(Selector::PublicKey, Matching::Sha256, &public_key_info(1));
    let records = || of_record(hash.clone());
    let both = || Proof { key: Some(key(1).public_key()), ..records() };
    for (server, proof, connections, parts) in [
        (&raw, of_key(1), 1, vec![format!("show the key {ours}"), format!("shows the key {theirs}")]),
        // The first of them is for the raw key, which this server has not.
        (
            &certified,
            of_key(1),
            2,
            vec![format!("the key {ours}"), format!("a certificate with the key {theirs}")],
        ),
        (
            &certified,
            records(),
            1,
            vec!["show what matches the record TLSA 3 1 1 ".to_string(), theirs.clone()],
        ),
        (
            &foreign,
            both(),
            1,
            vec![format!("the key {ours}, or what"), "an ECDSA key, for TLSA 3 1 1 ".to_string()],
        ),
        (&old, records(), 1, vec![", for TLSA 3 0 1 ".to_string()]),
    ] {
        let before = server.connections();
        let mut site = server.site(proof);
        // One that would have been right comes after it.
        site.addresses.push(Server::raw(1, 1).await.address);
        let error = refused(&site).await;
        assert!(matches!(error, ConnectError::AnotherKey { .. }), "{error}");
        let text = error.to_string();
        assert!(parts.iter().all(|part| text.contains(part.as_str())), "{text}\n{parts:?}");
        assert_eq!(server.connections() - before, connections, "{text}");
    }
}

#[tokio::test]
async fn whoever_shows_the_key_and_cannot_sign_with_it_is_refused() {
    let raw = Server::raw(1, 2).await;
    let certified = Server::certified(ed25519_certificate(1), signing_key(2), &TLS13).await;
    let old = Server::certified(ed25519_certificate(1), signing_key(2), &TLS12).await;
    let record = || of_record(record(Selector::PublicKey, Matching::Sha256, &public_key_info(1)));
    for (server, proof) in
        [(&raw, of_key(1)), (&certified, of_key(1)), (&certified, record()), (&old, record())]
    {
        let error = refused(&server.site(proof)).await;
        assert!(matches!(error, ConnectError::Refused { .. }), "{error}");
        assert!(error.to_string().contains("BadSignature"), "{error}");
    }
}

#[tokio::test]
async fn a_key_without_a_record_speaks_tls_1_3() {
    let server = Server::certified(ed25519_certificate(1), signing_key(1), &TLS12).await;
    let error = refused(&server.site(of_key(1))).await.to_string();
    assert!(error.contains("old version of TLS: 1.3 is needed"), "{error}");
    // Nor does a record for another certificate make it enough.
    let of_other = record(Selector::PublicKey, Matching::Sha256, b"another key");
    let error = refused(&server.site(Proof { certificates: vec![of_other], ..of_key(1) })).await;
    assert!(matches!(error, ConnectError::Refused { .. }), "{error}");
}

#[tokio::test]
async fn whatever_is_no_site_is_told_from_one_that_cannot_be_reached() {
    let server = Server::raw(1, 1).await;
    let at = |address| Site { addresses: vec![address], ..server.site(of_key(1)) };
    let plain = refused(&at(plain_http().await)).await;
    assert!(matches!(plain, ConnectError::NoTls(_)), "{plain}");
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let address = listener.local_addr().unwrap();
    drop(listener);
    let closed = refused(&at(address)).await;
    assert!(matches!(&closed, ConnectError::Unreachable(failures) if failures.len() == 1), "{closed}");
    assert!(closed.to_string().contains("refused"), "{closed}");
    let none = Proof { key: None, certificates: Vec::new() };
    let unverified = refused(&server.site(none)).await;
    assert!(unverified.to_string().contains("do not say how"), "{unverified}");
}

#[tokio::test(start_paused = true)]
async fn a_site_that_says_nothing_is_given_up() {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
    let site = Site { addresses: vec![listener.local_addr().unwrap()], ..site_of_key() };
    assert!(matches!(refused(&site).await, ConnectError::Deadline));
}

fn site_of_key() -> Site {
    let end_point = Name::from_ascii(format!("{}.", key(1).public_key().to_z32())).unwrap();
    Site { end_point, addresses: Vec::new(), proof: of_key(1) }
}

#[tokio::test]
async fn a_chain_of_a_mebibyte_is_refused_before_it_is_read() {
    let key = KeyPair::generate().unwrap();
    let own = odd_certificate(&key);
    let mut parameters = CertificateParams::new(vec!["filler.example.com".to_string(); 2500]).unwrap();
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    let filler = parameters.self_signed(&key).unwrap().der().clone();
    let chain: Vec<_> = [own.clone()].into_iter().chain((0..24).map(|_| filler.clone())).collect();
    assert!(chain.iter().map(|certificate| certificate.len()).sum::<usize>() > 1 << 20);
    let private_key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    let signing_key = ring::sign::any_supported_type(&private_key).unwrap();
    for version in [&TLS13, &TLS12] {
        let certified = CertifiedKey::new(chain.clone(), signing_key.clone());
        let server = Server::start(Arc::new(SingleCertAndKey::from(certified)), &[version]).await;
        // Its own certificate would be the right one.
        let record = record(Selector::Certificate, Matching::Sha256, &own);
        let error = refused(&server.site(of_record(record))).await;
        assert!(matches!(error, ConnectError::NoTls(_)), "{error}");
    }
}

/// What is no message of TLS, or one that was never asked for, for as long as somebody reads it.
#[tokio::test]
async fn a_site_that_never_ends_its_handshake_is_given_up_at_once() {
    for piece in [
        // Alerts that are only warnings.
        &[21, 3, 3, 0, 2, 1, 90][..],
        // For the sake of middleboxes.
        &[20, 3, 3, 0, 1, 1],
        // Requests to begin anew, in TLS 1.2.
        &[22, 3, 3, 0, 4, 0, 0, 0, 0],
        // Records with nothing in them.
        &[22, 3, 3, 0, 0],
    ] {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        let pieces = piece.repeat(1000);
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                let pieces = pieces.clone();
                tokio::spawn(async move { while stream.write_all(&pieces).await.is_ok() {} });
            }
        });
        let of_record = of_record(record(Selector::PublicKey, Matching::Sha256, &public_key_info(1)));
        let site = Site { addresses: vec![address], proof: of_record, ..site_of_key() };
        let error = refused(&site).await;
        assert!(!matches!(error, ConnectError::Deadline), "{piece:?}: {error}");
    }
}
