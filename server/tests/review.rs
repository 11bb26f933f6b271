//! Answers that are easy to get wrong between the parts: each held here by a whole server.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::{net::Ipv4Addr, sync::atomic::Ordering, time::Duration};

use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{
        Name, RData, Record, RecordType,
        rdata::{A, CNAME, NS, NULL, SOA, TXT},
    },
};
use pkdns::message::read_message;
use pkdns_dht::NetworkError;
use pkdns_testing::common::{Running, Upstream, keypair, query, record, with_edns};

fn address(last: u8) -> RData {
    RData::A(A::new(192, 0, 2, last))
}

fn name(text: &str) -> Name {
    let mut name = Name::from_ascii(text).unwrap();
    name.set_fqdn(true);
    name
}

fn alias(target: &str) -> RData {
    RData::CNAME(CNAME(name(target)))
}

fn soa(apex: &str, ttl: u32) -> Record {
    let data = SOA::new(name(apex), name(apex), 1, 1, 1, 1, ttl);
    Record::from_rdata(name(apex), ttl, RData::SOA(data))
}

/// Data of a type, byte for byte.
fn raw(code: RecordType, data: &[u8]) -> RData {
    RData::Unknown { code, rdata: NULL::with(data.to_vec()) }
}

fn parse(bytes: &[u8]) -> Message {
    Message::from_vec(bytes).unwrap()
}

fn code(message: &Message) -> ResponseCode {
    message.metadata.response_code
}

fn text(index: usize) -> RData {
    RData::TXT(TXT::new(vec![format!("{index:0>200}")]))
}

#[tokio::test]
async fn a_question_for_an_alias_itself_does_not_follow_it_to_a_key() {
    let alice = keypair(1).to_z32();
    let target = alice.clone();
    let upstream = Upstream::start(move |query, response| {
        let name = query.queries[0].name().clone();
        response.add_answer(Record::from_rdata(name, 300, alias(&target)));
    })
    .await;
    let server = Running::start_with(upstream, |_| ()).await;
    // With the network away, whoever followed the alias would say SERVFAIL.
    *server.network.failure.lock().unwrap() = Some(NetworkError::Unreachable);
    let reply = server.ask("www.example.com", RecordType::CNAME).await;
    assert_eq!(code(&reply), ResponseCode::NoError);
    assert_eq!(reply.answers[0].data, alias(&alice));
    assert!(reply.authorities.is_empty());
    assert_eq!(server.network.lookups.load(Ordering::SeqCst), 0);
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
    })
    .await;
    let server = Running::start_with(upstream, |_| ()).await;
    let request = with_edns(query("www.example.com", RecordType::AAAA), true);
    server.send(&request).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1300)).await;
    server.send(&request).await.unwrap();
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
    })
    .await;
    let server = Running::start_with(upstream, |_| ()).await;
    let mut unchecked = query("www.example.com", RecordType::A);
    unchecked[3] |= 0x10;
    assert_eq!(code(&parse(&server.send(&unchecked).await.unwrap())), ResponseCode::NXDomain);
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
    })
    .await;
    let server = Running::start_with(upstream, |_| ()).await;
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
        })
        .await;
        let server = Running::start_with(upstream, |_| ()).await;
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
    })
    .await;
    let server = Running::start_with(upstream, |_| ()).await;
    for name in ["no.example.com", "below.no.example.com"] {
        let mut asked = query(name, RecordType::A);
        asked[3] |= 0x20;
        let reply = parse(&server.send(&asked).await.unwrap());
        assert_eq!((code(&reply), reply.metadata.authentic_data), (ResponseCode::NXDomain, true), "{name}");
    }
    assert_eq!(server.upstream.asked().len(), 1);
}

#[tokio::test]
async fn an_extended_code_is_a_failure_to_those_without_edns() {
    // BADVERS is 16: its lower four bits say NOERROR.
    let upstream = Upstream::start(|query, response| {
        response.metadata.response_code = ResponseCode::BADVERS;
        response.edns = query.edns.clone();
    })
    .await;
    let server = Running::start_with(upstream, |_| ()).await;
    let reply = server.ask("www.example.com", RecordType::A).await;
    assert_eq!(code(&reply), ResponseCode::ServFail);
}

