//! Sites that are what their records say.

use super::*;

#[tokio::test]
async fn a_site_shows_its_key_raw_or_in_any_certificate_and_the_form_that_worked_is_tried_first() {
    let connector = SiteConnector::new().unwrap();
    let raw = Server::raw(1, 1).await;
    let certified = Server::certified(ed25519_certificate(1), signing_key(1), &TLS13).await;
    for (server, connections) in [(&raw, [1, 2]), (&certified, [2, 3]), (&raw, [4, 5])] {
        for expected in connections {
            use_site(&connector, &server.site(of_key(1))).await.unwrap();
            assert_eq!(server.connections(), expected);
        }
    }
}

#[tokio::test]
async fn a_raw_key_may_be_named_by_a_record_or_by_the_name_beside_one_that_names_another_certificate() {
    let server = Server::raw(2, 2).await;
    let of_other = record(Selector::Certificate, Matching::Sha256, b"another certificate");
    for proof in [
        of_record(record(Selector::PublicKey, Matching::Sha256, &public_key_info(2))),
        Proof { key: Some(key(2).public_key()), certificates: vec![of_other] },
    ] {
        use_site(&SiteConnector::new().unwrap(), &server.site(proof)).await.unwrap();
    }
}

#[tokio::test]
async fn a_record_may_name_a_certificate_or_its_key_in_any_way_over_both_versions_of_tls() {
    let key = KeyPair::generate().unwrap();
    let certificate = odd_certificate(&key);
    let private_key = PrivatePkcs8KeyDer::from(key.serialize_der()).into();
    let signing_key = ring::sign::any_supported_type(&private_key).unwrap();
    for version in [&TLS13, &TLS12] {
        let server = Server::certified(certificate.clone(), signing_key.clone(), version).await;
        for matching in [Matching::Exact, Matching::Sha256, Matching::Sha512] {
            let whole = record(Selector::Certificate, matching, &certificate);
            let public = record(Selector::PublicKey, matching, &signing_key.public_key().unwrap());
            for record in [whole, public] {
                let told = format!("{version:?} {record:?}");
                let connected =
                    use_site(&SiteConnector::new().unwrap(), &server.site(of_record(record))).await;
                let connected = connected.expect(&told);
                let spoken = connected.stream.get_ref().1.protocol_version();
                assert_eq!(spoken, Some(version.version), "{told}");
            }
        }
    }
}

#[tokio::test]
async fn an_address_that_is_closed_or_silent_or_no_site_does_not_keep_another_from_being_reached() {
    let server = Server::raw(1, 1).await;
    let closed = {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        listener.local_addr().unwrap()
    };
    // A queue that is full: what comes then is dropped, as by a firewall.
    let socket = tokio::net::TcpSocket::new_v4().unwrap();
    socket.bind((Ipv4Addr::LOCALHOST, 0).into()).unwrap();
    let full = socket.listen(0).unwrap();
    let silent = full.local_addr().unwrap();
    let _in_queue = TcpStream::connect(silent).await.unwrap();
    let plain = refusals::plain_http().await;
    let mut site = server.site(of_key(1));
    site.addresses = vec![silent, closed, plain, server.address];
    use_site(&SiteConnector::new().unwrap(), &site).await.unwrap();
}

#[test]
fn a_site_is_asked_for_by_its_name_without_a_suffix() {
    let key = key(1).public_key().to_z32();
    for (end_point, expected) in [
        (key.clone(), key.clone()),
        (format!("www.{key}"), format!("www.{key}")),
        (format!("a.b.{key}.key"), format!("a.b.{key}")),
        // What may not be sent.
        (format!("-a-.{key}"), key.clone()),
    ] {
        let name = server_name(&Name::from_labels(end_point.split('.').map(str::as_bytes)).unwrap());
        assert_eq!(name.to_str(), expected, "{end_point}");
    }
}
