//! Mistakes that a resolver of keys once made, each guarded against by a whole server. Those of single parts are guarded
//! against beside these parts.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::{sync::atomic::Ordering, time::Duration};

use hickory_proto::{
    op::{Message, ResponseCode},
    rr::{
        Name, RData, Record, RecordType,
        rdata::{A, CNAME, NULL, SOA, TXT},
    },
};
use pkdns::{
    message::read_message,
    server::{Server, StartError},
};
use pkdns_dht::NetworkError;
use pkdns_testing::common::{GRACE, Running, Upstream, keypair, query, question, record, with_edns};
use tokio_util::sync::CancellationToken;

fn address(last: u8) -> RData {
    RData::A(A::new(192, 0, 2, last))
}

fn alias(target: &str) -> RData {
    RData::CNAME(CNAME(Name::from_ascii(target).unwrap()))
}

fn parse(bytes: &[u8]) -> Message {
    Message::from_vec(bytes).unwrap()
}

fn first_ttl(message: &Message) -> u32 {
    message.answers.first().expect("no answer").ttl
}

fn extended_error(bytes: &[u8]) -> Option<u16> {
    read_message(bytes).unwrap().extended_error.map(|error| error.code)
}

#[tokio::test]
async fn odd_labels_before_a_key_do_not_stop_the_server() {
    // One datagram for `*.<key>.key` ended the process.
    let server = Running::start().await;
    let alice = keypair(1);
    server.network.publish(&alice, 1, &[record(&alice, "", 300, address(1))]);
    let key = alice.to_z32();
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
        assert_eq!(reply.metadata.response_code, ResponseCode::NXDomain, "{name}");
    }
    assert_eq!(server.ask(&key, RecordType::A).await.answers.len(), 1);
}

#[tokio::test]
async fn an_alias_to_the_root_does_not_stop_the_server() {
    // From a packet and from an upstream.
    let upstream = Upstream::start(|query, response| {
        let name = query.queries[0].name().clone();
        if !name.is_root() {
            response.add_answer(Record::from_rdata(name, 300, alias(".")));
        }
    })
    .await;
    let server = Running::start_with(upstream, |_| ()).await;
    let alice = keypair(1);
    server.network.publish(&alice, 1, &[record(&alice, "", 300, alias("."))]);
    for name in [alice.to_z32(), "example.com".into()] {
        let reply = server.ask(&name, RecordType::A).await;
        assert_eq!(reply.metadata.response_code, ResponseCode::NoError, "{name}");
        assert_eq!(reply.answers.len(), 1, "{name}");
    }
}

#[tokio::test]
async fn the_server_starts_and_serves_with_nobody_else_within_reach() {
    // It did not start without its forwarder.
    let server = Running::start_with(Upstream::plain().await, |config| {
        config.fallback_dns = vec!["127.0.0.1:9".parse().unwrap()];
    })
    .await;
    *server.network.failure.lock().unwrap() = Some(NetworkError::NotReady);
    assert_eq!(server.ask("localhost", RecordType::A).await.answers.len(), 1);
    let request = with_edns(query(&keypair(1).to_z32(), RecordType::A), false);
    let reply = server.send(&request).await.unwrap();
    assert_eq!(parse(&reply).metadata.response_code, ResponseCode::ServFail);
    assert_eq!(extended_error(&reply), Some(22));
    let reply = server.send(&with_edns(query("example.com", RecordType::A), false)).await.unwrap();
    assert_eq!(parse(&reply).metadata.response_code, ResponseCode::ServFail);
    assert_eq!(extended_error(&reply), Some(22));
}

#[tokio::test]
async fn no_spelling_of_a_key_is_forwarded() {
    // Upper case went to ICANN, and the answer was believed.
    let server = Running::start().await;
    let alice = keypair(1);
    server.network.publish(&alice, 1, &[record(&alice, "", 300, address(1))]);
    let key = alice.to_z32();
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
        assert_eq!(reply.metadata.response_code, ResponseCode::NXDomain, "{name}");
        assert_eq!(reply.authorities.len(), 1);
    }
    assert_eq!(server.upstream.asked(), Vec::<String>::new());
}