#[tokio::test]
async fn a_key_without_a_packet_is_nxdomain_even_if_that_is_not_to_be_remembered() {
    let server = Running::start_with(Upstream::plain().await, |config| {
        config.cache.negative_ttl_seconds = 0;
        config.cache.ttl_seconds = 0;
        config.cache.max_ttl_seconds = 0;
        config.cache.max_stale_seconds = 0;
    })
    .await;
    let (alice, bob) = (keypair(1), keypair(2));
    server.network.publish(&alice, 1, &[record(&alice, "", 0, address(1))]);
    let reply = server.send(&with_edns(query(&alice.to_z32(), RecordType::A), false)).await.unwrap();
    assert_eq!(parse(&reply).answers.len(), 1);
    assert_eq!(read_message(&reply).unwrap().extended_error, None);
    assert_eq!(code(&server.ask(&bob.to_z32(), RecordType::A).await), ResponseCode::NXDomain);
}

#[tokio::test]
async fn a_wildcard_without_records_denies_data_and_not_the_name() {
    // RFC 4592 section 4.9.
    let server = Running::start().await;
    let alice = keypair(1);
    server.network.publish(&alice, 1, &[record(&alice, "a.*", 300, address(1))]);
    let key = alice.to_z32();
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
    let server =
        Running::start_with(Upstream::plain().await, |config| config.delegation.enabled = false).await;
    let alice = keypair(1);
    let server_name = RData::NS(NS(name("ns.example.com")));
    server.network.publish(
        &alice,
        1,
        &[record(&alice, "", 300, server_name), record(&alice, "*", 300, address(1))],
    );
    let name = format!("www.{}", alice.to_z32());
    assert_eq!(server.ask(&name, RecordType::A).await.answers.len(), 1);
    let reply = server.ask(&name, RecordType::AAAA).await;
    assert_eq!(code(&reply), ResponseCode::NoError);
}

/// A packet that names a server for its zone, which denies every name but `only`, whose address it tells.
async fn delegated(only: &'static str) -> (Running, String) {
    let servers = Upstream::start(move |query, response| {
        let question = &query.queries[0];
        let text = question.name().to_ascii().to_lowercase();
        let apex = text.trim_end_matches('.').rsplit('.').next().unwrap().to_string();
        if !text.starts_with(only) {
            response.metadata.response_code = ResponseCode::NXDomain;
            response.add_authority(soa(&apex, 60));
        } else if question.query_type() == RecordType::A {
            response.add_answer(Record::from_rdata(question.name().clone(), 3, address(2)));
        } else {
            response.add_authority(soa(&apex, 60));
        }
    })
    .await;
    let port = servers.address.port();
    let server = Running::start_with(Upstream::plain().await, |config| {
        config.delegation.port = port;
        config.delegation.allow_private = true;
    })
    .await;
    let alice = keypair(1);
    let key = alice.to_z32();
    let server_name = RData::NS(NS(name(&format!("ns.{key}"))));
    let glue = RData::A(A(Ipv4Addr::LOCALHOST));
    server.network.publish(
        &alice,
        1,
        &[
            record(&alice, "", 300, server_name),
            record(&alice, "ns", 300, glue),
            record(&alice, "www", 300, address(1)),
        ],
    );
    (server, key)
}

#[tokio::test]
async fn a_name_server_cannot_deny_a_name_that_the_packet_holds() {
    let (server, key) = delegated("only.").await;
    assert_eq!(server.ask(&format!("only.{key}"), RecordType::A).await.answers[0].data, address(2));
    assert_eq!(server.ask(&format!("www.{key}"), RecordType::A).await.answers[0].data, address(1));
    // A cache that takes NXDOMAIN for all types would lose the address.
    assert_eq!(code(&server.ask(&format!("www.{key}"), RecordType::AAAA).await), ResponseCode::NoError);
    assert_eq!(code(&server.ask(&format!("nope.{key}"), RecordType::A).await), ResponseCode::NXDomain);
}

#[tokio::test]
async fn a_name_on_a_name_server_is_not_denied_to_those_who_ask_for_ds() {
    // Validating resolvers ask for DS at every name on the way down.
    let (server, key) = delegated("only.").await;
    assert_eq!(code(&server.ask(&format!("only.{key}"), RecordType::DS).await), ResponseCode::NoError);
    assert_eq!(code(&server.ask(&key, RecordType::DS).await), ResponseCode::NoError);
}

#[tokio::test]
async fn the_age_of_the_packet_is_not_taken_from_records_of_a_name_server() {
    let (server, key) = delegated("only.").await;
    assert_eq!(server.ask(&key, RecordType::NS).await.answers.len(), 1);
    tokio::time::sleep(Duration::from_millis(2100)).await;
    let reply = server.ask(&format!("only.{key}"), RecordType::A).await;
    assert_eq!(reply.answers[0].ttl, 3);
}

