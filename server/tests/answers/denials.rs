//! NXDOMAIN and NODATA: of what, for whom and for how long.

use super::*;

#[tokio::test]
async fn no_has_a_question_a_soa_and_the_right_code() {
    let upstream = Upstream::start(|query, response| {
        let apex = Name::from_ascii("com.").unwrap();
        let soa = SOA::new(apex.clone(), apex.clone(), 1, 1, 1, 1, 60);
        response.metadata.response_code = ResponseCode::NXDomain;
        response.metadata.authentic_data = true;
        response.add_authority(Record::from_rdata(apex, 900, RData::SOA(soa)));
        assert_eq!(query.queries.len(), 1);
    });
    let server = TestServer::start_behind(upstream);
    let key = publish_alice(&server, &[("www", address(1))]);
    let unpublished = keypair(2).to_z32();
    for (name, record_type, expected, soa) in [
        (format!("nope.{key}"), RecordType::A, ResponseCode::NXDomain, format!("{key}.")),
        (format!("www.{key}.key"), RecordType::AAAA, ResponseCode::NoError, format!("{key}.key.")),
        (key.clone(), RecordType::A, ResponseCode::NoError, format!("{key}.")),
        (unpublished.clone(), RecordType::A, ResponseCode::NXDomain, format!("{unpublished}.")),
        ("nope.com".into(), RecordType::A, ResponseCode::NXDomain, "com.".into()),
    ] {
        let reply = server.ask(&name, record_type).await;
        assert_eq!(code(&reply), expected, "{name}");
        assert_eq!(question(&reply).name().to_ascii(), format!("{name}."));
        assert_eq!(reply.authorities[0].name.to_ascii(), soa, "{name}");
        assert_eq!(reply.authorities[0].record_type(), RecordType::SOA);
    }
    // Below a name that is proven not to exist nothing is asked for (RFC 8020).
    server.ask("a.b.nope.com", RecordType::AAAA).await;
    assert_eq!(server.upstream.asked(), ["nope.com. A"]);
}

#[tokio::test]
async fn a_signature_beside_an_alias_does_not_make_an_absence_last() {
    // RFC 2308 section 5: NODATA lasts as the SOA says, not as long as the alias that led to it.
    let upstream = Upstream::start(|query, response| {
        let name = query.queries[0].name().clone();
        response.add_answer(Record::from_rdata(name.clone(), 86_400, alias("end.example.com")));
        let signature = raw(RecordType::RRSIG, &[0, 5, 8, 3, 0, 0, 0, 1]);
        response.add_answer(Record::from_rdata(name, 86_400, signature));
        response.add_authority(soa("example.com", 1));
    });
    let server = TestServer::start_behind(upstream);
    let request = with_edns(query("www.example.com", RecordType::AAAA), true);
    server.send(&request).await;
    pass(Duration::from_millis(1300)).await;
    server.send(&request).await;
    assert_eq!(server.upstream.asked().len(), 2);
}

#[tokio::test]
async fn a_denial_that_was_not_checked_is_not_told_to_those_who_want_it_checked() {
    // CD switches off validation at the upstream, so that what it says may be forged (RFC 4035 section 3.2.2).
    let upstream = Upstream::start(|query, response| {
        if query.metadata.checking_disabled {
            response.metadata.response_code = ResponseCode::NXDomain;
            response.metadata.authentic_data = true;
            response.add_authority(soa("example.com", 300));
        } else {
            response.add_answer(Record::from_rdata(query.queries[0].name().clone(), 300, address(1)));
        }
    });
    let server = TestServer::start_behind(upstream);
    let mut unchecked = query("www.example.com", RecordType::A);
    unchecked[3] |= 0x10;
    assert_eq!(code(&parse(&server.send(&unchecked).await)), ResponseCode::NXDomain);
    for name in ["www.example.com", "a.www.example.com"] {
        assert_eq!(server.ask(name, RecordType::A).await.answers.len(), 1, "{name}");
    }
}

#[tokio::test]
async fn nothing_is_denied_below_the_end_of_an_alias() {
    // The NXDOMAIN is about `gone`, not about the name that was asked for.
    let upstream = Upstream::start(|query, response| {
        let name = query.queries[0].name().clone();
        if name.to_lowercase() == self::name("www.example.com") {
            response.metadata.response_code = ResponseCode::NXDomain;
            response.metadata.authentic_data = true;
            response.add_answer(Record::from_rdata(name, 300, alias("gone.example.com")));
            response.add_authority(soa("example.com", 300));
        } else {
            response.add_answer(Record::from_rdata(name, 300, address(1)));
        }
    });
    let server = TestServer::start_behind(upstream);
    assert_eq!(code(&server.ask("www.example.com", RecordType::A).await), ResponseCode::NXDomain);
    assert_eq!(server.ask("a.www.example.com", RecordType::A).await.answers.len(), 1);
}

#[tokio::test]
async fn only_a_denial_with_proof_says_what_is_below_a_name_or_in_its_other_types() {
    // opnsense#9820, dnscrypt-proxy#1143, unbound#162: an upstream that denies `lan` and knows `nas.lan`.
    for is_proven in [false, true] {
        let upstream = Upstream::start(move |query, response| {
            let question = &query.queries[0];
            let asked = question.name().to_lowercase().to_ascii();
            let is_denied = asked.matches('.').count() == 1
                || asked == "ads.example."
                || (asked == "held.example." && question.query_type() == RecordType::AAAA);
            if is_denied {
                response.metadata.response_code = ResponseCode::NXDomain;
                response.metadata.authentic_data = is_proven;
                response.add_authority(soa(".", 3600));
            } else {
                response.add_answer(Record::from_rdata(question.name().clone(), 1, address(1)));
            }
        });
        let server = TestServer::start_behind(upstream);
        let is_right = async |name: &str, record_type| {
            let expected = if is_proven { ResponseCode::NXDomain } else { ResponseCode::NoError };
            assert_eq!(code(&server.ask(name, record_type).await), expected, "{name}, proven: {is_proven}");
        };
        for (denied, below) in [("lan", "nas.lan"), ("ads.example", "a.b.ads.example")] {
            assert_eq!(code(&server.ask(denied, RecordType::A).await), ResponseCode::NXDomain);
            is_right(below, RecordType::A).await;
        }
        assert_eq!(code(&server.ask("held.example", RecordType::AAAA).await), ResponseCode::NXDomain);
        is_right("held.example", RecordType::A).await;
    }
}

#[tokio::test]
async fn what_follows_from_a_validated_denial_is_as_authentic_as_that() {
    let upstream = Upstream::start(|_, response| {
        response.metadata.response_code = ResponseCode::NXDomain;
        response.metadata.authentic_data = true;
        response.add_authority(soa("example.com", 300));
    });
    let server = TestServer::start_behind(upstream);
    for name in ["no.example.com", "below.no.example.com"] {
        let mut asked = query(name, RecordType::A);
        asked[3] |= 0x20;
        let reply = parse(&server.send(&asked).await);
        assert_eq!((code(&reply), reply.metadata.authentic_data), (ResponseCode::NXDomain, true), "{name}");
    }
    assert_eq!(server.upstream.asked().len(), 1);
}