#[tokio::test]
async fn an_answer_never_exceeds_what_the_client_takes() {
    // 910 bytes to a client without EDNS, uncompressed, and no TCP to turn to.
    let server = Running::start().await;
    let alice = keypair(1);
    let text = |index: u8| RData::TXT(TXT::new(vec![format!("{index:0>100}")]));
    let records: Vec<Record> = (0..6).map(|index| record(&alice, "", 300, text(index))).collect();
    server.network.publish(&alice, 1, &records);
    let plain = query(&alice.to_z32(), RecordType::TXT);
    for (request, limit) in [(plain.clone(), 512), (with_edns(plain.clone(), false), 1232)] {
        // The first answer is made, the second comes from the cache.
        for _ in 0..2 {
            let reply = server.send(&request).await.unwrap();
            assert!(reply.len() <= limit, "{} bytes", reply.len());
            assert_eq!(parse(&reply).metadata.truncation, limit == 512);
        }
    }
    let reply = parse(&server.ask_tcp(&plain).await);
    assert_eq!(reply.answers.len(), 6);
    assert!(!reply.metadata.truncation);
}

#[tokio::test]
async fn flags_classes_and_opcodes_are_answered_as_the_rules_say() {
    let server = Running::start().await;
    for (name, record_type) in [("example.com", RecordType::A), ("localhost", RecordType::A)] {
        let mut request = query(name, record_type);
        // AA, TC, Z and AD set, RD clear, CD set.
        request[2] = 0x06;
        request[3] = 0x70;
        let reply = server.send(&request).await.unwrap();
        assert_eq!(reply[2] & 0x07, 0, "AA, TC or RD echoed");
        assert_eq!(reply[3] & 0xf0, 0x90, "RA and CD expected, Z and AD not");
    }
    let reply = server.send(&with_edns(query("example.com", RecordType::A), true)).await.unwrap();
    let edns = parse(&reply).edns.expect("no OPT in the reply");
    assert!(edns.flags().dnssec_ok);
    let mut chaos = query("version.bind", RecordType::TXT);
    *chaos.last_mut().unwrap() = 3;
    assert_eq!(parse(&server.send(&chaos).await.unwrap()).metadata.response_code, ResponseCode::Refused);
    let mut update = query("example.com", RecordType::SOA);
    update[2] = 5 << 3;
    assert_eq!(server.send(&update).await.unwrap()[3] & 0x0f, 4, "NOTIMP");
    for transfer in [RecordType::AXFR, RecordType::IXFR] {
        let reply = parse(&server.ask_tcp(&query("example.com", transfer)).await);
        assert_eq!(reply.metadata.response_code, ResponseCode::Refused);
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
    })
    .await;
    let server = Running::start_with(upstream, |_| ()).await;
    assert_eq!(server.ask("example.com", RecordType::A).await.answers.len(), 1);
    let signed = server.send(&with_edns(query("example.com", RecordType::A), true)).await.unwrap();
    assert_eq!(read_message(&signed).unwrap().answers.len(), 2);
}

#[tokio::test]
async fn the_server_tells_its_version_only_if_the_operator_wants_that() {
    let server = Running::start_with(Upstream::plain().await, |config| {
        config.identity.version = "pkdns".into();
    })
    .await;
    let mut chaos = query("VERSION.bind", RecordType::TXT);
    *chaos.last_mut().unwrap() = 3;
    assert_eq!(parse(&server.send(&chaos).await.unwrap()).answers.len(), 1);
}

#[tokio::test]
async fn responses_and_fragments_of_messages_get_no_reply() {
    let server = Running::start().await;
    let mut response = query("localhost", RecordType::A);
    response[2] |= 0x80;
    for request in [&response[..], &response[..20], b"", b"short", &[0xff; 600]] {
        assert_eq!(server.send_within(request, GRACE).await, None);
    }
    assert_eq!(server.ask("localhost", RecordType::A).await.answers.len(), 1);
}