#[tokio::test]
async fn private_addresses_are_kept_out_by_every_way_into_an_icann_answer() {
    let private = || RData::A(A::new(192, 168, 1, 1));
    let alice = keypair(1);
    let key = alice.to_z32();
    let target = key.clone();
    let upstream = Upstream::start(move |query, response| {
        let question = &query.queries[0];
        let name = question.name().clone();
        match name.to_ascii().to_lowercase().as_str() {
            "mail.example.com." => {
                response.add_answer(Record::from_rdata(name, 300, address(1)));
                response.add_additional(Record::from_rdata(self::name("mx.example.com"), 300, private()));
            }
            "signed.example.com." => {
                response.add_answer(Record::from_rdata(name.clone(), 300, private()));
                let signature = raw(RecordType::RRSIG, &[0, 1, 8, 3, 0, 0, 0, 1]);
                response.add_answer(Record::from_rdata(name, 300, signature));
            }
            "alias.example.com." => {
                response.add_answer(Record::from_rdata(name, 300, alias(&target)));
            }
            // Priority 1, the owner as target, and `ipv4hint` with one address.
            _ => {
                let data = [0, 1, 0, 0, 4, 0, 4, 192, 168, 1, 1];
                response.add_answer(Record::from_rdata(name, 300, raw(RecordType::HTTPS, &data)));
            }
        }
    })
    .await;
    let server = Running::start_with(upstream, |config| config.rebind_protection.icann = true).await;
    server.network.publish(&alice, 1, &[record(&alice, "", 300, private())]);
    let reply = server.ask("mail.example.com", RecordType::A).await;
    assert_eq!((reply.answers.len(), reply.additionals.len()), (1, 0));
    let reply = server.send(&with_edns(query("signed.example.com", RecordType::A), true)).await.unwrap();
    assert!(parse(&reply).answers.is_empty(), "a signature without what it signs");
    let reply = server.ask("alias.example.com", RecordType::A).await;
    assert_eq!(reply.answers.len(), 1, "the alias alone: {:?}", reply.answers);
    assert!(server.ask("hint.example.com", RecordType::HTTPS).await.answers.is_empty());
    // Keys asked for by name may have them.
    assert_eq!(server.ask(&key, RecordType::A).await.answers.len(), 1);
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
    })
    .await;
    let server = Running::start_with(upstream, |_| ()).await;
    for (name, cut) in [("proof.example.com", true), ("servers.example.com", false)] {
        let mut request = with_edns(query(name, RecordType::TXT), true);
        let at = request.len() - 8;
        request[at..at + 2].copy_from_slice(&600u16.to_be_bytes());
        let reply = parse(&server.send(&request).await.unwrap());
        assert_eq!((reply.answers.len(), reply.authorities.len()), (2, 0), "{name}");
        assert_eq!(reply.metadata.truncation, cut, "{name}");
    }
}

#[tokio::test]
async fn an_alias_from_a_stale_packet_is_stale_wherever_it_leads() {
    let server = Running::start_with(Upstream::plain().await, |config| config.cache.ttl_seconds = 1).await;
    let alice = keypair(1);
    server.network.publish(&alice, 1, &[record(&alice, "", 1, alias("www.example.com"))]);
    let request = with_edns(query(&alice.to_z32(), RecordType::A), false);
    server.send(&request).await.unwrap();
    *server.network.failure.lock().unwrap() = Some(NetworkError::Unreachable);
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let reply = server.send(&request).await.unwrap();
    assert_eq!(parse(&reply).answers.len(), 2);
    assert_eq!(read_message(&reply).unwrap().extended_error.map(|error| error.code), Some(3));
}

#[tokio::test]
async fn the_longest_name_is_answered_in_512_bytes_with_its_reason() {
    let server = Running::start().await;
    *server.network.failure.lock().unwrap() = Some(NetworkError::NotReady);
    let key = keypair(1).to_z32();
    let long = "a".repeat(63);
    // 255 bytes in wire form.
    let name = format!("{long}.{long}.{long}.{}.{key}", "b".repeat(8));
    for spelled in [name.clone(), name.to_uppercase()] {
        let mut request = with_edns(query(&spelled, RecordType::A), true);
        assert_eq!(request.len(), 12 + 255 + 4 + 11);
        let at = request.len() - 8;
        request[at..at + 2].copy_from_slice(&512u16.to_be_bytes());
        let reply = server.send(&request).await.unwrap();
        assert!(reply.len() <= 512);
        assert_eq!(reply[12..12 + 255], request[12..12 + 255]);
        let reply = parse(&reply);
        assert_eq!((code(&reply), reply.metadata.truncation), (ResponseCode::ServFail, false));
    }
}

