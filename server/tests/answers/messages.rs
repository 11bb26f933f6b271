//! Headers, EDNS, sizes and types.

use pkdns::message::read_message;

use super::*;

#[tokio::test]
async fn an_answer_never_exceeds_what_the_client_takes() {
    let server = TestServer::start();
    let alice = keypair(1);
    let text = |index: u8| RData::TXT(TXT::new(vec![format!("{index:0>100}")]));
    let records: Vec<Record> = (0..6).map(|index| record(&alice, "", 300, text(index))).collect();
    server.publish(&alice, 1, &records);
    let plain = query(&alice.to_z32(), RecordType::TXT);
    for (request, limit) in [(plain.clone(), 512), (with_edns(plain.clone(), false), 1232)] {
        // The first answer is made, the second comes from the cache.
        for _ in 0..2 {
            let reply = server.send(&request).await;
            assert!(reply.len() <= limit, "{} bytes", reply.len());
            assert_eq!(parse(&reply).metadata.truncation, limit == 512);
        }
    }
    let reply = parse(&server.send_tcp(&plain).await);
    assert_eq!(reply.answers.len(), 6);
    assert!(!reply.metadata.truncation);
}

#[tokio::test]
async fn flags_classes_and_opcodes_are_answered_as_the_rules_say() {
    let server = TestServer::start();
    for (name, record_type) in [("example.com", RecordType::A), ("localhost", RecordType::A)] {
        let mut request = query(name, record_type);
        // AA, TC, Z and AD set, RD clear, CD set.
        request[2] = 0x06;
        request[3] = 0x70;
        let reply = server.send(&request).await;
        assert_eq!(reply[2] & 0x07, 0, "AA, TC or RD echoed");
        assert_eq!(reply[3] & 0xf0, 0x90, "RA and CD expected, Z and AD not");
    }
    let reply = server.send(&with_edns(query("example.com", RecordType::A), true)).await;
    let edns = parse(&reply).edns.expect("no OPT in the reply");
    assert!(edns.flags().dnssec_ok);
    let mut chaos = query("version.bind", RecordType::TXT);
    *chaos.last_mut().unwrap() = 3;
    assert_eq!(code(&parse(&server.send(&chaos).await)), ResponseCode::Refused);
    let mut update = query("example.com", RecordType::SOA);
    update[2] = 5 << 3;
    assert_eq!(server.send(&update).await[3] & 0x0f, 4, "NOTIMP");
    for transfer in [RecordType::AXFR, RecordType::IXFR] {
        let reply = parse(&server.send_tcp(&query("example.com", transfer)).await);
        assert_eq!(code(&reply), ResponseCode::Refused);
    }
    let asked = server.upstream.asked();
    assert!(asked.iter().all(|question| question == "example.com. A"), "{asked:?}");
}

#[tokio::test]
async fn signatures_go_to_those_who_ask_for_them() {
    // An upstream that sends them anyway.
    let upstream = Upstream::start(|query, response| {
        let name = query.queries[0].name().clone();
        let signature = RData::Unknown { code: RecordType::RRSIG, rdata: NULL::with(vec![7; 30]) };
        response.add_answer(Record::from_rdata(name.clone(), 300, address(1)));
        response.add_answer(Record::from_rdata(name, 300, signature));
    });
    let server = TestServer::start_behind(upstream);
    assert_eq!(server.ask("example.com", RecordType::A).await.answers.len(), 1);
    let signed = server.send(&with_edns(query("example.com", RecordType::A), true)).await;
    assert_eq!(read_message(&signed).unwrap().answers.len(), 2);
}

#[tokio::test]
async fn the_server_tells_its_version_only_if_the_operator_wants_that() {
    let server = TestServer::start_with(|config| {
        config.identity.version = "pkdns".into();
    });
    let mut chaos = query("VERSION.bind", RecordType::TXT);
    *chaos.last_mut().unwrap() = 3;
    assert_eq!(parse(&server.send(&chaos).await).answers.len(), 1);
}

#[tokio::test]
async fn responses_and_fragments_of_messages_get_no_reply() {
    let server = TestServer::start();
    let mut response = query("localhost", RecordType::A);
    response[2] |= 0x80;
    for request in [&response[..], &response[..20], b"", b"short", &[0xff; 600]] {
        assert!(!server.replies_to(request).await);
    }
    assert_eq!(server.ask("localhost", RecordType::A).await.answers.len(), 1);
}

#[tokio::test]
async fn every_type_gets_an_answer() {
    let server = TestServer::start();
    let alice = keypair(1);
    server.publish(&alice, 1, &[record(&alice, "", 300, address(1))]);
    for code in [0u16, 2, 39, 43, 44, 52, 64, 99, 250, 255, 257, 65_280, 65_535] {
        for name in [alice.to_z32(), "example.com".into(), ".".into()] {
            let request = query(&name, RecordType::from(code));
            let reply = server.send(&request).await;
            assert!(reply.len() >= request.len(), "{name} TYPE{code}");
            assert_eq!(reply[12..request.len()], request[12..], "the question of {name} TYPE{code}");
            let is_none = [0, 250, 255].contains(&code);
            let expected = if is_none { [0, 1, 4, 5].as_slice() } else { &[0] };
            assert!(expected.contains(&(reply[3] & 0x0f)), "{name} TYPE{code}: {}", reply[3] & 0x0f);
        }
    }
    let reply = server.ask(&alice.to_z32(), RecordType::DS).await;
    assert_eq!((code(&reply), reply.authorities.len()), (ResponseCode::NoError, 1));
}

#[tokio::test]
async fn an_extended_code_is_a_failure_to_those_without_edns() {
    // BADVERS is 16: its lower four bits say NOERROR.
    let upstream = Upstream::start(|query, response| {
        response.metadata.response_code = ResponseCode::BADVERS;
        response.edns = query.edns.clone();
    });
    let server = TestServer::start_behind(upstream);
    let reply = server.ask("www.example.com", RecordType::A).await;
    assert_eq!(code(&reply), ResponseCode::ServFail);
}

#[tokio::test]
async fn an_answer_that_is_cut_before_its_proof_says_so() {
    // RFC 4035 section 3.1.3.3: a wildcard's answer is worth nothing to a validator without the NSEC record.
    let upstream = Upstream::start(|query, response| {
        let name = query.queries[0].name().clone();
        let fitting = if name.to_ascii().to_lowercase().starts_with("proof") {
            RecordType::NSEC
        } else {
            RecordType::NS
        };
        response.add_answer(Record::from_rdata(name.clone(), 300, text(0)));
        response.add_answer(Record::from_rdata(name, 300, text(1)));
        for index in 0..4 {
            let data = match fitting {
                RecordType::NSEC => raw(RecordType::NSEC, &[index; 100]),
                _ => RData::NS(NS(self::name(&format!("{index}{}.example.com", "a".repeat(60))))),
            };
            response.add_authority(Record::from_rdata(self::name("example.com"), 300, data));
        }
    });
    let server = TestServer::start_behind(upstream);
    for (name, cut) in [("proof.example.com", true), ("servers.example.com", false)] {
        let mut request = with_edns(query(name, RecordType::TXT), true);
        let at = request.len() - 8;
        request[at..at + 2].copy_from_slice(&600u16.to_be_bytes());
        let reply = parse(&server.send(&request).await);
        assert_eq!((reply.answers.len(), reply.authorities.len()), (2, 0), "{name}");
        assert_eq!(reply.metadata.truncation, cut, "{name}");
    }
}