#[tokio::test]
async fn every_type_gets_an_answer() {
    // Unknown types, the root and the Z bit got silence.
    let server = Running::start().await;
    let alice = keypair(1);
    server.network.publish(&alice, 1, &[record(&alice, "", 300, address(1))]);
    for code in [0u16, 2, 39, 43, 44, 52, 64, 99, 250, 255, 257, 65_280, 65_535] {
        for name in [alice.to_z32(), "example.com".into(), ".".into()] {
            let reply = server.send(&query(&name, RecordType::from(code))).await;
            assert!(reply.is_some(), "{name} TYPE{code}");
        }
    }
    let reply = server.ask(&alice.to_z32(), RecordType::DS).await;
    assert_eq!((reply.metadata.response_code, reply.authorities.len()), (ResponseCode::NoError, 1));
}

#[tokio::test]
async fn no_has_a_question_a_soa_and_the_right_code() {
    let upstream = Upstream::start(|query, response| {
        let apex = Name::from_ascii("com.").unwrap();
        let soa = SOA::new(apex.clone(), apex.clone(), 1, 1, 1, 1, 60);
        response.metadata.response_code = ResponseCode::NXDomain;
        response.metadata.authentic_data = true;
        response.add_authority(Record::from_rdata(apex, 900, RData::SOA(soa)));
        assert_eq!(query.queries.len(), 1);
    })
    .await;
    let server = Running::start_with(upstream, |_| ()).await;
    let alice = keypair(1);
    server.network.publish(&alice, 1, &[record(&alice, "www", 300, address(1))]);
    let key = alice.to_z32();
    let unpublished = keypair(2).to_z32();
    for (name, record_type, code, soa) in [
        (format!("nope.{key}"), RecordType::A, ResponseCode::NXDomain, format!("{key}.")),
        (format!("www.{key}.key"), RecordType::AAAA, ResponseCode::NoError, format!("{key}.key.")),
        (key.clone(), RecordType::A, ResponseCode::NoError, format!("{key}.")),
        (unpublished.clone(), RecordType::A, ResponseCode::NXDomain, format!("{unpublished}.")),
        ("nope.com".into(), RecordType::A, ResponseCode::NXDomain, "com.".into()),
    ] {
        let reply = server.ask(&name, record_type).await;
        assert_eq!(reply.metadata.response_code, code, "{name}");
        assert_eq!(question(&reply).name().to_ascii(), format!("{name}."));
        assert_eq!(reply.authorities[0].name.to_ascii(), soa, "{name}");
        assert_eq!(reply.authorities[0].record_type(), RecordType::SOA);
    }
    // Below a name that is proven not to exist nothing is asked for (RFC 8020).
    server.ask("a.b.nope.com", RecordType::AAAA).await;
    assert_eq!(server.upstream.asked(), ["nope.com. A"]);
}

#[tokio::test]
async fn mixed_case_and_a_lower_case_answer_belong_together() {
    // NOERROR without an answer, for every stub that mixes case.
    let upstream = Upstream::start(|query, response| {
        let name = query.queries[0].name().to_lowercase();
        response.add_answer(Record::from_rdata(name, 300, address(7)));
    })
    .await;
    let server = Running::start_with(upstream, |_| ()).await;
    for name in ["wWw.ExAmPlE.cOm", "WWW.EXAMPLE.COM", "www.example.com"] {
        let reply = server.ask(name, RecordType::A).await;
        assert_eq!(reply.answers[0].name.to_ascii(), format!("{name}."));
        assert_eq!(question(&reply).name().to_ascii(), format!("{name}."));
    }
    assert_eq!(server.upstream.asked().len(), 1, "spellings share the cache");
}