#[tokio::test]
async fn an_alias_to_localhost_is_a_private_address_too() {
    let server =
        Running::start_with(Upstream::plain().await, |config| config.rebind_protection.keys = true).await;
    let alice = keypair(1);
    server.network.publish(&alice, 1, &[record(&alice, "", 300, alias("localhost"))]);
    assert_eq!(server.ask(&alice.to_z32(), RecordType::A).await.answers.len(), 1, "the alias alone");
    assert_eq!(server.ask("localhost", RecordType::A).await.answers.len(), 1);
}

#[tokio::test]
async fn a_chain_has_at_most_eleven_links_and_no_loop() {
    let server = Running::start().await;
    let alice = keypair(1);
    let key = alice.to_z32();
    let mut records: Vec<Record> = (0..12)
        .map(|index| record(&alice, &index.to_string(), 300, alias(&format!("{}.{key}", index + 1))))
        .collect();
    records.push(record(&alice, "12", 300, address(1)));
    records.push(record(&alice, "loop", 300, alias(&format!("back.{key}"))));
    records.push(record(&alice, "back", 300, alias(&format!("loop.{key}"))));
    server.network.publish(&alice, 1, &records);
    assert_eq!(server.ask(&format!("1.{key}"), RecordType::A).await.answers.len(), 12);
    for name in ["0", "loop"] {
        let reply = server.ask(&format!("{name}.{key}"), RecordType::A).await;
        assert_eq!(code(&reply), ResponseCode::ServFail, "{name}");
    }
}

#[tokio::test]
async fn an_upstream_has_no_say_over_the_key_that_its_alias_leads_to() {
    let alice = keypair(1);
    let target = alice.to_z32();
    let upstream = Upstream::start(move |query, response| {
        response.metadata.authentic_data = true;
        let name = query.queries[0].name().clone();
        if name.to_ascii().to_lowercase().starts_with("www.") {
            response.add_answer(Record::from_rdata(name, 300, alias(&target)));
            response.add_answer(Record::from_rdata(self::name(&target), 300, address(66)));
        } else {
            response.add_answer(Record::from_rdata(name, 300, address(2)));
        }
    })
    .await;
    let server = Running::start_with(upstream, |_| ()).await;
    server.network.publish(&alice, 1, &[record(&alice, "", 300, address(1))]);
    let authentic = async |name: &str| {
        let reply = parse(&server.send(&with_edns(query(name, RecordType::A), true)).await.unwrap());
        (reply.metadata.authentic_data, reply.answers.last().unwrap().data.clone())
    };
    // Loopback is a way that nobody can tamper with, so that the upstream's word counts for its own names.
    assert_eq!(authentic("plain.example.com").await, (true, address(2)));
    assert_eq!(authentic("www.example.com").await, (false, address(1)));
}

/// A packet of `alice` whose server, on loopback, says that `www` is an alias in the zone of `bob`, and what it holds.
async fn delegated_to_bob(allow_private: bool) -> (Running, Upstream, String) {
    let (alice, bob) = (keypair(1), keypair(2));
    let target = format!("www.{}", bob.to_z32());
    let servers = Upstream::start(move |query, response| {
        let name = query.queries[0].name().clone();
        response.add_answer(Record::from_rdata(name, 300, alias(&target)));
        response.add_answer(Record::from_rdata(self::name(&target), 300, address(66)));
    })
    .await;
    let port = servers.address.port();
    let server = Running::start_with(Upstream::plain().await, |config| {
        config.delegation.port = port;
        config.delegation.allow_private = allow_private;
    })
    .await;
    let server_name = RData::NS(NS(name(&format!("ns.{}", alice.to_z32()))));
    let glue = RData::A(A(Ipv4Addr::LOCALHOST));
    server.network.publish(
        &alice,
        1,
        &[record(&alice, "", 300, server_name), record(&alice, "ns", 300, glue)],
    );
    server.network.publish(&bob, 1, &[record(&bob, "www", 300, address(1))]);
    (server, servers, format!("www.{}", alice.to_z32()))
}

#[tokio::test]
async fn a_name_server_has_no_say_over_another_key() {
    let (server, servers, name) = delegated_to_bob(true).await;
    let reply = server.ask(&name, RecordType::A).await;
    assert_eq!(reply.answers.last().unwrap().data, address(1));
    assert_eq!(servers.asked().len(), 1);
}

