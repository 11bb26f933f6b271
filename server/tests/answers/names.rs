//! Names of keys, in whatever spelling, and what a zone makes of them.

use super::*;

#[tokio::test]
async fn odd_labels_before_a_key_do_not_stop_the_server() {
    let server = TestServer::start();
    let key = publish_alice(&server, &[("", address(1))]);
    let long = "a".repeat(63);
    for name in [
        format!("*.{key}.key"),
        format!("-a.{key}.key"),
        format!("a-.{key}"),
        format!("_.{key}.key"),
        format!("\u{1}\u{7f}.{key}"),
        format!("{long}.{long}.{long}.{key}"),
    ] {
        let reply = server.ask(&name, RecordType::A).await;
        assert_eq!(code(&reply), ResponseCode::NXDomain, "{name}");
    }
    assert_eq!(server.ask(&key, RecordType::A).await.answers.len(), 1);
}

#[tokio::test]
async fn no_spelling_of_a_key_is_forwarded() {
    let server = TestServer::start();
    let key = publish_alice(&server, &[("", address(1))]);
    let impossible = "c1bkg8tfsyy8wcedtmw4fwhdmm7bbzhgg3z58tf43m5ow8w9mbus";
    for name in [
        key.to_uppercase(),
        format!("{}.KEY", key.to_uppercase()),
        format!("{}.key", key.to_uppercase()),
        format!("{key}.KeY"),
    ] {
        let reply = server.ask(&name, RecordType::A).await;
        assert_eq!(reply.answers[0].data, address(1), "{name}");
        assert_eq!(question(&reply).name().to_ascii(), format!("{name}."));
        assert_eq!(reply.answers[0].name.to_ascii(), format!("{name}."));
    }
    for name in [impossible.to_string(), format!("www.{}.key", impossible.to_uppercase())] {
        let reply = server.ask(&name, RecordType::A).await;
        assert_eq!(code(&reply), ResponseCode::NXDomain, "{name}");
        assert_eq!(reply.authorities.len(), 1);
    }
    assert_eq!(server.upstream.asked(), Vec::<String>::new());
}

#[tokio::test]
async fn mixed_case_and_a_lower_case_answer_belong_together() {
    let upstream = Upstream::start(|query, response| {
        let name = query.queries[0].name().to_lowercase();
        response.add_answer(Record::from_rdata(name, 300, address(7)));
    });
    let server = TestServer::start_behind(upstream);
    for name in ["wWw.ExAmPlE.cOm", "WWW.EXAMPLE.COM", "www.example.com"] {
        let reply = server.ask(name, RecordType::A).await;
        assert_eq!(reply.answers[0].name.to_ascii(), format!("{name}."));
        assert_eq!(question(&reply).name().to_ascii(), format!("{name}."));
    }
    assert_eq!(server.upstream.asked().len(), 1, "spellings share the cache");
}

#[tokio::test]
async fn a_key_without_a_packet_is_nxdomain_even_if_that_is_not_to_be_remembered() {
    let server = TestServer::start_with(|config| {
        config.cache.negative_ttl_seconds = 0;
        config.cache.ttl_seconds = 0;
        config.cache.max_ttl_seconds = 0;
        config.cache.max_stale_seconds = 0;
    });
    let (alice, bob) = (keypair(1), keypair(2));
    server.publish(&alice, 1, &[record(&alice, "", 0, address(1))]);
    let reply = server.send(&with_edns(query(&alice.to_z32(), RecordType::A), false)).await;
    assert_eq!(parse(&reply).answers.len(), 1);
    assert_eq!(extended_error(&reply), None);
    assert_eq!(code(&server.ask(&bob.to_z32(), RecordType::A).await), ResponseCode::NXDomain);
}

#[tokio::test]
async fn a_wildcard_without_records_denies_data_and_not_the_name() {
    // RFC 4592 section 4.9.
    let server = TestServer::start();
    let key = publish_alice(&server, &[("a.*", address(1))]);
    for (name, expected) in [
        (format!("x.{key}"), ResponseCode::NoError),
        (format!("y.x.{key}"), ResponseCode::NoError),
        (format!("b.*.{key}"), ResponseCode::NXDomain),
    ] {
        assert_eq!(code(&server.ask(&name, RecordType::A).await), expected, "{name}");
    }
}

#[tokio::test]
async fn a_wildcard_is_not_denied_where_delegation_is_switched_off() {
    let server = TestServer::start_with(|config| config.delegation.enabled = false);
    let alice = keypair(1);
    let server_name = RData::NS(NS(name("ns.example.com")));
    server.publish(&alice, 1, &[record(&alice, "", 300, server_name), record(&alice, "*", 300, address(1))]);
    let name = format!("www.{}", alice.to_z32());
    assert_eq!(server.ask(&name, RecordType::A).await.answers.len(), 1);
    let reply = server.ask(&name, RecordType::AAAA).await;
    assert_eq!(code(&reply), ResponseCode::NoError);
}

#[tokio::test]
async fn the_longest_name_is_answered_in_512_bytes_with_its_reason() {
    let server = TestServer::start();
    server.network.fail(NetworkError::NotReady);
    let key = keypair(1).to_z32();
    let long = "a".repeat(63);
    // 255 bytes in wire form.
    let name = format!("{long}.{long}.{long}.{}.{key}", "b".repeat(8));
    for spelled in [name.clone(), name.to_uppercase()] {
        let mut request = with_edns(query(&spelled, RecordType::A), true);
        assert_eq!(request.len(), 12 + 255 + 4 + 11);
        let at = request.len() - 8;
        request[at..at + 2].copy_from_slice(&512u16.to_be_bytes());
        let reply = server.send(&request).await;
        assert!(reply.len() <= 512);
        assert_eq!(reply[12..12 + 255], request[12..12 + 255]);
        let reply = parse(&reply);
        assert_eq!((code(&reply), reply.metadata.truncation), (ResponseCode::ServFail, false));
    }
}