#[tokio::test]
async fn cached_answers_age_and_keep_their_kind_apart() {
    // TTLs stood still, failures stayed for a minute, DO answers went to those who did not ask.
    let upstream = Upstream::start(|query, response| {
        let question = &query.queries[0];
        let dnssec_ok = query.edns.as_ref().is_some_and(|edns| edns.flags().dnssec_ok);
        let name = question.name().clone();
        match name.to_ascii().to_lowercase().as_str() {
            "short.com." => {
                response.add_answer(Record::from_rdata(name, 1, address(1)));
            }
            "broken.com." => response.metadata.response_code = ResponseCode::ServFail,
            _ => {
                response.add_answer(Record::from_rdata(name, 300, address(if dnssec_ok { 2 } else { 3 })));
            }
        }
    })
    .await;
    let server = Running::start_with(upstream, |_| ()).await;
    assert_eq!(first_ttl(&server.ask("long.com", RecordType::A).await), 300);
    server.ask("short.com", RecordType::A).await;
    let asked = server.upstream.asked().len();
    tokio::time::sleep(Duration::from_millis(1300)).await;
    assert!(first_ttl(&server.ask("long.com", RecordType::A).await) < 300);
    assert_eq!(server.upstream.asked().len(), asked, "the long one is still cached");
    assert_eq!(first_ttl(&server.ask("short.com", RecordType::A).await), 1);
    assert_eq!(server.upstream.asked().len(), asked + 1, "the short one is asked for again");

    let signed = server.send(&with_edns(query("long.com", RecordType::A), true)).await.unwrap();
    assert_eq!(parse(&signed).answers[0].data, address(2));
    assert_eq!(server.ask("long.com", RecordType::A).await.answers[0].data, address(3));

    let asked = server.upstream.asked().len();
    for _ in 0..3 {
        let reply = server.ask("broken.com", RecordType::A).await;
        assert_eq!(reply.metadata.response_code, ResponseCode::ServFail);
    }
    let tries = server.upstream.asked().len() - asked;
    assert!((1..=3).contains(&tries), "a failure is remembered for a moment: {tries} tries");
}

#[tokio::test]
async fn a_chain_from_an_upstream_is_passed_on_whole() {
    // Chains were thrown away and asked for again, hop by hop.
    let upstream = Upstream::start(|query, response| {
        let name = query.queries[0].name().clone();
        let [middle, end] = ["middle.example.com.", "end.example.com."];
        response.add_answer(Record::from_rdata(name, 300, alias(middle)));
        response.add_answer(Record::from_rdata(Name::from_ascii(middle).unwrap(), 300, alias(end)));
        response.add_answer(Record::from_rdata(Name::from_ascii(end).unwrap(), 300, address(9)));
    })
    .await;
    let server = Running::start_with(upstream, |_| ()).await;
    let reply = server.ask("www.example.com", RecordType::A).await;
    assert_eq!(reply.answers.len(), 3);
    assert_eq!(server.upstream.asked().len(), 1);
}

#[tokio::test]
async fn the_quota_for_lookups_counts_new_keys_and_its_burst_is_honoured() {
    // The burst was read from the file and ignored.
    let server = Running::start_with(Upstream::plain().await, |config| {
        config.rate_limit.dht_requests_per_minute = 1;
        config.rate_limit.dht_burst_size = 3;
    })
    .await;
    let codes = async |server: &Running, seeds: std::ops::Range<u8>| {
        let mut codes = Vec::new();
        for seed in seeds {
            codes.push(server.ask(&keypair(seed).to_z32(), RecordType::A).await.metadata.response_code);
        }
        codes
    };
    assert_eq!(codes(&server, 1..4).await, [ResponseCode::NXDomain; 3]);
    assert_eq!(codes(&server, 4..6).await, [ResponseCode::Refused; 2]);
    // What is known already costs nothing, nor do names that are no keys.
    assert_eq!(codes(&server, 1..4).await, [ResponseCode::NXDomain; 3]);
    assert_eq!(server.ask("example.com", RecordType::A).await.metadata.response_code, ResponseCode::NoError);
    assert_eq!(server.network.lookups.load(Ordering::SeqCst), 3);
    let reply = server.send(&with_edns(query(&keypair(9).to_z32(), RecordType::A), false)).await.unwrap();
    assert_eq!(extended_error(&reply), Some(18));
}

#[tokio::test]
async fn strangers_are_refused_and_floods_are_dropped() {
    let server = Running::start_with(Upstream::plain().await, |config| {
        config.access.deny = vec!["127.0.0.0/8".parse().unwrap()];
    })
    .await;
    let reply = server.ask("localhost", RecordType::A).await;
    assert_eq!(reply.metadata.response_code, ResponseCode::Refused);
    assert_eq!(reply.queries.len(), 1);
    let mut malformed = query("localhost", RecordType::A);
    malformed[5] = 9;
    assert_eq!(server.send_within(&malformed, GRACE).await, None);

    let server = Running::start_with(Upstream::plain().await, |config| {
        config.rate_limit.requests_per_minute = 1;
        config.rate_limit.burst_size = 2;
    })
    .await;
    let request = with_edns(query("localhost", RecordType::A), false);
    for _ in 0..2 {
        assert!(server.send(&request).await.is_some());
    }
    assert_eq!(server.send_within(&request, GRACE).await, None, "a forged address would get this reply");
    // What anybody can send spends nothing of what has shaken hands.
    for _ in 0..2 {
        assert_eq!(parse(&server.ask_tcp(&request).await).metadata.response_code, ResponseCode::NoError);
    }
    let reply = server.ask_tcp(&request).await;
    assert_eq!(parse(&reply).metadata.response_code, ResponseCode::Refused);
    assert_eq!(extended_error(&reply), Some(18));
}