#[tokio::test]
async fn a_packet_cannot_send_questions_into_the_own_network() {
    let (server, servers, name) = delegated_to_bob(false).await;
    assert_eq!(code(&server.ask(&name, RecordType::A).await), ResponseCode::ServFail);
    assert_eq!(servers.asked(), Vec::<String>::new());
}

#[tokio::test]
async fn what_one_client_is_refused_another_is_answered() {
    let server = Running::start_with(Upstream::plain().await, |config| {
        config.rate_limit.dht_requests_per_minute = 1;
        config.rate_limit.dht_burst_size = 1;
    })
    .await;
    server.ask(&keypair(1).to_z32(), RecordType::A).await;
    let name = keypair(2).to_z32();
    assert_eq!(code(&server.ask(&name, RecordType::A).await), ResponseCode::Refused);
    let other = tokio::net::UdpSocket::bind(("127.0.0.2", 0)).await.unwrap();
    other.connect(server.address).await.unwrap();
    other.send(&query(&name, RecordType::A)).await.unwrap();
    let mut buffer = [0; 512];
    let size = tokio::time::timeout(Duration::from_secs(8), other.recv(&mut buffer)).await.unwrap().unwrap();
    assert_eq!(code(&parse(&buffer[..size])), ResponseCode::NXDomain);
}

#[tokio::test]
async fn that_too_many_lookups_are_under_way_is_true_for_a_moment_only() {
    let server = Running::start_with(Upstream::plain().await, |_| ()).await;
    let alice = keypair(1);
    *server.network.failure.lock().unwrap() = Some(NetworkError::Busy);
    let question = with_edns(query(&alice.to_z32(), RecordType::A), false);
    let reply = server.send(&question).await.unwrap();
    assert_eq!(code(&parse(&reply)), ResponseCode::ServFail);
    assert_eq!(read_message(&reply).unwrap().extended_error.map(|error| error.code), Some(22));
    *server.network.failure.lock().unwrap() = None;
    server.network.publish(&alice, 1, &[record(&alice, "", 300, address(1))]);
    let reply = server.send(&question).await.unwrap();
    assert_eq!(parse(&reply).answers.len(), 1, "neither the key nor the question is remembered");
}

#[tokio::test]
async fn no_answer_outlives_the_packet_or_the_absence_that_it_came_from() {
    let server = Running::start_with(Upstream::plain().await, |config| {
        config.cache.ttl_seconds = 1;
        config.cache.negative_ttl_seconds = 2;
    })
    .await;
    let (alice, bob) = (keypair(1), keypair(2));
    let short = || record(&alice, "short", 1, address(9));
    server.network.publish(&alice, 1, &[record(&alice, "", 3600, address(1)), short()]);
    let (alice_name, bob_name) = (alice.to_z32(), bob.to_z32());
    // The search ends after the first answer to a key, and the packet's second begins.
    server.ask(&alice_name, RecordType::TXT).await;
    tokio::time::sleep(Duration::from_millis(100)).await;
    assert_eq!(server.ask(&alice_name, RecordType::A).await.answers[0].data, address(1));
    server.network.publish(&alice, 2, &[record(&alice, "", 3600, address(2)), short()]);
    assert_eq!(code(&server.ask(&bob_name, RecordType::A).await), ResponseCode::NXDomain);
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(code(&server.ask(&bob_name, RecordType::TXT).await), ResponseCode::NXDomain);
    server.network.publish(&bob, 1, &[record(&bob, "", 300, text(1))]);
    assert_eq!(server.ask(&alice_name, RecordType::A).await.answers[0].data, address(2));
    tokio::time::sleep(Duration::from_millis(900)).await;
    assert_eq!(server.ask(&bob_name, RecordType::TXT).await.answers.len(), 1);
}

#[tokio::test]
async fn chains_and_name_servers_share_one_budget() {
    // CAMP and NXNSAttack: ten packets, and then eight questions for the addresses of four servers.
    let server = Running::start_with(Upstream::start(|_, _| ()).await, |_| ()).await;
    let keys: Vec<_> = (1..=10).map(keypair).collect();
    for pair in keys.windows(2) {
        server.network.publish(&pair[0], 1, &[record(&pair[0], "", 300, alias(&pair[1].to_z32()))]);
    }
    let last = &keys[9];
    let servers: Vec<Record> = (0..4)
        .map(|index| record(last, "", 300, RData::NS(NS(name(&format!("ns{index}.example.com"))))))
        .collect();
    server.network.publish(last, 1, &servers);
    assert_eq!(code(&server.ask(&keys[0].to_z32(), RecordType::A).await), ResponseCode::ServFail);
    assert_eq!(server.upstream.asked().len(), 6);
}