#[tokio::test]
async fn stale_is_better_than_nothing_and_says_so() {
    let server = Running::start_with(Upstream::plain().await, |config| config.cache.ttl_seconds = 1).await;
    let alice = keypair(1);
    server.network.publish(&alice, 1, &[record(&alice, "", 1, address(1))]);
    let request = with_edns(query(&alice.to_z32(), RecordType::A), false);
    assert_eq!(extended_error(&server.send(&request).await.unwrap()), None);
    *server.network.failure.lock().unwrap() = Some(NetworkError::Unreachable);
    // Longer than the packet's second; the first answer was given before the search ended.
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let reply = server.send(&request).await.unwrap();
    assert_eq!(parse(&reply).answers[0].data, address(1));
    assert_eq!(extended_error(&reply), Some(3));
}

#[tokio::test]
async fn without_recursion_only_what_is_held_is_told() {
    let server = Running::start().await;
    let alice = keypair(1);
    server.network.publish(&alice, 1, &[record(&alice, "", 300, address(1))]);
    let ask = async |name: &str, recursion: u8| {
        let mut request = query(name, RecordType::A);
        request[2] = recursion;
        parse(&server.send(&request).await.unwrap()).metadata.response_code
    };
    for name in [alice.to_z32(), "example.com".into()] {
        assert_eq!(ask(&name, 0).await, ResponseCode::Refused, "{name}");
        assert_eq!(ask(&name, 1).await, ResponseCode::NoError, "{name}");
        assert_eq!(ask(&name, 0).await, ResponseCode::NoError, "{name}");
    }
    assert_eq!(server.upstream.asked(), ["example.com. A"]);
}

#[tokio::test]
async fn a_server_that_would_forward_to_itself_does_not_start() {
    let probe = std::net::UdpSocket::bind("127.0.0.1:0").unwrap();
    let address = probe.local_addr().unwrap();
    drop(probe);
    let mut config = pkdns::config::Config { listen: vec![address], ..Default::default() };
    config.fallback_dns = vec![address.into()];
    config.dht.enabled = false;
    let refused = Server::bind(config).err().expect("it started");
    assert!(matches!(refused, StartError::ForwardsToItself(_)), "{refused}");
    assert!(refused.to_string().contains("fallback_dns"));
}

#[tokio::test]
async fn what_is_in_flight_at_the_stop_is_answered() {
    // SIGTERM was not handled.
    let upstream = Upstream::start(|query, response| {
        std::thread::sleep(Duration::from_millis(300));
        response.add_answer(Record::from_rdata(query.queries[0].name().clone(), 300, address(1)));
    })
    .await;
    let mut config = pkdns::config::Config {
        listen: vec!["127.0.0.1:0".parse().unwrap()],
        fallback_dns: vec![upstream.address.into()],
        ..Default::default()
    };
    config.dht.enabled = false;
    let server = Server::bind(config).unwrap();
    let address = server.addresses()[0];
    let stop = CancellationToken::new();
    let running = tokio::spawn(server.run(stop.clone()));
    let client = tokio::net::UdpSocket::bind("127.0.0.1:0").await.unwrap();
    client.connect(address).await.unwrap();
    client.send(&query("example.com", RecordType::A)).await.unwrap();
    tokio::time::sleep(Duration::from_millis(100)).await;
    stop.cancel();
    let mut buffer = [0; 512];
    let size = tokio::time::timeout(Duration::from_secs(5), client.recv(&mut buffer)).await.unwrap().unwrap();
    assert_eq!(parse(&buffer[..size]).answers.len(), 1);
    running.await.unwrap();
}
